/* The scripted engine's vocabulary and template: bytes, and a token for each role. */
#include "fake_engine.h"

#include <stdlib.h>
#include <string.h>

void td_tokens_free(td_tokens *t)
{
    free(t->ids);
    *t = (td_tokens){NULL, 0};
}

td_rc td_tokenize(const td_engine *e, const char *text, size_t len, unsigned flags, td_tokens *out, td_err *err)
{
    (void)e;
    out->ids = calloc(1, (len + 1) * sizeof *out->ids);
    if (!out->ids)
        return td_fail(err, TD_E_NOMEM, "not enough memory");
    out->count = 0;
    if (flags & TD_TEXT_ADD_SPECIAL)
        out->ids[out->count++] = FAKE_BOS;
    for (size_t i = 0; i < len; i++)
        out->ids[out->count++] = (unsigned char)text[i];
    return TD_OK;
}

bool td_token_raw(const td_engine *e, int32_t id, td_buf *out)
{
    static const char *const special[] = {"<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"};
    (void)e;
    if (id < 0 || id > FAKE_SYSTEM)
        return false;
    return id < 256 ? td_buf_char(out, (char)id) : td_buf_str(out, special[id - 256]);
}

bool td_token_text(const td_engine *e, int32_t id, td_buf *out) { return td_token_raw(e, id, out); }

td_rc td_detokenize(const td_engine *e, const int32_t *ids, int32_t count, bool skip_special, td_buf *out, td_err *err)
{
    (void)err;
    for (int32_t i = 0; i < count; i++)
        if (ids[i] < 256 || !skip_special)
            td_token_raw(e, ids[i], out);
    return TD_OK;
}

td_rc td_tokenize_chat(const td_engine *e, const td_chat *chat, td_tokens *out, td_err *err)
{
    td_buf text = TD_BUF_INIT;
    int32_t n = 0;
    td_rc rc = td_render_chat(e, chat, &text, err);
    out->ids = rc ? NULL : calloc(1, (text.len + 1) * sizeof *out->ids);
    for (size_t i = 0; !rc && i < text.len;) {
        static const char *const role[] = {"<|user|>", "<|assistant|>", "<|system|>"};
        int32_t id = (unsigned char)text.data[i];
        size_t len = 1;
        for (int32_t r = 0; r < 3; r++)
            if (!strncmp(text.data + i, role[r], strlen(role[r])))
                id = FAKE_USER + r, len = strlen(role[r]);
        out->ids[n++] = id;
        i += len;
    }
    out->count = n;
    td_buf_free(&text);
    return rc;
}

td_rc td_render_chat(const td_engine *e, const td_chat *chat, td_buf *out, td_err *err)
{
    (void)e;
    td_json_each(m, chat->messages)
    {
        const char *role = td_json_get_str(m, "role", "user");
        if (!strcmp(role, "function"))
            return td_fail_param(err, TD_E_INPUT, "messages", "the template does not know the role %s", role);
        td_buf_fmt(out, "<|%s|>%s", !strcmp(role, "developer") ? "system" : role, td_json_get_str(m, "content", ""));
        if (m->next || !chat->continue_final_message)
            td_buf_char(out, '\n');
    }
    td_json_each(t, chat->tools)
        td_buf_fmt(out, "tool %s\n", td_json_get_str(td_json_get(t, "function"), "name", ""));
    if (!chat->no_generation_prompt)
        td_buf_str(out, "<|assistant|>");
    return TD_OK;
}
