/* The driver of checkkern: arguments, guarded memory, crash signals, the loop over tests and levels. */
#include "checkkern.h"

#include "base/arena.h"
#include "base/check.h"
#include "kernels/cuda/gemm.h"
#include "kernels/device.h"
#include "kernels/emu/emu.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

ck_state ck;

static const char *const level_names[CPU_LEVELS_MAX] = {"ref", "avx2", "avx512", "avx512vnni"};
static const char *const device_names[] = {"emu", "cuda"};
static const ck_test *const families[] = {
    ck_quant_tests, ck_embed_tests,    ck_matmul_tests,    ck_exp_tests,    ck_norm_tests,
    ck_rope_tests,  ck_kv_store_tests, ck_attention_tests, ck_sample_tests,
    ck_dev_matmul_tests,
};

static uint64_t seed = 1, rng;

uint32_t ck_rand(void)
{
    rng += 0x9e3779b97f4a7c15u; // splitmix64
    uint64_t z = (rng ^ rng >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

int32_t ck_rand_int(int32_t lo, int32_t hi) { return lo + (int32_t)(ck_rand() % (uint32_t)(hi - lo + 1)); }
bool ck_one_in(int32_t n) { return ck_rand_int(1, n) == 1; }

float ck_rand_float(void)
{
    float s = 0;
    for (int i = 0; i < 4; i++)
        s += (float)(ck_rand() >> 8) * 0x1p-24f - 0.5f;
    return s * 1.7320508f;
}

static float tiny_float(void)
{
    uint32_t bits = (ck_rand() & 0x807fffff) | (ck_rand() & 1) << 23; // denormals and the smallest normals
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

void ck_fill(float *x, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++) {
        int k = kind == CK_FILL_MIXED ? ck_rand_int(CK_FILL_RANDOM, CK_FILL_HUGE) : kind;
        switch (k) {
        case CK_FILL_ZERO: x[i] = 0; break;
        case CK_FILL_MAX: x[i] = ck_one_in(2) ? 127 : -127; break;
        case CK_FILL_TINY: x[i] = tiny_float(); break;
        case CK_FILL_HUGE: x[i] = ck_rand_float() * 1e30f; break;
        default: x[i] = ck_rand_float(); break;
        }
    }
    if (kind == CK_FILL_NAN && n)
        x[ck_rand() % n] = ck_one_in(2) ? NAN : INFINITY;
}

/* ---- guarded memory ---- */
enum { BLOCKS_MAX = 256, PATTERN = 0xa5 };

static struct block {
    uint8_t *map, *data;
    size_t map_bytes, data_bytes;
} blocks[BLOCKS_MAX];
static int block_count;

void *ck_alloc(size_t bytes, size_t align)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = td_align_up(bytes + 64, page);
    td_assert(block_count < BLOCKS_MAX);
    uint8_t *map = mmap(NULL, body + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_assert(map != MAP_FAILED);
    mprotect(map, page, PROT_NONE);
    mprotect(map + page + body, page, PROT_NONE);
    memset(map + page, PATTERN, body);
    uint8_t *data = map + page + body - td_align_up(bytes, align);
    memset(data, 0, bytes);
    blocks[block_count++] = (struct block){map, data, body + 2 * page, bytes};
    return data;
}

static bool block_intact(const struct block *b)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (const uint8_t *p = b->map + page; p < b->map + b->map_bytes - page; p++)
        if ((p < b->data || p >= b->data + b->data_bytes) && *p != PATTERN)
            return false;
    return true;
}

/* ---- device memory ---- */
static struct piece {
    void *dev;
    size_t bytes;
} pieces[BLOCKS_MAX];
static int piece_count;

void *ck_room(size_t bytes)
{
    td_assert(piece_count < BLOCKS_MAX);
    void *p = ck.dev->ops->alloc(ck.dev, bytes);
    td_assert(p);
    pieces[piece_count++] = (struct piece){p, bytes};
    return p;
}

void *ck_put(const void *src, size_t bytes)
{
    if (!src)
        return NULL;
    void *p = ck_room(bytes);
    ck.dev->ops->put(ck.dev, p, src, bytes);
    return p;
}

void *ck_get(const void *dev, size_t bytes)
{
    void *host = ck_alloc(bytes, 64);
    ck.dev->ops->get(ck.dev, host, dev, bytes);
    const char *fault = ck.dev->ops->fault(ck.dev);
    if (fault)
        ck_fail("the device failed: %s", fault);
    return host;
}

void *ck_get_act(const kern_act *a)
{
    size_t bytes = a->stride * (size_t)a->tok_count;
    const uint8_t *from = ck_get(a->data, bytes);
    if (a->kind != KA_BF16)
        return (void *)(uintptr_t)from;
    uint8_t *rows = ck_alloc(bytes, 64);
    for (int32_t t = 0; t < a->tok_count; t++)
        for (int32_t c = 0; c < (int32_t)(a->stride / 2); c += 8)
            memcpy(rows + (size_t)t * a->stride + (size_t)c * 2, from + gemm_act_at(a->tok_count, t, c), 16);
    return rows;
}

void ck_release(void)
{
    for (int i = 0; i < piece_count; i++)
        ck.dev->ops->free(ck.dev, pieces[i].dev, pieces[i].bytes);
    piece_count = 0;
    for (int i = 0; i < block_count; i++) {
        if (!block_intact(&blocks[i]))
            ck_fail("write outside a buffer of %zu bytes", blocks[i].data_bytes);
        munmap(blocks[i].map, blocks[i].map_bytes);
    }
    block_count = 0;
}

/* ---- verdicts ---- */
void ck_fail(const char *fmt, ...)
{
    va_list ap;
    if (ck.failures++ >= 3)
        return; // the first few say enough
    printf("  %s %s (seed %llu): ", ck.test, ck.level_name, (unsigned long long)seed);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

bool ck_same_floats(const char *what, const float *want, const float *got, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool nans = want[i] != want[i] && got[i] != got[i];
        if (memcmp(want + i, got + i, 4) != 0 && !nans) {
            ck_fail("%s[%zu] is %.9g, not %.9g", what, i, (double)got[i], (double)want[i]);
            return false;
        }
    }
    return true;
}

bool ck_near_floats(const char *what, const float *want, const float *got, size_t count, float rel, float abs)
{
    for (size_t i = 0; i < count; i++) {
        float w = want[i], g = got[i];
        bool near = w == g || (w != w && g != g) || fabsf(w - g) <= rel * fabsf(w) + abs;
        if (!near) {
            ck_fail("%s[%zu] is %.9g, not %.9g", what, i, (double)g, (double)w);
            return false;
        }
    }
    return true;
}

bool ck_same_bytes(const char *what, const void *want, const void *got, size_t count)
{
    const uint8_t *w = want, *g = got;
    for (size_t i = 0; i < count; i++)
        if (w[i] != g[i]) {
            ck_fail("byte %zu of %s is %02x, not %02x", i, what, g[i], w[i]);
            return false;
        }
    return true;
}

double ck_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the loop ---- */
static sigjmp_buf crash;

static void on_signal(int sig) { siglongjmp(crash, sig); }

static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    for (size_t i = 0; i < TD_COUNT(sigs); i++)
        sigaction(sigs[i], &sa, NULL);
}

static void run_body(const ck_test *t)
{
    cpu_fp_setup();
    if (ck.dev)
        t->run_dev(t->arg);
    else if (ck.bench && t->bench)
        t->bench(t->arg);
    else if (!ck.bench)
        t->run(t->arg);
}

static bool run_one(const ck_test *t)
{
    ck.test = t->name;
    ck.failures = 0;
    rng = seed;
    for (const char *p = t->name; *p; p++)
        rng = rng * 31 + (uint8_t)*p; // a test draws the same whether it runs alone or not
    int sig = sigsetjmp(crash, 1);
    if (sig == 0) {
        run_body(t);
    } else {
        ck_fail("crash, signal %d", sig);
        if (ck.dev) { // the emulator's threads and locks are beyond use
            fflush(stdout);
            _exit(1);
        }
    }
    ck_release();
    return ck.failures == 0;
}

typedef struct counts {
    int passed, failed, skipped;
} counts;

static void count_one(const ck_test *t, counts *n)
{
    if (run_one(t)) {
        n->passed++;
    } else {
        n->failed++;
        printf("FAIL %s %s\n", t->name, ck.level_name);
    }
}

static bool open_device(const char *name)
{
    kern_dev_opts o = {.device = name, .cpu_isa = "auto", .threads = 1};
    return kern_dev_open(&o, &ck.dev, NULL) == TD_OK;
}

/* The emulator's three orders of blocks and threads. */
static void run_emulated(const ck_test *t, counts *n)
{
    static const struct {
        emu_order order;
        const char *name;
    } orders[] = {{EMU_FORWARD, "emu forward"}, {EMU_REVERSE, "emu reverse"}, {EMU_RANDOM, "emu random"}};
    for (size_t i = 0; i < TD_COUNT(orders); i++) {
        emu_set_schedule(orders[i].order, seed);
        ck.level_name = orders[i].name;
        count_one(t, n);
    }
}

static void run_devices(const ck_test *t, const char *only_level, counts *n)
{
    for (size_t i = 0; i < TD_COUNT(device_names) && t->run_dev && !ck.bench; i++) {
        if (only_level && strcmp(only_level, device_names[i]) != 0)
            continue;
        if (!open_device(device_names[i])) {
            n->skipped++;
            continue;
        }
        ck.level_name = device_names[i];
        if (strcmp(device_names[i], "emu") == 0)
            run_emulated(t, n);
        else
            count_one(t, n);
        kern_dev_close(ck.dev);
        ck.dev = NULL;
    }
}

static void run_levels(const ck_test *t, const char *only_level, counts *n)
{
    const cpu_level *levels[CPU_LEVELS_MAX];
    int count = cpu_levels(levels);
    ck.ref = levels[0];
    for (int i = 0; i < CPU_LEVELS_MAX && t->run; i++) {
        if (only_level && strcmp(only_level, level_names[i]) != 0)
            continue;
        if (i >= count) {
            n->skipped++;
            continue;
        }
        ck.level = levels[i];
        ck.level_name = levels[i]->name;
        count_one(t, n);
    }
    run_devices(t, only_level, n);
}

static int usage(void)
{
    fprintf(stderr, "usage: checkkern [--seed N] [--test PREFIX] [--level NAME] [--bench] [--list]\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *prefix = "", *level = NULL;
    bool list = false;
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--bench") == 0)
            ck.bench = true;
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--seed") == 0 && has_value)
            seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--test") == 0 && has_value)
            prefix = argv[++i];
        else if (strcmp(argv[i], "--level") == 0 && has_value)
            level = argv[++i];
        else
            return usage();
    }
    counts n = {0};
    catch_signals();
    for (size_t f = 0; f < TD_COUNT(families); f++)
        for (const ck_test *t = families[f]; t->name; t++) {
            if (strncmp(t->name, prefix, strlen(prefix)) != 0)
                continue;
            if (list)
                printf("%s\n", t->name);
            else
                run_levels(t, level, &n);
        }
    if (!list)
        printf("checkkern: %d passed, %d failed, %d skipped (seed %llu)\n", n.passed, n.failed, n.skipped,
               (unsigned long long)seed);
    return n.failed ? 1 : 0;
}
