/* matmul.h - the frame of the matrix product, shared by all levels.
 *
 * A tile is one panel of 16 weight rows (gate and up: one of each) for one group of tokens. Tokens of a group stand in
 * sub-groups of MM_TOK; for each the level's panel function walks the whole K and leaves [tok][16] sums, which the
 * epilogue finishes. So a panel comes from memory once per group of tokens, and then from the first caches; a group is
 * sized so that its activations stay in half of a small second-level cache. */
#ifndef TD_KERNELS_CPU_MATMUL_H
#define TD_KERNELS_CPU_MATMUL_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pack.h"

enum { MM_TOK = 16, MM_GROUP_TOK = 256, MM_GROUP_BYTES = 384 << 10 };

typedef struct mm_job {        // 16 rows times up to MM_TOK tokens
    kern_type type;
    int32_t cols, chunks;
    pack_geom geom;
    const uint8_t *panel;
    const uint8_t *act;        // first token's row
    size_t act_stride;
    int32_t toks;
    float *sum;                // [toks][16], 64-byte aligned
} mm_job;

typedef struct mm_finish {     // sums to outputs
    kern_epilogue kind;
    int32_t rows, toks;        // rows ≤ 16
    const float *sum, *up;     // [toks][16]; up where kind multiplies
    const float *bias, *up_bias; // [rows] or NULL
    float *out;                // first token, first row
    int32_t out_stride;
} mm_finish;

typedef struct mm_level {
    void (*panel[KT_COUNT])(const mm_job *job);
    void (*finish)(const mm_finish *f);
} mm_level;

void mm_run(const mm_level *l, const kern_matmul_args *a, int64_t t0, int64_t t1);
void mm_finish_ref(const mm_finish *f);

/* The canonical tree over chunk sums, (0+1)+(2+3)…, done while they arrive: after chunk c, as many levels as c has
 * trailing one bits are complete. MM_STACK is the depth for TD_K_CHUNKS_MAX chunks. */
enum { MM_STACK = 3 };

#endif
