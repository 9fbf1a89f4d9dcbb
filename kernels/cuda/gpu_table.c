/* The GPU's operation table: sizes, packing, and each operation's launcher with a look at the launch's fate. */
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gpu_int.h"

/* ---- weights ---- */

static kern_act_kind weight_act(kern_type type) { return gpu_weight_in_panels(type) ? KA_BF16 : KA_F32; }

static size_t weight_bytes(kern_dev *dev, kern_type type, int32_t rows, int32_t cols)
{
    (void)dev;
    return gpu_weight_in_panels(type) ? gemm_weight_bytes(rows, cols) : (size_t)rows * gpu_row_bytes(type, cols);
}

/* Whole panels, several to a buffer. */
static void pack_panels(gpu_dev *d, kern_weight *w, int32_t row0, int32_t row_count, const char *raw)
{
    size_t panel = gemm_weight_bytes(GEMM_ROWS, w->cols), file_row = kern_row_bytes(w->type, w->cols);
    td_assert(row0 % GEMM_ROWS == 0 && panel <= GPU_LOAD_BYTES);
    int32_t step = (int32_t)(GPU_LOAD_BYTES / panel) * GEMM_ROWS;
    for (int32_t r = 0, n; r < row_count; r += n) {
        n = TD_MIN(step, row_count - r);
        gpu_load_buffer *b = GPU_SYM(dev_load_begin)(d);
        GPU_SYM(gemm_pack_rows)(w->type, n, w->cols, raw + (size_t)r * file_row, b->host);
        GPU_SYM(dev_load_send)(d, b, (char *)w->data + (size_t)((row0 + r) / GEMM_ROWS) * panel,
                               gemm_weight_bytes(n, w->cols));
    }
}

static void weight_pack(kern_dev *dev, kern_weight *w, int32_t row0, int32_t row_count, const void *raw)
{
    td_assert(row0 >= 0 && row_count <= w->rows - row0);
    if (gpu_weight_in_panels(w->type)) {
        pack_panels(gpu_self(dev), w, row0, row_count, raw);
        return;
    }
    size_t stride = gpu_row_bytes(w->type, w->cols);
    GPU_SYM(dev_load_rows)(gpu_self(dev), (char *)w->data + (size_t)row0 * stride, stride, raw,
                           kern_row_bytes(w->type, w->cols), (size_t)row_count);
}

/* 64 columns at a time, which are one run in either layout. */
static void weight_row(kern_dev *dev, const kern_weight *w, int32_t row, float *out_host)
{
    gpu_dev *d = gpu_self(dev);
    bool panels = gpu_weight_in_panels(w->type);
    size_t size = panels ? GEMM_LINE_BYTES : kern_row_bytes(w->type, GEMM_COLS);
    uint8_t part[GEMM_COLS * sizeof(float)];
    for (int32_t c = 0, n; c < w->cols; c += n) {
        n = TD_MIN(w->cols - c, (int32_t)GEMM_COLS);
        size_t at = panels ? gemm_weight_at(w->cols, row - row % GEMM_ROWS, c) + (size_t)(row % GEMM_ROWS) * size
                           : (size_t)row * gpu_row_bytes(w->type, w->cols) + (size_t)(c / GEMM_COLS) * size;
        d->ops.get(dev, part, (char *)w->data + at, panels ? size : kern_row_bytes(w->type, n));
        if (panels)
            GPU_SYM(gemm_unpack_part)(row, n, part, out_host + c);
        else
            kern_dequant_row(w->type, part, n, out_host + c);
    }
}

static size_t act_stride(kern_act_kind kind, int32_t cols)
{
    td_assert(kind == KA_F32 || kind == KA_BF16);
    return gpu_row_bytes(kind == KA_F32 ? KT_F32 : KT_BF16, cols);
}

static size_t kv_layer_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok)
{
    if (type == KV_Q8_0)
        return 0;
    return td_align_up(kern_kv_canon_bytes(type, heads, head_dim, block_tok), 64);
}

/* ---- operations ---- */

#define OP(op, args)                                                                     \
    static void run_##op(kern_dev *dev, const args *a)                                   \
    {                                                                                    \
        GPU_SYM(op_##op)(a, gpu_self(dev)->stream);                                      \
        GPU_SYM(dev_good)(gpu_self(dev), GPU_SYM(rt_last_error)(), #op);                 \
    }
OP(embed, kern_embed_args)
OP(norm, kern_norm_args)
OP(quant, kern_quant_args)
OP(rope, kern_rope_args)
OP(kv_store, kern_kv_store_args)
OP(attention, kern_attn_args)
#undef OP

static void run_matmul(kern_dev *dev, const kern_matmul_args *a)
{
    gpu_dev *d = gpu_self(dev);
    GPU_SYM(op_matmul)(a, d->props.sm, d->stream);
    GPU_SYM(dev_good)(d, GPU_SYM(rt_last_error)(), "matmul");
}

static void run_kv_pack(kern_dev *dev, const kern_kv_move_args *a)
{
    GPU_SYM(op_kv_move)(a, true, gpu_self(dev)->stream);
    GPU_SYM(dev_good)(gpu_self(dev), GPU_SYM(rt_last_error)(), "kv_pack");
}

static void run_kv_unpack(kern_dev *dev, const kern_kv_move_args *a)
{
    GPU_SYM(op_kv_move)(a, false, gpu_self(dev)->stream);
    GPU_SYM(dev_good)(gpu_self(dev), GPU_SYM(rt_last_error)(), "kv_unpack");
}

static size_t attn_scratch_bytes(kern_dev *dev, int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max)
{
    (void)dev;
    return GPU_SYM(op_attn_scratch_bytes)(tok_max, q_heads, head_dim, ctx_max);
}

/* ---- sampling ----
 * io: answers [rows], then rows [rows], then a pool for their adj and mask. Rows go to the card as many at a time as
 * the pool holds; it has room for the largest row that there can be. */

static size_t mask_bytes(int32_t vocab) { return td_align_up((size_t)(vocab + 31) / 32 * 4, 16); }

static size_t row_pool_bytes(const kern_sample_row *r, int32_t vocab)
{
    return td_align_up((size_t)r->adj_count * sizeof *r->adj, 16) + (r->mask ? mask_bytes(vocab) : 0);
}

typedef struct sample_layout {
    size_t rows, pool, bytes; // offsets, and the whole
} sample_layout;

static sample_layout sample_place(int32_t row_max, int32_t vocab)
{
    sample_layout l;
    l.rows = td_align_up((size_t)row_max * sizeof(kern_sample_out), 64);
    l.pool = l.rows + td_align_up((size_t)row_max * sizeof(kern_sample_row), 64);
    l.bytes = l.pool + td_align_up((size_t)vocab * sizeof(kern_sample_adj), 16) + mask_bytes(vocab) + GPU_SAMPLE_POOL;
    return l;
}

static size_t sample_io_bytes(kern_dev *dev, int32_t row_max, int32_t vocab)
{
    (void)dev;
    return sample_place(row_max, vocab).bytes;
}

static size_t sample_scratch_bytes(kern_dev *dev, int32_t row_max, int32_t vocab)
{
    (void)dev;
    return (size_t)row_max * (size_t)vocab * sizeof(float);
}

/* Appends bytes to the pool; where the device sees them. */
static const void *pool_add(const kern_stage *io, size_t *at, const void *src, size_t bytes, size_t room)
{
    td_assert(*at + room <= io->bytes);
    memcpy((char *)io->host + *at, src, bytes);
    const void *there = (char *)io->dev + *at;
    *at += room;
    return there;
}

/* Puts rows from `first` on into the stage while the pool has room; returns the one after them. */
static int32_t stage_rows(const kern_sample_args *a, const sample_layout *l, int32_t first, size_t *end)
{
    kern_sample_row *rows = (kern_sample_row *)(void *)((char *)a->io->host + l->rows);
    size_t at = l->pool;
    int32_t i = first;
    for (; i < a->row_count; i++) {
        const kern_sample_row *r = &a->rows[i];
        td_assert(r->adj_count <= a->vocab && r->top_n <= TD_LOGPROBS_MAX);
        if (i > first && row_pool_bytes(r, a->vocab) > a->io->bytes - at)
            break;
        rows[i] = *r;
        size_t adj = (size_t)r->adj_count * sizeof *r->adj, mask = (size_t)(a->vocab + 31) / 32 * 4;
        rows[i].adj = adj ? pool_add(a->io, &at, r->adj, adj, td_align_up(adj, 16)) : NULL;
        rows[i].mask = r->mask ? pool_add(a->io, &at, r->mask, mask, mask_bytes(a->vocab)) : NULL;
        for (int32_t k = 0; k < r->adj_count; k++)
            td_assert(r->adj[k].id >= 0 && r->adj[k].id < a->vocab);
    }
    *end = at;
    return i;
}

static void run_sample(kern_dev *dev, const kern_sample_args *a)
{
    gpu_dev *d = gpu_self(dev);
    td_assert((void *)a->out == a->io->host);
    sample_layout l = sample_place(a->row_count, a->vocab);
    td_assert(l.bytes <= a->io->bytes);
    for (int32_t first = 0, next; first < a->row_count; first = next) {
        size_t end;
        if (first > 0) // the pool is in use until the rows before have been drawn
            GPU_SYM(dev_good)(d, GPU_SYM(rt_stream_sync)(d->stream), "sampling");
        next = stage_rows(a, &l, first, &end);
        d->ops.stage_push(dev, a->io, l.rows, end - l.rows);
        gpu_sample_args g = {.logits = a->logits, .vocab = a->vocab, .logit_stride = a->logit_stride,
                             .row_count = next - first, .slots = a->slots, .scratch = a->scratch,
                             .rows = (const kern_sample_row *)(void *)((char *)a->io->dev + l.rows) + first,
                             .out = (kern_sample_out *)a->io->dev + first};
        GPU_SYM(op_sample)(&g, d->stream);
        GPU_SYM(dev_good)(d, GPU_SYM(rt_last_error)(), "sample");
    }
    d->ops.stage_pull(dev, a->io, 0, (size_t)a->row_count * sizeof *a->out);
}

void GPU_SYM(dev_compute_ops)(kern_ops *ops)
{
    ops->pack_rows = GEMM_ROWS;
    ops->weight_act = weight_act;
    ops->weight_bytes = weight_bytes;
    ops->weight_pack = weight_pack;
    ops->weight_row = weight_row;
    ops->act_stride = act_stride;
    ops->embed = run_embed;
    ops->norm = run_norm;
    ops->quant = run_quant;
    ops->matmul = run_matmul;
    ops->rope = run_rope;
    ops->kv_layer_bytes = kv_layer_bytes;
    ops->kv_store = run_kv_store;
    ops->attn_scratch_bytes = attn_scratch_bytes;
    ops->attention = run_attention;
    ops->kv_pack = run_kv_pack;
    ops->kv_unpack = run_kv_unpack;
    ops->sample_scratch_bytes = sample_scratch_bytes;
    ops->sample_io_bytes = sample_io_bytes;
    ops->sample = run_sample;
}
