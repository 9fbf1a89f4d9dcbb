/* Opening a device: what is refused and how; how many threads a machine leaves; one product through the table, equal on
 * every level and with any number of threads. */
#include "base/arena.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/threads.h"
#include "kernels/device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        kern_dev_opts opts;
        td_rc rc;
        const char *says;
    } cases[] = {
        {{"tpu", "auto", 1}, TD_E_DEVICE, "no device 'tpu'"},
        {{"auto", "sse9", 1}, TD_E_DEVICE, "unknown instruction set 'sse9'"},
        {{"cpu", "amx", 1}, TD_E_DEVICE, "no 'amx' level"},
        {{"cpu", "auto", -1}, TD_E_USAGE, "compute threads"},
        {{"cpu", "auto", 1 << 20}, TD_E_USAGE, "compute threads"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        td_err err = TD_ERR_INIT;
        kern_dev *dev = NULL;
        assert_int_equal(kern_dev_open(&cases[i].opts, &dev, &err), cases[i].rc);
        assert_null(dev);
        assert_non_null(strstr(err.msg, cases[i].says));
        if (cases[i].rc == TD_E_DEVICE && strcmp(cases[i].opts.cpu_isa, "auto"))
            assert_non_null(strstr(err.msg, "avx2")); // names what there is
    }
    kern_dev_close(NULL);
}

static void test_describe(void **state)
{
    (void)state;
    td_buf text = TD_BUF_INIT;
    kern_dev_describe(&text);
    assert_int_equal(strncmp(td_buf_cstr(&text), "avx2", 4), 0);
    td_buf_free(&text);
    assert_true(kern_thread_default() >= 1);
}

/* ---- threads: a made-up /proc and /sys ---- */
static void put(const char *root, const char *path, const char *text)
{
    char full[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_quota(void **state)
{
    (void)state;
    static const struct {
        const char *cgroup, *path, *text, *path2, *text2;
        int32_t quota;
    } cases[] = {
        {"0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n", NULL, NULL, 2},
        {"0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n", NULL, NULL, 0},
        {"0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n", "/sys/fs/cgroup/a/cpu.max", "300000 100000\n", 3},
        {"0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n", "/sys/fs/cgroup/cpu.max", "50000 100000\n", 1},
        {"0::/\n", "/sys/fs/cgroup/cpu.max", "600000 100000\n", NULL, NULL, 6},
        {"5:memory:/x\n4:cpu,cpuacct:/y\n", "/sys/fs/cgroup/cpu/y/cpu.cfs_quota_us", "300000\n",
         "/sys/fs/cgroup/cpu/y/cpu.cfs_period_us", "100000\n", 3},
        {"4:cpu,cpuacct:/y\n", "/sys/fs/cgroup/cpu/y/cpu.cfs_quota_us", "-1\n",
         "/sys/fs/cgroup/cpu/y/cpu.cfs_period_us", "100000\n", 0},
        {"nonsense\n::\n0\n", NULL, NULL, NULL, NULL, 0},
        {"0::/gone\n", NULL, NULL, NULL, NULL, 0},
        {"0::/a\n", "/sys/fs/cgroup/a/cpu.max", "x y z\n", NULL, NULL, 0},
        {"0::/a\n", "/sys/fs/cgroup/a/cpu.max", "100000 0\n", NULL, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char root[] = "/tmp/kern_quota_XXXXXX", command[64];
        assert_non_null(mkdtemp(root));
        put(root, "/proc/self/cgroup", cases[i].cgroup);
        if (cases[i].path)
            put(root, cases[i].path, cases[i].text);
        if (cases[i].path2)
            put(root, cases[i].path2, cases[i].text2);
        assert_int_equal(cpu_threads_quota(root), cases[i].quota);
        assert_true(cpu_threads_default(root) >= 1);
        if (cases[i].quota)
            assert_true(cpu_threads_default(root) <= cases[i].quota);
        snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0);
    }
    assert_int_equal(cpu_threads_quota("/nowhere"), 0);
}

/* With every CPU a sibling of CPU 0, one core is left, or one for each CPU below the first that we may run on. */
static void test_siblings(void **state)
{
    (void)state;
    char root[] = "/tmp/kern_cores_XXXXXX", command[64];
    assert_non_null(mkdtemp(root));
    for (int cpu = 0; cpu < 1024; cpu++) {
        char path[96];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        put(root, path, "0-1023\n");
    }
    assert_int_equal(cpu_threads_default(root), 1);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

/* ---- one product through the whole table ---- */
enum { ROWS = 200, COLS = 256, TOKS = 33 };

/* mapped: the weight stays in file form. */
static void product(const char *isa, int32_t threads, bool mapped, const void *raw, const float *x, float *out)
{
    kern_dev *dev = NULL;
    kern_dev_opts opts = {"cpu", isa, threads};
    assert_int_equal(kern_dev_open(&opts, &dev, NULL), TD_OK);
    assert_int_equal(dev->thread_count, threads);
    const kern_ops *ops = dev->ops;
    size_t packed = ops->weight_bytes(dev, KT_Q4_K, ROWS, COLS), share = ops->weight_scratch_bytes(KT_Q4_K, COLS),
           mem = mapped ? share * (size_t)threads : packed;
    kern_weight w = {.type = KT_Q4_K, .rows = ROWS, .cols = COLS, .bytes = mapped ? share : packed,
                     .raw = mapped ? raw : NULL};
    w.chunks = kern_chunk_count(KT_Q4_K, COLS, ops->chunks_max);
    w.data = ops->alloc(dev, mem);
    if (!mapped)
        ops->weight_pack(dev, &w, 0, ROWS, raw);
    kern_act act = {.kind = KA_Q8_256, .tok_count = TOKS, .cols = COLS, .stride = ops->act_stride(KA_Q8_256, COLS)};
    act.data = ops->alloc(dev, act.stride * TOKS);
    kern_quant_args q = {.x = x, .x_stride = COLS, .out = &act};
    ops->quant(dev, &q);
    kern_matmul_args a = {.part_count = 2, .w = {&w, &w}, .act = {&act, &act}, .out = {out}, .out_stride = ROWS,
                          .epilogue = KE_SILU_MUL};
    ops->matmul(dev, &a);
    ops->free(dev, act.data, act.stride * TOKS);
    ops->free(dev, w.data, mem);
    kern_dev_close(dev);
}

static void test_levels_and_threads(void **state)
{
    (void)state;
    static uint8_t raw[ROWS * 144];
    static float x[TOKS * COLS], want[TOKS * ROWS], got[TOKS * ROWS];
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(i * 2654435761u >> 13) & 0x3f; // scales stay finite
    for (size_t i = 0; i < TOKS * COLS; i++)
        x[i] = (float)(i * 40503u % 4001) * 1e-3f - 2;
    product("ref", 1, false, raw, x, want);
    td_buf isas = TD_BUF_INIT;
    kern_dev_describe(&isas);
    td_buf_str(&isas, " ref auto ");
    char isa[32];
    for (const char *p = td_buf_cstr(&isas); sscanf(p, "%31s", isa) == 1; p = strchr(p, ' ') + 1) {
        for (int32_t threads = 1; threads <= 3 && strcmp(isa, "avx512bf16"); threads++) { // that one is no level
            memset(got, 0, sizeof got);
            product(isa, threads, false, raw, x, got);
            assert_memory_equal(want, got, sizeof want);
            memset(got, 0, sizeof got);
            product(isa, threads, true, raw, x, got);
            assert_memory_equal(want, got, sizeof want);
        }
    }
    td_buf_free(&isas);
}

/* A panel packed when it is needed is the panel that loading would have packed, whatever lay in the scratch before. */
static void test_panels_of_raw_rows(void **state)
{
    (void)state;
    enum { R = 37, C_MAX = 512 };
    static uint8_t raw[R * C_MAX * 4 + 1], packed[3 * 16 * C_MAX * 4], panel[16 * C_MAX * 4];
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(i * 2654435761u >> 11);
    for (int type = 0; type < KT_COUNT; type++) {
        bool is_float = kern_types[type].block == 1;
        const int32_t cols[] = {512, is_float ? 255 : 256, is_float ? 2 : 256, is_float ? 1 : 512};
        for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
            pack_geom g = pack_geom_of((kern_type)type, cols[i]);
            kern_weight w = {.type = (kern_type)type, .rows = R, .cols = cols[i], .data = packed, .raw = raw + 1};
            memset(packed, 0, sizeof packed);
            pack_rows(&w, 0, R, raw + 1); // rows of a file begin anywhere
            for (int32_t p = 0; p < pack_panels(R); p++) {
                memset(panel, 0xa5, sizeof panel);
                pack_panel_raw(&w, p, panel);
                assert_memory_equal(panel, packed + (size_t)p * g.panel_bytes, (size_t)g.blocks * g.block_bytes);
            }
            kern_weight only_packed = w;
            only_packed.raw = NULL;
            for (int32_t row = 0; row < R; row++) {
                float from_raw[C_MAX], from_packed[C_MAX];
                pack_row_floats(&w, row, from_raw);
                pack_row_floats(&only_packed, row, from_packed);
                assert_memory_equal(from_raw, from_packed, (size_t)cols[i] * sizeof(float));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_describe),           cmocka_unit_test(test_quota),
        cmocka_unit_test(test_siblings), cmocka_unit_test(test_levels_and_threads),
        cmocka_unit_test(test_panels_of_raw_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
