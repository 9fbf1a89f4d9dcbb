/* finish.h - sums to outputs with vectors of either width: bias, residual, gate. Included once by a level's file, after
 * vec.h. Lane by lane the operations of math.h. */
#ifndef TD_KERNELS_CPU_FINISH_H
#define TD_KERNELS_CPU_FINISH_H

#include "kernels/cpu/vec.h"
#include "kernels/math.h"

MM_INLINE VF vexp(VF x)
{
    const VF magic = vf_set(KERN_EXP_MAGIC);
    VF in = VEC_(min_ps)(vf_set(KERN_EXP_HI), x); // a NaN second operand comes out
    VF m = vf_fma(in, vf_set(KERN_LOG2E), magic), n = VEC_(sub_ps)(m, magic);
    VF r = vf_fma(n, vf_set(-KERN_LN2_HI), in);
    r = vf_fma(n, vf_set(-KERN_LN2_LO), r);
    VF p = vf_fma(vf_set(KERN_EXP_P0), r, vf_set(KERN_EXP_P1));
    p = vf_fma(p, r, vf_set(KERN_EXP_P2));
    p = vf_fma(p, r, vf_set(KERN_EXP_P3));
    p = vf_fma(p, r, vf_set(KERN_EXP_P4));
    p = vf_fma(p, r, vf_set(KERN_EXP_P5));
    p = vf_add(vf_fma(p, vf_mul(r, r), r), vf_set(1.0f));
    V bits = v_add32(v_of(p), v_shl(v_of(m), 23));
    return vf_exp_select(x, vf_bits(bits));
}

MM_INLINE VF vsilu(VF x)
{
    VF e = vexp(vf_bits(VEC_XOR(v_of(x), v_set32(INT32_MIN))));
    return VEC_(div_ps)(x, vf_add(vf_set(1.0f), e));
}

MM_INLINE VF vgelu(VF x)
{
    VF cube = vf_fma(vf_mul(vf_mul(vf_set(0.044715f), x), x), x, x), two = vf_set(2.0f), one = vf_set(1.0f);
    VF e = vexp(vf_mul(two, vf_mul(vf_set(0.7978845608f), cube)));
    VF tanh = VEC_(sub_ps)(one, VEC_(div_ps)(two, vf_add(e, one)));
    return vf_mul(vf_mul(vf_set(0.5f), x), vf_add(one, tanh));
}

MM_INLINE VF finish_one(const kern_epilogue kind, VF v, VF up, const float *out)
{
    if (kind == KE_ADD)
        return vf_add(VEC_(loadu_ps)(out), v);
    if (kind == KE_STORE)
        return v;
    return vf_mul(kind == KE_SILU_MUL ? vsilu(v) : vgelu(v), up);
}

MM_INLINE void finish_kind(const kern_epilogue kind, const mm_finish *f)
{
    for (int h = 0; h < HALVES; h++) {
        VF bias = f->bias ? VEC_(loadu_ps)(f->bias + h * LANES) : vf_zero();
        VF up_bias = f->up_bias ? VEC_(loadu_ps)(f->up_bias + h * LANES) : vf_zero();
        for (int32_t t = 0; t < f->toks; t++) {
            float *out = f->out + (size_t)t * (size_t)f->out_stride + h * LANES;
            VF v = vf_load(f->sum + t * PACK_ROWS + h * LANES), up = v;
            if (kind == KE_SILU_MUL || kind == KE_GELU_MUL)
                up = vf_load(f->up + t * PACK_ROWS + h * LANES);
            v = f->bias ? vf_add(v, bias) : v;
            up = f->up_bias ? vf_add(up, up_bias) : up;
            VEC_(storeu_ps)(out, finish_one(kind, v, up, out));
        }
    }
}

/* A ragged last panel goes the plain way. */
MM_INLINE void finish_all(const mm_finish *f)
{
    if (f->rows < PACK_ROWS) {
        mm_finish_ref(f);
        return;
    }
    switch (f->kind) {
    case KE_STORE: finish_kind(KE_STORE, f); break;
    case KE_ADD: finish_kind(KE_ADD, f); break;
    case KE_SILU_MUL: finish_kind(KE_SILU_MUL, f); break;
    case KE_GELU_MUL: finish_kind(KE_GELU_MUL, f); break;
    }
}

#endif
