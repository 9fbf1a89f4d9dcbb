#include "base/memory.h"

#include "base/check.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH_BYTES = 768, LINE_BYTES = 512 };
enum { UNKNOWN_BYTES = 1 << 30 }; // of a machine that does not say what is free

/* Files under /proc and /sys say that they are empty, so they are read as streams. */
static FILE *stream(const char *root, const char *dir, const char *name)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, dir, name);
    return n > 0 && n < PATH_BYTES ? fopen(path, "re") : NULL;
}

static bool number(const char *root, const char *dir, const char *name, uint64_t *out)
{
    FILE *f = stream(root, dir, name);
    unsigned long long v;
    bool ok = f && fscanf(f, "%llu", &v) == 1; // "max" is none
    if (ok)
        *out = v;
    if (f)
        fclose(f);
    return ok;
}

/* The sum of those lines "KEY VALUE" whose key is one of two. */
static uint64_t sum_of(FILE *f, const char *one, const char *two)
{
    char line[LINE_BYTES], key[LINE_BYTES];
    unsigned long long v;
    uint64_t sum = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%511s %llu", key, &v) == 2 && (!strcmp(key, one) || !strcmp(key, two)))
            sum += v;
    if (f)
        fclose(f);
    return sum;
}

static void bind(td_memory *m, uint64_t limit, uint64_t used, const char *name)
{
    uint64_t left = limit > used ? limit - used : 0;
    if (left < m->bound_bytes)
        m->bound_bytes = left, m->limit_bytes = limit, m->bound = name;
}

/* ---- control groups: every level from ours to the root has its say ---- */

typedef struct cgroup_files {
    const char *mount, *limit, *used, *cache[2]; // cache: lines of memory.stat that count what can be given back
} cgroup_files;

static const cgroup_files v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                {"total_inactive_file", "total_active_file"}},
                          v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file", "active_file"}};

static void bind_level(td_memory *m, const char *root, const cgroup_files *c, const char *dir)
{
    uint64_t limit, used;
    if (!number(root, dir, c->limit, &limit) || !number(root, dir, c->used, &used))
        return;
    uint64_t cache = sum_of(stream(root, dir, "memory.stat"), c->cache[0], c->cache[1]);
    bind(m, limit, used - TD_MIN(cache, used), "the control group's memory limit");
}

/* path: as /proc/self/cgroup writes it. In a container it may name a place outside: then the levels are missing, but
 * for the mount point, which is the container's own. */
static void bind_cgroup(td_memory *m, const char *root, const cgroup_files *c, const char *path)
{
    char dir[PATH_BYTES];
    size_t base = strlen(c->mount);
    int n = snprintf(dir, sizeof dir, "%s%s", c->mount, path);
    if (path[0] != '/' || n < 0 || n >= PATH_BYTES)
        return;
    for (size_t len = (size_t)n;; len = strlen(dir)) {
        while (len > base && dir[len - 1] == '/')
            dir[--len] = 0;
        bind_level(m, root, c, dir);
        if (len <= base)
            return;
        *strrchr(dir, '/') = 0;
    }
}

/* Whether "cpu,memory" names the memory controller. */
static bool lists_memory(const char *controllers)
{
    for (const char *c = controllers; *c; c += *c == ',') {
        size_t len = strcspn(c, ",");
        if (len == strlen("memory") && !strncmp(c, "memory", len))
            return true;
        c += len;
    }
    return false;
}

static void bind_cgroups(td_memory *m, const char *root)
{
    FILE *f = stream(root, "/proc/self", "cgroup");
    char line[LINE_BYTES];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        if (!controllers[1]) // version 2 names none
            bind_cgroup(m, root, &v2, path);
        else if (lists_memory(controllers + 1))
            bind_cgroup(m, root, &v1, path);
    }
    if (f)
        fclose(f);
}

/* ---- the process and the machine ---- */

/* From /proc/self/statm: pages of the address space, resident, of files among those, text, library, data. */
static void own_pages(const char *root, uint64_t *all, uint64_t *resident, uint64_t *data)
{
    FILE *f = stream(root, "/proc/self", "statm");
    unsigned long long v[6] = {0};
    if (f && fscanf(f, "%llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]) != 6)
        memset(v, 0, sizeof v);
    if (f)
        fclose(f);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *all = v[0] * page;
    *resident = (v[1] - TD_MIN(v[2], v[1])) * page;
    *data = v[5] * page;
}

static void bind_rlimit(td_memory *m, __rlimit_resource_t what, uint64_t used, const char *name)
{
    struct rlimit r;
    if (!getrlimit(what, &r) && r.rlim_cur != RLIM_INFINITY)
        bind(m, r.rlim_cur, used, name);
}

td_memory td_memory_now(uint64_t max_rss, const char *root)
{
    td_memory m = {.bound_bytes = UINT64_MAX};
    uint64_t all, resident, data;
    own_pages(root, &all, &resident, &data);
    if (max_rss)
        bind(&m, max_rss, resident, "--max-rss");
    bind_cgroups(&m, root);
    bind_rlimit(&m, RLIMIT_AS, all, "RLIMIT_AS");
    bind_rlimit(&m, RLIMIT_DATA, data, "RLIMIT_DATA");
    m.machine_bytes = sum_of(stream(root, "/proc", "meminfo"), "MemAvailable:", "SwapFree:") << 10;
    if (!m.machine_bytes)
        m.machine_bytes = UNKNOWN_BYTES;
    return m;
}

uint64_t td_memory_plannable(const td_memory *m)
{
    uint64_t margin = m->bound ? TD_MEMORY_MARGIN_BYTES + m->limit_bytes / TD_MEMORY_MARGIN_SHARE : 0;
    return m->bound_bytes > margin ? m->bound_bytes - margin : 0;
}

uint64_t td_memory_resident(void)
{
    uint64_t all, resident, data;
    own_pages("", &all, &resident, &data);
    return resident;
}
