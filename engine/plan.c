/* The memory plan: weights are loaded; what remains is divided between the KV cache and one step's work. Everything is
 * reserved here, so that no step can run out of it. */
#include "engine/engine.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define KV_BYTES_DEFAULT (4ull << 30)   // as much as other servers give a CPU's cache
#define GPU_SHARE_DEFAULT 0.9           // of a GPU's memory
#define LOGIT_BYTES (32ull << 20)       // logits of a slice of sampled rows
enum { PROBE_TOK = 32, PROBES_MAX = 16, QUICK_STEP_TOK = 256, STEP_TOK_MAX = 2048 };

static td_rc kv_type_of(const td_engine *e, kern_kv_type *out, td_err *err)
{
    static const struct {
        const char *name;
        kern_kv_type type;
    } names[] = {{"float32", KV_F32}, {"f32", KV_F32},       {"float", KV_F32}, {"float16", KV_F16}, {"f16", KV_F16},
                 {"half", KV_F16},    {"bfloat16", KV_BF16}, {"bf16", KV_BF16}, {"q8_0", KV_Q8_0},   {"int8", KV_Q8_0}};
    const char *name = e->opts.kv_cache_dtype ? e->opts.kv_cache_dtype : "auto";
    if (strcmp(name, "auto") == 0) {
        *out = model_get_config(e->model)->dtype == MODEL_F32 ? KV_F32 : KV_BF16;
        return TD_OK;
    }
    for (size_t i = 0; i < TD_COUNT(names); i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].type;
            return TD_OK;
        }
    }
    return td_fail_param(err, TD_E_USAGE, "kv-cache-dtype",
                         "unknown KV type %s; use auto, float32, float16, bfloat16 or q8_0", name);
}

/* Longest sequence, in tokens, that the cache can hold alone. */
static int32_t len_fitting(const kv_geometry *g, int64_t block_count, int32_t step_tok, int32_t len_max)
{
    int32_t lo = 0, hi = len_max;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo + 1) / 2;
        if (kv_blocks_needed(g, mid, step_tok) <= block_count)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* What stays on the device. */
static void step_layout(td_engine *e, int32_t tok_max, int32_t len, td_carve *c)
{
    model_step_layout(e->model, tok_max, tok_max, len, c, &e->step);
    e->sample_scratch =
        td_carve_take(c, e->dev->ops->sample_scratch_bytes(e->dev, SAMPLE_ROWS_MAX, e->info.vocab_count), 1);
}

/* What the engine thread alone looks at. */
static void plan_layout(td_engine *e, int32_t tok_max, td_carve *c, batch_sample **samples)
{
    e->sched.plan = td_carve_take(c, (size_t)e->info.max_num_seqs, sizeof *e->sched.plan);
    e->kv_layers = td_carve_take(c, (size_t)e->info.layer_count, sizeof *e->kv_layers);
    *samples = td_carve_take(c, (size_t)tok_max, sizeof **samples);
}

typedef struct step_sizes {
    size_t device, host, batch, logits, sample; // bytes; the last three are stages
} step_sizes;

static step_sizes step_plan(td_engine *e, const kv_geometry *g, int32_t tok_max, int32_t len)
{
    int32_t pages = (len + g->block_tok - 1) / g->block_tok, vocab = e->info.vocab_count;
    td_carve device = {0}, host = {0};
    batch_sample *samples;
    step_layout(e, tok_max, len, &device);
    plan_layout(e, tok_max, &host, &samples);
    return (step_sizes){.device = device.off, .host = host.off,
                        .batch = batch_stage_bytes(g, tok_max, e->info.max_num_seqs, pages),
                        .logits = (size_t)e->logit_rows * (size_t)vocab * sizeof(float),
                        .sample = e->dev->ops->sample_io_bytes(e->dev, SAMPLE_ROWS_MAX, vocab)};
}

static uint64_t step_sum(const step_sizes *z) { return z->device + z->host + z->batch + z->logits + z->sample; }

static uint64_t step_bytes(td_engine *e, const kv_geometry *g, int32_t len)
{
    step_sizes z = step_plan(e, g, e->info.max_num_batched_tokens, len);
    return step_sum(&z);
}

/* Bytes for the cache on a GPU: its share of the memory, less what is in use and what steps will take. */
static td_rc cache_bytes_gpu(td_engine *e, const kv_geometry *g, int32_t len, uint64_t *out, td_err *err)
{
    double share = e->opts.gpu_memory_utilization > 0 ? e->opts.gpu_memory_utilization : GPU_SHARE_DEFAULT;
    uint64_t total, unused, step = step_bytes(e, g, len);
    e->dev->ops->memory(e->dev, &total, &unused);
    uint64_t taken = total - unused + step, may = (uint64_t)((double)total * share);
    *out = e->opts.kv_cache_memory ? e->opts.kv_cache_memory : may > taken ? may - taken : 0;
    if (*out && *out + step <= unused)
        return TD_OK;
    return td_fail_param(err, TD_E_NOMEM, "gpu-memory-utilization",
                         "steps of %llu MiB and a KV cache of %llu MiB do not fit beside the weights into %.2f of %llu "
                         "MiB; lower --max-num-batched-tokens, --max-num-seqs or --kv-cache-memory",
                         (unsigned long long)(step >> 20), (unsigned long long)(*out >> 20), share,
                         (unsigned long long)(total >> 20));
}

/* Bytes for the cache. Where nobody named them: no more than others take, half of what the machine has free, and within
 * a bound on the process what steps leave. Steps whose size is ours to choose shrink first: they may have half. */
static td_rc cache_bytes(td_engine *e, const kv_geometry *g, int32_t len, bool step_given, uint64_t *out, td_err *err)
{
    if (e->dev->ops->memory)
        return cache_bytes_gpu(e, g, len, out, err);
    td_memory m = td_memory_now(e->opts.max_rss, "");
    uint64_t left = td_memory_plannable(&m), step = step_bytes(e, g, len);
    while (!step_given && step > left / 2 && e->info.max_num_batched_tokens > ENGINE_STEP_TOK_MIN) {
        e->info.max_num_batched_tokens /= 2;
        step = step_bytes(e, g, len);
    }
    left -= TD_MIN(step, left);
    *out = e->opts.kv_cache_memory;
    if (!*out)
        *out = TD_MIN(TD_MIN(KV_BYTES_DEFAULT, m.machine_bytes / 2), left);
    if (*out <= left && left)
        return TD_OK;
    return td_fail_param(err, TD_E_NOMEM, "max-rss",
                         "a KV cache of %llu MiB and steps of %llu MiB are more than %s of %llu MiB leaves beside the "
                         "weights, %llu MiB; lower --kv-cache-memory, --max-num-seqs or --max-num-batched-tokens",
                         (unsigned long long)(*out >> 20), (unsigned long long)(step >> 20), m.bound,
                         (unsigned long long)(m.limit_bytes >> 20),
                         (unsigned long long)(td_memory_plannable(&m) >> 20));
}

static td_rc plan_kv(td_engine *e, bool step_given, td_err *err)
{
    const model_config *c = model_get_config(e->model);
    kern_kv_type type;
    kv_geometry g;
    int32_t window[TD_MODEL_LAYERS_MAX];
    for (int32_t l = 0; l < c->layer_count; l++)
        window[l] = c->layer[l].window;
    td_rc rc = kv_type_of(e, &type, err);
    int32_t block_tok = e->opts.block_size ? e->opts.block_size : e->dev->ops->block_tok;
    if (rc == TD_OK)
        rc = kv_geometry_plan(type, c->kv_heads, c->head_dim, block_tok, window, c->layer_count, &g, err);
    if (rc != TD_OK)
        return rc;
    if (kv_block_bytes(e->dev, &g) == 0)
        return td_fail_param(err, TD_E_UNSUPPORTED, "kv-cache-dtype", "%s keeps no KV cache of type %s",
                             e->dev->ops->name, kern_kv_type_names[type]);
    if (type == KV_Q8_0 && c->head_dim % 32)
        return td_fail_param(err, TD_E_UNSUPPORTED, "kv-cache-dtype",
                             "q8_0 needs a head dim that is a multiple of 32, not %d", c->head_dim);
    int32_t len = e->opts.max_model_len ? e->opts.max_model_len : c->ctx_max;
    if (len > c->ctx_max)
        return td_fail_param(err, TD_E_USAGE, "max-model-len", "%d tokens are beyond the model's context of %d", len,
                             c->ctx_max);
    uint64_t block = kv_block_bytes(e->dev, &g), bytes;
    rc = cache_bytes(e, &g, len, step_given, &bytes, err);
    if (rc != TD_OK)
        return rc;
    int32_t step = e->info.max_num_batched_tokens;
    int64_t count = (int64_t)TD_MIN(bytes / block, (uint64_t)INT32_MAX / (uint64_t)g.block_tok);
    // More than every sequence at full length would never be used.
    count = TD_MIN(count, kv_blocks_needed(&g, len, step) * e->info.max_num_seqs);
    int32_t fits = len_fitting(&g, count, step, len);
    if (fits < TD_MIN(g.block_tok, len) || (e->opts.max_model_len && fits < len))
        return td_fail_param(err, TD_E_NOMEM, "kv-cache-memory",
                             "%llu MiB of KV cache hold %d of %d tokens; give more or lower --max-model-len",
                             (unsigned long long)(bytes >> 20), fits, len);
    if (fits < len)
        td_info("the KV cache of %llu MiB holds one sequence of %d tokens; the model could do %d",
                (unsigned long long)(bytes >> 20), fits, len);
    e->info.max_model_len = fits;
    e->info.block_tok = g.block_tok;
    e->info.block_count = (int32_t)count;
    e->info.kv_bytes = block * (uint64_t)count;
    e->info.kv_dtype = kern_kv_type_names[type];
    return kv_pool_open(e->dev, &g, (int32_t)count, &e->pool, err);
}

static bool stages_alloc(td_engine *e, const step_sizes *z)
{
    const kern_ops *ops = e->dev->ops;
    return ops->stage_alloc(e->dev, z->batch, &e->batch_stage) && ops->stage_alloc(e->dev, z->logits, &e->logits) &&
           ops->stage_alloc(e->dev, z->sample, &e->sample_io);
}

static void release_step(td_engine *e)
{
    if (!e->dev)
        return;
    const kern_ops *ops = e->dev->ops;
    if (e->step_mem)
        ops->free(e->dev, e->step_mem, e->step_mem_bytes);
    ops->stage_free(e->dev, &e->batch_stage);
    ops->stage_free(e->dev, &e->logits);
    ops->stage_free(e->dev, &e->sample_io);
    td_free(e->plan_mem);
    e->step_mem = e->plan_mem = NULL;
}

static td_rc reserve_step(td_engine *e, int32_t tok_max, td_err *err)
{
    const kv_geometry *g = kv_pool_geometry(e->pool);
    step_sizes z = step_plan(e, g, tok_max, e->info.max_model_len);
    batch_sample *samples;
    e->step_bytes = step_sum(&z);
    e->step_mem_bytes = z.device;
    e->step_mem = e->dev->ops->alloc(e->dev, z.device);
    e->plan_mem = td_alloc(z.host);
    if (!e->step_mem || !e->plan_mem || !stages_alloc(e, &z)) {
        release_step(e);
        return td_fail(err, TD_E_NOMEM,
                       "not enough memory for steps of %d tokens (%zu MiB); lower --max-num-batched-tokens", tok_max,
                       e->step_bytes >> 20);
    }
    td_carve device = {.base = e->step_mem, .cap = z.device}, host = {.base = e->plan_mem, .cap = z.host};
    step_layout(e, tok_max, e->info.max_model_len, &device);
    plan_layout(e, tok_max, &host, &samples);
    batch_init(&e->batch, tok_max, e->info.max_num_seqs, &e->batch_stage, samples);
    for (int32_t l = 0; l < e->info.layer_count; l++)
        kv_layer_view(e->pool, l, &e->kv_layers[l]);
    return TD_OK;
}

/* Nanoseconds of a step of `tok_count` tokens of one sequence that is nobody's. */
static uint64_t probe(td_engine *e, int32_t tok_count)
{
    int32_t ids[PROBE_TOK] = {0}, pages[TD_KV_GROUPS_MAX * PROBE_TOK];
    td_request nobody = {.prompt_count = tok_count};
    seq q = {.req = &nobody, .ids = ids, .count = tok_count, .prompt_count = tok_count, .cap = tok_count};
    seq *plan[1] = {&q};
    sched s;
    sched_init(&s, e->pool, 1, tok_count, false, plan);
    kv_table_init(&q.table, kv_pool_geometry(e->pool), PROBE_TOK, pages);
    sched_add(&s, &q);
    sched_form(&s);
    batch_build(&e->batch, &s);
    e->dev->ops->stage_push(e->dev, &e->batch_stage, 0, e->batch.used_bytes);
    uint64_t from = td_now_ns();
    model_forward(e->model, &e->step, &e->batch.k, e->kv_layers, kv_pool_geometry(e->pool)->layer_group);
    uint64_t ns = td_now_ns() - from;
    sched_remove(&s, &q);
    return TD_MAX(ns, 1u);
}

int32_t engine_step_tok(const uint64_t *probe_ns, int32_t count, int32_t probe_tok, int32_t tok_max)
{
    uint64_t best = probe_ns[0];
    for (int32_t i = 1; i < count; i++)
        best = TD_MIN(best, probe_ns[i]);
    uint64_t tok = (uint64_t)probe_tok * ENGINE_STEP_MS * TD_NS_PER_MS / TD_MAX(best, 1u);
    int32_t size = ENGINE_STEP_TOK_MIN;
    while (size < tok_max && (uint64_t)size * 2 <= tok)
        size *= 2;
    return TD_MIN(size, TD_MAX(tok_max, 1));
}

/* What a CPU computes in 100 ms: a longer step would make decoding requests wait for a stranger's prompt. Measuring may
 * take as long as one such step; a probe that a busy moment made slow must not set the size for the process's life. */
static td_rc measure_step_tok(td_engine *e, td_err *err)
{
    td_rc rc = reserve_step(e, PROBE_TOK, err);
    if (rc != TD_OK)
        return rc;
    probe(e, 1); // wakes the pool, touches the weights
    uint64_t ns[PROBES_MAX], spent = 0, best = UINT64_MAX;
    int32_t count = 0;
    while (!engine_canceled(e) && count < PROBES_MAX && spent < ENGINE_STEP_MS * TD_NS_PER_MS) {
        uint64_t took = ns[count++] = probe(e, PROBE_TOK);
        spent += took;
        best = TD_MIN(best, took);
    }
    release_step(e);
    if (count == 0) // whoever cancels sees it next
        return TD_OK;
    int32_t size = engine_step_tok(ns, count, PROBE_TOK, e->info.max_num_batched_tokens);
    e->info.max_num_batched_tokens = size;
    td_info("steps of up to %d tokens, for about %d ms each: %d tokens took %.1f ms, the best of %d probes; "
            "--max-num-batched-tokens sets it",
            size, ENGINE_STEP_MS, PROBE_TOK, (double)best / (double)TD_NS_PER_MS, count);
    return TD_OK;
}

/* "12 MiB", and what is less than that in KiB. */
static const char *size_text(uint64_t bytes, char out[32])
{
    bool small = bytes < 10ull << 20;
    snprintf(out, 32, "%llu %s", (unsigned long long)(bytes >> (small ? 10 : 20)), small ? "KiB" : "MiB");
    return out;
}

static void say_plan(const td_engine *e)
{
    const td_engine_info *i = &e->info;
    char mapped[48] = "", weights[32], cache[32], step[32], few[64] = "";
    // A sequence holds a block of each group at least.
    int32_t seqs = TD_MIN(i->max_num_seqs, i->block_count / kv_pool_geometry(e->pool)->group_count);
    if (seqs < i->max_num_seqs)
        snprintf(few, sizeof few, " (the KV cache has no room for %d)", i->max_num_seqs);
    if (i->mapped_bytes)
        snprintf(mapped, sizeof mapped, " and %llu MiB of page cache", (unsigned long long)(i->mapped_bytes >> 20));
    td_info("memory: weights %s%s, KV cache %s (%d blocks of %d tokens, %s), step %s",
            size_text(i->weight_bytes, weights), mapped, size_text(i->kv_bytes, cache), i->block_count, i->block_tok,
            i->kv_dtype, size_text(i->step_bytes, step));
    td_info("up to %d sequences%s and %d tokens in a step, %d tokens of context, %d threads on %s", seqs, few,
            i->max_num_batched_tokens, i->max_model_len, i->threads, i->device);
}

td_rc engine_plan(td_engine *e, td_err *err)
{
    if (e->info.max_num_batched_tokens == 0)
        e->info.max_num_batched_tokens = e->dev->ops->step_tok;
    bool ours = e->info.max_num_batched_tokens == 0, measured = ours && !e->opts.quick_start;
    if (ours) // the cache is planned for the longest step
        e->info.max_num_batched_tokens = measured ? STEP_TOK_MAX : QUICK_STEP_TOK;
    uint64_t rows = LOGIT_BYTES / ((uint64_t)e->info.vocab_count * sizeof(float));
    e->logit_rows = (int32_t)TD_MAX(TD_MIN(rows, (uint64_t)SAMPLE_ROWS_MAX), 8u);
    td_rc rc = plan_kv(e, !ours, err);
    if (rc == TD_OK && measured)
        rc = measure_step_tok(e, err);
    if (rc == TD_OK)
        rc = reserve_step(e, e->info.max_num_batched_tokens, err);
    if (rc != TD_OK)
        return rc;
    e->info.step_bytes = e->step_bytes;
    sched_init(&e->sched, e->pool, e->info.max_num_seqs, e->info.max_num_batched_tokens, !e->opts.no_prefix_caching,
               e->sched.plan);
    say_plan(e);
    return TD_OK;
}

void engine_unplan(td_engine *e)
{
    release_step(e);
    kv_pool_close(e->pool);
    e->pool = NULL;
}
