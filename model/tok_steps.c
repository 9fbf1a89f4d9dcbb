/* Normalizers and pre-tokenizers. Each kind is a row: its name in the file and what it adds. */
#include "model/tok_steps.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

/* What the reference's own engine calls a word character; tok_pattern.c's \w is that of the patterns in files. */
#define WORD                                                                                                     \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}" \
    "\\x{1F170}-\\x{1F189}"
#define PUNCTUATION "[!-/:-@\\[-`{-~\\p{P}]"

typedef td_rc (*step_reader)(tokenizer *t, const td_json *j, int depth, td_err *err);
typedef struct step_kind {
    const char *type;
    step_reader read;
} step_kind;

const char *tok_steps_pattern(const td_json *j, bool *literal)
{
    const char *regex = td_json_str(td_json_get(j, "Regex")), *text = td_json_str(td_json_get(j, "String"));
    *literal = !regex;
    return regex ? regex : text;
}

static td_rc read_one(const step_kind *kinds, size_t count, const char *what, tokenizer *t, const td_json *j, int depth,
                      td_err *err)
{
    if (!j || cJSON_IsNull(j))
        return TD_OK;
    const char *type = td_json_get_str(j, "type", NULL);
    if (!type)
        return td_fail(err, TD_E_MODEL, "a %s has no type", what);
    if (depth > TD_TOK_DEPTH_MAX)
        return td_fail(err, TD_E_MODEL, "a %s has more than %d sequences in each other", what, TD_TOK_DEPTH_MAX);
    for (size_t i = 0; i < count; i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].read(t, j, depth, err);
    return td_fail(err, TD_E_UNSUPPORTED, "%s '%.40s' is not supported", what, type);
}

/* Normalizers. */

static td_rc norm_any(tokenizer *t, const td_json *j, int depth, td_err *err);

static td_rc norm_plain(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    static const struct {
        const char *type;
        norm_kind kind;
    } kinds[] = {{"NFC", NORM_NFC}, {"NFD", NORM_NFD}, {"NFKC", NORM_NFKC}, {"NFKD", NORM_NFKD},
                 {"Lowercase", NORM_LOWERCASE}, {"StripAccents", NORM_STRIP_ACCENTS}, {"Nmt", NORM_NMT},
                 {"ByteLevel", NORM_LETTERS}};
    (void)depth;
    const char *type = td_json_get_str(j, "type", "");
    for (size_t i = 0; i < TD_COUNT(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return tok_norm_add(&t->norm, kinds[i].kind, err) ? TD_OK : TD_E_UNSUPPORTED;
    return td_fail(err, TD_E_UNSUPPORTED, "normalizer '%.40s' is not supported", type);
}

static td_rc norm_prepend(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    return tok_norm_add_prepend(&t->norm, td_json_get_str(j, "prepend", ""), err);
}

static td_rc norm_replace(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    bool literal;
    const char *from = tok_steps_pattern(td_json_get(j, "pattern"), &literal);
    const char *to = td_json_get_str(j, "content", NULL);
    if (!from || !to)
        return td_fail(err, TD_E_MODEL, "normalizer Replace needs pattern and content");
    return tok_norm_add_replace(&t->norm, from, literal, to, err);
}

static td_rc norm_strip(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    norm_step *s = tok_norm_add(&t->norm, NORM_STRIP, err);
    if (!s)
        return TD_E_UNSUPPORTED;
    s->left = td_json_get_bool(j, "strip_left", true);
    s->right = td_json_get_bool(j, "strip_right", true);
    return TD_OK;
}

static td_rc norm_charsmap(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    const char *base64 = td_json_get_str(j, "precompiled_charsmap", "");
    if (!*base64)
        return TD_OK; // an empty table changes nothing
    norm_step *s = tok_norm_add(&t->norm, NORM_CHARSMAP, err);
    return s ? tok_charsmap_new_base64(base64, &s->charsmap, err) : TD_E_UNSUPPORTED;
}

static td_rc norm_sequence(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    td_rc rc = TD_OK;
    td_json_each(item, td_json_get(j, "normalizers"))
    {
        if (rc == TD_OK)
            rc = norm_any(t, item, depth + 1, err);
    }
    return rc;
}

static td_rc norm_any(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    static const step_kind kinds[] = {
        {"NFC", norm_plain}, {"NFD", norm_plain}, {"NFKC", norm_plain}, {"NFKD", norm_plain}, {"Lowercase", norm_plain},
        {"StripAccents", norm_plain}, {"Nmt", norm_plain}, {"ByteLevel", norm_plain}, {"Prepend", norm_prepend},
        {"Replace", norm_replace}, {"Strip", norm_strip}, {"Precompiled", norm_charsmap}, {"Sequence", norm_sequence}};
    return read_one(kinds, TD_COUNT(kinds), "normalizer", t, j, depth, err);
}

td_rc tok_steps_norm(tokenizer *t, const td_json *j, td_err *err) { return norm_any(t, j, 0, err); }

/* Pre-tokenizers. */

static td_rc pre_any(tokenizer *t, const td_json *j, int depth, td_err *err);

static td_rc behavior_of(const td_json *j, pretok_behavior dflt, pretok_behavior *out, td_err *err)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = td_json_get_str(j, "behavior", NULL);
    *out = dflt;
    for (size_t i = 0; name && i < TD_COUNT(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (pretok_behavior)i;
            return TD_OK;
        }
    }
    return name ? td_fail(err, TD_E_UNSUPPORTED, "behaviour '%.40s' of a split is not supported", name) : TD_OK;
}

static td_rc add_regex(tokenizer *t, const char *pattern, pretok_behavior behavior, bool invert, td_err *err)
{
    return pretok_add_split(&t->pre, pattern, strlen(pattern), false, behavior, invert, err);
}

static td_rc pre_byte_level(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    td_rc rc = TD_OK;
    if (td_json_get_bool(j, "add_prefix_space", true))
        rc = pretok_add_plain(&t->pre, PRETOK_PREFIX_SPACE, err);
    if (rc == TD_OK && td_json_get_bool(j, "use_regex", true))
        rc = add_regex(t, pretok_gpt2, PRETOK_ISOLATED, false, err);
    return rc == TD_OK ? pretok_add_plain(&t->pre, PRETOK_BYTES, err) : rc;
}

static td_rc pre_split(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    bool literal;
    pretok_behavior behavior;
    const char *pattern = tok_steps_pattern(td_json_get(j, "pattern"), &literal);
    if (!pattern)
        return td_fail(err, TD_E_MODEL, "pre-tokenizer Split has no pattern");
    td_rc rc = behavior_of(j, PRETOK_ISOLATED, &behavior, err);
    if (rc != TD_OK)
        return rc;
    bool invert = td_json_get_bool(j, "invert", false);
    return pretok_add_split(&t->pre, pattern, strlen(pattern), literal, behavior, invert, err);
}

static td_rc pre_digits(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    const char *pattern = td_json_get_bool(j, "individual_digits", false) ? "\\p{N}" : "\\p{N}+";
    return add_regex(t, pattern, PRETOK_ISOLATED, false, err);
}

static td_rc pre_metaspace(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    const char *scheme = td_json_get_str(j, "prepend_scheme", "always");
    pretok_prepend prepend = strcmp(scheme, "never") == 0   ? PRETOK_NEVER
                             : strcmp(scheme, "first") == 0 ? PRETOK_FIRST
                                                            : PRETOK_ALWAYS;
    if (!td_json_get_bool(j, "add_prefix_space", true))
        prepend = PRETOK_NEVER; // as older files say it
    const char *mark = td_json_get_str(j, "replacement", TOK_SPACE);
    return *mark ? pretok_add_metaspace(&t->pre, mark, prepend, td_json_get_bool(j, "split", true), err)
                 : td_fail(err, TD_E_MODEL, "pre-tokenizer Metaspace has no replacement");
}

static td_rc pre_punctuation(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    pretok_behavior behavior;
    td_rc rc = behavior_of(j, PRETOK_ISOLATED, &behavior, err);
    return rc == TD_OK ? add_regex(t, PUNCTUATION, behavior, false, err) : rc;
}

static td_rc pre_whitespace(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)j, (void)depth;
    return add_regex(t, "[" WORD "]+|[^" WORD "\\s]+", PRETOK_REMOVED, true, err);
}

static td_rc pre_whitespace_split(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)j, (void)depth;
    return add_regex(t, "\\s", PRETOK_REMOVED, false, err);
}

static td_rc pre_bert(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    td_rc rc = pre_whitespace_split(t, j, depth, err);
    return rc == TD_OK ? add_regex(t, PUNCTUATION, PRETOK_ISOLATED, false, err) : rc;
}

static td_rc pre_delimiter(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    const char *text = td_json_get_str(j, "delimiter", "");
    return pretok_add_split(&t->pre, text, strlen(text), true, PRETOK_REMOVED, false, err);
}

static td_rc pre_fixed_length(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    (void)depth;
    char pattern[32];
    int64_t n = td_json_get_int(j, "length", 5);
    if (n < 1 || n > 65535)
        return td_fail(err, TD_E_MODEL, "pre-tokenizer FixedLength has length %lld", (long long)n);
    snprintf(pattern, sizeof pattern, "(?m:.{1,%lld})", (long long)n);
    return add_regex(t, pattern, PRETOK_ISOLATED, false, err);
}

static td_rc pre_sequence(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    td_rc rc = TD_OK;
    td_json_each(item, td_json_get(j, "pretokenizers"))
    {
        if (rc == TD_OK)
            rc = pre_any(t, item, depth + 1, err);
    }
    return rc;
}

static td_rc pre_any(tokenizer *t, const td_json *j, int depth, td_err *err)
{
    static const step_kind kinds[] = {
        {"ByteLevel", pre_byte_level}, {"Split", pre_split}, {"Digits", pre_digits}, {"Metaspace", pre_metaspace},
        {"Punctuation", pre_punctuation}, {"Whitespace", pre_whitespace}, {"WhitespaceSplit", pre_whitespace_split},
        {"BertPreTokenizer", pre_bert}, {"CharDelimiterSplit", pre_delimiter}, {"FixedLength", pre_fixed_length},
        {"Sequence", pre_sequence}};
    return read_one(kinds, TD_COUNT(kinds), "pre-tokenizer", t, j, depth, err);
}

td_rc tok_steps_pre(tokenizer *t, const td_json *j, td_err *err) { return pre_any(t, j, 0, err); }
