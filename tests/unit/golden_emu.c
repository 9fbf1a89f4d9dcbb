/* Whole models on the emulated GPU: tiny64 families against float64 references through the engine, its transfers, its
 * cache and its sampler; and the promise on this device: the same bits however the work is cut, shared and cached. */
#include "engine/tandem.h"
#include "kernels/emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

enum { PROMPT_MAX = 512, GREEDY_MAX = 64 };

static td_engine *engine_open(const char *family, td_engine_opts o)
{
    char path[512];
    td_err err = TD_ERR_INIT;
    td_engine *e = NULL;
    snprintf(path, sizeof path, TD_TESTS_DIR "/golden/tiny64/%s", family);
    o.model = path;
    o.device = "emu";
    o.kv_cache_memory = o.kv_cache_memory ? o.kv_cache_memory : 8 << 20;
    o.max_num_seqs = 8;
    o.seed_set = true;
    if (td_engine_open(&o, &e, &err) != TD_OK)
        fail_msg("%s: %s", family, err.msg);
    assert_string_equal(td_engine_get_info(e)->device, "emu-sm90");
    return e;
}

static double nmse(const td_json *rows, const float *got)
{
    double err = 0, ref = 0;
    td_json_each(row, rows)
    {
        td_json_each(it, row)
        {
            double v, d = (td_json_num(it, &v), (double)*got++ - v);
            err += d * d;
            ref += v * v;
        }
    }
    return err / ref;
}

static td_request *submit(td_engine *e, const int32_t *ids, int32_t count, int32_t n, float temperature,
                          int32_t choices)
{
    td_request_opts o = {.prompt = ids, .prompt_count = count, .sampling = td_sampling_default(),
                         .want_logits_hash = true};
    o.sampling.temperature = temperature;
    o.sampling.top_p = temperature > 0 ? 0.9f : 1.0f;
    o.sampling.seed = 7;
    o.sampling.seed_set = true;
    o.sampling.max_tokens = n;
    o.sampling.n = choices;
    o.sampling.ignore_eos = true;
    td_request *r;
    td_err err = TD_ERR_INIT;
    if (td_request_submit(e, &o, &r, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return r;
}

/* The first choice's tokens, and the hash of all logits on the way of all of them. Frees the request. */
static uint64_t answer(td_request *r, int32_t *out)
{
    td_event ev = {.kind = TD_EVENT_PROMPT};
    for (int32_t got = 0; ev.kind != TD_EVENT_END;) {
        assert_true(td_request_wait(r, 120000));
        assert_true(td_request_next(r, &ev));
        for (int32_t i = 0; ev.kind == TD_EVENT_TOKENS && ev.choice == 0 && i < ev.id_count; i++)
            out[got++] = ev.ids[i];
    }
    assert_int_equal(ev.rc, TD_OK);
    uint64_t hash = ev.logits_hash;
    td_request_free(r);
    return hash;
}

static uint64_t generate(td_engine *e, const int32_t *ids, int32_t count, int32_t n, float temperature, int32_t *out)
{
    return answer(submit(e, ids, count, n, temperature, 1), out);
}

static void check_case(td_engine *e, const td_json *c, const char *family)
{
    int32_t prompt[PROMPT_MAX], pos[16], want[GREEDY_MAX], got[GREEDY_MAX], V = td_engine_get_info(e)->vocab_count;
    int32_t n = golden_ints(td_json_get(c, "prompt"), prompt, PROMPT_MAX);
    int32_t np = golden_ints(td_json_get(c, "positions"), pos, 16);
    int32_t ng = golden_ints(td_json_get(c, "greedy"), want, GREEDY_MAX);
    float *logits = malloc((size_t)np * (size_t)V * sizeof *logits);
    td_err err = TD_ERR_INIT;
    if (td_logits(e, prompt, n, pos, np, logits, &err) != TD_OK)
        fail_msg("%s: %s", family, err.msg);
    double x = nmse(td_json_get(c, "logits"), logits);
    free(logits);
    if (!(x < 2e-4)) // activations, cache and weights of the attention are bf16
        fail_msg("%s, prompt of %d tokens: NMSE %.3g", family, n, x);
    generate(e, prompt, n, ng, 0, got);
    if (td_json_get_num(c, "min_margin", 0) > 0.1 && memcmp(got, want, (size_t)ng * sizeof *got) != 0)
        fail_msg("%s, prompt of %d tokens: other greedy tokens", family, n);
    printf("  %-10s %4d tokens: NMSE %.2e, %d greedy tokens\n", family, n, x, ng);
}

/* One prompt, drawn from with a temperature, through engines that cut, share and schedule the work differently. */
static void check_bits(const char *family, const td_json *c)
{
    static const struct {
        td_engine_opts opts;
        emu_order order;
        bool twice;  // the second time out of the prefix cache
    } ways[] = {
        {{.max_num_batched_tokens = 256}, EMU_FORWARD, false},
        {{.max_num_batched_tokens = 16}, EMU_REVERSE, false},
        {{.max_num_batched_tokens = 33, .block_size = 16}, EMU_RANDOM, true},
    };
    int32_t prompt[PROMPT_MAX], want[GREEDY_MAX], got[GREEDY_MAX], tokens = 6;
    int32_t n = golden_ints(td_json_get(c, "prompt"), prompt, PROMPT_MAX);
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        emu_set_schedule(ways[i].order, 5);
        td_engine *e = engine_open(family, ways[i].opts);
        uint64_t h = generate(e, prompt, n, tokens, 0.8f, i ? got : want);
        hash = i ? hash : h;
        if (h != hash || (i && memcmp(got, want, (size_t)tokens * sizeof *got) != 0))
            fail_msg("%s: other bits in way %zu", family, i);
        if (ways[i].twice && generate(e, prompt, n, tokens, 0.8f, got) != hash)
            fail_msg("%s: other bits out of the prefix cache", family);
        td_engine_close(e);
    }
    emu_set_schedule(EMU_FORWARD, 0);
}

static void check_family(const char *family)
{
    char dir[64];
    snprintf(dir, sizeof dir, "tiny64/%s", family);
    td_json *g = golden_load(dir, "golden.json"), *longest = NULL;
    td_engine *e = engine_open(family, (td_engine_opts){.max_num_batched_tokens = 256});
    size_t most = 0;
    td_json_each(c, td_json_get(g, "cases"))
    {
        int32_t ids[PROMPT_MAX];
        size_t n = (size_t)golden_ints(td_json_get(c, "prompt"), ids, PROMPT_MAX);
        if (n > most && n < 100) {
            most = n;
            longest = c;
        }
        if (n < 100 || strcmp(family, "llama") == 0) // long prompts are slow here; one family shows them
            check_case(e, c, family);
    }
    td_engine_close(e);
    if (strcmp(family, "qwen2") != 0) // as llama but for biases
        check_bits(family, longest);
    td_json_free(g);
}

static void llama(void **state) { (void)state; check_family("llama"); }
static void qwen2(void **state) { (void)state; check_family("qwen2"); }
static void gemma3(void **state) { (void)state; check_family("gemma3"); }

/* Requests that run at the same time, with two choices each, in a cache too small for all of them, give the bits that
 * each has alone. */
static void together(void **state)
{
    (void)state;
    enum { REQUESTS = 4, TOKENS = 12 };
    td_json *g = golden_load("tiny64/llama", "golden.json");
    int32_t prompt[PROMPT_MAX] = {0}, tokens[REQUESTS][TOKENS], got[TOKENS], n = 0;
    uint64_t alone[REQUESTS];
    td_request *r[REQUESTS];
    td_json_each(c, td_json_get(g, "cases")) n = n < 41 ? golden_ints(td_json_get(c, "prompt"), prompt, PROMPT_MAX) : n;
    assert_int_equal(n, 41);
    td_engine *e = engine_open("llama", (td_engine_opts){.max_num_batched_tokens = 64, .no_prefix_caching = true});
    for (int i = 0; i < REQUESTS; i++)
        alone[i] = answer(submit(e, prompt + i, n - 16 * (i % 3), TOKENS, 0.9f, 2), tokens[i]);
    td_engine_close(e);
    // 2 layers, K and V, 2 heads of 64 in bf16: 16 KiB for 16 tokens. Room for two or three sequences of eight.
    e = engine_open("llama", (td_engine_opts){.max_num_batched_tokens = 48, .no_prefix_caching = true, .block_size = 16,
                                              .kv_cache_memory = 9 * 16 * 2 * 2 * 2 * 64 * 2, .max_model_len = 96});
    for (int i = 0; i < REQUESTS; i++)
        r[i] = submit(e, prompt + i, n - 16 * (i % 3), TOKENS, 0.9f, 2);
    for (int i = 0; i < REQUESTS; i++) {
        assert_true(answer(r[i], got) == alone[i]);
        assert_memory_equal(got, tokens[i], sizeof got);
    }
    td_metrics m;
    td_engine_metrics(e, &m);
    printf("  %d requests of two choices: %lld steps, %lld preemptions\n", REQUESTS, (long long)m.steps,
           (long long)m.preemptions);
    assert_true(m.preemptions > 0);
    td_engine_close(e);
    td_json_free(g);
}

/* What the device cannot do is refused with its name and the reason, before anything is computed. */
static void refusals(void **state)
{
    (void)state;
    static const struct {
        td_engine_opts opts;
        const char *says;
    } cases[] = {
        {{.model = TD_TESTS_DIR "/golden/tiny64/llama", .kv_cache_dtype = "q8_0"}, "emu-sm90 keeps no KV cache"},
        {{.model = TD_TESTS_DIR "/golden/tiny64/llama", .low_memory = true}, "low-memory"},
        {{.model = TD_TESTS_DIR "/golden/tiny64/llama", .gpu_memory_utilization = 1e-6}, "do not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        td_engine_opts o = cases[i].opts;
        td_engine *e = NULL;
        td_err err = TD_ERR_INIT;
        o.device = "emu";
        assert_true(td_engine_open(&o, &e, &err) != TD_OK);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu: %s", i, err.msg);
    }
}

int main(void)
{
    emu_set_checks(false); // of memory accesses: checkkern has them, and they cost most of the time
    const struct CMUnitTest tests[] = {cmocka_unit_test(llama), cmocka_unit_test(qwen2), cmocka_unit_test(gemma3),
                                       cmocka_unit_test(together), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
