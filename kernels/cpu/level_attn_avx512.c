#include "kernels/cpu/cpu.h"
#include "kernels/cpu/fast.h"

void cpu_level_avx512_attn(cpu_level *l)
{
    l->norm = norm_avx512;
    l->rope = rope_avx512;
    l->kv_store = kv_store_avx512;
    l->attention = attention_avx512;
    l->attn_merge = attn_merge_avx512;
    l->sample = sample_avx512;
}
