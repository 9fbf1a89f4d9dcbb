/* bench roof: what this machine reads and multiplies at best, by threads, page size and instruction. */
#include "base/check.h"
#include "kernels/device.h"
#include "tools/bench_machine.h"
#include "tools/bench_table.h"
#include "tools/verbs.h"


static const char *const columns[] = {"what", "threads", "value", "unit"};

static void add(bench_table *t, const char *what, int threads, double value, const char *unit)
{
    bench_table_row(
        t, (bench_cell[]){{.text = what}, {.number = threads}, {.number = value, .digits = 1}, {.text = unit}});
}

/* 1, 2, 4, … and the whole number itself. */
static int next_count(int n, int max) { return n == max ? max + 1 : TD_MIN(2 * n, max); }

static td_rc read_rows(bench_table *t, int max, td_err *err)
{
    for (int huge = 0; huge < 2; huge++)
        for (int n = 1; n <= max; n = next_count(n, max)) {
            double rate;
            td_rc rc = bench_read_rate(n, huge, &rate, err);
            if (rc)
                return rc;
            add(t, huge ? "read, 2 MiB pages" : "read, 4 KiB pages", n, rate, "GB/s");
        }
    return TD_OK;
}

static td_rc mac_rows(bench_table *t, const char *level, int max, td_err *err)
{
    const kern_roof *loops;
    int count = kern_roofs(&loops);
    for (int i = 0; i < count; i++)
        for (int n = 1; bench_loop_fits(&loops[i], level) && n <= max; n = next_count(n, max)) {
            double rate;
            td_rc rc = bench_mac_rate(&loops[i], n, &rate, err);
            if (rc)
                return rc;
            add(t, loops[i].name, n, rate, "GMAC/s");
        }
    return TD_OK;
}

td_rc verb_bench_roof(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    kern_dev_opts opts = {flags_str(f, "device"), flags_str(f, "cpu-isa"), (int32_t)flags_int(f, "threads")};
    kern_dev *dev = NULL; // only to learn the level and the number of threads
    td_rc rc = kern_dev_open(&opts, &dev, err);
    if (rc)
        return rc;
    const char *level = dev->ops->name + sizeof "cpu-" - 1;
    int max = TD_MIN(dev->thread_count, BENCH_THREADS_MAX);
    bench_table t;
    bench_table_init(&t, (bench_format)flags_choice(f, "format"), columns, (int)TD_COUNT(columns));
    rc = read_rows(&t, max, err);
    if (!rc)
        rc = mac_rows(&t, level, max, err);
    if (!rc)
        rc = bench_table_print(&t, err);
    bench_table_free(&t);
    kern_dev_close(dev);
    return rc;
}
