/* tensor_file.h - one face over GGUF, safetensors and dummy tensors: a named matrix whose rows can be read in file
 * form. Read-only after open; rows may be read from several threads. */
#ifndef TD_MODEL_TENSOR_FILE_H
#define TD_MODEL_TENSOR_FILE_H

#include "base/file.h"
#include "kernels/tensor.h"
#include "model/config.h"

typedef struct tensor_file tensor_file;

typedef struct tensor_ref {
    const char *name;
    kern_type type;
    int32_t rows, cols;  // a vector has one row
    size_t row_bytes;
    const void *handle;  // private
} tensor_ref;

/* Borrows g. dir: opens its safetensors. dummy: tensors of any name exist with the shape they are asked for. */
td_rc tensor_file_open(const gguf *g, const char *dir, bool dummy, kern_type dummy_type, uint64_t seed,
                       tensor_file **out, td_err *err);
void tensor_file_close(tensor_file *f);

/* Finds a tensor and checks its shape: [rows][cols], or [cols] when rows is 1. TD_E_NOTFOUND: there is none of that
 * name; TD_E_MODEL: another shape; TD_E_UNSUPPORTED: a format that is not implemented. */
td_rc tensor_file_find(tensor_file *f, const char *name, int32_t rows, int32_t cols, tensor_ref *out, td_err *err);
td_rc tensor_file_read(const tensor_file *f, const tensor_ref *t, int32_t row0, int32_t row_count, void *out,
                       td_err *err);

/* All of a model's files in memory, so that rows can be used where they lie. They outlive the tensor_file. */
typedef struct tensor_maps {
    td_mapping *part;    // [part_count]
    uint32_t part_count; // 0: dummy tensors lie nowhere
} tensor_maps;
td_rc tensor_file_map(const tensor_file *f, tensor_maps *out, td_err *err);
const void *tensor_maps_rows(const tensor_maps *m, const tensor_file *f, const tensor_ref *t);
void tensor_maps_free(tensor_maps *m); // harmless on an empty one

#endif
