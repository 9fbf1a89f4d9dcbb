/* emu.cuh - CUDA's spelling for the host compiler: what a kernel may use besides the td_ wrappers of ptx.cuh.
 * Functions that meet other threads are macros, so that a fault's message can name the caller's line. Included by
 * kernels/cuda/ptx.cuh alone. */
#ifndef TD_KERNELS_EMU_EMU_CUH
#define TD_KERNELS_EMU_EMU_CUH

#include "kernels/emu/abi.h"

#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct float2 { float x, y; } __align__(8);
struct float4 { float x, y, z, w; } __align__(16);
struct int2 { int x, y; } __align__(8);
struct int4 { int x, y, z, w; } __align__(16);
struct uint2 { unsigned x, y; } __align__(8);
struct uint4 { unsigned x, y, z, w; } __align__(16);
struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

static inline float2 make_float2(float x, float y) { return float2{x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return int2{x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return int4{x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return uint2{x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4{x, y, z, w}; }

#define threadIdx emu_thread_idx()
#define blockIdx emu_block_idx()
#define blockDim emu_block_dim()
#define gridDim emu_grid_dim()

#define __syncthreads() ((void)emu_syncthreads(EMU_VOTE_NONE, 0, __FILE__, __LINE__))
#define __syncthreads_or(pred) emu_syncthreads(EMU_VOTE_OR, (pred) != 0, __FILE__, __LINE__)
#define __syncthreads_and(pred) emu_syncthreads(EMU_VOTE_AND, (pred) != 0, __FILE__, __LINE__)
#define __syncthreads_count(pred) emu_syncthreads(EMU_VOTE_COUNT, (pred) != 0, __FILE__, __LINE__)

static inline void emu_syncwarp_any(const char *file, int line, unsigned mask = 0xffffffffu)
{
    emu_syncwarp(mask, file, line);
}
#define __syncwarp(...) emu_syncwarp_any(__FILE__, __LINE__, ##__VA_ARGS__)

template <class T>
static inline T emu_shfl_any(const char *file, int line, int kind, unsigned mask, T value, int lane, int width = 32)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 32 or 64 bits");
    uint32_t bits[sizeof(T) / 4];
    memcpy(bits, &value, sizeof value);
    for (uint32_t &word : bits)
        word = emu_shfl(kind, mask, word, (uint32_t)lane, (uint32_t)width, file, line);
    memcpy(&value, bits, sizeof value);
    return value;
}
#define __shfl_sync(mask, ...) emu_shfl_any(__FILE__, __LINE__, EMU_SHFL_IDX, mask, __VA_ARGS__)
#define __shfl_up_sync(mask, ...) emu_shfl_any(__FILE__, __LINE__, EMU_SHFL_UP, mask, __VA_ARGS__)
#define __shfl_down_sync(mask, ...) emu_shfl_any(__FILE__, __LINE__, EMU_SHFL_DOWN, mask, __VA_ARGS__)
#define __shfl_xor_sync(mask, ...) emu_shfl_any(__FILE__, __LINE__, EMU_SHFL_XOR, mask, __VA_ARGS__)
#define __ballot_sync(mask, pred) emu_ballot(mask, (pred) != 0, __FILE__, __LINE__)
#define __any_sync(mask, pred) (emu_ballot(mask, (pred) != 0, __FILE__, __LINE__) != 0)
#define __all_sync(mask, pred) (emu_ballot(mask, (pred) == 0, __FILE__, __LINE__) == 0)

static inline int emu_atomic(int op, int *at, int v, int c, const char *f, int l)
{
    op = op == EMU_MAX_U ? EMU_MAX_S : op == EMU_MIN_U ? EMU_MIN_S : op;
    return (int)emu_atomic32(op, at, (uint32_t)v, (uint32_t)c, f, l);
}
static inline unsigned emu_atomic(int op, unsigned *at, unsigned v, unsigned c, const char *f, int l)
{
    return emu_atomic32(op, at, v, c, f, l);
}
static inline unsigned long long emu_atomic(int op, unsigned long long *at, unsigned long long v, unsigned long long c,
                                            const char *f, int l)
{
    return emu_atomic64(op, at, v, c, f, l);
}
static inline float emu_atomic(int op, float *at, float v, float c, const char *f, int l)
{
    uint32_t a, b;
    memcpy(&a, &v, 4);
    memcpy(&b, &c, 4);
    a = emu_atomic32(op == EMU_ADD ? EMU_ADD_F32 : EMU_EXCH, at, a, b, f, l);
    memcpy(&v, &a, 4);
    return v;
}
template <class T> struct emu_same { typedef T type; };
template <class T> static inline T emu_atomic_any(int op, T *at, typename emu_same<T>::type v,
                                                  typename emu_same<T>::type c, const char *f, int l)
{
    return emu_atomic(op, at, v, c, f, l);
}
#define atomicAdd(at, v) emu_atomic_any(EMU_ADD, at, v, 0, __FILE__, __LINE__)
#define atomicMax(at, v) emu_atomic_any(EMU_MAX_U, at, v, 0, __FILE__, __LINE__)
#define atomicMin(at, v) emu_atomic_any(EMU_MIN_U, at, v, 0, __FILE__, __LINE__)
#define atomicOr(at, v) emu_atomic_any(EMU_OR, at, v, 0, __FILE__, __LINE__)
#define atomicAnd(at, v) emu_atomic_any(EMU_AND, at, v, 0, __FILE__, __LINE__)
#define atomicXor(at, v) emu_atomic_any(EMU_XOR, at, v, 0, __FILE__, __LINE__)
#define atomicExch(at, v) emu_atomic_any(EMU_EXCH, at, v, 0, __FILE__, __LINE__)
#define atomicCAS(at, compare, v) emu_atomic_any(EMU_CAS, at, v, compare, __FILE__, __LINE__)
#define __threadfence() emu_threadfence(__FILE__, __LINE__)
#define __threadfence_block() emu_threadfence_block(__FILE__, __LINE__)

template <class T> static inline T __ldg(const T *p) { return *p; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline long long max(long long a, long long b) { return a > b ? a : b; }
static inline long min(long a, long b) { return a < b ? a : b; }
static inline long max(long a, long b) { return a > b ? a : b; }
static inline float fminf(float a, float b) { return __builtin_fminf(a, b); }
static inline float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
static inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float fabsf(float a) { return __builtin_fabsf(a); }
static inline float sqrtf(float a) { return __builtin_sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }

static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline int __float_as_int(float f) { return (int)__float_as_uint(f); }
static inline float __int_as_float(int i) { return __uint_as_float((unsigned)i); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline unsigned __brev(unsigned v)
{
    v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
    v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(v);
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#define TD_SMEM(T, name) T *name = (T *)emu_smem_base()

template <class Call> static void emu_run_call(const void *call) { (*(const Call *)call)(); }

template <class... P, class... A>
static inline void emu_launch_kernel(const char *name, const char *file, int line, const emu_launch_cfg &cfg,
                                     void (*kernel)(P...), const A &...args)
{
    auto call = [=]() { kernel(static_cast<P>(args)...); };
    static_assert(__is_trivially_copyable(decltype(call)), "arguments of kernels are plain data");
    emu_launch(name, file, line, &cfg, emu_run_call<decltype(call)>, &call, sizeof call);
}

#endif
