/* Decoders, and the ids that a post-processor puts around a text.
 *
 * Decoders work on the list of all tokens in the reference; here one token at a time, which is the same as long as
 * nothing looks across tokens. "Fuse" (and ByteLevel, which joins too) makes what follows look at the whole text: there
 * only taking one space off its beginning, and replacing single characters, can be done. */
#include "model/tok_steps.h"

#include "base/utf8.h"

#include <string.h>

typedef struct decoder_reader {
    tokenizer *t;
    bool fused; // what follows is about the whole text
    td_err *err;
} decoder_reader;

static td_rc decode_any(decoder_reader *r, const td_json *j, int depth);

static td_rc refuse(const decoder_reader *r, const char *what)
{
    return td_fail(r->err, TD_E_UNSUPPORTED, "decoder %s is not supported", what);
}

static td_rc decode_add(decoder_reader *r, decode_kind kind, const char *from, const char *to)
{
    return tok_decode_add(&r->t->decode, kind, from, to, 0, 0, r->err);
}

static td_rc decode_replace(decoder_reader *r, const td_json *j)
{
    bool literal;
    const char *from = tok_steps_pattern(td_json_get(j, "pattern"), &literal);
    const char *to = td_json_get_str(j, "content", NULL);
    if (!from || !to || !*from)
        return td_fail(r->err, TD_E_MODEL, "decoder Replace needs pattern and content");
    if (!literal)
        return refuse(r, "Replace by a regular expression");
    if (r->fused && td_utf8_len(from, strlen(from)) != strlen(from))
        return refuse(r, "Replace of several characters behind Fuse");
    return decode_add(r, DECODE_REPLACE, from, to);
}

static td_rc decode_strip(decoder_reader *r, const td_json *j)
{
    const char *content = td_json_get_str(j, "content", " ");
    int64_t start = td_json_get_int(j, "start", 0), stop = td_json_get_int(j, "stop", 0);
    if (start < 0 || stop < 0 || start > 65535 || stop > 65535 || !*content)
        return td_fail(r->err, TD_E_MODEL, "decoder Strip has start %lld, stop %lld", (long long)start,
                       (long long)stop);
    if (!r->fused)
        return tok_decode_add(&r->t->decode, DECODE_STRIP, content, "", (size_t)start, (size_t)stop, r->err);
    if (start > 1 || stop > 0 || strcmp(content, " ") != 0 || r->t->decode.lead != DECODE_LEAD_KEEP)
        return refuse(r, "Strip of more than one leading space behind Fuse");
    if (start == 1)
        r->t->decode.lead = DECODE_LEAD_ONE_SPACE;
    return TD_OK;
}

static td_rc decode_metaspace(decoder_reader *r, const td_json *j)
{
    tok_decode *d = &r->t->decode;
    const char *mark = td_json_get_str(j, "replacement", TOK_SPACE);
    bool prefix = strcmp(td_json_get_str(j, "prepend_scheme", "always"), "never") != 0 &&
                  td_json_get_bool(j, "add_prefix_space", true);
    if (!*mark || strlen(mark) >= sizeof d->lead_text)
        return td_fail(r->err, TD_E_MODEL, "decoder Metaspace has a replacement of %zu bytes", strlen(mark));
    if (prefix && (r->fused || d->lead != DECODE_LEAD_KEEP || (d->count && d->step[0].kind != DECODE_BYTE)))
        return refuse(r, "Metaspace behind others");
    if (prefix) {
        d->lead = DECODE_LEAD_FIRST_TOKEN;
        memcpy(d->lead_text, mark, strlen(mark) + 1);
    }
    return decode_add(r, DECODE_REPLACE, mark, " ");
}

static td_rc decode_sequence(decoder_reader *r, const td_json *j, int depth)
{
    td_rc rc = TD_OK;
    td_json_each(item, td_json_get(j, "decoders"))
    {
        if (rc == TD_OK)
            rc = decode_any(r, item, depth + 1);
    }
    return rc;
}

static td_rc decode_any(decoder_reader *r, const td_json *j, int depth)
{
    const char *type = td_json_get_str(j, "type", "");
    if (depth > TD_TOK_DEPTH_MAX)
        return td_fail(r->err, TD_E_MODEL, "a decoder has more than %d sequences in each other", TD_TOK_DEPTH_MAX);
    if (strcmp(type, "Sequence") == 0)
        return decode_sequence(r, j, depth);
    if (strcmp(type, "Replace") == 0)
        return decode_replace(r, j);
    if (strcmp(type, "Strip") == 0)
        return decode_strip(r, j);
    if (strcmp(type, "Metaspace") == 0)
        return decode_metaspace(r, j);
    if (strcmp(type, "ByteFallback") == 0) {
        r->t->decode.byte_marks = true;
        return r->fused ? refuse(r, "ByteFallback behind Fuse") : decode_add(r, DECODE_BYTE, "", "");
    }
    if (strcmp(type, "ByteLevel") == 0 && !r->fused) {
        r->fused = true;
        return decode_add(r, DECODE_LETTERS, "", "");
    }
    if (strcmp(type, "Fuse") == 0) {
        r->fused = true;
        return TD_OK;
    }
    return td_fail(r->err, TD_E_UNSUPPORTED, "decoder '%.40s' is not supported here", type);
}

td_rc tok_steps_decode(tokenizer *t, const td_json *j, td_err *err)
{
    decoder_reader r = {.t = t, .err = err};
    if (!j || cJSON_IsNull(j)) {
        t->decode.join_space = true;
        return TD_OK;
    }
    return decode_any(&r, j, 0);
}

/* Post-processors. */

static bool wrap(token_list *list, const token_list *with, bool before)
{
    token_list joined = {0};
    const token_list *parts[2] = {before ? with : list, before ? list : with};
    for (size_t p = 0; p < 2; p++) {
        for (size_t i = 0; i < parts[p]->count; i++) {
            if (!token_list_add(&joined, parts[p]->ids[i])) {
                token_list_free(&joined);
                return false;
            }
        }
    }
    token_list_free(list);
    *list = joined;
    return true;
}

/* The ids of one special token of a template. */
static td_rc template_ids(const td_json *special, const char *name, token_list *to, td_err *err)
{
    const td_json *ids = td_json_get(td_json_get(special, name), "ids");
    if (!cJSON_IsArray(ids))
        return td_fail(err, TD_E_MODEL, "post-processor names token '%.40s' without its ids", name);
    td_json_each(item, ids)
    {
        int64_t id;
        if (!td_json_int(item, &id) || id < 0 || id > INT32_MAX || to->count >= TD_TOK_TEMPLATE_MAX)
            return td_fail(err, TD_E_MODEL, "post-processor has a bad id for token '%.40s'", name);
        if (!token_list_add(to, (token_id)id))
            return td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    }
    return TD_OK;
}

static td_rc post_template(const td_json *j, token_list *before, token_list *after, td_err *err)
{
    int texts = 0;
    td_json_each(item, td_json_get(j, "single"))
    {
        const td_json *token = td_json_get(item, "SpecialToken");
        if (!token) {
            texts++;
            continue;
        }
        const td_json *special = td_json_get(j, "special_tokens");
        td_rc rc = template_ids(special, td_json_get_str(token, "id", ""), texts ? after : before, err);
        if (rc != TD_OK)
            return rc;
    }
    return texts == 1 ? TD_OK : td_fail(err, TD_E_MODEL, "post-processor has the text %d times, not once", texts);
}

static td_rc pair_id(const td_json *j, const char *key, token_list *to, td_err *err)
{
    const td_json *pair = td_json_get(j, key);
    int64_t id;
    if (!cJSON_IsArray(pair) || !pair->child || !td_json_int(pair->child->next, &id) || id < 0 || id > INT32_MAX)
        return td_fail(err, TD_E_MODEL, "post-processor needs %s with an id", key);
    return token_list_add(to, (token_id)id) ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
}

static td_rc post_any(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    const char *type = td_json_get_str(j, "type", "");
    td_rc rc = TD_OK;
    if (depth > TD_TOK_DEPTH_MAX)
        return td_fail(err, TD_E_MODEL, "a post-processor has more than %d sequences in each other", TD_TOK_DEPTH_MAX);
    if (strcmp(type, "ByteLevel") == 0) // only moves offsets
        return TD_OK;
    if (strcmp(type, "Sequence") == 0) {
        td_json_each(item, td_json_get(j, "processors"))
        {
            if (rc == TD_OK)
                rc = post_any(t, item, depth + 1, err);
        }
        return rc;
    }
    token_list before = {0}, after = {0};
    if (strcmp(type, "TemplateProcessing") == 0) {
        rc = post_template(j, &before, &after, err);
    } else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        rc = pair_id(j, "cls", &before, err);
        rc = rc == TD_OK ? pair_id(j, "sep", &after, err) : rc;
    } else {
        rc = td_fail(err, TD_E_UNSUPPORTED, "post-processor '%.40s' is not supported", type);
    }
    if (rc == TD_OK && t->prefix.count + t->suffix.count > TD_TOK_TEMPLATE_MAX)
        rc = td_fail(err, TD_E_MODEL, "post-processor puts more than %d tokens around a text", TD_TOK_TEMPLATE_MAX);
    if (rc == TD_OK && (!wrap(&t->prefix, &before, true) || !wrap(&t->suffix, &after, false)))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    token_list_free(&before);
    token_list_free(&after);
    return rc;
}

td_rc tok_steps_post(tokenizer *t, const td_json *j, td_err *err)
{
    return !j || cJSON_IsNull(j) ? TD_OK : post_any(t, j, 0, err);
}
