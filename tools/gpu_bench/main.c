#include "tools/gpu_bench/gbench.h"

#include <stdlib.h>
#include <string.h>

static void usage(FILE *to)
{
    fprintf(to, "usage: gpu_bench [--part 1|2] [--out FILE]\n"
                "Measures the GPU kernels against the card's roofs. Part 1: roofs and products. Part 2: roofs,\n"
                "attention and rows. Without a part: both. FILE gets a copy of the tables.\n");
}

/* Random bf16 in [-1, 1): sign, an exponent of the last eight below 1, mantissa. */
static void make_noise(gbench *b)
{
    size_t count = (size_t)(b->small ? NOISE_SMALL : NOISE_BYTES) / 2;
    uint16_t *v = malloc(count * 2);
    uint64_t s = 0x9e3779b97f4a7c15u;
    if (!v)
        exit(1);
    for (size_t i = 0; i < count; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        v[i] = (uint16_t)((s & 0x8000) | (119 + (s >> 20 & 7)) << 7 | (s >> 32 & 127));
    }
    b->noise = gbench_upload(b, v, count * 2);
    free(v);
}

static int open_card(gbench *b)
{
    int32_t count = 0, rc = GPU_SYM(rt_count)(&count);
    rc = rc ? rc : GPU_SYM(rt_open)(0);
    rc = rc ? rc : GPU_SYM(rt_get_props)(0, &b->props);
    rc = rc ? rc : GPU_SYM(rt_stream_create)(&b->stream);
    rc = rc ? rc : GPU_SYM(rt_event_create)(&b->from);
    rc = rc ? rc : GPU_SYM(rt_event_create)(&b->to);
    if (rc)
        fprintf(stderr, "no GPU to measure: %s\n", GPU_SYM(rt_error_name)(rc));
    return rc == 0;
}

/* The part asked for, 0 for both; < 0: the arguments are wrong. */
static int read_args(gbench *b, int argc, char **argv)
{
    int part = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--part") == 0 && (strcmp(value, "1") == 0 || strcmp(value, "2") == 0)) {
            part = value[0] - '0';
        } else if (strcmp(argv[i], "--out") == 0 && *value) {
            b->table = fopen(value, "a");
            if (!b->table) {
                perror(value);
                return -1;
            }
        } else {
            usage(stderr);
            return -1;
        }
        i++;
    }
    return part;
}

int main(int argc, char **argv)
{
    gbench b = {0};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    int part = read_args(&b, argc, argv);
    if (part < 0)
        return 2;
    if (!open_card(&b))
        return 1;
#ifdef TD_EMU
    b.small = true;
#endif
    printf("%s, sm_%d, %d multiprocessors, %.0f GiB, driver %d.%d\n", b.props.name, b.props.sm, b.props.sm_count,
           (double)b.props.mem_bytes / (1 << 30), b.props.driver / 1000, b.props.driver % 1000 / 10);
    make_noise(&b);
    gbench_roof(&b);
    if (part != 2)
        gbench_gemm(&b);
    if (part != 1) {
        gbench_attention(&b);
        gbench_rest(&b);
    }
    if (b.table)
        fclose(b.table);
    gbench_free(b.noise);
    GPU_SYM(rt_event_destroy)(b.from);
    GPU_SYM(rt_event_destroy)(b.to);
    GPU_SYM(rt_stream_destroy)(b.stream);
    GPU_SYM(rt_close)();
    return b.failures > 0;
}
