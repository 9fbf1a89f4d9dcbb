/* Attention's work list, made on the card from the batch: a step planned ahead and a replayed graph need nothing from
 * the host but an upper bound of items. One block; each thread takes every 256th request.
 *
 * A request's tokens are cut into items of up to 64 query rows. An item with few rows and many chunks is split, a chunk
 * a part, when its chunks are more than a block's fair share of all; the bits of an answer do not depend on it. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/attn_list.cuh"

enum { PLAN_THREADS = 256 };

struct plan_size { // of one request
    int32_t tiles, chunk0, chunks, parts;
};

static __device__ __forceinline__ plan_size size_of(const attn_call &c, int32_t row, int32_t tile_toks, int32_t fair)
{
    plan_size s = {0, 0, 0, 0};
    int32_t t0 = c.row_tok0[row], t1 = c.row_tok0[row + 1];
    if (t0 == t1)
        return s;
    s.tiles = (t1 - t0 + tile_toks - 1) / tile_toks;
    s.chunk0 = attn_first(c, c.pos[t0]) / ATTN_CHUNK;
    s.chunks = c.pos[t1 - 1] / ATTN_CHUNK + 1 - s.chunk0;
    if (s.tiles == 1 && (t1 - t0) * (c.q_heads / c.kv_heads) <= ATTN_SPLIT_ROWS && s.chunks > fair)
        s.parts = s.chunks;
    return s;
}

/* Exclusive sum over the block's threads; `total` gets the sum of all. */
static __device__ int32_t scan(int32_t v, int32_t *smem, int32_t *total)
{
    int tid = (int)threadIdx.x;
    __syncthreads();
    smem[tid] = v;
    __syncthreads();
    for (int d = 1; d < PLAN_THREADS; d *= 2) {
        int32_t left = tid >= d ? smem[tid - d] : 0;
        __syncthreads();
        smem[tid] += left;
        __syncthreads();
    }
    *total = smem[PLAN_THREADS - 1];
    return smem[tid] - v;
}

static __device__ void write_items(const attn_call &c, const attn_list &l, int32_t row, const plan_size &s,
                                   int32_t tile_toks, int32_t item,
                                   int32_t merge, int32_t part)
{
    int32_t t0 = c.row_tok0[row], t1 = c.row_tok0[row + 1];
    if (s.parts == 0) {
        for (int32_t i = 0; i < s.tiles; i++) {
            int32_t tok0 = t0 + i * tile_toks, n = min(tile_toks, t1 - tok0);
            int32_t chunk0 = attn_first(c, c.pos[tok0]) / ATTN_CHUNK;
            l.items[item + i] = {row, tok0, n, chunk0, c.pos[tok0 + n - 1] / ATTN_CHUNK + 1, -1};
        }
        return;
    }
    for (int32_t i = 0; i < s.chunks; i++)
        l.items[item + i] = {row, t0, t1 - t0, s.chunk0 + i, s.chunk0 + i + 1, part + i};
    l.merges[merge] = {t0, t1 - t0, part, s.parts};
}

static __global__ void __launch_bounds__(PLAN_THREADS) plan_kernel(const attn_call c, const attn_list l)
{
    TD_SMEM(int32_t, smem);
    const int32_t tile_toks = ATTN_ROWS / (c.q_heads / c.kv_heads), parts_max = ATTN_PARTS / c.kv_heads;
    int32_t chunks = 0, all, items = 0, merges = 0, parts = 0;
    for (int32_t r = (int32_t)threadIdx.x; r < c.row_count; r += PLAN_THREADS) {
        plan_size s = size_of(c, r, tile_toks, INT32_MAX);
        chunks += s.tiles * s.chunks;
    }
    scan(chunks, smem, &all);
    const int32_t fair = max(all * c.kv_heads / ATTN_BLOCKS, 1);
    for (int32_t r0 = 0; r0 < c.row_count; r0 += PLAN_THREADS) {
        int32_t r = r0 + (int32_t)threadIdx.x, n;
        plan_size s = {0, 0, 0, 0};
        if (r < c.row_count)
            s = size_of(c, r, tile_toks, fair);
        int32_t part = parts + scan(s.parts, smem, &n);
        parts += n;
        if (part + s.parts > parts_max)
            s.parts = 0; // no room: one block walks all chunks
        int32_t item = items + scan(s.parts ? s.parts : s.tiles, smem, &n);
        items += n;
        int32_t merge = merges + scan(s.parts > 0, smem, &n);
        merges += n;
        if (s.tiles)
            write_items(c, l, r, s, tile_toks, item, merge, part);
    }
    if (threadIdx.x == 0)
        *l.counts = {items, merges};
}

void GPU_SYM(attention_plan)(const attn_call *c, const attn_list *l, gpu_stream stream)
{
    TD_LAUNCH(plan_kernel, 1, PLAN_THREADS, PLAN_THREADS * sizeof(int32_t), stream, *c, *l);
}
