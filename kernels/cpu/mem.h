/* mem.h - memory for weights, caches and steps: zeroed, aligned to 64, on 2 MiB pages where that pays.
 *
 * Reading from 2 MiB pages is a fifth faster than from 4 KiB ones, and a small model has no tensor of 2 MiB: so small
 * pieces are cut from common chunks. A chunk goes back to the system when its last piece is freed. Any thread. */
#ifndef TD_KERNELS_CPU_MEM_H
#define TD_KERNELS_CPU_MEM_H

#include <stddef.h>

void *cpu_mem_alloc(size_t bytes); // NULL when there is none
void cpu_mem_free(void *p, size_t bytes); // the size asked for; NULL is harmless

#endif
