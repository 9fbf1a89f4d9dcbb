/* A matmul call as products: bf16 panels on tensor cores, parts that share an activation in one launch, gate and up
 * of a GLU together; plain float rows part by part. Where a GLU has one of each, `up` comes first and the gate's
 * product multiplies into it. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gpu_matmul.h"

static bool in_panels(const kern_weight *w) { return gpu_weight_in_panels(w->type); }

static gpu_finish finish_of(const kern_matmul_args *a, int32_t part, gpu_finish_kind kind, float *out)
{
    gpu_finish f = {kind, a->bias[part], out, a->out_stride};
    return f;
}

static void add_part(gemm_call *c, const kern_matmul_args *a, int32_t part, gpu_finish end)
{
    const kern_weight *w = a->w[part];
    td_assert(w->chunks == 1 || (w->chunks == 2 && w->cols % (2 * GEMM_STEP) == 0));
    gemm_part p = {(const uint8_t *)w->data, end, w->rows, c->panels, w->chunks == 2 ? w->cols / 2 / GEMM_STEP : 0};
    c->part[c->part_count++] = p;
    c->panels += c->glu && c->part_count > 1 ? 0 : gemm_panels(w->rows);
}

static gemm_call call_of(const kern_act *x, bool glu)
{
    gemm_call c = {};
    td_assert(x->kind == KA_BF16);
    c.glu = glu;
    c.act = (const uint8_t *)x->data;
    c.tok_count = x->tok_count;
    c.cols = x->cols;
    return c;
}

static void run_panels(const gemm_call *c, int32_t sm, gpu_stream s)
{
    if (sm == 90)
        GPU_SYM(gemm_wgmma)(c, s);
    else
        GPU_SYM(gemm_mma)(c, s);
}

static void run_part(const kern_matmul_args *a, int32_t part, gpu_finish_kind kind, float *out, int32_t sm,
                     gpu_stream s)
{
    const kern_weight *w = a->w[part];
    const kern_act *x = a->act[part];
    td_assert(x->cols == w->cols && w->chunks >= 1 && w->chunks <= 2);
    if (in_panels(w)) {
        gemm_call c = call_of(x, false);
        add_part(&c, a, part, finish_of(a, part, kind, out));
        run_panels(&c, sm, s);
        return;
    }
    td_assert(x->kind == KA_F32);
    gpu_product p = {w->type, w->rows, w->cols, w->chunks, x->tok_count, (const uint8_t *)w->data,
                     (const uint8_t *)x->data, gpu_row_bytes(w->type, w->cols), x->stride,
                     finish_of(a, part, kind, out)};
    GPU_SYM(matmul_f32)(&p, s);
}

static void run_glu(const kern_matmul_args *a, int32_t sm, gpu_stream s)
{
    gpu_finish_kind gate = a->epilogue == KE_SILU_MUL ? GF_SILU_GATE : GF_GELU_GATE;
    td_assert(a->part_count == 2 && a->w[0]->rows == a->w[1]->rows);
    if (!in_panels(a->w[0]) || !in_panels(a->w[1]) || a->act[0]->data != a->act[1]->data) {
        run_part(a, 1, GF_STORE, a->out[0], sm, s);
        run_part(a, 0, gate, a->out[0], sm, s);
        return;
    }
    gemm_call c = call_of(a->act[0], true);
    add_part(&c, a, 0, finish_of(a, 0, gate, a->out[0]));
    add_part(&c, a, 1, finish_of(a, 1, GF_STORE, a->out[0]));
    run_panels(&c, sm, s);
}

void GPU_SYM(op_matmul)(const kern_matmul_args *a, int32_t sm, gpu_stream s)
{
    td_assert(a->part_count >= 1 && a->part_count <= KERN_PARTS_MAX);
    if (a->act[0]->tok_count == 0)
        return;
    if (a->epilogue == KE_SILU_MUL || a->epilogue == KE_GELU_MUL) {
        run_glu(a, sm, s);
        return;
    }
    gpu_finish_kind kind = a->epilogue == KE_ADD ? GF_ADD : GF_STORE;
    bool together = true;
    for (int32_t i = 0; i < a->part_count; i++)
        together = together && in_panels(a->w[i]) && a->act[i]->data == a->act[0]->data;
    if (!together) {
        for (int32_t i = 0; i < a->part_count; i++)
            run_part(a, i, kind, a->out[i], sm, s);
        return;
    }
    gemm_call c = call_of(a->act[0], false);
    for (int32_t i = 0; i < a->part_count; i++)
        add_part(&c, a, i, finish_of(a, i, kind, a->out[i]));
    run_panels(&c, sm, s);
}
