/* Products of a Llama 3.1 8B, 70B (one of eight shards) and Qwen3 30B-A3B layer, at the batch sizes of decode and of
 * prefill, beside cuBLASLt's best in the same run. */
#include "tools/gpu_bench/gbench.h"

#include "base/check.h"
#include "kernels/cuda/gemm.h"

typedef struct gemm_shape {
    const char *name;
    int32_t rows, cols;
} gemm_shape;

static const gemm_shape shapes[] = {
    {"8B qkv", 6144, 4096},       {"8B o", 4096, 4096},        {"8B gate, up", 28672, 4096},
    {"8B down", 4096, 14336},     {"8B head", 128256, 4096},   {"70B/8 qkv", 1280, 8192},
    {"70B/8 down", 8192, 3584},   {"30B-A3B qkv", 5120, 2048},
};
static const int32_t toks_of[] = {1, 8, 16, 32, 64, 128, 256, 1024, 4096};

typedef struct gemm_sets {
    kern_weight w[SETS_MAX];
    kern_act act;
    float *out;
} gemm_sets;

static void product(gbench *b, void *ctx, int set)
{
    gemm_sets *g = (gemm_sets *)ctx;
    kern_matmul_args a = {.part_count = 1, .w = {&g->w[set]}, .act = {&g->act}, .out = {g->out},
                          .out_stride = g->w[set].rows, .epilogue = KE_STORE};
    GPU_SYM(op_matmul)(&a, b->props.sm, b->stream);
}

static void measure(gbench *b, const gemm_shape *s, int32_t toks, gemm_sets *g, int sets)
{
    char what[96];
    g->act.tok_count = toks;
    double bytes = 2.0 * s->rows * s->cols + 2.0 * toks * s->cols + 4.0 * toks * s->rows;
    snprintf(what, sizeof what, "%s [%d][%d], %d tokens", s->name, s->rows, s->cols, toks);
    double mine = gbench_time(b, product, g, sets);
    gbench_row(b, what, mine, bytes, 2.0 * toks * s->rows * s->cols, blas_time(b, s->rows, s->cols, toks));
}

static void shape_rows(gbench *b, const gemm_shape *s, const int32_t *toks, int toks_count)
{
    gemm_sets g = {0};
    int32_t toks_max = toks[toks_count - 1];
    size_t bytes = gemm_weight_bytes(s->rows, s->cols), stride = td_align_up((size_t)s->cols * 2, 128);
    int sets = gbench_sets(b, bytes);
    for (int i = 0; i < sets; i++)
        g.w[i] = (kern_weight){.type = KT_BF16, .rows = s->rows, .cols = s->cols,
                               .chunks = kern_chunk_count(KT_BF16, s->cols, 2), .bytes = bytes,
                               .data = gbench_noise(b, bytes)};
    g.act = (kern_act){.kind = KA_BF16, .cols = s->cols, .stride = stride,
                       .data = gbench_noise(b, stride * (size_t)toks_max)};
    g.out = (float *)gbench_zeros(b, (size_t)toks_max * (size_t)s->rows * sizeof(float));
    for (int i = 0; i < toks_count; i++)
        measure(b, s, toks[i], &g, sets);
    for (int i = 0; i < sets; i++)
        gbench_free(g.w[i].data);
    gbench_free(g.act.data);
    gbench_free(g.out);
}

void gbench_gemm(gbench *b)
{
    static const gemm_shape tiny = {"small", 192, 256};
    static const int32_t few[] = {1, 20};
    gbench_head(b, "Products, bf16 to f32");
    if (b->small) {
        shape_rows(b, &tiny, few, (int)TD_COUNT(few));
        return;
    }
    for (size_t i = 0; i < TD_COUNT(shapes); i++) // the head's logits of thousands of tokens nobody wants
        shape_rows(b, &shapes[i], toks_of, (int)TD_COUNT(toks_of) - (shapes[i].rows > 100000 ? 2 : 0));
}
