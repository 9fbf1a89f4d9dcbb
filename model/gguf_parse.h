/* gguf_parse.h - the header of one GGUF file, checked and copied to an arena; private to model/gguf*.c.
 * Everything it hands out lives in the caller's arena, except the map (gguf_head_free). */
#ifndef TD_MODEL_GGUF_PARSE_H
#define TD_MODEL_GGUF_PARSE_H

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"
#include "model/gguf.h"

typedef struct gguf_kv {
    const char *key;
    gguf_type type;
    gguf_type elem;          // of an array
    size_t count;            // elements of an array
    union {
        uint64_t bits;       // integers (sign-extended), bool, or the bits of a double for F32 and F64
        gguf_str str;
        const gguf_str *strs;// [count]
        const uint8_t *raw;  // [count * gguf_value_bytes(elem)], little endian
    } v;
} gguf_kv;

typedef struct gguf_head {
    uint32_t version;
    gguf_kv *kv;             // [kv_count]
    size_t kv_count;
    td_map by_key;           // key -> index in kv
    gguf_tensor *tensors;    // [tensor_count], offsets absolute, `part` not set
    size_t tensor_count;
} gguf_head;

/* On failure nothing but arena memory is left behind. Messages do not name the file: the caller prefixes it. */
td_rc gguf_head_parse(const td_file *f, td_arena *arena, gguf_head *h, td_err *err);
void gguf_head_free(gguf_head *h);
const gguf_kv *gguf_head_find(const gguf_head *h, const char *key);

size_t gguf_value_bytes(gguf_type t);          // 0 for strings and arrays
/* The scalar at p, as gguf_kv.v.bits. */
uint64_t gguf_value_load(gguf_type t, const uint8_t *p);

#endif
