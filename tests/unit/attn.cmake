td_unit_test(kern_math kernels m)
# Numbers, not threads: see checkkern.
if(NOT TANDEM_SANITIZE MATCHES "thread")
  td_unit_test(kern_attn kernels m)
endif()
td_unit_test(kern_sample kernels m)
