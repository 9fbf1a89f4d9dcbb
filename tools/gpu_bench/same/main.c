/* gpu_same: the same operations on the card and in the emulator, compared bit for bit: products of every batch size,
 * epilogue and chunking, norms, rope and KV store, attention with and without splitting, sampling. This is what the
 * emulator's arithmetic claims to be. Without a card the emulator is compared with itself under another schedule. */
#include "kernels/device.h"
#include "kernels/emu/emu.h"
#include "kernels/half.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDES = 2, D = 64, Q_HEADS = 4, KV_HEADS = 2, BLOCK = 64, WIDTH = (Q_HEADS + 2 * KV_HEADS) * D };

static kern_dev *side[SIDES];
static int compared, differ;
static uint64_t seed = 3;

static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(seed >> 32) * 0x1p-31f;
}

static float *floats(size_t n)
{
    float *v = malloc(n * sizeof *v);
    if (!v)
        exit(1);
    for (size_t i = 0; i < n; i++)
        v[i] = draw();
    return v;
}

static void *room(kern_dev *d, const void *src, size_t bytes)
{
    void *p = d->ops->alloc(d, bytes);
    if (!p) {
        fprintf(stderr, "no memory on %s\n", d->ops->name);
        exit(1);
    }
    if (src)
        d->ops->put(d, p, src, bytes);
    return p;
}

static void compare(const char *what, void *const dev[SIDES], size_t bytes)
{
    void *got[SIDES];
    for (int s = 0; s < SIDES; s++) {
        got[s] = malloc(bytes);
        if (!got[s])
            exit(1);
        side[s]->ops->get(side[s], got[s], dev[s], bytes);
        if (side[s]->ops->fault(side[s])) {
            fprintf(stderr, "%s: %s\n", side[s]->ops->name, side[s]->ops->fault(side[s]));
            exit(1);
        }
    }
    compared++;
    if (memcmp(got[0], got[1], bytes) != 0) {
        size_t at = 0;
        while (memcmp((float *)got[0] + at, (float *)got[1] + at, sizeof(float)) == 0)
            at++;
        printf("%s: element %zu is %.9g on %s, %.9g on %s\n", what, at, (double)((float *)got[0])[at],
               side[0]->ops->name, (double)((float *)got[1])[at], side[1]->ops->name);
        differ++;
    }
    free(got[0]);
    free(got[1]);
}

static void products(int32_t rows, int32_t cols, int32_t toks, kern_epilogue epilogue)
{
    char what[96];
    float *x = floats((size_t)(toks * cols)), *w = floats((size_t)(2 * rows * cols));
    float *before = floats((size_t)(toks * rows));
    void *out[SIDES];
    for (int s = 0; s < SIDES; s++) {
        kern_dev *d = side[s];
        kern_weight m[2];
        uint16_t *raw = malloc((size_t)(rows * cols) * 2);
        if (!raw)
            exit(1);
        for (int i = 0; i < 2; i++) {
            for (int32_t k = 0; k < rows * cols; k++)
                raw[k] = kern_f32_to_bf16(w[i * rows * cols + k]);
            m[i] = (kern_weight){.type = KT_BF16, .rows = rows, .cols = cols,
                                 .chunks = kern_chunk_count(KT_BF16, cols, d->ops->chunks_max),
                                 .data = room(d, NULL, d->ops->weight_bytes(d, KT_BF16, rows, cols))};
            d->ops->weight_pack(d, &m[i], 0, rows, raw);
        }
        free(raw);
        kern_act a = {.kind = KA_BF16, .tok_count = toks, .cols = cols, .stride = d->ops->act_stride(KA_BF16, cols)};
        a.data = room(d, NULL, a.stride * (size_t)toks);
        kern_quant_args q = {.x = room(d, x, (size_t)(toks * cols) * 4), .x_stride = cols, .out = &a};
        d->ops->quant(d, &q);
        out[s] = room(d, before, (size_t)(toks * rows) * 4);
        kern_matmul_args p = {.part_count = epilogue >= KE_SILU_MUL ? 2 : 1, .w = {&m[0], &m[1]}, .act = {&a, &a},
                              .out = {out[s]}, .out_stride = rows, .epilogue = epilogue};
        d->ops->matmul(d, &p);
    }
    snprintf(what, sizeof what, "product of %d x %d, %d tokens, epilogue %d", rows, cols, toks, (int)epilogue);
    compare(what, out, (size_t)(toks * rows) * 4);
    free(x);
    free(w);
    free(before);
}

/* One request: its context is stored first, then its last tokens attend; `alone` of them at a time. */
static void attention(int32_t ctx, int32_t toks, float softcap, int32_t window)
{
    char what[96];
    int32_t pages = (ctx + BLOCK - 1) / BLOCK, pos[2048], row[2048] = {0}, slot[4096], page[64], tok0[2] = {0, ctx};
    float *qkv = floats((size_t)ctx * WIDTH), *norm = floats(D), *rope = floats((size_t)ctx * D);
    void *out[SIDES];
    for (int32_t i = 0; i < pages; i++)
        page[i] = pages - 1 - i;
    for (int32_t t = 0; t < ctx; t++)
        slot[t] = page[t / BLOCK] * BLOCK + t % BLOCK;
    for (int32_t t = 0; t < toks; t++)
        pos[t] = ctx - toks + t;
    for (int s = 0; s < SIDES; s++) {
        kern_dev *d = side[s];
        kern_kv_layer kv = {.type = KV_BF16, .heads = KV_HEADS, .head_dim = D, .block_tok = BLOCK};
        kv.block_stride = d->ops->kv_layer_bytes(KV_BF16, KV_HEADS, D, BLOCK);
        kv.base = room(d, NULL, kv.block_stride * (size_t)pages);
        kern_batch b = {.tok_count = ctx, .row_count = 1, .group_count = 1};
        b.group[0] = (kern_batch_group){.kv_slot = room(d, slot, (size_t)ctx * 4), .page = room(d, page, sizeof page),
                                        .page_max = 64, .block_tok = BLOCK};
        float *x = room(d, qkv, (size_t)ctx * WIDTH * 4);
        kern_kv_store_args store = {.batch = &b, .kv = &kv, .q_heads = Q_HEADS, .qkv = x, .qkv_stride = WIDTH,
                                    .q_norm = room(d, norm, D * 4), .k_norm = room(d, norm, D * 4), .eps = 1e-6f,
                                    .rope = room(d, rope, (size_t)ctx * D * 4), .rope_dims = D};
        d->ops->kv_store(d, &store);
        tok0[1] = b.tok_count = toks;
        b.pos = room(d, pos, sizeof pos);
        b.row = room(d, row, sizeof row);
        b.row_tok0 = room(d, tok0, sizeof tok0);
        b.row_ctx = room(d, &ctx, sizeof ctx);
        out[s] = room(d, NULL, (size_t)(toks * Q_HEADS * D) * 4);
        kern_attn_args a = {.batch = &b, .kv = &kv, .q_heads = Q_HEADS, .q = x + (size_t)(ctx - toks) * WIDTH,
                            .q_stride = WIDTH, .scale = 0.125f, .softcap = softcap, .window = window, .out = out[s],
                            .scratch = room(d, NULL, d->ops->attn_scratch_bytes(d, toks, Q_HEADS, D, ctx))};
        d->ops->attention(d, &a);
    }
    snprintf(what, sizeof what, "attention of %d tokens, context %d, cap %g, window %d", toks, ctx, (double)softcap,
             window);
    compare(what, out, (size_t)(toks * Q_HEADS * D) * 4);
    free(qkv);
    free(norm);
    free(rope);
}

static void norms(int32_t toks, int32_t cols)
{
    float *x = floats((size_t)(toks * cols)), *y = floats((size_t)(toks * cols)), *w = floats((size_t)cols);
    void *sum[SIDES], *out[SIDES];
    for (int s = 0; s < SIDES; s++) {
        kern_dev *d = side[s];
        kern_act a = {.kind = KA_F32, .tok_count = toks, .cols = cols, .stride = d->ops->act_stride(KA_F32, cols)};
        a.data = out[s] = room(d, NULL, a.stride * (size_t)toks);
        kern_norm_args n = {.tok_count = toks, .cols = cols, .eps = 1e-5f, .y_scale = 1,
                            .x = sum[s] = room(d, x, (size_t)(toks * cols) * 4),
                            .y = room(d, y, (size_t)(toks * cols) * 4), .weight = room(d, w, (size_t)cols * 4),
                            .out = &a};
        d->ops->norm(d, &n);
    }
    compare("residual", sum, (size_t)(toks * cols) * 4);
    compare("norm", out, side[0]->ops->act_stride(KA_F32, cols) * (size_t)toks);
    free(x);
    free(y);
    free(w);
}

static bool open_sides(void)
{
    kern_dev_opts emu = {.device = "emu", .cpu_isa = "auto", .threads = 1}, card = emu;
    td_err err = TD_ERR_INIT;
    card.device = "cuda";
    if (kern_dev_open(&emu, &side[0], &err) != TD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return false;
    }
    if (kern_dev_open(&card, &side[1], NULL) == TD_OK)
        return true;
    printf("no card: the emulator is compared with itself\n");
    return kern_dev_open(&emu, &side[1], &err) == TD_OK;
}

int main(void)
{
    static const int32_t toks[] = {1, 8, 9, 16, 33, 64, 65, 130};
    if (!open_sides())
        return 1;
    emu_set_checks(false); // they have their own tests, and here only bits count
    for (int i = 0; i < 8; i++)
        for (int e = KE_STORE; e <= KE_GELU_MUL; e++)
            products(i % 2 ? 192 : 70, i % 3 ? 256 : 1056, toks[i], (kern_epilogue)e);
    attention(5, 5, 0, 0);
    attention(130, 40, 0, 0);
    attention(1500, 1, 0, 0);
    attention(2030, 3, 30, 0);
    attention(1200, 20, 0, 700);
    norms(3, 576);
    norms(2, 4096);
    printf("%d compared, %d differ\n", compared, differ);
    kern_dev_close(side[0]);
    kern_dev_close(side[1]);
    return differ > 0;
}
