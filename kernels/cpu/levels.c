/* Which levels this CPU runs: detected once, each table copied from the one below and overridden. */
#include "kernels/cpu/cpu.h"

#include <pthread.h>

static cpu_level levels[CPU_LEVELS_MAX];
static int level_count;

static cpu_level *add(const char *name)
{
    cpu_level *l = &levels[level_count];
    if (level_count)
        *l = levels[level_count - 1];
    l->name = name;
    level_count++;
    return l;
}

static void detect(void)
{
    cpu_level *l = add("ref");
    cpu_level_ref(l);
    cpu_level_ref_attn(l);
    l = add("avx2");
    cpu_level_avx2(l);
    cpu_level_avx2_attn(l);
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (!avx512)
        return;
    l = add("avx512");
    cpu_level_avx512(l);
    cpu_level_avx512_attn(l);
    if (__builtin_cpu_supports("avx512vnni"))
        cpu_level_avx512vnni(add("avx512vnni"));
}

int cpu_levels(const cpu_level **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, detect);
    for (int i = 0; i < level_count; i++)
        out[i] = &levels[i];
    return level_count;
}
