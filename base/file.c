#include "base/file.h"

#include "base/arena.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

td_rc td_file_open(const char *path, td_file *f, td_err *err)
{
    // O_NONBLOCK keeps the open of a FIFO from waiting for a writer; it means nothing for a regular file.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return td_fail(err, TD_E_IO, "cannot open %s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return td_fail(err, TD_E_IO, "%s is not a regular file", path);
    }
    *f = (td_file){.fd = fd, .bytes = (uint64_t)st.st_size};
    return TD_OK;
}

void td_file_close(td_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

td_rc td_file_pread(const td_file *f, uint64_t offset, void *out, size_t len, td_err *err)
{
    char *p = out;
    while (len) {
        ssize_t n = td_fault_hit(TD_FAULT_READ) ? (errno = EIO, -1) : pread(f->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return td_fail(err, TD_E_IO, "read of %zu bytes at offset %llu failed: %s", len, (unsigned long long)offset,
                           strerror(errno));
        if (n == 0)
            return td_fail(err, TD_E_IO, "file ends at offset %llu; it was cut while it was read",
                           (unsigned long long)offset);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return TD_OK;
}

td_rc td_file_map(const td_file *f, td_mapping *out, td_err *err)
{
    struct stat st;
    if (td_fault_hit(TD_FAULT_READ) || fstat(f->fd, &st) || (uint64_t)st.st_size < f->bytes)
        return td_fail(err, TD_E_IO, "the file was cut while it was read");
    void *p = f->bytes ? mmap(NULL, (size_t)f->bytes, PROT_READ, MAP_SHARED, f->fd, 0) : NULL;
    if (p == MAP_FAILED)
        return td_fail(err, TD_E_IO, "the file cannot be mapped: %s", strerror(errno));
    *out = (td_mapping){p, (size_t)f->bytes};
    return TD_OK;
}

void td_file_unmap(td_mapping *m)
{
    if (m->base)
        munmap((void *)(uintptr_t)m->base, m->bytes);
    *m = (td_mapping){NULL, 0};
}

td_rc td_file_read(const char *path, uint64_t max_bytes, char **data, size_t *len, td_err *err)
{
    td_file f;
    td_rc rc = td_file_open(path, &f, err);
    if (rc != TD_OK)
        return rc;
    char *p = NULL;
    if (f.bytes > max_bytes)
        rc = td_fail(err, TD_E_TOOBIG, "%s has %llu bytes; at most %llu are accepted", path,
                     (unsigned long long)f.bytes, (unsigned long long)max_bytes);
    else if (!(p = td_alloc((size_t)f.bytes + 1)))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for %s", path);
    else
        rc = td_file_pread(&f, 0, p, (size_t)f.bytes, err);
    td_file_close(&f);
    if (rc != TD_OK) {
        td_free(p);
        return rc;
    }
    *data = p;
    *len = (size_t)f.bytes;
    return TD_OK;
}

bool td_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool td_dir_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
