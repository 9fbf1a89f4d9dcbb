/* Embedding lookup and rope table: every element on its own, the same bits as on a CPU. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gpu_ops.h"
#include "kernels/half.h"

enum { THREADS = 128 };

static __device__ __forceinline__ float element(const uint8_t *row, int32_t type, int32_t c)
{
    if (type == KT_F32)
        return ((const float *)row)[c];
    uint16_t h = ((const uint16_t *)row)[c];
    return type == KT_F16 ? kern_f16_to_f32(h) : kern_bf16_to_f32(h);
}

typedef struct embed_call {
    const int32_t *tok_slot, *slots;
    const float *embeds;
    const uint8_t *table;
    size_t row_bytes;
    int32_t type, cols;
    float scale;
    float *x;
} embed_call;

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
    const uint8_t *row = a.table + (size_t)a.slots[slot] * a.row_bytes;
    for (int32_t c = (int32_t)threadIdx.x; c < a.cols; c += THREADS)
        x[c] = element(row, a.type, c) * a.scale;
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
    td_assert(w->type == KT_F32 || w->type == KT_F16 || w->type == KT_BF16);
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
