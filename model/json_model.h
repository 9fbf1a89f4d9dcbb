/* json_model.h - JSON that belongs to a model: bad text is the model's fault (TD_E_MODEL), with the limits of files. */
#ifndef TD_MODEL_JSON_MODEL_H
#define TD_MODEL_JSON_MODEL_H

#include "base/json.h"

/* The caller frees *out with td_json_free(). */
td_rc model_json_parse(const char *text, size_t len, td_json **out, td_err *err);
/* Reads path, or path/file where file is given; messages begin with the name. */
td_rc model_json_read(const char *path, const char *file, td_json **out, td_err *err);

#endif
