/* ptx.cuh - what every kernel file includes first: CUDA as the kernels use it, for nvcc and for the emulator.
 *
 * Kernels hold no PTX. What has no CUDA spelling is a td_ function: inline assembly below under nvcc, a function of the
 * emulator under TD_EMU. Both sides have the same names and arguments; where PTX wants a constant it is a template
 * argument. 16-bit and 8-bit floats travel as bit patterns (uint16_t bf16 and f16, uint8_t e4m3).
 *
 *   TD_LAUNCH(kernel, grid, block, smem_bytes, stream, args...)        TD_LAUNCH((k<1, 2>), ...) with commas
 *   TD_LAUNCH_EX(kernel, cfg, args...)                                 td_launch_cfg: cluster, pdl
 *   TD_SMEM(T, name)        T *name = the block's dynamic shared memory (1024-byte aligned); carve the rest by hand
 *
 * A launch reports its fault through GPU_SYM(rt_last_error). Op entry points are GPU_SYM(name), GPU_EXTERN. */
#ifndef TD_KERNELS_CUDA_PTX_CUH
#define TD_KERNELS_CUDA_PTX_CUH

#include "kernels/cuda/gpu_rt.h"

#ifdef TD_EMU
#include "kernels/emu/emu_ptx.cuh"
#else
#include "kernels/cuda/ptx_asm.cuh"
#include <string.h>
#endif

typedef struct td_launch_cfg {
    dim3 grid, block, cluster; // cluster: 1, 1, 1 for none; divides grid
    size_t smem_bytes;
    gpu_stream stream;
    bool pdl; // may start while the kernel ahead of it in the stream still runs: td_griddep_wait before its output
} td_launch_cfg;

#ifdef TD_EMU
static inline emu_launch_cfg td_emu_cfg(const td_launch_cfg &c)
{
    return emu_launch_cfg{{c.grid.x, c.grid.y, c.grid.z}, {c.block.x, c.block.y, c.block.z},
                          {c.cluster.x, c.cluster.y, c.cluster.z}, c.smem_bytes, c.stream, c.pdl};
}
#define TD_LAUNCH_EX(kernel, cfg, ...) \
    emu_launch_kernel(#kernel, __FILE__, __LINE__, td_emu_cfg(cfg), kernel, ##__VA_ARGS__)
#else
extern "C" void cuda_rt_launch_failed(int32_t error); // kept for rt_last_error

template <class... P, class... A>
static inline void td_launch_kernel(const td_launch_cfg &c, void (*kernel)(P...), const A &...args)
{
    cudaError_t e = cudaSuccess;
    if (c.smem_bytes > 48 * 1024)
        e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)c.smem_bytes);
    cudaLaunchAttribute attr[2];
    cudaLaunchConfig_t cfg = {};
    cfg.gridDim = c.grid;
    cfg.blockDim = c.block;
    cfg.dynamicSmemBytes = c.smem_bytes;
    cfg.stream = (cudaStream_t)c.stream;
    cfg.attrs = attr;
    if (c.cluster.x * c.cluster.y * c.cluster.z > 1) {
        attr[cfg.numAttrs].id = cudaLaunchAttributeClusterDimension;
        attr[cfg.numAttrs].val.clusterDim.x = c.cluster.x;
        attr[cfg.numAttrs].val.clusterDim.y = c.cluster.y;
        attr[cfg.numAttrs].val.clusterDim.z = c.cluster.z;
        cfg.numAttrs++;
    }
    if (c.pdl) {
        attr[cfg.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attr[cfg.numAttrs].val.programmaticStreamSerializationAllowed = 1;
        cfg.numAttrs++;
    }
    if (e == cudaSuccess)
        e = cudaLaunchKernelEx(&cfg, kernel, static_cast<P>(args)...);
    if (e != cudaSuccess)
        cuda_rt_launch_failed((int32_t)e);
}
#define TD_LAUNCH_EX(kernel, cfg, ...) td_launch_kernel(cfg, kernel, ##__VA_ARGS__)
#define TD_SMEM(T, name)                                    \
    extern __shared__ __align__(1024) uint8_t td_smem_raw[]; \
    T *name = reinterpret_cast<T *>(td_smem_raw)
#endif

#define TD_LAUNCH(kernel, grid_, block_, smem_, stream_, ...)                                         \
    do {                                                                                              \
        td_launch_cfg td_cfg_ = {dim3(grid_), dim3(block_), dim3(1), (size_t)(smem_), stream_, false}; \
        TD_LAUNCH_EX(kernel, td_cfg_, ##__VA_ARGS__);                                                 \
    } while (0)

#define TD_WARP_ALL 0xffffffffu

/* To nearest even, NaN stays NaN. Unlike kern_f32_to_bf16 it keeps denormals: the test for them costs attention the
 * registers that it has not. Every other conversion is half.h's. */
static __device__ __forceinline__ uint16_t td_f32_to_bf16(float f)
{
    uint32_t u = __float_as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* The 64-bit descriptor of a wgmma operand in shared memory. swizzle_bytes: 0, 32, 64, 128, as the tensor copy that
 * wrote it. Rows with k next to each other: `stride` bytes from 8 rows to the next 8; `lead`, without swizzle, from 16
 * bytes of k to the next. A step along k inside a swizzled row adds its bytes to the address. */
static __device__ __forceinline__ uint64_t td_smem_desc(const void *tile, uint32_t lead, uint32_t stride,
                                                        uint32_t swizzle_bytes)
{
    uint64_t mode = swizzle_bytes == 128 ? 1 : swizzle_bytes == 64 ? 2 : swizzle_bytes == 32 ? 3 : 0;
    return (td_smem_u32(tile) >> 4 & 0x3fff) | (uint64_t)(lead >> 4 & 0x3fff) << 16 |
           (uint64_t)(stride >> 4 & 0x3fff) << 32 | mode << 62;
}

#endif
