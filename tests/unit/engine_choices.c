/* Requests of many choices: all begin in one step, in every order of ends, and while others come and go. */
#include "engine_make.h"

/* Prompts whose choices together need more rows than one pass of the sampler has, all in one step, and whose first
 * choice is over with its first token, by length or by a stop id, before the others are begun. */
static void choices_over_the_rows(void **state)
{
    (void)state;
    enum { PROMPTS_MAX = 14, N = 15, LONG = 900 };
    int32_t ids[LONG + 7], eos;
    prompt_of(ids, LONG + 7, 15);
    static answer want[PROMPTS_MAX], a;
    td_engine *e = open_tiny((td_engine_opts){.max_num_seqs = 256, .max_num_batched_tokens = 2048});
    for (int round = 0; round < 12; round++) {
        int prompts = 5 + round % 10;
        td_request_opts o[PROMPTS_MAX], plug = request_of(ids, LONG + round % 7, 1);
        td_request *r[PROMPTS_MAX], *first;
        td_err err = TD_ERR_INIT;
        for (int i = 0; i < prompts; i++) {
            o[i] = request_of(ids + 31 * i, i % 2 ? 21 : 1, 1 + round % 3);
            o[i].sampling.n = N - i % 2;
            o[i].sampling.logprobs = round % 2, o[i].sampling.top_logprobs = 3;
            o[i].sampling.prompt_logprobs = round % 5 == 4 ? 2 : -1; // rows of their own
            run(e, &o[i], &want[i]);
            eos = want[i].ids[0][0];
            if (round % 4 == 3) { // the first choice stops at once, the others go on
                o[i].sampling.ignore_eos = false;
                o[i].sampling.stop_ids = &eos, o[i].sampling.stop_id_count = 1;
                run(e, &o[i], &want[i]);
                assert_int_equal(want[i].finish[0], TD_FINISH_STOP);
            }
        }
        plug.no_cache_read = true;
        assert_int_equal(td_request_submit(e, &plug, &first, &err), TD_OK); // all others arrive while it is computed
        for (int i = 0; i < prompts; i++) {
            eos = want[i].ids[0][0];
            assert_int_equal(td_request_submit(e, &o[i], &r[i], &err), TD_OK);
        }
        take(first, &a);
        for (int i = 0; i < prompts; i++) {
            take(r[i], &a);
            assert_int_equal(a.rc, TD_OK);
            assert_memory_equal(a.ids, want[i].ids, sizeof a.ids);
            assert_memory_equal(a.finish, want[i].finish, sizeof a.finish);
            assert_true(a.hash == want[i].hash);
        }
        check_idle(e);
    }
    td_engine_close(e);
}

static uint32_t draw_below(uint32_t *random, uint32_t n)
{
    *random = *random * 1664525u + 1013904223u;
    return (*random >> 8) % n;
}

static void audit(td_engine *e)
{
    td_buf b = TD_BUF_INIT;
    td_err err = TD_ERR_INIT;
    if (td_engine_debug(e, TD_DEBUG_AUDIT, 0, 0, &b, &err))
        fail_msg("%s", err.msg);
    td_buf_free(&b);
}

/* Requests of many choices that come and go at random while the cache has room for few of them: between steps every
 * block is held by those who name it and by nobody else, and who stays gets the answer that it gets alone. */
static void soak(const char *model)
{
    enum { KINDS = 12, LIVE = 10, TURNS = 800 };
    int32_t ids[200];
    prompt_of(ids, 200, 16);
    static answer want[KINDS], a;
    td_request_opts kind[KINDS];
    td_engine *e = open_tiny((td_engine_opts){.model = model, .max_num_seqs = 20, .max_num_batched_tokens = 48,
                                              .max_model_len = 160, .kv_cache_memory = 24 * 16 * 2 * 2 * 16 * 4 * 4});
    uint32_t random = 17;
    for (int k = 0; k < KINDS; k++) {
        kind[k] = request_of(ids + k / 3, 1 + (int32_t)draw_below(&random, 90), 1 + (int32_t)draw_below(&random, 24));
        kind[k].sampling.n = 1 + (int32_t)draw_below(&random, 12); // within max_num_seqs of either model
        kind[k].sampling.logprobs = k % 3 == 0;
        kind[k].sampling.frequency_penalty = k % 2 ? 0.5f : 0;
        kind[k].sampling.ignore_eos = k % 4 != 0;
        kind[k].sampling.prompt_logprobs = k % 5 == 4 ? 1 : -1;
        run(e, &kind[k], &want[k]);
    }
    td_request *live[LIVE] = {NULL};
    int of[LIVE];
    for (int turn = 0; turn < TURNS; turn++) {
        td_err err = TD_ERR_INIT;
        uint32_t at = draw_below(&random, LIVE), what = draw_below(&random, 4);
        if (!live[at]) {
            of[at] = (int)draw_below(&random, KINDS);
            kind[of[at]].priority = (int32_t)draw_below(&random, 3);
            assert_int_equal(td_request_submit(e, &kind[of[at]], &live[at], &err), TD_OK);
        } else if (what == 0) {
            td_request_free(live[at]);
            live[at] = NULL;
        } else if (what == 1) {
            take(live[at], &a);
            assert_int_equal(a.rc, TD_OK);
            assert_memory_equal(a.ids, want[of[at]].ids, sizeof a.ids);
            live[at] = NULL;
        }
        audit(e);
    }
    for (int i = 0; i < LIVE; i++)
        td_request_free(live[i]);
    td_metrics m;
    td_engine_metrics(e, &m);
    assert_true(m.preemptions > 0);
    check_idle(e);
    td_engine_close(e);
}

static void soak_full(void **state)
{
    (void)state;
    soak(TD_TESTS_DIR "/golden/tiny/llama");
}

static void soak_windows(void **state)
{
    (void)state;
    soak(TD_TESTS_DIR "/golden/tiny/gemma3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(choices_over_the_rows), cmocka_unit_test(soak_full),
                                       cmocka_unit_test(soak_windows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
