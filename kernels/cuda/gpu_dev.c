/* Opening a GPU: what is there, whether it will do, streams and events; and how its faults are told. */
#include "kernels/cuda/gpu_int.h"

#include "base/arena.h"

#include <stdio.h>

bool GPU_SYM(dev_good)(gpu_dev *d, int32_t rc, const char *what)
{
    if (rc == GPU_OK)
        return true;
    if (!atomic_exchange(&d->failed, true)) { // the first one is the cause
        snprintf(d->fault_text, sizeof d->fault_text, "%s, seen at %s", GPU_SYM(rt_error_name)(rc), what);
        atomic_store(&d->fault, d->fault_text);
    }
    return false;
}

static const char *dev_fault(kern_dev *dev) { return atomic_load(&gpu_self(dev)->fault); }

static uint64_t dev_mark(kern_dev *dev)
{
    gpu_dev *d = gpu_self(dev);
    uint64_t mark = d->mark_count++;
    GPU_SYM(dev_good)(d, GPU_SYM(rt_event_record)(d->marks[mark % GPU_MARKS], d->stream), "event record");
    return mark;
}

static void dev_wait(kern_dev *dev, uint64_t mark)
{
    gpu_dev *d = gpu_self(dev);
    td_assert(mark < d->mark_count && d->mark_count - mark <= GPU_MARKS);
    if (atomic_exchange(&d->loading, false))
        GPU_SYM(dev_good)(d, GPU_SYM(rt_stream_sync)(d->load_stream), "loading");
    if (!dev_fault(dev))
        GPU_SYM(dev_good)(d, GPU_SYM(rt_event_sync)(d->marks[mark % GPU_MARKS]), "a step");
}

static void dev_memory(kern_dev *dev, uint64_t *total, uint64_t *unused)
{
    gpu_rt_props p = {.mem_bytes = 0};
    GPU_SYM(dev_good)(gpu_self(dev), GPU_SYM(rt_get_props)(0, &p), "memory query");
    *total = (uint64_t)p.mem_bytes;
    *unused = (uint64_t)TD_MIN(p.mem_free, p.mem_bytes);
}

static void dev_close(kern_dev *dev)
{
    gpu_dev *d = gpu_self(dev);
    GPU_SYM(dev_load_close)(d);
    for (int i = 0; i < GPU_MARKS; i++)
        if (d->marks[i])
            GPU_SYM(rt_event_destroy)(d->marks[i]);
    if (d->stream)
        GPU_SYM(rt_stream_destroy)(d->stream);
    if (d->load_stream)
        GPU_SYM(rt_stream_destroy)(d->load_stream);
    GPU_SYM(rt_close)();
    td_free(d);
}

static td_rc missing(int32_t rc, td_err *err)
{
    if (rc == GPU_E_NO_DRIVER)
        return td_fail_param(err, TD_E_DEVICE, "device", "no usable NVIDIA driver on this machine; use --device cpu");
    if (rc == GPU_E_NO_DEVICE)
        return td_fail_param(err, TD_E_DEVICE, "device", "no NVIDIA GPU on this machine; use --device cpu");
    return td_fail_param(err, TD_E_DEVICE, "device", "the GPU does not answer (%s)", GPU_SYM(rt_error_name)(rc));
}

static td_rc find_card(gpu_rt_props *p, td_err *err)
{
    int32_t count = 0, rc = GPU_SYM(rt_count)(&count);
    if (rc == GPU_OK && count == 0)
        rc = GPU_E_NO_DEVICE;
    if (rc == GPU_OK)
        rc = GPU_SYM(rt_open)(0);
    if (rc == GPU_OK)
        rc = GPU_SYM(rt_get_props)(0, p);
    if (rc != GPU_OK)
        return missing(rc, err);
    if (p->sm < GPU_SM_MIN)
        return td_fail_param(err, TD_E_DEVICE, "device", "%s has compute capability %d.%d; 8.0 is needed", p->name,
                             p->sm / 10, p->sm % 10);
    return TD_OK;
}

static bool open_streams(gpu_dev *d)
{
    bool good = GPU_SYM(rt_stream_create)(&d->stream) == GPU_OK && GPU_SYM(rt_stream_create)(&d->load_stream) == GPU_OK;
    for (int i = 0; good && i < GPU_MARKS; i++)
        good = GPU_SYM(rt_event_create)(&d->marks[i]) == GPU_OK;
    return good && GPU_SYM(dev_load_open)(d);
}

td_rc GPU_SYM(dev_open)(kern_dev **out, td_err *err)
{
    gpu_rt_props props;
    td_rc rc = find_card(&props, err);
    if (rc != TD_OK)
        return rc;
    gpu_dev *d = td_alloc(sizeof *d);
    if (!d)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a compute device");
    // Tensor cores of one generation add alike: bits are named after it, not after the card.
    int generation = props.sm >= 90 ? 90 : 80;
    d->props = props;
    snprintf(d->name, sizeof d->name, "%s-sm%d", props.driver ? "cuda" : "emu", (int)props.sm);
    snprintf(d->numerics, sizeof d->numerics, "sm%d-1", generation);
    d->ops = (kern_ops){.name = d->name, .numerics_id = d->numerics, .chunks_max = 2, .block_tok = 64, .step_tok = 8192,
                        .memory = dev_memory, .mark = dev_mark, .wait = dev_wait, .fault = dev_fault,
                        .close = dev_close};
    GPU_SYM(dev_mem_ops)(&d->ops);
    GPU_SYM(dev_compute_ops)(&d->ops);
    d->base = (kern_dev){.ops = &d->ops, .thread_count = 1};
    if (!open_streams(d)) {
        dev_close(&d->base);
        return td_fail(err, TD_E_DEVICE, "%s has no room for streams and buffers", props.name);
    }
    *out = &d->base;
    return TD_OK;
}
