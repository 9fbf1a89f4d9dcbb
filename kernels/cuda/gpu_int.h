/* gpu_int.h - the parts of the GPU's device layer; private to kernels/cuda. */
#ifndef TD_KERNELS_CUDA_GPU_INT_H
#define TD_KERNELS_CUDA_GPU_INT_H

#include "base/check.h"
#include "kernels/cuda/gpu_dev.h"
#include "kernels/cuda/gpu_ops.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    GPU_LOAD_BUFFERS = 4,         // pinned, so that reading, packing and copying overlap
    GPU_LOAD_BYTES = 8 << 20,     // of one; a weight's row is at most 4 MiB
    GPU_MARKS = 64,               // that may be waited for at one time
    GPU_SAMPLE_POOL = 1 << 20,    // bytes for adj and mask of a call, beside the largest of one row
};

typedef struct gpu_load_buffer {
    pthread_mutex_t lock;
    void *host;                   // [GPU_LOAD_BYTES] pinned
    gpu_event done;               // of its last copy
    bool pending;                 // there is one
} gpu_load_buffer;

typedef struct gpu_dev {
    kern_dev base;
    kern_ops ops;                 // base.ops points here
    gpu_rt_props props;
    char name[32], numerics[16];
    gpu_stream stream, load_stream;
    gpu_event marks[GPU_MARKS];
    uint64_t mark_count;
    gpu_load_buffer load[GPU_LOAD_BUFFERS];
    atomic_uint load_next;
    atomic_bool loading;          // load_stream has work that nobody waited for
    atomic_bool failed;           // there was an error
    char fault_text[128];         // the first one's name and the operation that saw it
    _Atomic(const char *) fault;  // fault_text once it is written
} gpu_dev;

static inline gpu_dev *gpu_self(kern_dev *dev) { return (gpu_dev *)dev; }

/* Remembers the first error. true: rc is 0. */
bool GPU_SYM(dev_good)(gpu_dev *d, int32_t rc, const char *what);
/* Fills the entries of the table that move data (gpu_mem.c) and those that compute (gpu_table.c). */
void GPU_SYM(dev_mem_ops)(kern_ops *ops);
void GPU_SYM(dev_compute_ops)(kern_ops *ops);
bool GPU_SYM(dev_load_open)(gpu_dev *d);
void GPU_SYM(dev_load_close)(gpu_dev *d);
/* A buffer to fill, the caller's until it is sent; then its copy to `dst` is queued. Any thread. */
gpu_load_buffer *GPU_SYM(dev_load_begin)(gpu_dev *d);
void GPU_SYM(dev_load_send)(gpu_dev *d, gpu_load_buffer *b, void *dst, size_t bytes);
/* Copies rows of `bytes` from host memory to device rows `stride` apart, zeros between. `src` may change after it. */
void GPU_SYM(dev_load_rows)(gpu_dev *d, void *dst, size_t stride, const void *src, size_t bytes, size_t rows);

#endif
