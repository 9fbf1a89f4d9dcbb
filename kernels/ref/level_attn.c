#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref_attn.h"

void cpu_level_ref_attn(cpu_level *l)
{
    l->norm = ref_norm;
    l->rope = ref_rope;
    l->kv_store = ref_kv_store;
    l->attention = ref_attention;
    l->attn_merge = ref_attn_merge;
    l->sample = ref_sample;
}
