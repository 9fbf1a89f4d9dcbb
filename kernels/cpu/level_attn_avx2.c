#include "kernels/cpu/cpu.h"
#include "kernels/cpu/fast.h"

void cpu_level_avx2_attn(cpu_level *l)
{
    l->norm = norm_avx2;
    l->rope = rope_avx2;
    l->kv_store = kv_store_avx2;
    l->attention = attention_avx2;
    l->attn_merge = attn_merge_avx2;
    l->sample = sample_avx2;
}
