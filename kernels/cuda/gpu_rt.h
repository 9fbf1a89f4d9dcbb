/* gpu_rt.h - what launchers and the device layer use of a GPU's runtime: memory, streams, events, copies, graphs.
 *
 * One header, two implementations: gpu_rt_cuda.cu over the CUDA runtime (`cuda_rt_malloc` ...) and kernels/emu over the
 * emulator (`emu_rt_malloc` ...). A file that uses it is compiled once for each, with TD_EMU=1 for the emulator.
 *
 * Every call returns 0 or a positive error number (the CUDA runtime's numbers; emu_rt uses the same ones) that
 * GPU_SYM(rt_error_name) names. Some errors are sticky: a device that failed once answers every later call with an
 * error. Any thread may call; a stream belongs to one thread at a time.
 *
 * Pageable host memory is not for asynchronous copies: both ends of one are device memory or memory of rt_host_alloc.
 * The emulator refuses others. Copied memory must not change between the call and the copy's end. */
#ifndef TD_KERNELS_CUDA_GPU_RT_H
#define TD_KERNELS_CUDA_GPU_RT_H

#include <stddef.h>
#include <stdint.h>

#ifdef TD_EMU
#define GPU_SYM(name) emu_##name
#else
#define GPU_SYM(name) cuda_##name
#endif

#ifdef __cplusplus
#define GPU_EXTERN extern "C"
#else
#define GPU_EXTERN
#endif

typedef struct gpu_stream_st *gpu_stream; // NULL is no stream: every operation names one
typedef struct gpu_event_st *gpu_event;
typedef struct gpu_graph_st *gpu_graph; // instantiated, ready to launch

enum { // the few that callers tell apart
    GPU_OK = 0,
    GPU_E_INVALID = 1,
    GPU_E_NOMEM = 2,
    GPU_E_NO_DRIVER = 35,
    GPU_E_NO_DEVICE = 100,
    GPU_E_NOT_READY = 600,
    GPU_E_LAUNCH = 719,
};

typedef struct gpu_rt_props {
    char name[64];
    int32_t sm;            // compute capability: 80, 90 ...
    int32_t sm_count;      // multiprocessors
    int64_t mem_bytes;     // of the device
    int64_t mem_free;      // now
    int32_t smem_max;      // bytes of shared memory a block may have
    int32_t l2_bytes;
    int32_t driver;        // version of the driver, 13000 = 13.0; 0: emulated
} gpu_rt_props;

// Devices. rt_count: GPU_E_NO_DRIVER without a driver (the program still starts), GPU_E_NO_DEVICE without a card.
GPU_EXTERN int32_t GPU_SYM(rt_count)(int32_t *out);
GPU_EXTERN int32_t GPU_SYM(rt_open)(int32_t device); // makes it the calling thread's device
GPU_EXTERN int32_t GPU_SYM(rt_close)(void);          // waits for everything
GPU_EXTERN int32_t GPU_SYM(rt_get_props)(int32_t device, gpu_rt_props *out);
GPU_EXTERN const char *GPU_SYM(rt_error_name)(int32_t error); // "cudaErrorInvalidValue: invalid argument"
GPU_EXTERN int32_t GPU_SYM(rt_last_error)(void);     // of launches; clears what is not sticky

// Memory. Device memory begins as NaN bytes in the emulator and as anything on a card. Alignment 256.
GPU_EXTERN int32_t GPU_SYM(rt_malloc)(size_t bytes, void **out);
GPU_EXTERN int32_t GPU_SYM(rt_free)(void *dev);
GPU_EXTERN int32_t GPU_SYM(rt_host_alloc)(size_t bytes, void **out); // pinned
GPU_EXTERN int32_t GPU_SYM(rt_host_free)(void *host);

// Streams and events. rt_event_query: 0, or GPU_E_NOT_READY. rt_stream_wait makes later work of `s` wait for `e`.
GPU_EXTERN int32_t GPU_SYM(rt_stream_create)(gpu_stream *out);
GPU_EXTERN int32_t GPU_SYM(rt_stream_destroy)(gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_stream_sync)(gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_stream_wait)(gpu_stream s, gpu_event e);
GPU_EXTERN int32_t GPU_SYM(rt_device_sync)(void);
GPU_EXTERN int32_t GPU_SYM(rt_event_create)(gpu_event *out);
GPU_EXTERN int32_t GPU_SYM(rt_event_destroy)(gpu_event e);
GPU_EXTERN int32_t GPU_SYM(rt_event_record)(gpu_event e, gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_event_sync)(gpu_event e);
GPU_EXTERN int32_t GPU_SYM(rt_event_query)(gpu_event e);
GPU_EXTERN int32_t GPU_SYM(rt_event_elapsed)(gpu_event from, gpu_event to, float *ms);

// Copies, in stream order; they return before the copy is done.
GPU_EXTERN int32_t GPU_SYM(rt_copy_h2d)(void *dev, const void *host, size_t bytes, gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_copy_d2h)(void *host, const void *dev, size_t bytes, gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_copy_d2d)(void *to, const void *from, size_t bytes, gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_memset)(void *dev, int value, size_t bytes, gpu_stream s);

/* A tensor as bulk tensor copies (TMA) see it: dimensions fastest first, and the box that one copy moves. The base and
 * the strides are multiples of 16 bytes, box[0] * elem_bytes too, and with a swizzle it fits into the swizzle's width.
 * Kernels take a map as `const __grid_constant__ gpu_tensor_map`. sm_90 and newer. */
typedef struct gpu_tensor_map {
    uint64_t opaque[16];
} __attribute__((aligned(64))) gpu_tensor_map;

typedef struct gpu_tensor_desc {
    void *base;
    int32_t rank;          // 1 to 5
    int32_t elem_bytes;    // 1, 2, 4
    int32_t swizzle_bytes; // 0, 32, 64, 128
    uint32_t dim[5];       // elements
    uint32_t box[5];       // elements, at most 256
    uint64_t stride[5];    // bytes; [0] is not looked at
} gpu_tensor_desc;

GPU_EXTERN int32_t GPU_SYM(rt_tensor_map)(gpu_tensor_map *out, const gpu_tensor_desc *d);

// Graphs. Between begin and end, work of `s` (and of streams that wait for its events) is recorded, not run.
GPU_EXTERN int32_t GPU_SYM(rt_graph_begin)(gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_graph_end)(gpu_stream s, gpu_graph *out);
GPU_EXTERN int32_t GPU_SYM(rt_graph_launch)(gpu_graph g, gpu_stream s);
GPU_EXTERN int32_t GPU_SYM(rt_graph_destroy)(gpu_graph g);

#endif
