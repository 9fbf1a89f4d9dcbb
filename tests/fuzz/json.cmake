td_fuzz(json base)
