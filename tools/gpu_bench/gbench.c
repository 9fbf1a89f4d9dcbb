#include "tools/gpu_bench/gbench.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { REPLAYS = 7 };

static void need(gbench *b, int32_t rc, const char *what)
{
    if (rc == GPU_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, GPU_SYM(rt_error_name)(rc));
    b->failures++;
    exit(1);
}

static void say(gbench *b, const char *format, ...)
{
    va_list a, copy;
    va_start(a, format);
    va_copy(copy, a);
    vprintf(format, a);
    fflush(stdout);
    if (b->table)
        vfprintf(b->table, format, copy);
    va_end(copy);
    va_end(a);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Milliseconds of one replay; < 0 on failure. */
static float replay(gbench *b, gpu_graph g)
{
    float ms = -1;
    int32_t rc = GPU_SYM(rt_event_record)(b->from, b->stream);
    rc = rc ? rc : GPU_SYM(rt_graph_launch)(g, b->stream);
    rc = rc ? rc : GPU_SYM(rt_event_record)(b->to, b->stream);
    rc = rc ? rc : GPU_SYM(rt_event_sync)(b->to);
    rc = rc ? rc : GPU_SYM(rt_event_elapsed)(b->from, b->to, &ms);
    return rc ? -1 : ms;
}

static float graph_ms(gbench *b, gbench_call call, void *ctx, int sets, int calls, int replays)
{
    gpu_graph g;
    float ms[REPLAYS];
    need(b, GPU_SYM(rt_graph_begin)(b->stream), "recording");
    for (int i = 0; i < calls; i++)
        call(b, ctx, i % sets);
    need(b, GPU_SYM(rt_graph_end)(b->stream, &g), "recording");
    need(b, GPU_SYM(rt_last_error)(), "a launch");
    for (int i = 0; i < replays; i++)
        ms[i] = replay(b, g);
    GPU_SYM(rt_graph_destroy)(g);
    qsort(ms, (size_t)replays, sizeof *ms, by_value);
    return ms[0] < 0 ? -1 : ms[replays / 2];
}

double gbench_time(gbench *b, gbench_call call, void *ctx, int sets)
{
    if (b->small) {
        float ms = graph_ms(b, call, ctx, sets, 1, 1);
        return ms < 0 ? -1 : (double)ms * 1e-3;
    }
    float one = graph_ms(b, call, ctx, sets, sets, 2); // warms up, and tells how many calls fill 20 ms
    if (one < 0)
        return -1;
    int rounds = (int)(20.0f / TD_MAX(one, 0.001f)) + 1, calls = sets * TD_MIN(rounds, 2000 / sets + 1);
    float ms = graph_ms(b, call, ctx, sets, calls, REPLAYS);
    return ms < 0 ? -1 : (double)ms * 1e-3 / calls;
}

int gbench_sets(const gbench *b, size_t bytes_of_one)
{
    size_t sets = (size_t)b->props.l2_bytes * 4 / TD_MAX(bytes_of_one, (size_t)1) + 1;
    return b->small ? 2 : (int)TD_MIN(sets, (size_t)SETS_MAX);
}

static size_t noise_bytes(const gbench *b) { return b->small ? NOISE_SMALL : NOISE_BYTES; }

void *gbench_noise(gbench *b, size_t bytes)
{
    void *p;
    need(b, GPU_SYM(rt_malloc)(bytes, &p), "memory for operands");
    size_t step = noise_bytes(b) / 2; // begins elsewhere each time, so that sets differ
    static size_t from;
    for (size_t at = 0; at < bytes; at += step) {
        from = (from + 4099 * 64) % step;
        need(b, GPU_SYM(rt_copy_d2d)((char *)p + at, b->noise + from, TD_MIN(step, bytes - at), b->stream), "filling");
    }
    need(b, GPU_SYM(rt_stream_sync)(b->stream), "filling");
    return p;
}

void *gbench_zeros(gbench *b, size_t bytes)
{
    void *p;
    need(b, GPU_SYM(rt_malloc)(bytes, &p), "memory for operands");
    need(b, GPU_SYM(rt_memset)(p, 0, bytes, b->stream), "clearing");
    need(b, GPU_SYM(rt_stream_sync)(b->stream), "clearing");
    return p;
}

void *gbench_upload(gbench *b, const void *host, size_t bytes)
{
    void *p, *pinned;
    need(b, GPU_SYM(rt_malloc)(bytes, &p), "memory for operands");
    need(b, GPU_SYM(rt_host_alloc)(bytes, &pinned), "pinned memory");
    memcpy(pinned, host, bytes);
    need(b, GPU_SYM(rt_copy_h2d)(p, pinned, bytes, b->stream), "upload");
    need(b, GPU_SYM(rt_stream_sync)(b->stream), "upload");
    GPU_SYM(rt_host_free)(pinned);
    return p;
}

void gbench_free(void *p)
{
    if (p)
        GPU_SYM(rt_free)(p);
}

void gbench_head(gbench *b, const char *title)
{
    say(b, "\n### %s\n\n| what | time | GB/s | %% of copy | TFLOP/s | %% of matmul | library | ratio |\n"
           "|---|---:|---:|---:|---:|---:|---:|---:|\n", title);
}

static void cell(gbench *b, double value, double scale, const char *format)
{
    if (value > 0 && scale > 0)
        say(b, format, value / scale);
    else
        say(b, " |");
}

void gbench_row(gbench *b, const char *what, double s, double bytes, double flop, double peer_s)
{
    if (s <= 0) {
        say(b, "| %s | failed | | | | | | |\n", what);
        b->failures++;
        return;
    }
    say(b, "| %s | %.1f us |", what, s * 1e6);
    cell(b, bytes / s, 1e9, " %.0f |");
    cell(b, bytes / s * 1e-9 * 100, b->copy_gbs, " %.0f %% |");
    cell(b, flop / s, 1e12, " %.1f |");
    cell(b, flop / s * 1e-12 * 100, b->matmul_tflops, " %.0f %% |");
    cell(b, peer_s, 1e-6, " %.1f us |");
    cell(b, peer_s, s, " %.2f |");
    say(b, "\n");
}

/* ---- roofs ---- */

typedef struct copy_set {
    uint8_t *from, *to;
    size_t bytes;
} copy_set;

static void copy(gbench *b, void *ctx, int set)
{
    copy_set *c = (copy_set *)ctx;
    (void)set;
    GPU_SYM(rt_copy_d2d)(c->to, c->from, c->bytes, b->stream);
}

void gbench_roof(gbench *b)
{
    size_t bytes = b->small ? 1 << 16 : (size_t)4 << 30;
    copy_set c = {(uint8_t *)gbench_noise(b, bytes), (uint8_t *)gbench_zeros(b, bytes), bytes};
    double s = gbench_time(b, copy, &c, 1);
    gbench_head(b, "Roofs");
    b->copy_gbs = s > 0 ? 2e-9 * (double)bytes / s : 0;
    gbench_row(b, "copy, bytes read and written", s, 2.0 * (double)bytes, 0, 0);
    gbench_free(c.from);
    gbench_free(c.to);
    double m = blas_time(b, 8192, 8192, 8192), flop = 2.0 * 8192 * 8192 * 8192;
    b->matmul_tflops = m > 0 ? flop / m * 1e-12 : 0;
    if (m > 0)
        gbench_row(b, "library's bf16 product of 8192 cubed", m, 0, flop, 0);
    else
        say(b, "\nNo cuBLASLt here: products are not compared.\n");
}
