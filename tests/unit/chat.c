/* Chat templates as a server uses them: where they come from, what messages become, what is refused. */
#include "model/chat.h"

#include "base/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static td_err err;

static td_json *json(const char *text)
{
    td_json *j = NULL;
    if (text)
        assert_int_equal(td_json_parse(text, strlen(text), &td_json_request_limits, &j, &err), TD_OK);
    return j;
}

typedef struct ask {
    const char *messages, *tools, *kwargs;
    bool generate, proceed;
} ask;

/* The prompt, or "error PARAM: MESSAGE"; valid until the next call. */
static const char *render(const chat_template *t, ask a)
{
    static td_buf out;
    err = (td_err)TD_ERR_INIT;
    td_buf_clear(&out);
    td_json *messages = json(a.messages), *tools = json(a.tools), *kwargs = json(a.kwargs);
    chat_args args = {.messages = messages, .tools = tools, .kwargs = kwargs, .add_generation_prompt = a.generate,
                      .continue_final_message = a.proceed};
    if (chat_template_render(t, &args, &out, &err) != TD_OK) {
        assert_int_equal(err.rc, TD_E_INPUT);
        assert_int_equal(out.len, 0);
        td_buf_fmt(&out, "error %s: %s", err.param, err.msg);
    }
    td_json_free(messages), td_json_free(tools), td_json_free(kwargs);
    return td_buf_cstr(&out);
}

static chat_template *from_text(const char *source)
{
    chat_template *t = NULL;
    err = (td_err)TD_ERR_INIT;
    if (chat_template_from_text(source, strlen(source), NULL, &t, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return t;
}

#define SIMPLE                                                             \
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"      \
    "{% if add_generation_prompt %}[a]{% endif %}"

#define PARTS_OF_AB "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]"

static void content_forms(void **state)
{
    (void)state;
    const char *parts = "[{\"role\":\"user\",\"content\":" PARTS_OF_AB "}]";
    chat_template *t = from_text(SIMPLE);
    assert_string_equal(render(t, (ask){.messages = parts, .generate = true}), "[user]a\nb[a]");
    assert_string_equal(render(t, (ask){.messages = "[{\"role\":\"user\",\"content\":\"x\"}]"}), "[user]x");
    assert_string_equal(render(t, (ask){.messages = "[]"}), "");
    chat_template_free(t);

    t = from_text("{% for m in messages %}{% if m.content is string %}S{{ m.content }}{% else %}"
                  "{% for p in m.content %}P{{ p.text }}{% endfor %}{% endif %}{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = parts}), "PaPb");
    assert_string_equal(render(t, (ask){.messages = "[{\"role\":\"user\",\"content\":\"x\"}]"}), "Sx");
    chat_template_free(t);

    t = from_text("{% for m in messages %}{% for p in m.content %}P{{ p['text'] + '.' }}{% endfor %}{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = "[{\"role\":\"user\",\"content\":\"x\"}]"}), "Px.");
    chat_template_free(t);
}

#define CALL(content, args) "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":" content \
                            ",\"tool_calls\":[{\"type\":\"function\"," \
                            "\"function\":{\"name\":\"f\",\"arguments\":" args "}}]}]"

static void tool_calls(void **state)
{
    (void)state;
    const char *text_args = CALL("null", "\"{\\\"a\\\": 1.0, \\\"b\\\": [true]}\"");
    const char *object_args = CALL("null", "{\"a\":2}");
    chat_template *t = from_text("{% for m in messages %}{{ m.content or '-' }}{% for c in m.tool_calls or [] %}"
                                 "{{ c.function.name }}{{ c.function.arguments|tojson }}{% endfor %}{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = text_args}), "q-f{\"a\": 1.0, \"b\": [true]}");
    assert_string_equal(render(t, (ask){.messages = object_args}), "q-f{\"a\": 2}");
    assert_string_equal(render(t, (ask){.messages = CALL("\"\"", "\"\"")}), "q-f{}");
    assert_non_null(strstr(render(t, (ask){.messages = CALL("null", "\"{\"")}), "error messages[1]: "));
    chat_template_free(t);

    t = from_text("{% for m in messages %}{{ m.content.strip() }}{% for c in m.tool_calls or [] %}"
                  "{{ '<' + c.function.arguments + '>' }}{% endfor %}{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = text_args}), "q<{\"a\": 1.0, \"b\": [true]}>");
    assert_string_equal(render(t, (ask){.messages = object_args}), "q<{\"a\":2}>");
    chat_template_free(t);

    t = from_text("{% for m in messages %}{{ '<' + m.content + '>' }}{% endfor %}"); // knows no tool calls
    assert_string_equal(render(t, (ask){.messages = text_args}), "<q><>");
    chat_template_free(t);

    t = from_text("{{ 'tools' if tools else 'none' }}{{ tools is none }}");
    assert_string_equal(render(t, (ask){.messages = "[]"}), "noneTrue");
    assert_string_equal(render(t, (ask){.messages = "[]", .tools = "[]"}), "noneTrue");
    assert_string_equal(render(t, (ask){.messages = "[]", .tools = "[{\"type\":\"function\"}]"}), "toolsFalse");
    chat_template_free(t);

    t = from_text("{% for m in messages %}{{ m.tool_calls is defined }}{{ m.reasoning_content }}"
                  "{{ m.thinking }}{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = "[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[],"
                                                    "\"reasoning\":\"r\"}]"}), "Falserr");
    chat_template_free(t);
}

static void bad_messages(void **state)
{
    (void)state;
    chat_template *t = from_text(SIMPLE);
    static const struct {
        const char *messages, *word;
    } bad[] = {
        {"{}", "error messages: "}, {"[1]", "messages[0]"}, {"[{\"content\":\"x\"}]", "messages[0]"},
        {"[{\"role\":\"user\",\"content\":5}]", "messages[0]"}, {"[{\"role\":\"user\",\"content\":{}}]", "messages[0]"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]", "content parts"},
        {"[{\"role\":\"user\",\"content\":[\"x\"]}]", "content parts"},
        {"[{\"role\":\"assistant\",\"tool_calls\":5}]", "tool_calls"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[5]}]", "tool call"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{}}]}]", "name"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!strstr(render(t, (ask){.messages = bad[i].messages}), bad[i].word))
            fail_msg("%s: %s", bad[i].messages, render(t, (ask){.messages = bad[i].messages}));
    chat_template_free(t);
}

static void kwargs(void **state)
{
    (void)state;
    chat_template *t = from_text("{{ enable_thinking }}{{ bos_token }}{{ messages|length }}");
    assert_string_equal(render(t, (ask){.messages = "[]", .kwargs = "{\"enable_thinking\":false,\"bos_token\":\"B\"}"}),
                        "FalseB0");
    static const char *const refused[] = {"{\"messages\":[]}", "{\"tools\":[]}", "{\"chat_template\":\"x\"}",
                                          "{\"add_generation_prompt\":true}", "{\"raise_exception\":1}", "[]"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_non_null(strstr(render(t, (ask){.messages = "[]", .kwargs = refused[i]}), "error chat_template_kwargs"));
    chat_template_free(t);
}

static void continues(void **state)
{
    (void)state;
#define LAST(text) "[{\"role\":\"user\",\"content\":\"say\"},{\"role\":\"assistant\",\"content\":" text "}]"
    chat_template *t = from_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}</end>\n{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = LAST("\"Once upon \""), .proceed = true}),
                        "<user>say</end>\n<assistant>Once upon ");
    assert_non_null(strstr(render(t, (ask){.messages = LAST("\"x\""), .proceed = true, .generate = true}), "error"));
    assert_non_null(strstr(render(t, (ask){.messages = LAST("null"), .proceed = true}), "no text"));
    assert_string_equal(render(t, (ask){.messages = LAST(PARTS_OF_AB), .proceed = true}),
                        "<user>say</end>\n<assistant>a\nb");
    chat_template_free(t);
    t = from_text("{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}</end>{% endfor %}");
    assert_string_equal(render(t, (ask){.messages = LAST("\" Once upon  \""), .proceed = true}),
                        "<user>say</end><assistant>Once upon");
    chat_template_free(t);
    t = from_text("{% for m in messages %}{{ m.content[:3] }}{% endfor %}");
    assert_non_null(strstr(render(t, (ask){.messages = LAST("\"Once upon\""), .proceed = true}),
                           "cannot be continued"));
    chat_template_free(t);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *load(const char *path, const char *dir, const char *arch, ask a, const char *origin)
{
    chat_template *t = NULL;
    err = (td_err)TD_ERR_INIT;
    if (chat_template_load(path, dir, NULL, arch, NULL, &t, &err) != TD_OK)
        return err.msg;
    assert_string_equal(chat_template_origin(t), origin);
    const char *text = render(t, a);
    chat_template_free(t);
    return text;
}

static void sources(void **state)
{
    (void)state;
    char dir[] = "/tmp/tandem-chat-XXXXXX", file[64];
    assert_non_null(mkdtemp(dir));
    ask none = {.messages = "[]"}, tools = {.messages = "[]", .tools = "[{}]"};
    write_file(dir, "tokenizer_config.json",
               "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"pad_token\": null,"
               "\"chat_template\": ["
               "{\"name\": \"default\", \"template\": \"D{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}\"},"
               "{\"name\": \"tool_use\", \"template\": \"T\"}, {\"name\": \"rag\", \"template\": \"{{\"}]}");
    assert_string_equal(load(NULL, dir, "", none, "tokenizer_config.json"), "D<s></s>False");
    assert_string_equal(load(NULL, dir, "", tools, "tokenizer_config.json"), "T");
    write_file(dir, "chat_template.jinja", "J{{ bos_token }}");
    assert_string_equal(load(NULL, dir, "", none, "chat_template.jinja"), "J<s>");
    snprintf(file, sizeof file, "%s/mine", dir);
    write_file(dir, "mine", "M{{ eos_token }}");
    assert_string_equal(load(file, dir, "", tools, file), "M</s>");
    write_file(dir, "chat_template.jinja", "{% if %}");
    assert_non_null(strstr(load(NULL, dir, "", none, ""), "template line 1"));
    assert_int_equal(err.rc, TD_E_MODEL);
    write_file(dir, "tokenizer_config.json", "{\"chat_template\": \"one\"}");
    snprintf(file, sizeof file, "%s/chat_template.jinja", dir);
    unlink(file);
    assert_string_equal(load(NULL, dir, "", none, "tokenizer_config.json"), "one");
    write_file(dir, "tokenizer_config.json", "{\"bos_token\": \"<bos>\"}");
    ask turns = {.messages = "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\" U \"},"
                             "{\"role\":\"assistant\",\"content\":\"A\"},{\"role\":\"user\",\"content\":\"V\"}]",
                 .generate = true};
    assert_string_equal(load(NULL, dir, "", turns, "default: chatml"),
                        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U <|im_end|>\n"
                        "<|im_start|>assistant\nA<|im_end|>\n"
                        "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n");
    assert_string_equal(load(NULL, dir, "mistral", turns, "default: mistral"),
                        "<bos>[INST] S\n\nU [/INST] A[INST] V [/INST]");
    static const char *const names[] = {"tokenizer_config.json", "mine"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s", dir, names[i]);
        assert_int_equal(unlink(file), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

/* Allocations of ours fail one after another; nothing leaks and nothing but TD_E_NOMEM comes back. */
static void torture(void **state)
{
    (void)state;
    td_json *messages = json(CALL("[{\"type\":\"text\",\"text\":\"x\"}]", "\"{\\\"a\\\": 1}\""));
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        chat_template *t = NULL;
        td_buf out = TD_BUF_INIT;
        td_err e = TD_ERR_INIT;
        td_fault_arm(TD_FAULT_ALLOC, n, false);
        td_rc rc = chat_template_from_text(SIMPLE, sizeof SIMPLE - 1, NULL, &t, &e);
        chat_args args = {.messages = messages};
        if (rc == TD_OK)
            rc = chat_template_render(t, &args, &out, &e);
        failed = td_fault_count(TD_FAULT_ALLOC) > 0;
        td_fault_arm(TD_FAULT_ALLOC, 0, false);
        assert_int_equal(rc, failed ? TD_E_NOMEM : TD_OK);
        assert_true(n < 2000);
        chat_template_free(t);
        td_buf_free(&out);
    }
    td_json_free(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(content_forms), cmocka_unit_test(tool_calls),
                                       cmocka_unit_test(bad_messages), cmocka_unit_test(kwargs),
                                       cmocka_unit_test(continues), cmocka_unit_test(sources),
                                       cmocka_unit_test(torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
