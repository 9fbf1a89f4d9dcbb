/* checkkern.h - proves every level of every CPU kernel against the plain C one, bit for bit, and every GPU kernel
 * against it as closely as its order of adding allows.
 *
 * A test is called once per level with ck.level and ck.ref set; for the level `ref` itself it checks against a slower
 * truth in double precision. On a device level (emu, cuda) its run_dev is called with ck.dev, on the emulator once for
 * each of three schedules. It draws from ck_rand*, so that --seed repeats a run, and allocates with ck_alloc, whose
 * memory ends at a page without access and whose slack is filled with a pattern that is looked at afterwards. A test
 * fails through ck_fail or by a crash signal; both name test, level and seed, and the run goes on. */
#ifndef TD_TESTS_CHECKKERN_H
#define TD_TESTS_CHECKKERN_H

#include "kernels/cpu/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ck_state {
    const cpu_level *ref, *level;
    kern_dev *dev;       // of a device level, else NULL
    const char *level_name;
    bool bench;          // --bench: run the test's timing part too
    const char *test;
    int failures;        // of the running test
} ck_state;
extern ck_state ck;

typedef struct ck_test {
    const char *name;    // "matmul.Q4_0"
    void (*run)(int arg); // or NULL: nothing for a CPU
    void (*bench)(int arg); // or NULL; prints its own lines
    int arg;
    void (*run_dev)(int arg); // or NULL
} ck_test;

/* Families; each file defines one table that ends with a NULL name. */
extern const ck_test ck_quant_tests[], ck_embed_tests[], ck_matmul_tests[], ck_norm_tests[], ck_rope_tests[];
extern const ck_test ck_exp_tests[], ck_kv_store_tests[], ck_attention_tests[], ck_sample_tests[];
extern const ck_test ck_dev_matmul_tests[];

uint32_t ck_rand(void);
int32_t ck_rand_int(int32_t lo, int32_t hi); // inclusive
float ck_rand_float(void);                   // roughly normal, unit variance
bool ck_one_in(int32_t n);

/* Zero-filled memory aligned to `align`, freed and checked after the test. */
void *ck_alloc(size_t bytes, size_t align);
/* Checks the patterns around everything allocated so far and frees it; run between rounds of a test. */
void ck_release(void);

void ck_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Same bits, any NaN equal to any NaN; reports the first difference. */
bool ck_same_floats(const char *what, const float *want, const float *got, size_t count);
/* NaN where NaN is wanted, else no further from it than rel * |want| + abs. */
bool ck_near_floats(const char *what, const float *want, const float *got, size_t count, float rel, float abs);
bool ck_same_bytes(const char *what, const void *want, const void *got, size_t count);

/* Device memory: freed by ck_release(). ck_put: holds these bytes. ck_get: what it holds now, in ck_alloc's memory. */
void *ck_put(const void *src, size_t bytes);
void *ck_room(size_t bytes);
void *ck_get(const void *dev, size_t bytes);
/* A device's activation as rows [tok][stride] in the order of columns, whatever its layout. */
void *ck_get_act(const kern_act *a);

/* Values that break kernels: what fill `kind` (0 … CK_FILLS - 1) puts into n floats. 0 is plain random. */
enum { CK_FILL_RANDOM, CK_FILL_ZERO, CK_FILL_MAX, CK_FILL_TINY, CK_FILL_HUGE, CK_FILL_MIXED, CK_FILL_NAN, CK_FILLS };
void ck_fill(float *x, size_t n, int kind);

double ck_seconds(void); // of this thread on a CPU: other load on the machine does not count

#endif
