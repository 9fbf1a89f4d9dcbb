/* chat.h - a model's chat template: messages to prompt text.
 *
 * Chosen from, in order: the user's file, the directory's chat_template.jinja or tokenizer_config.json, the GGUF's
 * tokenizer.chat_template, a default for the family (ChatML where nothing is known). Read-only after it was made: any
 * thread renders. Errors in a request are TD_E_INPUT with the template's line; a template that does not parse is
 * TD_E_MODEL at load. */
#ifndef TD_MODEL_CHAT_H
#define TD_MODEL_CHAT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "model/tokenizer.h"

typedef struct chat_template chat_template;

typedef struct chat_args {
    const td_json *messages;   // array, as in the OpenAI request
    const td_json *tools;      // array or NULL
    const td_json *documents;  // array or NULL
    const td_json *kwargs;     // object or NULL; reserved names (messages, tools, …) are refused
    bool add_generation_prompt;
    bool continue_final_message; // the last message stays open: what the template puts after its text is cut
    uint64_t now;              // seconds since 1970
} chat_args;

/* path: --chat-template FILE or NULL. dir: Hugging Face directory or NULL. g: GGUF or NULL. architecture: model_type or
 * general.architecture, or "". tok gives bos_token, eos_token and other special tokens' text. */
td_rc chat_template_load(const char *path, const char *dir, const gguf *g, const char *architecture,
                         const tokenizer *tok, chat_template **out, td_err *err);
td_rc chat_template_from_text(const char *source, size_t len, const tokenizer *tok, chat_template **out, td_err *err);
void chat_template_free(chat_template *t);
td_rc chat_template_render(const chat_template *t, const chat_args *args, td_buf *out, td_err *err);
const char *chat_template_source(const chat_template *t); // text, for `inspect`
const char *chat_template_origin(const chat_template *t); // "gguf", "chat_template.jinja", "default: chatml", …

#endif
