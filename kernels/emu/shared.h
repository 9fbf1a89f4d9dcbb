/* shared.h - a block's shared memory with red zones and shadow, and the floating-point mode of kernels. */
#ifndef TD_KERNELS_EMU_SHARED_H
#define TD_KERNELS_EMU_SHARED_H

#include "kernels/emu/int.h"

void emu_smem_open(emu_block *b, size_t bytes); // NaN bytes
void emu_smem_close(emu_block *b);

/* CUDA keeps denormals and rounds to nearest; the engine's threads flush. Returns what emu_float_end puts back. */
unsigned emu_float_begin(void);
void emu_float_end(unsigned before);

#endif
