/* emu_ptx.cuh - the td_ functions of ptx.cuh for the emulator: macros over its calls, which name the caller's line. */
#ifndef TD_KERNELS_EMU_EMU_PTX_CUH
#define TD_KERNELS_EMU_EMU_PTX_CUH

#include "kernels/emu/emu.cuh"

#define EMU_HERE __FILE__, __LINE__

static inline void emu_st_release(unsigned *at, unsigned v, const char *f, int l)
{
    emu_threadfence(f, l);
    emu_atomic32(EMU_STORE, at, v, 0, f, l);
}
#define td_ld_acquire(at) emu_atomic32(EMU_LOAD, const_cast<unsigned *>(at), 0, 0, EMU_HERE)
#define td_st_release(at, v) emu_st_release(at, v, EMU_HERE)

#define td_named_bar_sync(id, threads) emu_named_sync(id, threads, EMU_HERE)
#define td_named_bar_arrive(id, threads) emu_named_arrive(id, threads, EMU_HERE)

#endif
