td_fuzz(tokenizer_json model)
td_fuzz(tokenizer_model model)
td_fuzz(bpe_encode model)
