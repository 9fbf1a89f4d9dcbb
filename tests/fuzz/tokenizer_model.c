/* Any bytes as SentencePiece's tokenizer.model: only what the checks let through reaches libsentencepiece, and that
 * must be safe with any text. */
#include "model/tok_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "ab abc  <s> the\t\xEF\xBC\xA1\xC3\xA9\xE6\xBC\xA2 aaaaaaaaaaaaaaaaaaaa \xE2\x96\x81";
    td_err err = TD_ERR_INIT;
    tokenizer *t = tokenizer_new();
    tok_spm_options o = {.legacy = size & 1};
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    copy[size] = 0;
    td_rc rc = tok_spm_read(t, copy, size, &o, &err);
    if (rc == TD_OK && tokenizer_finish(t, &err) == TD_OK) {
        token_list l = {0};
        td_buf out = TD_BUF_INIT;
        if (tokenizer_encode(t, text, sizeof text - 1, TOK_PARSE_SPECIAL, &l, &err) == TD_OK &&
            tokenizer_decode(t, l.ids, l.count, false, &out, &err) != TD_OK)
            abort();
        token_list_free(&l);
        td_buf_free(&out);
    }
    tokenizer_free(t);
    free(copy);
    return 0;
}
