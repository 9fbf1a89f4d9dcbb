#include "base/json_scan.h"

#include "base/arena.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const td_json_limits td_json_request_limits = {TD_JSON_DEPTH_MAX, TD_JSON_NODES_MAX};
const td_json_limits td_json_file_limits = {TD_JSON_DEPTH_MAX, TD_JSON_FILE_NODES_MAX};

/* Keys seen so far: an open-addressed set of 64-bit hashes of (object number, decoded key). A false match would
 * refuse a good text with a chance of 2^-64 per pair, and can never accept a bad one. */
typedef struct key_set {
    uint64_t *slot; // 0 = empty
    size_t cap, used;
} key_set;

typedef struct scanner {
    const char *s;
    size_t len, at;
    const td_json_limits *lim;
    int64_t nodes;
    uint64_t objects; // numbered from 1
    int depth;
    struct {
        char kind;    // '{' or '['
        uint64_t object;
    } stack[TD_JSON_STACK_MAX];
    key_set keys;
    td_buf text;      // decoded key
    td_buf *rewritten;
    size_t copied;    // bytes of s already in *rewritten
    td_err *err;
} scanner;

static td_rc bad(scanner *c, const char *what)
{
    return td_fail(c->err, TD_E_INPUT, "invalid JSON at byte %zu: %s", c->at, what);
}

static bool keys_put(uint64_t *slot, size_t cap, uint64_t h)
{
    for (size_t i = h & (cap - 1);; i = (i + 1) & (cap - 1)) {
        if (slot[i] == h)
            return false;
        if (slot[i] == 0) {
            slot[i] = h;
            return true;
        }
    }
}

static td_rc keys_add(scanner *c, uint64_t h)
{
    key_set *k = &c->keys;
    if (k->used * 2 >= k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 64;
        uint64_t *slot = td_alloc(cap * sizeof *slot);
        if (!slot)
            return td_fail(c->err, TD_E_NOMEM, "not enough memory to check a JSON text");
        for (size_t i = 0; i < k->cap; i++)
            if (k->slot[i])
                keys_put(slot, cap, k->slot[i]);
        td_free(k->slot);
        k->slot = slot;
        k->cap = cap;
    }
    if (!keys_put(k->slot, k->cap, h ? h : 1))
        return bad(c, "duplicate key");
    k->used++;
    return TD_OK;
}

static int hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char ch = s[i];
        int d = ch >= '0' && ch <= '9'   ? ch - '0'
                : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                         : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* After the backslash; appends the decoded character to c->text when `keep`. */
static td_rc scan_escape(scanner *c, bool keep)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c->at >= c->len)
        return bad(c, "string not closed");
    char ch = c->s[c->at++];
    const char *p = ch ? strchr(from, ch) : NULL;
    if (p) {
        if (keep)
            td_buf_char(&c->text, to[p - from]);
        return TD_OK;
    }
    if (ch != 'u')
        return bad(c, "unknown escape");
    int v = c->len - c->at >= 4 ? hex4(c->s + c->at) : -1;
    if (v < 0)
        return bad(c, "\\u needs four hex digits");
    c->at += 4;
    uint32_t cp = (uint32_t)v;
    if (v >= 0xD800 && v <= 0xDFFF) {
        bool pair = v < 0xDC00 && c->len - c->at >= 6 && c->s[c->at] == '\\' && c->s[c->at + 1] == 'u';
        int low = pair ? hex4(c->s + c->at + 2) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return bad(c, "lone surrogate");
        c->at += 6;
        cp = 0x10000u + ((cp - 0xD800u) << 10) + (uint32_t)(low - 0xDC00);
    }
    if (cp == 0)
        return bad(c, "\\u0000 is not accepted");
    char out[4];
    if (keep)
        td_buf_add(&c->text, out, td_utf8_encode(cp, out));
    return TD_OK;
}

/* At the opening quote. Decodes into c->text when `keep`. */
static td_rc scan_string(scanner *c, bool keep)
{
    td_buf_clear(&c->text);
    c->at++;
    while (c->at < c->len) {
        unsigned char ch = (unsigned char)c->s[c->at];
        if (ch == '"') {
            c->at++;
            return keep && c->text.failed ? td_fail(c->err, TD_E_NOMEM, "not enough memory for a JSON key") : TD_OK;
        }
        if (ch == '\\') {
            c->at++;
            td_rc rc = scan_escape(c, keep);
            if (rc != TD_OK)
                return rc;
            continue;
        }
        if (ch < 0x20)
            return bad(c, "raw control character in a string");
        size_t n = ch < 0x80 ? 1 : td_utf8_len(c->s + c->at, c->len - c->at);
        if (n == 0)
            return bad(c, "not UTF-8");
        if (keep)
            td_buf_add(&c->text, c->s + c->at, n);
        c->at += n;
    }
    return bad(c, "string not closed");
}

static size_t digits(scanner *c)
{
    size_t from = c->at;
    while (c->at < c->len && c->s[c->at] >= '0' && c->s[c->at] <= '9')
        c->at++;
    return c->at - from;
}

/* Replaces the number just read by "\xFF<text>" in *rewritten, so that the text survives. */
static td_rc rewrite(scanner *c, size_t from, const char *text)
{
    td_buf_add(c->rewritten, c->s + c->copied, from - c->copied);
    td_buf_fmt(c->rewritten, "\"\xFF%s\"", text);
    c->copied = c->at;
    return c->rewritten->failed ? td_fail(c->err, TD_E_NOMEM, "not enough memory for a JSON text") : TD_OK;
}

/* 1.0 is not 1 to whoever prints it; 1.5 cannot be mistaken. */
static td_rc rewrite_float(scanner *c, size_t from, const char *text)
{
    double v = strtod(text, NULL);
    if (!isfinite(v))
        return bad(c, "number out of range");
    return v == floor(v) && c->rewritten ? rewrite(c, from, text) : TD_OK;
}

/* A whole number beyond 2^53 would lose digits. One beyond 64 bits is JSON all the same: whoever wants a whole number
 * gets none, and can say which field holds it. */
static td_rc rewrite_int(scanner *c, size_t from, const char *text)
{
    errno = 0;
    long long v = strtoll(text, NULL, 10);
    if ((errno != ERANGE && (v > 0 ? v : -(v + 1)) < (1LL << 53)) || !c->rewritten)
        return TD_OK;
    return rewrite(c, from, text);
}

static td_rc scan_number(scanner *c)
{
    size_t from = c->at;
    bool whole = true;
    if (c->s[c->at] == '-')
        c->at++;
    bool zero = c->at < c->len && c->s[c->at] == '0';
    size_t n = digits(c);
    if (n == 0 || (zero && n > 1))
        return bad(c, n ? "leading zero" : "expected a value");
    if (c->at < c->len && c->s[c->at] == '.') {
        whole = false;
        c->at++;
        if (digits(c) == 0)
            return bad(c, "digits must follow the point");
    }
    if (c->at < c->len && (c->s[c->at] == 'e' || c->s[c->at] == 'E')) {
        whole = false;
        c->at++;
        if (c->at < c->len && (c->s[c->at] == '+' || c->s[c->at] == '-'))
            c->at++;
        if (digits(c) == 0)
            return bad(c, "digits must follow the exponent sign");
    }
    char text[64]; // cJSON copies 63 characters of a number at most, so longer ones are refused here
    if (c->at - from >= sizeof text - 1)
        return bad(c, "number with too many digits");
    memcpy(text, c->s + from, c->at - from);
    text[c->at - from] = 0;
    if (whole && c->at - from >= 16)
        return rewrite_int(c, from, text);
    return whole ? TD_OK : rewrite_float(c, from, text);
}

static void skip_space(scanner *c)
{
    while (c->at < c->len && (c->s[c->at] == ' ' || c->s[c->at] == '\t' || c->s[c->at] == '\n' || c->s[c->at] == '\r'))
        c->at++;
}

static bool scan_word(scanner *c, const char *word)
{
    size_t n = strlen(word);
    if (c->len - c->at < n || memcmp(c->s + c->at, word, n))
        return false;
    c->at += n;
    return true;
}

static td_rc scan_key(scanner *c)
{
    skip_space(c);
    if (c->at >= c->len || c->s[c->at] != '"')
        return bad(c, "expected a key");
    td_rc rc = scan_string(c, true);
    if (rc == TD_OK)
        rc = keys_add(c, td_hash64(td_buf_cstr(&c->text), c->text.len, c->stack[c->depth - 1].object));
    if (rc != TD_OK)
        return rc;
    skip_space(c);
    if (c->at >= c->len || c->s[c->at] != ':')
        return bad(c, "expected ':'");
    c->at++;
    return TD_OK;
}

/* One value's beginning. An opened, non-empty container returns with *opened and the cursor before its first item. */
static td_rc scan_value(scanner *c, bool *opened)
{
    *opened = false;
    skip_space(c);
    if (c->at >= c->len)
        return bad(c, "text ends where a value should be");
    if (++c->nodes > c->lim->nodes_max)
        return bad(c, "too many values");
    char ch = c->s[c->at];
    if (ch == '"')
        return scan_string(c, false);
    if (ch == '-' || (ch >= '0' && ch <= '9'))
        return scan_number(c);
    if (ch != '{' && ch != '[')
        return scan_word(c, "true") || scan_word(c, "false") || scan_word(c, "null") ? TD_OK
                                                                                     : bad(c, "expected a value");
    if (c->depth >= c->lim->depth_max || c->depth >= TD_JSON_STACK_MAX)
        return bad(c, "nested too deeply");
    c->at++;
    c->stack[c->depth].kind = ch;
    c->stack[c->depth++].object = ++c->objects;
    skip_space(c);
    if (c->at < c->len && c->s[c->at] == (ch == '{' ? '}' : ']')) {
        c->at++;
        c->depth--;
        return TD_OK;
    }
    *opened = true;
    return ch == '{' ? scan_key(c) : TD_OK;
}

/* After a value: closes what ends here and stops before the next item, or at depth 0. */
static td_rc scan_after(scanner *c)
{
    while (c->depth) {
        bool object = c->stack[c->depth - 1].kind == '{';
        skip_space(c);
        char ch = c->at < c->len ? c->s[c->at] : 0;
        if (ch == ',') {
            c->at++;
            return object ? scan_key(c) : TD_OK;
        }
        if (ch != (object ? '}' : ']'))
            return bad(c, object ? "expected ',' or '}'" : "expected ',' or ']'");
        c->at++;
        c->depth--;
    }
    return TD_OK;
}

td_rc td_json_scan_rewrite(const char *s, size_t len, const td_json_limits *lim, td_buf *rewritten, td_err *err)
{
    scanner *c = td_alloc(sizeof *c);
    if (!c)
        return td_fail(err, TD_E_NOMEM, "not enough memory to check a JSON text");
    *c = (scanner){.s = s, .len = len, .lim = lim, .rewritten = rewritten, .err = err};
    td_rc rc;
    do {
        bool opened;
        rc = scan_value(c, &opened);
        if (rc == TD_OK && !opened)
            rc = scan_after(c);
    } while (rc == TD_OK && c->depth);
    if (rc == TD_OK) {
        skip_space(c);
        if (c->at < c->len)
            rc = bad(c, "text after the value");
    }
    if (rc == TD_OK && c->copied && !td_buf_add(rewritten, s + c->copied, len - c->copied))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for a JSON text");
    td_free(c->keys.slot);
    td_buf_free(&c->text);
    td_free(c);
    return rc;
}

td_rc td_json_scan(const char *s, size_t len, const td_json_limits *lim, td_err *err)
{
    return td_json_scan_rewrite(s, len, lim, NULL, err);
}
