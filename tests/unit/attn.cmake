td_unit_test(kern_math kernels m)
td_unit_test(kern_attn kernels m)
td_unit_test(kern_sample kernels m)
