/* What happens to text before and after the engine thread: tokenizer and chat template, on the caller's thread. */
#include "engine/engine.h"

#include "base/clock.h"

#include <string.h>

void td_tokens_free(td_tokens *t)
{
    td_free(t->ids);
    *t = (td_tokens){0};
}

static td_rc need_tokenizer(const td_engine *e, td_err *err)
{
    if (e->tok)
        return TD_OK;
    return td_fail(err, TD_E_INPUT,
                   "this model has no tokenizer: it takes token ids and gives them back, without text");
}

static td_rc tokenize(const td_engine *e, const char *text, size_t len, unsigned flags, td_tokens *out, td_err *err)
{
    token_list l = {0};
    td_rc rc = tokenizer_encode(e->tok, text, len, flags, &l, err);
    if (rc == TD_OK && l.count > INT32_MAX)
        rc = td_fail(err, TD_E_INPUT, "the text has too many tokens");
    if (rc != TD_OK) {
        token_list_free(&l);
        return rc;
    }
    *out = (td_tokens){.ids = l.ids, .count = (int32_t)l.count};
    return TD_OK;
}

td_rc td_tokenize(const td_engine *e, const char *text, size_t len, unsigned flags, td_tokens *out, td_err *err)
{
    unsigned f =
        (flags & TD_TEXT_ADD_SPECIAL ? TOK_ADD_SPECIAL : 0) | (flags & TD_TEXT_PARSE_SPECIAL ? TOK_PARSE_SPECIAL : 0);
    td_rc rc = need_tokenizer(e, err);
    return rc == TD_OK ? tokenize(e, text, len, f, out, err) : rc;
}

td_rc td_detokenize(const td_engine *e, const int32_t *ids, int32_t count, bool skip_special, td_buf *out, td_err *err)
{
    td_rc rc = need_tokenizer(e, err);
    for (int32_t i = 0; rc == TD_OK && i < count; i++)
        if (ids[i] < 0 || ids[i] >= e->info.vocab_count)
            rc = td_fail_param(err, TD_E_INPUT, "tokens", "token id %d; this model's ids are 0 to %d", ids[i],
                               e->info.vocab_count - 1);
    return rc == TD_OK ? tokenizer_decode(e->tok, ids, (size_t)count, skip_special, out, err) : rc;
}

bool td_token_text(const td_engine *e, int32_t id, td_buf *out)
{
    return e->tok && tokenizer_piece(e->tok, id, true, out);
}

bool td_token_raw(const td_engine *e, int32_t id, td_buf *out)
{
    if (!e->tok || id < 0 || id >= tokenizer_vocab_count(e->tok))
        return false;
    size_t len;
    const char *s = tokenizer_raw(e->tok, id, &len);
    return s && td_buf_add(out, s, len);
}

td_rc td_render_chat(const td_engine *e, const td_chat *chat, td_buf *out, td_err *err)
{
    td_rc rc = need_tokenizer(e, err);
    chat_args a = {.messages = chat->messages, .tools = chat->tools, .documents = chat->documents,
                   .kwargs = chat->template_kwargs, .add_generation_prompt = !chat->no_generation_prompt,
                   .continue_final_message = chat->continue_final_message, .now = td_wall_s()};
    return rc == TD_OK ? chat_template_render(e->chat, &a, out, err) : rc;
}

td_rc td_tokenize_chat(const td_engine *e, const td_chat *chat, td_tokens *out, td_err *err)
{
    td_buf text = TD_BUF_INIT;
    td_rc rc = td_render_chat(e, chat, &text, err);
    // The template writes its own BOS where the model wants one, so none is added.
    if (rc == TD_OK)
        rc = tokenize(e, td_buf_cstr(&text), text.len, TOK_PARSE_SPECIAL, out, err);
    td_buf_free(&text);
    return rc;
}
