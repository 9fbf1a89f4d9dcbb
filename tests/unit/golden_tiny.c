/* Tiny models of every family against float64 references: logits by teacher forcing, greedy tokens through the whole
 * engine. Usage: test_golden_tiny [family…] (default: all). */
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

static td_engine *engine_open(const char *family, int32_t step_tok, bool low_memory)
{
    char path[512];
    td_err err = TD_ERR_INIT;
    td_engine *e = NULL;
    snprintf(path, sizeof path, TD_TESTS_DIR "/golden/tiny/%s", family);
    td_engine_opts o = {.model = path, .max_num_batched_tokens = step_tok, .kv_cache_memory = 8 << 20, .threads = 2,
                        .low_memory = low_memory, .max_num_seqs = 8, .seed_set = true};
    if (td_engine_open(&o, &e, &err) != TD_OK)
        fail_msg("%s: %s", family, err.msg);
    return e;
}

/* Normalised mean squared error of all rows of a case. */
static double nmse(const td_json *rows, const float *got, int32_t vocab)
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
    (void)vocab;
    return err / ref;
}

static int32_t greedy(td_engine *e, const int32_t *ids, int32_t count, int32_t n, int32_t *out)
{
    td_request_opts o = {.prompt = ids, .prompt_count = count, .sampling = td_sampling_default()};
    o.sampling.temperature = 0;
    o.sampling.max_tokens = n;
    o.sampling.ignore_eos = true;
    td_request *r;
    td_err err = TD_ERR_INIT;
    if (td_request_submit(e, &o, &r, &err) != TD_OK)
        fail_msg("%s", err.msg);
    int32_t got = 0;
    td_event ev;
    for (;;) {
        assert_true(td_request_wait(r, 60000));
        assert_true(td_request_next(r, &ev));
        for (int32_t i = 0; ev.kind == TD_EVENT_TOKENS && i < ev.id_count; i++)
            out[got++] = ev.ids[i];
        if (ev.kind == TD_EVENT_END)
            break;
    }
    assert_int_equal(ev.rc, TD_OK);
    td_request_free(r);
    return got;
}

static void check_case(td_engine *e, const td_json *c, const char *family)
{
    int32_t prompt[512], pos[16], want[64], got[64];
    int32_t V = td_engine_get_info(e)->vocab_count;
    int32_t n = golden_ints(td_json_get(c, "prompt"), prompt, 512);
    int32_t np = golden_ints(td_json_get(c, "positions"), pos, 16);
    int32_t ng = golden_ints(td_json_get(c, "greedy"), want, 64);
    float *logits = malloc((size_t)np * (size_t)V * sizeof *logits);
    td_err err = TD_ERR_INIT;
    if (td_logits(e, prompt, n, pos, np, logits, &err) != TD_OK)
        fail_msg("%s: %s", family, err.msg);
    double x = nmse(td_json_get(c, "logits"), logits, V);
    free(logits);
    if (!(x < 1e-6))
        fail_msg("%s, prompt of %d tokens: NMSE %.3g", family, n, x);
    assert_int_equal(greedy(e, prompt, n, ng, got), ng);
    if (td_json_get_num(c, "min_margin", 0) > 1e-3 && memcmp(got, want, (size_t)ng * sizeof *got) != 0)
        fail_msg("%s, prompt of %d tokens: other greedy tokens", family, n);
    printf("  %-10s %4d tokens: NMSE %.2e, %d greedy tokens\n", family, n, x, ng);
}

static void check_family(const char *family)
{
    char dir[64];
    snprintf(dir, sizeof dir, "tiny/%s", family);
    td_json *g = golden_load(dir, "golden.json");
    // Whole prompts, chunks of 16 tokens with every kind of boundary, and weights that stay in their file.
    static const int32_t step_tok[] = {512, 16, 512};
    for (int i = 0; i < 3; i++) {
        td_engine *e = engine_open(family, step_tok[i], i == 2);
        td_json_each(c, td_json_get(g, "cases")) check_case(e, c, family);
        td_engine_close(e);
    }
    td_json_free(g);
}

static void llama(void **state) { (void)state; check_family("llama"); }
static void mistral(void **state) { (void)state; check_family("mistral"); }
static void qwen2(void **state) { (void)state; check_family("qwen2"); }
static void qwen3(void **state) { (void)state; check_family("qwen3"); }
static void gemma3(void **state) { (void)state; check_family("gemma3"); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(llama), cmocka_unit_test(mistral), cmocka_unit_test(qwen2),
                                       cmocka_unit_test(qwen3), cmocka_unit_test(gemma3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
