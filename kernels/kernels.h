/* kernels.h - the operation table: everything that a forward pass does to numbers.
 *
 * One table per back end (CPU, CUDA, emulated CUDA) behind kern_dev. The model calls operations in order on one thread;
 * on a CPU an operation returns when its work is done, on a GPU when it is queued on the device's stream. Operations
 * never fail and never allocate: shapes are asserted, scratch is reserved with the step's memory. A device that is lost
 * says so through fault().
 *
 * Every pointer in an operation's arguments is a device address unless its comment says "host". Host and device meet in
 * stages: memory with an address on either side, which on a CPU are one.
 *
 * Numerics, the same for every variant of an operation:
 * - products: `chunks` canonical K chunks, each one fp32 chain over ascending k, joined as (0+1)+(2+3)…;
 * - horizontal sums: 16 virtual lanes, element i in lane i mod 16, each ascending, then the tree 8, 4, 2, 1;
 * - attention: chunks of 1024 keys at absolute positions, inside them online softmax over 64-key tiles ascending, at a
 *   chunk's end (m, l, O) merges into the running one. A tile none of whose keys a query may see changes nothing;
 * - fused multiply-add only where written, flush-to-zero on every compute thread, own exp, log, sin, cos (math.h).
 * So every output element depends on its own inputs only, never on batch, threads or instruction set.
 *
 * Legend: T tokens, E hidden, N weight rows, K weight columns, Hq query heads, Hkv key/value heads, D head dim, V
 * vocab. */
#ifndef TD_KERNELS_KERNELS_H
#define TD_KERNELS_KERNELS_H

#include "base/err.h"
#include "kernels/batch.h"
#include "kernels/tensor.h"

#include <stdbool.h>

typedef struct kern_dev kern_dev;

/* ---- memory that host and device both see ----
 * What the host wrote is there for operations queued after stage_push(); what operations wrote is there for the host
 * once a mark made after stage_pull() was waited for. The host leaves pushed bytes alone until a later mark is reached.
 * On a CPU the two addresses are the same and nothing is copied. */
typedef struct kern_stage {
    void *host, *dev;            // multiples of 64
    size_t bytes;
} kern_stage;

/* ---- embedding: x[t] = scale * table[id] ---- */
typedef struct kern_embed_args {
    const kern_batch *batch;
    const kern_weight *table;    // [V][E]
    float scale;
    float *x;                    // [T][E]
} kern_embed_args;

/* ---- residual and RMS norm ----
 * y given: x += y_scale * (y_weight ? rms(y) * y_weight : y). Then out = quant(weight ? rms(x) * weight : x).
 * rms(v) = v / sqrt(mean(v²) + eps). Any of y, out may be absent. */
typedef struct kern_norm_args {
    int32_t tok_count, cols;
    float eps;
    float *x;                    // [..][E] residual, updated when y is given
    const float *y;              // [T][E] or NULL
    const float *y_weight;       // [E] or NULL
    float y_scale;
    const float *weight;         // [E] or NULL
    const int32_t *gather;       // [T] row of x for each output row, or NULL for row t; not together with y
    kern_act *out;               // [T][E] in any kind, or NULL
} kern_norm_args;

/* ---- float rows to an activation form ---- */
typedef struct kern_quant_args {
    const float *x;              // [T][cols], rows x_stride floats apart
    int32_t x_stride;
    kern_act *out;               // [T][cols]
} kern_quant_args;

/* ---- product: out[t][n] = sum_k act[t][k] * w[n][k] + bias[n], up to three weights sharing one activation ---- */
typedef enum kern_epilogue {
    KE_STORE,    // out = acc
    KE_ADD,      // out += acc (residual)
    KE_SILU_MUL, // two parts, gate and up: out = silu(gate) * up
    KE_GELU_MUL, // the same with the tanh form of GELU
} kern_epilogue;

enum { KERN_PARTS_MAX = 3 };

typedef struct kern_matmul_args {
    int32_t part_count;
    const kern_weight *w[KERN_PARTS_MAX];
    const kern_act *act[KERN_PARTS_MAX]; // the form that w[i] wants; the same values
    const float *bias[KERN_PARTS_MAX];   // [N_i] or NULL
    float *out[KERN_PARTS_MAX];          // [T][..]; KE_SILU_MUL and KE_GELU_MUL write out[0] only
    int32_t out_stride;                  // floats from a token's row to the next
    kern_epilogue epilogue;
} kern_matmul_args;

/* ---- rope table of a step: cos and sin of pos * inv_freq, times mscale ---- */
typedef struct kern_rope_args {
    const kern_batch *batch;
    const double *inv_freq;      // [dims / 2]
    int32_t dims;                // rotated dims of a head
    float mscale;
    float *table;                // [T][dims / 2][2] cos, sin
} kern_rope_args;

/* ---- one layer's cache as kernels see it ---- */
typedef struct kern_kv_layer {
    kern_kv_type type;
    int32_t heads, head_dim;     // Hkv of this rank, D
    int32_t block_tok;
    uint8_t *base;               // this layer in block 0
    size_t block_stride;         // bytes from a block to the next
} kern_kv_layer;

/* ---- head norm, rope and store: q and k of qkv in place, then k and v into the cache ----
 * Order: rms norm over D (where q_norm, k_norm are given), rope on the first `dims` of each head, round and store. */
typedef struct kern_kv_store_args {
    const kern_batch *batch;
    int32_t group;               // KV group whose kv_slot to use
    const kern_kv_layer *kv;
    int32_t q_heads;             // Hq of this rank
    float *qkv;                  // [T][(Hq + 2 Hkv) * D]: q heads, k heads, v heads
    int32_t qkv_stride;          // floats
    const float *q_norm, *k_norm; // [D] or NULL
    float eps;
    const float *rope;           // [T][dims / 2][2], or NULL: no rotation
    int32_t rope_dims;
    bool rope_pairs;             // rotate (2i, 2i+1) instead of (i, i + dims/2)
} kern_kv_store_args;

/* ---- tokens out of the cache and back, in the canonical form that wire and tiers carry ----
 * One layer: [k|v][head][tok][dim] values of the cache's type, little endian; for q8_0 the codes are followed by the
 * scales [k|v][head][tok][dim / 32]. The same bytes on every back end, whatever the block size. */
typedef struct kern_kv_move_args {
    const kern_kv_layer *kv;
    const int32_t *slot;         // [tok] block * block_tok + offset
    int32_t tok_count;
    uint8_t *canon;              // kern_kv_canon_bytes()
} kern_kv_move_args;

/* ---- paged attention ----
 * Query t of row r sees the keys of positions (pos - window, pos] (window 0: all from 0), read back from the cache.
 * score = scale * q·k, then softcap * tanh(score / softcap) where softcap > 0. */
typedef struct kern_attn_args {
    const kern_batch *batch;
    int32_t group;
    const kern_kv_layer *kv;
    int32_t q_heads;
    const float *q;              // [T][..] q heads first, rows q_stride floats apart
    int32_t q_stride;
    float scale;
    float softcap;
    int32_t window;
    float *out;                  // [T][Hq * D]
    void *scratch;               // attn_scratch_bytes()
} kern_attn_args;

/* ---- sampling: one row of logits → one token id in a slot ---- */
typedef struct kern_sample_adj { // what is known of one token id before sampling; at most one entry an id
    int32_t id;
    float bias;                  // added to the logit; -INFINITY bans
    int32_t out_count;           // times generated so far (presence, frequency)
    int32_t seen;                // in prompt or output (repetition)
} kern_sample_adj;

typedef struct kern_sample_row {
    int32_t logit_row;           // in logits
    int32_t out_slot;            // in batch->slots, of this row alone; < 0: nowhere
    float temperature;           // 0: greedy, lowest id wins ties
    float top_p, min_p, typical_p; // 1, 0, 1: off
    int32_t top_k;               // 0: off
    float repetition, presence, frequency; // 1, 0, 0: off
    uint64_t seed;
    uint32_t position, choice;   // of the token drawn; choice index of n
    const kern_sample_adj *adj;  // host: [adj_count]
    int32_t adj_count;
    const uint32_t *mask;        // host: [ceil(V / 32)] bit set = allowed, or NULL
    bool given;                  // no draw: the token is given_id, and only its log probability is wanted
    int32_t given_id;
    int32_t top_n;               // log probabilities wanted beside the token's own, ≤ TD_LOGPROBS_MAX
    bool want_logprob;
} kern_sample_row;

typedef struct kern_sample_out { // log probabilities are those of the raw logits, before any adjustment
    int32_t token;
    int32_t rank;                // 1 = the most probable
    float logprob;
    bool bad;                    // NaN or +infinity in the row, or no token allowed: token is -1, the slot gets 0
    int32_t top_ids[TD_LOGPROBS_MAX];   // descending, id ascending among equals
    float top_logprobs[TD_LOGPROBS_MAX];
} kern_sample_out;

typedef struct kern_sample_args {
    const float *logits;         // [rows][V], rows logit_stride floats apart; not modified
    int32_t vocab, logit_stride;
    int32_t row_count;
    const kern_sample_row *rows; // host: [row_count], read before the call returns
    kern_sample_out *out;        // host: [row_count], the beginning of io; there once a later mark was waited for
    int32_t *slots;
    void *scratch;               // sample_scratch_bytes()
    const kern_stage *io;        // sample_io_bytes(): how rows and answers travel; not in use by an unfinished call
} kern_sample_args;

/* ---- the table ---- */
typedef struct kern_ops {
    const char *name;            // "cpu-avx512vnni", "cuda-sm90", "emu-sm90"
    const char *numerics_id;     // names every rule that decides bits: "cpu1"
    int32_t chunks_max;          // for kern_chunk_count
    int32_t block_tok;           // tokens of a KV block where nobody says otherwise
    int32_t step_tok;            // tokens of a step where nobody says otherwise; 0: what a measurement says

    /* Memory of the device, zeroed; huge pages where they help. NULL: there is not enough. */
    void *(*alloc)(kern_dev *dev, size_t bytes);
    void (*free)(kern_dev *dev, void *p, size_t bytes);
    /* Bytes that the device has and that nobody uses yet. NULL: it is the host's memory. */
    void (*memory)(kern_dev *dev, uint64_t *total, uint64_t *unused);

    /* Host and device. put() is for loading and get() for looking: they return when the bytes are there. */
    void (*put)(kern_dev *dev, void *dst, const void *src_host, size_t bytes); // any thread
    void (*get)(kern_dev *dev, void *dst_host, const void *src, size_t bytes); // after what was queued
    bool (*stage_alloc)(kern_dev *dev, size_t bytes, kern_stage *out);
    void (*stage_free)(kern_dev *dev, kern_stage *s); // harmless on an empty one
    void (*stage_push)(kern_dev *dev, const kern_stage *s, size_t off, size_t bytes);
    void (*stage_pull)(kern_dev *dev, const kern_stage *s, size_t off, size_t bytes);
    /* A mark is reached when everything queued before it is done, or the device is lost: ask fault() then. */
    uint64_t (*mark)(kern_dev *dev);
    void (*wait)(kern_dev *dev, uint64_t mark);

    /* Weights. pack() takes host rows [row0, row0 + row_count) in file form; row0 is a multiple of pack_rows, and so is
     * row_count unless they are the last. May be called from several threads on different rows. A type whose
     * weight_bytes are 0 is one that this device has no product for. */
    int32_t pack_rows;
    kern_act_kind (*weight_act)(kern_type type); // the activation form that its products take
    size_t (*weight_bytes)(kern_dev *dev, kern_type type, int32_t rows, int32_t cols);
    void (*weight_pack)(kern_dev *dev, kern_weight *w, int32_t row0, int32_t row_count, const void *raw);
    /* One row back as floats, in host memory. Waits. */
    void (*weight_row)(kern_dev *dev, const kern_weight *w, int32_t row, float *out_host);
    /* For weights that stay in file form (kern_weight.raw): bytes of scratch that a compute thread needs to take such a
     * matrix piece by piece. One scratch of thread_count such shares, of the largest of them, serves all weights: each
     * has it as `data` and a share as `bytes`. NULL: this device wants its weights packed. */
    size_t (*weight_scratch_bytes)(kern_type type, int32_t cols);
    size_t (*act_stride)(kern_act_kind kind, int32_t cols); // bytes of one token's row, a multiple of 64

    void (*embed)(kern_dev *dev, const kern_embed_args *a);
    void (*norm)(kern_dev *dev, const kern_norm_args *a);
    void (*quant)(kern_dev *dev, const kern_quant_args *a);
    void (*matmul)(kern_dev *dev, const kern_matmul_args *a);
    void (*rope)(kern_dev *dev, const kern_rope_args *a);

    /* Bytes that one layer takes in one block, K and V together; a multiple of 64. 0: no cache of that type here. */
    size_t (*kv_layer_bytes)(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok);
    void (*kv_store)(kern_dev *dev, const kern_kv_store_args *a);
    size_t (*attn_scratch_bytes)(kern_dev *dev, int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max);
    void (*attention)(kern_dev *dev, const kern_attn_args *a);
    /* Copies whole blocks (copy-on-write): the first tok_count tokens of block src become valid in dst. */
    void (*kv_copy)(kern_dev *dev, const kern_kv_layer *kv, int32_t dst, int32_t src, int32_t tok_count);
    void (*kv_pack)(kern_dev *dev, const kern_kv_move_args *a);
    void (*kv_unpack)(kern_dev *dev, const kern_kv_move_args *a);

    size_t (*sample_scratch_bytes)(kern_dev *dev, int32_t row_max, int32_t vocab);
    size_t (*sample_io_bytes)(kern_dev *dev, int32_t row_max, int32_t vocab);
    void (*sample)(kern_dev *dev, const kern_sample_args *a);

    /* Why the device can compute no more, or NULL: asked after a step's work and before its results are believed. The
     * entry is NULL where that cannot happen. */
    const char *(*fault)(kern_dev *dev);

    void (*close)(kern_dev *dev);
} kern_ops;

struct kern_dev {
    const kern_ops *ops;
    int32_t thread_count;        // compute threads, 1 on a GPU
};

#endif
