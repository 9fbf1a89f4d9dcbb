/* The truth about file formats: one row of each, read element by element. A quantised value is scale * code (+
 * minimum), each step rounded to float once; nothing here is tuned, products never call it. */
#include "base/err.h"
#include "kernels/half.h"
#include "kernels/tensor.h"

#include <stdbool.h>

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return kern_f16_to_f32(h);
}

static void floats(kern_type type, const uint8_t *p, int32_t cols, float *out)
{
    for (int32_t k = 0; k < cols; k++) {
        uint16_t h;
        if (type == KT_F32) {
            memcpy(out + k, p + 4 * (size_t)k, 4);
            continue;
        }
        memcpy(&h, p + 2 * (size_t)k, 2);
        out[k] = type == KT_F16 ? kern_f16_to_f32(h) : kern_bf16_to_f32(h);
    }
}

static void block_q8_0(const uint8_t *p, float *out)
{
    float d = half_at(p);
    for (int k = 0; k < 32; k++)
        out[k] = d * (float)(int8_t)p[2 + k];
}

/* Q4_0, Q4_1, Q5_0, Q5_1: d, perhaps a minimum, perhaps a word of fifth bits, then nibbles of k and k + 16. */
static void block_q45(kern_type type, const uint8_t *p, float *out)
{
    bool has_m = type == KT_Q4_1 || type == KT_Q5_1, five = type == KT_Q5_0 || type == KT_Q5_1;
    float d = half_at(p), m = has_m ? half_at(p + 2) : 0;
    p += has_m ? 4 : 2;
    uint32_t high = 0;
    if (five) {
        memcpy(&high, p, 4);
        p += 4;
    }
    for (int k = 0; k < 32; k++) {
        int q = (p[k % 16] >> (k < 16 ? 0 : 4) & 15) | (int)(high >> k & 1) << 4;
        out[k] = has_m ? d * (float)q + m : d * (float)(q - (five ? 16 : 8));
    }
}

/* Q4_K, Q5_K: d, dmin, eight 6-bit scales and minima in 12 bytes, fifth bits by sub-block, nibbles of sub-block pairs.
 */
static void block_q45_k(kern_type type, const uint8_t *p, float *out)
{
    float d = half_at(p), dmin = half_at(p + 2);
    const uint8_t *s = p + 4, *high = p + 16, *q = type == KT_Q5_K ? p + 48 : p + 16;
    for (int j = 0; j < 8; j++) {
        int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        int mn = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
        float scale = d * (float)sc, min = dmin * (float)mn;
        for (int k = 0; k < 32; k++) {
            int code = q[j / 2 * 32 + k] >> (j & 1 ? 4 : 0) & 15;
            if (type == KT_Q5_K)
                code |= (high[k] >> j & 1) << 4;
            out[j * 32 + k] = scale * (float)code - min;
        }
    }
}

/* Q6_K: two halves of 128; a byte of low nibbles serves k and k + 64, a byte of high bits k, k + 32, k + 64, k + 96. */
static void block_q6_k(const uint8_t *p, float *out)
{
    float d = half_at(p + 208);
    for (int k = 0; k < 256; k++) {
        int half = k / 128, part = k % 128 / 32, i = k % 32;
        int low = p[half * 64 + (part & 1) * 32 + i] >> (part < 2 ? 0 : 4) & 15;
        int high = p[128 + half * 32 + i] >> (2 * part) & 3;
        out[k] = d * (float)(int8_t)p[192 + k / 16] * (float)((low | high << 4) - 32);
    }
}

void kern_dequant_row(kern_type type, const void *raw, int32_t cols, float *out)
{
    const kern_type_info *t = &kern_types[type];
    td_assert(cols % t->block == 0);
    if (t->block == 1) {
        floats(type, raw, cols, out);
        return;
    }
    const uint8_t *p = raw;
    for (int32_t k = 0; k < cols; k += t->block, p += t->block_bytes, out += t->block) {
        if (type == KT_Q8_0)
            block_q8_0(p, out);
        else if (type == KT_Q6_K)
            block_q6_k(p, out);
        else if (type == KT_Q4_K || type == KT_Q5_K)
            block_q45_k(type, p, out);
        else
            block_q45(type, p, out);
    }
}
