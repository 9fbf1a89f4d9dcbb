/* rt.c - gpu_rt.h over the emulator: argument checks as the CUDA runtime makes them, and one lock around the queues,
 * the work they run and the table of memory. */
#include "kernels/emu/queue.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int32_t last_error;
enum { ARGS_ALIGN = 64 }; // of a tensor map

static int32_t fail(int32_t e) // the first one stays
{
    int32_t none = GPU_OK;
    atomic_compare_exchange_strong(&last_error, &none, e);
    return e;
}

int32_t emu_rt_count(int32_t *out)
{
    *out = 1;
    return GPU_OK;
}

int32_t emu_rt_open(int32_t device) { return device == 0 ? GPU_OK : 101; }
int32_t emu_rt_close(void) { return emu_rt_device_sync(); }

int32_t emu_rt_get_props(int32_t device, gpu_rt_props *out)
{
    if (device != 0)
        return 101;
    *out = (gpu_rt_props){.name = "emulated Hopper", .sm = 90, .sm_count = 132, .mem_bytes = (int64_t)16 << 30,
                          .smem_max = EMU_SMEM_MAX, .l2_bytes = 50 << 20};
    out->mem_free = out->mem_bytes - (int64_t)emu_mem_used();
    return GPU_OK;
}

const char *emu_rt_error_name(int32_t error)
{
    switch (error) {
    case GPU_OK: return "cudaSuccess: no error";
    case GPU_E_INVALID: return "cudaErrorInvalidValue: invalid argument";
    case GPU_E_NOMEM: return "cudaErrorMemoryAllocation: out of memory";
    case 9: return "cudaErrorInvalidConfiguration: invalid configuration argument";
    case 101: return "cudaErrorInvalidDevice: invalid device ordinal";
    case 400: return "cudaErrorInvalidResourceHandle: invalid resource handle";
    case GPU_E_NOT_READY: return "cudaErrorNotReady: device not ready";
    case 900: return "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing";
    default: return "unknown error of the emulated device";
    }
}

int32_t emu_rt_last_error(void)
{
    return atomic_exchange(&last_error, GPU_OK);
}

static int32_t mem_alloc(size_t bytes, bool device, void **out)
{
    pthread_mutex_lock(&lock);
    *out = emu_mem_alloc(TD_MAX(bytes, 1), device);
    pthread_mutex_unlock(&lock);
    return *out ? GPU_OK : fail(GPU_E_NOMEM);
}

static int32_t mem_free(void *p, bool device) // waits for everything, as the card's runtime does
{
    emu_rt_device_sync();
    pthread_mutex_lock(&lock);
    bool ok = !p || emu_mem_free(p, device);
    pthread_mutex_unlock(&lock);
    return ok ? GPU_OK : fail(GPU_E_INVALID);
}

int32_t emu_rt_malloc(size_t bytes, void **out) { return mem_alloc(bytes, true, out); }
int32_t emu_rt_free(void *dev) { return mem_free(dev, true); }
int32_t emu_rt_host_alloc(size_t bytes, void **out) { return mem_alloc(bytes, false, out); }
int32_t emu_rt_host_free(void *host) { return mem_free(host, false); }

int32_t emu_rt_stream_create(gpu_stream *out)
{
    pthread_mutex_lock(&lock);
    uint32_t i = 0;
    while (i < EMU_STREAMS_MAX && emu_streams[i])
        i++;
    *out = i < EMU_STREAMS_MAX ? td_alloc(sizeof **out) : NULL;
    if (*out) {
        (*out)->index = i;
        memcpy((*out)->before, emu_host_before, sizeof emu_host_before);
        emu_streams[i] = *out;
    }
    pthread_mutex_unlock(&lock);
    return *out ? GPU_OK : fail(GPU_E_NOMEM);
}

int32_t emu_rt_stream_sync(gpu_stream s)
{
    if (!s || s->capture)
        return fail(s ? 900 : 400);
    pthread_mutex_lock(&lock);
    emu_queue_until_idle(s);
    pthread_mutex_unlock(&lock);
    return GPU_OK;
}

int32_t emu_rt_stream_destroy(gpu_stream s)
{
    if (!s)
        return fail(400);
    pthread_mutex_lock(&lock);
    if (!s->capture)
        emu_queue_until_idle(s);
    emu_streams[s->index] = NULL;
    pthread_mutex_unlock(&lock);
    td_free(s);
    return GPU_OK;
}

int32_t emu_rt_device_sync(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < EMU_STREAMS_MAX; i++)
        if (emu_streams[i] && !emu_streams[i]->capture)
            emu_queue_until_idle(emu_streams[i]);
    pthread_mutex_unlock(&lock);
    return GPU_OK;
}

int32_t emu_rt_event_create(gpu_event *out)
{
    *out = td_alloc(sizeof **out);
    return *out ? GPU_OK : fail(GPU_E_NOMEM);
}

int32_t emu_rt_event_destroy(gpu_event e)
{
    if (!e)
        return fail(400);
    emu_rt_device_sync(); // queued operations may name it
    td_free(e);
    return GPU_OK;
}

static emu_op *op_new(emu_op_kind kind)
{
    emu_op *op = emu_alloc(sizeof *op);
    op->kind = kind;
    return op;
}

static int32_t push(gpu_stream s, emu_op *op)
{
    pthread_mutex_lock(&lock);
    emu_queue_push(s, op);
    pthread_mutex_unlock(&lock);
    return GPU_OK;
}

int32_t emu_rt_event_record(gpu_event e, gpu_stream s)
{
    if (!e || !s)
        return fail(400);
    emu_op *op = op_new(EMU_OP_RECORD);
    op->event = e;
    e->capture = NULL;
    op->ticket = s->capture ? e->recorded : ++e->recorded;
    return push(s, op);
}

int32_t emu_rt_stream_wait(gpu_stream s, gpu_event e)
{
    if (!e || !s)
        return fail(400);
    if (e->capture && !s->capture) { // the stream joins the recording
        if (s->head)
            return fail(900);
        s->capture = e->capture;
    }
    if (!e->capture && (s->capture || e->recorded == 0))
        return s->capture && e->recorded ? fail(900) : GPU_OK;
    emu_op *op = op_new(EMU_OP_WAIT);
    op->event = e;
    op->ticket = e->recorded;
    return push(s, op);
}

int32_t emu_rt_event_sync(gpu_event e)
{
    if (!e || e->capture)
        return fail(400);
    pthread_mutex_lock(&lock);
    emu_queue_until(e, e->recorded);
    pthread_mutex_unlock(&lock);
    return GPU_OK;
}

int32_t emu_rt_event_query(gpu_event e)
{
    if (!e || e->capture)
        return fail(400);
    pthread_mutex_lock(&lock);
    bool done = emu_queue_poll(e);
    pthread_mutex_unlock(&lock);
    return done ? GPU_OK : GPU_E_NOT_READY;
}

int32_t emu_rt_event_elapsed(gpu_event from, gpu_event to, float *ms)
{
    if (!from || !to || !from->recorded || !to->recorded)
        return fail(400);
    if (from->done < from->recorded || to->done < to->recorded)
        return GPU_E_NOT_READY;
    *ms = (float)(to->ms - from->ms);
    return GPU_OK;
}

static bool inside(const void *p, size_t bytes, bool device)
{
    pthread_mutex_lock(&lock);
    const emu_region *r = emu_mem_find(p);
    bool ok = r && r->device == device && (size_t)(r->hi - (const uint8_t *)p) >= bytes;
    pthread_mutex_unlock(&lock);
    return ok;
}

static int32_t copy(void *to, bool to_device, const void *from, bool from_device, size_t bytes, gpu_stream s)
{
    if (!s)
        return fail(400);
    if (bytes == 0)
        return GPU_OK;
    if (!inside(to, bytes, to_device) || !inside(from, bytes, from_device))
        return fail(GPU_E_INVALID);
    emu_op *op = op_new(EMU_OP_COPY);
    op->to = to;
    op->from = from;
    op->bytes = bytes;
    op->from_host = !from_device;
    return push(s, op);
}

int32_t emu_rt_copy_h2d(void *dev, const void *host, size_t bytes, gpu_stream s)
{
    return copy(dev, true, host, false, bytes, s);
}

int32_t emu_rt_copy_d2h(void *host, const void *dev, size_t bytes, gpu_stream s)
{
    return copy(host, false, dev, true, bytes, s);
}

int32_t emu_rt_copy_d2d(void *to, const void *from, size_t bytes, gpu_stream s)
{
    return copy(to, true, from, true, bytes, s);
}

int32_t emu_rt_memset(void *dev, int value, size_t bytes, gpu_stream s)
{
    if (!s)
        return fail(400);
    if (bytes == 0)
        return GPU_OK;
    if (!inside(dev, bytes, true))
        return fail(GPU_E_INVALID);
    emu_op *op = op_new(EMU_OP_SET);
    op->to = dev;
    op->value = value;
    op->bytes = bytes;
    return push(s, op);
}

static bool config_ok(const emu_launch_cfg *c)
{
    uint64_t threads = (uint64_t)c->block[0] * c->block[1] * c->block[2];
    uint64_t cluster = (uint64_t)c->cluster[0] * c->cluster[1] * c->cluster[2];
    bool ok = threads >= 1 && threads <= EMU_BLOCK_MAX && cluster >= 1 && cluster <= EMU_CLUSTER_MAX &&
              c->smem_bytes <= EMU_SMEM_MAX && c->grid[0] >= 1 && c->grid[0] <= 0x7fffffff && c->grid[1] >= 1 &&
              c->grid[1] <= 65535 && c->grid[2] >= 1 && c->grid[2] <= 65535 && c->block[2] <= 64;
    for (int d = 0; ok && d < 3; d++)
        ok = c->grid[d] % c->cluster[d] == 0;
    return ok;
}

void emu_launch(const char *name, const char *file, int line, const emu_launch_cfg *cfg, void (*run)(const void *args),
                const void *args, size_t args_bytes)
{
    if (emu_cur)
        td_bug("a kernel launches a kernel", file, line);
    if (!cfg->stream || !config_ok(cfg)) {
        fail(cfg->stream ? 9 : 400);
        return;
    }
    emu_op *op = op_new(EMU_OP_KERNEL);
    emu_launch_op *k = &op->kernel;
    *k = (emu_launch_op){.name = name, .file = file, .line = line, .smem_bytes = cfg->smem_bytes, .pdl = cfg->pdl,
                         .run = run, .args_block = emu_alloc(args_bytes + ARGS_ALIGN), .args_bytes = args_bytes};
    k->args = (void *)td_align_up((uintptr_t)k->args_block, ARGS_ALIGN);
    memcpy(k->args, args, args_bytes);
    memcpy(k->grid, cfg->grid, sizeof k->grid);
    memcpy(k->block, cfg->block, sizeof k->block);
    memcpy(k->cluster, cfg->cluster, sizeof k->cluster);
    uint64_t groups = 1;
    for (int d = 0; d < 3; d++)
        groups *= cfg->grid[d] / cfg->cluster[d];
    td_assert(groups <= UINT32_MAX);
    k->group_count = (uint32_t)groups;
    push(cfg->stream, op);
}

int32_t emu_rt_graph_begin(gpu_stream s)
{
    if (!s || s->capture)
        return fail(s ? 900 : 400);
    gpu_graph g = td_alloc(sizeof *g);
    if (!g)
        return fail(GPU_E_NOMEM);
    memset(g->last, 0xff, sizeof g->last); // -1
    g->origin = s;
    s->capture = g;
    return GPU_OK;
}

int32_t emu_rt_graph_end(gpu_stream s, gpu_graph *out)
{
    if (!s || !s->capture || s->capture->origin != s)
        return fail(900);
    *out = s->capture;
    for (int i = 0; i < EMU_STREAMS_MAX; i++)
        if (emu_streams[i] && emu_streams[i]->capture == *out)
            emu_streams[i]->capture = NULL;
    return GPU_OK;
}

int32_t emu_rt_graph_launch(gpu_graph g, gpu_stream s)
{
    if (!g || !s || s->capture)
        return fail(s && s->capture ? 900 : 400);
    emu_op *op = op_new(EMU_OP_GRAPH);
    op->graph = g;
    op->sums = emu_graph_sums(g);
    return push(s, op);
}

int32_t emu_rt_graph_destroy(gpu_graph g)
{
    if (!g)
        return fail(400);
    emu_rt_device_sync();
    for (uint32_t i = 0; i < g->count; i++) {
        emu_op_free(g->nodes[i].op);
        td_free(g->nodes[i].deps);
    }
    td_free(g->nodes);
    td_free(g);
    return GPU_OK;
}
