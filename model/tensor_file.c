#include "model/tensor_file.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/hash.h"
#include "model/safetensors.h"

#include <string.h>

struct tensor_file {
    const gguf *g;
    safetensors *st;
    bool dummy;
    kern_type dummy_type;
    uint64_t seed;
};

td_rc tensor_file_open(const gguf *g, const char *dir, bool dummy, kern_type dummy_type, uint64_t seed,
                       tensor_file **out, td_err *err)
{
    tensor_file *f = td_alloc(sizeof *f);
    if (!f)
        return td_fail(err, TD_E_NOMEM, "not enough memory to open %s", dir ? dir : "the model");
    *f = (tensor_file){.g = g, .dummy = dummy, .dummy_type = dummy_type, .seed = seed};
    td_rc rc = g || dummy ? TD_OK : safetensors_open(dir, &f->st, err);
    if (rc != TD_OK)
        td_free(f);
    else
        *out = f;
    return rc;
}

void tensor_file_close(tensor_file *f)
{
    if (f && f->st)
        safetensors_close(f->st);
    td_free(f);
}

static td_rc gguf_ref(const tensor_file *f, const char *name, tensor_ref *out, uint64_t dims[2], td_err *err)
{
    const gguf_tensor *t = gguf_tensor_find(f->g, name);
    if (!t)
        return td_fail(err, TD_E_NOTFOUND, "the model has no tensor %s", name);
    int type = 0;
    while (type < KT_COUNT && kern_types[type].ggml_type != t->ggml_type)
        type++;
    if (type == KT_COUNT)
        return td_fail(err, TD_E_UNSUPPORTED, "tensor %s has GGML type %u, which is not implemented; see models.md",
                       name, t->ggml_type);
    *out = (tensor_ref){.name = t->name, .type = (kern_type)type, .handle = t};
    dims[0] = t->dims[0];
    dims[1] = t->dims[1] * t->dims[2] * t->dims[3];
    return TD_OK;
}

static td_rc st_ref(const tensor_file *f, const char *name, tensor_ref *out, uint64_t dims[2], td_err *err)
{
    static const kern_type types[] = {[ST_F32] = KT_F32, [ST_F16] = KT_F16, [ST_BF16] = KT_BF16};
    const st_tensor *t = safetensors_tensor_find(f->st, name);
    if (!t)
        return td_fail(err, TD_E_NOTFOUND, "the model has no tensor %s", name);
    if (t->dtype == ST_OTHER)
        return td_fail(err, TD_E_UNSUPPORTED, "tensor %s has dtype %s, which is not implemented; see models.md", name,
                       t->dtype_name);
    *out = (tensor_ref){.name = t->name, .type = types[t->dtype], .handle = t};
    bool vector = t->dim_count < 2;
    dims[0] = vector ? t->dims[0] : t->dims[1];
    dims[1] = vector ? 1 : t->dims[0] * t->dims[2] * t->dims[3];
    return TD_OK;
}

td_rc tensor_file_find(tensor_file *f, const char *name, int32_t rows, int32_t cols, tensor_ref *out, td_err *err)
{
    uint64_t dims[2] = {(uint64_t)cols, (uint64_t)rows};
    td_rc rc = TD_OK;
    if (f->dummy)
        *out = (tensor_ref){.name = name, .type = f->dummy_type};
    else
        rc = f->g ? gguf_ref(f, name, out, dims, err) : st_ref(f, name, out, dims, err);
    if (rc != TD_OK)
        return rc;
    if (dims[0] != (uint64_t)cols || dims[1] != (uint64_t)rows)
        return td_fail(err, TD_E_MODEL, "tensor %s has shape [%llu][%llu]; the configuration says [%d][%d]", name,
                       (unsigned long long)dims[1], (unsigned long long)dims[0], rows, cols);
    if (cols % kern_types[out->type].block)
        return td_fail(err, TD_E_MODEL, "tensor %s has %d columns, not a multiple of the %d of a %s block", name, cols,
                       kern_types[out->type].block, kern_types[out->type].name);
    out->rows = rows;
    out->cols = cols;
    out->row_bytes = kern_row_bytes(out->type, cols);
    return TD_OK;
}

/* Uniform in ±sqrt(3 / cols): unit variance in, unit variance out. */
static void dummy_rows(const tensor_file *f, const tensor_ref *t, int32_t row0, int32_t row_count, void *out)
{
    float scale = 1.0f;
    while (scale * scale * (float)t->cols > 3.0f)
        scale *= 0.5f;
    for (int64_t i = 0; i < (int64_t)row_count * t->cols; i++) {
        uint64_t h = td_mix64(f->seed ^ td_mix64((uint64_t)row0 * (uint64_t)t->cols + (uint64_t)i));
        float v = ((float)(int32_t)(h >> 40) * 0x1p-23f - 1.0f) * scale;
        uint32_t bits;
        memcpy(&bits, &v, 4);
        if (t->type == KT_F32)
            memcpy((char *)out + 4 * i, &bits, 4);
        else
            memcpy((char *)out + 2 * i, (char *)&bits + 2, 2); // bf16: the upper half
    }
}

td_rc tensor_file_read(const tensor_file *f, const tensor_ref *t, int32_t row0, int32_t row_count, void *out,
                       td_err *err)
{
    size_t bytes = t->row_bytes * (size_t)row_count;
    if (f->dummy) {
        dummy_rows(f, t, row0, row_count, out);
        return TD_OK;
    }
    uint64_t offset = t->row_bytes * (uint64_t)row0;
    td_rc rc = f->g ? gguf_read(f->g, t->handle, offset, out, bytes, err)
                    : safetensors_read(f->st, t->handle, offset, out, bytes, err);
    if (rc != TD_OK)
        td_err_prefix(err, "tensor %s", t->name);
    return rc;
}

td_rc tensor_file_map(const tensor_file *f, tensor_maps *out, td_err *err)
{
    uint32_t count = f->dummy ? 0 : f->g ? gguf_part_count(f->g) : safetensors_part_count(f->st);
    *out = (tensor_maps){.part_count = count};
    out->part = td_alloc((count + 1) * sizeof *out->part);
    if (!out->part)
        return td_fail(err, TD_E_NOMEM, "not enough memory to map the model");
    td_rc rc = TD_OK;
    for (uint32_t i = 0; rc == TD_OK && i < count; i++)
        rc = f->g ? gguf_map(f->g, i, &out->part[i], err) : safetensors_map(f->st, i, &out->part[i], err);
    return rc;
}

const void *tensor_maps_rows(const tensor_maps *m, const tensor_file *f, const tensor_ref *t)
{
    const gguf_tensor *g = f->g ? t->handle : NULL;
    const st_tensor *st = f->g ? NULL : t->handle;
    uint32_t part = g ? g->part : st->part;
    uint64_t offset = g ? g->offset : st->offset;
    td_assert(part < m->part_count && offset + t->row_bytes * (uint64_t)t->rows <= m->part[part].bytes);
    return (const char *)m->part[part].base + offset;
}

void tensor_maps_free(tensor_maps *m)
{
    for (uint32_t i = 0; m->part && i < m->part_count; i++)
        td_file_unmap(&m->part[i]);
    td_free(m->part);
    *m = (tensor_maps){.part = NULL};
}
