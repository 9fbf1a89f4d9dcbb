/* Any bytes as a tokenizer.json, or behind a 'T' as a tekken.json: it is refused, or what was made of it encodes and
 * decodes within its own rules. */
#include "base/utf8.h"
#include "model/detok.h"
#include "model/tok_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const tokenizer *t)
{
    static const char text[] = "ab abc <|end|> 123 \xC3\xA9\xE6\xBC\xA2\n\n  don't <x>";
    token_list l = {0};
    td_buf out = TD_BUF_INIT;
    td_err err = TD_ERR_INIT;
    for (unsigned flags = 0; flags < 4; flags++) {
        l.count = 0;
        if (tokenizer_encode(t, text, sizeof text - 1, flags, &l, &err) != TD_OK)
            continue;
        for (size_t i = 0; i < l.count; i++)
            if (!tokenizer_raw(t, l.ids[i], NULL))
                abort(); // an id that does not exist
        td_buf_clear(&out);
        if (tokenizer_decode(t, l.ids, l.count, flags & 1, &out, &err) != TD_OK ||
            !td_utf8_valid(td_buf_cstr(&out), out.len))
            abort();
    }
    for (token_id id = 0; id < tokenizer_vocab_count(t) && id < 300; id++)
        if (!tokenizer_piece(t, id, true, &out))
            abort();
    token_list_free(&l);
    td_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    td_err err = TD_ERR_INIT;
    tokenizer *t = tokenizer_new();
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    td_rc rc = text[0] == 'T' ? tok_tekken_read(t, text + 1, size - 1, &err) : tok_json_read(t, text, size, &err);
    if (rc == TD_OK && tokenizer_finish(t, &err) == TD_OK)
        use(t);
    else if (err.rc == TD_OK || !err.msg[0])
        abort();
    tokenizer_free(t);
    free(text);
    return 0;
}
