/* tensor.cu - one matrix product, through each way that the card has: all must give the same bits. */
#include "kernels/cuda/ptx.cuh"

#include "tests_emu.h"

/* D[16][8] = A[16][K] B[8][K]^T, one warp; stages of 16 through shared memory by cp.async and ldmatrix. */
template <bool BF16> static __global__ void mma_kernel(const uint16_t *a, const uint16_t *b, float *d, int k_count)
{
    TD_SMEM(uint16_t, smem);
    uint16_t *sa = smem, *sb = smem + 2 * 16 * 16; // [2][16][16], [2][8][16]
    int lane = (int)threadIdx.x;
    float acc[4] = {0, 0, 0, 0};
    int stages = k_count / 16;
    for (int stage = 0; stage <= stages; stage++) {
        if (stage < stages) {
            uint16_t *ta = sa + stage % 2 * 256, *tb = sb + stage % 2 * 128;
            td_cp_async16(ta + lane * 8, a + lane / 2 * k_count + stage * 16 + lane % 2 * 8);
            if (lane < 16)
                td_cp_async16(tb + lane * 8, b + lane / 2 * k_count + stage * 16 + lane % 2 * 8);
        }
        td_cp_async_commit();
        if (stage == 0)
            continue;
        td_cp_async_wait<1>();
        __syncwarp();
        const uint16_t *ta = sa + (stage - 1) % 2 * 256, *tb = sb + (stage - 1) % 2 * 128;
        uint32_t fa[4], fb[2];
        td_ldmatrix_x4(fa, ta + (lane % 16) * 16 + lane / 16 * 8);
        td_ldmatrix_x2(fb, tb + (lane % 8) * 16 + lane / 8 % 2 * 8);
        if (BF16)
            td_mma_bf16_16816(acc, fa, fb);
        else
            td_mma_f16_16816(acc, fa, fb);
        __syncwarp();
    }
    for (int i = 0; i < 4; i++)
        d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = acc[i];
}

GPU_EXTERN void emu_test_mma(bool bf16, const uint16_t *a, const uint16_t *b, float *d, int k, gpu_stream s)
{
    if (bf16)
        TD_LAUNCH((mma_kernel<true>), 1, 32, 2048, s, a, b, d, k);
    else
        TD_LAUNCH((mma_kernel<false>), 1, 32, 2048, s, a, b, d, k);
}

/* out = transpose of a 16 x 16 matrix: ldmatrix.trans and stmatrix. */
static __global__ void transpose_kernel(const uint16_t *in, uint16_t *out)
{
    TD_SMEM(uint16_t, t);
    int lane = (int)threadIdx.x;
    for (int i = lane; i < 256; i += 32)
        t[i] = in[i];
    __syncwarp();
    uint32_t r[4];
    td_ldmatrix_x4_trans(r, t + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
    td_stmatrix_x4(t + 256 + (lane % 8 + lane / 8 % 2 * 8) * 16 + lane / 16 * 8, r);
    __syncwarp();
    for (int i = lane; i < 256; i += 32)
        out[i] = t[256 + i];
}

GPU_EXTERN void emu_test_transpose(const uint16_t *in, uint16_t *out, gpu_stream s)
{
    TD_LAUNCH(transpose_kernel, 1, 32, 1024, s, in, out);
}
