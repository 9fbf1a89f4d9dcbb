/* wgmma.c */
#include "kernels/emu/int.h"
void emu_regs_access(const void *at, size_t bytes, const void *pc)
{
    (void)at;
    (void)bytes;
    (void)pc;
}
void emu_wgmma_reads(emu_block *b, size_t off, size_t bytes, const void *pc)
{
    (void)b;
    (void)off;
    (void)bytes;
    (void)pc;
}
