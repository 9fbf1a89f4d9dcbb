/* epilogue.cuh - from one sum to one output. */
#ifndef TD_KERNELS_CUDA_EPILOGUE_CUH
#define TD_KERNELS_CUDA_EPILOGUE_CUH

#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gpu_matmul.h"
#include "kernels/math.h"

static __device__ __forceinline__ void finish(const gpu_finish &f, int32_t t, int32_t n, float v)
{
    float *out = f.out + (size_t)t * (size_t)f.out_stride + (size_t)n;
    if (f.bias)
        v += f.bias[n];
    if (f.kind == GF_ADD)
        v = *out + v;
    else if (f.kind == GF_SILU_GATE)
        v = kern_silu(v) * *out;
    else if (f.kind == GF_GELU_GATE)
        v = kern_gelu_tanh(v) * *out;
    *out = v;
}

#endif
