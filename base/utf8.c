#include "base/utf8.h"

/* Allowed range of the second byte by lead byte: Unicode 15, table 3-7. */
static size_t lead_len(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80, *hi = 0xBF;
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF)
        return 2;
    if (c >= 0xE0 && c <= 0xEF) {
        *lo = c == 0xE0 ? 0xA0 : 0x80;
        *hi = c == 0xED ? 0x9F : 0xBF;
        return 3;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        *lo = c == 0xF0 ? 0x90 : 0x80;
        *hi = c == 0xF4 ? 0x8F : 0xBF;
        return 4;
    }
    return 0;
}

/* How many of the first `len` bytes agree with one character; *need gets its full length, 0 for a bad lead. */
static size_t match(const char *s, size_t len, size_t *need)
{
    unsigned char lo, hi;
    *need = len ? lead_len((unsigned char)s[0], &lo, &hi) : 0;
    if (*need == 0)
        return 0;
    size_t n = 1;
    while (n < *need && n < len) {
        unsigned char c = (unsigned char)s[n];
        if (c < lo || c > hi)
            break;
        lo = 0x80, hi = 0xBF;
        n++;
    }
    return n;
}

size_t td_utf8_len(const char *s, size_t len)
{
    size_t need, n = match(s, len, &need);
    return need && n == need ? need : 0;
}

size_t td_utf8_decode(const char *s, size_t len, uint32_t *cp)
{
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    size_t n = td_utf8_len(s, len);
    if (n == 0)
        return 0;
    uint32_t v = (unsigned char)s[0] & mask[n];
    for (size_t i = 1; i < n; i++)
        v = v << 6 | ((unsigned char)s[i] & 0x3F);
    *cp = v;
    return n;
}

size_t td_utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool td_utf8_valid(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = (unsigned char)s[i] < 0x80 ? 1 : td_utf8_len(s + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t td_utf8_partial_tail(const char *s, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = (unsigned char)s[len - back];
        if ((c & 0xC0) == 0x80)
            continue;
        size_t need, n = match(s + len - back, back, &need);
        return n == back && need > back ? back : 0;
    }
    return 0;
}
