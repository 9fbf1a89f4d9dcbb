/* Every class of fault that the emulator knows, planted on purpose in a kernel of its own: the process must end with
 * the right class, kernel and line; and the same kernel without the bug must pass. Both under three schedules. */
#include "kernels/emu/emu.h"
#include "emu_planted/planted.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    emu_order order;
    uint64_t seed;
    const char *name;
} schedules[] = {{EMU_FORWARD, 0, "forward"}, {EMU_REVERSE, 0, "reverse"}, {EMU_RANDOM, 3, "random"}};

void *planted_dev(const void *from, size_t bytes, gpu_stream s)
{
    void *dev = NULL, *stage = NULL;
    assert_int_equal(emu_rt_malloc(bytes, &dev), GPU_OK);
    if (from) {
        assert_int_equal(emu_rt_host_alloc(bytes, &stage), GPU_OK);
        memcpy(stage, from, bytes);
        assert_int_equal(emu_rt_copy_h2d(dev, stage, bytes, s), GPU_OK);
    }
    return dev;
}

void *planted_read(const void *dev, size_t bytes, gpu_stream s)
{
    void *stage = NULL;
    assert_int_equal(emu_rt_host_alloc(bytes, &stage), GPU_OK);
    assert_int_equal(emu_rt_copy_d2h(stage, dev, bytes, s), GPU_OK);
    assert_int_equal(emu_rt_stream_sync(s), GPU_OK);
    assert_int_equal(emu_rt_last_error(), GPU_OK);
    return stage;
}

/* Runs p in a child; its exit status, and what it wrote to stderr. */
static int run_child(const planted *p, bool bug, unsigned schedule, char *text, size_t cap)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        alarm(60);
        gpu_stream s = NULL;
        emu_set_schedule(schedules[schedule].order, schedules[schedule].seed);
        emu_rt_stream_create(&s);
        _exit(p->run(bug, s) ? 0 : 3);
    }
    close(fd[1]);
    size_t len = 0;
    for (ssize_t n; len + 1 < cap && (n = read(fd[0], text + len, cap - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    close(fd[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Whether `text` ends with one of the marked lines of p's file. */
static bool names_marked_line(const planted *p, const char *text)
{
    char path[512], line[400], mark[100], want[160];
    bool found = false;
    snprintf(path, sizeof path, "%s/unit/emu_planted/%s", TD_TESTS_DIR, p->file);
    snprintf(mark, sizeof mark, "// fault: %s ", p->name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int n = 1; fgets(line, sizeof line, f); n++) {
        snprintf(want, sizeof want, "%s:%d\n", p->file, n);
        line[strcspn(line, "\n")] = ' '; // a mark ends with a space here
        if (strstr(line, mark) && strstr(text, want))
            found = true;
    }
    fclose(f);
    return found;
}

/* kinds: "a|b", any of them. */
static bool names_kind(const char *kinds, const char *text)
{
    char want[100];
    for (size_t n; *kinds; kinds += n + (kinds[n] == '|')) {
        n = strcspn(kinds, "|");
        snprintf(want, sizeof want, "emu: %.*s: ", (int)n, kinds);
        if (strstr(text, want))
            return true;
    }
    return false;
}

/* Where ASan and UBSan look in place of the hooks. They do not know that pinned memory is the host's alone. */
static bool sanitizer_sees(const planted *p)
{
#ifdef __SANITIZE_ADDRESS__
    return strcmp(p->file, "memory.cu") == 0 && strcmp(p->name, "host_pointer") != 0;
#else
    (void)p;
    return false;
#endif
}

static int check(const planted *p)
{
    char text[8192];
    int bad = 0;
    for (unsigned i = 0; i < 3; i++) {
        int status = run_child(p, false, i, text, sizeof text);
        if (status != 0) {
            print_error("%s without the bug, %s: status %x\n%s", p->name, schedules[i].name, status, text);
            bad++;
        }
        if (p->hooks && !emu_has_checks() && !sanitizer_sees(p))
            continue;
        status = run_child(p, true, i, text, sizeof text);
        if (p->hooks && !emu_has_checks()) {
            bad += status == 0;
            continue;
        }
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !names_kind(p->kind, text) ||
            !strstr(text, p->kernel) ||
            (*p->file && !names_marked_line(p, text))) {
            print_error("%s, %s: status %x, wanted '%s' at its mark in %s\n%s", p->name, schedules[i].name, status,
                        p->kind, p->file, text);
            bad++;
        }
    }
    return bad;
}

static void check_all(const planted *list)
{
    int bad = 0;
    for (const planted *p = list; p->name; p++)
        bad += check(p);
    assert_int_equal(bad, 0);
}

#define AREA(name)                          \
    static void test_##name(void **state)   \
    {                                       \
        (void)state;                        \
        check_all(planted_##name);          \
    }
AREA(sync)
AREA(memory)
AREA(copies)
AREA(bulk)
AREA(wgmma)
AREA(grid)
AREA(host)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync), cmocka_unit_test(test_memory), cmocka_unit_test(test_copies),
        cmocka_unit_test(test_bulk), cmocka_unit_test(test_wgmma), cmocka_unit_test(test_grid),
        cmocka_unit_test(test_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
