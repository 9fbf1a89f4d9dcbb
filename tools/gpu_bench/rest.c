/* What moves rows: norm, conversion, head norm with rope and store, embedding, sampling. */
#include "tools/gpu_bench/gbench.h"

#include "base/check.h"

enum { SETS = 4 };

typedef struct rest_world {
    kern_norm_args norm[SETS];
    kern_act act[SETS];
    kern_quant_args quant[SETS];
    gpu_sample_args sample;
} rest_world;

static void norm(gbench *b, void *ctx, int set) { GPU_SYM(op_norm)(&((rest_world *)ctx)->norm[set], b->stream); }
static void quant(gbench *b, void *ctx, int set) { GPU_SYM(op_quant)(&((rest_world *)ctx)->quant[set], b->stream); }
static void sample(gbench *b, void *ctx, int set)
{
    (void)set;
    GPU_SYM(op_sample)(&((rest_world *)ctx)->sample, b->stream);
}

static void rows_of_hidden(gbench *b, int32_t toks, int32_t cols)
{
    rest_world w = {0};
    char what[96];
    size_t floats = (size_t)toks * (size_t)cols * 4, stride = td_align_up((size_t)cols * 2, 128);
    float *weight = gbench_noise(b, (size_t)cols * 4);
    void *mem[SETS * 3];
    for (int i = 0; i < SETS; i++) {
        w.act[i] = (kern_act){.kind = KA_BF16, .tok_count = toks, .cols = cols, .stride = stride,
                              .data = mem[i * 3] = gbench_zeros(b, stride * (size_t)toks)};
        w.norm[i] = (kern_norm_args){.tok_count = toks, .cols = cols, .eps = 1e-5f, .y_scale = 1, .weight = weight,
                                     .x = mem[i * 3 + 1] = gbench_noise(b, floats),
                                     .y = mem[i * 3 + 2] = gbench_noise(b, floats), .out = &w.act[i]};
        w.quant[i] = (kern_quant_args){.x = w.norm[i].y, .x_stride = cols, .out = &w.act[i]};
    }
    snprintf(what, sizeof what, "residual, norm, to bf16: %d x %d", toks, cols);
    gbench_row(b, what, gbench_time(b, norm, &w, SETS), (double)toks * cols * 14, 0, 0);
    snprintf(what, sizeof what, "to bf16: %d x %d", toks, cols);
    gbench_row(b, what, gbench_time(b, quant, &w, SETS), (double)toks * cols * 6, 0, 0);
    for (int i = 0; i < SETS * 3; i++)
        gbench_free(mem[i]);
    gbench_free(weight);
}

static void sampling(gbench *b, int32_t rows, int32_t vocab, float temperature, float top_p)
{
    rest_world w = {0};
    kern_sample_row row[256];
    char what[96];
    for (int32_t i = 0; i < rows; i++)
        row[i] = (kern_sample_row){.logit_row = i, .out_slot = i, .temperature = temperature, .top_p = top_p,
                                   .typical_p = 1, .repetition = 1, .seed = (uint64_t)i, .position = 7};
    w.sample = (gpu_sample_args){.logits = gbench_noise(b, (size_t)rows * (size_t)vocab * 4), .vocab = vocab,
                                 .logit_stride = vocab, .row_count = rows,
                                 .rows = gbench_upload(b, row, (size_t)rows * sizeof *row),
                                 .out = gbench_zeros(b, (size_t)rows * sizeof(kern_sample_out)),
                                 .slots = gbench_zeros(b, (size_t)rows * 4),
                                 .scratch = gbench_zeros(b, (size_t)rows * (size_t)vocab * 4)};
    snprintf(what, sizeof what, "sample %d rows of %d, temperature %g, top_p %g", rows, vocab, (double)temperature,
             (double)top_p);
    gbench_row(b, what, gbench_time(b, sample, &w, 1), (double)rows * vocab * 4, 0, 0);
    gbench_free((void *)(uintptr_t)w.sample.logits);
    gbench_free((void *)(uintptr_t)w.sample.rows);
    gbench_free(w.sample.out);
    gbench_free(w.sample.slots);
    gbench_free(w.sample.scratch);
}

void gbench_rest(gbench *b)
{
    gbench_head(b, "Rows");
    if (b->small) {
        rows_of_hidden(b, 3, 256);
        sampling(b, 2, 1000, 0.8f, 0.9f);
        return;
    }
    rows_of_hidden(b, 64, 4096);
    rows_of_hidden(b, 8192, 4096);
    sampling(b, 1, 128256, 0, 1);
    sampling(b, 64, 128256, 0.8f, 1);
    sampling(b, 64, 128256, 0.8f, 0.95f);
    sampling(b, 256, 128256, 0.8f, 0.95f);
}
