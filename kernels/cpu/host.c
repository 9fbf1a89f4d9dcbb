/* Host and device on a CPU: one memory, so stages have one address, nothing is copied and nothing is waited for. */
#include "kernels/cpu/host.h"

#include "kernels/cpu/mem.h"

#include <string.h>

void cpu_put(kern_dev *dev, void *dst, const void *src_host, size_t bytes)
{
    (void)dev;
    if (bytes)
        memcpy(dst, src_host, bytes);
}

void cpu_get(kern_dev *dev, void *dst_host, const void *src, size_t bytes) { cpu_put(dev, dst_host, src, bytes); }

bool cpu_stage_alloc(kern_dev *dev, size_t bytes, kern_stage *out)
{
    (void)dev;
    void *p = cpu_mem_alloc(bytes);
    if (p)
        *out = (kern_stage){.host = p, .dev = p, .bytes = bytes};
    return p != NULL;
}

void cpu_stage_free(kern_dev *dev, kern_stage *s)
{
    (void)dev;
    cpu_mem_free(s->host, s->bytes);
    *s = (kern_stage){0};
}

void cpu_stage_move(kern_dev *dev, const kern_stage *s, size_t off, size_t bytes)
{
    (void)dev;
    td_assert(off <= s->bytes && bytes <= s->bytes - off);
}

uint64_t cpu_mark(kern_dev *dev)
{
    (void)dev;
    return 0;
}

void cpu_wait(kern_dev *dev, uint64_t mark) { (void)dev, (void)mark; }
