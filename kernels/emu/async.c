/* async.c - what is in flight in a block. */
#include "kernels/emu/async.h"

bool emu_async_progress(emu_group *g)
{
    (void)g;
    return false;
}

void emu_async_blame(const emu_fiber *f) { (void)f; }

void emu_async_close(emu_block *b) { (void)b; }
