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
    kern_batch k;
    int32_t tok_max, row_max;
    int32_t *tok_slot, *pos, *row, *sample_tok; // [tok_max]
    int32_t *row_tok0, *row_ctx;                // [row_max + 1], [row_max]
    int32_t *slots;                             // [tok_max]
    int32_t *kv_slot[TD_KV_GROUPS_MAX];         // [tok_max]
    int32_t *page[TD_KV_GROUPS_MAX];            // [row_max][page_max]
    int32_t page_max;
    batch_sample *samples;                      // [tok_max]
} batch;

/* Counts (c->base NULL) or places the arrays. */
void batch_layout(batch *b, const kv_geometry *g, int32_t tok_max, int32_t row_max, int32_t page_max, td_carve *c);
/* Fills b->k and b->samples from the plan. */
void batch_build(batch *b, const sched *s);

#endif
