/* roof_loops.h - loops of one instruction each on registers, behind roof.h. */
#ifndef TD_KERNELS_CPU_ROOF_LOOPS_H
#define TD_KERNELS_CPU_ROOF_LOOPS_H

#include <stdint.h>

/* ROOF_LOOP(body): `rounds` times twelve independent chains, enough for a latency of 6 and two a cycle. The empty
 * statement keeps the compiler from folding them. */
#define ROOF_CHAINS 12
#define ROOF_LOOP(type, zero, step)                                                                                    \
    type acc[ROOF_CHAINS];                                                                                             \
    _Pragma("GCC unroll 12") for (int i = 0; i < ROOF_CHAINS; i++)                                                     \
        acc[i] = zero;                                                                                                 \
    for (int64_t n = 0; n < rounds; n++) {                                                                             \
        _Pragma("GCC unroll 12") for (int i = 0; i < ROOF_CHAINS; i++)                                                 \
        {                                                                                                              \
            acc[i] = step;                                                                                             \
            __asm__ volatile("" : "+v"(acc[i]));                                                                       \
        }                                                                                                              \
    }

void roof_fma_256(int64_t rounds);
void roof_maddubs_chain_256(int64_t rounds);
void roof_maddubs_add16_256(int64_t rounds);
void roof_fma_512(int64_t rounds);
void roof_dpbusd_256(int64_t rounds);
void roof_dpbusd_512(int64_t rounds);
void roof_dpbf16_512(int64_t rounds);

#endif
