#include "model/weights.h"

#include "base/check.h"
#include "base/memory.h"
#include "kernels/device.h"
#include "model/names.h"
#include "model/tensor_file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Rows are read, hashed and packed in slabs of about this many bytes: large enough for the disk, small for the
 * cache. */
enum { SLAB_BYTES = 1 << 20, WEIGHT_ALIGN = 256 };

typedef struct slab { // one unit of loading work
    uint32_t matrix;
    int32_t row0, row_count;
    td_sha256 digest;
} slab;

typedef struct matrix_plan {
    kern_weight *w;
    tensor_ref ref;
    char name[TENSOR_NAME_MAX];
} matrix_plan;

typedef struct vector_plan { // a vector that waits on the host for its place on the device
    float **at;
    int32_t count;
} vector_plan;

enum { LAYER_VECTORS = 13 }; // norms and biases of a layer at most

typedef struct loader {
    const model_config *c;
    const weights_opts *o;
    model_weights *out;
    tensor_file *file;
    bool mapped;            // matrices stay in file form
    matrix_plan *matrices;
    uint32_t matrix_count, matrix_cap;
    vector_plan *vectors;
    uint32_t vector_count, vector_cap;
    td_arena host;                // the vectors' values
    slab *slabs;
    size_t slab_count;
    td_sha256_ctx *vector_digest; // in load order
    td_err *err;
} loader;

/* ---- vectors: read at once, as floats; place() moves them to the device ---- */

static td_rc vector_read(loader *l, const tensor_ref *t, float **out)
{
    void *raw = td_alloc(t->row_bytes);
    float *v = td_arena_calloc(&l->host, (size_t)t->cols, sizeof *v);
    td_rc rc = raw && v ? tensor_file_read(l->file, t, 0, 1, raw, l->err)
                        : td_fail(l->err, TD_E_NOMEM, "not enough memory for tensor %s", t->name);
    if (rc == TD_OK) {
        kern_dequant_row(t->type, raw, t->cols, v);
        td_sha256_add(l->vector_digest, t->name, strlen(t->name) + 1);
        td_sha256_add(l->vector_digest, raw, t->row_bytes);
        l->out->param_count += (uint64_t)t->cols;
        td_assert(l->vector_count < l->vector_cap);
        l->vectors[l->vector_count++] = (vector_plan){.at = out, .count = t->cols};
        *out = v;
    }
    td_free(raw);
    return rc;
}

static td_rc vector_load(loader *l, tensor_role role, int32_t layer, const char *suffix, int32_t cols, float **out)
{
    char name[TENSOR_NAME_MAX];
    tensor_name(l->c, role, layer, suffix, name);
    tensor_ref t;
    td_rc rc = tensor_file_find(l->file, name, 1, cols, &t, l->err);
    return rc == TD_OK ? vector_read(l, &t, out) : rc;
}

static td_rc norm_load(loader *l, tensor_role role, int32_t layer, int32_t cols, float **out)
{
    td_rc rc = vector_load(l, role, layer, "weight", cols, out);
    for (int32_t i = 0; rc == TD_OK && i < cols; i++)
        (*out)[i] = l->o->load_format && strcmp(l->o->load_format, "dummy") == 0 ? 1.0f
                    : l->c->norm_plus_one                                       ? (*out)[i] + 1.0f
                                                                                : (*out)[i];
    return rc;
}

/* ---- matrices: planned first, loaded together ---- */

static td_rc matrix_plan_add(loader *l, tensor_role role, int32_t layer, int32_t rows, int32_t cols, kern_weight *w)
{
    td_assert(l->matrix_count < l->matrix_cap);
    matrix_plan *m = &l->matrices[l->matrix_count];
    tensor_name(l->c, role, layer, "weight", m->name);
    td_rc rc = tensor_file_find(l->file, m->name, rows, cols, &m->ref, l->err);
    if (rc != TD_OK)
        return rc;
    const kern_ops *ops = l->o->dev->ops;
    *w = (kern_weight){.type = m->ref.type, .rows = rows, .cols = cols,
                       .chunks = kern_chunk_count(m->ref.type, cols, ops->chunks_max),
                       .bytes = l->mapped ? ops->weight_scratch_bytes(m->ref.type, cols)
                                          : ops->weight_bytes(l->o->dev, m->ref.type, rows, cols)};
    if (w->bytes == 0)
        return td_fail(l->err, TD_E_UNSUPPORTED, "tensor %s: %s has no products for type %s", m->name, ops->name,
                       kern_types[m->ref.type].name);
    m->w = w;
    l->matrix_count++;
    l->out->param_count += (uint64_t)rows * (uint64_t)cols;
    l->out->type_mask |= 1u << m->ref.type;
    return TD_OK;
}

typedef struct layer_row { // one matrix of a layer, with its bias where the family has one
    tensor_role role;
    int32_t rows, cols;
    kern_weight *w;
    bool has_bias;
    float **bias;
} layer_row;

static td_rc layer_matrices(loader *l, int32_t layer, layer_weights *w)
{
    const model_config *c = l->c;
    int32_t E = c->hidden, F = c->ffn, Q = c->q_heads * c->head_dim, K = c->kv_heads * c->head_dim;
    const layer_row rows[] = {
        {ROLE_Q, Q, E, &w->q, c->qkv_bias, &w->q_bias},       {ROLE_K, K, E, &w->k, c->qkv_bias, &w->k_bias},
        {ROLE_V, K, E, &w->v, c->qkv_bias, &w->v_bias},       {ROLE_O, E, Q, &w->o, c->o_bias, &w->o_bias},
        {ROLE_GATE, F, E, &w->gate, c->mlp_bias, &w->gate_bias}, {ROLE_UP, F, E, &w->up, c->mlp_bias, &w->up_bias},
        {ROLE_DOWN, E, F, &w->down, c->mlp_bias, &w->down_bias},
    };
    for (size_t i = 0; i < TD_COUNT(rows); i++) {
        const layer_row *r = &rows[i];
        td_rc rc = matrix_plan_add(l, r->role, layer, r->rows, r->cols, r->w);
        if (rc == TD_OK && r->has_bias)
            rc = vector_load(l, r->role, layer, "bias", r->rows, r->bias);
        if (rc != TD_OK)
            return rc;
    }
    return TD_OK;
}

static td_rc layer_norms(loader *l, int32_t layer, layer_weights *w)
{
    const model_config *c = l->c;
    td_rc rc = norm_load(l, ROLE_ATTN_NORM, layer, c->hidden, &w->attn_norm);
    if (rc == TD_OK)
        rc = norm_load(l, ROLE_FFN_NORM, layer, c->hidden, &w->ffn_norm);
    if (rc == TD_OK && c->post_norms)
        rc = norm_load(l, ROLE_ATTN_POST_NORM, layer, c->hidden, &w->attn_post_norm);
    if (rc == TD_OK && c->post_norms)
        rc = norm_load(l, ROLE_FFN_POST_NORM, layer, c->hidden, &w->ffn_post_norm);
    if (rc == TD_OK && c->qk_norm)
        rc = norm_load(l, ROLE_Q_NORM, layer, c->head_dim, &w->q_norm);
    if (rc == TD_OK && c->qk_norm)
        rc = norm_load(l, ROLE_K_NORM, layer, c->head_dim, &w->k_norm);
    return rc;
}

static td_rc plan(loader *l)
{
    const model_config *c = l->c;
    model_weights *out = l->out;
    l->matrix_cap = (uint32_t)c->layer_count * 7 + 2;
    l->matrices = td_alloc(l->matrix_cap * sizeof *l->matrices);
    l->vector_cap = (uint32_t)c->layer_count * LAYER_VECTORS + 1;
    l->vectors = td_alloc(l->vector_cap * sizeof *l->vectors);
    out->layers = td_arena_calloc(&out->arena, (size_t)c->layer_count, sizeof *out->layers);
    if (!l->matrices || !l->vectors || !out->layers)
        return td_fail(l->err, TD_E_NOMEM, "not enough memory to plan the model's tensors");
    td_rc rc = matrix_plan_add(l, ROLE_EMBED, 0, c->vocab, c->hidden, &out->embed);
    for (int32_t i = 0; rc == TD_OK && i < c->layer_count; i++) {
        rc = layer_norms(l, i, &out->layers[i]);
        if (rc == TD_OK)
            rc = layer_matrices(l, i, &out->layers[i]);
    }
    if (rc == TD_OK)
        rc = norm_load(l, ROLE_OUT_NORM, 0, c->hidden, &out->out_norm);
    if (rc == TD_OK && !c->tie_embeddings)
        rc = matrix_plan_add(l, ROLE_HEAD, 0, c->vocab, c->hidden, &out->head);
    return rc;
}

/* What does not fit is refused before it is taken: a process that is killed for its memory can say nothing. */
static td_rc check_room(const loader *l, size_t bytes)
{
    const kern_ops *ops = l->o->dev->ops;
    if (ops->memory) {
        uint64_t total, unused;
        ops->memory(l->o->dev, &total, &unused);
        return bytes <= unused ? TD_OK
                               : td_fail(l->err, TD_E_NOMEM, "the weights take %zu MiB, but %s has %llu MiB free",
                                         bytes >> 20, ops->name, (unsigned long long)(unused >> 20));
    }
    td_memory m = td_memory_now(l->o->max_rss, "");
    uint64_t plannable = td_memory_plannable(&m);
    if (bytes <= TD_MIN(plannable, m.machine_bytes))
        return TD_OK;
    if (m.machine_bytes < plannable)
        return td_fail(l->err, TD_E_NOMEM, "the weights take %zu MiB, but the machine has %llu MiB free", bytes >> 20,
                       (unsigned long long)(m.machine_bytes >> 20));
    return td_fail_param(l->err, TD_E_NOMEM, "max-rss",
                         "the weights take %zu MiB, but %s of %llu MiB leaves %llu MiB for them; --low-memory keeps "
                         "them in the page cache", bytes >> 20, m.bound,
                         (unsigned long long)(m.limit_bytes >> 20), (unsigned long long)(plannable >> 20));
}

/* Next piece of the model's memory, on its own cache lines. */
static bool piece(size_t *off, size_t bytes, size_t *end)
{
    *off = td_align_up(*end, WEIGHT_ALIGN);
    return *end <= SIZE_MAX - WEIGHT_ALIGN && td_size_add_ok(*off, bytes, end);
}

/* The scratch that matrices in file form share: a part of it for each thread. */
static bool scratch_piece(const loader *l, size_t *off, size_t *end)
{
    size_t share = 0, all;
    for (uint32_t i = 0; i < l->matrix_count; i++)
        share = TD_MAX(share, l->matrices[i].w->bytes);
    return td_size_mul_ok(share, (size_t)l->o->dev->thread_count, &all) && piece(off, all, end);
}

static td_rc matrices_map(loader *l, void *scratch, size_t scratch_bytes)
{
    td_rc rc = tensor_file_map(l->file, &l->out->maps, l->err);
    for (uint32_t i = 0; rc == TD_OK && i < l->matrix_count; i++) {
        const tensor_ref *t = &l->matrices[i].ref;
        kern_weight *w = l->matrices[i].w;
        w->raw = tensor_maps_rows(&l->out->maps, l->file, t);
        w->data = scratch;
        w->bytes = scratch_bytes / (size_t)l->o->dev->thread_count;
        l->out->map_bytes += t->row_bytes * (uint64_t)t->rows;
    }
    return rc;
}

/* Counts (mem NULL) or places everything; false: it does not fit into the address space. */
static bool lay_out(loader *l, char *mem, size_t *end)
{
    size_t off;
    bool fits = true;
    for (uint32_t i = 0; i < l->matrix_count && !l->mapped; i++) {
        fits = fits && piece(&off, l->matrices[i].w->bytes, end);
        l->matrices[i].w->data = mem ? mem + off : NULL;
    }
    for (uint32_t i = 0; i < l->vector_count && fits; i++) {
        size_t bytes = (size_t)l->vectors[i].count * sizeof(float);
        fits = piece(&off, bytes, end);
        if (!mem || !fits)
            continue;
        float *to = (float *)(void *)(mem + off);
        l->o->dev->ops->put(l->o->dev, to, *l->vectors[i].at, bytes);
        *l->vectors[i].at = to;
    }
    return fits;
}

static td_rc place(loader *l)
{
    model_weights *out = l->out;
    size_t total = 0, scratch, off;
    bool fits = !l->mapped || scratch_piece(l, &off, &total);
    scratch = total;
    if (!fits || !lay_out(l, NULL, &total))
        return td_fail(l->err, TD_E_MODEL, "the model's tensors are larger than the address space");
    td_rc rc = check_room(l, total);
    if (rc != TD_OK)
        return rc;
    out->mem_bytes = total;
    out->mem = l->o->dev->ops->alloc(l->o->dev, total);
    if (!out->mem)
        return td_fail(l->err, TD_E_NOMEM, "not enough memory for %zu MB of weights", total >> 20);
    lay_out(l, out->mem, &(size_t){scratch});
    return l->mapped ? matrices_map(l, out->mem, scratch) : TD_OK;
}

static int32_t slab_rows(const loader *l, const matrix_plan *m)
{
    // A function of the tensor's shape in the file only, since the digests of slabs make up the fingerprint.
    int32_t unit = TD_MAX(l->o->dev->ops->pack_rows, 64);
    int64_t rows = SLAB_BYTES / (int64_t)TD_MAX(m->ref.row_bytes, 1u) / unit * unit;
    return (int32_t)TD_MAX(rows, unit);
}

static td_rc cut(loader *l)
{
    for (int pass = 0; pass < 2; pass++) {
        l->slab_count = 0;
        for (uint32_t i = 0; i < l->matrix_count; i++) {
            const matrix_plan *m = &l->matrices[i];
            int32_t step = slab_rows(l, m);
            for (int32_t row = 0; row < m->ref.rows; row += step, l->slab_count++)
                if (pass)
                    l->slabs[l->slab_count] =
                        (slab){.matrix = i, .row0 = row, .row_count = TD_MIN(step, m->ref.rows - row)};
        }
        if (!pass && !(l->slabs = td_alloc((l->slab_count + 1) * sizeof *l->slabs)))
            return td_fail(l->err, TD_E_NOMEM, "not enough memory to plan the model's tensors");
    }
    return TD_OK;
}

static td_rc slab_load(const loader *l, slab *s, void *raw, td_err *err)
{
    const matrix_plan *m = &l->matrices[s->matrix];
    if (l->o->canceled && l->o->canceled(l->o->progress_ctx))
        return td_fail(err, TD_E_CANCELED, "loading was canceled");
    td_rc rc = tensor_file_read(l->file, &m->ref, s->row0, s->row_count, raw, err);
    if (rc != TD_OK)
        return rc;
    if (!l->o->no_digest)
        s->digest = td_sha256_of(raw, m->ref.row_bytes * (size_t)s->row_count);
    if (!m->w->raw)
        l->o->dev->ops->weight_pack(l->o->dev, m->w, s->row0, s->row_count, raw);
    return TD_OK;
}

static size_t raw_bytes_max(const loader *l)
{
    size_t max = 0;
    for (uint32_t i = 0; i < l->matrix_count; i++)
        max = TD_MAX(max, l->matrices[i].ref.row_bytes * (size_t)slab_rows(l, &l->matrices[i]));
    return max;
}

static td_rc load_slabs(loader *l)
{
    atomic_int failed = 0;
    atomic_size_t done = 0;
    size_t raw_bytes = raw_bytes_max(l);
#ifdef _OPENMP
#pragma omp parallel num_threads(l->o->dev->thread_count)
#endif
    {
        td_err err = TD_ERR_INIT;
        void *raw = td_alloc(raw_bytes);
        td_rc rc = raw ? TD_OK : td_fail(&err, TD_E_NOMEM, "not enough memory to read the model");
#ifdef _OPENMP
#pragma omp for schedule(dynamic, 1)
#endif
        for (size_t i = 0; i < l->slab_count; i++) {
            if (rc == TD_OK && !atomic_load(&failed))
                rc = slab_load(l, &l->slabs[i], raw, &err);
            size_t n = atomic_fetch_add(&done, 1) + 1;
            if (l->o->progress && n % 16 == 0)
                l->o->progress(l->o->progress_ctx, (double)n / (double)l->slab_count);
        }
        if (rc != TD_OK && !atomic_exchange(&failed, 1))
            td_fail(l->err, rc, "%s", err.msg);
        td_free(raw);
    }
    if (atomic_load(&failed))
        return l->err->rc;
    return kern_dev_settle(l->o->dev, l->err);
}

static td_rc fingerprint(loader *l)
{
    for (size_t i = 0; i < l->slab_count; i++) {
        const matrix_plan *m = &l->matrices[l->slabs[i].matrix];
        if (l->slabs[i].row0 == 0)
            td_sha256_add(l->vector_digest, m->name, strlen(m->name) + 1);
        td_sha256_add(l->vector_digest, l->slabs[i].digest.b, sizeof l->slabs[i].digest.b);
    }
    l->out->digest = td_sha256_end(l->vector_digest);
    l->vector_digest = NULL;
    return TD_OK;
}

td_rc weights_load(const gguf *g, const char *dir, const model_config *c, const weights_opts *o, model_weights *out,
                   td_err *err)
{
    *out = (model_weights){.dev = o->dev};
    td_arena_init(&out->arena, 0);
    td_err local = TD_ERR_INIT;
    loader l = {.c = c, .o = o, .out = out, .err = err ? err : &local, .vector_digest = td_sha256_new()};
    td_arena_init(&l.host, 0);
    bool dummy = o->load_format && strcmp(o->load_format, "dummy") == 0;
    l.mapped = o->low_memory && !dummy; // dummy weights are in no file
    td_rc rc = l.vector_digest ? TD_OK : td_fail(l.err, TD_E_NOMEM, "not enough memory to load the model");
    if (rc == TD_OK && l.mapped && !o->dev->ops->weight_scratch_bytes)
        rc = td_fail_param(l.err, TD_E_UNSUPPORTED, "low-memory",
                           "%s wants its weights packed; leave out --low-memory", o->dev->ops->name);
    if (rc == TD_OK)
        rc = tensor_file_open(g, dir, dummy, c->dtype == MODEL_F32 ? KT_F32 : KT_BF16, o->seed, &l.file, l.err);
    if (rc == TD_OK)
        rc = plan(&l);
    if (rc == TD_E_NOTFOUND)
        rc = TD_E_MODEL, l.err->rc = TD_E_MODEL;
    if (rc == TD_OK)
        rc = place(&l);
    if (rc == TD_OK)
        rc = cut(&l);
    if (rc == TD_OK)
        rc = load_slabs(&l);
    if (rc == TD_OK)
        rc = fingerprint(&l);
    if (rc == TD_OK && (out->tied = c->tie_embeddings))
        out->head = out->embed;
    if (l.vector_digest)
        td_sha256_end(l.vector_digest);
    tensor_file_close(l.file);
    td_free(l.matrices);
    td_free(l.vectors);
    td_free(l.slabs);
    td_arena_free(&l.host);
    if (rc != TD_OK)
        weights_free(out);
    return rc;
}

void weights_free(model_weights *w)
{
    if (w->mem)
        w->dev->ops->free(w->dev, w->mem, w->mem_bytes);
    tensor_maps_free(&w->maps);
    td_arena_free(&w->arena);
    *w = (model_weights){.dev = w->dev};
}
