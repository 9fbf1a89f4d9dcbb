/* cpu.h - inside the CPU back end: levels of tile functions and the device that runs them.
 *
 * Every operation is cut into tiles that write disjoint outputs. A level (ref, avx2, avx512, avx512vnni) is a table of
 * tile functions, filled from ref upward: a level names only what it does better, and inherits the rest. A tile
 * function handles tiles [t0, t1) of one call, is pure in its arguments, and gives the same bits at every level; `ref`
 * is plain C and the truth of checkkern. cpu_run() spreads the tiles over the pool by an atomic counter: who computes a
 * tile does not matter. All levels share one packed weight layout, one activation layout and one cache layout (pack.h,
 * kv.h). */
#ifndef TD_KERNELS_CPU_CPU_H
#define TD_KERNELS_CPU_CPU_H

#include "kernels/kernels.h"

typedef struct cpu_pool cpu_pool;

/* X(operation, argument type): tile function `void op(const args *, int64_t t0, int64_t t1)` and, the same at all
 * levels, the tile count `int64_t cpu_OP_tiles(const args *)`. */
#define CPU_OPS(X)                      \
    X(embed, kern_embed_args)           \
    X(norm, kern_norm_args)             \
    X(quant, kern_quant_args)           \
    X(matmul, kern_matmul_args)         \
    X(rope, kern_rope_args)             \
    X(kv_store, kern_kv_store_args)     \
    X(attention, kern_attn_args)        \
    X(attn_merge, kern_attn_args)       \
    X(sample, kern_sample_args)

typedef struct cpu_level {
    const char *name;
#define X(op, args) void (*op)(const args *a, int64_t t0, int64_t t1);
    CPU_OPS(X)
#undef X
} cpu_level;

#define X(op, args) int64_t cpu_##op##_tiles(const args *a);
CPU_OPS(X)
#undef X

/* cpu_attention_tiles() also writes the call's plan into its scratch, and cpu_attn_merge_tiles() reads it: first the
 * one, then the attention tiles, then the other and, where it is not 0, the attn_merge tiles. */

/* Sizes and copies behind the operation table's entries of the same names. */
size_t cpu_kv_layer_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok);
void cpu_kv_copy(kern_dev *dev, const kern_kv_layer *kv, int32_t dst, int32_t src, int32_t tok_count);
size_t cpu_attn_scratch_bytes(kern_dev *dev, int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max);
size_t cpu_sample_scratch_bytes(kern_dev *dev, int32_t row_max, int32_t vocab);
size_t cpu_sample_io_bytes(kern_dev *dev, int32_t row_max, int32_t vocab);

/* Each fills its own entries over what the level below left. avx512 needs F, BW, VL, DQ; avx512vnni also VNNI, BF16. */
void cpu_level_ref(cpu_level *l);
void cpu_level_ref_attn(cpu_level *l);     // norm, rope, kv_store, attention, sample
void cpu_level_avx2(cpu_level *l);
void cpu_level_avx2_attn(cpu_level *l);
void cpu_level_avx512(cpu_level *l);
void cpu_level_avx512_attn(cpu_level *l);
void cpu_level_avx512vnni(cpu_level *l);

enum { CPU_LEVELS_MAX = 4 };
/* The levels that this CPU can run, lowest first; returns their number. Tables are static. */
int cpu_levels(const cpu_level **out /* [CPU_LEVELS_MAX] */);

/* The pool: thread_count - 1 workers and the caller. A barrier spins for some microseconds, then sleeps. */
typedef void (*cpu_tile_fn)(const void *args, int64_t t0, int64_t t1);
td_rc cpu_pool_open(int32_t thread_count, cpu_pool **out, td_err *err);
void cpu_pool_close(cpu_pool *p);
/* Runs fn over tiles [0, tile_count); returns when all are done. One caller at a time. A single tile, or one thread,
 * runs in the caller without waking anyone. */
void cpu_pool_run(cpu_pool *p, cpu_tile_fn fn, const void *args, int64_t tile_count);
/* Index of the calling compute thread, [0, thread_count): the pool sets it in each worker before its first tile, and it
 * is 0 everywhere else. Tile functions that need memory of their own find it by this. */
extern _Thread_local int32_t cpu_thread_index;
/* Sets flush-to-zero and denormals-are-zero on the calling thread; every compute thread does, the engine's too. */
void cpu_fp_setup(void);

typedef struct cpu_dev {
    kern_dev base;
    kern_ops ops;            // base.ops points here
    const cpu_level *level;
    cpu_pool *pool;
} cpu_dev;

td_rc cpu_dev_open(const char *isa, int32_t threads, kern_dev **out, td_err *err);

#endif
