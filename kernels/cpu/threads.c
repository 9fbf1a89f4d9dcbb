/* One thread per physical core that we may run on: a hyperthread's sibling shares the multipliers and the bandwidth,
 * and only adds a barrier's latency. A quota below that would stop all threads for the rest of each period. */
#include "kernels/cpu/threads.h"

#include "base/check.h"
#include "base/limits.h"

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 4096, PATH_BYTES = 4096 };

/* A short file of the kernel's, which has no size to ask for. */
static bool read_text(const char *root, const char *path, char *out)
{
    char full[PATH_BYTES];
    if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
        return false;
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, TEXT_MAX - 1);
    close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

static int32_t quota_count(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return 0;
    return (int32_t)TD_MIN(TD_MAX(quota_us / period_us, 1), TD_THREADS_MAX);
}

static int32_t quota_v2(const char *root, const char *dir)
{
    char path[PATH_BYTES], text[TEXT_MAX];
    long long quota, period;
    if ((size_t)snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir) >= sizeof path ||
        !read_text(root, path, text) || sscanf(text, "%lld %lld", &quota, &period) != 2)
        return 0; // "max 100000": no quota
    return quota_count(quota, period);
}

static int32_t quota_v1(const char *root, const char *dir)
{
    char path[PATH_BYTES], quota[TEXT_MAX], period[TEXT_MAX];
    if ((size_t)snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", dir) >= sizeof path ||
        !read_text(root, path, quota))
        return 0;
    if ((size_t)snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", dir) >= sizeof path ||
        !read_text(root, path, period))
        return 0;
    return quota_count(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

/* The tightest quota from a group up to the root; in a container the group's path may not exist, its root does. */
static int32_t quota_upward(const char *root, char *dir, int32_t (*quota)(const char *, const char *))
{
    int32_t best = 0;
    for (;;) {
        int32_t n = quota(root, dir);
        if (n && (!best || n < best))
            best = n;
        char *slash = strrchr(dir, '/');
        if (!slash)
            return best;
        *slash = 0;
    }
}

/* A line of /proc/self/cgroup is "id:controllers:path"; v2 has no controllers. */
static int32_t quota_line(const char *root, char *line)
{
    char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
    if (!path)
        return 0;
    *path++ = 0;
    names++;
    if (strcmp(path, "/") == 0)
        path[0] = 0;
    if (!*names)
        return quota_upward(root, path, quota_v2);
    for (size_t len; *names; names += len + (names[len] == ',')) {
        len = strcspn(names, ",");
        if (len == 3 && strncmp(names, "cpu", 3) == 0)
            return quota_upward(root, path, quota_v1);
    }
    return 0;
}

int32_t cpu_threads_quota(const char *root)
{
    char text[TEXT_MAX];
    int32_t best = 0;
    if (!read_text(root, "/proc/self/cgroup", text))
        return 0;
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = 0;
        int32_t n = quota_line(root, line);
        if (n && (!best || n < best))
            best = n;
    }
    return best;
}

/* Whether an allowed CPU is the lowest-numbered allowed one of its core. */
static bool leads_core(const char *root, int cpu, const cpu_set_t *allowed, size_t set_bytes)
{
    char path[PATH_BYTES], text[TEXT_MAX];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (!read_text(root, path, text))
        return true;
    for (char *p = text; *p >= '0' && *p <= '9';) { // "0-1,64-65"
        long from = strtol(p, &p, 10), to = *p == '-' ? strtol(p + 1, &p, 10) : from;
        for (long c = from; c <= to && c < cpu; c++)
            if (CPU_ISSET_S((size_t)c, set_bytes, allowed))
                return false;
        p += *p == ',';
    }
    return true;
}

static int32_t core_count(const char *root)
{
    enum { CPUS = 8192 };
    size_t bytes = CPU_ALLOC_SIZE(CPUS);
    cpu_set_t *set = CPU_ALLOC(CPUS);
    int32_t n = 0;
    if (set && sched_getaffinity(0, bytes, set) == 0)
        for (int cpu = 0; cpu < CPUS; cpu++)
            n += CPU_ISSET_S((size_t)cpu, bytes, set) && leads_core(root, cpu, set, bytes);
    CPU_FREE(set);
    return TD_MAX(n, 1);
}

int32_t cpu_threads_default(const char *root)
{
    int32_t cores = core_count(root), quota = cpu_threads_quota(root);
    return TD_MIN(quota ? TD_MIN(cores, quota) : cores, TD_THREADS_MAX);
}
