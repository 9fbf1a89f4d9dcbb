/* Drives a tokenizer by JSON lines for the oracle tests: `tok_cli encode|decode|info MODEL`.
 * encode: {"text":"…","add_special":bool,"parse_special":bool} -> {"tokens":[…]}; decode: {"tokens":[…],
 * "skip_special":bool} -> {"text":"…"}. A line that fails gives {"error":"…"}. MODEL: a GGUF file or a directory. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static td_rc open_model(const char *path, tokenizer **t, td_err *err)
{
    if (td_dir_exists(path))
        return tokenizer_from_dir(path, t, err);
    gguf *g;
    td_rc rc = gguf_open(path, &g, err);
    if (rc != TD_OK)
        return rc;
    uint64_t from = td_now_ns();
    rc = tokenizer_from_gguf(g, t, err);
    fprintf(stderr, "loaded in %.1f ms\n", (double)(td_now_ns() - from) / 1e6);
    gguf_close(g);
    return rc;
}

static td_rc encode(const tokenizer *t, const td_json *j, td_buf *out, td_err *err)
{
    const char *text = td_json_get_str(j, "text", "");
    unsigned flags = (td_json_get_bool(j, "add_special", true) ? TOK_ADD_SPECIAL : 0u) |
                     (td_json_get_bool(j, "parse_special", false) ? TOK_PARSE_SPECIAL : 0u);
    token_list l = {0};
    td_rc rc = tokenizer_encode(t, text, strlen(text), flags, &l, err);
    td_buf_str(out, "{\"tokens\":[");
    for (size_t i = 0; i < l.count; i++)
        td_buf_fmt(out, i ? ",%d" : "%d", l.ids[i]);
    td_buf_str(out, "]}");
    token_list_free(&l);
    return rc;
}

static td_rc decode(const tokenizer *t, const td_json *j, td_buf *out, td_err *err)
{
    token_list l = {0};
    td_json_each(item, td_json_get(j, "tokens"))
    {
        int64_t id = -1;
        td_json_int(item, &id);
        token_list_add(&l, (token_id)id);
    }
    td_buf text = TD_BUF_INIT;
    td_rc rc = tokenizer_decode(t, l.ids, l.count, td_json_get_bool(j, "skip_special", false), &text, err);
    td_buf_str(out, "{\"text\":");
    td_buf_json_str(out, td_buf_cstr(&text), text.len);
    td_buf_char(out, '}');
    td_buf_free(&text);
    token_list_free(&l);
    return rc;
}

static void info(const tokenizer *t)
{
    const token_id *stop;
    size_t n = tokenizer_stop_ids(t, &stop);
    printf("{\"kind\":\"%s\",\"count\":%d,\"bos\":%d,\"eos\":%d,\"unk\":%d,\"pad\":%d,\"adds_bos\":%s,\"adds_eos\":%s,"
           "\"stop\":[", tokenizer_kind(t), tokenizer_vocab_count(t), tokenizer_bos(t), tokenizer_eos(t),
           tokenizer_unk(t), tokenizer_pad(t), tokenizer_adds_bos(t) ? "true" : "false",
           tokenizer_adds_eos(t) ? "true" : "false");
    for (size_t i = 0; i < n; i++)
        printf(i ? ",%d" : "%d", stop[i]);
    puts("]}");
}

static void line(const tokenizer *t, bool enc, const char *s, size_t len)
{
    td_err err = TD_ERR_INIT;
    td_json *j = NULL;
    td_buf out = TD_BUF_INIT;
    td_rc rc = td_json_parse(s, len, &td_json_file_limits, &j, &err);
    if (rc == TD_OK)
        rc = enc ? encode(t, j, &out, &err) : decode(t, j, &out, &err);
    if (rc != TD_OK) {
        td_buf_clear(&out);
        td_buf_str(&out, "{\"error\":");
        td_buf_json_str(&out, err.msg, strlen(err.msg));
        td_buf_fmt(&out, ",\"rc\":\"%s\"}", td_rc_name(rc));
    }
    puts(td_buf_cstr(&out));
    fflush(stdout);
    td_buf_free(&out);
    td_json_free(j);
}

/* `speed MODEL`: megabytes per second of stdin as one text. */
static void speed(const tokenizer *t)
{
    td_buf text = TD_BUF_INIT;
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;)
        td_buf_add(&text, chunk, n);
    for (int round = 0; round < 3; round++) {
        td_err err = TD_ERR_INIT;
        token_list l = {0};
        uint64_t from = td_now_ns();
        td_rc rc = tokenizer_encode(t, td_buf_cstr(&text), text.len, 0, &l, &err);
        double s = (double)(td_now_ns() - from) / 1e9;
        printf("%s %s %zu bytes %zu tokens %.3f s %.2f MB/s\n", td_rc_name(rc), err.msg, text.len, l.count, s,
               (double)text.len / 1e6 / s);
        token_list_free(&l);
    }
    td_buf_free(&text);
}

int main(int argc, char **argv)
{
    td_err err = TD_ERR_INIT;
    tokenizer *t = NULL;
    if (argc != 3)
        return 2;
    td_rc rc = open_model(argv[2], &t, &err);
    if (rc != TD_OK) {
        fprintf(stderr, "%s: %s\n", td_rc_name(rc), err.msg);
        return td_rc_exit(rc);
    }
    if (strcmp(argv[1], "info") == 0) {
        info(t);
    } else if (strcmp(argv[1], "speed") == 0) {
        speed(t);
    } else {
        char *s = NULL;
        size_t cap = 0;
        for (ssize_t n; (n = getline(&s, &cap, stdin)) > 0;)
            line(t, strcmp(argv[1], "encode") == 0, s, (size_t)n);
        free(s);
    }
    tokenizer_free(t);
    return 0;
}
