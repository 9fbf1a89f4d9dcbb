/* attn.cuh - what the attention kernels share: which block of the grid has which queries, which keys a query sees, and
 * how a key's row is found.
 *
 * Tiles of 64 keys and chunks of 1024 stand at absolute positions. Inside a chunk: online softmax over its tiles,
 * ascending; at its end (m, l, O) joins the running one. A tile none of whose keys a query may see leaves that query's
 * state as it was, so what else is in a block, or in the batch, does not show. */
#ifndef TD_KERNELS_CUDA_ATTN_CUH
#define TD_KERNELS_CUDA_ATTN_CUH

#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gpu_ops.h"
#include "kernels/half.h"

enum { ATTN_TILE = 64, ATTN_CHUNK_TILES = 1024 / ATTN_TILE };

typedef struct attn_call {
    const int32_t *pos, *row_tok0, *row_ctx, *page;
    int32_t row_count, page_max, block_tok;
    const uint8_t *base;
    size_t block_stride;
    int32_t kv_type, kv_heads, q_heads, D;
    const float *q;
    int32_t q_stride;
    float scale, softcap;
    int32_t window;
    float *out;        // [T][Hq * D]
} attn_call;

/* First position that a query at pos sees. */
static __device__ __forceinline__ int32_t attn_first(const attn_call &a, int32_t pos)
{
    return a.window > 0 && pos >= a.window ? pos - a.window + 1 : 0;
}

/* The D values of a key or value (kind 1) of request `row`, or NULL where nothing is stored. */
static __device__ __forceinline__ const uint8_t *attn_row(const attn_call &a, int32_t row, int32_t kind, int32_t head,
                                                          int32_t key, int32_t ctx)
{
    if (key >= ctx)
        return NULL;
    int32_t block = a.page[(size_t)row * (size_t)a.page_max + (size_t)(key / a.block_tok)];
    if (block < 0)
        return NULL;
    size_t at = (size_t)(kind * a.kv_heads + head) * (size_t)a.block_tok + (size_t)(key % a.block_tok);
    return a.base + (size_t)block * a.block_stride + at * (size_t)a.D * (a.kv_type == KV_F32 ? 4 : 2);
}

static __device__ __forceinline__ float attn_score(const attn_call &a, float dot)
{
    float s = dot * a.scale;
    return a.softcap > 0.0f ? a.softcap * kern_tanh(s / a.softcap) : s;
}

/* exp(x - m) where m may be -infinity: then nothing has been seen, and the result is 0. Our own exponential, in
 * every attention kernel alike, so that the emulator's bits are the card's. */
static __device__ __forceinline__ float attn_exp(float x, float m)
{
    return m == -__builtin_inff() ? 0.0f : kern_exp2((x - m) * KERN_LOG2E);
}

typedef struct attn_work {
    int32_t row, tok0, tok_count; // of the request: its first flat token in this tile, and how many
} attn_work;

/* Tile number `index` of all requests' tiles of `tile_tok` tokens, in request order; tok_count 0: there is none. Every
 * thread of the block gets it. s: [3 + warps] of shared memory. */
static __device__ attn_work attn_find(const attn_call &a, int32_t index, int32_t tile_tok, int32_t *s)
{
    int32_t per = (a.row_count + (int32_t)blockDim.x - 1) / (int32_t)blockDim.x, first = (int32_t)threadIdx.x * per;
    int32_t own = 0, lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
    for (int32_t r = first; r < min(first + per, a.row_count); r++)
        own += (a.row_tok0[r + 1] - a.row_tok0[r] + tile_tok - 1) / tile_tok;
    int32_t upto = own;
    for (int d = 1; d < 32; d *= 2) {
        int32_t before = __shfl_up_sync(0xffffffffu, upto, d);
        upto += lane >= d ? before : 0;
    }
    if (lane == 31)
        s[3 + warp] = upto;
    if (threadIdx.x == 0)
        s[2] = 0;
    __syncthreads();
    int32_t at = upto - own;
    for (int32_t w = 0; w < warp; w++)
        at += s[3 + w];
    for (int32_t r = first; r < min(first + per, a.row_count) && index >= at; r++) {
        int32_t n = a.row_tok0[r + 1] - a.row_tok0[r], tiles = (n + tile_tok - 1) / tile_tok;
        if (index < at + tiles) {
            s[0] = r;
            s[1] = a.row_tok0[r] + (index - at) * tile_tok;
            s[2] = min(tile_tok, n - (index - at) * tile_tok);
        }
        at += tiles;
    }
    __syncthreads();
    attn_work w = {s[0], s[1], s[2]};
    return w;
}

#endif
