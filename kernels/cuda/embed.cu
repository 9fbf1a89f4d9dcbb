/* Embedding lookup and rope table: every element on its own, of float and bf16 rows the same bits as on a CPU. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gpu_ops.h"
#include "kernels/half.h"

enum { THREADS = 128 };

typedef struct embed_call {
    const int32_t *tok_slot, *slots;
    const float *embeds;
    const uint8_t *table;
    size_t row_bytes;   // of plain rows
    int32_t type, cols;
    float scale;
    float *x;
} embed_call;

static __device__ __forceinline__ float element(const embed_call &a, int32_t id, int32_t c)
{
    const uint8_t *row = a.table + (size_t)id * a.row_bytes;
    if (a.type == KT_F32)
        return ((const float *)row)[c];
    if (a.type == KT_F16)
        return kern_f16_to_f32(((const uint16_t *)row)[c]);
    return kern_bf16_to_f32(*(const uint16_t *)(a.table + gemm_weight_at(a.cols, id, c)));
}

static __global__ void embed_kernel(embed_call a)
{
    int32_t t = (int32_t)blockIdx.x, slot = a.tok_slot[t];
    float *x = a.x + (size_t)t * (size_t)a.cols;
    if (slot < 0) { // given as it stands
        const float *given = a.embeds + (size_t)(-1 - slot) * (size_t)a.cols;
        for (int32_t c = (int32_t)threadIdx.x; c < a.cols; c += THREADS)
            x[c] = given[c];
        return;
    }
    int32_t id = a.slots[slot];
    for (int32_t c = (int32_t)threadIdx.x; c < a.cols; c += THREADS)
        x[c] = element(a, id, c) * a.scale;
}

static __global__ void rope_kernel(const int32_t *pos, const double *inv_freq, int32_t half, float mscale, float *table)
{
    int32_t t = (int32_t)blockIdx.x;
    for (int32_t i = (int32_t)threadIdx.x; i < half; i += (int32_t)blockDim.x) {
        double s, c;
        kern_sin_cos((double)pos[t] * inv_freq[i], &s, &c);
        float *out = table + 2 * ((size_t)t * (size_t)half + (size_t)i);
        out[0] = (float)(c * (double)mscale);
        out[1] = (float)(s * (double)mscale);
    }
}

void GPU_SYM(op_embed)(const kern_embed_args *a, gpu_stream s)
{
    const kern_weight *w = a->table;
    embed_call c = {a->batch->tok_slot, a->batch->slots, a->batch->embeds, (const uint8_t *)w->data,
                    gpu_row_bytes(w->type, w->cols), w->type, w->cols, a->scale, a->x};
    if (a->batch->tok_count)
        TD_LAUNCH(embed_kernel, a->batch->tok_count, THREADS, 0, s, c);
}

void GPU_SYM(op_rope)(const kern_rope_args *a, gpu_stream s)
{
    int32_t half = a->dims / 2, threads = half < 32 ? 32 : half > 128 ? 128 : (half + 31) / 32 * 32;
    if (a->batch->tok_count && half)
        TD_LAUNCH(rope_kernel, a->batch->tok_count, threads, 0, s, a->batch->pos, a->inv_freq, half, a->mscale,
                  a->table);
}
