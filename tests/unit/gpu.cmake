# Whole models in the emulator; under TSan its threads would be looked at for nothing but fibers.
if(NOT TANDEM_SANITIZE MATCHES "thread")
  td_unit_test(golden_emu engine)
  td_unit_test(kern_gpu kernels)
  td_unit_test(gpu_gemm kernels)
  target_compile_definitions(test_gpu_gemm PRIVATE TD_EMU=1)
endif()
