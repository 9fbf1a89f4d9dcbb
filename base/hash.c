#include "base/hash.h"

#include "base/err.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <string.h>

td_sha256_ctx *td_sha256_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(c);
        c = NULL;
    }
    return (td_sha256_ctx *)c;
}

void td_sha256_add(td_sha256_ctx *c, const void *p, size_t len)
{
    td_assert(EVP_DigestUpdate((EVP_MD_CTX *)c, p, len) == 1);
}

td_sha256 td_sha256_end(td_sha256_ctx *c)
{
    td_sha256 out;
    td_assert(EVP_DigestFinal_ex((EVP_MD_CTX *)c, out.b, NULL) == 1);
    EVP_MD_CTX_free((EVP_MD_CTX *)c);
    return out;
}

td_sha256 td_sha256_of(const void *p, size_t len)
{
    // The one-shot low-level call needs no allocation, so it cannot fail.
    td_sha256 out;
    SHA256(p, len, out.b);
    return out;
}

int td_sha256_equal(const td_sha256 *a, const td_sha256 *b) { return CRYPTO_memcmp(a->b, b->b, sizeof a->b) == 0; }

void td_hex(const uint8_t *b, size_t len, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[b[i] >> 4];
        out[2 * i + 1] = hex[b[i] & 15];
    }
    out[2 * len] = 0;
}

static uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

uint64_t td_hash64(const void *ptr, size_t len, uint64_t seed)
{
    const unsigned char *p = ptr;
    uint64_t h = td_mix64(seed ^ 0x9e3779b97f4a7c15u) ^ len;
    for (; len >= 8; p += 8, len -= 8)
        h = td_mix64(h ^ load64(p));
    uint64_t tail = 0;
    for (size_t i = 0; i < len; i++)
        tail |= (uint64_t)p[i] << 8 * i;
    return td_mix64(h ^ tail ^ 0xa0761d6478bd642fu);
}

static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0x82F63B78u ^ c >> 1 : c >> 1;
        crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_table[t][i] = crc_table[0][crc_table[t - 1][i] & 255] ^ crc_table[t - 1][i] >> 8;
}

static uint32_t crc_soft(uint32_t c, const unsigned char *p, size_t len)
{
    pthread_once(&crc_once, crc_init);
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v = load64(p) ^ c;
        c = 0;
        for (int t = 0; t < 8; t++)
            c ^= crc_table[7 - t][v >> 8 * t & 255];
    }
    while (len--)
        c = crc_table[0][(c ^ *p++) & 255] ^ c >> 8;
    return c;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_hard(uint32_t c, const unsigned char *p, size_t len)
{
    uint64_t c64 = c;
    for (; len >= 8; p += 8, len -= 8)
        c64 = __builtin_ia32_crc32di(c64, load64(p));
    c = (uint32_t)c64;
    while (len--)
        c = __builtin_ia32_crc32qi(c, *p++);
    return c;
}
#endif

uint32_t td_crc32c(uint32_t crc, const void *p, size_t len)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_hard(~crc, p, len);
#endif
    return ~crc_soft(~crc, p, len);
}
