td_unit_test(base_flags base)
