/* weights.h - random and adversarial weights in file form, packed. */
#ifndef TD_TESTS_CHECKKERN_WEIGHTS_H
#define TD_TESTS_CHECKKERN_WEIGHTS_H

#include "kernels/tensor.h"

enum { CKW_RANDOM, CKW_ZERO, CKW_TOP, CKW_BOTTOM, CKW_DENORMAL, CKW_HUGE, CKW_KINDS };

typedef struct ck_weight {
    kern_weight w;       // packed, guarded
    uint8_t *raw;        // [rows] in file form
} ck_weight;

ck_weight ck_weight_make(kern_type type, int32_t rows, int32_t cols, int kind);

#endif
