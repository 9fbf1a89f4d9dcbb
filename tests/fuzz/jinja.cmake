td_fuzz(jinja model)
