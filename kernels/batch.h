/* batch.h - the flat batch: one step over tokens of many requests, the only thing that kernels see of them.
 *
 * Prefill chunks, single decode tokens and drafts stand side by side; requests are "rows" here. Tokens of one row are
 * consecutive and ascending in position. All arrays are device addresses into one stage (kernels.h), which the engine's
 * batch builder fills through its host address and pushes before the step; kernels only read them, but for `slots`,
 * which the sampler writes. */
#ifndef TD_KERNELS_BATCH_H
#define TD_KERNELS_BATCH_H

#include "base/limits.h"

#include <stdint.h>
#ifdef __cplusplus
typedef int kern_cancel_word; // device code never looks at them
typedef unsigned long long kern_beat_word;
#else
#include <stdatomic.h>
typedef atomic_int kern_cancel_word;
typedef atomic_ullong kern_beat_word;
#endif

typedef struct kern_batch_group { // one KV group: layers of one kind that share a page table
    const int32_t *kv_slot;  // [tok] block * block_tok + offset: where this token's K and V go
    const int32_t *page;     // [row][page_max] block of each page of the row, -1 where a window left it behind
    int32_t page_max;
    int32_t block_tok;       // tokens per block
} kern_batch_group;

typedef struct kern_batch {
    int32_t tok_count;       // tokens in the step
    int32_t row_count;       // requests in the step
    int32_t sample_count;    // tokens whose logits are wanted
    const int32_t *tok_slot; // [tok] index into slots[] of its input id; < 0: row -1-tok_slot of embeds
    const int32_t *pos;      // [tok] absolute position
    const int32_t *row;      // [tok] its request
    const int32_t *row_tok0; // [row_count + 1] first flat token of each row
    const int32_t *row_ctx;  // [row] tokens in context once this step is stored
    const int32_t *sample_tok; // [sample] flat token
    int32_t *slots;          // token ids, written by the host for prompts and by the sampler for what follows
    const float *embeds;     // [..][hidden] rows given as embeddings instead of ids, or NULL
    int32_t group_count;
    kern_batch_group group[TD_KV_GROUPS_MAX];
    const kern_cancel_word *cancel; // looked at between layers: nonzero abandons the step. NULL = never
    kern_beat_word *beat;    // gets the time between layers: a long step is no stalled one. NULL = no
} kern_batch;

#endif
