/* Any text through small tokenizers of each kind: it is encoded, or refused because it is not UTF-8; what is decoded
 * again is UTF-8, and for the byte-level ones, whose alphabet is complete, the very same text. */
#include "base/utf8.h"
#include "model/pretok_names.h"
#include "model/tok_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LETTERS = 256, MERGES = 6 };

/* All bytes, some merges, and the pre-tokenizer of that name. */
static tokenizer *make(const char *name)
{
    static const char *const merges[MERGES][2] = {{"a", "b"}, {"ab", "ab"}, {"\xC4\xA0", "a"}, {"\xC4\xA0", "\xC4\xA0"},
                                                  {"\xC3\x83", "\xC2\xA9"}, {"1", "2"}};
    tokenizer *t = tokenizer_new();
    bool ok = tok_vocab_init(&t->vocab, LETTERS + MERGES, NULL) == TD_OK;
    for (int i = 0; i < LETTERS; i++) {
        char two[2];
        size_t n = tok_byte_letter((uint8_t)i, two);
        ok = ok && tok_vocab_put(&t->vocab, i, two, n, 0, TOK_NORMAL, NULL, NULL) == TD_OK;
    }
    for (int i = 0; i < MERGES; i++) {
        char both[16] = "";
        strncat(both, merges[i][0], 7);
        strncat(both, merges[i][1], 7);
        ok = ok && tok_vocab_put(&t->vocab, LETTERS + i, both, strlen(both), 0, TOK_NORMAL, NULL, NULL) == TD_OK;
    }
    ok = ok && tok_bpe_init(&t->bpe, &t->vocab, MERGES, NULL) == TD_OK;
    for (int i = 0; i < MERGES; i++)
        ok = ok && tok_bpe_merge(&t->bpe, merges[i][0], strlen(merges[i][0]), merges[i][1], strlen(merges[i][1]),
                                 (uint32_t)i);
    ok = ok && pretok_add_named(&t->pre, pretok_name_find(name), NULL) == TD_OK &&
         tok_decode_add(&t->decode, DECODE_LETTERS, "", "", 0, 0, NULL) == TD_OK;
    if (!ok)
        abort();
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"gpt-2", "llama-bpe", "smollm", "deepseek-llm", "falcon", "gpt-4o", "kimi-k2",
                                        "chameleon", "default", "bloom"};
    enum { COUNT = sizeof names / sizeof *names };
    static tokenizer *made[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        if (!made[i])
            made[i] = make(names[i]);
        token_list l = {0};
        td_buf out = TD_BUF_INIT;
        td_rc rc = tokenizer_encode(made[i], (const char *)data, size, TOK_PARSE_SPECIAL, &l, NULL);
        if (rc != (td_utf8_valid((const char *)data, size) ? TD_OK : TD_E_INPUT))
            abort();
        if (rc == TD_OK && (tokenizer_decode(made[i], l.ids, l.count, false, &out, NULL) != TD_OK || out.len != size ||
                            (size && memcmp(out.data, data, size) != 0)))
            abort();
        token_list_free(&l);
        td_buf_free(&out);
    }
    return 0;
}
