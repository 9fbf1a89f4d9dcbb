/* config_build.h - what the two fillers of model_config share; private to model/config*.c. */
#ifndef TD_MODEL_CONFIG_BUILD_H
#define TD_MODEL_CONFIG_BUILD_H

#include "model/config.h"

/* Bounds for the fillers' number getters, so that a message names the key as the file writes it. */
#define CONFIG_THETA_MIN 1.001
#define CONFIG_THETA_MAX 1e15
#define CONFIG_FACTOR_MAX 1e6
#define CONFIG_SCALE_MAX 1e6

/* A config of family f with everything at its neutral value: scales 1, no window, no rope, no ids. */
void config_init(model_config *c, model_family f, model_source s);
/* Adds a set of rope parameters; its index, or -1 when there are too many. */
int32_t config_add_rope(model_config *c, const rope_set *r);
/* All layers alike. */
void config_all_layers(model_config *c, int32_t window, int32_t rope);
/* Checks what relates fields to each other and derives the KV groups. where: names the source in messages. */
td_rc config_finish(model_config *c, const char *where, td_err *err);

/* Adds a stop id once; false when it is outside the vocabulary or there are too many. */
bool config_add_id(int32_t *ids, int32_t *count, int64_t id, int32_t vocab);
/* 1 / sqrt(dims) and sqrt(hidden) in the precision of dtype, as the reference rounds them. */
float config_attn_scale(double dims);
float config_embed_scale(int32_t hidden, model_dtype dtype);
/* "llama, mistral, …" for messages. */
const char *config_family_list(void);

#endif
