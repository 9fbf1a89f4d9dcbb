/* exp.h - the lanes of vec256.h and vec512.h over arrays; n is a multiple of 16. */
#ifndef TD_TESTS_CHECKKERN_EXP_H
#define TD_TESTS_CHECKKERN_EXP_H

void ck_exp_avx2(const float *x, float *out, int n);
void ck_tanh_avx2(const float *x, float *out, int n);
void ck_exp_avx512(const float *x, float *out, int n);
void ck_tanh_avx512(const float *x, float *out, int n);

#endif
