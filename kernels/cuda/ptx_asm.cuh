/* ptx_asm.cuh - the td_ functions of ptx.cuh as inline PTX: the only place that holds any. Included by ptx.cuh. */
#ifndef TD_KERNELS_CUDA_PTX_ASM_CUH
#define TD_KERNELS_CUDA_PTX_ASM_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#define TD_ASM static __device__ __forceinline__

TD_ASM unsigned td_ld_acquire(const unsigned *at)
{
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return v;
}

TD_ASM void td_st_release(unsigned *at, unsigned v)
{
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(v) : "memory");
}

TD_ASM void td_named_bar_sync(uint32_t id, uint32_t threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

TD_ASM void td_named_bar_arrive(uint32_t id, uint32_t threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#endif
