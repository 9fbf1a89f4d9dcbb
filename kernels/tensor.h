/* tensor.h - number formats and the objects that carry them between model and kernels.
 *
 * A weight is a matrix in a back end's private packed layout; an activation is a matrix of one row per token in
 * the form that the weight's product wants. The model never looks inside either. Plain data; owned by whoever
 * allocated it. */
#ifndef TD_KERNELS_TENSOR_H
#define TD_KERNELS_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum kern_type { // weight formats as they stand in files
    KT_F32, KT_F16, KT_BF16, KT_Q8_0, KT_Q4_0, KT_Q4_1, KT_Q5_0, KT_Q5_1, KT_Q4_K, KT_Q5_K, KT_Q6_K, KT_COUNT
} kern_type;

typedef enum kern_act_kind { // activation forms
    KA_F32,    // float [cols]
    KA_BF16,   // rounded to nearest even; pairs of ascending k
    KA_Q8_32,  // int8 with one f32 scale and one sum per 32 columns
    KA_Q8_256, // int8 with one f32 scale per 256 columns and one sum per 16
    KA_COUNT
} kern_act_kind;

/* Forms of cached K and V; q8_0 has one f16 scale per 32 dims of a token and head. */
typedef enum kern_kv_type { KV_F32, KV_F16, KV_BF16, KV_Q8_0, KV_TYPES } kern_kv_type;

typedef struct kern_type_info {
    const char *name;      // "Q4_K", as files and --help write it
    int32_t block;         // elements that share scales; columns must be a multiple
    int32_t block_bytes;   // of one block in a file
    kern_act_kind act;     // what its product takes on a CPU
    int32_t chunk_unit;    // canonical K chunks are multiples of this many columns
    uint32_t ggml_type;    // number in GGUF
} kern_type_info;

extern const kern_type_info kern_types[KT_COUNT];
extern const char *const kern_kv_type_names[KV_TYPES]; // "float32", "float16", "bfloat16", "q8_0"

/* Canonical K chunks: the largest power of two ≤ chunks_max whose chunk is a multiple of the type's unit. Part of the
 * numerics: depends on the weight's shape only. cols counts the columns of the whole, unsharded matrix. */
int32_t kern_chunk_count(kern_type type, int32_t cols, int32_t chunks_max);
size_t kern_row_bytes(kern_type type, int32_t cols); // of one row in a file; cols a multiple of the block
/* One row in file form → floats. The truth that packing and products are tested against. */
void kern_dequant_row(kern_type type, const void *raw, int32_t cols, float *out);

/* Bytes of one layer's K and V of tok_count tokens in the canonical form (kernels.h, kern_kv_move_args). */
size_t kern_kv_canon_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t tok_count);

typedef struct kern_weight {
    kern_type type;
    int32_t rows, cols;    // N outputs, K inputs
    int32_t chunks;        // canonical K chunks
    size_t bytes;          // of data
    void *data;            // packed, back end's private layout; where raw is given, scratch instead
    const void *raw;       // [rows] in file form, used as they lie; NULL: packed. See weight_scratch_bytes
} kern_weight;

typedef struct kern_act {
    kern_act_kind kind;
    int32_t tok_count, cols;
    size_t stride;         // bytes from a token's row to the next
    void *data;
} kern_act;

#endif
