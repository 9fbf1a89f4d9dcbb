/* roof.h - the instruction loops behind `bench roof`: what this CPU can read and multiply at best, so that every other
 * figure has a denominator. Any thread; each call keeps one core busy for some milliseconds at most. */
#ifndef TD_KERNELS_ROOF_H
#define TD_KERNELS_ROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct kern_roof {
    const char *name;      // "int8 vpdpbusd 512"
    const char *level;     // lowest level that has the instruction: "avx2", "avx512", "avx512vnni"
    bool (*available)(void);
    void (*run)(int64_t rounds);
    double macs;           // multiply-adds in a round
} kern_roof;

/* The loops, by rising width; returns their number. */
int kern_roofs(const kern_roof **out);
/* Reads every cache line of `bytes` (a multiple of 4096) at p and returns something that depends on it. */
uint64_t kern_roof_read(const void *p, size_t bytes);

#endif
