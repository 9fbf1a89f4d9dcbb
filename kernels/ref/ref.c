#include "kernels/ref/ref.h"

#include "kernels/cpu/cpu.h"

void cpu_level_ref(cpu_level *l)
{
    l->embed = ref_embed;
    l->quant = ref_quant;
    l->matmul = ref_matmul;
}
