/* Any bytes as a safetensors file: it opens or is refused; what opened can be walked and read. */
#include "model/safetensors.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char bytes[64];
    safetensors *s;
    td_err err = TD_ERR_INIT;
    if (safetensors_open(fuzz_path(data, size), &s, &err) != TD_OK)
        return 0;
    for (size_t i = 0; i < safetensors_tensor_count(s); i++) {
        const st_tensor *t = safetensors_tensor_at(s, i);
        if (safetensors_tensor_find(s, t->name) != t)
            abort();
        size_t len = t->bytes < sizeof bytes ? (size_t)t->bytes : sizeof bytes;
        if (safetensors_read(s, t, t->bytes - len, bytes, len, NULL) != TD_OK)
            abort();
    }
    safetensors_close(s);
    return 0;
}
