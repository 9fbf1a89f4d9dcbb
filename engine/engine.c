#include "engine/engine.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "kernels/device.h"
#include "parallel/comm_self.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SEQS_DEFAULT = 256 };

static char *keep(td_engine *e, const char *s) { return td_arena_strndup(&e->arena, s ? s : "", s ? strlen(s) : 0); }

/* A GGUF file is opened here; a directory is left to the readers of its parts. */
static td_rc open_files(td_engine *e, const char **dir, td_err *err)
{
    const char *path = e->opts.model;
    if (!path || !*path)
        return td_fail_param(err, TD_E_USAGE, "model",
                             "no model given: name a .gguf file or a directory with config.json");
    if (td_dir_exists(path)) {
        *dir = path;
        return TD_OK;
    }
    if (!td_file_exists(path))
        return td_fail(err, TD_E_MODEL, "%s is neither a file nor a directory", path);
    *dir = NULL;
    return gguf_open(path, &e->gguf, err);
}

static td_rc open_text(td_engine *e, const char *dir, td_err *err)
{
    td_err none = TD_ERR_INIT;
    td_rc rc = e->gguf ? tokenizer_from_gguf(e->gguf, &e->tok, &none) : tokenizer_from_dir(dir, &e->tok, &none);
    if (rc == TD_E_NOTFOUND && !e->opts.tokenizer_only)
        return TD_OK; // the model speaks token ids only
    if (rc != TD_OK)
        return td_fail(err, rc == TD_E_NOTFOUND ? TD_E_MODEL : rc, "%s", none.msg);
    const char *arch = e->gguf ? gguf_get_str(e->gguf, "general.architecture") : e->info.architecture;
    return chat_template_load(e->opts.chat_template, dir, e->gguf, arch ? arch : "", e->tok, &e->chat, err);
}

static td_rc open_model(td_engine *e, const char *dir, td_err *err)
{
    kern_dev_opts d = {.device = e->opts.device ? e->opts.device : "auto",
                       .cpu_isa = e->opts.cpu_isa ? e->opts.cpu_isa : "auto", .threads = e->opts.threads};
    td_rc rc = kern_dev_open(&d, &e->dev, err);
    model_opts m = {.dev = e->dev, .comm = &comm_self, .g = e->gguf, .dir = dir, .load_format = e->opts.load_format,
                    .seed = e->opts.seed, .no_digest = e->opts.quick_start, .max_rss = e->opts.max_rss,
                    .low_memory = e->opts.low_memory, .progress = e->opts.progress,
                    .progress_ctx = e->opts.progress_ctx, .canceled = e->opts.canceled};
    if (rc == TD_OK)
        rc = model_open(&m, &e->model, err);
    if (rc == TD_OK && dir)
        rc = model_generation_from_hf(dir, &e->generation, err);
    else if (rc == TD_OK)
        model_generation_from_gguf(e->gguf, &e->generation);
    return rc;
}

static char *weight_types(td_engine *e, uint32_t mask)
{
    td_buf b = TD_BUF_INIT;
    for (int t = 0; t < KT_COUNT; t++)
        if (mask & 1u << t)
            td_buf_fmt(&b, "%s%s", b.len ? " " : "", kern_types[t].name);
    char *s = keep(e, td_buf_cstr(&b));
    td_buf_free(&b);
    return s;
}

static void describe_text(td_engine *e)
{
    td_engine_info *i = &e->info;
    i->chat_template = e->chat ? chat_template_source(e->chat) : "";
    i->chat_template_origin = e->chat ? chat_template_origin(e->chat) : "";
    i->bos_id = e->tok ? tokenizer_bos(e->tok) : -1;
    i->eos_id = e->tok ? tokenizer_eos(e->tok) : -1;
    if (e->tok && !e->model)
        i->vocab_count = tokenizer_vocab_count(e->tok);
}

static void describe_model(td_engine *e)
{
    const model_config *c = model_get_config(e->model);
    const model_weights *w = model_get_weights(e->model);
    td_engine_info *i = &e->info;
    i->architecture = c->arch;
    i->device = e->dev->ops->name;
    i->numerics_id = e->dev->ops->numerics_id;
    i->weight_types = weight_types(e, w->type_mask);
    i->vocab_count = c->vocab;
    i->hidden = c->hidden;
    i->layer_count = c->layer_count;
    i->threads = e->dev->thread_count;
    i->max_num_seqs = e->opts.max_num_seqs ? e->opts.max_num_seqs : SEQS_DEFAULT;
    i->max_num_queued = e->opts.max_num_queued ? e->opts.max_num_queued : 4 * i->max_num_seqs;
    i->max_num_batched_tokens = e->opts.max_num_batched_tokens;
    i->weight_bytes = w->mem_bytes;
    i->mapped_bytes = w->map_bytes;
    i->param_count = w->param_count;
    if (!e->tok)
        i->eos_id = c->eos_count ? c->eos_ids[0] : -1;
}

static td_rc check_opts(const td_engine *e, td_err *err)
{
    const td_engine_info *i = &e->info;
    if (i->max_num_seqs < 1 || i->max_num_seqs > TD_SEQS_MAX)
        return td_fail_param(err, TD_E_USAGE, "max-num-seqs", "--max-num-seqs %d: use 1 to %d", i->max_num_seqs,
                             TD_SEQS_MAX);
    if (i->max_num_batched_tokens < 0 || i->max_num_batched_tokens > TD_BATCH_TOK_MAX)
        return td_fail_param(err, TD_E_USAGE, "max-num-batched-tokens", "--max-num-batched-tokens %d: use 1 to %d",
                             i->max_num_batched_tokens, TD_BATCH_TOK_MAX);
    if (e->opts.dtype && strcmp(e->opts.dtype, "auto") != 0)
        return td_fail_param(err, TD_E_UNSUPPORTED, "dtype", "--dtype %s: only auto is implemented", e->opts.dtype);
    return TD_OK;
}

/* The fingerprint that names KV content: the model's and the form that K and V are kept in. */
static void fingerprint(td_engine *e)
{
    if (e->opts.quick_start)
        return;
    td_sha256 d = model_digest(e->model);
    uint8_t text[33];
    memcpy(text, d.b, 32);
    text[32] = (uint8_t)kv_pool_geometry(e->pool)->type;
    td_sha256 fp = td_sha256_of(text, sizeof text);
    memcpy(e->info.model_fp, fp.b, sizeof e->info.model_fp);
}

static td_rc start(td_engine *e, td_err *err)
{
    int rc = td_thread_start(&e->thread, engine_thread, e);
    if (rc != 0)
        return td_fail(err, TD_E_NOMEM, "cannot start the engine thread: %s", strerror(rc));
    e->thread_started = true;
    return TD_OK;
}

bool engine_canceled(const td_engine *e) { return e->opts.canceled && e->opts.canceled(e->opts.progress_ctx); }

static td_rc go_on(const td_engine *e, td_err *err)
{
    return engine_canceled(e) ? td_fail(err, TD_E_CANCELED, "opening the model was canceled") : TD_OK;
}

static td_rc open_all(td_engine *e, td_err *err)
{
    const char *dir = NULL;
    td_rc rc = open_files(e, &dir, err);
    if (rc == TD_OK && !e->opts.tokenizer_only)
        rc = open_model(e, dir, err);
    if (rc == TD_OK && e->model)
        describe_model(e);
    if (rc == TD_OK)
        rc = go_on(e, err);
    if (rc == TD_OK)
        rc = open_text(e, dir, err);
    if (rc == TD_OK)
        rc = go_on(e, err);
    if (rc != TD_OK)
        return rc;
    describe_text(e);
    if (e->opts.tokenizer_only)
        return TD_OK;
    describe_model(e);
    rc = check_opts(e, err);
    if (rc == TD_OK)
        rc = engine_plan(e, err);
    if (rc != TD_OK)
        return rc;
    fingerprint(e);
    return start(e, err);
}

td_rc td_engine_open(const td_engine_opts *opts, td_engine **out, td_err *err)
{
    td_engine *e = td_alloc(sizeof *e);
    if (!e)
        return td_fail(err, TD_E_NOMEM, "not enough memory for an engine");
    e->opts = *opts;
    td_arena_init(&e->arena, 0);
    metrics_init(&e->metrics);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    pthread_cond_init(&e->answered, NULL);
    e->seed = opts->seed;
    if (!opts->seed_set && getrandom(&e->seed, sizeof e->seed, 0) != (ssize_t)sizeof e->seed)
        e->seed = td_now_ns();
    e->opts.model = e->info.model_path = keep(e, opts->model);
    td_rc rc = e->opts.model ? open_all(e, err) : td_fail(err, TD_E_NOMEM, "not enough memory for an engine");
    gguf_close(e->gguf); // its text and weights are in memory now
    e->gguf = NULL;
    if (rc != TD_OK) {
        td_engine_close(e);
        return rc;
    }
    *out = e;
    return TD_OK;
}

void td_engine_close(td_engine *e)
{
    if (!e)
        return;
    if (e->thread_started) {
        pthread_mutex_lock(&e->lock);
        e->stop = true;
        pthread_cond_signal(&e->wake);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    engine_unplan(e);
    model_close(e->model);
    if (e->dev)
        kern_dev_close(e->dev);
    chat_template_free(e->chat);
    tokenizer_free(e->tok);
    metrics_free(&e->metrics);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    pthread_cond_destroy(&e->answered);
    td_arena_free(&e->arena);
    td_free(e);
}

const td_engine_info *td_engine_get_info(const td_engine *e) { return &e->info; }
void td_sampling_model_defaults(const td_engine *e, td_sampling *s)
{
    const model_generation *g = &e->generation;
    if (g->temperature >= 0)
        s->temperature = g->temperature;
    if (g->top_p > 0)
        s->top_p = g->top_p;
    if (g->min_p >= 0)
        s->min_p = g->min_p;
    if (g->top_k > 0)
        s->top_k = g->top_k;
    if (g->repetition_penalty > 0)
        s->repetition_penalty = g->repetition_penalty;
}

td_rc td_request_submit(td_engine *e, const td_request_opts *opts, td_request **out, td_err *err)
{
    td_request *r;
    td_rc rc = request_new(e, opts, &r, err);
    if (rc != TD_OK)
        return rc;
    rc = engine_submit(e, r, err);
    if (rc != TD_OK) {
        request_unref(r);
        return rc;
    }
    *out = r;
    return TD_OK;
}

void td_engine_metrics(td_engine *e, td_metrics *out)
{
    metrics_snapshot(&e->metrics, out);
    kv_count c;
    kv_counts(e->pool, &c);
    out->blocks_free = c.free;
    out->blocks_cached = c.cached;
    out->blocks_held = c.held;
    out->blocks_leased = c.leased;
    out->blocks_quarantined = c.quarantined;
    out->blocks_total = c.total;
    out->waiting = TD_MAX(atomic_load(&e->queued), (int)out->waiting);
}
