#include "tools/open.h"

#include "base/arena.h"
#include "base/file.h"
#include "tools/progress.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ hub cache */

/* HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub: the order of the hub's own clients. */
static void hub_dir(td_buf *out)
{
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *user = getenv("HOME");
    if (cache && *cache)
        td_buf_str(out, cache);
    else if (home && *home)
        td_buf_fmt(out, "%s/hub", home);
    else
        td_buf_fmt(out, "%s/.cache/huggingface/hub", user && *user ? user : "");
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

/* org/name[@revision], each part of plain characters and not "." or "..". */
static bool split_repo(const char *model, char org[97], char name[97], char revision[97])
{
    char *const parts[] = {org, name, revision};
    const char ends[] = {'/', '@', 0};
    memcpy(revision, "main", 5);
    for (int i = 0; i < 3; i++) {
        size_t n = 0;
        while (is_name_char(model[n]))
            n++;
        if (!n || n > 96 || model[0] == '.')
            return false;
        memcpy(parts[i], model, n);
        parts[i][n] = 0;
        model += n;
        if (!*model)
            return i > 0;
        if (*model++ != ends[i])
            return false;
    }
    return false;
}

/* The snapshot directory of a repository that the cache holds; empty when it does not. */
static void hub_snapshot(const char *org, const char *name, const char *revision, td_buf *path)
{
    td_buf repo = TD_BUF_INIT, ref = TD_BUF_INIT;
    hub_dir(&repo);
    td_buf_fmt(&repo, "/models--%s--%s", org, name);
    td_buf_fmt(&ref, "%s/refs/%s", td_buf_cstr(&repo), revision);
    char *commit = NULL;
    size_t len = 0;
    bool branch = !td_file_read(td_buf_cstr(&ref), 256, &commit, &len, NULL); // else the revision is a commit itself
    const char *hash = branch ? commit : revision;
    size_t n = 0;
    while (is_name_char(hash[n]))
        n++;
    td_buf_fmt(path, "%s/snapshots/%.*s", td_buf_cstr(&repo), (int)n, hash);
    if (!n || hash[0] == '.' || !td_dir_exists(td_buf_cstr(path)))
        td_buf_clear(path);
    td_free(commit);
    td_buf_free(&ref);
    td_buf_free(&repo);
}

/* A directory that is no model is said to be none here, where what is meant can still be guessed. */
static td_rc check_dir(const char *dir, td_err *err)
{
    char gguf[256] = "";
    td_buf config = TD_BUF_INIT;
    td_buf_fmt(&config, "%s/config.json", dir);
    bool is_model = config.failed || td_file_exists(config.data);
    td_buf_free(&config);
    if (is_model)
        return TD_OK;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && !gguf[0] && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 5 && n < sizeof gguf && !strcmp(e->d_name + n - 5, ".gguf"))
            memcpy(gguf, e->d_name, n + 1);
    }
    if (d)
        closedir(d);
    if (gguf[0])
        return td_fail(err, TD_E_MODEL, "%s has no config.json; did you mean %s/%s?", dir, dir, gguf);
    return td_fail(err, TD_E_MODEL, "%s: no model here, neither config.json nor a .gguf file; MODEL is a .gguf file, a "
                   "directory with config.json, or org/name of the hub cache", dir);
}

td_rc open_model_path(const char *model, td_buf *path, td_err *err)
{
    char org[97], name[97], revision[97];
    if (!*model)
        return td_fail(err, TD_E_USAGE, "MODEL is empty; a shell variable that is not set?");
    if (td_file_exists(model)) {
        td_buf_str(path, model);
    } else if (td_dir_exists(model)) {
        td_rc rc = check_dir(model, err);
        if (rc)
            return rc;
        td_buf_str(path, model);
    } else if (!access(model, F_OK)) {
        return td_fail(err, TD_E_MODEL, "%s is neither a regular file nor a directory", model);
    } else if (split_repo(model, org, name, revision)) {
        hub_snapshot(org, name, revision, path);
        if (!path->len && !path->failed) {
            td_buf dir = TD_BUF_INIT;
            hub_dir(&dir);
            td_rc rc = td_fail(err, TD_E_MODEL,
                               "%s is neither a file nor a directory here, nor in the hub cache %s; bring it there "
                               "first, nothing is downloaded", model, td_buf_cstr(&dir));
            td_buf_free(&dir);
            return rc;
        }
        td_rc rc = path->failed ? TD_OK : check_dir(td_buf_cstr(path), err);
        if (rc)
            return rc;
    } else {
        return td_fail(err, TD_E_MODEL, "%s: no such file or directory; MODEL is a .gguf file, a directory with "
                       "config.json, or org/name of the hub cache", model);
    }
    return path->failed ? td_fail(err, TD_E_NOMEM, "no memory for a path") : TD_OK;
}

td_rc open_model_rc(td_rc rc, td_err *err)
{
    if (rc == TD_E_NOTFOUND)
        rc = err->rc = TD_E_MODEL;
    return rc;
}

/* ------------------------------------------------------------------ engine */

/* A mapped file that is cut short takes its pages away from whoever computes with them: no call could report that. */
static void on_lost_pages(int signal_number)
{
    static const char text[] = "tandem: a model file was cut short while --low-memory used it; start again\n";
    (void)signal_number;
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(td_rc_exit(TD_E_IO));
}

static const char *unless_auto(const char *s) { return s && strcmp(s, "auto") ? s : NULL; }

void open_engine_opts(const flags *f, td_engine_opts *o)
{
    if (flags_bool(f, "low-memory"))
        signal(SIGBUS, on_lost_pages);
    *o = (td_engine_opts){
        .device = unless_auto(flags_str(f, "device")),
        .cpu_isa = unless_auto(flags_str(f, "cpu-isa")),
        .threads = (int32_t)flags_int(f, "threads"),
        .max_model_len = (int32_t)flags_int(f, "max-model-len"),
        .max_num_seqs = (int32_t)flags_int(f, "max-num-seqs"),
        .max_num_batched_tokens = (int32_t)flags_int(f, "max-num-batched-tokens"),
        .max_num_queued = (int32_t)flags_int(f, "max-num-queued-reqs"),
        .block_size = (int32_t)flags_int(f, "block-size"),
        .kv_cache_dtype = unless_auto(flags_str(f, "kv-cache-dtype")),
        .kv_cache_memory = (uint64_t)flags_int(f, "kv-cache-memory"),
        .max_rss = (uint64_t)flags_int(f, "max-rss"),
        .gpu_memory_utilization = flags_num(f, "gpu-memory-utilization"),
        .low_memory = flags_bool(f, "low-memory"),
        .no_prefix_caching = !flags_bool(f, "enable-prefix-caching"),
        .dtype = unless_auto(flags_str(f, "dtype")),
        .load_format = unless_auto(flags_str(f, "load-format")),
        .chat_template = flags_str(f, "chat-template"),
        .seed = (uint64_t)flags_int(f, "seed"),
        .seed_set = flags_given(f, "seed"),
    };
}

static td_rc open_with(const flags *f, td_engine_opts *o, td_engine **out, td_err *err)
{
    td_buf path = TD_BUF_INIT;
    td_rc rc = open_model_path(flags_operand(f, 0), &path, err);
    if (!rc) {
        progress bar;
        progress_begin(&bar, "loading");
        o->model = td_buf_cstr(&path);
        o->progress = progress_part;
        o->progress_ctx = &bar;
        rc = open_model_rc(td_engine_open(o, out, err), err);
        progress_end(&bar);
    }
    td_buf_free(&path);
    return rc;
}

td_rc open_engine(const flags *f, td_engine **out, td_err *err)
{
    td_engine_opts o;
    open_engine_opts(f, &o);
    return open_with(f, &o, out, err);
}

td_rc open_engine_quick(const flags *f, td_engine **out, td_err *err)
{
    td_engine_opts o;
    open_engine_opts(f, &o);
    o.quick_start = true;
    return open_with(f, &o, out, err);
}

td_rc open_tokenizer(const flags *f, td_engine **out, td_err *err)
{
    td_engine_opts o = {.tokenizer_only = true, .chat_template = flags_str(f, "chat-template")};
    return open_with(f, &o, out, err);
}

td_rc open_submit_rc(td_rc rc, td_err *err)
{
    if (rc == TD_E_INPUT && err->param[0] && strcmp(err->param, "prompt"))
        rc = err->rc = TD_E_USAGE;
    return rc;
}

/* ------------------------------------------------------------------ sampling */

static void sampling_numbers(const flags *f, td_sampling *s)
{
    const struct {
        const char *name;
        float *to;
    } rows[] = {
        {"temperature", &s->temperature},
        {"top-p", &s->top_p},
        {"min-p", &s->min_p},
        {"typical-p", &s->typical_p},
        {"repetition-penalty", &s->repetition_penalty},
        {"presence-penalty", &s->presence_penalty},
        {"frequency-penalty", &s->frequency_penalty},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (flags_given(f, rows[i].name))
            *rows[i].to = (float)flags_num(f, rows[i].name);
    if (flags_given(f, "top-k"))
        s->top_k = (int32_t)(flags_int(f, "top-k") > 0 ? flags_int(f, "top-k") : 0);
}

td_rc open_sampling_init(const flags *f, const td_engine *e, open_sampling *out, td_err *err)
{
    td_sampling *s = &out->s;
    *out = (open_sampling){.s = td_sampling_default()};
    td_sampling_model_defaults(e, s);
    sampling_numbers(f, s);
    s->max_tokens = (int32_t)flags_int(f, "max-tokens");
    s->min_tokens = (int32_t)flags_int(f, "min-tokens");
    s->seed_set = flags_given(f, "seed");
    s->seed = (uint64_t)flags_int(f, "seed");
    s->ignore_eos = flags_bool(f, "ignore-eos");
    const char *const *stops;
    s->stop_count = (int32_t)flags_list(f, "stop", &stops);
    s->stop = stops;
    const int64_t *ids;
    size_t count = flags_ints(f, "stop-token-ids", &ids);
    if (count) {
        out->stop_ids = td_alloc(count * sizeof *out->stop_ids);
        if (!out->stop_ids)
            return td_fail(err, TD_E_NOMEM, "no memory for stop ids");
        for (size_t i = 0; i < count; i++)
            out->stop_ids[i] = (int32_t)ids[i];
        s->stop_ids = out->stop_ids;
        s->stop_id_count = (int32_t)count;
    }
    return TD_OK;
}

void open_sampling_free(open_sampling *s)
{
    td_free(s->stop_ids);
    *s = (open_sampling){.stop_ids = NULL};
}
