#include "kernels/ref/ref.h"

#include "kernels/cpu/cpu.h"

void cpu_level_ref(cpu_level *l)
{
    l->embed = ref_embed;
    l->quant = ref_quant;
    l->matmul = ref_matmul;
}

void cpu_level_avx2(cpu_level *l) { (void)l; }
void cpu_level_avx512(cpu_level *l) { (void)l; }
void cpu_level_avx512vnni(cpu_level *l) { (void)l; }
