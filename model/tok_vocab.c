#include "model/tok_vocab.h"

#include "base/check.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

#define SHOWN(len) (int)TD_MIN((len), (size_t)40) // bytes of a token that a message shows

td_rc tok_vocab_init(tok_vocab *v, int64_t count, td_err *err)
{
    *v = (tok_vocab){0};
    if (count <= 0)
        return td_fail(err, TD_E_MODEL, "the vocabulary is empty");
    if (count > TD_MODEL_VOCAB_MAX)
        return td_fail(err, TD_E_MODEL, "the vocabulary has %lld ids, more than %d", (long long)count,
                       TD_MODEL_VOCAB_MAX);
    td_arena_init(&v->mem, 0);
    v->entry = td_arena_calloc(&v->mem, (size_t)count, sizeof *v->entry);
    if (!v->entry || !td_map_init(&v->by_text, (size_t)count)) {
        tok_vocab_free(v);
        return td_fail(err, TD_E_NOMEM, "not enough memory for a vocabulary of %lld ids", (long long)count);
    }
    v->count = (int32_t)count;
    return TD_OK;
}

void tok_vocab_free(tok_vocab *v)
{
    td_map_free(&v->by_text);
    td_arena_free(&v->mem);
    *v = (tok_vocab){0};
}

td_rc tok_vocab_put(tok_vocab *v, int64_t id, const char *text, size_t len, float score, tok_kind_of kind, bool *twice,
                    td_err *err)
{
    if (id < 0 || id >= v->count)
        return td_fail(err, TD_E_MODEL, "token '%.*s' has id %lld, outside a vocabulary of %d", SHOWN(len), text,
                       (long long)id, v->count);
    if (len > TD_TOK_PIECE_BYTES_MAX)
        return td_fail(err, TD_E_MODEL, "token %lld is %zu bytes long, more than %u", (long long)id, len,
                       TD_TOK_PIECE_BYTES_MAX);
    tok_entry *e = &v->entry[id];
    if (e->kind != TOK_GAP)
        return td_fail(err, TD_E_MODEL, "two tokens have id %lld: '%.40s' and '%.*s'", (long long)id, e->text,
                       SHOWN(len), text);
    char *copy = td_arena_strndup(&v->mem, text, len);
    bool oom = !copy, added = false;
    if (!oom)
        added = len == 0 || td_map_put(&v->by_text, copy, len, (uint32_t)id, &oom);
    if (oom)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a vocabulary of %d ids", v->count);
    if (!added && twice)
        *twice = true;
    *e = (tok_entry){.text = copy, .len = (uint32_t)len, .score = score, .kind = (uint8_t)kind};
    if (len > v->len_max)
        v->len_max = len;
    return TD_OK;
}

token_id tok_vocab_find(const tok_vocab *v, const char *text, size_t len)
{
    uint32_t id;
    return td_map_get(&v->by_text, text, len, &id) ? (token_id)id : -1;
}

token_id tok_vocab_find_plain(const tok_vocab *v, const char *text, size_t len)
{
    token_id id = len > v->len_max ? -1 : tok_vocab_find(v, text, len);
    if (id < 0)
        return -1;
    uint8_t kind = v->entry[id].kind;
    return kind == TOK_CONTROL || kind == TOK_UNKNOWN || kind == TOK_BYTE ? -1 : id;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int tok_byte_value(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int hi = hex_digit(text[3]), lo = hex_digit(text[4]);
    return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

token_id tok_vocab_find_byte(const tok_vocab *v, uint8_t byte)
{
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", byte);
    return tok_vocab_find(v, name, 6);
}

enum { SPACE_LEN = sizeof TOK_SPACE - 1 };

void tok_vocab_bridges(const tok_vocab *v, bool bridge[256])
{
    memset(bridge, 0, 256 * sizeof *bridge);
    for (int32_t id = 0; id < v->count; id++) {
        const tok_entry *e = &v->entry[id];
        for (size_t i = 1; i + SPACE_LEN <= e->len; i++)
            if (memcmp(e->text + i, TOK_SPACE, SPACE_LEN) == 0)
                bridge[(uint8_t)e->text[i - 1]] = true;
    }
}

size_t tok_vocab_cut(const bool bridge[256], const char *s, size_t len, size_t from)
{
    for (size_t at = from + 1; at < len; at++) {
        const char *space = memmem(s + at, len - at, TOK_SPACE, SPACE_LEN);
        if (!space)
            return len;
        at = (size_t)(space - s);
        if (!bridge[(uint8_t)s[at - 1]])
            return at;
    }
    return len;
}
