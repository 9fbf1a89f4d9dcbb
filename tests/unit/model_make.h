/* Makes model files for tests: a folder that goes away, and a little GGUF writer. */
#ifndef TD_TESTS_MODEL_MAKE_H
#define TD_TESTS_MODEL_MAKE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char make_dir[64];

static inline int make_setup(void **state)
{
    (void)state;
    snprintf(make_dir, sizeof make_dir, "/tmp/td_model_XXXXXX");
    return mkdtemp(make_dir) ? 0 : -1;
}

static inline int make_teardown(void **state)
{
    (void)state;
    DIR *d = opendir(make_dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    return rmdir(make_dir);
}

/* The path of a file in the folder; valid until the call after the next three. */
static inline const char *make_path(const char *name)
{
    static char paths[4][256];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", make_dir, name);
    return p;
}

static inline const char *make_file(const char *name, const void *data, size_t len)
{
    const char *path = make_path(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

static inline void put_u32(td_buf *b, uint32_t v) { td_buf_add(b, &v, sizeof v); }
static inline void put_u64(td_buf *b, uint64_t v) { td_buf_add(b, &v, sizeof v); }

static inline void put_strn(td_buf *b, const char *s, size_t len)
{
    put_u64(b, len);
    td_buf_add(b, s, len);
}

static inline void put_str(td_buf *b, const char *s) { put_strn(b, s, strlen(s)); }

static inline void put_pad(td_buf *b, size_t align)
{
    while (b->len % align)
        td_buf_char(b, 0);
}

static inline void put_key(td_buf *b, const char *key, uint32_t type)
{
    put_str(b, key);
    put_u32(b, type);
}

static inline void put_key_u32(td_buf *b, const char *key, uint32_t v)
{
    put_key(b, key, 4);
    put_u32(b, v);
}

static inline void put_key_f32(td_buf *b, const char *key, float v)
{
    put_key(b, key, 6);
    td_buf_add(b, &v, sizeof v);
}

static inline void put_key_str(td_buf *b, const char *key, const char *v)
{
    put_key(b, key, 8);
    put_str(b, v);
}

static inline void put_header(td_buf *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    td_buf_add(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, keys);
}

static inline void put_tensor(td_buf *b, const char *name, uint32_t dim_count, const uint64_t *dims, uint32_t type,
                              uint64_t offset)
{
    put_str(b, name);
    put_u32(b, dim_count);
    for (uint32_t d = 0; d < dim_count; d++)
        put_u64(b, dims[d]);
    put_u32(b, type);
    put_u64(b, offset);
}

/* Calls try() with the n-th fault of each kind armed, n = 1, 2, … until none was injected: each injected one must give
 * an error, and a leak is the sanitizer's to find. Returns how many were injected. */
static inline int make_torture(td_rc (*try)(void *), void *arg)
{
    static const td_fault_kind kinds[] = {TD_FAULT_ALLOC, TD_FAULT_READ};
    int injected = 0;
    for (size_t k = 0; k < 2; k++) {
        for (uint64_t n = 1;; n++) {
            td_fault_arm(kinds[k], n, false);
            td_rc rc = try(arg);
            uint64_t hits = td_fault_count(kinds[k]);
            td_fault_arm(kinds[k], 0, false);
            if (hits == 0) {
                assert_int_equal(rc, TD_OK);
                break;
            }
            assert_int_equal(rc, kinds[k] == TD_FAULT_ALLOC ? TD_E_NOMEM : TD_E_IO);
            injected++;
        }
    }
    return injected;
}

#endif
