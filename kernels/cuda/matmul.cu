/* A matmul call as a list of products: each part by its weight's kernel. Gated epilogues compute `up` first and let the
 * gate's product multiply into it, so the two may be of different types. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gpu_matmul.h"

static void run(const kern_matmul_args *a, int32_t part, gpu_finish_kind kind, float *out, gpu_stream s)
{
    const kern_weight *w = a->w[part];
    const kern_act *x = a->act[part];
    td_assert(x->cols == w->cols && w->chunks >= 1 && w->chunks <= 2);
    td_assert(x->kind == (w->type == KT_BF16 ? KA_BF16 : KA_F32));
    gpu_product p = {w->type, w->rows, w->cols, w->chunks, x->tok_count, (const uint8_t *)w->data,
                     (const uint8_t *)x->data, gpu_row_bytes(w->type, w->cols), x->stride,
                     {kind, a->bias[part], out, a->out_stride}};
    if (w->type == KT_BF16)
        GPU_SYM(matmul_bf16)(&p, s);
    else
        GPU_SYM(matmul_f32)(&p, s);
}

void GPU_SYM(op_matmul)(const kern_matmul_args *a, gpu_stream s)
{
    td_assert(a->part_count >= 1 && a->part_count <= KERN_PARTS_MAX);
    if (a->act[0]->tok_count == 0)
        return;
    if (a->epilogue == KE_SILU_MUL || a->epilogue == KE_GELU_MUL) {
        td_assert(a->part_count == 2 && a->w[0]->rows == a->w[1]->rows);
        run(a, 1, GF_STORE, a->out[0], s);
        run(a, 0, a->epilogue == KE_SILU_MUL ? GF_SILU_GATE : GF_GELU_GATE, a->out[0], s);
        return;
    }
    for (int32_t i = 0; i < a->part_count; i++)
        run(a, i, a->epilogue == KE_ADD ? GF_ADD : GF_STORE, a->out[i], s);
}
