/* batch.h - turns the scheduler's plan into the flat batch that kernels see. Engine thread only. */
#ifndef TD_ENGINE_BATCH_H
#define TD_ENGINE_BATCH_H

#include "engine/sched.h"
#include "kernels/batch.h"

typedef struct batch_sample { // one sampled row of the flat batch and what it is for
    seq *seq;
    int32_t position;         // of the token whose logits these are
    bool draw;                // the next token is drawn from it
    bool prompt;              // its successor in the prompt wants a log probability
    bool score;               // its logits are the answer
} batch_sample;

typedef struct batch {
    kern_batch k;                               // device addresses
    kern_stage *stage;                          // holds the arrays below; one transfer a step
    size_t used_bytes;                          // of the stage, in this step
    int32_t tok_max, row_max;
    int32_t page_max;                           // pages of a row at most; in this step
    int32_t *tok_slot, *pos, *row, *sample_tok; // [tok]
    int32_t *row_tok0, *row_ctx;                // [row + 1], [row]
    int32_t *slots;                             // [tok]
    int32_t *kv_slot[TD_KV_GROUPS_MAX];         // [tok]
    int32_t *page[TD_KV_GROUPS_MAX];            // [row][page_max]
    batch_sample *samples;                      // [tok_max], not in the stage
} batch;

/* Bytes of the stage that steps of this size need. */
size_t batch_stage_bytes(const kv_geometry *g, int32_t tok_max, int32_t row_max, int32_t page_max);
/* stage and samples are the caller's and outlive b. */
void batch_init(batch *b, int32_t tok_max, int32_t row_max, kern_stage *stage, batch_sample *samples);
/* Fills b->k, the stage and b->samples from the plan. */
void batch_build(batch *b, const sched *s);

#endif
