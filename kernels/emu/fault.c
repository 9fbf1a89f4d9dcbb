/* fault.c - how a fault is told: one line with its class, the kernel, the block, the thread and the place, and then the
 * end of the process. Places of memory accesses are return addresses, which addr2line reads where it is installed. */
#include "kernels/emu/int.h"

#include "base/err.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct place {
    char file[256];
    int line;
} place;

void emu_enter(const char *what, const char *file, int line)
{
    emu_fiber *f = emu_cur;
    if (!f)
        td_bug("a device function was called outside a kernel", file, line);
    f->what = what;
    f->file = file;
    f->line = line;
}

/* The first line of the form FILE:NUMBER that addr2line prints for pc. */
static bool place_of(const void *pc, place *out)
{
    Dl_info info;
    char exe[512], command[700];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0 || !dladdr(pc, &info) || strchr((exe[n] = 0, exe), '\''))
        return false;
    uintptr_t at = (uintptr_t)pc - 1 - (uintptr_t)info.dli_fbase;
    snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%lx 2>/dev/null", exe, (unsigned long)at);
    FILE *pipe = popen(command, "r");
    char text[512];
    bool found = false;
    while (pipe && fgets(text, sizeof text, pipe)) {
        char *colon = strrchr(text, ':');
        if (found || !colon || text[0] == '?' || strtol(colon + 1, NULL, 10) <= 0)
            continue;
        if (strstr(text, "/kernels/emu/")) // an inlined wrapper: the place is its caller
            continue;
        *colon = 0;
        const char *base = strrchr(text, '/');
        snprintf(out->file, sizeof out->file, "%s", base ? base + 1 : text);
        out->line = (int)strtol(colon + 1, NULL, 10);
        found = true;
    }
    if (pipe)
        pclose(pipe);
    return found;
}

bool emu_place_text(const void *pc, char *out, size_t cap)
{
    place p;
    if (!pc || !place_of(pc, &p))
        return false;
    snprintf(out, cap, "%s:%d", p.file, p.line);
    return true;
}

static void fail(const void *pc, const char *kind, const char *fmt, va_list args)
{
    char text[512], message[900];
    const emu_fiber *f = emu_cur;
    emu_checking = false;
    vsnprintf(text, sizeof text, fmt, args);
    if (!f) {
        snprintf(message, sizeof message, "emu: %s: %s", kind, text);
        td_bug(message, "the host", 0);
    }
    const emu_launch_op *op = f->block->group->op;
    const uint32_t *b = f->block->idx, *t = f->idx;
    snprintf(message, sizeof message, "emu: %s: %s; kernel %s block (%u,%u,%u) thread (%u,%u,%u)", kind, text, op->name,
             b[0], b[1], b[2], t[0], t[1], t[2]);
    place p;
    if (pc && place_of(pc, &p))
        td_bug(message, p.file, p.line);
    td_bug(message, f->file, f->line);
}

void emu_fail(const char *kind, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(NULL, kind, fmt, args);
    va_end(args);
    td_bug("unreachable", __FILE__, __LINE__);
}

void emu_fail_at(const void *pc, const char *kind, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(pc, kind, fmt, args);
    va_end(args);
    td_bug("unreachable", __FILE__, __LINE__);
}

void emu_fail_kernel(const emu_launch_op *op, const char *kind, const char *text)
{
    char message[400];
    snprintf(message, sizeof message, "emu: %s: %s; kernel %s", kind, text, op->name);
    td_bug(message, op->file, op->line);
}
