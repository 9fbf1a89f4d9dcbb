/* emu_ptx.cuh - the td_ functions of ptx.cuh for the emulator: macros over its calls, which name the caller's line. */
#ifndef TD_KERNELS_EMU_EMU_PTX_CUH
#define TD_KERNELS_EMU_EMU_PTX_CUH

#include "kernels/emu/emu.cuh"

#define EMU_HERE __FILE__, __LINE__

static inline void emu_st_release(unsigned *at, unsigned v, const char *f, int l)
{
    emu_threadfence(f, l);
    emu_atomic32(EMU_STORE, at, v, 0, f, l);
}
#define td_ld_acquire(at) emu_atomic32(EMU_LOAD, const_cast<unsigned *>(at), 0, 0, EMU_HERE)
#define td_st_release(at, v) emu_st_release(at, v, EMU_HERE)

#define td_named_bar_sync(id, threads) emu_named_sync(id, threads, EMU_HERE)
#define td_named_bar_arrive(id, threads) emu_named_arrive(id, threads, EMU_HERE)

// d += a b, in place
#define td_mma_bf16_16816(d, a, b) emu_mma_16816(d, a, b, true, EMU_HERE)
#define td_mma_f16_16816(d, a, b) emu_mma_16816(d, a, b, false, EMU_HERE)

#define EMU_LD(r, row, count, trans) \
    emu_matrix(r, const_cast<void *>((const void *)(row)), count, trans, false, EMU_HERE)
#define td_ldmatrix_x4(r, row) EMU_LD(r, row, 4, false)
#define td_ldmatrix_x4_trans(r, row) EMU_LD(r, row, 4, true)
#define td_ldmatrix_x2(r, row) EMU_LD(r, row, 2, false)
#define td_ldmatrix_x2_trans(r, row) EMU_LD(r, row, 2, true)
#define td_stmatrix_x4(row, r) emu_matrix(const_cast<uint32_t *>(r), row, 4, false, true, EMU_HERE)
#define td_stmatrix_x4_trans(row, r) emu_matrix(const_cast<uint32_t *>(r), row, 4, true, true, EMU_HERE)

#define td_cp_async16(shared, global) emu_cp_async(shared, global, 16, 16, EMU_HERE)
#define td_cp_async16_zfill(shared, global, bytes) emu_cp_async(shared, global, 16, bytes, EMU_HERE)
#define td_cp_async4(shared, global) emu_cp_async(shared, global, 4, 4, EMU_HERE)
#define td_cp_async_commit() emu_cp_async_commit(EMU_HERE)

/* Waits that are templates, td_x_wait<N>(), take the caller's place by default arguments. */
template <int N>
static inline void td_cp_async_wait(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_cp_async_wait(N, file, line);
}

#define td_mbar_init(bar, count) emu_mbar_init(bar, count, EMU_HERE)
#define td_mbar_arrive(bar) emu_mbar_arrive(bar, 0, true, EMU_HERE)
#define td_mbar_expect_tx(bar, bytes) emu_mbar_arrive(bar, bytes, true, EMU_HERE)
#define td_mbar_wait(bar, parity) emu_mbar_wait(bar, parity, EMU_HERE)
#define td_mbar_try_wait(bar, parity) emu_mbar_try_wait(bar, parity, EMU_HERE)
#define td_fence_mbar_init() emu_fence_proxy_async(EMU_HERE)
#define td_fence_proxy_async() emu_fence_proxy_async(EMU_HERE)

template <class... C>
static inline void emu_tma_load_any(void *shared, const gpu_tensor_map *map, uint64_t *bar, const char *file, int line,
                                    C... at)
{
    const int32_t where[] = {(int32_t)at...};
    emu_tma_load(shared, map, bar, (uint32_t)sizeof...(at), where, file, line);
}
template <class... C>
static inline void emu_tma_store_any(const gpu_tensor_map *map, void *shared, const char *file, int line, C... at)
{
    const int32_t where[] = {(int32_t)at...};
    emu_tma_store(map, shared, (uint32_t)sizeof...(at), where, file, line);
}
#define td_tma_load_2d(shared, map, bar, x, y) emu_tma_load_any(shared, map, bar, EMU_HERE, x, y)
#define td_tma_load_3d(shared, map, bar, x, y, z) emu_tma_load_any(shared, map, bar, EMU_HERE, x, y, z)
#define td_tma_load_4d(shared, map, bar, x, y, z, w) emu_tma_load_any(shared, map, bar, EMU_HERE, x, y, z, w)
#define td_tma_store_2d(map, shared, x, y) emu_tma_store_any(map, shared, EMU_HERE, x, y)
#define td_tma_store_3d(map, shared, x, y, z) emu_tma_store_any(map, shared, EMU_HERE, x, y, z)
#define td_bulk_load(shared, global, bytes, bar) emu_bulk_load(shared, global, bytes, bar, EMU_HERE)
#define td_bulk_store(global, shared, bytes) emu_bulk_store(global, shared, bytes, EMU_HERE)
#define td_bulk_commit() emu_bulk_commit(EMU_HERE)
template <int N>
static inline void td_bulk_wait(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_bulk_wait(N, file, line);
}

#define td_wgmma_fence() emu_wgmma_fence(EMU_HERE)
#define td_wgmma_commit() emu_wgmma_commit(EMU_HERE)
template <int N>
static inline void td_wgmma_wait(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_wgmma_wait(N, file, line);
}
static inline uint32_t td_smem_u32(const void *p)
{
    return (uint32_t)((const uint8_t *)p - (uint8_t *)emu_smem_base());
}

template <int N, int TRANS_A = 0, int TRANS_B = 0>
static inline void td_wgmma_bf16_ss(float (&d)[N / 2], uint64_t a, uint64_t b, int scale_d,
                                    const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_wgmma_args g = {a, b, N, false, TRANS_A != 0, TRANS_B != 0, scale_d != 0, false};
    emu_wgmma(&g, d, nullptr, file, line);
}
template <int N, int TRANS_B = 0>
static inline void td_wgmma_bf16_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int scale_d,
                                    const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_wgmma_args g = {0, b, N, true, false, TRANS_B != 0, scale_d != 0, false};
    emu_wgmma(&g, d, a, file, line);
}
template <int N>
static inline void td_wgmma_e4m3_ss(float (&d)[N / 2], uint64_t a, uint64_t b, int scale_d,
                                    const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_wgmma_args g = {a, b, N, false, false, false, scale_d != 0, true};
    emu_wgmma(&g, d, nullptr, file, line);
}

#define td_cluster_rank() emu_cluster_rank()
#define td_cluster_size() emu_cluster_size()
template <class T> static inline T *emu_cluster_map_any(T *shared, unsigned rank, const char *file, int line)
{
    return (T *)emu_cluster_map(shared, rank, file, line);
}
#define td_cluster_map(shared, rank) emu_cluster_map_any(shared, rank, EMU_HERE)
#define td_cluster_sync() emu_cluster_sync(EMU_HERE)
#define td_mbar_arrive_remote(bar, rank) emu_mbar_arrive_remote(bar, rank, EMU_HERE)
#define td_griddep_wait() emu_griddep_wait(EMU_HERE)
#define td_griddep_launch() emu_griddep_launch(EMU_HERE)
template <int N>
static inline void td_setmaxnreg_inc(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_setmaxnreg(N, true, file, line);
}
template <int N>
static inline void td_setmaxnreg_dec(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emu_setmaxnreg(N, false, file, line);
}

#endif
