td_unit_test(kern_pool kernels)
td_unit_test(kern_device kernels)
td_unit_test(kern_formats kernels)
