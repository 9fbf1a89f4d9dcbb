/* Where a chat template comes from, and a request's way through it. */
#include "model/chat_int.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "model/jinja_str.h"
#include "model/json_model.h"

#include <stdio.h>
#include <string.h>

/* Put behind the text of the message to be continued, and searched for in the prompt. The space at its end tells
 * whether the template keeps space there. */
static const char continue_tag[] = "CONTINUE_FINAL_MESSAGE_TAG ";

/* ---- special tokens ---- */

static bool add_token(td_json *vars, const char *name, const tokenizer *tok, token_id id)
{
    size_t len;
    const char *raw = id >= 0 ? tokenizer_raw(tok, id, &len) : NULL;
    if (!raw || memchr(raw, 0, len))
        return true;
    td_buf b = TD_BUF_INIT;
    bool ok = td_buf_add(&b, raw, len) && cJSON_AddStringToObject(vars, name, td_buf_cstr(&b));
    td_buf_free(&b);
    return ok;
}

static td_json *token_vars(const tokenizer *tok)
{
    td_json *vars = cJSON_CreateObject();
    bool ok = vars && (!tok || (add_token(vars, "bos_token", tok, tokenizer_bos(tok)) &&
                                add_token(vars, "eos_token", tok, tokenizer_eos(tok)) &&
                                add_token(vars, "unk_token", tok, tokenizer_unk(tok)) &&
                                add_token(vars, "pad_token", tok, tokenizer_pad(tok))));
    if (ok)
        return vars;
    td_json_free(vars);
    return NULL;
}

/* tokenizer_config.json names the special tokens as the renderer of Hugging Face sees them: what is null there is no
 * variable, whatever the tokenizer knows. */
static bool config_tokens(td_json *vars, const td_json *config)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                        "sep_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < TD_COUNT(names); i++) {
        const td_json *v = cJSON_GetObjectItemCaseSensitive(config, names[i]);
        if (!v)
            continue;
        cJSON_DeleteItemFromObjectCaseSensitive(vars, names[i]);
        const char *text = cJSON_IsObject(v) ? td_json_get_str(v, "content", NULL) : td_json_str(v);
        if (text && !cJSON_AddStringToObject(vars, names[i], text))
            return false;
    }
    return true;
}

/* ---- making one ---- */

static td_rc nomem(td_err *err) { return td_fail(err, TD_E_NOMEM, "not enough memory for a chat template"); }

static td_rc parse(const char *source, size_t len, jinja **out, td_err *err)
{
    td_err why = TD_ERR_INIT;
    td_rc rc = jinja_parse(source, len, out, &why);
    if (rc == TD_OK)
        return rc;
    return td_fail(err, rc == TD_E_INPUT ? TD_E_MODEL : rc, "the chat template: %s", why.msg);
}

/* The text becomes the plain template, or the one for tools. */
static td_rc set_source(chat_template *t, const char *source, size_t len, const char *origin, bool tool_use,
                        td_err *err)
{
    jinja **which = tool_use ? &t->tool_use : &t->plain;
    if (*which)
        return TD_OK; // the first of a name counts
    td_rc rc = parse(source, len, which, err);
    if (rc != TD_OK || (tool_use && t->source))
        return rc;
    char *copy = td_alloc(len + 1);
    if (!copy)
        return nomem(err);
    memcpy(copy, source, len);
    td_free(t->source);
    t->source = copy;
    snprintf(t->origin, sizeof t->origin, "%s", origin);
    return TD_OK;
}

static td_rc from_file(chat_template *t, const char *path, const char *origin, td_err *err)
{
    char *text;
    size_t len;
    td_rc rc = td_file_read(path, TD_JINJA_SOURCE_BYTES_MAX, &text, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = set_source(t, text, len, origin, false, err);
    if (rc != TD_OK)
        td_err_prefix(err, "%s", path);
    td_free(text);
    return rc;
}

/* "chat_template": a text, or [{"name": …, "template": …}] of which default and tool_use are used. */
static td_rc from_config(chat_template *t, const td_json *config, const char *origin, td_err *err)
{
    const td_json *v = td_json_get(config, "chat_template");
    const char *text = td_json_str(v);
    if (text)
        return set_source(t, text, strlen(text), origin, false, err);
    td_rc rc = TD_OK;
    td_json_each(entry, cJSON_IsArray(v) ? v : NULL)
    {
        const char *name = td_json_get_str(entry, "name", ""), *one = td_json_get_str(entry, "template", NULL);
        bool tool_use = !strcmp(name, "tool_use");
        if (rc == TD_OK && one && (tool_use || !strcmp(name, "default")))
            rc = set_source(t, one, strlen(one), origin, tool_use, err);
    }
    return rc;
}

static td_rc join(td_buf *b, const char *dir, const char *file, td_err *err)
{
    td_buf_clear(b);
    td_buf_str(b, dir);
    td_buf_char(b, '/');
    return td_buf_str(b, file) ? TD_OK : nomem(err);
}

static td_rc from_json_file(chat_template *t, const char *dir, const char *file, bool tokens, td_err *err)
{
    td_json *config;
    td_rc rc = model_json_read(dir, file, &config, err);
    if (rc != TD_OK)
        return rc;
    if (tokens && !config_tokens(t->vars, config))
        rc = nomem(err);
    if (rc == TD_OK)
        rc = from_config(t, config, file, err);
    td_json_free(config);
    return rc;
}

static td_rc from_dir(chat_template *t, const char *dir, td_err *err)
{
    td_buf path = TD_BUF_INIT;
    td_rc rc = join(&path, dir, "chat_template.jinja", err);
    if (rc == TD_OK && !t->plain && td_file_exists(path.data))
        rc = from_file(t, path.data, "chat_template.jinja", err);
    if (rc == TD_OK)
        rc = join(&path, dir, "tokenizer_config.json", err);
    if (rc == TD_OK && td_file_exists(path.data))
        rc = from_json_file(t, dir, "tokenizer_config.json", true, err);
    if (rc == TD_OK)
        rc = join(&path, dir, "chat_template.json", err);
    if (rc == TD_OK && !t->plain && td_file_exists(path.data))
        rc = from_json_file(t, dir, "chat_template.json", false, err);
    td_buf_free(&path);
    return rc;
}

static td_rc from_gguf(chat_template *t, const gguf *g, td_err *err)
{
    const char *text = gguf_get_str(g, "tokenizer.chat_template");
    const char *tools = gguf_get_str(g, "tokenizer.chat_template.tool_use");
    if (t->plain || !text)
        return TD_OK;
    td_rc rc = set_source(t, text, strlen(text), "gguf", false, err);
    if (rc == TD_OK && tools)
        rc = set_source(t, tools, strlen(tools), "gguf", true, err);
    return rc;
}

static td_rc from_default(chat_template *t, const char *architecture, const tokenizer *tok, td_err *err)
{
    const chat_default *d = chat_default_for(architecture, tok);
    char origin[sizeof t->origin];
    snprintf(origin, sizeof origin, "default: %s", d->name);
    return set_source(t, d->source, strlen(d->source), origin, false, err);
}

static td_rc create(const tokenizer *tok, chat_template **out, td_err *err)
{
    *out = td_alloc(sizeof **out);
    if (*out)
        (*out)->vars = token_vars(tok);
    if (*out && (*out)->vars)
        return TD_OK;
    chat_template_free(*out);
    *out = NULL;
    return nomem(err);
}

static td_rc finish(chat_template *t, td_rc rc, chat_template **out, td_err *err)
{
    if (rc == TD_OK)
        rc = chat_probe(t, err);
    if (rc == TD_OK)
        *out = t;
    else
        chat_template_free(t);
    return rc;
}

td_rc chat_template_load(const char *path, const char *dir, const gguf *g, const char *architecture,
                         const tokenizer *tok, chat_template **out, td_err *err)
{
    chat_template *t;
    td_rc rc = create(tok, &t, err);
    if (rc != TD_OK)
        return rc;
    if (path)
        rc = from_file(t, path, path, err);
    if (rc == TD_OK && dir)
        rc = from_dir(t, dir, err);
    if (rc == TD_OK && g)
        rc = from_gguf(t, g, err);
    if (rc == TD_OK && !t->plain && t->tool_use) // a model with a template for tools only
        t->plain = t->tool_use, t->tool_use = NULL;
    if (rc == TD_OK && !t->plain)
        rc = from_default(t, architecture, tok, err);
    if (path && t->tool_use) { // the user's file serves every request
        jinja_free(t->tool_use);
        t->tool_use = NULL;
    }
    return finish(t, rc, out, err);
}

td_rc chat_template_from_text(const char *source, size_t len, const tokenizer *tok, chat_template **out, td_err *err)
{
    chat_template *t;
    td_rc rc = create(tok, &t, err);
    return rc == TD_OK ? finish(t, set_source(t, source, len, "text", false, err), out, err) : rc;
}

void chat_template_free(chat_template *t)
{
    if (!t)
        return;
    jinja_free(t->plain);
    jinja_free(t->tool_use);
    td_json_free(t->vars);
    td_free(t->source);
    td_free(t);
}

const char *chat_template_source(const chat_template *t) { return t->source; }
const char *chat_template_origin(const chat_template *t) { return t->origin; }

/* ---- rendering ---- */

static const char *const reserved[] = {"messages", "conversation", "tools", "documents", "add_generation_prompt",
                                       "continue_final_message", "chat_template", "tokenize", "return_dict",
                                       "return_tensors", "raise_exception", "strftime_now", "namespace", "range",
                                       "dict", "cycler", "joiner", "lipsum"};

static td_rc check_kwargs(const td_json *kwargs, td_err *err)
{
    if (kwargs && !cJSON_IsObject(kwargs) && !cJSON_IsNull(kwargs))
        return td_fail_param(err, TD_E_INPUT, "chat_template_kwargs", "chat_template_kwargs must be an object");
    td_json_each(v, kwargs)
        for (size_t i = 0; i < TD_COUNT(reserved); i++)
            if (!strcmp(v->string, reserved[i]))
                return td_fail_param(err, TD_E_INPUT, "chat_template_kwargs",
                                     "chat_template_kwargs may not set '%s'", reserved[i]);
    return TD_OK;
}

static bool add_or_null(td_json *obj, const char *key, const td_json *value)
{
    return value ? chat_add_ref(obj, key, value) : cJSON_AddNullToObject(obj, key) != NULL;
}

static bool add_all(td_json *obj, const td_json *from)
{
    td_json_each(v, from)
        if (!chat_add_ref(obj, v->string, v))
            return false;
    return true;
}

td_rc chat_render_messages(const chat_template *t, const td_json *messages, const chat_args *args, td_buf *out,
                           td_err *err)
{
    bool tools = cJSON_IsArray(args->tools) && args->tools->child;
    td_json *vars = cJSON_CreateObject();
    bool ok = vars && add_all(vars, t->vars) && add_all(vars, args->kwargs) &&
              chat_add_ref(vars, "messages", messages) &&
              add_or_null(vars, "tools", tools ? args->tools : NULL) &&
              add_or_null(vars, "documents", args->documents) &&
              cJSON_AddBoolToObject(vars, "add_generation_prompt", args->add_generation_prompt);
    const jinja *which = tools && t->tool_use ? t->tool_use : t->plain;
    td_rc rc = ok ? jinja_render(which, vars, args->now, out, err) : nomem(err);
    td_json_free(vars);
    return rc;
}

/* Where the text of the message to be continued ends in the prompt at b->data + from. */
static td_rc cut_after(td_buf *b, size_t from, const char *text, td_err *err)
{
    const char *s = text, *prompt = b->data + from;
    size_t len = strlen(text), tag = sizeof continue_tag - 1, have = b->len - from;
    jstr_strip(&s, &len, NULL, 0, true, true);
    size_t at = jstr_rfind(prompt, have, continue_tag, tag - 1);
    if (at == SIZE_MAX || jstr_find(prompt, have, s, len) == SIZE_MAX)
        return td_fail_param(err, TD_E_INPUT, "continue_final_message",
                             "the last message cannot be continued: the chat template does not keep its text");
    bool kept_space = at + tag <= have && prompt[at + tag - 1] == ' ';
    size_t keep = kept_space ? at : jstr_rstrip(prompt, at);
    b->len = from + keep;
    b->data[b->len] = 0;
    return TD_OK;
}

static td_rc check_continue(const chat_args *args, const chat_built *b, td_err *err)
{
    if (!args->continue_final_message)
        return TD_OK;
    if (args->add_generation_prompt)
        return td_fail_param(err, TD_E_INPUT, "continue_final_message",
                             "continue_final_message and add_generation_prompt exclude each other");
    if (!b->last)
        return td_fail_param(err, TD_E_INPUT, "continue_final_message", "the last message has no text to continue");
    return TD_OK;
}

td_rc chat_template_render(const chat_template *t, const chat_args *args, td_buf *out, td_err *err)
{
    chat_built b;
    size_t from = out->len;
    td_rc rc = check_kwargs(args->kwargs, err);
    if (rc == TD_OK)
        rc = chat_build(args, &t->caps, args->continue_final_message ? continue_tag : NULL, &b, err);
    if (rc != TD_OK)
        return rc;
    rc = check_continue(args, &b, err);
    if (rc == TD_OK)
        rc = chat_render_messages(t, b.messages, args, out, err);
    if (rc == TD_OK && args->continue_final_message)
        rc = out->len > from ? cut_after(out, from, b.last, err)
                             : td_fail(err, TD_E_INPUT, "the chat template gives an empty text");
    if (rc != TD_OK && out->len > from)
        out->data[out->len = from] = 0;
    chat_built_free(&b);
    return rc;
}
