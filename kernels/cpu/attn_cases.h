/* attn_cases.h - picks the micro kernel by type and number of rows: each pair is a function of its own, made from
 * scores_n() and values_rows() of the including file with both as constants. Types but float reach at most
 * ATTN_DIRECT_MICRO rows. */
#ifndef TD_KERNELS_CPU_ATTN_CASES_H
#define TD_KERNELS_CPU_ATTN_CASES_H

#include "kernels/cpu/attn_fast.h"

static inline void scores_n(kern_kv_type type, int rows, const float *q, const attn_keys *keys, int32_t D, float *s);
static inline void values_rows(kern_kv_type type, int rows, const float *p, const attn_keys *keys, int32_t D, int j0,
                               int j1, float *o);

#define CASES_DIRECT(X, type) X(type, 1) X(type, 2) X(type, 3) X(type, 4)
#define CASES(X)                                                              \
    CASES_DIRECT(X, KV_F32) X(KV_F32, 5) X(KV_F32, 6)                         \
    CASES_DIRECT(X, KV_F16) CASES_DIRECT(X, KV_BF16) CASES_DIRECT(X, KV_Q8_0)

#define X(type, rows)                                                                                               \
    static void scores_##type##_##rows(const float *q, const attn_keys *keys, int32_t D, float *s)                  \
    {                                                                                                               \
        scores_n(type, rows, q, keys, D, s);                                                                        \
    }                                                                                                               \
    static void values_##type##_##rows(const float *p, const attn_keys *keys, int32_t D, int j0, int j1, float *o)  \
    {                                                                                                               \
        values_rows(type, rows, p, keys, D, j0, j1, o);                                                             \
    }
CASES(X)
#undef X

static void scores(int rows, const float *q, const attn_keys *keys, int32_t D, float *s)
{
    typedef void (*scores_fn)(const float *q, const attn_keys *keys, int32_t D, float *s);
#define X(type, rows) [type][rows] = scores_##type##_##rows,
    static const scores_fn table[KV_TYPES][ATTN_MICRO + 1] = {CASES(X)};
#undef X
    table[keys->type][rows](q, keys, D, s);
}

static void add_values(int rows, const float *p, const attn_keys *keys, int32_t D, int j0, int j1, float *o)
{
    typedef void (*values_fn)(const float *p, const attn_keys *keys, int32_t D, int j0, int j1, float *o);
#define X(type, rows) [type][rows] = values_##type##_##rows,
    static const values_fn table[KV_TYPES][ATTN_MICRO + 1] = {CASES(X)};
#undef X
    table[keys->type][rows](p, keys, D, j0, j1, o);
}

/* The entry points of a level: tiles [t0, t1) of attention, or of the merge of what tiles left. */
#define ATTN_LEVEL(isa)                                                          \
    void attention_##isa(const kern_attn_args *a, int64_t t0, int64_t t1)        \
    {                                                                            \
        attn_work w;                                                             \
        for (int64_t t = t0; t < t1; t++)                                        \
            attention_tile(a, t, &w);                                            \
    }                                                                            \
    void attn_merge_##isa(const kern_attn_args *a, int64_t t0, int64_t t1)       \
    {                                                                            \
        attn_work w;                                                             \
        for (int64_t t = t0; t < t1; t++)                                        \
            merge_tile(a, t, &w);                                                \
    }

#endif
