td_unit_test(model_gguf model)
td_unit_test(model_safetensors model)
td_unit_test(model_rope model)
td_unit_test(model_config model)
