/* A tokenizer from a Hugging Face directory: tokenizer.json, else tokenizer.model, else tekken.json, and the small
 * files around them that say which tokens begin and end a text. All of those are optional; a later one only fills in
 * what is still missing: tokenizer_config.json, special_tokens_map.json, config.json. What ends a generation is in
 * generation_config.json too. */
#include "model/tok_int.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "model/json_model.h"

#include <stdio.h>
#include <string.h>

enum { PATH_MAX_BYTES = 4096 };

typedef struct dir_files { // parsed, NULL where there is no such file
    td_json *config, *special, *added, *model, *generation;
} dir_files;

static bool join(char *out, const char *dir, const char *file)
{
    int n = snprintf(out, PATH_MAX_BYTES, "%s/%s", dir, file);
    return n > 0 && n < PATH_MAX_BYTES && td_file_exists(out);
}

static td_rc read_files(const char *dir, dir_files *f, td_err *err)
{
    struct {
        const char *name;
        td_json **to;
    } files[] = {{"tokenizer_config.json", &f->config}, {"special_tokens_map.json", &f->special},
                 {"added_tokens.json", &f->added}, {"config.json", &f->model},
                 {"generation_config.json", &f->generation}};
    char path[PATH_MAX_BYTES];
    td_rc rc = TD_OK;
    for (size_t i = 0; rc == TD_OK && i < TD_COUNT(files); i++)
        if (join(path, dir, files[i].name))
            rc = model_json_read(path, NULL, files[i].to, err);
    return rc;
}

static void free_files(dir_files *f)
{
    td_json_free(f->config);
    td_json_free(f->special);
    td_json_free(f->added);
    td_json_free(f->model);
    td_json_free(f->generation);
}

/* "text" or {"content": "text"}. */
static const char *token_text(const td_json *obj, const char *key)
{
    const td_json *j = td_json_get(obj, key);
    const char *text = td_json_str(j);
    return text ? text : td_json_get_str(j, "content", NULL);
}

/* By text in the first two files, by id in config.json (an id or a list, whose first is meant). */
static td_rc named_id(const tokenizer *t, const dir_files *f, const char *name, token_id *id, td_err *err)
{
    char key[32];
    snprintf(key, sizeof key, "%s_token", name);
    const char *text = token_text(f->config, key);
    text = text ? text : token_text(f->special, key);
    token_id found = text ? tok_vocab_find(&t->vocab, text, strlen(text)) : -1;
    if (text && found < 0 && *text)
        td_warn("tokenizer: %s '%.40s' is not in the vocabulary", key, text);
    if (found >= 0)
        *id = found;
    if (*id >= 0)
        return TD_OK;
    snprintf(key, sizeof key, "%s_token_id", name);
    const td_json *j = td_json_get(f->model, key);
    int64_t number;
    j = cJSON_IsArray(j) ? j->child : j;
    if (!td_json_int(j, &number))
        return TD_OK;
    if (number >= 0 && !tok_vocab_has(&t->vocab, number))
        return td_fail(err, TD_E_MODEL, "config.json: %s %lld is not in the vocabulary of %d", key, (long long)number,
                       t->vocab.count);
    *id = number >= 0 ? (token_id)number : -1;
    return TD_OK;
}

/* eos_token_id as a number or a list, of a file that names what ends a generation. */
static td_rc stop_ids(tokenizer *t, const td_json *file, const char *name, td_err *err)
{
    const td_json *j = td_json_get(file, "eos_token_id");
    for (const td_json *item = cJSON_IsArray(j) ? j->child : j; item; item = cJSON_IsArray(j) ? item->next : NULL) {
        int64_t id;
        if (!td_json_int(item, &id) || !tok_vocab_has(&t->vocab, id))
            return td_fail(err, TD_E_MODEL, "%s: eos_token_id has an id that is not in the vocabulary of %d", name,
                           t->vocab.count);
        if (!token_list_add(&t->stop, (token_id)id))
            return td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    }
    return TD_OK;
}

/* Classes that put BOS and EOS themselves where the config says so, whatever tokenizer.json has. */
static bool class_adds(const td_json *config)
{
    const char *name = td_json_get_str(config, "tokenizer_class", "");
    return strstr(name, "Llama") || strstr(name, "Gemma") || strstr(name, "Cohere");
}

/* What the config says replaces what tokenizer.json has, unless it names a token that the model does not have. */
static bool set_ends(token_list *l, token_id id, bool on)
{
    if (on && id < 0)
        return true;
    l->count = 0;
    return !on || token_list_add(l, id);
}

static td_rc apply_add_flags(tokenizer *t, const td_json *config, bool always, td_err *err)
{
    bool bos, eos, has_bos = td_json_bool(td_json_get(config, "add_bos_token"), &bos);
    bool has_eos = td_json_bool(td_json_get(config, "add_eos_token"), &eos), ok = true;
    if (!always && !class_adds(config))
        return TD_OK;
    if (has_bos || always)
        ok = set_ends(&t->prefix, t->bos, has_bos ? bos : true);
    if (ok && (has_eos || always))
        ok = set_ends(&t->suffix, t->eos, has_eos && eos);
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
}

static td_rc read_text(const char *path, char **text, size_t *len, td_err *err)
{
    return td_file_read(path, TD_TOK_FILE_BYTES_MAX, text, len, err);
}

/* Added tokens of a tokenizer.model: added_tokens_decoder {"32000": {…}} in the config, or added_tokens.json
 * {"text": 32000}. A token that is a piece already only gets its flags. */
static td_rc put_added(tokenizer *t, int64_t id, const char *text, const td_json *flags, td_err *err)
{
    size_t len = strlen(text);
    bool special = td_json_get_bool(flags, "special", false);
    if (len == 0)
        return TD_OK;
    if (!tok_vocab_has(&t->vocab, id)) {
        td_rc rc = tok_vocab_put(&t->vocab, id, text, len, 0, special ? TOK_CONTROL : TOK_USER_DEFINED, NULL, err);
        if (rc != TD_OK)
            return rc;
    } else if (strcmp(t->vocab.entry[id].text, text) != 0) {
        return td_fail(err, TD_E_MODEL, "added token '%.40s' has id %lld, which is '%.40s'", text, (long long)id,
                       t->vocab.entry[id].text);
    }
    added_token a = {.id = (token_id)id, .special = special || tokenizer_is_special(t, (token_id)id),
                     .lstrip = td_json_get_bool(flags, "lstrip", false),
                     .rstrip = td_json_get_bool(flags, "rstrip", false),
                     .single_word = td_json_get_bool(flags, "single_word", false)};
    bool ok = tok_added_put(&t->added, text, len, a);
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
}

/* The number that is the key of an added_tokens_decoder member. */
static bool key_id(const char *key, int64_t *id)
{
    *id = 0;
    for (size_t i = 0; key[i]; i++) {
        if (key[i] < '0' || key[i] > '9' || i > 9)
            return false;
        *id = *id * 10 + (key[i] - '0');
    }
    return key[0] != 0;
}

/* With t NULL only finds the largest id, plus one. */
static td_rc each_added(tokenizer *t, const dir_files *f, int64_t *ids, td_err *err)
{
    int64_t id;
    td_rc rc = TD_OK;
    td_json_each(item, td_json_get(f->config, "added_tokens_decoder"))
    {
        const char *text = td_json_get_str(item, "content", NULL);
        if (!text || !key_id(item->string, &id))
            return td_fail(err, TD_E_MODEL, "tokenizer_config.json: added_tokens_decoder has a bad entry '%.40s'",
                           item->string);
        *ids = TD_MAX(*ids, id + 1);
        if (t && rc == TD_OK)
            rc = put_added(t, id, text, item, err);
    }
    td_json_each(item, f->added)
    {
        if (!td_json_int(item, &id))
            return td_fail(err, TD_E_MODEL, "added_tokens.json: '%.40s' has no id", item->string);
        *ids = TD_MAX(*ids, id + 1);
        bool known = t && tok_vocab_find(&t->vocab, item->string, strlen(item->string)) == id;
        if (t && rc == TD_OK && !known)
            rc = put_added(t, id, item->string, NULL, err);
    }
    return rc;
}

static td_rc read_spm(tokenizer *t, const char *path, const dir_files *f, td_err *err)
{
    char *bytes;
    size_t len;
    tok_spm_options o = {.legacy = td_json_get_bool(f->config, "legacy", true)};
    td_rc rc = each_added(NULL, f, &o.extra_ids, err);
    if (rc == TD_OK)
        rc = read_text(path, &bytes, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = tok_spm_read(t, bytes, len, &o, err);
    td_free(bytes);
    return rc == TD_OK ? each_added(t, f, &o.extra_ids, err) : rc;
}

static td_rc read_json(tokenizer *t, const char *path, td_err *err)
{
    char *text;
    size_t len;
    td_rc rc = read_text(path, &text, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = tok_json_read(t, text, len, err);
    td_free(text);
    return rc;
}

static td_rc read_tekken(tokenizer *t, const char *path, td_err *err)
{
    char *text;
    size_t len;
    td_rc rc = read_text(path, &text, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = tok_tekken_read(t, text, len, err);
    td_free(text);
    return rc;
}

static td_rc read_main(tokenizer *t, const char *dir, const dir_files *f, bool *spm, td_err *err)
{
    char path[PATH_MAX_BYTES];
    *spm = false;
    td_rc rc;
    if (join(path, dir, "tokenizer.json")) {
        rc = read_json(t, path, err);
    } else if (join(path, dir, "tokenizer.model")) {
        *spm = true;
        rc = read_spm(t, path, f, err);
    } else if (join(path, dir, "tekken.json")) {
        rc = read_tekken(t, path, err);
    } else {
        return td_fail(err, TD_E_NOTFOUND, "%.200s has no tokenizer.json, tokenizer.model or tekken.json", dir);
    }
    if (rc != TD_OK)
        td_err_prefix(err, "%.200s", path);
    return rc;
}

static td_rc read_all(tokenizer *t, const char *dir, const dir_files *f, td_err *err)
{
    bool spm;
    td_rc rc = read_main(t, dir, f, &spm, err);
    struct {
        const char *name;
        token_id *id;
    } named[] = {{"bos", &t->bos}, {"eos", &t->eos}, {"unk", &t->unk}, {"pad", &t->pad}};
    for (size_t i = 0; rc == TD_OK && i < TD_COUNT(named); i++)
        rc = named_id(t, f, named[i].name, named[i].id, err);
    if (rc == TD_OK)
        rc = apply_add_flags(t, f->config, spm, err);
    if (rc == TD_OK)
        rc = stop_ids(t, f->model, "config.json", err);
    if (rc == TD_OK)
        rc = stop_ids(t, f->generation, "generation_config.json", err);
    if (rc == TD_OK)
        rc = tokenizer_find_ends(t, err);
    return rc == TD_OK ? tokenizer_finish(t, err) : rc;
}

td_rc tokenizer_from_dir(const char *dir, tokenizer **out, td_err *err)
{
    dir_files files = {0};
    tokenizer *t = tokenizer_new();
    td_rc rc = t ? read_files(dir, &files, err) : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    if (rc == TD_OK)
        rc = read_all(t, dir, &files, err);
    free_files(&files);
    if (rc == TD_OK)
        *out = t;
    else
        tokenizer_free(t);
    return rc;
}
