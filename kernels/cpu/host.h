/* host.h - entries of the operation table that join host and device, for a CPU. Any thread; only cpu_stage_alloc() can
 * fail, for lack of memory. */
#ifndef TD_KERNELS_CPU_HOST_H
#define TD_KERNELS_CPU_HOST_H

#include "kernels/kernels.h"

void cpu_put(kern_dev *dev, void *dst, const void *src_host, size_t bytes);
void cpu_get(kern_dev *dev, void *dst_host, const void *src, size_t bytes);
bool cpu_stage_alloc(kern_dev *dev, size_t bytes, kern_stage *out);
void cpu_stage_free(kern_dev *dev, kern_stage *s);
void cpu_stage_move(kern_dev *dev, const kern_stage *s, size_t off, size_t bytes); // push and pull
uint64_t cpu_mark(kern_dev *dev);
void cpu_wait(kern_dev *dev, uint64_t mark);

#endif
