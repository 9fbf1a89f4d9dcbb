/* Whose bound on memory is the tightest: on a /proc and /sys of the test's own making. */
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1ull << 20)

static char root[64];

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        mkdir(full, 0700);
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int forget(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/base_memory_XXXXXX");
    if (!mkdtemp(root))
        return 1;
    put("/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1024 kB\nMemAvailable: 2097152 kB\nSwapFree: 1048576 kB\n");
    put("/proc/self/statm", "100000 26600 1000 500 0 30000 0\n"); // 1000 of 26600 resident pages are of files
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, forget, 16, FTW_DEPTH | FTW_PHYS);
}

static void no_bound(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "max\n");
    put("/sys/fs/cgroup/memory.current", "123\n");
    td_memory m = td_memory_now(0, root);
    assert_true(m.machine_bytes == 3072 * MIB && m.bound_bytes == UINT64_MAX);
    assert_null(m.bound);
}

static void max_rss(void **state)
{
    (void)state;
    td_memory m = td_memory_now(300 * MIB, root);
    assert_true(m.bound_bytes == 300 * MIB - 25600ull * (uint64_t)sysconf(_SC_PAGESIZE) && m.limit_bytes == 300 * MIB);
    assert_string_equal(m.bound, "--max-rss");
    td_memory none = td_memory_now(1 * MIB, root), all = td_memory_now(0, root);
    assert_true(none.bound_bytes == 0 && td_memory_plannable(&none) == 0);
    assert_true(all.bound || td_memory_plannable(&all) == UINT64_MAX);
    m.limit_bytes = 320 * MIB, m.bound_bytes = 200 * MIB; // less 32 MiB and a sixteenth
    assert_true(td_memory_plannable(&m) == 148 * MIB);
}

static void cgroup_v2(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "1:name=systemd:/\n0::/pod/app\n");
    put("/sys/fs/cgroup/pod/app/memory.max", "max\n");
    put("/sys/fs/cgroup/pod/app/memory.current", "1048576\n");
    put("/sys/fs/cgroup/pod/memory.max", "536870912\n"); // 512 MiB, of which 100 + 50 are page cache
    put("/sys/fs/cgroup/pod/memory.current", "314572800\n");
    put("/sys/fs/cgroup/pod/memory.stat", "anon 1\ninactive_file 104857600\nactive_file 52428800\nfile 999\n");
    td_memory m = td_memory_now(0, root);
    assert_true(m.bound_bytes == (512 - 300 + 150) * MIB && m.limit_bytes == 512 * MIB);
    assert_non_null(strstr(m.bound, "control group"));
    put("/sys/fs/cgroup/pod/app/memory.max", "2097152\n");
    assert_true(td_memory_now(0, root).bound_bytes == 1 * MIB);
    assert_true(td_memory_now(400 * MIB, root).bound_bytes == 1 * MIB);
}

/* In a container the path may be one of the host's: what counts is what is mounted. */
static void cgroup_v1_from_inside(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:hugetlb,memory:/docker/abc\n0::/docker/abc\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "67108864\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 33554432\ntotal_active_file 0\n");
    assert_true(td_memory_now(0, root).bound_bytes == (256 - 64 + 32) * MIB);
    put("/proc/self/cgroup", "4:memorytoo:/docker/abc\n");
    assert_true(td_memory_now(0, root).bound_bytes == UINT64_MAX);
}

static void rlimit(void **state)
{
    (void)state;
    struct rlimit old, less;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    less = (struct rlimit){.rlim_cur = 1ull << 60, .rlim_max = old.rlim_max};
    if (setrlimit(RLIMIT_AS, &less))
        skip();
    td_memory m = td_memory_now(0, root);
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
    assert_true(m.limit_bytes == 1ull << 60);
    assert_true(m.bound_bytes == (1ull << 60) - 100000ull * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_string_equal(m.bound, "RLIMIT_AS");
}

static void this_machine(void **state)
{
    (void)state;
    char *p = malloc(64 * MIB);
    volatile char *touched = p; // an optimiser need not write what only this function reads
    for (size_t i = 0; i < 64 * MIB; i += 4096)
        touched[i] = 1;
    assert_true(td_memory_resident() >= 64 * MIB);
    free(p);
    assert_true(td_memory_now(0, "").machine_bytes > 0);
    td_memory nowhere = td_memory_now(0, "/nowhere");
    assert_true(nowhere.bound_bytes == UINT64_MAX && nowhere.machine_bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(max_rss, setup, teardown),
        cmocka_unit_test_setup_teardown(cgroup_v2, setup, teardown),
        cmocka_unit_test_setup_teardown(cgroup_v1_from_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(rlimit, setup, teardown),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
