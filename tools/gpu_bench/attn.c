/* Paged attention: decode over batch sizes and contexts, prefill of whole prompts. Bytes are those of K and V, once. */
#include "tools/gpu_bench/gbench.h"

#include "base/check.h"

#include <stdlib.h>

enum { BLOCK = 64 };

typedef struct attn_heads {
    const char *name;
    int32_t q, kv, dim;
} attn_heads;

typedef struct attn_case { // rows requests, each with `toks` new tokens at the end of ctx
    int32_t rows, toks, ctx;
} attn_case;

typedef struct attn_world {
    kern_batch batch;
    kern_kv_layer kv;
    kern_attn_args args;
    void *mem[8];
    int mem_count;
} attn_world;

static void *keep(attn_world *w, void *p) { return w->mem[w->mem_count++] = p; }

static void attend(gbench *b, void *ctx, int set)
{
    (void)set;
    GPU_SYM(op_attention)(&((attn_world *)ctx)->args, b->stream);
}

/* The batch's arrays: blocks of a request are spread over the pool. */
static void make_batch(gbench *b, attn_world *w, const attn_case *c)
{
    int32_t pages = (c->ctx + BLOCK - 1) / BLOCK, T = c->rows * c->toks, n = 0;
    int32_t *pos = malloc((size_t)T * 4), *row = malloc((size_t)T * 4), *tok0 = malloc((size_t)(c->rows + 1) * 4),
            *ctx = malloc((size_t)c->rows * 4), *page = malloc((size_t)c->rows * (size_t)pages * 4);
    if (!pos || !row || !tok0 || !ctx || !page)
        exit(1);
    for (int32_t r = 0; r < c->rows; r++) {
        tok0[r] = n;
        ctx[r] = c->ctx;
        for (int32_t i = 0; i < c->toks; i++, n++) {
            pos[n] = c->ctx - c->toks + i;
            row[n] = r;
        }
        for (int32_t p = 0; p < pages; p++)
            page[r * pages + p] = p * c->rows + r;
    }
    tok0[c->rows] = n;
    w->batch = (kern_batch){.tok_count = T, .row_count = c->rows, .group_count = 1,
                            .pos = keep(w, gbench_upload(b, pos, (size_t)T * 4)),
                            .row = keep(w, gbench_upload(b, row, (size_t)T * 4)),
                            .row_tok0 = keep(w, gbench_upload(b, tok0, (size_t)(c->rows + 1) * 4)),
                            .row_ctx = keep(w, gbench_upload(b, ctx, (size_t)c->rows * 4))};
    size_t page_bytes = (size_t)c->rows * (size_t)pages * 4;
    w->batch.group[0] = (kern_batch_group){.page_max = pages, .block_tok = BLOCK,
                                           .page = keep(w, gbench_upload(b, page, page_bytes))};
    free(pos);
    free(row);
    free(tok0);
    free(ctx);
    free(page);
}

static void measure(gbench *b, const attn_heads *h, const attn_case *c)
{
    attn_world w = {0};
    char what[96];
    size_t layer = (size_t)2 * (size_t)h->kv * BLOCK * (size_t)h->dim * 2;
    size_t blocks = (size_t)((c->ctx + BLOCK - 1) / BLOCK) * (size_t)c->rows, T = (size_t)c->rows * (size_t)c->toks;
    make_batch(b, &w, c);
    uint8_t *cache = gbench_noise(b, blocks * layer);
    size_t q_bytes = T * (size_t)h->q * (size_t)h->dim * 4;
    float *q = gbench_noise(b, q_bytes), *out = gbench_zeros(b, q_bytes);
    void *scratch = gbench_zeros(b, GPU_SYM(op_attn_scratch_bytes)((int32_t)T, h->q, h->dim, c->ctx));
    w.kv = (kern_kv_layer){.type = KV_BF16, .heads = h->kv, .head_dim = h->dim, .block_tok = BLOCK, .base = cache,
                           .block_stride = layer};
    w.args = (kern_attn_args){.batch = &w.batch, .kv = &w.kv, .q_heads = h->q, .q = q, .q_stride = h->q * h->dim,
                              .scale = 0.088f, .out = out, .scratch = scratch};
    double keys = (double)c->ctx - 0.5 * (c->toks - 1); // seen by a token, on average
    double flop = 4.0 * (double)T * h->q * h->dim * keys, bytes = (double)(blocks * layer);
    snprintf(what, sizeof what, "%s, %d x %d tokens, context %d", h->name, c->rows, c->toks, c->ctx);
    gbench_row(b, what, gbench_time(b, attend, &w, 1), c->toks == 1 ? bytes : 0, flop, 0);
    for (int i = 0; i < w.mem_count; i++)
        gbench_free(w.mem[i]);
    gbench_free(cache);
    gbench_free(q);
    gbench_free(out);
    gbench_free(scratch);
}

void gbench_attention(gbench *b)
{
    static const attn_heads llama = {"32/8 heads of 128", 32, 8, 128}, small = {"4/2 heads of 64", 4, 2, 64},
                            gemma = {"8/4 heads of 256", 8, 4, 256};
    static const attn_case decode[] = {{1, 1, 1024},  {1, 1, 32768}, {16, 1, 4096},  {64, 1, 1024},
                                       {64, 1, 8192}, {256, 1, 1024}, {256, 1, 4096}, {32, 1, 32768}};
    static const attn_case prefill[] = {{1, 2048, 2048}, {1, 8192, 8192}, {8, 1024, 1024}, {1, 512, 16384}};
    gbench_head(b, "Paged attention, bf16 cache");
    if (b->small) {
        static const attn_case few[] = {{3, 1, 70}, {1, 40, 100}};
        for (size_t i = 0; i < TD_COUNT(few); i++)
            measure(b, &small, &few[i]);
        return;
    }
    for (size_t i = 0; i < TD_COUNT(decode); i++)
        measure(b, &llama, &decode[i]);
    for (size_t i = 0; i < TD_COUNT(prefill); i++)
        measure(b, &llama, &prefill[i]);
    measure(b, &gemma, &decode[3]);
    measure(b, &gemma, &prefill[0]);
}
