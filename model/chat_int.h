/* chat_int.h - the parts of a chat template object, for model/chat*.c. */
#ifndef TD_MODEL_CHAT_INT_H
#define TD_MODEL_CHAT_INT_H

#include "model/chat.h"
#include "model/jinja.h"

/* What a template can take, found out at load by rendering small conversations (chat_probe.c). */
typedef struct chat_caps {
    bool parts;            // content may be a list of parts
    bool only_parts;       // … and must be one
    bool null_content;     // content of a message with tool calls may be null
    bool string_arguments; // arguments of tool calls as JSON text; else as objects
} chat_caps;

struct chat_template {
    char *source;          // of the default template
    char origin[64];
    jinja *plain, *tool_use; // tool_use: used when tools are given; NULL = plain serves both
    td_json *vars;         // bos_token and the like
    chat_caps caps;
};

/* The messages as a template wants them (chat_messages.c). They refer to the request's, which must outlive them. */
typedef struct chat_built {
    td_json *messages;     // array
    td_json *keep;         // owns what is new in it
    const char *last;      // the last message's text, or NULL when it has none
} chat_built;
/* tag: put behind the last message's text, or NULL. */
td_rc chat_build(const chat_args *args, const chat_caps *caps, const char *tag, chat_built *b, td_err *err);
/* obj[key] becomes a reference to item, which stays whose it was. */
bool chat_add_ref(td_json *obj, const char *key, const td_json *item);
void chat_built_free(chat_built *b);

/* Renders with the template's own variables and these messages; appends to *out. */
td_rc chat_render_messages(const chat_template *t, const td_json *messages, const chat_args *args, td_buf *out,
                           td_err *err);
td_rc chat_probe(chat_template *t, td_err *err); // fills t->caps; fails only for lack of memory

/* A template for a model that has none (chat_default.c). */
typedef struct chat_default {
    const char *name, *source;
} chat_default;
const chat_default *chat_default_for(const char *architecture, const tokenizer *tok);

#endif
