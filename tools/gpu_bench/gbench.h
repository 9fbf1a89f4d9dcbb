/* gbench.h - measures the GPU kernels against the card's own roofs: bytes against a large copy, products against the
 * best matrix product that the vendor's library makes on the same card in the same run.
 *
 * A program of its own, without server and model, so that it builds from a C compiler and the CUDA toolkit alone. Under
 * the emulator it runs the same calls on small shapes, which shows that they are right, and nothing of speed.
 * Operands are random, several sets of them in turn, so that the second-level cache holds none. A time is the median of
 * replays of a graph of many calls, by the card's clock. */
#ifndef TD_GPU_BENCH_GBENCH_H
#define TD_GPU_BENCH_GBENCH_H

#include "kernels/cuda/gpu_ops.h"

#include <stdio.h>

typedef struct gbench {
    gpu_stream stream;
    gpu_event from, to;
    gpu_rt_props props;
    FILE *table;           // a copy of what goes to stdout, or NULL
    bool small;            // the emulator's shapes
    uint8_t *noise;        // device: NOISE_BYTES of random bf16 in [-1, 1)
    double copy_gbs;       // roofs; 0 until measured
    double matmul_tflops;
    int failures;
} gbench;

enum { NOISE_BYTES = 32 << 20, NOISE_SMALL = 1 << 20, SETS_MAX = 16 };

typedef void (*gbench_call)(gbench *b, void *ctx, int set); // queues one call on b->stream

/* Seconds of one call; sets of operands are taken in turn. < 0 where the card refused. */
double gbench_time(gbench *b, gbench_call call, void *ctx, int sets);
/* Sets that together are four times the second-level cache. */
int gbench_sets(const gbench *b, size_t bytes_of_one);

/* Device memory; ends the program with a message where there is none. Noise repeated, or zeros. */
void *gbench_noise(gbench *b, size_t bytes);
void *gbench_zeros(gbench *b, size_t bytes);
void *gbench_upload(gbench *b, const void *host, size_t bytes);
void gbench_free(void *p);

void gbench_head(gbench *b, const char *title);
/* A row: what, time, bytes and operations of one call; peer_s: the library's time, or 0. */
void gbench_row(gbench *b, const char *what, double s, double bytes, double flop, double peer_s);

void gbench_roof(gbench *b);
void gbench_gemm(gbench *b);
void gbench_attention(gbench *b);
void gbench_rest(gbench *b);

/* The vendor's matrix product, loaded at run time: seconds of bf16 [rows][cols] times [toks][cols] to f32, or 0 without
 * it. */
double blas_time(gbench *b, int32_t rows, int32_t cols, int32_t toks);

#endif
