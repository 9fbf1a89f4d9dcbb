/* bench kernels: matrix products of every weight type in the shapes of small models, against the machine's limits.
 *
 * A decode step reads each weight once, out of memory: so a product rotates over copies that together are larger than
 * the caches. The roof of a row is the larger of two times: bytes at the read rate of these threads, and multiply-adds
 * at the rate of the best instruction for the type; roof_share is that time over the measured one. */
#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "kernels/device.h"
#include "tools/bench_machine.h"
#include "tools/bench_table.h"
#include "tools/verbs.h"

#include <string.h>

enum { COPIES_MAX = 512, ROTATE_BYTES = 96 << 20, WEIGHT_BYTES_MAX = 256 << 20, TOK_MAX = 512, SECONDS_MS = 40 };

static const char *const columns[] = {"type", "shape", "rows", "cols", "tokens", "us", "gb_s", "gmac_s", "bound",
                                      "roof_share"};

typedef struct shape {
    const char *name;
    int32_t rows, cols, tok_max;
} shape;

static const shape shapes[] = {
    {"smollm2 qkv", 960, 576, 512},   {"smollm2 gate", 1536, 576, 512},  {"smollm2 down", 576, 1536, 512},
    {"smollm2 head", 49152, 576, 32}, {"gemma3 gate", 2048, 640, 512},   {"gemma3 down", 640, 2048, 512},
    {"gemma3 head", 262144, 640, 32}, {"square 2048", 2048, 2048, 512},
};
static const int32_t tok_counts[] = {1, 4, 8, 32, 512};

typedef enum roof_kind { ROOF_FP32, ROOF_BF16, ROOF_INT8, ROOF_KINDS } roof_kind;

typedef struct bench {
    kern_dev *dev;
    bench_table table;
    double read_gb_s, gmac_s[ROOF_KINDS];
    kern_weight w[COPIES_MAX];
    int copies;
    float *x, *out;
} bench;

static roof_kind kind_of(kern_type type)
{
    kern_act_kind act = kern_types[type].act;
    return act == KA_F32 ? ROOF_FP32 : act == KA_BF16 ? ROOF_BF16 : ROOF_INT8;
}

static td_rc measure_roofs(bench *b, const char *level, td_err *err)
{
    int threads = TD_MIN(b->dev->thread_count, BENCH_THREADS_MAX);
    td_rc rc = bench_read_rate(threads, true, &b->read_gb_s, err);
    const kern_roof *loops;
    int count = kern_roofs(&loops);
    for (int i = 0; i < count && !rc; i++) {
        if (!bench_loop_fits(&loops[i], level))
            continue;
        double rate = 0;
        rc = bench_mac_rate(&loops[i], threads, &rate, err);
        roof_kind k = !strncmp(loops[i].name, "int8", 4) ? ROOF_INT8 : !strncmp(loops[i].name, "bf16", 4) ? ROOF_BF16
                                                                                                          : ROOF_FP32;
        b->gmac_s[k] = TD_MAX(b->gmac_s[k], rate);
    }
    if (b->gmac_s[ROOF_BF16] == 0) // two multiply-adds a pair where there is no instruction for it
        b->gmac_s[ROOF_BF16] = b->gmac_s[ROOF_FP32];
    return rc;
}

static void free_weights(bench *b)
{
    for (int i = 0; i < b->copies; i++)
        b->dev->ops->free(b->dev, b->w[i].data, b->w[i].bytes);
    b->copies = 0;
}

/* Any bytes are codes; these make ordinary floats in every format. */
static td_rc make_weights(bench *b, kern_type type, const shape *s, td_err *err)
{
    size_t bytes = b->dev->ops->weight_bytes(b->dev, type, s->rows, s->cols);
    int copies = (int)TD_MIN((size_t)COPIES_MAX, ROTATE_BYTES / bytes + 1);
    for (int i = 0; i < copies; i++) {
        void *data = b->dev->ops->alloc(b->dev, bytes);
        if (!data) {
            free_weights(b);
            return td_fail(err, TD_E_NOMEM, "not enough memory for weights of %zu MiB", bytes >> 20);
        }
        memset(data, 0x35, bytes);
        int32_t chunks = kern_chunk_count(type, s->cols, b->dev->ops->chunks_max);
        b->w[b->copies++] = (kern_weight){type, s->rows, s->cols, chunks, bytes, data};
    }
    return TD_OK;
}

/* Seconds of one product, the best of those that fit the time. */
static double time_product(bench *b, const kern_act *act, int32_t rows)
{
    double best = 1e9;
    uint64_t end = td_now_ns() + SECONDS_MS * TD_NS_PER_MS, now = 0;
    for (int round = 0, next = 0; round < 2 || now < end; round++) {
        int run = act->tok_count > 32 ? 1 : b->copies; // a whole rotation: one product alone is too short to time
        uint64_t t0 = td_now_ns();
        for (int i = 0; i < run; i++, next = (next + 1) % b->copies) {
            kern_matmul_args a = {.part_count = 1,
                                  .w = {&b->w[next]},
                                  .act = {act},
                                  .out = {b->out},
                                  .out_stride = rows,
                                  .epilogue = KE_STORE};
            b->dev->ops->matmul(b->dev, &a);
        }
        now = td_now_ns();
        best = TD_MIN(best, (double)(now - t0) * 1e-9 / run);
    }
    return best;
}

static void add_row(bench *b, kern_type type, const shape *s, int32_t toks, double seconds)
{
    double macs = (double)s->rows * s->cols * toks * 1e-9, gbytes = (double)b->w[0].bytes * 1e-9;
    double read_s = gbytes / b->read_gb_s, mac_s = macs / b->gmac_s[kind_of(type)];
    bench_table_row(&b->table, (bench_cell[]){{.text = kern_types[type].name},
                                              {.text = s->name},
                                              {.number = s->rows},
                                              {.number = s->cols},
                                              {.number = toks},
                                              {.number = seconds * 1e6, .digits = 1},
                                              {.number = gbytes / seconds, .digits = 1},
                                              {.number = macs / seconds, .digits = 1},
                                              {.text = read_s > mac_s ? "read" : "mac"},
                                              {.number = TD_MAX(read_s, mac_s) / seconds, .digits = 2}});
}

static td_rc bench_shape(bench *b, kern_type type, const shape *s, td_err *err)
{
    if (s->cols % kern_types[type].block ||
        b->dev->ops->weight_bytes(b->dev, type, s->rows, s->cols) > (size_t)WEIGHT_BYTES_MAX)
        return TD_OK;
    td_rc rc = make_weights(b, type, s, err);
    if (rc)
        return rc;
    kern_act act = {.kind = kern_types[type].act, .cols = s->cols};
    act.stride = b->dev->ops->act_stride(act.kind, s->cols);
    act.data = b->dev->ops->alloc(b->dev, act.stride * TOK_MAX);
    if (!act.data)
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for activations");
    for (size_t i = 0; i < TD_COUNT(tok_counts) && !rc && tok_counts[i] <= s->tok_max; i++) {
        act.tok_count = tok_counts[i];
        kern_quant_args q = {.x = b->x, .x_stride = s->cols, .out = &act};
        b->dev->ops->quant(b->dev, &q);
        add_row(b, type, s, act.tok_count, time_product(b, &act, s->rows));
    }
    b->dev->ops->free(b->dev, act.data, act.stride * TOK_MAX);
    free_weights(b);
    return rc;
}

static td_rc bench_all(bench *b, td_err *err)
{
    size_t x_count = 0, out_count = 0;
    for (size_t i = 0; i < TD_COUNT(shapes); i++) {
        x_count = TD_MAX(x_count, (size_t)shapes[i].cols * TOK_MAX);
        out_count = TD_MAX(out_count, (size_t)shapes[i].rows * (size_t)shapes[i].tok_max);
    }
    b->x = td_alloc(x_count * sizeof *b->x);
    b->out = td_alloc(out_count * sizeof *b->out);
    td_rc rc = b->x && b->out ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for a benchmark");
    for (size_t i = 0; i < x_count && !rc; i++)
        b->x[i] = (float)(i * 2654435761u % 2001) * 1e-3f - 1;
    for (int type = 0; type < KT_COUNT && !rc; type++)
        for (size_t i = 0; i < TD_COUNT(shapes) && !rc; i++)
            rc = bench_shape(b, (kern_type)type, &shapes[i], err);
    td_free(b->x);
    td_free(b->out);
    return rc;
}

td_rc verb_bench_kernels(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    kern_dev_opts opts = {flags_str(f, "device"), flags_str(f, "cpu-isa"), (int32_t)flags_int(f, "threads")};
    bench *b = td_alloc(sizeof *b);
    if (!b)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a benchmark");
    td_rc rc = kern_dev_open(&opts, &b->dev, err);
    if (!rc) {
        bench_table_init(&b->table, (bench_format)flags_choice(f, "format"), columns, (int)TD_COUNT(columns));
        rc = measure_roofs(b, b->dev->ops->name + sizeof "cpu-" - 1, err);
        if (!rc)
            rc = bench_all(b, err);
        if (!rc)
            rc = bench_table_print(&b->table, err);
        bench_table_free(&b->table);
        kern_dev_close(b->dev);
    }
    td_free(b);
    return rc;
}
