/* The CPU's operation table: each operation runs its level's tile function over the pool. */
#include "base/arena.h"
#include "kernels/cpu/act.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/host.h"
#include "kernels/cpu/kv_move.h"
#include "kernels/cpu/mem.h"
#include "kernels/cpu/pack.h"

#include <stdio.h>
#include <string.h>

static cpu_dev *self(kern_dev *dev) { return (cpu_dev *)dev; }

#define X(op, args)                                                                                                    \
    typedef struct op##_call {                                                                                         \
        void (*fn)(const args *a, int64_t t0, int64_t t1);                                                             \
        const args *a;                                                                                                 \
    } op##_call;                                                                                                       \
    static void op##_tiles(const void *call, int64_t t0, int64_t t1)                                                   \
    {                                                                                                                  \
        const op##_call *c = call;                                                                                     \
        c->fn(c->a, t0, t1);                                                                                           \
    }                                                                                                                  \
    static void run_##op(kern_dev *dev, const args *a)                                                                 \
    {                                                                                                                  \
        op##_call c = {self(dev)->level->op, a};                                                                       \
        cpu_pool_run(self(dev)->pool, op##_tiles, &c, cpu_##op##_tiles(a));                                            \
    }
CPU_OPS(X)
#undef X

static void run_attention_merged(kern_dev *dev, const kern_attn_args *a)
{
    run_attention(dev, a);
    run_attn_merge(dev, a);
}

static void *dev_alloc(kern_dev *dev, size_t bytes)
{
    (void)dev;
    return cpu_mem_alloc(bytes);
}

static void dev_free(kern_dev *dev, void *p, size_t bytes)
{
    (void)dev;
    cpu_mem_free(p, bytes);
}

static kern_act_kind weight_act(kern_type type) { return kern_types[type].act; }

static size_t weight_bytes(kern_dev *dev, kern_type type, int32_t rows, int32_t cols)
{
    (void)dev;
    return pack_bytes(type, rows, cols);
}

static void weight_pack(kern_dev *dev, kern_weight *w, int32_t row0, int32_t row_count, const void *raw)
{
    (void)dev;
    td_assert(row_count % PACK_ROWS == 0 || row0 + row_count == w->rows);
    pack_rows(w, row0, row_count, raw);
}

static void weight_row(kern_dev *dev, const kern_weight *w, int32_t row, float *out)
{
    (void)dev;
    pack_row_floats(w, row, out);
}

/* Two panels: gate and up are wanted at the same time. */
static size_t weight_scratch_bytes(kern_type type, int32_t cols) { return 2 * pack_geom_of(type, cols).panel_bytes; }

static void dev_close(kern_dev *dev)
{
    cpu_pool_close(self(dev)->pool);
    td_free(dev);
}

static const struct {
    const char *level, *device;
} names[] = {{"ref", "cpu-ref"}, {"avx2", "cpu-avx2"}, {"avx512", "cpu-avx512"}, {"avx512vnni", "cpu-avx512vnni"}};

static const char *device_name(const char *level)
{
    for (size_t i = 0; i < TD_COUNT(names); i++)
        if (strcmp(level, names[i].level) == 0)
            return names[i].device;
    return "cpu";
}

static kern_ops make_ops(const cpu_level *level)
{
    return (kern_ops){
        .name = device_name(level->name),
        .numerics_id = "cpu1",
        .chunks_max = TD_K_CHUNKS_MAX,
        .block_tok = 16,
        .alloc = dev_alloc,
        .free = dev_free,
        .put = cpu_put,
        .get = cpu_get,
        .stage_alloc = cpu_stage_alloc,
        .stage_free = cpu_stage_free,
        .stage_push = cpu_stage_move,
        .stage_pull = cpu_stage_move,
        .mark = cpu_mark,
        .wait = cpu_wait,
        .pack_rows = PACK_ROWS,
        .weight_act = weight_act,
        .weight_bytes = weight_bytes,
        .weight_pack = weight_pack,
        .weight_row = weight_row,
        .weight_scratch_bytes = weight_scratch_bytes,
        .act_stride = act_stride,
        .embed = run_embed,
        .norm = run_norm,
        .quant = run_quant,
        .matmul = run_matmul,
        .rope = run_rope,
        .kv_layer_bytes = cpu_kv_layer_bytes,
        .kv_store = run_kv_store,
        .attn_scratch_bytes = cpu_attn_scratch_bytes,
        .attention = run_attention_merged,
        .kv_copy = cpu_kv_copy,
        .kv_pack = cpu_kv_pack,
        .kv_unpack = cpu_kv_unpack,
        .sample_scratch_bytes = cpu_sample_scratch_bytes,
        .sample_io_bytes = cpu_sample_io_bytes,
        .sample = run_sample,
        .close = dev_close,
    };
}

static td_rc find_level(const char *isa, const cpu_level **out, td_err *err)
{
    const cpu_level *levels[CPU_LEVELS_MAX];
    int count = cpu_levels(levels);
    char have[64] = "";
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        if (strcmp(isa, levels[i]->name) == 0 || (strcmp(isa, "auto") == 0 && i == count - 1)) {
            *out = levels[i];
            return TD_OK;
        }
        len += (size_t)snprintf(have + len, sizeof have - len, " %s", levels[i]->name);
    }
    bool known = strcmp(isa, "amx") == 0;
    for (size_t i = 0; i < TD_COUNT(names); i++)
        known = known || strcmp(isa, names[i].level) == 0;
    return td_fail_param(err, TD_E_DEVICE, "cpu-isa", known ? "no '%s' level for this CPU; it has: auto%s"
                                                            : "unknown instruction set '%s'; this CPU has: auto%s",
                         isa, have);
}

td_rc cpu_dev_open(const char *isa, int32_t threads, kern_dev **out, td_err *err)
{
    const cpu_level *level = NULL;
    td_rc rc = find_level(isa, &level, err);
    if (rc != TD_OK)
        return rc;
    cpu_dev *d = td_alloc(sizeof *d);
    if (!d)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a compute device");
    rc = cpu_pool_open(threads, &d->pool, err);
    if (rc != TD_OK) {
        td_free(d);
        return rc;
    }
    d->level = level;
    d->ops = make_ops(level);
    d->base = (kern_dev){.ops = &d->ops, .thread_count = threads};
    *out = &d->base;
    return TD_OK;
}
