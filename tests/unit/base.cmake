td_unit_test(base_json base)
td_unit_test(base_memory base)
td_unit_test(base_misc base)
