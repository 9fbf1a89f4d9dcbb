/* What sampling means: filters, penalties, draws and log probabilities against a plain calculation in double. */
#include "kernels/cpu/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants some of the above first
#include <cmocka.h>

enum { VOCAB = 40 };

static const cpu_level *levels[CPU_LEVELS_MAX];
static int level_count;

static kern_sample_row plain_row(void)
{
    return (kern_sample_row){.temperature = 1.0f, .top_p = 1.0f, .typical_p = 1.0f, .repetition = 1.0f, .seed = 42};
}

static kern_sample_out sample_at(const cpu_level *level, const float *logits, int32_t vocab, const kern_sample_row *row)
{
    kern_dev dev = {.thread_count = 1};
    kern_sample_out out;
    int32_t slot = -7;
    void *scratch = aligned_alloc(64, td_align_up(cpu_sample_scratch_bytes(&dev, 1, vocab), 64));
    assert_non_null(scratch);
    kern_sample_args a = {.logits = logits, .vocab = vocab, .logit_stride = vocab, .row_count = 1, .rows = row,
                          .out = &out, .slots = &slot, .scratch = scratch};
    level->sample(&a, 0, 1);
    free(scratch);
    assert_int_equal(slot, out.bad ? 0 : out.token);
    return out;
}

static int32_t token_at(int level, const float *logits, const kern_sample_row *row)
{
    return sample_at(levels[level], logits, VOCAB, row).token;
}

static void some_logits(float *x)
{
    for (int i = 0; i < VOCAB; i++)
        x[i] = (float)((i * 7919) % 101) * 0.05f - 2.0f; // all different
}

static void test_greedy(void **state)
{
    (void)state;
    for (int l = 0; l < level_count; l++) {
        float x[VOCAB] = {0};
        kern_sample_row r = plain_row();
        r.temperature = 0.0f;
        assert_int_equal(token_at(l, x, &r), 0);
        x[9] = x[30] = 2.0f;
        x[20] = 1.5f;
        assert_int_equal(token_at(l, x, &r), 9);
        kern_sample_adj adj[] = {{.id = 9, .bias = -INFINITY}, {.id = 30, .bias = -1.0f}};
        r.adj = adj;
        r.adj_count = 2;
        assert_int_equal(token_at(l, x, &r), 20);
        uint32_t mask[2] = {1u << 5 | 1u << 7, 1u << 1};
        x[33] = 1e-3f;
        r.mask = mask;
        assert_int_equal(token_at(l, x, &r), 33);
    }
}

/* Each penalty moves token 3 from just above to just below token 5, which stays. */
static void test_penalties(void **state)
{
    (void)state;
    for (int l = 0; l < level_count; l++) {
        float x[VOCAB];
        for (int i = 0; i < VOCAB; i++)
            x[i] = -9.0f;
        x[3] = 2.0f;
        x[5] = 1.0f;
        kern_sample_adj adj = {.id = 3, .out_count = 4, .seen = 1};
        kern_sample_row r = plain_row();
        r.temperature = 0.0f;
        r.adj = &adj;
        r.adj_count = 1;
        assert_int_equal(token_at(l, x, &r), 3);
        r.repetition = 1.99f; // 2 / 1.99 > 1
        assert_int_equal(token_at(l, x, &r), 3);
        r.repetition = 2.01f;
        assert_int_equal(token_at(l, x, &r), 5);
        r.repetition = 1.0f;
        r.frequency = 0.24f;
        assert_int_equal(token_at(l, x, &r), 3);
        r.frequency = 0.26f;
        assert_int_equal(token_at(l, x, &r), 5);
        r.frequency = 0.2f;
        r.presence = 0.21f; // 0.8 + 0.21
        assert_int_equal(token_at(l, x, &r), 5);
        adj.out_count = 0;
        assert_int_equal(token_at(l, x, &r), 3);
        x[3] = -1.0f; // a negative logit is multiplied
        x[5] = -1.5f;
        r.repetition = 1.6f;
        assert_int_equal(token_at(l, x, &r), 5);
        adj.seen = 0;
        assert_int_equal(token_at(l, x, &r), 3);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (int l = 0; l < level_count; l++)
        for (int t = 0; t < 2; t++) {
            float x[VOCAB];
            kern_sample_row r = plain_row();
            r.temperature = (float)t;
            r.want_logprob = true;
            some_logits(x);
            assert_false(sample_at(levels[l], x, VOCAB, &r).bad);
            x[17] = NAN;
            assert_true(sample_at(levels[l], x, VOCAB, &r).bad);
            uint32_t mask[2] = {1, 0};
            r.mask = mask; // also where nobody could draw it
            assert_true(sample_at(levels[l], x, VOCAB, &r).bad);
            x[17] = INFINITY;
            assert_true(sample_at(levels[l], x, VOCAB, &r).bad);
            x[17] = -INFINITY;
            assert_int_equal(sample_at(levels[l], x, VOCAB, &r).token, 0);
            mask[0] = 0;
            kern_sample_out out = sample_at(levels[l], x, VOCAB, &r);
            assert_true(out.bad && out.token == -1);
        }
}

/* The tokens in order, and how many of them stay, by the rules in double. */
static int expected(const float *x, const kern_sample_row *r, int *order, double *prob)
{
    int n = VOCAB;
    double sum = 0.0, before = 0.0, max = -INFINITY;
    for (int i = 0; i < VOCAB; i++) {
        order[i] = i;
        max = fmax(max, (double)x[i]);
    }
    for (int i = 1; i < VOCAB; i++)
        for (int j = i; j > 0 && x[order[j - 1]] < x[order[j]]; j--) {
            int t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
        }
    for (int i = 0; i < VOCAB; i++)
        prob[order[i]] = exp(((double)x[order[i]] - max) / (double)r->temperature);
    while (n > 1 && prob[order[n - 1]] < (double)r->min_p)
        n--;
    n = r->top_k > 0 && r->top_k < n ? r->top_k : n;
    for (int i = 0; i < n; i++)
        sum += prob[order[i]];
    int keep = 0;
    while (keep < n && (keep == 0 || before < (double)r->top_p * sum))
        before += prob[order[keep++]];
    for (int i = 0; i < VOCAB; i++)
        prob[order[i]] = i < keep ? prob[order[i]] / before : 0.0;
    return keep;
}

static void check_draws(int l, const float *x, kern_sample_row r)
{
    int order[VOCAB], count[VOCAB] = {0};
    double prob[VOCAB];
    enum { DRAWS = 3000 };
    int keep = expected(x, &r, order, prob);
    for (uint32_t i = 0; i < DRAWS; i++) {
        r.position = i;
        int32_t token = token_at(l, x, &r), want = -1, near = 0; // near: u beside a step, where double may err
        uint32_t counter[4] = {i, r.choice, 0, 0}, key[2] = {(uint32_t)r.seed, (uint32_t)(r.seed >> 32)}, word[4];
        sample_philox(counter, key, word);
        double u = (double)word[0] / 4294967296.0, sum = 0.0;
        for (int k = 0; k < keep && want < 0; k++) {
            sum += prob[order[k]];
            want = sum > u ? order[k] : -1;
            near += fabs(sum - u) < 1e-6;
        }
        if (token != want && near == 0)
            fail_msg("%s position %u: token %d, not %d", levels[l]->name, i, token, want);
        count[token]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        double sigma = sqrt(DRAWS * prob[i] * (1.0 - prob[i]));
        if (fabs(count[i] - DRAWS * prob[i]) > 5.0 * sigma + 0.5)
            fail_msg("%s: token %d drawn %d times of %d, probability %g", levels[l]->name, i, count[i], DRAWS, prob[i]);
    }
}

static void test_draws(void **state)
{
    (void)state;
    for (int l = 0; l < level_count; l++) {
        float x[VOCAB];
        kern_sample_row r = plain_row();
        some_logits(x);
        check_draws(l, x, r);
        r.temperature = 0.6f;
        r.top_k = 7;
        check_draws(l, x, r);
        r.top_p = 0.8f;
        check_draws(l, x, r);
        r.top_k = 0;
        check_draws(l, x, r);
        r.top_p = 1.0f;
        r.min_p = 0.3f;
        r.seed = 1ull << 63 | 5;
        r.choice = 3;
        check_draws(l, x, r);
        for (int i = 0; i < VOCAB; i++) // ties: the lower ids come first
            x[i] = i % 2 ? 1.0f : 0.0f;
        r.min_p = 0.0f;
        r.top_k = 5;
        check_draws(l, x, r);
    }
}

/* Locally typical: tokens by distance of -log p from the entropy, until their mass is reached. */
static void test_typical(void **state)
{
    (void)state;
    float x[VOCAB];
    some_logits(x);
    double prob[VOCAB], entropy = 0.0, kept = 0.0;
    int order[VOCAB];
    bool stays[VOCAB] = {false};
    kern_sample_row r = plain_row();
    expected(x, &r, order, prob);
    for (int i = 0; i < VOCAB; i++)
        entropy -= prob[i] * log(prob[i]);
    r.typical_p = 0.4f;
    while (kept < (double)r.typical_p) {
        int best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (!stays[i] && (best < 0 || fabs(-log(prob[i]) - entropy) < fabs(-log(prob[best]) - entropy)))
                best = i;
        stays[best] = true;
        kept += prob[best];
    }
    for (int l = 0; l < level_count; l++) {
        bool seen[VOCAB] = {false};
        for (r.position = 0; r.position < 3000; r.position++)
            seen[token_at(l, x, &r)] = true;
        assert_memory_equal(seen, stays, sizeof seen);
    }
}

static void test_choices(void **state)
{
    (void)state;
    float x[VOCAB] = {0};
    for (int l = 0; l < level_count; l++) {
        int differ[3] = {0};
        for (uint32_t i = 0; i < 100; i++) {
            kern_sample_row r = plain_row(), other = r;
            r.position = i;
            int32_t token = token_at(l, x, &r);
            assert_int_equal(token, token_at(l, x, &r));
            other = r;
            other.choice = 1;
            differ[0] += token_at(l, x, &other) != token;
            other = r;
            other.seed += 1ull << 32;
            differ[1] += token_at(l, x, &other) != token;
            other = r;
            other.position += 1000;
            differ[2] += token_at(l, x, &other) != token;
        }
        for (int i = 0; i < 3; i++)
            assert_in_range(differ[i], 80, 100);
    }
}

static void test_log_probs(void **state)
{
    (void)state;
    float x[VOCAB];
    double sum = 0.0;
    some_logits(x);
    x[11] = x[12]; // a tie
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)x[i]);
    for (int l = 0; l < level_count; l++)
        for (uint32_t p = 0; p < 50; p++) {
            kern_sample_adj adj = {.id = 3, .bias = 8.0f}; // log probabilities ignore it
            kern_sample_row r = plain_row();
            r.position = p;
            r.temperature = 3.0f;
            r.want_logprob = true;
            r.top_n = 7;
            r.adj = &adj;
            r.adj_count = 1;
            kern_sample_out out = sample_at(levels[l], x, VOCAB, &r);
            int rank = 1;
            for (int i = 0; i < VOCAB; i++)
                rank += x[i] > x[out.token] || (x[i] == x[out.token] && i < out.token);
            assert_int_equal(out.rank, rank);
            assert_true(fabs((double)out.logprob - ((double)x[out.token] - log(sum))) < 1e-6);
            for (int i = 0; i < 7; i++) {
                assert_true(fabs((double)out.top_logprobs[i] - ((double)x[out.top_ids[i]] - log(sum))) < 1e-6);
                if (i > 0)
                    assert_true(x[out.top_ids[i - 1]] > x[out.top_ids[i]] ||
                                (x[out.top_ids[i - 1]] == x[out.top_ids[i]] && out.top_ids[i - 1] < out.top_ids[i]));
                assert_true(rank != i + 1 || out.top_ids[i] == out.token);
            }
            assert_int_equal(out.top_ids[7], -1);
        }
}

int main(void)
{
    level_count = cpu_levels(levels);
    cpu_fp_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),  cmocka_unit_test(test_penalties), cmocka_unit_test(test_bad),
        cmocka_unit_test(test_draws),   cmocka_unit_test(test_typical),   cmocka_unit_test(test_choices),
        cmocka_unit_test(test_log_probs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
