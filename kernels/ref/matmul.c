/* The matrix product in plain C: the truth for the faster levels, written from the packed layout's table (pack.h).
 *
 * Per output and block, with d the weight's and e the activation's scale, i the exact integer sum of code * q:
 *   Q4_0 Q5_0 Q8_0   acc = fma(i - z*sum(q), d*e, acc)                 z = 8, 16, 128
 *   Q4_1 Q5_1        acc = fma(i, d*e, acc), acc = fma(m, e*sum(q), acc)
 *   Q4_K Q5_K        acc = fma(sum of sc*i, d*e, acc), acc = fma(-(sum of mn*sum(q)), dmin*e, acc)
 *   Q6_K             acc = fma(sum of sc*(i - 32*sum(q)), d*e, acc)
 *   F32 F16          acc = fma(w, x, acc)
 *   BF16             acc = fma(w1, x1, acc), acc = fma(w0, x0, acc)    a pair, the odd column first
 * A chain starts at +0 and runs over a chunk; chunk sums join as a balanced tree. */
#include "kernels/cpu/act.h"
#include "kernels/cpu/matmul.h"
#include "kernels/half.h"
#include "kernels/ref/ref.h"

static float half_at(const uint8_t *p, int32_t row)
{
    uint16_t h;
    memcpy(&h, p + 2 * row, 2);
    return kern_f16_to_f32(h);
}

/* Code of column 32 s + 4 g + j of a block. */
static int32_t code_at(kern_type type, const uint8_t *codes, int32_t row, int32_t s, int32_t g, int32_t j)
{
    int32_t at = 4 * row + j;
    const uint8_t *high = codes;
    switch (type) {
    case KT_Q8_0: return codes[g * 64 + at];
    case KT_Q5_0:
    case KT_Q5_1: return (codes[64 + (g & 3) * 64 + at] >> (4 * (g >> 2)) & 15) | (high[at] >> g & 1) << 4;
    case KT_Q4_K: return codes[(8 * (s >> 1) + g) * 64 + at] >> (4 * (s & 1)) & 15;
    case KT_Q5_K:
        return (codes[512 + (8 * (s >> 1) + g) * 64 + at] >> (4 * (s & 1)) & 15) | (high[g * 64 + at] >> s & 1) << 4;
    case KT_Q6_K:
        codes += 1536 * (s >> 2);
        return (codes[512 + (8 * (s & 1) + g) * 64 + at] >> (4 * (s >> 1 & 1)) & 15) |
               (codes[g * 64 + at] >> (2 * (s & 3)) & 3) << 4;
    default: return codes[(g & 3) * 64 + at] >> (4 * (g >> 2)) & 15;
    }
}

static void block_codes(const mm_job *job, int32_t b, int32_t row, uint8_t *codes)
{
    const uint8_t *p = job->panel + (size_t)b * job->geom.block_bytes + job->geom.code_off;
    for (int32_t k = 0; k < kern_types[job->type].block; k++)
        codes[k] = (uint8_t)code_at(job->type, p, row, k / 32, k % 32 / 4, k % 4);
}

static int32_t dot(const uint8_t *codes, const int8_t *q, int32_t n)
{
    int32_t sum = 0;
    for (int32_t k = 0; k < n; k++)
        sum += codes[k] * q[k];
    return sum;
}

static float block_q32(kern_type type, const uint8_t *scales, int32_t row, const uint8_t *codes, const act_q32 *a,
                       int32_t b, float acc)
{
    int32_t zero = type == KT_Q4_0 ? 8 : type == KT_Q5_0 ? 16 : type == KT_Q8_0 ? 128 : 0;
    int32_t i = dot(codes, a->q + 32 * b, 32) + zero * a->neg[b];
    acc = __builtin_fmaf((float)i, half_at(scales, row) * a->d[b], acc);
    if (zero == 0)
        acc = __builtin_fmaf(half_at(scales + 32, row), a->ds[b], acc);
    return acc;
}

static float block_q45_k(const uint8_t *scales, int32_t row, const uint8_t *codes, const act_q256 *a, int32_t b,
                         float acc)
{
    uint8_t s[12];
    for (int32_t j = 0; j < 12; j++)
        s[j] = scales[64 + 16 * j + row];
    int32_t i = 0, m = 0;
    for (int32_t j = 0; j < 8; j++) {
        int32_t sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        int32_t mn = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
        i += sc * dot(codes + 32 * j, a->q + 256 * b + 32 * j, 32);
        m += mn * a->s32[8 * b + j];
    }
    acc = __builtin_fmaf((float)i, half_at(scales, row) * a->d[b], acc);
    return __builtin_fmaf(-(float)m, half_at(scales + 32, row) * a->d[b], acc);
}

static float block_q6_k(const uint8_t *scales, int32_t row, const uint8_t *codes, const act_q256 *a, int32_t b,
                        float acc)
{
    int32_t i = 0;
    for (int32_t j = 0; j < 16; j++) {
        int32_t sc = (int8_t)scales[32 + 16 * j + row];
        i += sc * (dot(codes + 16 * j, a->q + 256 * b + 16 * j, 16) - 32 * a->s16[16 * b + j]);
    }
    return __builtin_fmaf((float)i, half_at(scales, row) * a->d[b], acc);
}

static float block_acc(const mm_job *job, int32_t b, int32_t row, const uint8_t *codes, const void *act, float acc)
{
    const uint8_t *scales = job->panel + (size_t)b * job->geom.block_bytes + job->geom.scale_off;
    if (kern_types[job->type].act == KA_Q8_32) {
        act_q32 a = act_q32_of(act, job->cols);
        return block_q32(job->type, scales, row, codes, &a, b, acc);
    }
    act_q256 a = act_q256_of(act, job->cols);
    if (job->type == KT_Q6_K)
        return block_q6_k(scales, row, codes, &a, b, acc);
    return block_q45_k(scales, row, codes, &a, b, acc);
}

/* Joins part[tok][c] of one row. */
static void join(const mm_job *job, float (*part)[TD_K_CHUNKS_MAX], int32_t row)
{
    for (int32_t t = 0; t < job->toks; t++) {
        for (int32_t n = job->chunks; n > 1; n /= 2)
            for (int32_t c = 0; c < n / 2; c++)
                part[t][c] = part[t][2 * c] + part[t][2 * c + 1];
        job->sum[t * PACK_ROWS + row] = part[t][0];
    }
}

static void panel_quant(const mm_job *job)
{
    float part[MM_TOK][TD_K_CHUNKS_MAX];
    uint8_t codes[256];
    int32_t per_chunk = job->geom.blocks / job->chunks;
    for (int32_t row = 0; row < PACK_ROWS; row++) {
        memset(part, 0, sizeof part);
        for (int32_t b = 0; b < job->geom.blocks; b++) {
            block_codes(job, b, row, codes);
            for (int32_t t = 0; t < job->toks; t++) {
                float *acc = &part[t][b / per_chunk];
                *acc = block_acc(job, b, row, codes, job->act + (size_t)t * job->act_stride, *acc);
            }
        }
        join(job, part, row);
    }
}

static float chain_float(const mm_job *job, int32_t row, const float *x, int32_t k0, int32_t k1)
{
    float acc = 0, w;
    for (int32_t k = k0; k < k1; k++) {
        if (job->type == KT_F32)
            memcpy(&w, job->panel + ((size_t)k * PACK_ROWS + (size_t)row) * 4, 4);
        else
            w = half_at(job->panel + (size_t)k * 2 * PACK_ROWS, row);
        acc = __builtin_fmaf(w, x[k], acc);
    }
    return acc;
}

static float chain_bf16(const mm_job *job, int32_t row, const uint16_t *x, int32_t k0, int32_t k1)
{
    float acc = 0;
    for (int32_t k = k0; k < k1; k += 2) {
        uint16_t w[2];
        memcpy(w, job->panel + (size_t)(k / 2) * 64 + (size_t)row * 4, 4);
        acc = __builtin_fmaf(kern_bf16_to_f32(w[1]), kern_bf16_to_f32(x[k + 1]), acc);
        acc = __builtin_fmaf(kern_bf16_to_f32(w[0]), kern_bf16_to_f32(x[k]), acc);
    }
    return acc;
}

static void panel_float(const mm_job *job)
{
    float part[MM_TOK][TD_K_CHUNKS_MAX];
    int32_t n = job->cols / job->chunks;
    for (int32_t row = 0; row < PACK_ROWS; row++) {
        for (int32_t t = 0; t < job->toks; t++) {
            const void *x = job->act + (size_t)t * job->act_stride;
            for (int32_t c = 0; c < job->chunks; c++)
                part[t][c] = job->type == KT_BF16 ? chain_bf16(job, row, x, c * n, (c + 1) * n)
                                                  : chain_float(job, row, x, c * n, (c + 1) * n);
        }
        join(job, part, row);
    }
}

void mm_finish_ref(const mm_finish *f)
{
    for (int32_t t = 0; t < f->toks; t++) {
        float *out = f->out + (size_t)t * (size_t)f->out_stride;
        for (int32_t r = 0; r < f->rows; r++) {
            float v = f->sum[t * PACK_ROWS + r], up = f->up[t * PACK_ROWS + r];
            v = f->bias ? v + f->bias[r] : v;
            up = f->up_bias ? up + f->up_bias[r] : up;
            switch (f->kind) {
            case KE_STORE: out[r] = v; break;
            case KE_ADD: out[r] += v; break;
            case KE_SILU_MUL: out[r] = kern_silu(v) * up; break;
            case KE_GELU_MUL: out[r] = kern_gelu_tanh(v) * up; break;
            }
        }
    }
}

void ref_matmul(const kern_matmul_args *a, int64_t t0, int64_t t1)
{
    static const mm_level level = {
        .panel = {[KT_F32] = panel_float, [KT_F16] = panel_float, [KT_BF16] = panel_float, [KT_Q8_0] = panel_quant,
                  [KT_Q4_0] = panel_quant, [KT_Q4_1] = panel_quant, [KT_Q5_0] = panel_quant, [KT_Q5_1] = panel_quant,
                  [KT_Q4_K] = panel_quant, [KT_Q5_K] = panel_quant, [KT_Q6_K] = panel_quant},
        .finish = mm_finish_ref,
    };
    mm_run(&level, a, t0, t1);
}
