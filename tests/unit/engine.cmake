td_unit_test(golden_tiny engine)
td_unit_test(golden_real engine)
td_unit_test(engine_rules engine)
td_unit_test(engine_stop engine)
