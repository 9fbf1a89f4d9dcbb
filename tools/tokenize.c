/* tokenize, detokenize, render: text work that needs no weights. With --jsonl (render always) a bad line becomes an
 * {"error":…} line in its place and the exit status 1, so that output line n always belongs to input line n. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/limits.h"
#include "tools/lines.h"
#include "tools/open.h"
#include "tools/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STDIN_BYTES_MAX = 1 << 30, LINE_BYTES_MAX = 64 << 20 };

static void put_tokens(td_buf *out, const td_tokens *t)
{
    td_buf_str(out, "{\"tokens\":[");
    for (int32_t i = 0; i < t->count; i++)
        td_buf_fmt(out, "%s%d", i ? "," : "", t->ids[i]);
    td_buf_str(out, "]}\n");
}

static void put_string(td_buf *out, const char *key, const td_buf *text)
{
    td_buf_fmt(out, "{\"%s\":", key);
    td_buf_json_str(out, td_buf_cstr(text), text->len);
    td_buf_str(out, "}\n");
}

/* ------------------------------------------------------------------ one line each */

static td_rc tokenize_line(const td_engine *e, const flags *f, const td_json *in, td_buf *out, td_err *err)
{
    const char *text = td_json_str(td_json_get(in, "text"));
    if (!text)
        return td_fail_param(err, TD_E_INPUT, "text", "\"text\" must be a string");
    unsigned how = (td_json_get_bool(in, "add_special", flags_bool(f, "add-special")) ? TD_TEXT_ADD_SPECIAL : 0) |
                   (td_json_get_bool(in, "parse_special", flags_bool(f, "parse-special")) ? TD_TEXT_PARSE_SPECIAL : 0);
    td_tokens t = {NULL, 0};
    td_rc rc = td_tokenize(e, text, strlen(text), how, &t, err);
    if (!rc)
        put_tokens(out, &t);
    td_tokens_free(&t);
    return rc;
}

static td_rc ids_of(const td_json *array, td_tokens *out, td_err *err)
{
    if (!cJSON_IsArray(array))
        return td_fail_param(err, TD_E_INPUT, "tokens", "\"tokens\" must be an array of token ids");
    out->ids = td_alloc(((size_t)cJSON_GetArraySize(array) + 1) * sizeof *out->ids);
    if (!out->ids)
        return td_fail(err, TD_E_NOMEM, "no memory for token ids");
    td_json_each(item, array) {
        int64_t id;
        if (!td_json_int(item, &id) || id < 0 || id > INT32_MAX)
            return td_fail_param(err, TD_E_INPUT, "tokens", "tokens[%d] is not a token id", out->count);
        out->ids[out->count++] = (int32_t)id;
    }
    return TD_OK;
}

static td_rc detokenize_ids(const td_engine *e, const flags *f, const td_tokens *t, td_buf *out, td_err *err)
{
    td_buf text = TD_BUF_INIT;
    td_rc rc = td_detokenize(e, t->ids, t->count, flags_bool(f, "skip-special"), &text, err);
    if (!rc)
        put_string(out, "text", &text);
    td_buf_free(&text);
    return rc;
}

static td_rc detokenize_line(const td_engine *e, const flags *f, const td_json *in, td_buf *out, td_err *err)
{
    td_tokens t = {NULL, 0};
    td_rc rc = ids_of(td_json_get(in, "tokens"), &t, err);
    if (!rc)
        rc = detokenize_ids(e, f, &t, out, err);
    td_free(t.ids);
    return rc;
}

/* What is no parameter of rendering is a variable of the template. */
static td_json *template_kwargs(const td_json *in)
{
    static const char *const own[] = {"messages", "tools", "documents", "add_generation_prompt",
                                      "continue_final_message", "chat_template_kwargs"};
    td_json *kwargs = cJSON_Duplicate(td_json_get(in, "chat_template_kwargs"), true);
    if (!kwargs)
        kwargs = cJSON_CreateObject();
    td_json_each(item, in) {
        bool mine = false;
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            mine |= !strcmp(item->string, own[i]);
        if (mine || cJSON_GetObjectItemCaseSensitive(kwargs, item->string))
            continue;
        td_json *copy = cJSON_Duplicate(item, true);
        if (!kwargs || !copy || !cJSON_AddItemToObject(kwargs, item->string, copy)) {
            cJSON_Delete(copy);
            cJSON_Delete(kwargs);
            return NULL;
        }
    }
    return kwargs;
}

static td_rc render_line(const td_engine *e, const flags *f, const td_json *in, td_buf *out, td_err *err)
{
    (void)f;
    td_json *kwargs = template_kwargs(in);
    if (!kwargs)
        return td_fail(err, TD_E_NOMEM, "no memory for template variables");
    td_chat chat = {.messages = td_json_get(in, "messages"), .tools = td_json_get(in, "tools"),
                    .documents = td_json_get(in, "documents"), .template_kwargs = kwargs,
                    .no_generation_prompt = !td_json_get_bool(in, "add_generation_prompt", true),
                    .continue_final_message = td_json_get_bool(in, "continue_final_message", false)};
    td_buf text = TD_BUF_INIT;
    td_rc rc = TD_OK;
    if (!chat.messages)
        rc = td_fail_param(err, TD_E_INPUT, "messages", "\"messages\" is missing");
    else if (cJSON_IsArray(chat.messages) && !chat.messages->child)
        rc = td_fail_param(err, TD_E_INPUT, "messages", "\"messages\" is empty"); // as requests are answered
    else
        rc = td_render_chat(e, &chat, &text, err);
    if (!rc)
        put_string(out, "prompt", &text);
    td_buf_free(&text);
    td_json_free(kwargs);
    return rc;
}

/* ------------------------------------------------------------------ streams of lines */

typedef td_rc line_fn(const td_engine *e, const flags *f, const td_json *in, td_buf *out, td_err *err);

static void one_line(const td_engine *e, const flags *f, line_fn *fn, const td_buf *line, td_buf *out, td_err *err)
{
    td_json *in = NULL;
    td_rc rc = td_json_parse(td_buf_cstr(line), line->len, &td_json_file_limits, &in, err);
    if (!rc && !cJSON_IsObject(in))
        rc = td_fail(err, TD_E_INPUT, "a line must be a JSON object");
    if (!rc)
        fn(e, f, in, out, err);
    td_json_free(in);
}

static td_rc each_line(const td_engine *e, const flags *f, line_fn *fn, int *exit_status, td_err *err)
{
    lines in;
    lines_init(&in, STDIN_FILENO, LINE_BYTES_MAX);
    td_buf out = TD_BUF_INIT;
    td_rc rc = TD_OK;
    lines_result got;
    while (!rc && (got = lines_next(&in, err)) != LINES_END && got != LINES_ERROR) {
        td_err bad = TD_ERR_INIT;
        td_buf_clear(&out);
        if (got == LINES_TOO_LONG)
            td_fail(&bad, TD_E_TOOBIG, "line %llu is longer than %d bytes", (unsigned long long)in.number,
                    LINE_BYTES_MAX);
        else if (in.line.len)
            one_line(e, f, fn, &in.line, &out, &bad);
        if (bad.rc) {
            *exit_status = 1;
            td_buf_clear(&out);
            td_buf_str(&out, "{\"error\":");
            td_buf_json_str(&out, bad.msg, strlen(bad.msg));
            td_buf_str(&out, "}\n");
        }
        rc = output_buf(&out, err);
    }
    td_buf_free(&out);
    lines_free(&in);
    return rc ? rc : err->rc;
}

td_rc verb_render(const flags *f, int *exit_status, td_err *err)
{
    td_engine *e = NULL;
    td_rc rc = open_tokenizer(f, &e, err);
    if (!rc)
        rc = each_line(e, f, render_line, exit_status, err);
    td_engine_close(e);
    return rc;
}

/* ------------------------------------------------------------------ the whole of stdin */

static td_rc tokenize_all(const td_engine *e, const flags *f, const td_buf *in, td_buf *out, td_err *err)
{
    unsigned how = (flags_bool(f, "add-special") ? TD_TEXT_ADD_SPECIAL : 0) |
                   (flags_bool(f, "parse-special") ? TD_TEXT_PARSE_SPECIAL : 0);
    td_tokens t = {NULL, 0};
    td_rc rc = td_tokenize(e, td_buf_cstr(in), in->len, how, &t, err);
    if (!rc)
        put_tokens(out, &t);
    td_tokens_free(&t);
    return rc;
}

/* Numbers parted by anything that is no digit, or a JSON object with "tokens". */
static td_rc detokenize_all(const td_engine *e, const flags *f, const td_buf *in, td_buf *out, td_err *err)
{
    const char *p = td_buf_cstr(in);
    if (p[strspn(p, " \t\r\n")] == '{') {
        one_line(e, f, detokenize_line, in, out, err);
        return err->rc;
    }
    td_tokens t = {td_alloc((in->len / 2 + 2) * sizeof *t.ids), 0};
    td_rc rc = t.ids ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for token ids");
    while (!rc && *(p += strspn(p, " \t\r\n,[]"))) {
        char *end;
        long id = strtol(p, &end, 10);
        if (end == p || id < 0 || id > INT32_MAX)
            rc = td_fail(err, TD_E_INPUT, "'%.20s' is not a token id", p);
        else
            t.ids[t.count++] = (int32_t)id;
        p = end;
    }
    if (!rc)
        rc = detokenize_ids(e, f, &t, out, err);
    td_free(t.ids);
    return rc;
}

typedef td_rc all_fn(const td_engine *e, const flags *f, const td_buf *in, td_buf *out, td_err *err);

static td_rc text_verb(const flags *f, line_fn *line, all_fn *all, int *exit_status, td_err *err)
{
    td_engine *e = NULL;
    td_buf in = TD_BUF_INIT, out = TD_BUF_INIT;
    td_rc rc = open_tokenizer(f, &e, err);
    if (!rc && flags_bool(f, "jsonl")) {
        rc = each_line(e, f, line, exit_status, err);
    } else if (!rc) {
        rc = lines_read_all(STDIN_FILENO, STDIN_BYTES_MAX, &in, err);
        if (!rc)
            rc = all(e, f, &in, &out, err);
        if (!rc)
            rc = output_buf(&out, err);
    }
    td_buf_free(&in);
    td_buf_free(&out);
    td_engine_close(e);
    return rc;
}

td_rc verb_tokenize(const flags *f, int *exit_status, td_err *err)
{
    return text_verb(f, tokenize_line, tokenize_all, exit_status, err);
}

td_rc verb_detokenize(const flags *f, int *exit_status, td_err *err)
{
    return text_verb(f, detokenize_line, detokenize_all, exit_status, err);
}
