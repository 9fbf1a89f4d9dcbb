/* names.h - what files call the tensors of each role. */
#ifndef TD_MODEL_NAMES_H
#define TD_MODEL_NAMES_H

#include "model/config.h"

typedef enum tensor_role {
    ROLE_EMBED, ROLE_HEAD, ROLE_OUT_NORM,
    ROLE_ATTN_NORM, ROLE_ATTN_POST_NORM, ROLE_FFN_NORM, ROLE_FFN_POST_NORM, ROLE_Q_NORM, ROLE_K_NORM,
    ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_GATE, ROLE_UP, ROLE_DOWN,
    ROLE_COUNT
} tensor_role;

enum { TENSOR_NAME_MAX = 160 };

/* suffix: "weight" or "bias". layer: ignored by roles that have none. */
void tensor_name(const model_config *c, tensor_role role, int32_t layer, const char *suffix, char out[TENSOR_NAME_MAX]);

#endif
