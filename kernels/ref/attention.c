/* attention.c - attention in the order that every level follows, one (query, head) at a time.
 *
 * A chunk of 1024 keys starts from m = -inf, l = 0, O = 0. Each tile of 64 keys that holds a visible one:
 *   s_j  = scale * (q · k_j), one fma chain over ascending d, then softcap; only visible keys take part
 *   m'   = max(m, s_j)          alpha = exp(m - m')         p_j = exp(s_j - m'), 0 where masked
 *   l    = fma(l, alpha, sum of p)      the sum in 16 lanes, key j in lane j mod 16, then the tree 8, 4, 2, 1
 *   O_d  = O_d * alpha, then fma(p_j, v_jd, O_d) over the visible keys ascending
 * Chunks join ascending, the first one as it is:
 *   M' = max(M, m)   a = exp(M - M')   b = exp(m - M')   L = fma(L, a, l * b)   A_d = fma(A_d, a, O_d * b)
 * and the result is A_d * (1 / L). NaN anywhere among the visible scores makes all of it NaN. */
#include "kernels/cpu/attn.h"
#include "kernels/ref/ref_attn.h"

typedef struct ref_state {
    float m, l;
    float o[TD_MODEL_HEAD_DIM_MAX];
} ref_state;

static float code_value(kern_kv_type type, const uint8_t *codes, int32_t i, uint16_t scale)
{
    uint16_t h;
    switch (type) {
    case KV_F32: {
        float f;
        memcpy(&f, codes + 4 * i, 4);
        return f;
    }
    case KV_F16: memcpy(&h, codes + 2 * i, 2); return kern_f16_to_f32(h);
    case KV_BF16: memcpy(&h, codes + 2 * i, 2); return kern_bf16_to_f32(h);
    default: return (float)(int8_t)codes[i] * kern_f16_to_f32(scale);
    }
}

static float key_value(const kern_kv_layer *kv, kv_group16 g, int32_t lane, int32_t d)
{
    uint16_t scale = kv->type == KV_Q8_0 ? g.k_scale[d / KV_Q8_DIMS * KV_LANES + lane] : 0;
    return code_value(kv->type, g.k, d * KV_LANES + lane, scale);
}

static float val_value(const kern_kv_layer *kv, kv_group16 g, int32_t lane, int32_t d)
{
    uint16_t scale = kv->type == KV_Q8_0 ? g.v_scale[lane * (kv->head_dim / KV_Q8_DIMS) + d / KV_Q8_DIMS] : 0;
    return code_value(kv->type, g.v, lane * kv->head_dim + d, scale);
}

static float score(const kern_attn_args *a, const float *q, kv_group16 g, int32_t lane)
{
    float s = 0.0f;
    for (int32_t d = 0; d < a->kv->head_dim; d++)
        s = __builtin_fmaf(q[d], key_value(a->kv, g, lane, d), s);
    s *= a->scale;
    return a->softcap > 0.0f ? a->softcap * kern_tanh(s / a->softcap) : s;
}

static float lane_sum(const float *p /* [ATTN_TILE] */)
{
    float lane[16];
    for (int i = 0; i < 16; i++)
        lane[i] = p[i] + p[i + 16] + p[i + 32] + p[i + 48];
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            lane[i] += lane[i + w];
    return lane[0];
}

/* Keys [k0, k1) of one tile, all visible. */
static void add_tile(const kern_attn_args *a, const attn_tile *t, const float *q, int32_t k0, int32_t k1,
                     ref_state *st)
{
    float p[ATTN_TILE] = {0}, m = st->m;
    kv_group16 group[ATTN_TILE / KV_LANES];
    int32_t base = k0 / ATTN_TILE * ATTN_TILE;
    for (int32_t g = (k0 - base) / KV_LANES; g <= (k1 - 1 - base) / KV_LANES; g++)
        group[g] = attn_group_at(a, t->row, base + g * KV_LANES, t->kv_head);
    for (int32_t j = k0 - base; j < k1 - base; j++) {
        p[j] = score(a, q, group[j / KV_LANES], j % KV_LANES);
        m = p[j] > m || p[j] != p[j] ? p[j] : m;
    }
    float alpha = kern_exp(st->m - m);
    for (int32_t j = k0 - base; j < k1 - base; j++)
        p[j] = kern_exp(p[j] - m);
    st->l = __builtin_fmaf(st->l, alpha, lane_sum(p));
    st->m = m;
    for (int32_t d = 0; d < a->kv->head_dim; d++) {
        float o = st->o[d] * alpha;
        for (int32_t j = k0 - base; j < k1 - base; j++)
            o = __builtin_fmaf(p[j], val_value(a->kv, group[j / KV_LANES], j % KV_LANES, d), o);
        st->o[d] = o;
    }
}

/* Keys [k0, k1) of one chunk. */
static void add_chunk(const kern_attn_args *a, const attn_tile *t, const float *q, int32_t k0, int32_t k1,
                      ref_state *st)
{
    st->m = -__builtin_inff();
    st->l = 0.0f;
    memset(st->o, 0, sizeof st->o);
    for (int32_t k = k0; k < k1; k = (k / ATTN_TILE + 1) * ATTN_TILE)
        add_tile(a, t, q, k, TD_MIN((k / ATTN_TILE + 1) * ATTN_TILE, k1), st);
}

static void merge(ref_state *run, float m, float l, const float *o, int32_t dims)
{
    float m_new = m > run->m || m != m ? m : run->m;
    float wa = kern_exp(run->m - m_new), wb = kern_exp(m - m_new);
    run->l = __builtin_fmaf(run->l, wa, l * wb);
    for (int32_t d = 0; d < dims; d++)
        run->o[d] = __builtin_fmaf(run->o[d], wa, o[d] * wb);
    run->m = m_new;
}

static void finish(const ref_state *st, int32_t dims, float *out)
{
    float inv = 1.0f / st->l;
    for (int32_t d = 0; d < dims; d++)
        out[d] = st->o[d] * inv;
}

static void one_query(const kern_attn_args *a, const attn_plan *p, const attn_tile *t, int32_t tok, int32_t head)
{
    int32_t D = a->kv->head_dim, pos = a->batch->pos[tok], first = attn_first_key(pos, a->window);
    const float *q = a->q + (size_t)tok * (size_t)a->q_stride + (size_t)head * (size_t)D;
    ref_state run, chunk;
    int32_t c0 = TD_MAX(t->chunk0, first / ATTN_CHUNK), c1 = TD_MIN(t->chunk1, pos / ATTN_CHUNK + 1);
    if (c0 >= c1)
        return;
    for (int32_t c = c0; c < c1; c++) {
        ref_state *st = c == c0 ? &run : &chunk;
        add_chunk(a, t, q, TD_MAX(first, c * ATTN_CHUNK), TD_MIN(pos + 1, (c + 1) * ATTN_CHUNK), st);
        if (st == &chunk)
            merge(&run, chunk.m, chunk.l, chunk.o, D);
    }
    if (t->part0 < 0) {
        finish(&run, D, a->out + ((size_t)tok * (size_t)a->q_heads + (size_t)head) * (size_t)D);
    } else {
        float *part = attn_part(a, p, t->part0 + (tok - t->tok0) * t->part_stride, head);
        memcpy(part, run.o, (size_t)D * sizeof(float));
        part[D] = run.m;
        part[D + 1] = run.l;
    }
}

void ref_attention(const kern_attn_args *a, int64_t t0, int64_t t1)
{
    const attn_plan *p = attn_plan_of(a);
    for (int64_t t = t0; t < t1; t++) {
        attn_tile tile = attn_tile_at(a, p, t);
        for (int32_t tok = tile.tok0; tok < tile.tok1; tok++)
            for (int32_t head = tile.q_head0; head < tile.q_head1; head++)
                one_query(a, p, &tile, tok, head);
    }
}

void ref_attn_merge(const kern_attn_args *a, int64_t t0, int64_t t1)
{
    const attn_plan *p = attn_plan_of(a);
    int32_t D = a->kv->head_dim;
    for (int64_t t = t0; t < t1; t++) {
        attn_merge_tile tile = attn_merge_at(a, p, t);
        for (int32_t h = 0; h < a->q_heads; h++) {
            ref_state run;
            const float *part = attn_part(a, p, tile.part0, h);
            memcpy(run.o, part, (size_t)D * sizeof(float));
            run.m = part[D];
            run.l = part[D + 1];
            for (int32_t i = 1; i < tile.part_count; i++) {
                part = attn_part(a, p, tile.part0 + i, h);
                merge(&run, part[D], part[D + 1], part, D);
            }
            finish(&run, D, a->out + ((size_t)tile.tok * (size_t)a->q_heads + (size_t)h) * (size_t)D);
        }
    }
}
