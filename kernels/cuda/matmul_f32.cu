/* Products of float and f16 weights: plain float chains, for models that are not in bf16. One thread owns an output; in
 * a block 16 x 16 of them share tiles of activations and weights. Slow beside tensor cores, and in the same order for
 * every batch: canonical chunks, k ascending in each, then (0+1). */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/gpu_matmul.h"
#include "kernels/half.h"

enum { SIDE = 16, STEP = 32, PITCH = STEP + 1 };

static __device__ __forceinline__ float weight_at(const uint8_t *row, int32_t type, int32_t k)
{
    return type == KT_F32 ? ((const float *)row)[k] : kern_f16_to_f32(((const uint16_t *)row)[k]);
}

static __global__ void matmul_f32_kernel(gpu_product p)
{
    TD_SMEM(float, w_tile); // [SIDE][PITCH], then the same of activations
    float *x_tile = w_tile + SIDE * PITCH, acc = 0.0f, sum = 0.0f;
    int32_t i = (int32_t)threadIdx.x % SIDE, j = (int32_t)threadIdx.x / SIDE;
    int32_t n0 = (int32_t)blockIdx.x * SIDE, t0 = (int32_t)blockIdx.y * SIDE, chunk = p.cols / p.chunks;
    for (int32_t k0 = 0; k0 < p.cols; k0 += STEP) {
        int32_t count = min((int32_t)STEP, p.cols - k0);
        __syncthreads(); // the tiles before have been used
        for (int32_t at = (int32_t)threadIdx.x; at < SIDE * STEP; at += SIDE * SIDE) {
            int32_t row = at / STEP, k = at % STEP;
            bool in = k < count;
            w_tile[row * PITCH + k] =
                in && n0 + row < p.rows ? weight_at(p.w + (size_t)(n0 + row) * p.w_stride, p.type, k0 + k) : 0.0f;
            x_tile[row * PITCH + k] =
                in && t0 + row < p.tok_count ? ((const float *)(p.x + (size_t)(t0 + row) * p.x_stride))[k0 + k] : 0.0f;
        }
        __syncthreads();
        for (int32_t k = 0; k < count; k++) {
            if (k0 + k > 0 && (k0 + k) % chunk == 0) { // the next chunk begins; there are two at most
                sum = acc;
                acc = 0.0f;
            }
            acc = fmaf(x_tile[j * PITCH + k], w_tile[i * PITCH + k], acc);
        }
    }
    if (n0 + i < p.rows && t0 + j < p.tok_count)
        finish(p.end, t0 + j, n0 + i, p.chunks == 2 ? sum + acc : acc);
}

void GPU_SYM(matmul_f32)(const gpu_product *p, gpu_stream s)
{
    td_assert(p->type == KT_F32 || p->type == KT_F16);
    dim3 grid((unsigned)((p->rows + SIDE - 1) / SIDE), (unsigned)((p->tok_count + SIDE - 1) / SIDE));
    TD_LAUNCH(matmul_f32_kernel, grid, SIDE * SIDE, 2 * SIDE * PITCH * sizeof(float), s, *p);
}
