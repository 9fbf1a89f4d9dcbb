#include "engine/batch.h"

#include "base/check.h"

#include <string.h>

/* The arrays of a step, tightly: what is pushed is what the step needs. */
static void place(batch *b, const kv_geometry *g, int32_t tok_count, int32_t row_count, td_carve *c)
{
    size_t T = (size_t)tok_count, R = (size_t)row_count;
    b->tok_slot = td_carve_take(c, T, sizeof *b->tok_slot);
    b->pos = td_carve_take(c, T, sizeof *b->pos);
    b->row = td_carve_take(c, T, sizeof *b->row);
    b->sample_tok = td_carve_take(c, T, sizeof *b->sample_tok);
    b->row_tok0 = td_carve_take(c, R + 1, sizeof *b->row_tok0);
    b->row_ctx = td_carve_take(c, R, sizeof *b->row_ctx);
    b->slots = td_carve_take(c, T, sizeof *b->slots);
    for (int32_t i = 0; i < g->group_count; i++) {
        b->kv_slot[i] = td_carve_take(c, T, sizeof *b->kv_slot[i]);
        b->page[i] = td_carve_take(c, R * (size_t)b->page_max, sizeof *b->page[i]);
    }
}

size_t batch_stage_bytes(const kv_geometry *g, int32_t tok_max, int32_t row_max, int32_t page_max)
{
    batch b = {.page_max = page_max};
    td_carve c = {0};
    place(&b, g, tok_max, row_max, &c);
    return c.off;
}

void batch_init(batch *b, int32_t tok_max, int32_t row_max, kern_stage *stage, batch_sample *samples)
{
    *b = (batch){.tok_max = tok_max, .row_max = row_max, .stage = stage, .samples = samples};
}

/* Where the device sees an array of the stage. */
static int32_t *on_device(const batch *b, const int32_t *host)
{
    return (int32_t *)(void *)((char *)b->stage->dev + ((const char *)host - (const char *)b->stage->host));
}

static void add_sample(batch *b, batch_sample s, int32_t tok)
{
    b->sample_tok[b->k.sample_count] = tok;
    b->samples[b->k.sample_count++] = s;
}

/* Which tokens of q's chunk need logits: the last known one to draw from, and those whose values are asked for. */
static void want_logits(batch *b, seq *q, int32_t tok0)
{
    td_request *r = q->req;
    int32_t end = q->computed + q->step_tok, next_score = r->position_done;
    for (int32_t p = q->computed; p < end; p++) {
        batch_sample s = {.seq = q, .position = p};
        s.draw = p + 1 == q->count && !r->positions;
        s.prompt = r->prompt_logprobs && q->choice == 0 && !r->prompt_done && p + 1 < r->prompt_count;
        while (next_score < r->position_count && r->positions[next_score] < p)
            next_score++;
        s.score = next_score < r->position_count && r->positions[next_score] == p;
        if (s.draw || s.prompt || s.score)
            add_sample(b, s, tok0 + p - q->computed);
    }
}

static void add_row(batch *b, const kv_geometry *g, seq *q, int32_t row)
{
    int32_t tok0 = b->k.tok_count;
    for (int32_t i = 0; i < q->step_tok; i++) {
        int32_t t = tok0 + i, p = q->computed + i;
        b->slots[t] = q->ids[p];
        b->tok_slot[t] = t;
        b->pos[t] = p;
        b->row[t] = row;
        for (int32_t k = 0; k < g->group_count; k++)
            b->kv_slot[k][t] = q->table.page[k][p / g->block_tok] * g->block_tok + p % g->block_tok;
    }
    for (int32_t k = 0; k < g->group_count; k++)
        memcpy(b->page[k] + (size_t)row * (size_t)b->page_max, q->table.page[k],
               (size_t)q->table.page_count * sizeof(int32_t));
    q->slot0 = tok0;
    b->row_tok0[row] = tok0;
    b->row_ctx[row] = q->computed + q->step_tok;
    b->k.tok_count += q->step_tok;
    want_logits(b, q, tok0);
}

static void name_arrays(batch *b, const kv_geometry *g, int32_t row_count)
{
    b->k = (kern_batch){.tok_slot = on_device(b, b->tok_slot), .pos = on_device(b, b->pos),
                        .row = on_device(b, b->row), .row_tok0 = on_device(b, b->row_tok0),
                        .row_ctx = on_device(b, b->row_ctx), .sample_tok = on_device(b, b->sample_tok),
                        .slots = on_device(b, b->slots), .row_count = row_count, .group_count = g->group_count};
    for (int32_t i = 0; i < g->group_count; i++)
        b->k.group[i] = (kern_batch_group){.kv_slot = on_device(b, b->kv_slot[i]), .page = on_device(b, b->page[i]),
                                           .page_max = b->page_max, .block_tok = g->block_tok};
}

void batch_build(batch *b, const sched *s)
{
    const kv_geometry *g = kv_pool_geometry(s->pool);
    td_assert(s->plan_tok <= b->tok_max && s->plan_count <= b->row_max);
    b->page_max = 1;
    for (int32_t row = 0; row < s->plan_count; row++)
        b->page_max = TD_MAX(b->page_max, s->plan[row]->table.page_count);
    td_carve c = {.base = b->stage->host, .cap = b->stage->bytes};
    place(b, g, s->plan_tok, s->plan_count, &c);
    b->used_bytes = c.off;
    name_arrays(b, g, s->plan_count);
    for (int32_t row = 0; row < s->plan_count; row++)
        add_row(b, g, s->plan[row], row);
    b->row_tok0[s->plan_count] = b->k.tok_count;
}
