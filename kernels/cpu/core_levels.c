/* The levels above plain C of embed, quant and matmul. A product's panel functions are chosen per weight type, so that
 * a CPU with VNNI and without BF16 instructions gets the best of both. */
#include "kernels/cpu/levels.h"

static mm_level avx2, avx512, avx512vnni;

static void avx2_matmul(const kern_matmul_args *a, int64_t t0, int64_t t1) { mm_run(&avx2, a, t0, t1); }
static void avx512_matmul(const kern_matmul_args *a, int64_t t0, int64_t t1) { mm_run(&avx512, a, t0, t1); }
static void avx512vnni_matmul(const kern_matmul_args *a, int64_t t0, int64_t t1) { mm_run(&avx512vnni, a, t0, t1); }

void cpu_level_avx2(cpu_level *l)
{
    mm_panels_avx2(&avx2);
    avx2.finish = mm_finish_avx2;
    l->quant = avx2_quant;
    l->matmul = avx2_matmul;
}

void cpu_level_avx512(cpu_level *l)
{
    avx512 = avx2;
    mm_panels_avx512(&avx512);
    avx512.finish = mm_finish_avx512;
    l->quant = avx512_quant;
    l->matmul = avx512_matmul;
}

void cpu_level_avx512vnni(cpu_level *l)
{
    avx512vnni = avx512;
    mm_panels_avx512vnni(&avx512vnni);
    if (__builtin_cpu_supports("avx512bf16"))
        mm_panels_avx512bf16(&avx512vnni);
    l->matmul = avx512vnni_matmul;
}
