/* ptx_asm.cuh - the td_ functions of ptx.cuh as inline PTX: the only place that holds any. Included by ptx.cuh. */
#ifndef TD_KERNELS_CUDA_PTX_ASM_CUH
#define TD_KERNELS_CUDA_PTX_ASM_CUH

#include "kernels/cuda/gpu_rt.h"

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

TD_ASM uint32_t td_smem_u32(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

#define TD_MMA(name, type)                                                                              \
    TD_ASM void name(float *d, const uint32_t *a, const uint32_t *b)                                    \
    {                                                                                                   \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                     \
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                  \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                   \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));               \
    }
TD_MMA(td_mma_bf16_16816, "bf16")
TD_MMA(td_mma_f16_16816, "f16")

#define TD_LDMATRIX4(name, trans)                                                                     \
    TD_ASM void name(uint32_t *r, const void *row)                                                    \
    {                                                                                                 \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 {%0, %1, %2, %3}, [%4];"      \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(td_smem_u32(row)) : "memory"); \
    }
TD_LDMATRIX4(td_ldmatrix_x4, "")
TD_LDMATRIX4(td_ldmatrix_x4_trans, ".trans")

#define TD_LDMATRIX2(name, trans)                                                                \
    TD_ASM void name(uint32_t *r, const void *row)                                               \
    {                                                                                            \
        asm volatile("ldmatrix.sync.aligned.m8n8.x2" trans ".shared.b16 {%0, %1}, [%2];"         \
                     : "=r"(r[0]), "=r"(r[1]) : "r"(td_smem_u32(row)) : "memory");               \
    }
TD_LDMATRIX2(td_ldmatrix_x2, "")
TD_LDMATRIX2(td_ldmatrix_x2_trans, ".trans")

TD_ASM void td_cp_async16(void *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(td_smem_u32(shared)), "l"(global) : "memory");
}

TD_ASM void td_cp_async16_zfill(void *shared, const void *global, uint32_t bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(td_smem_u32(shared)), "l"(global), "r"(bytes)
                 : "memory");
}

TD_ASM void td_cp_async4(void *shared, const void *global)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(td_smem_u32(shared)), "l"(global) : "memory");
}

TD_ASM void td_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N> TD_ASM void td_cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define TD_STMATRIX4(name, trans)                                                                     \
    TD_ASM void name(void *row, const uint32_t *r)                                                    \
    {                                                                                                 \
        asm volatile("stmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 [%0], {%1, %2, %3, %4};"      \
                     ::"r"(td_smem_u32(row)), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory"); \
    }
TD_STMATRIX4(td_stmatrix_x4, "")
TD_STMATRIX4(td_stmatrix_x4_trans, ".trans")
#endif

/* Below: Hopper alone. sm_80 code must not call them, so for it they are not there. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
TD_ASM void td_mbar_init(uint64_t *bar, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(td_smem_u32(bar)), "r"(count) : "memory");
}

TD_ASM void td_mbar_arrive(uint64_t *bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(td_smem_u32(bar)) : "memory");
}

TD_ASM void td_mbar_expect_tx(uint64_t *bar, uint32_t bytes) // and arrives
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(td_smem_u32(bar)), "r"(bytes)
                 : "memory");
}

TD_ASM void td_mbar_wait(uint64_t *bar, uint32_t parity) // until the phase of this parity is over
{
    asm volatile("{\n.reg .pred done;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra over;\nbra again;\nover:\n}" ::"r"(td_smem_u32(bar)), "r"(parity) : "memory");
}

TD_ASM bool td_mbar_try_wait(uint64_t *bar, uint32_t parity) // false: after a while it was not over yet
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}" : "=r"(done) : "r"(td_smem_u32(bar)), "r"(parity) : "memory");
    return done != 0;
}

TD_ASM void td_fence_mbar_init()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

TD_ASM void td_fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#define TD_TMA_LOAD "cp.async.bulk.tensor."
#define TD_TMA_LOAD_END ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "

TD_ASM void td_tma_load_2d(void *shared, const gpu_tensor_map *map, uint64_t *bar, int x, int y)
{
    asm volatile(TD_TMA_LOAD "2d" TD_TMA_LOAD_END "{%3, %4}], [%2];" ::"r"(td_smem_u32(shared)), "l"(map),
                 "r"(td_smem_u32(bar)), "r"(x), "r"(y) : "memory");
}

TD_ASM void td_tma_load_3d(void *shared, const gpu_tensor_map *map, uint64_t *bar, int x, int y, int z)
{
    asm volatile(TD_TMA_LOAD "3d" TD_TMA_LOAD_END "{%3, %4, %5}], [%2];" ::"r"(td_smem_u32(shared)), "l"(map),
                 "r"(td_smem_u32(bar)), "r"(x), "r"(y), "r"(z) : "memory");
}

TD_ASM void td_tma_load_4d(void *shared, const gpu_tensor_map *map, uint64_t *bar, int x, int y, int z, int w)
{
    asm volatile(TD_TMA_LOAD "4d" TD_TMA_LOAD_END "{%3, %4, %5, %6}], [%2];" ::"r"(td_smem_u32(shared)), "l"(map),
                 "r"(td_smem_u32(bar)), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}

TD_ASM void td_tma_store_2d(const gpu_tensor_map *map, const void *shared, int x, int y)
{
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(td_smem_u32(shared)), "r"(x), "r"(y) : "memory");
}

TD_ASM void td_tma_store_3d(const gpu_tensor_map *map, const void *shared, int x, int y, int z)
{
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                 "r"(td_smem_u32(shared)), "r"(x), "r"(y), "r"(z) : "memory");
}

TD_ASM void td_bulk_load(void *shared, const void *global, uint32_t bytes, uint64_t *bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     td_smem_u32(shared)), "l"(global), "r"(bytes), "r"(td_smem_u32(bar)) : "memory");
}

TD_ASM void td_bulk_store(void *global, const void *shared, uint32_t bytes)
{
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(td_smem_u32(shared)),
                 "r"(bytes) : "memory");
}

#include "kernels/cuda/ptx_wgmma.cuh"

TD_ASM void td_bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int N> TD_ASM void td_bulk_wait() { asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory"); }

TD_ASM uint32_t td_cluster_rank()
{
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}

TD_ASM uint32_t td_cluster_size()
{
    uint32_t n;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
    return n;
}

template <class T> TD_ASM T *td_cluster_map(T *shared, uint32_t rank) // a generic address in that block's memory
{
    uint64_t at;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(at) : "l"(shared), "r"(rank));
    return (T *)at;
}

TD_ASM void td_cluster_sync()
{
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

TD_ASM void td_mbar_arrive_remote(uint64_t *bar, uint32_t rank)
{
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
                 "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [at];\n}" ::"r"(td_smem_u32(bar)), "r"(rank)
                 : "memory");
}

TD_ASM void td_griddep_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
TD_ASM void td_griddep_launch() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
template <int N> TD_ASM void td_setmaxnreg_inc() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> TD_ASM void td_setmaxnreg_dec() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
#endif

#endif
