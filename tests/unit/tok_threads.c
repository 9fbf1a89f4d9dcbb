/* Many threads encode with one tokenizer, which notes things about its entries meanwhile: all get the same ids. */
#include "tok_make.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 300 };

static const char text[] = "abc ab abc a b c d abcd cd abab ab<|end|>a  abc";

typedef struct worker {
    const tokenizer *t;
    const token_list *want;
    int wrong;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        token_list l = {0};
        td_rc rc = tokenizer_encode(w->t, text, sizeof text - 1, TOK_PARSE_SPECIAL, &l, NULL);
        bool same = rc == TD_OK && l.count == w->want->count;
        w->wrong += !same || memcmp(l.ids, w->want->ids, l.count * sizeof *l.ids) != 0;
        token_list_free(&l);
    }
    return NULL;
}

static void threads_agree(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    token_list want = {0};
    tokenizer *first = tok_from_text(TINY, &err), *shared = tok_from_text(TINY, &err);
    assert_true(first && shared);
    assert_int_equal(tokenizer_encode(first, text, sizeof text - 1, TOK_PARSE_SPECIAL, &want, &err), TD_OK);
    pthread_t thread[THREADS];
    worker w[THREADS];
    for (int i = 0; i < THREADS; i++) {
        w[i] = (worker){.t = shared, .want = &want};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(w[i].wrong, 0);
    }
    token_list_free(&want);
    tokenizer_free(first);
    tokenizer_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
