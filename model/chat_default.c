/* Chat templates for models that come without one, written from the formats' public descriptions.
 *
 * The tokenizer decides first: a model that knows <|im_start|> as a token was trained on it. Then the architecture.
 * Where neither says anything, ChatML, as plain text, is what most tuned models have seen. */
#include "model/chat_int.h"

#include "base/check.h"

#include <string.h>

#define LOOP "{%- for m in messages %}"
#define END "{%- endfor %}"
#define GENERATE(text) "{%- if add_generation_prompt %}{{ " text " }}{%- endif %}"
/* The system message joins the first user message; `sys` is its text. */
#define TAKE_SYSTEM                                                                                        \
    "{%- if messages and messages[0].role == 'system' %}{%- set sys = messages[0].content %}"              \
    "{%- set rest = messages[1:] %}{%- else %}{%- set sys = '' %}{%- set rest = messages %}{%- endif %}"

static const char chatml[] =
    LOOP "{{- '<|im_start|>' ~ m.role ~ '\n' ~ (m.content or '') ~ '<|im_end|>\n' }}" END
    GENERATE("'<|im_start|>assistant\n'");

static const char llama3[] =
    "{{- bos_token }}" LOOP
    "{{- '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ (m.content or '')|trim ~ '<|eot_id|>' }}" END
    GENERATE("'<|start_header_id|>assistant<|end_header_id|>\n\n'");

static const char llama2[] =
    TAKE_SYSTEM "{%- for m in rest %}"
    "{%- set text = (m.content or '')|trim %}"
    "{%- if loop.first and sys %}{%- set text = '<<SYS>>\n' ~ sys ~ '\n<</SYS>>\n\n' ~ text %}{%- endif %}"
    "{%- if m.role == 'assistant' %}{{- ' ' ~ text ~ ' ' ~ eos_token }}"
    "{%- else %}{{- bos_token ~ '[INST] ' ~ text ~ ' [/INST]' }}{%- endif %}" END;

static const char mistral[] =
    TAKE_SYSTEM "{{- bos_token }}{%- for m in rest %}"
    "{%- set text = (m.content or '')|trim %}"
    "{%- if loop.first and sys %}{%- set text = sys ~ '\n\n' ~ text %}{%- endif %}"
    "{%- if m.role == 'assistant' %}{{- ' ' ~ text ~ eos_token }}"
    "{%- else %}{{- '[INST] ' ~ text ~ ' [/INST]' }}{%- endif %}" END;

static const char gemma[] =
    TAKE_SYSTEM "{{- bos_token }}{%- for m in rest %}"
    "{%- set text = (m.content or '')|trim %}"
    "{%- if loop.first and sys %}{%- set text = sys ~ '\n\n' ~ text %}{%- endif %}"
    "{{- '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\n' ~ text ~ '<end_of_turn>\n' }}" END
    GENERATE("'<start_of_turn>model\n'");

static const char phi3[] =
    LOOP "{{- '<|' ~ m.role ~ '|>\n' ~ (m.content or '') ~ '<|end|>\n' }}" END GENERATE("'<|assistant|>\n'");

static const char deepseek[] =
    TAKE_SYSTEM "{{- bos_token ~ sys }}{%- for m in rest %}"
    "{%- if m.role == 'assistant' %}{{- '<｜Assistant｜>' ~ (m.content or '') ~ '<｜end▁of▁sentence｜>' }}"
    "{%- else %}{{- '<｜User｜>' ~ (m.content or '') }}{%- endif %}" END GENERATE("'<｜Assistant｜>'");

static const char granite[] =
    LOOP "{{- '<|start_of_role|>' ~ m.role ~ '<|end_of_role|>' ~ (m.content or '') ~ '<|end_of_text|>\n' }}" END
    GENERATE("'<|start_of_role|>assistant<|end_of_role|>'");

static const struct {
    const char *token;        // that the vocabulary must have, or NULL
    const char *architecture; // that the name must begin with, or NULL
    const char *kind;         // of tokenizer, or NULL
    chat_default t;
} rules[] = {
    {"<|im_start|>", NULL, NULL, {"chatml", chatml}},
    {"<|start_header_id|>", NULL, NULL, {"llama3", llama3}},
    {"<start_of_turn>", NULL, NULL, {"gemma", gemma}},
    {"<|start_of_role|>", NULL, NULL, {"granite", granite}},
    {"<｜User｜>", NULL, NULL, {"deepseek", deepseek}},
    {"<|end|>", "phi3", NULL, {"phi3", phi3}},
    {NULL, "mistral", NULL, {"mistral", mistral}},
    {NULL, "mixtral", NULL, {"mistral", mistral}},
    {"[INST]", NULL, NULL, {"mistral", mistral}},
    {NULL, "llama", "spm", {"llama2", llama2}},
    {NULL, NULL, NULL, {"chatml", chatml}},
};

const chat_default *chat_default_for(const char *architecture, const tokenizer *tok)
{
    size_t last = TD_COUNT(rules) - 1;
    for (size_t i = 0; i < last; i++) {
        if (rules[i].token && (!tok || tokenizer_find(tok, rules[i].token, strlen(rules[i].token)) < 0))
            continue;
        if (rules[i].architecture && strncmp(architecture, rules[i].architecture, strlen(rules[i].architecture)))
            continue;
        if (rules[i].kind && (!tok || strcmp(tokenizer_kind(tok), rules[i].kind)))
            continue;
        return &rules[i].t;
    }
    return &rules[last].t;
}
