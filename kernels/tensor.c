#include "kernels/tensor.h"

#include "base/err.h"

const kern_type_info kern_types[KT_COUNT] = {
    [KT_F32] = {"F32", 1, 4, KA_F32, 16, 0},      [KT_F16] = {"F16", 1, 2, KA_F32, 16, 1},
    [KT_BF16] = {"BF16", 1, 2, KA_BF16, 16, 30},  [KT_Q8_0] = {"Q8_0", 32, 34, KA_Q8_32, 32, 8},
    [KT_Q4_0] = {"Q4_0", 32, 18, KA_Q8_32, 32, 2}, [KT_Q4_1] = {"Q4_1", 32, 20, KA_Q8_32, 32, 3},
    [KT_Q5_0] = {"Q5_0", 32, 22, KA_Q8_32, 32, 6}, [KT_Q5_1] = {"Q5_1", 32, 24, KA_Q8_32, 32, 7},
    [KT_Q4_K] = {"Q4_K", 256, 144, KA_Q8_256, 256, 12}, [KT_Q5_K] = {"Q5_K", 256, 176, KA_Q8_256, 256, 13},
    [KT_Q6_K] = {"Q6_K", 256, 210, KA_Q8_256, 256, 14},
};

const char *const kern_kv_type_names[KV_TYPES] = {"float32", "float16", "bfloat16", "q8_0"};

int32_t kern_chunk_count(kern_type type, int32_t cols, int32_t chunks_max)
{
    int32_t unit = kern_types[type].chunk_unit, best = 1;
    for (int32_t c = 2; c <= chunks_max; c *= 2)
        if (cols % (c * unit) == 0)
            best = c;
    return best;
}

size_t kern_row_bytes(kern_type type, int32_t cols)
{
    const kern_type_info *t = &kern_types[type];
    td_assert(cols % t->block == 0);
    return (size_t)(cols / t->block) * (size_t)t->block_bytes;
}

size_t kern_kv_canon_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t tok_count)
{
    static const int32_t code_bytes[KV_TYPES] = {4, 2, 2, 1};
    size_t rows = 2 * (size_t)heads * (size_t)tok_count;
    return rows * (size_t)(head_dim * code_bytes[type] + (type == KV_Q8_0 ? head_dim / 32 * 2 : 0));
}
