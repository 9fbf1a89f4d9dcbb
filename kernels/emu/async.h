/* async.h - what is in flight in a block: cp.async copies, bulk and tensor copies, wgmma. */
#ifndef TD_KERNELS_EMU_ASYNC_H
#define TD_KERNELS_EMU_ASYNC_H

#include "kernels/emu/int.h"

bool emu_async_progress(emu_group *g);   // delivers something that somebody may wait for; false: nothing in flight
void emu_async_blame(const emu_fiber *f); // f is stuck: the fault, when what it waits for says which
void emu_async_close(emu_block *b);      // the block has ended; nothing may be in flight

#endif
