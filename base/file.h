/* file.h - files read whole or by ranges, through the fault seam. Any thread; objects belong to the caller. */
#ifndef TD_BASE_FILE_H
#define TD_BASE_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads a regular file of at most max_bytes; *data is NUL terminated and owned by the caller (td_free). */
td_rc td_file_read(const char *path, uint64_t max_bytes, char **data, size_t *len, td_err *err);
bool td_file_exists(const char *path); // a regular file
bool td_dir_exists(const char *path);

/* An open file for ranged reads (pread), shared by threads. Refuses what is not a regular file. */
typedef struct td_file {
    int fd;
    uint64_t bytes; // size when opened
} td_file;
td_rc td_file_open(const char *path, td_file *f, td_err *err);
void td_file_close(td_file *f);
/* Exactly len bytes at offset, or TD_E_IO: also when the file became shorter meanwhile. */
td_rc td_file_pread(const td_file *f, uint64_t offset, void *out, size_t len, td_err *err);

/* The whole file in memory, read-only, its pages those of the page cache; the file may be closed meanwhile. Who cuts it
 * short later makes every reader of what is gone end with SIGBUS. */
typedef struct td_mapping {
    const void *base;
    size_t bytes;
} td_mapping;
td_rc td_file_map(const td_file *f, td_mapping *out, td_err *err);
void td_file_unmap(td_mapping *m); // harmless on an empty one

#endif
