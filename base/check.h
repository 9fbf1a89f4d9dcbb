/* check.h - checked size arithmetic. Every size or offset that comes from outside goes through these.
 * Return true when the result fits and is stored, as the opposite of the compiler built-ins they wrap. */
#ifndef TD_BASE_CHECK_H
#define TD_BASE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool td_add_ok(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool td_mul_ok(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool td_size_add_ok(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool td_size_mul_ok(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* Rounds n up to a multiple of the power of two `align`. The caller knows that n is far from SIZE_MAX. */
static inline size_t td_align_up(size_t n, size_t align) { return (n + align - 1) & ~(align - 1); }

#define TD_COUNT(a) (sizeof(a) / sizeof *(a))
#define TD_MIN(a, b) ((a) < (b) ? (a) : (b))
#define TD_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
