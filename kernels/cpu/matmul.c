#include "kernels/cpu/matmul.h"

#include "base/check.h"

_Static_assert(TD_K_CHUNKS_MAX == 1 << MM_STACK, "depth of the tree over chunks");

static bool is_gated(const kern_matmul_args *a) { return a->epilogue == KE_SILU_MUL || a->epilogue == KE_GELU_MUL; }

static int32_t group_tok(const kern_matmul_args *a)
{
    size_t stride = a->act[0]->stride;
    for (int32_t i = 1; i < a->part_count; i++)
        stride = TD_MAX(stride, a->act[i]->stride);
    size_t tok = TD_MIN(MM_GROUP_BYTES / stride, (size_t)MM_GROUP_TOK);
    return (int32_t)TD_MAX(tok / MM_TOK * MM_TOK, (size_t)MM_TOK);
}

static int32_t panel_count(const kern_matmul_args *a)
{
    int32_t n = pack_panels(a->w[0]->rows);
    for (int32_t i = 1; i < a->part_count && !is_gated(a); i++)
        n += pack_panels(a->w[i]->rows);
    return n;
}

int64_t cpu_matmul_tiles(const kern_matmul_args *a)
{
    td_assert(a->part_count >= 1 && a->part_count <= KERN_PARTS_MAX);
    for (int32_t i = 0; i < a->part_count; i++) {
        const kern_weight *w = a->w[i];
        td_assert(a->act[i]->kind == kern_types[w->type].act && a->act[i]->cols == w->cols);
        td_assert(a->act[i]->tok_count == a->act[0]->tok_count);
        td_assert(w->chunks >= 1 && w->chunks <= TD_K_CHUNKS_MAX && (w->chunks & (w->chunks - 1)) == 0);
        td_assert(w->chunks == 1 || w->cols % (w->chunks * kern_types[w->type].chunk_unit) == 0);
    }
    td_assert(!is_gated(a) || (a->part_count == 2 && a->w[0]->rows == a->w[1]->rows));
    int32_t group = group_tok(a);
    return (int64_t)((a->act[0]->tok_count + group - 1) / group) * panel_count(a);
}

/* The panel in memory, or packed now into this thread's share of the scratch: the first half of it, or the second. */
static const uint8_t *find_panel(const kern_weight *w, int32_t panel, int second)
{
    if (!w->raw)
        return pack_panel(w, panel);
    uint8_t *share = (uint8_t *)w->data + (size_t)cpu_thread_index * w->bytes + (second ? w->bytes / 2 : 0);
    pack_panel_raw(w, panel, share);
    return share;
}

static void part_sum(const mm_level *l, const kern_matmul_args *a, int32_t part, const uint8_t *panel, int32_t tok0,
                     int32_t toks, float *sum)
{
    const kern_weight *w = a->w[part];
    const kern_act *x = a->act[part];
    mm_job job = {.type = w->type, .cols = w->cols, .chunks = w->chunks, .geom = pack_geom_of(w->type, w->cols),
                  .panel = panel, .act = (const uint8_t *)x->data + (size_t)tok0 * x->stride,
                  .act_stride = x->stride, .toks = toks, .sum = sum};
    l->panel[w->type](&job);
}

static void tile(const mm_level *l, const kern_matmul_args *a, int32_t part, int32_t panel, int32_t tok0, int32_t tok1)
{
    _Alignas(64) float sum[MM_TOK * PACK_ROWS], up[MM_TOK * PACK_ROWS];
    int32_t row0 = panel * PACK_ROWS;
    const uint8_t *weights = find_panel(a->w[part], panel, 0), *up_weights = NULL;
    if (is_gated(a))
        up_weights = find_panel(a->w[1], panel, 1);
    const float *bias = a->bias[part], *up_bias = is_gated(a) ? a->bias[1] : NULL;
    mm_finish f = {.kind = a->epilogue, .rows = TD_MIN(PACK_ROWS, a->w[part]->rows - row0), .sum = sum, .up = up,
                   .bias = bias ? bias + row0 : NULL, .up_bias = up_bias ? up_bias + row0 : NULL,
                   .out_stride = a->out_stride};
    for (int32_t t = tok0; t < tok1; t += MM_TOK) {
        f.toks = TD_MIN(MM_TOK, tok1 - t);
        f.out = a->out[part] + (size_t)t * (size_t)a->out_stride + row0;
        part_sum(l, a, part, weights, t, f.toks, sum);
        if (up_weights)
            part_sum(l, a, 1, up_weights, t, f.toks, up);
        l->finish(&f);
    }
}

void mm_run(const mm_level *l, const kern_matmul_args *a, int64_t t0, int64_t t1)
{
    int32_t panels = panel_count(a), group = group_tok(a), tok_count = a->act[0]->tok_count;
    for (int64_t t = t0; t < t1; t++) {
        int32_t panel = (int32_t)(t % panels), part = 0, tok0 = (int32_t)(t / panels) * group;
        for (; !is_gated(a) && panel >= pack_panels(a->w[part]->rows); part++)
            panel -= pack_panels(a->w[part]->rows);
        tile(l, a, part, panel, tok0, TD_MIN(tok0 + group, tok_count));
    }
}
