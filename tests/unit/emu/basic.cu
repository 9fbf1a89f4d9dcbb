/* basic.cu - small kernels whose results say whether the emulator runs CUDA's plain features as CUDA does. */
#include "kernels/cuda/ptx.cuh"

#include "tests_emu.h"

static __global__ void reduce_kernel(const float *x, float *out, int n)
{
    TD_SMEM(float, part);
    float sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        sum += x[blockIdx.x * (unsigned)n + (unsigned)i];
    for (int step = 16; step > 0; step /= 2)
        sum += __shfl_xor_sync(TD_WARP_ALL, sum, step);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        float all = 0;
        for (unsigned w = 0; w < blockDim.x / 32; w++)
            all += part[w];
        out[blockIdx.x] = all;
    }
}

GPU_EXTERN void emu_test_reduce(const float *x, float *out, int rows, int n, gpu_stream s)
{
    TD_LAUNCH(reduce_kernel, rows, 128, 4 * sizeof(float), s, x, out, n);
}

static __global__ void collectives_kernel(uint32_t *out)
{
    unsigned t = threadIdx.x, lane = t % 32;
    uint32_t *o = out + t * 10;
    o[0] = (uint32_t)__shfl_sync(TD_WARP_ALL, (int)t * 3, 5);
    o[1] = __shfl_up_sync(TD_WARP_ALL, t, 4);
    o[2] = __shfl_down_sync(TD_WARP_ALL, t, 4, 16);
    o[3] = __shfl_xor_sync(TD_WARP_ALL, t, 9);
    o[4] = __ballot_sync(TD_WARP_ALL, lane % 3 == 0);
    o[5] = (uint32_t)__any_sync(TD_WARP_ALL, t == 40) | (uint32_t)__all_sync(TD_WARP_ALL, t < 32) << 1;
    o[6] = (uint32_t)__syncthreads_count(t % 5 == 0);
    o[7] = (uint32_t)(__syncthreads_or(t == 3) != 0) | (uint32_t)(__syncthreads_and(t != 3) != 0) << 1;
    if (lane < 8) // half of a warp for itself
        o[8] = __shfl_xor_sync(0x000000ffu, t, 1);
    else
        o[8] = __shfl_xor_sync(0xffffff00u, t, 1);
    __syncwarp();
    o[9] = (uint32_t)__shfl_sync(TD_WARP_ALL, 1.5f, 0) + (uint32_t)__shfl_sync(TD_WARP_ALL, (double)t, 2);
}

GPU_EXTERN void emu_test_collectives(uint32_t *out, gpu_stream s) { TD_LAUNCH(collectives_kernel, 1, 64, 0, s, out); }

static __global__ void atomics_kernel(int *sum, unsigned *most, unsigned long long *wide, float *real, unsigned *ticket,
                                      unsigned *order)
{
    atomicAdd(sum, (int)threadIdx.x - 3);
    atomicMax(most, threadIdx.x + blockIdx.x * 1000);
    atomicAdd(wide, 1ull << 33);
    atomicAdd(real, 0.5f);
    unsigned at = atomicAdd(ticket, 1u);
    order[at] = (blockIdx.x * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

GPU_EXTERN void emu_test_atomics(int *sum, unsigned *most, unsigned long long *wide, float *real, unsigned *ticket,
                                 unsigned *order, gpu_stream s)
{
    TD_LAUNCH(atomics_kernel, dim3(3), dim3(16, 4), 0, s, sum, most, wide, real, ticket, order);
}

static __global__ void index_kernel(uint32_t *out)
{
    uint32_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    uint32_t block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block << 16 | thread;
}

GPU_EXTERN void emu_test_index(uint32_t *out, gpu_stream s)
{
    TD_LAUNCH(index_kernel, dim3(3, 2, 2), dim3(5, 3, 2), 0, s, out);
}

template <int N, class T> static __global__ void scale_kernel(T *x, float by)
{
    x[blockIdx.x * blockDim.x + threadIdx.x] *= (T)(by * N);
}

GPU_EXTERN void emu_test_scale(float *x, int n, float by, gpu_stream s)
{
    TD_LAUNCH((scale_kernel<2, float>), n / 32, 32, 0, s, x, by);
}
