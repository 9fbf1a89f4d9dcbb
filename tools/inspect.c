/* inspect: what a model's files hold, what it computes, and how this machine would run it. The files are described even
 * when the engine refuses them, since that is when people look. */
#include "tools/verbs.h"

#include "base/file.h"
#include "base/hash.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "tools/open.h"
#include "tools/output.h"

#include <stdio.h>
#include <string.h>

enum { TYPES_MAX = 40 };

typedef struct type_sum { // tensors of one number format
    char name[16];
    size_t count;
    uint64_t bytes;
} type_sum;

typedef struct files {
    gguf *g;
    safetensors *s;
    char format[32];
    uint32_t parts;
    uint64_t bytes;
    type_sum types[TYPES_MAX];
    int type_count;
} files;

typedef struct row { // one tensor, in either format
    const char *name, *type;
    char number[16]; // of a type without a name
    uint32_t dim_count;
    const uint64_t *dims;
    uint64_t bytes;
} row;

static size_t row_count(const files *m)
{
    return m->g ? gguf_tensor_count(m->g) : safetensors_tensor_count(m->s);
}

static void row_at(const files *m, size_t i, row *r)
{
    if (m->g) {
        const gguf_tensor *t = gguf_tensor_at(m->g, i);
        *r = (row){t->name, gguf_type_name(t->ggml_type), "", t->dim_count, t->dims, t->bytes};
        snprintf(r->number, sizeof r->number, "type %u", t->ggml_type);
    } else {
        const st_tensor *t = safetensors_tensor_at(m->s, i);
        *r = (row){t->name, t->dtype_name, "", t->dim_count, t->dims, t->bytes};
    }
    if (!r->type)
        r->type = r->number;
}

static void sum_types(files *m)
{
    for (size_t i = 0; i < row_count(m); i++) {
        row r;
        row_at(m, i, &r);
        int k = 0;
        while (k < m->type_count && strcmp(m->types[k].name, r.type))
            k++;
        if (k == TYPES_MAX)
            continue;
        if (k == m->type_count)
            snprintf(m->types[m->type_count++].name, sizeof m->types[k].name, "%s", r.type);
        m->types[k].count++;
        m->types[k].bytes += r.bytes;
    }
}

static td_rc files_open(const char *path, files *m, model_config *config, td_err *err)
{
    bool dir = td_dir_exists(path);
    td_rc rc = dir ? safetensors_open(path, &m->s, err) : gguf_open(path, &m->g, err);
    if (rc)
        return rc;
    if (m->g)
        snprintf(m->format, sizeof m->format, "gguf v%u", gguf_version(m->g));
    else
        snprintf(m->format, sizeof m->format, "safetensors");
    m->parts = m->g ? gguf_part_count(m->g) : safetensors_part_count(m->s);
    m->bytes = m->g ? gguf_file_bytes(m->g) : safetensors_file_bytes(m->s);
    sum_types(m);
    return m->g ? model_config_from_gguf(m->g, config, err) : model_config_from_hf(path, config, err);
}

static void files_close(files *m)
{
    gguf_close(m->g);
    safetensors_close(m->s);
}

/* ------------------------------------------------------------------ JSON */

static void json_pair(td_buf *out, const char *key, const char *value, const char *after)
{
    td_buf_fmt(out, "\"%s\":", key);
    td_buf_json_str(out, value ? value : "", value ? strlen(value) : 0);
    td_buf_str(out, after);
}

static void json_tensors(td_buf *out, const files *m)
{
    td_buf_str(out, ",\"tensors\":[");
    for (size_t i = 0; i < row_count(m); i++) {
        row r;
        row_at(m, i, &r);
        td_buf_str(out, i ? ",{" : "{");
        json_pair(out, "name", r.name, ",");
        json_pair(out, "type", r.type, ",\"shape\":[");
        for (uint32_t d = 0; d < r.dim_count; d++) // slowest first in both formats
            td_buf_fmt(out, "%s%llu", d ? "," : "",
                       (unsigned long long)r.dims[m->g ? r.dim_count - 1 - d : d]);
        td_buf_fmt(out, "],\"bytes\":%llu}", (unsigned long long)r.bytes);
    }
    td_buf_char(out, ']');
}

static void json_files(td_buf *out, const char *path, const files *m, bool tensors)
{
    json_pair(out, "path", path, ",");
    json_pair(out, "format", m->format, ",");
    td_buf_fmt(out, "\"parts\":%u,\"bytes\":%llu,\"types\":{", m->parts, (unsigned long long)m->bytes);
    for (int i = 0; i < m->type_count; i++)
        td_buf_fmt(out, "%s\"%s\":{\"tensors\":%zu,\"bytes\":%llu}", i ? "," : "", m->types[i].name, m->types[i].count,
                   (unsigned long long)m->types[i].bytes);
    td_buf_char(out, '}');
    if (tensors)
        json_tensors(out, m);
}

static void json_engine(td_buf *out, const td_engine_info *e)
{
    td_buf_fmt(out, ",\"parameters\":%llu,", (unsigned long long)e->param_count);
    td_buf_fmt(out,
               "\"plan\":{\"max_model_len\":%d,\"max_num_seqs\":%d,\"max_num_batched_tokens\":%d,\"block_tokens\":%d,"
               "\"blocks\":%d,\"weight_bytes\":%llu,\"mapped_bytes\":%llu,\"kv_bytes\":%llu,\"step_bytes\":%llu,",
               e->max_model_len, e->max_num_seqs, e->max_num_batched_tokens, e->block_tok, e->block_count,
               (unsigned long long)e->weight_bytes, (unsigned long long)e->mapped_bytes,
               (unsigned long long)e->kv_bytes, (unsigned long long)e->step_bytes);
    json_pair(out, "kv_cache_dtype", e->kv_dtype, "},\"kernels\":{");
    json_pair(out, "device", e->device, ",");
    json_pair(out, "numerics_id", e->numerics_id, ",");
    json_pair(out, "weights", e->weight_types, ",");
    td_buf_fmt(out, "\"threads\":%d},", e->threads);
    json_pair(out, "chat_template_origin", e->chat_template_origin, ",");
    char hex[65];
    td_hex(e->model_fp, sizeof e->model_fp, hex);
    json_pair(out, "model_fp", hex, "");
}

/* ------------------------------------------------------------------ text */

static void text_files(td_buf *out, const char *path, const files *m, bool tensors)
{
    td_buf_fmt(out, "%s\n%s, %u file%s, %.1f MiB, %zu tensors\n", path, m->format, m->parts, m->parts == 1 ? "" : "s",
               (double)m->bytes / 1048576, row_count(m));
    for (int i = 0; i < m->type_count; i++)
        td_buf_fmt(out, "  %-6s %5zu tensors %10.1f MiB\n", m->types[i].name, m->types[i].count,
                   (double)m->types[i].bytes / 1048576);
    for (size_t i = 0; tensors && i < row_count(m); i++) {
        row r;
        row_at(m, i, &r);
        td_buf_fmt(out, "  %-44s %-6s [", r.name, r.type);
        for (uint32_t d = 0; d < r.dim_count; d++)
            td_buf_fmt(out, "%s%llu", d ? ", " : "", (unsigned long long)r.dims[m->g ? r.dim_count - 1 - d : d]);
        td_buf_str(out, "]\n");
    }
}

static void text_engine(td_buf *out, const td_engine_info *e)
{
    td_buf_fmt(out, "\nplan\n  weights %.1f MiB (%s), %.1f M parameters\n", (double)e->weight_bytes / 1048576,
               e->weight_types, (double)e->param_count / 1e6);
    if (e->mapped_bytes)
        td_buf_fmt(out, "  %.1f MiB of weights stay in the page cache\n", (double)e->mapped_bytes / 1048576);
    td_buf_fmt(out, "  KV cache %.1f MiB: %d blocks of %d tokens, %s\n", (double)e->kv_bytes / 1048576, e->block_count,
               e->block_tok, e->kv_dtype);
    td_buf_fmt(out, "  step memory %.1f MiB: %d tokens, %d requests\n", (double)e->step_bytes / 1048576,
               e->max_num_batched_tokens, e->max_num_seqs);
    td_buf_fmt(out, "  max-model-len %d\n", e->max_model_len);
    td_buf_fmt(out, "kernels\n  %s, %d threads, numerics %s\n", e->device, e->threads, e->numerics_id);
    bool has_template = e->chat_template_origin && *e->chat_template_origin;
    td_buf_fmt(out, "chat template\n  %s\n", has_template ? e->chat_template_origin : "none");
}

td_rc verb_inspect(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    bool json = flags_bool(f, "json"), tensors = flags_bool(f, "tensors");
    files m = {.g = NULL};
    static model_config config; // some 10 KB
    td_engine *engine = NULL;
    td_buf path = TD_BUF_INIT, out = TD_BUF_INIT;
    td_rc rc = open_model_path(flags_operand(f, 0), &path, err);
    if (!rc)
        rc = open_model_rc(files_open(td_buf_cstr(&path), &m, &config, err), err);
    bool listed = m.g || m.s;
    if (listed) {
        td_buf_str(&out, json ? "{" : "");
        (json ? json_files : text_files)(&out, td_buf_cstr(&path), &m, tensors);
    }
    if (!rc) {
        td_buf_str(&out, json ? ",\"config\":" : "\nconfig\n");
        (json ? model_config_json : model_config_print)(&config, &out);
        rc = open_engine(f, &engine, err);
    }
    if (!rc)
        (json ? json_engine : text_engine)(&out, td_engine_get_info(engine));
    if (listed) {
        td_buf_str(&out, json ? "}\n" : "");
        td_rc printed = output_buf(&out, err);
        rc = rc ? rc : printed;
    }
    td_engine_close(engine);
    files_close(&m);
    td_buf_free(&out);
    td_buf_free(&path);
    return rc;
}
