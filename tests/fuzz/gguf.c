/* Any bytes as a GGUF file: it opens or is refused; what opened can be walked, read and configured. */
#include "model/config.h"
#include "model/gguf.h"

#include "fuzz_file.h"

static void walk(const gguf *g)
{
    char bytes[64];
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        if (gguf_tensor_find(g, t->name) != t)
            abort();
        size_t len = t->bytes < sizeof bytes ? (size_t)t->bytes : sizeof bytes;
        if (gguf_read(g, t, t->bytes - len, bytes, len, NULL) != TD_OK)
            abort();
    }
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        gguf_type type;
        size_t count;
        const char *key = gguf_key_at(g, i, &type);
        gguf_get_num(g, key, 0);
        gguf_get_int(g, key, 0);
        if (!gguf_arr_type(g, key, &type, &count))
            continue;
        for (size_t k = 0; k < count; k++) {
            gguf_str s = gguf_arr_str(g, key, k);
            if (s.s[s.len] != 0)
                abort();
            gguf_arr_num(g, key, k);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model_config c;
    model_generation gen;
    gguf *g;
    td_err err = TD_ERR_INIT;
    if (gguf_open(fuzz_path(data, size), &g, &err) != TD_OK)
        return 0;
    walk(g);
    if (model_config_from_gguf(g, &c, &err) == TD_OK) {
        td_buf b = TD_BUF_INIT;
        model_config_json(&c, &b);
        td_buf_free(&b);
    }
    model_generation_from_gguf(g, &gen);
    gguf_close(g);
    return 0;
}
