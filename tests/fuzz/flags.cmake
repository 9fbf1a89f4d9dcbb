td_fuzz(flags_config base)
