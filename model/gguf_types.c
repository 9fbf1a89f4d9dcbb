/* Sizes of GGUF's metadata values and of ggml's tensor blocks. Numbers that ggml has retired are unknown. */
#include "base/check.h"
#include "model/gguf_parse.h"

#include <string.h>

typedef struct block_row {
    const char *name;
    uint16_t elems, bytes;
} block_row;

static const block_row blocks[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},        [2] = {"Q4_0", 32, 18},     [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},     [8] = {"Q8_0", 32, 34},     [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},  [12] = {"Q4_K", 256, 144},  [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},  [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},  [20] = {"IQ4_NL", 32, 18},  [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},       [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},       [28] = {"F64", 1, 8},       [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},  [35] = {"TQ2_0", 256, 66},  [39] = {"MXFP4", 32, 17},
    [40] = {"NVFP4", 64, 36},    [41] = {"Q1_0", 128, 18},   [42] = {"Q2_0", 64, 18},
};

const char *gguf_type_name(uint32_t ggml_type)
{
    return ggml_type < TD_COUNT(blocks) ? blocks[ggml_type].name : NULL;
}

bool gguf_type_block(uint32_t ggml_type, uint32_t *elems, uint32_t *bytes)
{
    if (!gguf_type_name(ggml_type))
        return false;
    *elems = blocks[ggml_type].elems;
    *bytes = blocks[ggml_type].bytes;
    return true;
}

size_t gguf_value_bytes(gguf_type t)
{
    static const uint8_t bytes[GGUF_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,  [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_BOOL] = 1, [GGUF_F64] = 8,
    };
    return bytes[t];
}

uint64_t gguf_value_load(gguf_type t, const uint8_t *p)
{
    uint64_t bits = 0;
    memcpy(&bits, p, gguf_value_bytes(t)); // the host is little endian, as the file
    switch (t) {
    case GGUF_I8:
        return (uint64_t)(int64_t)(int8_t)bits;
    case GGUF_I16:
        return (uint64_t)(int64_t)(int16_t)bits;
    case GGUF_I32:
        return (uint64_t)(int64_t)(int32_t)bits;
    case GGUF_BOOL:
        return bits != 0;
    case GGUF_F32: {
        float f;
        memcpy(&f, &bits, sizeof f);
        double d = f;
        memcpy(&bits, &d, sizeof bits);
        return bits;
    }
    default:
        return bits;
    }
}
