/* safetensors.h - reads safetensors models: one file, or shards with model.safetensors.index.json.
 *
 * safetensors_open() checks everything once: header, JSON, names, shapes by checked arithmetic, offsets (no overlap, no
 * hole, inside the file), and for shards that index and files tell the same story. What is wrong is said with file and
 * tensor: TD_E_MODEL. Tensors of any known dtype are listed; those that are not F32, F16 or BF16 have a dtype_name to
 * be refused by. Strings live as long as the object. Read-only after open: any thread. */
#ifndef TD_MODEL_SAFETENSORS_H
#define TD_MODEL_SAFETENSORS_H

#include "base/file.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct safetensors safetensors;

typedef enum st_dtype { ST_F32, ST_F16, ST_BF16, ST_OTHER } st_dtype;

typedef struct st_tensor {
    const char *name;
    st_dtype dtype;
    const char *dtype_name; // as in the file
    uint32_t dim_count;     // 0: a scalar
    uint64_t dims[8];       // dims[0] is the slowest (rows), as in the file; unused ones are 1
    uint64_t bytes;         // 0 when a dimension is 0
    uint32_t part;          // which shard
    uint64_t offset;        // absolute in that file
} st_tensor;

/* path: a .safetensors file, an index file (….index.json), or a directory that holds model.safetensors or
 * model.safetensors.index.json. TD_E_NOTFOUND: the directory has neither. */
td_rc safetensors_open(const char *path, safetensors **out, td_err *err);
void safetensors_close(safetensors *s);

uint32_t safetensors_part_count(const safetensors *s);
const char *safetensors_part_path(const safetensors *s, uint32_t part);
uint64_t safetensors_file_bytes(const safetensors *s); // all shards together

size_t safetensors_tensor_count(const safetensors *s);
const st_tensor *safetensors_tensor_at(const safetensors *s, size_t i);
const st_tensor *safetensors_tensor_find(const safetensors *s, const char *name);
/* Reads bytes [offset, offset + len) of the tensor. */
td_rc safetensors_read(const safetensors *s, const st_tensor *t, uint64_t offset, void *out, size_t len, td_err *err);
/* One shard in memory, see td_file_map(). It outlives the object. */
td_rc safetensors_map(const safetensors *s, uint32_t part, td_mapping *out, td_err *err);

#endif
