/* gpu_rt_cuda.cu - gpu_rt.h over the CUDA runtime, linked statically, so that a machine without a driver can start the
 * program and be told. Thin: argument checks are CUDA's. */
#include "kernels/cuda/gpu_rt.h"

#include <cuda.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

static int32_t launch_error;

GPU_EXTERN void cuda_rt_launch_failed(int32_t error);
void cuda_rt_launch_failed(int32_t error)
{
    if (!launch_error)
        launch_error = error;
}

int32_t cuda_rt_count(int32_t *out)
{
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    *out = e == cudaSuccess ? n : 0;
    return (int32_t)e;
}

int32_t cuda_rt_open(int32_t device)
{
    cudaError_t e = cudaSetDevice(device);
    return (int32_t)(e == cudaSuccess ? cudaFree(NULL) : e); // makes the context now
}

int32_t cuda_rt_close(void) { return (int32_t)cudaDeviceSynchronize(); }

int32_t cuda_rt_get_props(int32_t device, gpu_rt_props *out)
{
    cudaDeviceProp p;
    size_t free_bytes = 0, all_bytes = 0;
    int driver = 0;
    cudaError_t e = cudaGetDeviceProperties(&p, device);
    if (e == cudaSuccess)
        e = cudaMemGetInfo(&free_bytes, &all_bytes);
    if (e == cudaSuccess)
        e = cudaDriverGetVersion(&driver);
    if (e != cudaSuccess)
        return (int32_t)e;
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", p.name);
    out->sm = p.major * 10 + p.minor;
    out->sm_count = p.multiProcessorCount;
    out->mem_bytes = (int64_t)all_bytes;
    out->mem_free = (int64_t)free_bytes;
    out->smem_max = (int32_t)p.sharedMemPerBlockOptin;
    out->l2_bytes = p.l2CacheSize;
    out->driver = driver;
    return GPU_OK;
}

const char *cuda_rt_error_name(int32_t error)
{
    static thread_local char text[160];
    snprintf(text, sizeof text, "%s: %s", cudaGetErrorName((cudaError_t)error), cudaGetErrorString((cudaError_t)error));
    return text;
}

int32_t cuda_rt_last_error(void)
{
    int32_t e = launch_error, now = (int32_t)cudaGetLastError();
    launch_error = 0;
    return e ? e : now;
}

int32_t cuda_rt_malloc(size_t bytes, void **out) { return (int32_t)cudaMalloc(out, bytes ? bytes : 1); }
int32_t cuda_rt_free(void *dev) { return (int32_t)cudaFree(dev); }
int32_t cuda_rt_host_alloc(size_t bytes, void **out) { return (int32_t)cudaMallocHost(out, bytes ? bytes : 1); }
int32_t cuda_rt_host_free(void *host) { return (int32_t)cudaFreeHost(host); }

int32_t cuda_rt_stream_create(gpu_stream *out)
{
    return (int32_t)cudaStreamCreateWithFlags((cudaStream_t *)out, cudaStreamNonBlocking);
}

int32_t cuda_rt_stream_destroy(gpu_stream s) { return (int32_t)cudaStreamDestroy((cudaStream_t)s); }
int32_t cuda_rt_stream_sync(gpu_stream s) { return (int32_t)cudaStreamSynchronize((cudaStream_t)s); }

int32_t cuda_rt_stream_wait(gpu_stream s, gpu_event e)
{
    return (int32_t)cudaStreamWaitEvent((cudaStream_t)s, (cudaEvent_t)e, 0);
}

int32_t cuda_rt_device_sync(void) { return (int32_t)cudaDeviceSynchronize(); }
int32_t cuda_rt_event_create(gpu_event *out) { return (int32_t)cudaEventCreate((cudaEvent_t *)out); }
int32_t cuda_rt_event_destroy(gpu_event e) { return (int32_t)cudaEventDestroy((cudaEvent_t)e); }

int32_t cuda_rt_event_record(gpu_event e, gpu_stream s)
{
    return (int32_t)cudaEventRecord((cudaEvent_t)e, (cudaStream_t)s);
}

int32_t cuda_rt_event_sync(gpu_event e) { return (int32_t)cudaEventSynchronize((cudaEvent_t)e); }
int32_t cuda_rt_event_query(gpu_event e) { return (int32_t)cudaEventQuery((cudaEvent_t)e); }

int32_t cuda_rt_event_elapsed(gpu_event from, gpu_event to, float *ms)
{
    return (int32_t)cudaEventElapsedTime(ms, (cudaEvent_t)from, (cudaEvent_t)to);
}

int32_t cuda_rt_copy_h2d(void *dev, const void *host, size_t bytes, gpu_stream s)
{
    return (int32_t)cudaMemcpyAsync(dev, host, bytes, cudaMemcpyHostToDevice, (cudaStream_t)s);
}

int32_t cuda_rt_copy_d2h(void *host, const void *dev, size_t bytes, gpu_stream s)
{
    return (int32_t)cudaMemcpyAsync(host, dev, bytes, cudaMemcpyDeviceToHost, (cudaStream_t)s);
}

int32_t cuda_rt_copy_d2d(void *to, const void *from, size_t bytes, gpu_stream s)
{
    return (int32_t)cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)s);
}

int32_t cuda_rt_memset(void *dev, int value, size_t bytes, gpu_stream s)
{
    return (int32_t)cudaMemsetAsync(dev, value, bytes, (cudaStream_t)s);
}

int32_t cuda_rt_tensor_map(gpu_tensor_map *out, const gpu_tensor_desc *d)
{
    typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                  const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                  CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static_assert(sizeof(CUtensorMap) == sizeof(gpu_tensor_map), "the same 128 bytes");
    void *fn = NULL;
    cudaDriverEntryPointQueryResult found;
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &fn, 12000, cudaEnableDefault, &found);
    if (e != cudaSuccess || found != cudaDriverEntryPointSuccess)
        return e != cudaSuccess ? (int32_t)e : GPU_E_INVALID;
    cuuint64_t dim[5], stride[4];
    cuuint32_t box[5], step[5] = {1, 1, 1, 1, 1};
    if (d->rank < 1 || d->rank > 5)
        return GPU_E_INVALID;
    for (int i = 0; i < d->rank; i++) {
        dim[i] = d->dim[i];
        box[i] = d->box[i];
        if (i)
            stride[i - 1] = d->stride[i];
    }
    CUtensorMapDataType type = d->elem_bytes == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                               : d->elem_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                                                    : CU_TENSOR_MAP_DATA_TYPE_UINT32;
    CUtensorMapSwizzle swizzle = d->swizzle_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                 : d->swizzle_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                 : d->swizzle_bytes == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                                                          : CU_TENSOR_MAP_SWIZZLE_NONE;
    return (int32_t)((encode_fn)fn)((CUtensorMap *)out, type, (cuuint32_t)d->rank, d->base, dim, stride, box, step,
                                    CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                    CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

int32_t cuda_rt_graph_begin(gpu_stream s)
{
    return (int32_t)cudaStreamBeginCapture((cudaStream_t)s, cudaStreamCaptureModeThreadLocal);
}

int32_t cuda_rt_graph_end(gpu_stream s, gpu_graph *out)
{
    cudaGraph_t graph = NULL;
    cudaError_t e = cudaStreamEndCapture((cudaStream_t)s, &graph);
    if (e == cudaSuccess)
        e = cudaGraphInstantiate((cudaGraphExec_t *)out, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    return (int32_t)e;
}

int32_t cuda_rt_graph_launch(gpu_graph g, gpu_stream s)
{
    return (int32_t)cudaGraphLaunch((cudaGraphExec_t)g, (cudaStream_t)s);
}

int32_t cuda_rt_graph_destroy(gpu_graph g) { return (int32_t)cudaGraphExecDestroy((cudaGraphExec_t)g); }
