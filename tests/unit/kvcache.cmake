td_unit_test(kv_pool kvcache)
