/* One safetensors file: u64 header length, a JSON object of name → {dtype, shape, data_offsets}, then the data, which
 * the tensors must cover without overlap and without a hole. */
#include "model/safetensors_parse.h"

#include "base/check.h"
#include "base/limits.h"
#include "model/json_model.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

typedef struct dtype_row {
    const char *name;
    uint8_t bits; // of one element
    st_dtype dtype;
} dtype_row;

static const dtype_row dtypes[] = {
    {"F32", 32, ST_F32},      {"F16", 16, ST_F16},      {"BF16", 16, ST_BF16},    {"BOOL", 8, ST_OTHER},
    {"U8", 8, ST_OTHER},      {"I8", 8, ST_OTHER},      {"F8_E4M3", 8, ST_OTHER}, {"F8_E5M2", 8, ST_OTHER},
    {"F8_E8M0", 8, ST_OTHER}, {"F4", 4, ST_OTHER},      {"F6_E2M3", 6, ST_OTHER}, {"F6_E3M2", 6, ST_OTHER},
    {"U16", 16, ST_OTHER},    {"I16", 16, ST_OTHER},    {"U32", 32, ST_OTHER},    {"I32", 32, ST_OTHER},
    {"U64", 64, ST_OTHER},    {"I64", 64, ST_OTHER},    {"F64", 64, ST_OTHER},    {"C64", 64, ST_OTHER},
};

static td_rc no_memory(td_err *err) { return td_fail(err, TD_E_NOMEM, "not enough memory for the tensor list"); }

static const dtype_row *dtype_find(const char *name)
{
    for (size_t i = 0; i < TD_COUNT(dtypes); i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

/* An array element or offset: a whole number from 0. */
static bool json_u64(const td_json *j, uint64_t *out)
{
    int64_t v;
    if (!td_json_int(j, &v) || v < 0)
        return false;
    *out = (uint64_t)v;
    return true;
}

static td_rc read_shape(const td_json *shape, st_tensor *t, td_err *err)
{
    if (!cJSON_IsArray(shape))
        return td_fail(err, TD_E_MODEL, "tensor %s has no \"shape\"", t->name);
    for (size_t d = 0; d < TD_COUNT(t->dims); d++)
        t->dims[d] = 1;
    td_json_each(dim, shape) {
        if (t->dim_count == TD_MODEL_DIMS_MAX)
            return td_fail(err, TD_E_MODEL, "tensor %s has more than %d dimensions", t->name, TD_MODEL_DIMS_MAX);
        if (!json_u64(dim, &t->dims[t->dim_count]))
            return td_fail(err, TD_E_MODEL, "tensor %s has a dimension that is not a whole number", t->name);
        t->dim_count++;
    }
    return TD_OK;
}

/* The tensor's bytes by shape and dtype. */
static td_rc shape_bytes(const st_tensor *t, const dtype_row *dtype, uint64_t *bytes, td_err *err)
{
    uint64_t bits = dtype->bits;
    bool zero = false, ok = true;
    for (uint32_t d = 0; d < t->dim_count; d++)
        zero = zero || t->dims[d] == 0;
    for (uint32_t d = 0; d < t->dim_count && !zero; d++)
        ok = ok && td_mul_ok(bits, t->dims[d], &bits);
    if (!ok)
        return td_fail(err, TD_E_MODEL, "tensor %s is too large: its size overflows", t->name);
    if (bits % 8 && !zero)
        return td_fail(err, TD_E_MODEL, "tensor %s does not fill whole bytes", t->name);
    *bytes = zero ? 0 : bits / 8;
    return TD_OK;
}

static td_rc read_tensor(const td_json *j, td_arena *arena, uint64_t data_bytes, st_tensor *t, td_err *err)
{
    size_t len = strlen(j->string);
    if (len == 0 || len > TD_MODEL_NAME_MAX)
        return td_fail(err, TD_E_MODEL, "a tensor's name has %zu bytes; 1 to %d are accepted", len, TD_MODEL_NAME_MAX);
    t->name = td_arena_strndup(arena, j->string, len);
    if (!t->name)
        return no_memory(err);
    const char *dtype_name = td_json_get_str(j, "dtype", NULL);
    const dtype_row *dtype = dtype_name ? dtype_find(dtype_name) : NULL;
    if (!dtype)
        return td_fail(err, TD_E_MODEL, "tensor %s has the unknown dtype \"%.40s\"", t->name,
                       dtype_name ? dtype_name : "");
    t->dtype = dtype->dtype;
    t->dtype_name = dtype->name;
    td_rc rc = read_shape(td_json_get(j, "shape"), t, err);
    if (rc == TD_OK)
        rc = shape_bytes(t, dtype, &t->bytes, err);
    if (rc != TD_OK)
        return rc;
    const td_json *offsets = td_json_get(j, "data_offsets");
    uint64_t end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !json_u64(offsets->child, &t->offset) ||
        !json_u64(offsets->child->next, &end))
        return td_fail(err, TD_E_MODEL, "tensor %s has no \"data_offsets\" of two whole numbers", t->name);
    if (t->offset > end || end > data_bytes)
        return td_fail(err, TD_E_MODEL,
                       "tensor %s lies at [%llu, %llu) of %llu bytes of data; the file is truncated or "
                       "damaged",
                       t->name, (unsigned long long)t->offset, (unsigned long long)end, (unsigned long long)data_bytes);
    if (end - t->offset != t->bytes)
        return td_fail(err, TD_E_MODEL, "tensor %s has %llu bytes by its shape and %llu by its offsets", t->name,
                       (unsigned long long)t->bytes, (unsigned long long)(end - t->offset));
    return TD_OK;
}

static int by_offset(const void *a, const void *b)
{
    const st_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorted by offset, each tensor begins where the one before it ends. Offsets become absolute. */
static td_rc check_layout(st_tensor *t, size_t count, uint64_t data_at, uint64_t data_bytes, td_err *err)
{
    uint64_t next = 0;
    qsort(t, count, sizeof *t, by_offset);
    for (size_t i = 0; i < count; i++) {
        if (t[i].offset != next)
            return td_fail(err, TD_E_MODEL, "tensor %s begins at %llu, %s (expected %llu)", t[i].name,
                           (unsigned long long)t[i].offset,
                           t[i].offset < next ? "inside the tensor before it" : "after a hole",
                           (unsigned long long)next);
        next = t[i].offset + t[i].bytes;
        t[i].offset += data_at;
    }
    if (next != data_bytes)
        return td_fail(err, TD_E_MODEL, "the tensors take %llu bytes, but the file has %llu bytes of data",
                       (unsigned long long)next, (unsigned long long)data_bytes);
    return TD_OK;
}

static td_rc read_tensors(const td_json *root, td_arena *arena, uint64_t data_bytes, st_tensor **tensors, size_t *count,
                          td_err *err)
{
    size_t n = 0;
    td_json_each(j, root) n++;
    if (n > TD_MODEL_TENSORS_MAX)
        return td_fail(err, TD_E_MODEL, "more than %d tensors", TD_MODEL_TENSORS_MAX);
    st_tensor *t = td_arena_calloc(arena, n, sizeof *t);
    if (!t)
        return no_memory(err);
    n = 0;
    td_json_each(j, root) {
        if (strcmp(j->string, "__metadata__") == 0)
            continue;
        if (!cJSON_IsObject(j))
            return td_fail(err, TD_E_MODEL, "tensor %.60s is not an object", j->string);
        td_rc rc = read_tensor(j, arena, data_bytes, &t[n], err);
        if (rc != TD_OK)
            return rc;
        n++;
    }
    *tensors = t;
    *count = n;
    return TD_OK;
}

/* The header's text, NUL terminated, for td_free. */
static td_rc read_header(const td_file *f, char **text, size_t *len, td_err *err)
{
    uint64_t n;
    if (f->bytes < LENGTH_BYTES)
        return td_fail(err, TD_E_MODEL, "the file has %llu bytes, too few for a header", (unsigned long long)f->bytes);
    td_rc rc = td_file_pread(f, 0, &n, sizeof n, err);
    if (rc != TD_OK)
        return rc;
    if (n > TD_MODEL_HEADER_BYTES_MAX || n > f->bytes - LENGTH_BYTES)
        return td_fail(err, TD_E_MODEL, "a header of %llu bytes in a file of %llu (at most %u); it is truncated or no "
                       "safetensors file", (unsigned long long)n, (unsigned long long)f->bytes,
                       TD_MODEL_HEADER_BYTES_MAX);
    char *p = td_alloc((size_t)n + 1);
    if (!p)
        return no_memory(err);
    rc = td_file_pread(f, LENGTH_BYTES, p, (size_t)n, err);
    if (rc != TD_OK) {
        td_free(p);
        return rc;
    }
    *text = p;
    *len = (size_t)n;
    return TD_OK;
}

td_rc safetensors_parse(const td_file *f, td_arena *arena, st_tensor **tensors, size_t *count, td_err *err)
{
    char *text = NULL;
    size_t len = 0;
    td_json *root;
    td_rc rc = read_header(f, &text, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = model_json_parse(text, len, &root, err);
    td_free(text);
    if (rc != TD_OK) {
        td_err_prefix(err, "header");
        return rc;
    }
    uint64_t data_at = LENGTH_BYTES + (uint64_t)len, data_bytes = f->bytes - data_at;
    if (!cJSON_IsObject(root))
        rc = td_fail(err, TD_E_MODEL, "the header is not a JSON object");
    else
        rc = read_tensors(root, arena, data_bytes, tensors, count, err);
    td_json_free(root);
    return rc == TD_OK ? check_layout(*tensors, *count, data_at, data_bytes, err) : rc;
}
