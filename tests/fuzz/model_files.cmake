td_fuzz(gguf model)
td_fuzz(safetensors model)
td_fuzz(config model)
