/* hash.h - SHA-256 for names that must not collide, a fast 64-bit hash for tables, CRC32C for bytes at rest.
 * Pure functions; any thread. */
#ifndef TD_BASE_HASH_H
#define TD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct td_sha256 {
    uint8_t b[32];
} td_sha256;

typedef struct td_sha256_ctx td_sha256_ctx; // incremental; NULL from new = out of memory
td_sha256_ctx *td_sha256_new(void);
void td_sha256_add(td_sha256_ctx *c, const void *p, size_t len);
td_sha256 td_sha256_end(td_sha256_ctx *c); // frees c

td_sha256 td_sha256_of(const void *p, size_t len);
void td_hex(const uint8_t *b, size_t len, char *out); // out[2*len + 1]

/* wyhash-like mixing; not for adversarial keys that must not collide. */
uint64_t td_hash64(const void *p, size_t len, uint64_t seed);
static inline uint64_t td_mix64(uint64_t x)
{
    x ^= x >> 32, x *= 0xd6e8feb86659fd93u, x ^= x >> 32, x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

uint32_t td_crc32c(uint32_t crc, const void *p, size_t len); // start with 0

/* Constant-time comparison of two secrets' digests. */
int td_sha256_equal(const td_sha256 *a, const td_sha256 *b);

#endif
