/* attn_list.cuh - the tensor cores' attention: its work list, its partial results and the arithmetic of its merges.
 *
 * Sequence of an output row, the same however the work was cut (so a decode step, a chunk of prefill and a hit in the
 * prefix cache give the same bits): chunks of 1024 keys at absolute positions; inside a chunk online softmax over tiles
 * of 64 keys, ascending; at the chunk's end its (m, l, O) merges into the running one. Scores are in units of log2 and
 * kern_exp2 is our own, so that the emulator's bits are the card's. A tile's products and sums:
 *   S   = one mma chain over D, ascending            p = exp2(S - m), rounded to bf16 for the product with V
 *   sum = of p unrounded: a lane's 16 keys ascending (2q, 2q+1 of each 8, q = lane % 4), then lanes by xor 1, xor 2
 *   O   = one mma chain over the tile's 64 keys onto O * alpha */
#ifndef TD_KERNELS_CUDA_ATTN_LIST_CUH
#define TD_KERNELS_CUDA_ATTN_LIST_CUH

#include "kernels/cuda/attn.cuh"
#include "kernels/math.h"

enum {
    ATTN_CHUNK = ATTN_TILE * ATTN_CHUNK_TILES, // keys
    ATTN_ROWS = 64,       // query rows of a work item: tokens times the query heads of a key head
    ATTN_SPLIT_ROWS = 16, // items with at most so many may be split by chunks
    ATTN_PARTS = 2048,    // partial results that fit the scratch, all key heads together
    ATTN_BLOCKS = 264,    // blocks that a card runs at once: two on each multiprocessor of an H200
};

/* Work for one block per key head: tokens [tok0, tok0 + tok_count) of one request against chunks [chunk0, chunk1). */
typedef struct attn_item {
    int32_t row, tok0, tok_count, chunk0, chunk1;
    int32_t part;         // where the partial result goes; < 0: the item is whole and writes the answer
} attn_item;

typedef struct attn_merge { // parts [part, part + part_count) make the answer of these tokens
    int32_t tok0, tok_count, part, part_count;
} attn_merge;

typedef struct attn_counts {
    int32_t items, merges;
} attn_counts;

typedef struct attn_list { // in the call's scratch
    attn_counts *counts;
    attn_item *items;
    attn_merge *merges;
    float *parts;         // [part][key head][16 rows][D + 2]: O, m, l
} attn_list;

/* Fills counts, items and merges. */
GPU_EXTERN void GPU_SYM(attention_plan)(const attn_call *c, const attn_list *l, gpu_stream stream);

/* What remains of old weights when the maximum moves; nothing was seen while m is -inf. */
static __device__ __forceinline__ float attn_alpha(float m_old, float m_new)
{
    return m_new == -__builtin_inff() ? 1.0f : kern_exp2(m_old - m_new);
}

/* (m, l, O) of a chunk into the running one: the factors of both sides. */
typedef struct attn_join {
    float m, run, chunk;
} attn_join;

static __device__ __forceinline__ attn_join attn_join_of(float run_m, float m)
{
    attn_join j = {fmaxf(run_m, m), 0.0f, 0.0f};
    if (j.m != -__builtin_inff()) {
        j.run = kern_exp2(run_m - j.m);
        j.chunk = kern_exp2(m - j.m);
    }
    return j;
}

static __device__ __forceinline__ float attn_joined(float run, float chunk, const attn_join &j)
{
    return fmaf(run, j.run, chunk * j.chunk);
}

#endif
