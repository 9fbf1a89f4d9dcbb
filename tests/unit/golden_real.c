/* The two real models against a float64 reference on the dequantised weights: tokens equal, top logits close,
 * greedy text equal unless a margin on the way is tiny. And the promise: the same bits however the work is cut,
 * shared, cached, threaded or vectorised. Models come from $TEST_MODELS; without it the tests are skipped, and
 * say so. */
#include "engine/tandem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

enum { PROMPT_MAX = 2048, GREEDY_MAX = 64, TOP = 20 };

static const char *models_dir(void) { return getenv("TEST_MODELS"); }

static td_engine *engine_open(const char *file, td_engine_opts o)
{
    char path[512];
    td_err err = TD_ERR_INIT;
    td_engine *e = NULL;
    snprintf(path, sizeof path, "%s/%s", models_dir(), file);
    o.model = path;
    o.seed_set = true;
    if (!o.kv_cache_memory)
        o.kv_cache_memory = 128 << 20;
    if (!o.max_model_len)
        o.max_model_len = 2048;
    if (!o.max_num_seqs)
        o.max_num_seqs = 16;
    if (td_engine_open(&o, &e, &err) != TD_OK)
        fail_msg("%s: %s", path, err.msg);
    return e;
}

typedef struct answer {
    int32_t ids[GREEDY_MAX], count, cached;
    uint64_t hash;
    char text[1024];
    size_t text_len;
    float gap[GREEDY_MAX]; // between best and second logit
} answer;

static td_request *submit(td_engine *e, const int32_t *ids, int32_t count, int32_t n, float temperature)
{
    td_request_opts o = {.prompt = ids,
                         .prompt_count = count,
                         .sampling = td_sampling_default(),
                         .want_logits_hash = true};
    o.sampling.temperature = temperature;
    o.sampling.max_tokens = n;
    o.sampling.ignore_eos = true;
    o.sampling.seed_set = true;
    o.sampling.seed = 42;
    o.sampling.logprobs = true;
    o.sampling.top_logprobs = 2;
    td_request *r;
    td_err err = TD_ERR_INIT;
    if (td_request_submit(e, &o, &r, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return r;
}

static void collect(td_request *r, answer *a)
{
    *a = (answer){.count = 0};
    td_event ev;
    do {
        assert_true(td_request_wait(r, 120000));
        assert_true(td_request_next(r, &ev));
        for (int32_t i = 0; ev.kind == TD_EVENT_TOKENS && i < ev.id_count; i++) {
            a->gap[a->count] = ev.logprobs[i].top[0].logprob - ev.logprobs[i].top[1].logprob;
            a->ids[a->count++] = ev.ids[i];
        }
        memcpy(a->text + a->text_len, ev.text, ev.text_len);
        a->text_len += ev.text_len;
    } while (ev.kind != TD_EVENT_END);
    assert_int_equal(ev.rc, TD_OK);
    a->hash = ev.logits_hash;
    a->cached = ev.cached_count;
    td_request_free(r);
}

static void run(td_engine *e, const int32_t *ids, int32_t count, int32_t n, float temperature, answer *a)
{
    collect(submit(e, ids, count, n, temperature), a);
}

static void check_logits(td_engine *e, const td_json *c, const int32_t *ids, int32_t n)
{
    int32_t V = td_engine_get_info(e)->vocab_count, top[TOP], last = n - 1;
    float *logits = malloc((size_t)V * sizeof *logits);
    td_err err = TD_ERR_INIT;
    if (td_logits(e, ids, n, &last, 1, logits, &err) != TD_OK)
        fail_msg("%s", err.msg);
    int32_t count = golden_ints(td_json_get(c, "top_ids"), top, TOP), i = 0;
    double sum = 0;
    td_json_each(it, td_json_get(c, "top_logits"))
    {
        double v;
        assert_true(td_json_num(it, &v));
        double d = logits[top[i++]] - v;
        sum += d * d;
    }
    free(logits);
    assert_int_equal(i, count);
    printf("  root mean square of the top %d logits' differences: %.3f\n", count, sqrt(sum / count));
    assert_true(sqrt(sum / count) < 0.35);
}

static void check_case(td_engine *e, const td_json *c)
{
    int32_t ids[PROMPT_MAX], want[GREEDY_MAX];
    const char *text = td_json_get_str(c, "text", NULL);
    td_tokens t;
    td_err err = TD_ERR_INIT;
    int32_t n = golden_ints(td_json_get(c, "tokens"), ids, PROMPT_MAX);
    int32_t ng = golden_ints(td_json_get(c, "greedy"), want, GREEDY_MAX);
    if (td_tokenize(e, text, strlen(text), TD_TEXT_ADD_SPECIAL, &t, &err) != TD_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(t.count, n);
    assert_memory_equal(t.ids, ids, (size_t)n * sizeof *ids);
    td_tokens_free(&t);
    check_logits(e, c, ids, n);
    answer a;
    run(e, ids, n, ng, 0, &a);
    const char *want_text = td_json_get_str(c, "greedy_text", "");
    int32_t same = 0;
    while (same < ng && a.ids[same] == want[same])
        same++;
    printf("  %d of %d greedy tokens, gap there %.3f: %.*s\n", same, ng, (double)(same < ng ? a.gap[same] : 0),
           (int)a.text_len, a.text);
    // 8-bit activations move a logit by a tenth or two: only a choice closer than that may fall the other way.
    if (same < ng)
        assert_true(a.gap[same] < 0.5f);
    else
        assert_memory_equal(a.text, want_text, strlen(want_text));
}

static void golden(const char *file)
{
    if (!models_dir())
        skip();
    char name[128];
    snprintf(name, sizeof name, "%s.json", file);
    td_json *j = golden_load("real", name);
    td_engine *e = engine_open(file, (td_engine_opts){0});
    td_json_each(c, td_json_get(j, "cases")) check_case(e, c);
    td_engine_close(e);
    td_json_free(j);
}

#define SMOL "SmolLM2-135M-Instruct.Q4_1.gguf"
#define GEMMA "gemma-3-270m-Q4_K_M.gguf"

static void golden_smol(void **state) { (void)state; golden(SMOL); }
static void golden_gemma(void **state) { (void)state; golden(GEMMA); }

/* ---- the matrix ---- */

enum { LONG = 560, SHORT = 37, N = 6, OTHERS = 3 }; // LONG passes Gemma's window of 512

static void make_prompt(int32_t *ids, int32_t count, uint32_t seed)
{
    for (int32_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = 300 + (int32_t)(seed >> 8) % 20000;
    }
}

static void same(const answer *a, const answer *b, const char *what)
{
    if (a->hash != b->hash || memcmp(a->ids, b->ids, sizeof a->ids) != 0 || a->text_len != b->text_len)
        fail_msg("other bits: %s", what);
}

/* One prompt alone, then between strangers, then twice from the cache. */
static void variant(const char *file, td_engine_opts o, const answer *want, const char *what)
{
    int32_t ids[LONG], other[OTHERS][SHORT * 4];
    make_prompt(ids, LONG, 1);
    td_engine *e = engine_open(file, o);
    answer a;
    td_request *r[OTHERS], *mine = NULL;
    for (int i = 0; i < OTHERS; i++) {
        make_prompt(other[i], SHORT * 4, (uint32_t)(i + 7));
        r[i] = submit(e, other[i], SHORT + 17 * i, 6 * N, 0.9f);
        if (i == OTHERS - 1) // the last to arrive is the first to give way
            mine = submit(e, ids, LONG, N, 0.8f);
    }
    collect(mine, &a);
    same(want, &a, what);
    for (int i = 0; i < OTHERS; i++) {
        answer b;
        collect(r[i], &b);
    }
    run(e, ids, LONG, N, 0.8f, &a);
    same(want, &a, what);
    if (!o.no_prefix_caching && o.kv_cache_memory == 0)
        assert_true(a.cached >= LONG - 64);
    td_metrics m;
    td_engine_metrics(e, &m);
    assert_true(o.kv_cache_memory == 0 || m.preemptions > 0);
    printf("  same bits: %s (%d tokens cached, %d preemptions)\n", what, a.cached, (int)m.preemptions);
    td_engine_close(e);
}

static void matrix(const char *file)
{
    if (!models_dir())
        skip();
    int32_t ids[LONG];
    make_prompt(ids, LONG, 1);
    answer want;
    td_engine *e = engine_open(file, (td_engine_opts){.max_num_batched_tokens = 1024, .threads = 1});
    run(e, ids, LONG, N, 0.8f, &want);
    uint64_t block_bytes = td_engine_get_info(e)->kv_bytes / (uint64_t)td_engine_get_info(e)->block_count;
    td_engine_close(e);
    assert_int_equal(want.count, N);
    variant(file, (td_engine_opts){.threads = 2}, &want, "two threads, measured step");
    variant(file, (td_engine_opts){.max_num_batched_tokens = 33}, &want, "chunks of 33");
    variant(file, (td_engine_opts){.block_size = 64}, &want, "blocks of 64");
    variant(file, (td_engine_opts){.no_prefix_caching = true}, &want, "no prefix cache");
    variant(file, (td_engine_opts){.cpu_isa = "avx2", .threads = 2}, &want, "AVX2");
    variant(file, (td_engine_opts){.low_memory = true, .threads = 2}, &want, "weights as they lie in the file");
    variant(file, (td_engine_opts){.cpu_isa = "avx512", .max_num_batched_tokens = 128}, &want, "AVX-512 without VNNI");
    // Room for the long prompt and little else: it gives its blocks to those who came first, and comes back.
    uint64_t blocks = strstr(file, "gemma") ? 222 : 38;
    variant(file, (td_engine_opts){.kv_cache_memory = block_bytes * blocks, .max_model_len = LONG + 2 * N,
                                   .max_num_batched_tokens = 64}, &want, "preemption");
}

static void matrix_smol(void **state) { (void)state; matrix(SMOL); }
static void matrix_gemma(void **state) { (void)state; matrix(GEMMA); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_smol), cmocka_unit_test(golden_gemma),
                                       cmocka_unit_test(matrix_smol), cmocka_unit_test(matrix_gemma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
