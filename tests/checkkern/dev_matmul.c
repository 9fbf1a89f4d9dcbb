/* Products on a device. Float and f16 weights: the bits of the chain that the numerics promise. bf16: near the product
 * in double of what the rounded operands stand for. All: a token alone, and a weight's rows in another tile, give the
 * bits that they have among others. */
#include "checkkern.h"

#include "base/check.h"
#include "kernels/half.h"
#include "weights.h"

#include <math.h>
#include <string.h>

typedef struct product {
    int32_t rows[KERN_PARTS_MAX], cols, toks, parts;
    kern_epilogue epilogue;
    ck_weight host[KERN_PARTS_MAX];
    kern_weight w[KERN_PARTS_MAX];
    kern_act act;
    float *x;                       // [toks][cols] as the product sees it: rounded to bf16 for bf16 weights
    float *bias[KERN_PARTS_MAX];    // host, or NULL
    float *out0[KERN_PARTS_MAX];    // what out holds before
    kern_matmul_args args;
} product;

static bool gated(kern_epilogue e) { return e == KE_SILU_MUL || e == KE_GELU_MUL; }

/* Weights of these types are rounded to bf16 on the device, and so are their activations. */
static bool is_bf16(kern_type type) { return ck.dev->ops->weight_act(type) == KA_BF16; }

/* Tokens [t0, t0 + toks) of p->x on the device. */
static kern_act act_of(const product *p, int32_t t0, int32_t toks)
{
    kern_act a = {.kind = ck.dev->ops->weight_act(p->host[0].w.type), .tok_count = toks, .cols = p->cols};
    a.stride = ck.dev->ops->act_stride(a.kind, p->cols);
    a.data = ck_room(a.stride * (size_t)toks);
    size_t from = (size_t)t0 * (size_t)p->cols, n = (size_t)toks * (size_t)p->cols;
    kern_quant_args q = {.x = ck_put(p->x + from, n * 4), .x_stride = p->cols, .out = &a};
    ck.dev->ops->quant(ck.dev, &q);
    return a;
}

static void make_part(product *p, int i, kern_type type, int weight_kind)
{
    const kern_ops *ops = ck.dev->ops;
    int32_t rows = p->rows[i];
    p->host[i] = ck_weight_make(type, rows, p->cols, weight_kind);
    p->w[i] = p->host[i].w;
    p->w[i].chunks = kern_chunk_count(type, p->cols, ops->chunks_max);
    p->w[i].data = ck_room(ops->weight_bytes(ck.dev, type, rows, p->cols));
    ops->weight_pack(ck.dev, &p->w[i], 0, rows, p->host[i].raw);
    p->args.w[i] = &p->w[i];
    p->args.act[i] = &p->act;
    if (ck_one_in(2)) {
        p->bias[i] = ck_alloc((size_t)rows * 4, 4);
        ck_fill(p->bias[i], (size_t)rows, CK_FILL_RANDOM);
        p->args.bias[i] = ck_put(p->bias[i], (size_t)rows * 4);
    }
    size_t n = (size_t)p->args.out_stride * (size_t)p->toks;
    p->out0[i] = ck_alloc(n * 4, 4);
    ck_fill(p->out0[i], n, CK_FILL_RANDOM);
    p->args.out[i] = ck_put(p->out0[i], n * 4);
}

static void make(product *p, kern_type type)
{
    static const int fills[] = {CK_FILL_RANDOM, CK_FILL_RANDOM, CK_FILL_ZERO, CK_FILL_MAX, CK_FILL_TINY};
    int32_t unit = kern_types[type].block, cols = ck_one_in(2) ? 32 * ck_rand_int(1, 12) : ck_rand_int(1, 200);
    if (ck_one_in(4))
        cols = 16 * ck_rand_int(1, 20);
    if (unit > 1)
        cols = unit * ck_rand_int(1, 512 / unit);
    *p = (product){.cols = cols, .toks = ck_one_in(3) ? ck_rand_int(1, 70) : ck_rand_int(1, 9)};
    p->epilogue = (kern_epilogue)ck_rand_int(KE_STORE, KE_GELU_MUL);
    p->parts = gated(p->epilogue) ? 2 : ck_rand_int(1, KERN_PARTS_MAX);
    for (int i = 0; i < p->parts; i++)
        p->rows[i] = i && gated(p->epilogue) ? p->rows[0] : ck_rand_int(1, 150);
    size_t n = (size_t)p->toks * (size_t)cols;
    p->x = ck_alloc(n * 4, 4);
    ck_fill(p->x, n, fills[ck_rand_int(0, (int)TD_COUNT(fills) - 1)]);
    p->host[0].w.type = type;
    for (size_t i = 0; i < n && is_bf16(type); i++)
        p->x[i] = kern_bf16_to_f32(kern_f32_to_bf16(p->x[i]));
    p->act = act_of(p, 0, p->toks);
    p->args = (kern_matmul_args){.part_count = p->parts, .epilogue = p->epilogue};
    p->args.out_stride = 150 + ck_rand_int(0, 7);
    for (int i = 0; i < p->parts; i++)
        make_part(p, i, type, ck_one_in(2) ? CKW_RANDOM : ck_rand_int(CKW_RANDOM, CKW_DENORMAL));
}

typedef struct sum {
    float chain;      // as the numerics of plain floats have it
    double value, size; // the sum, and that of absolute values
} sum;

static sum sum_of(const product *p, int part, int32_t t, int32_t n)
{
    static float w[4096];
    sum s = {0, 0, 0};
    float chunk = 0.0f;
    int32_t chunks = p->w[part].chunks;
    size_t row_bytes = kern_row_bytes(p->w[part].type, p->cols);
    kern_dequant_row(p->w[part].type, p->host[part].raw + (size_t)n * row_bytes, p->cols, w);
    for (int32_t k = 0; k < p->cols && is_bf16(p->w[part].type); k++)
        w[k] = kern_bf16_to_f32(kern_f32_to_bf16(w[k]));
    for (int32_t k = 0; k < p->cols; k++) {
        float x = p->x[t * p->cols + k];
        if (chunks == 2 && k == p->cols / 2) {
            s.chain = chunk;
            chunk = 0.0f;
        }
        chunk = fmaf(x, w[k], chunk);
        s.value += (double)x * (double)w[k];
        s.size += fabs((double)x * (double)w[k]);
    }
    s.chain = chunks == 2 ? s.chain + chunk : chunk;
    float bias = p->bias[part] ? p->bias[part][n] : 0.0f;
    s.chain += p->bias[part] ? bias : 0.0f;
    s.value += (double)bias;
    s.size += fabs((double)bias);
    return s;
}

/* What out[part][t][n] is to be, and how far from it a bf16 product may end up. */
static float expected(const product *p, int part, int32_t t, int32_t n, float *slack)
{
    sum s = sum_of(p, part, t, n);
    bool plain = !is_bf16(p->w[part].type);
    float v = plain ? s.chain : (float)s.value, before = p->out0[part][t * p->args.out_stride + n];
    *slack = plain ? 0.0f : (float)(s.size * 3e-6) + 1e-30f;
    if (p->epilogue == KE_STORE)
        return v;
    if (p->epilogue == KE_ADD) {
        *slack += plain ? 0.0f : fabsf(before) * 1e-6f;
        return before + v;
    }
    sum up = sum_of(p, 1, t, n);
    float u = plain ? up.chain : (float)up.value, g = p->epilogue == KE_SILU_MUL ? kern_silu(v) : kern_gelu_tanh(v);
    float bound = *slack * 1.2f * fabsf(u) + (float)(up.size * 3e-6) * fabsf(g) + fabsf(g * u) * 1e-5f + 1e-30f;
    *slack = plain ? 0.0f : bound;
    return g * u;
}

static void check(const product *p, int part)
{
    size_t n = (size_t)p->args.out_stride * (size_t)p->toks;
    const float *got = ck_get(p->args.out[part], n * 4);
    for (int32_t t = 0; t < p->toks; t++)
        for (int32_t c = 0; c < p->args.out_stride; c++) {
            float slack = 0.0f, g = got[t * p->args.out_stride + c], want = p->out0[part][t * p->args.out_stride + c];
            if (c < p->rows[part])
                want = expected(p, part, t, c, &slack);
            if (!(fabsf(g - want) <= slack) && memcmp(&g, &want, 4) != 0) {
                ck_fail("part %d of %d, %d x %d, %d tokens, epilogue %d: out[%d][%d] is %.9g, not %.9g", part, p->parts,
                        p->rows[part], p->cols, p->toks, p->epilogue, t, c, (double)g, (double)want);
                return;
            }
        }
}

/* One token by itself. */
static void check_alone(const product *p, int32_t t)
{
    kern_matmul_args a = p->args;
    kern_act act = act_of(p, t, 1);
    size_t stride = (size_t)a.out_stride, off = (size_t)t * stride;
    for (int i = 0; i < p->parts; i++) {
        a.act[i] = &act;
        a.out[i] = ck_put(p->out0[i] + off, stride * 4);
    }
    ck.dev->ops->matmul(ck.dev, &a);
    for (int i = 0; i < (gated(p->epilogue) ? 1 : p->parts); i++)
        ck_same_floats("a token alone", ck_get(p->args.out[i] + off, stride * 4), ck_get(a.out[i], stride * 4), stride);
}

static void run_dev(int type)
{
    for (int round = 0; round < 14; round++) {
        product p;
        make(&p, (kern_type)type);
        ck.dev->ops->matmul(ck.dev, &p.args);
        for (int i = 0; i < (gated(p.epilogue) ? 1 : p.parts); i++)
            check(&p, i);
        check_alone(&p, ck_rand_int(0, p.toks - 1));
        ck_release();
    }
}

/* Columns [k0, k0 + cols) of a product's one weight and activations, in one chunk: out. */
static const float *part_of(const product *p, int32_t k0, int32_t cols, int32_t chunks)
{
    const kern_ops *ops = ck.dev->ops;
    kern_type type = p->w[0].type;
    size_t row = kern_row_bytes(type, p->cols), part = kern_row_bytes(type, cols), skip = kern_row_bytes(type, k0);
    uint8_t *raw = ck_alloc(part * (size_t)p->rows[0], 1);
    for (int32_t r = 0; r < p->rows[0]; r++)
        memcpy(raw + (size_t)r * part, p->host[0].raw + (size_t)r * row + skip, part);
    kern_weight w = {.type = type, .rows = p->rows[0], .cols = cols, .chunks = chunks};
    w.data = ck_room(ops->weight_bytes(ck.dev, type, w.rows, cols));
    ops->weight_pack(ck.dev, &w, 0, w.rows, raw);
    kern_act act = {.kind = ops->weight_act(type), .tok_count = p->toks, .cols = cols};
    act.stride = ops->act_stride(act.kind, cols);
    act.data = ck_room(act.stride * (size_t)p->toks);
    float *x = ck_put(p->x, (size_t)p->toks * (size_t)p->cols * 4);
    kern_quant_args q = {.x = x + k0, .x_stride = p->cols, .out = &act};
    ops->quant(ck.dev, &q);
    size_t bytes = (size_t)p->toks * (size_t)w.rows * 4;
    kern_matmul_args a = {.part_count = 1, .w = {&w}, .act = {&act}, .out = {ck_room(bytes)}, .out_stride = w.rows};
    ops->matmul(ck.dev, &a);
    return ck_get(a.out[0], bytes);
}

/* Two chunks are the sum of their two products, to the bit. */
static void run_chunks(int type)
{
    for (int round = 0; round < 6; round++) {
        int32_t half = 16 * ck_rand_int(1, 12);
        product p = {.cols = 2 * half, .toks = ck_rand_int(1, 20), .rows = {ck_rand_int(1, 100)}};
        size_t n = (size_t)p.toks * (size_t)p.cols, outs = (size_t)p.toks * (size_t)p.rows[0];
        p.x = ck_alloc(n * 4, 4);
        ck_fill(p.x, n, CK_FILL_RANDOM);
        p.host[0] = ck_weight_make((kern_type)type, p.rows[0], p.cols, CKW_RANDOM);
        p.w[0].type = (kern_type)type;
        const float *a = part_of(&p, 0, half, 1), *b = part_of(&p, half, half, 1), *both = part_of(&p, 0, p.cols, 2);
        float *want = ck_alloc(outs * 4, 4);
        for (size_t i = 0; i < outs; i++)
            want[i] = a[i] + b[i];
        ck_same_floats("two chunks", want, both, outs);
        ck_release();
    }
}

const ck_test ck_dev_matmul_tests[] = {{"dev_matmul.F32", NULL, NULL, KT_F32, run_dev},
                                       {"dev_matmul.F16", NULL, NULL, KT_F16, run_dev},
                                       {"dev_matmul.BF16", NULL, NULL, KT_BF16, run_dev},
                                       {"dev_matmul.Q8_0", NULL, NULL, KT_Q8_0, run_dev},
                                       {"dev_matmul.Q4_1", NULL, NULL, KT_Q4_1, run_dev},
                                       {"dev_matmul.Q4_K", NULL, NULL, KT_Q4_K, run_dev},
                                       {"dev_matmul.Q6_K", NULL, NULL, KT_Q6_K, run_dev},
                                       {"dev_matmul_chunks.F32", NULL, NULL, KT_F32, run_chunks},
                                       {"dev_matmul_chunks.BF16", NULL, NULL, KT_BF16, run_chunks},
                                       {NULL, NULL, NULL, 0, NULL}};
