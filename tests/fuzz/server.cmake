td_fuzz(server_guard server)
td_fuzz(server_params server)
td_fuzz(server_http server fake_engine)
