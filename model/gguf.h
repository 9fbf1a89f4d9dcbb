/* gguf.h - reads GGUF v2 and v3 files, split ones too: metadata, tensor directory, ranged tensor reads.
 *
 * gguf_open() checks everything once (magic, version, counts, types, sizes and offsets by checked arithmetic, names,
 * UTF-8 of keys, names and single strings, alignment) and refuses a bad file with what is wrong and where: TD_E_MODEL.
 * Elements of string arrays may be any bytes, since some vocabularies hold raw ones. After that the accessors cannot
 * fail on content; they return NULL, 0 or the default for a missing key, another type or an index out of range.
 * All strings and arrays live as long as the gguf. Read-only after open: any thread. */
#ifndef TD_MODEL_GGUF_H
#define TD_MODEL_GGUF_H

#include "base/file.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gguf gguf;

typedef enum gguf_type { // metadata value types, as in the file
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STR, GGUF_ARR, GGUF_U64,
    GGUF_I64, GGUF_F64, GGUF_TYPES
} gguf_type;

typedef struct gguf_str {
    const char *s; // NUL terminated as well; may hold any UTF-8 but no NUL unless it is an array element
    uint32_t len;
} gguf_str;

typedef struct gguf_tensor {
    const char *name;
    uint32_t ggml_type;      // number as in the file (0 F32, 1 F16, 2 Q4_0, …); not checked against what we support
    uint32_t dim_count;
    uint64_t dims[8];        // dims[0] is the fastest (columns); unused ones are 1
    uint64_t bytes;          // 0 when ggml_type is unknown to us
    uint32_t part;           // which file of a split model
    uint64_t offset;         // absolute in that file
} gguf_tensor;

/* Name of a tensor type, NULL when unknown to us; its block: `elems` values in `bytes` bytes. */
const char *gguf_type_name(uint32_t ggml_type);
bool gguf_type_block(uint32_t ggml_type, uint32_t *elems, uint32_t *bytes);

/* path: the file, or the first part of a split model (its sisters are found by name beside it). */
td_rc gguf_open(const char *path, gguf **out, td_err *err);
void gguf_close(gguf *g);

uint32_t gguf_version(const gguf *g);
uint32_t gguf_part_count(const gguf *g);
const char *gguf_part_path(const gguf *g, uint32_t part);
uint64_t gguf_file_bytes(const gguf *g); // all parts together

size_t gguf_tensor_count(const gguf *g);
const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i);
const gguf_tensor *gguf_tensor_find(const gguf *g, const char *name);
/* Reads bytes [offset, offset + len) of the tensor. */
td_rc gguf_read(const gguf *g, const gguf_tensor *t, uint64_t offset, void *out, size_t len, td_err *err);
/* One part's file in memory, see td_file_map(). It outlives the gguf. */
td_rc gguf_map(const gguf *g, uint32_t part, td_mapping *out, td_err *err);

size_t gguf_key_count(const gguf *g);
const char *gguf_key_at(const gguf *g, size_t i, gguf_type *type);
bool gguf_has(const gguf *g, const char *key);
const char *gguf_get_str(const gguf *g, const char *key);              // NULL when missing or not a string
int64_t gguf_get_int(const gguf *g, const char *key, int64_t dflt);    // any integer type or bool
double gguf_get_num(const gguf *g, const char *key, double dflt);      // any number type
bool gguf_get_bool(const gguf *g, const char *key, bool dflt);
/* Array element count, or 0 when the key is missing or not an array of `type`. */
size_t gguf_arr_count(const gguf *g, const char *key, gguf_type type);
bool gguf_arr_type(const gguf *g, const char *key, gguf_type *type, size_t *count);
gguf_str gguf_arr_str(const gguf *g, const char *key, size_t i);
double gguf_arr_num(const gguf *g, const char *key, size_t i);         // any number or bool element type
/* The elements of a fixed-size array, unaligned, little endian as in the file; NULL when it is not one of `type`. */
const void *gguf_arr_data(const gguf *g, const char *key, gguf_type type);

#endif
