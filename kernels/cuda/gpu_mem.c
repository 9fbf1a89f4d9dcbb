/* Memory and transfers of a GPU: allocation, stages, and the pinned buffers through which weights go to the card. */
#include "kernels/cuda/gpu_int.h"

#include "base/fault.h"

static void *dev_alloc(kern_dev *dev, size_t bytes)
{
    gpu_dev *d = gpu_self(dev);
    void *p = NULL;
    bytes = TD_MAX(bytes, (size_t)1);
    if (td_fault_hit(TD_FAULT_ALLOC))
        return NULL;
    int32_t rc = GPU_SYM(rt_malloc)(bytes, &p);
    if (rc == GPU_E_NOMEM)
        return NULL;
    if (!GPU_SYM(dev_good)(d, rc, "allocation"))
        return NULL;
    rc = GPU_SYM(rt_memset)(p, 0, bytes, d->load_stream);
    if (rc == GPU_OK)
        rc = GPU_SYM(rt_stream_sync)(d->load_stream);
    GPU_SYM(dev_good)(d, rc, "clearing memory");
    return p;
}

static void dev_free(kern_dev *dev, void *p, size_t bytes)
{
    gpu_dev *d = gpu_self(dev);
    (void)bytes;
    if (!p)
        return;
    GPU_SYM(dev_good)(d, GPU_SYM(rt_stream_sync)(d->stream), "a step"); // nothing queued may still use it
    GPU_SYM(dev_good)(d, GPU_SYM(rt_free)(p), "free");
}

/* ---- stages ---- */

static bool stage_alloc(kern_dev *dev, size_t bytes, kern_stage *out)
{
    kern_stage s = {.bytes = bytes};
    s.dev = dev_alloc(dev, bytes);
    if (!s.dev)
        return false;
    if (GPU_SYM(rt_host_alloc)(TD_MAX(bytes, (size_t)1), &s.host) != GPU_OK) {
        dev_free(dev, s.dev, bytes);
        return false;
    }
    memset(s.host, 0, bytes);
    *out = s;
    return true;
}

static void stage_free(kern_dev *dev, kern_stage *s)
{
    dev_free(dev, s->dev, s->bytes);
    if (s->host)
        GPU_SYM(dev_good)(gpu_self(dev), GPU_SYM(rt_host_free)(s->host), "free");
    *s = (kern_stage){0};
}

static void stage_push(kern_dev *dev, const kern_stage *s, size_t off, size_t bytes)
{
    gpu_dev *d = gpu_self(dev);
    td_assert(off <= s->bytes && bytes <= s->bytes - off);
    if (bytes)
        GPU_SYM(dev_good)(d, GPU_SYM(rt_copy_h2d)((char *)s->dev + off, (char *)s->host + off, bytes, d->stream),
                          "transfer to the device");
}

static void stage_pull(kern_dev *dev, const kern_stage *s, size_t off, size_t bytes)
{
    gpu_dev *d = gpu_self(dev);
    td_assert(off <= s->bytes && bytes <= s->bytes - off);
    if (bytes)
        GPU_SYM(dev_good)(d, GPU_SYM(rt_copy_d2h)((char *)s->host + off, (char *)s->dev + off, bytes, d->stream),
                          "transfer from the device");
}

/* ---- loading ---- */

bool GPU_SYM(dev_load_open)(gpu_dev *d)
{
    for (int i = 0; i < GPU_LOAD_BUFFERS; i++)
        pthread_mutex_init(&d->load[i].lock, NULL);
    for (int i = 0; i < GPU_LOAD_BUFFERS; i++)
        if (GPU_SYM(rt_host_alloc)(GPU_LOAD_BYTES, &d->load[i].host) != GPU_OK ||
            GPU_SYM(rt_event_create)(&d->load[i].done) != GPU_OK)
            return false;
    return true;
}

void GPU_SYM(dev_load_close)(gpu_dev *d)
{
    if (d->load_stream)
        GPU_SYM(rt_stream_sync)(d->load_stream);
    for (int i = 0; i < GPU_LOAD_BUFFERS; i++) {
        if (d->load[i].done)
            GPU_SYM(rt_event_destroy)(d->load[i].done);
        if (d->load[i].host)
            GPU_SYM(rt_host_free)(d->load[i].host);
        pthread_mutex_destroy(&d->load[i].lock);
    }
}

/* Its last copy is done then. */
gpu_load_buffer *GPU_SYM(dev_load_begin)(gpu_dev *d)
{
    gpu_load_buffer *b = &d->load[atomic_fetch_add(&d->load_next, 1) % GPU_LOAD_BUFFERS];
    pthread_mutex_lock(&b->lock);
    if (b->pending)
        GPU_SYM(dev_good)(d, GPU_SYM(rt_event_sync)(b->done), "loading");
    b->pending = false;
    return b;
}

void GPU_SYM(dev_load_send)(gpu_dev *d, gpu_load_buffer *b, void *dst, size_t bytes)
{
    GPU_SYM(dev_good)(d, GPU_SYM(rt_copy_h2d)(dst, b->host, bytes, d->load_stream), "loading");
    GPU_SYM(dev_good)(d, GPU_SYM(rt_event_record)(b->done, d->load_stream), "loading");
    b->pending = true;
    atomic_store(&d->loading, true);
    pthread_mutex_unlock(&b->lock);
}

void GPU_SYM(dev_load_rows)(gpu_dev *d, void *dst, size_t stride, const void *src, size_t bytes, size_t rows)
{
    td_assert(bytes <= stride && stride <= GPU_LOAD_BYTES);
    size_t batch = GPU_LOAD_BYTES / stride;
    for (size_t r = 0; r < rows; r += batch) {
        size_t n = TD_MIN(batch, rows - r);
        gpu_load_buffer *b = GPU_SYM(dev_load_begin)(d);
        for (size_t i = 0; i < n; i++) {
            char *to = (char *)b->host + i * stride;
            memcpy(to, (const char *)src + (r + i) * bytes, bytes);
            memset(to + bytes, 0, stride - bytes);
        }
        GPU_SYM(dev_load_send)(d, b, (char *)dst + r * stride, n * stride);
    }
}

static void dev_put(kern_dev *dev, void *dst, const void *src_host, size_t bytes)
{
    gpu_dev *d = gpu_self(dev);
    for (size_t at = 0; at < bytes; at += GPU_LOAD_BYTES) {
        size_t n = TD_MIN(bytes - at, (size_t)GPU_LOAD_BYTES);
        GPU_SYM(dev_load_rows)(d, (char *)dst + at, n, (const char *)src_host + at, n, 1);
    }
    GPU_SYM(dev_good)(d, GPU_SYM(rt_stream_sync)(d->load_stream), "loading");
}

static void dev_get(kern_dev *dev, void *dst_host, const void *src, size_t bytes)
{
    gpu_dev *d = gpu_self(dev);
    GPU_SYM(dev_good)(d, GPU_SYM(rt_stream_sync)(d->load_stream), "loading");
    for (size_t at = 0; at < bytes; at += GPU_LOAD_BYTES) {
        size_t n = TD_MIN(bytes - at, (size_t)GPU_LOAD_BYTES);
        gpu_load_buffer *b = GPU_SYM(dev_load_begin)(d);
        GPU_SYM(dev_good)(d, GPU_SYM(rt_copy_d2h)(b->host, (const char *)src + at, n, d->stream), "reading memory");
        GPU_SYM(dev_good)(d, GPU_SYM(rt_stream_sync)(d->stream), "reading memory");
        memcpy((char *)dst_host + at, b->host, n);
        pthread_mutex_unlock(&b->lock);
    }
}

static void dev_kv_copy(kern_dev *dev, const kern_kv_layer *kv, int32_t dst, int32_t src, int32_t tok_count)
{
    gpu_dev *d = gpu_self(dev);
    td_assert(tok_count <= kv->block_tok);
    size_t bytes = d->ops.kv_layer_bytes(kv->type, kv->heads, kv->head_dim, kv->block_tok);
    if (dst != src && tok_count > 0)
        GPU_SYM(dev_good)(d, GPU_SYM(rt_copy_d2d)(kv->base + (size_t)dst * kv->block_stride,
                                                  kv->base + (size_t)src * kv->block_stride, bytes, d->stream),
                          "copy of a KV block");
}

void GPU_SYM(dev_mem_ops)(kern_ops *ops)
{
    ops->alloc = dev_alloc;
    ops->free = dev_free;
    ops->put = dev_put;
    ops->get = dev_get;
    ops->stage_alloc = stage_alloc;
    ops->stage_free = stage_free;
    ops->stage_push = stage_push;
    ops->stage_pull = stage_pull;
    ops->kv_copy = dev_kv_copy;
}
