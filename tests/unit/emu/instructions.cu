/* instructions.cu - every td_ function once, never run: it must compile on both sides with the same arguments, and
 * under nvcc become the instruction that tools/ptx_expect.txt names. */
#include "kernels/cuda/ptx.cuh"

GPU_EXTERN void emu_test_instructions(const gpu_tensor_map *map, void *global, float *out, gpu_stream s);

static __global__ void plain_kernel(const uint16_t *x, unsigned *flag, float *out)
{
    TD_SMEM(uint16_t, smem);
    uint32_t a[4], b[2];
    float d[4] = {0, 0, 0, 0};
    td_cp_async16(smem, x);
    td_cp_async16_zfill(smem + 8, x, 8);
    td_cp_async4(smem + 16, x);
    td_cp_async_commit();
    td_cp_async_wait<0>();
    __syncthreads();
    td_ldmatrix_x4(a, smem + threadIdx.x * 8);
    td_ldmatrix_x2(b, smem + threadIdx.x * 8);
    td_mma_bf16_16816(d, a, b);
    td_ldmatrix_x4_trans(a, smem + threadIdx.x * 8);
    td_ldmatrix_x2_trans(b, smem + threadIdx.x * 8);
    td_mma_f16_16816(d, a, b);
    td_stmatrix_x4(smem + threadIdx.x * 8, a);
    td_stmatrix_x4_trans(smem + threadIdx.x * 8, a);
    if (threadIdx.x < 32)
        td_named_bar_arrive(1, 64);
    else
        td_named_bar_sync(1, 64);
    td_st_release(flag, td_ld_acquire(flag) + 1);
    for (int i = 0; i < 4; i++)
        out[i] = d[i];
}

static __global__ void bulk_kernel(const __grid_constant__ gpu_tensor_map map, void *global, float *out)
{
    TD_SMEM(uint8_t, smem);
    uint64_t *bar = (uint64_t *)(smem + 65536);
    td_griddep_wait();
    td_mbar_init(bar, 1);
    td_fence_mbar_init();
    td_mbar_arrive(bar);
    td_mbar_expect_tx(bar, 16);
    td_tma_load_2d(smem, &map, bar, 0, 0);
    td_tma_load_3d(smem, &map, bar, 0, 0, 0);
    td_tma_load_4d(smem, &map, bar, 0, 0, 0, 0);
    td_bulk_load(smem, global, 16, bar);
    td_mbar_wait(bar, 0);
    td_fence_proxy_async();
    td_tma_store_2d(&map, smem, 0, 0);
    td_tma_store_3d(&map, smem, 0, 0, 0);
    td_bulk_store(global, smem, 16);
    td_bulk_commit();
    td_bulk_wait<0>();
    td_cluster_sync();
    out[1] = *td_cluster_map((float *)smem, td_cluster_rank() + td_cluster_size());
    td_mbar_arrive_remote(bar, 1);
    td_griddep_launch();
}

template <int N> static __global__ __launch_bounds__(384, 1) void wgmma_kernel(float *out)
{
    TD_SMEM(uint8_t, smem);
    if (threadIdx.x < 128) {
        td_setmaxnreg_dec<40>();
        return;
    }
    td_setmaxnreg_inc<232>();
    float d[N / 2];
    uint32_t a[4] = {1, 2, 3, threadIdx.x};
    uint64_t desc = td_smem_desc(smem, 16, 1024, 128);
    td_wgmma_fence();
    td_wgmma_bf16_ss<N>(d, desc, desc, 0);
    td_wgmma_bf16_rs<N>(d, a, desc, 1);
    td_wgmma_e4m3_ss<N>(d, desc, desc, 1);
    td_wgmma_commit();
    td_wgmma_wait<0>();
    for (int i = 0; i < N / 2; i++)
        out[threadIdx.x * N + i] = d[i];
}

void emu_test_instructions(const gpu_tensor_map *map, void *global, float *out, gpu_stream s)
{
    td_launch_cfg cfg = {dim3(1), dim3(384), dim3(1), 128 * 1024, s, true};
    TD_LAUNCH(plain_kernel, 1, 64, 4096, s, (const uint16_t *)global, (unsigned *)global, out);
    TD_LAUNCH_EX(bulk_kernel, cfg, *map, global, out);
    TD_LAUNCH_EX(wgmma_kernel<8>, cfg, out);
    TD_LAUNCH_EX(wgmma_kernel<128>, cfg, out);
    TD_LAUNCH_EX(wgmma_kernel<256>, cfg, out);
}
