/* vec.h - one spelling for 256-bit and 512-bit vectors, so that a register tile is written once.
 *
 * The including file defines VEC_BITS. V holds integers, VF floats; LANES rows of a panel fit one vector and HALVES
 * vectors make its 16 rows. Only operations whose lanes are independent are here. */
#ifndef TD_KERNELS_CPU_VEC_H
#define TD_KERNELS_CPU_VEC_H

#include "kernels/cpu/matmul_tile.h"
#include "kernels/math.h"

/* With many tokens a panel takes longer or is walked again and again, and the hardware's prefetcher loses the stream:
 * so each block asks for its twin in the next panel. With one or two tokens that would only be in the way. */
MM_INLINE void next_panel(const int n, const mm_job *job, const uint8_t *block)
{
    for (size_t i = 0; n >= 3 && i < job->geom.block_bytes; i += 64)
        _mm_prefetch((const char *)block + job->geom.panel_bytes + i, _MM_HINT_T1);
}

#if VEC_BITS == 512
typedef __m512i V;
typedef __m512 VF;
enum { LANES = 16, HALVES = 1, VEC_BYTES = 64 };
#define VEC_(op) _mm512_##op
#define v_load(p) _mm512_loadu_si512(p)
#define v_and(a, b) _mm512_and_si512(a, b)
#define v_or(a, b) _mm512_or_si512(a, b)
#define v_zero() _mm512_setzero_si512()
#define v_half(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define v_u8_32(p) _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)(p)))
#define v_s8_32(p) _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(const void *)(p)))
#define vf_bits(v) _mm512_castsi512_ps(v)
#define v_of(f) _mm512_castps_si512(f)
#define VEC_XOR(a, b) _mm512_xor_si512(a, b)

/* What kern_exp gives outside its range: 0 below it, NaN for NaN. */
MM_INLINE VF vf_exp_select(VF x, VF value)
{
    value = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(KERN_EXP_LO), _CMP_GE_OQ), value);
    return _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}
#else
typedef __m256i V;
typedef __m256 VF;
enum { LANES = 8, HALVES = 2, VEC_BYTES = 32 };
#define VEC_(op) _mm256_##op
#define v_load(p) _mm256_load_si256((const __m256i *)(const void *)(p))
#define v_and(a, b) _mm256_and_si256(a, b)
#define v_or(a, b) _mm256_or_si256(a, b)
#define v_zero() _mm256_setzero_si256()
#define v_half(p) _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(p)))
#define v_u8_32(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define v_s8_32(p) _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define vf_bits(v) _mm256_castsi256_ps(v)
#define v_of(f) _mm256_castps_si256(f)
#define VEC_XOR(a, b) _mm256_xor_si256(a, b)

MM_INLINE VF vf_exp_select(VF x, VF value)
{
    value = _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(KERN_EXP_LO), _CMP_GE_OQ), value);
    return _mm256_blendv_ps(value, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
#endif

#define v_set32(x) VEC_(set1_epi32)(x)
#define v_set16(x) VEC_(set1_epi16)(x)
#define v_set8(x) VEC_(set1_epi8)(x)
#define v_shl(a, n) VEC_(slli_epi32)(a, n)
#define v_shr(a, n) VEC_(srli_epi32)(a, n)
#define v_shlv(a, n) VEC_(sllv_epi32)(a, n) // counts of 32 and more, so negative ones, give 0
#define v_shrv(a, n) VEC_(srlv_epi32)(a, n)
#define v_add16(a, b) VEC_(add_epi16)(a, b)
#define v_add32(a, b) VEC_(add_epi32)(a, b)
#define v_sub32(a, b) VEC_(sub_epi32)(a, b)
#define v_maddubs(u, s) VEC_(maddubs_epi16)(u, s)
#define v_madd(a, b) VEC_(madd_epi16)(a, b)
#define v_float(a) VEC_(cvtepi32_ps)(a)
#define vf_zero() VEC_(setzero_ps)()
#define vf_set(x) VEC_(set1_ps)(x)
#define vf_load(p) VEC_(load_ps)(p)
#define vf_store(p, v) VEC_(store_ps)(p, v)
#define vf_add(a, b) VEC_(add_ps)(a, b)
#define vf_mul(a, b) VEC_(mul_ps)(a, b)
#define vf_fma(a, b, c) VEC_(fmadd_ps)(a, b, c)
#define vf_fnma(a, b, c) VEC_(fnmadd_ps)(a, b, c)

/* Keeps integer sums in the order written: the compiler would regroup them, and run out of registers. */
#define v_pin(v) __asm__("" : "+v"(v))

/* Partial joins of the canonical tree, [level][half][tok]. */
typedef VF mm_stack[MM_STACK][HALVES][MM_TOK];

/* Chunk c's sums of one vector of rows into the tree; the last chunk's join is the result. */
MM_INLINE void mm_join(const int n, const mm_job *job, int32_t tok0, int32_t c, int half, const VF *acc, mm_stack stack)
{
#pragma GCC unroll 16
    for (int t = 0; t < n; t++) {
        VF v = acc[t];
        int level = 0;
        for (; c >> level & 1; level++)
            v = vf_add(stack[level][half][t], v);
        if (c + 1 == job->chunks)
            vf_store(job->sum + (tok0 + t) * PACK_ROWS + half * LANES, v);
        else
            stack[level][half][t] = v;
    }
}

#endif
