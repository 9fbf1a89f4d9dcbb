#include "server/logprobs.h"

#include "base/check.h"
#include "server/sse.h"

#include <string.h>

void logprob_number(td_buf *out, float v)
{
    if (!(v > -9999.0f))
        sse_lit(out, "-9999.0");
    else
        td_buf_json_num(out, (double)v, 9);
}

/* The token's text into `scratch`, which the callers share over a list. A token without text, as all of a model without
 * a tokenizer are, has its id for a name, so that tokens stay apart. A failure is one of `out`, where it is seen.
 * Returns whether it is the text. */
static bool token_text(td_buf *out, td_buf *scratch, const td_engine *e, int32_t id)
{
    td_buf_clear(scratch);
    bool has_text = td_token_text(e, id, scratch);
    if (!has_text && !scratch->failed)
        td_buf_fmt(scratch, "token_id:%d", (int)id);
    out->failed = out->failed || scratch->failed;
    return has_text;
}

static void comma(td_buf *out)
{
    if (out->len)
        td_buf_char(out, ',');
}

static void chat_fields(td_buf *out, td_buf *scratch, const td_engine *e, const td_logprob *p)
{
    token_text(out, scratch, e, p->id);
    sse_lit(out, "{\"token\":");
    td_buf_json_str(out, td_buf_cstr(scratch), scratch->len);
    sse_lit(out, ",\"logprob\":");
    logprob_number(out, p->logprob);
    sse_lit(out, ",\"bytes\":[");
    for (size_t i = 0; i < scratch->len; i++) {
        if (i)
            td_buf_char(out, ',');
        sse_int(out, (unsigned char)scratch->data[i]);
    }
    td_buf_char(out, ']');
}

void logprobs_chat(td_buf *out, const td_engine *e, const td_token_logprobs *lp, int32_t count)
{
    td_buf scratch = TD_BUF_INIT;
    for (int32_t i = 0; i < count; i++) {
        if (i || (out->len && out->data[out->len - 1] == '}'))
            td_buf_char(out, ',');
        chat_fields(out, &scratch, e, &lp[i].token);
        sse_lit(out, ",\"top_logprobs\":[");
        for (int32_t k = 0; k < lp[i].top_count; k++) {
            if (k)
                td_buf_char(out, ',');
            chat_fields(out, &scratch, e, &lp[i].top[k]);
            td_buf_char(out, '}');
        }
        sse_lit(out, "]}");
    }
    td_buf_free(&scratch);
}

static int64_t code_points(const td_buf *s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s->len; i++)
        n += ((unsigned char)s->data[i] & 0xC0) != 0x80;
    return n;
}

static bool is_among_top(const td_token_logprobs *lp, int32_t top)
{
    for (int32_t k = 0; k < top; k++)
        if (lp->top[k].id == lp->token.id)
            return true;
    return false;
}

/* {"text":logprob,…}, the token itself included. Two tokens may have the same text, and JSON keys must differ: the
 * first stays, which is the token itself or else the more probable one. */
static void completion_top(td_buf *out, td_buf *scratch, const td_engine *e, const td_token_logprobs *lp, int32_t top)
{
    td_buf seen[TD_LOGPROBS_MAX + 1] = {{.data = NULL}};
    int32_t n = 0;
    td_buf_char(out, '{');
    for (int32_t k = is_among_top(lp, top) ? 0 : -1; k < top; k++) {
        const td_logprob *p = k < 0 ? &lp->token : &lp->top[k];
        token_text(out, scratch, e, p->id);
        if (!td_buf_json_str(&seen[n], td_buf_cstr(scratch), scratch->len))
            out->failed = true;
        bool twice = false;
        for (int32_t j = 0; j < n; j++)
            twice = twice || (seen[j].len == seen[n].len && !memcmp(seen[j].data, seen[n].data, seen[n].len));
        if (twice) {
            td_buf_clear(&seen[n]);
            continue;
        }
        if (n)
            td_buf_char(out, ',');
        td_buf_add(out, td_buf_cstr(&seen[n]), seen[n].len);
        td_buf_char(out, ':');
        logprob_number(out, p->logprob);
        n++;
    }
    td_buf_char(out, '}');
    for (size_t k = 0; k < TD_COUNT(seen); k++)
        td_buf_free(&seen[k]);
}

void logprobs_completion(td_buf out[4], const td_engine *e, const td_token_logprobs *lp, int32_t count, int32_t top,
                         int64_t *chars)
{
    td_buf scratch = TD_BUF_INIT, other = TD_BUF_INIT;
    for (int32_t i = 0; i < count; i++) {
        for (int32_t k = 0; k < 4; k++)
            comma(&out[k]);
        bool has_text = token_text(&out[0], &scratch, e, lp[i].token.id);
        td_buf_json_str(&out[0], td_buf_cstr(&scratch), scratch.len);
        logprob_number(&out[1], lp[i].token.logprob);
        completion_top(&out[2], &other, e, &lp[i], TD_MIN(top, lp[i].top_count));
        sse_int(&out[3], *chars);
        *chars += has_text ? code_points(&scratch) : 0;
    }
    td_buf_free(&scratch);
    td_buf_free(&other);
}

void logprobs_completion_json(td_buf *out, const td_buf part[4])
{
    static const char *const names[] = {"{\"tokens\":[", "],\"token_logprobs\":[", "],\"top_logprobs\":[",
                                        "],\"text_offset\":["};
    for (int32_t k = 0; k < 4; k++) {
        td_buf_str(out, names[k]);
        td_buf_add(out, td_buf_cstr(&part[k]), part[k].len);
        out->failed = out->failed || part[k].failed;
    }
    sse_lit(out, "]}");
}

static void prompt_entry(td_buf *out, td_buf *scratch, const td_engine *e, const td_logprob *p)
{
    token_text(out, scratch, e, p->id);
    td_buf_char(out, '"');
    sse_int(out, p->id);
    sse_lit(out, "\":{\"logprob\":");
    logprob_number(out, p->logprob);
    sse_lit(out, ",\"rank\":");
    sse_int(out, p->rank);
    sse_lit(out, ",\"decoded_token\":");
    td_buf_json_str(out, td_buf_cstr(scratch), scratch->len);
    td_buf_char(out, '}');
}

void logprobs_prompt(td_buf *out, const td_engine *e, const td_token_logprobs *lp, int32_t count)
{
    td_buf scratch = TD_BUF_INIT;
    sse_lit(out, "[null");
    for (int32_t i = 0; i < count; i++) {
        sse_lit(out, ",{");
        prompt_entry(out, &scratch, e, &lp[i].token);
        for (int32_t k = 0; k < lp[i].top_count; k++) {
            if (lp[i].top[k].id == lp[i].token.id)
                continue;
            td_buf_char(out, ',');
            prompt_entry(out, &scratch, e, &lp[i].top[k]);
        }
        td_buf_char(out, '}');
    }
    td_buf_char(out, ']');
    td_buf_free(&scratch);
}
