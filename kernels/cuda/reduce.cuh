/* reduce.cuh - sums over a block in one fixed tree, and rows of floats four columns at a time.
 *
 * Thread i of a block owns columns 4 (i + k * threads) … + 3, k = 0, 1, …: its part of a sum is one chain over them,
 * ascending. Parts join inside a warp by butterflies of 16, 8, 4, 2, 1 and then warp after warp. The number of threads
 * depends on the row's length alone (row_threads), so a row's sum does too. */
#ifndef TD_KERNELS_CUDA_REDUCE_CUH
#define TD_KERNELS_CUDA_REDUCE_CUH

#include "kernels/cuda/ptx.cuh"

enum { REDUCE_WARPS_MAX = 32 };

static inline int row_threads(int32_t cols)
{
    int threads = (cols / 4 + 31) / 32 * 32;
    return threads < 32 ? 32 : threads > 512 ? 512 : threads;
}

/* Every thread gets the sum. part: [REDUCE_WARPS_MAX] of shared memory. */
template <typename T> static __device__ __forceinline__ T block_sum(T v, T *part)
{
    for (int d = 16; d > 0; d /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, d);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    T sum = part[0];
    for (unsigned w = 1; w < blockDim.x / 32; w++)
        sum += part[w];
    __syncthreads(); // part may be written again
    return sum;
}

/* Columns c … c + 3 of a row of `cols`; those beyond it read as 0. VEC: the row is aligned to 16 bytes and cols is a
 * multiple of 4. */
template <bool VEC> static __device__ __forceinline__ float4 load4(const float *row, int32_t c, int32_t cols)
{
    if (VEC)
        return *(const float4 *)(row + c);
    float4 v;
    v.x = row[c];
    v.y = c + 1 < cols ? row[c + 1] : 0.0f;
    v.z = c + 2 < cols ? row[c + 2] : 0.0f;
    v.w = c + 3 < cols ? row[c + 3] : 0.0f;
    return v;
}

template <bool VEC> static __device__ __forceinline__ void store4(float *row, int32_t c, int32_t cols, float4 v)
{
    if (VEC) {
        *(float4 *)(row + c) = v;
        return;
    }
    row[c] = v.x;
    if (c + 1 < cols)
        row[c + 1] = v.y;
    if (c + 2 < cols)
        row[c + 2] = v.z;
    if (c + 3 < cols)
        row[c + 3] = v.w;
}

static __device__ __forceinline__ float sum_squares(float4 v, float sum)
{
    return fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, sum))));
}

#endif
