#include "model/tok_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "model/tok_pattern.h"

#include <string.h>

enum {
    WINDOW = 512,          // start positions per call: bounds what a search that fails everywhere costs at once
    CALLS_PER_CHECK = 64,  // the clock is a system call
    JIT_STACK_MAX = 8 << 20
};
#define BUDGET_NS 2000000000ull // and one microsecond a byte: far beyond what any real pattern needs
#define BUDGET_NS_PER_BYTE 1000ull

struct tok_regex {
    pcre2_code *code;
};

static void *regex_malloc(size_t bytes, void *ctx)
{
    (void)ctx;
    return td_alloc(bytes);
}

static void regex_release(void *p, void *ctx)
{
    (void)ctx;
    td_free(p);
}

static td_rc regex_nomem(td_err *err)
{
    return td_fail(err, TD_E_NOMEM, "not enough memory for a regular expression");
}

/* 0 or PCRE2's error code and offset. */
static int compile(const td_buf *text, tok_regex *r, size_t *at)
{
    int rc = PCRE2_ERROR_NOMEMORY;
    pcre2_general_context *mem = pcre2_general_context_create(regex_malloc, regex_release, NULL);
    pcre2_compile_context *ctx = mem ? pcre2_compile_context_create(mem) : NULL;
    if (ctx) {
        pcre2_set_newline(ctx, PCRE2_NEWLINE_LF);
        uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C |
                           PCRE2_NO_UTF_CHECK;
        r->code = pcre2_compile((PCRE2_SPTR)text->data, text->len, options, &rc, at, ctx);
        rc = r->code ? 0 : rc;
    }
    pcre2_compile_context_free(ctx);
    pcre2_general_context_free(mem);
    return rc;
}

void tok_regex_free(tok_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    td_free(r);
}

void tok_matcher_start(tok_matcher *m, size_t len)
{
    m->deadline_ns = td_thread_cpu_ns() + BUDGET_NS + BUDGET_NS_PER_BYTE * len;
    m->calls = 0;
}

void tok_matcher_free(tok_matcher *m)
{
    pcre2_jit_stack_free(m->stack);
    pcre2_match_context_free(m->context);
    pcre2_match_data_free(m->data);
    *m = (tok_matcher){0};
}

static bool matcher_ready(tok_matcher *m)
{
    if (m->data && m->context)
        return true;
    pcre2_general_context *mem = pcre2_general_context_create(regex_malloc, regex_release, NULL);
    if (mem && !m->data)
        m->data = pcre2_match_data_create(1, mem);
    if (mem && !m->context && (m->context = pcre2_match_context_create(mem)) != NULL) {
        pcre2_set_match_limit(m->context, TD_TOK_REGEX_MATCH_MAX);
        pcre2_set_heap_limit(m->context, TD_TOK_REGEX_HEAP_KB_MAX);
    }
    pcre2_general_context_free(mem);
    return m->data && m->context;
}

/* One PCRE2 call. The machine stack that JIT code gets by default is 32 KB; when that is too little it gets its own,
 * and when that is too little the interpreter takes over, whose memory is on the heap and limited. */
static int match_once(const tok_regex *r, tok_matcher *m, const char *s, size_t len, size_t from)
{
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(r->code, (PCRE2_SPTR)s, len, from, options, m->data, m->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !m->stack) {
        m->stack = pcre2_jit_stack_create(64 << 10, JIT_STACK_MAX, NULL);
        if (m->stack)
            pcre2_jit_stack_assign(m->context, NULL, m->stack);
        rc = pcre2_match(r->code, (PCRE2_SPTR)s, len, from, options, m->data, m->context);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(r->code, (PCRE2_SPTR)s, len, from, options | PCRE2_NO_JIT, m->data, m->context);
    return rc;
}

static td_rc match_failed(int code, td_err *err)
{
    if (code == PCRE2_ERROR_NOMEMORY)
        return regex_nomem(err);
    if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_HEAPLIMIT || code == PCRE2_ERROR_DEPTHLIMIT)
        return td_fail(err, TD_E_INPUT, "the tokenizer's regular expression needs too many steps for this text");
    char why[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    return td_fail(err, TD_E_INPUT, "the tokenizer's regular expression cannot be run on this text: %s", why);
}

static td_rc check_time(tok_matcher *m, td_err *err)
{
    if (++m->calls % CALLS_PER_CHECK || td_thread_cpu_ns() < m->deadline_ns)
        return TD_OK;
    return td_fail(err, TD_E_INPUT, "the tokenizer's regular expression takes too long for this text");
}

td_rc tok_regex_find(const tok_regex *r, tok_matcher *m, const char *s, size_t len, size_t from, bool *found,
                     size_t *begin, size_t *end, td_err *err)
{
    if (!matcher_ready(m))
        return regex_nomem(err);
    *found = false;
    while (from <= len) {
        td_rc rc = check_time(m, err);
        if (rc != TD_OK)
            return rc;
        size_t last = from + WINDOW < len ? from + WINDOW : len;
        pcre2_set_offset_limit(m->context, last);
        int code = match_once(r, m, s, len, from);
        if (code >= 0) {
            const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(m->data);
            // \K in a lookahead may put the beginning behind the end; such a match is none.
            *begin = ov[0], *end = ov[1];
            *found = ov[0] <= ov[1] && ov[0] >= from;
            return TD_OK;
        }
        if (code != PCRE2_ERROR_NOMATCH)
            return match_failed(code, err);
        from = last + 1;
        while (from < len && ((unsigned char)s[from] & 0xC0) == 0x80)
            from++;
    }
    return TD_OK;
}

/* Some patterns compile and can never be run, such as one that calls itself before it takes a character: they are found
 * here and not by the first user's text. */
static td_rc try_out(const tok_regex *r, const char *pattern, td_err *err)
{
    static const char text[] = "It's 3.14 \tA__b-C\r\n\n  caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC <|x|>{\"y\"}!";
    tok_matcher m = {0};
    td_err why = TD_ERR_INIT;
    td_rc rc = TD_OK;
    bool found = true;
    tok_matcher_start(&m, sizeof text - 1);
    size_t at = 0, begin = 0, end = 0;
    for (; rc == TD_OK && found && at < sizeof text - 1; at = end > at ? end : at + 1) {
        while (((unsigned char)text[at] & 0xC0) == 0x80)
            at++;
        rc = tok_regex_find(r, &m, text, sizeof text - 1, at, &found, &begin, &end, &why);
    }
    tok_matcher_free(&m);
    if (rc == TD_OK || rc == TD_E_NOMEM)
        return rc == TD_OK ? TD_OK : regex_nomem(err);
    return td_fail(err, TD_E_MODEL, "regular expression '%.80s' cannot be run: %s", pattern, why.msg);
}

td_rc tok_regex_new(const char *pattern, size_t len, tok_regex **out, td_err *err)
{
    td_buf text = TD_BUF_INIT;
    size_t at = 0;
    td_rc rc = tok_pattern_rewrite(pattern, len, &text, err);
    tok_regex *r = rc == TD_OK ? td_alloc(sizeof *r) : NULL;
    int code = r ? compile(&text, r, &at) : PCRE2_ERROR_NOMEMORY;
    if (rc == TD_OK && code == 0) {
        pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); // may fail where memory cannot be made executable: only slower
        rc = try_out(r, pattern, err);
    } else if (rc == TD_OK) {
        char why[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        bool nomem = !r || code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED;
        rc = nomem ? regex_nomem(err)
                   : td_fail(err, TD_E_MODEL, "regular expression '%.80s' is not accepted: %s", pattern, why);
    }
    td_buf_free(&text);
    if (rc == TD_OK)
        *out = r;
    else
        tok_regex_free(r);
    return rc;
}
