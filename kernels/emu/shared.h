/* shared.h - a block's shared memory with red zones and shadow, and the floating-point mode of kernels. */
#ifndef TD_KERNELS_EMU_SHARED_H
#define TD_KERNELS_EMU_SHARED_H

#include "kernels/emu/int.h"

void emu_smem_open(emu_block *b, size_t bytes); // NaN bytes
void emu_smem_close(emu_block *b);

/* Kernels are compiled with -ftz=true: float denormals are zero, as on the engine's threads, and rounding is to
 * nearest. Returns what emu_float_end puts back. */
unsigned emu_float_begin(void);
void emu_float_end(unsigned before);

#endif
