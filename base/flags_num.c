/* Numbers as people write them, and the nearest name to a misspelt one. */
#include "base/flags.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct unit {
    const char *text;
    double factor;
    bool bytes_only;
} unit;

static const unit units[] = {
    {"", 1, false},
    {"k", 1e3, false},
    {"m", 1e6, false},
    {"g", 1e9, false},
    {"t", 1e12, false},
    {"K", 1024, false},
    {"M", 1048576, false},
    {"G", 1073741824, false},
    {"T", 1099511627776, false},
    {"B", 1, true},
    {"kB", 1e3, true},
    {"KB", 1e3, true},
    {"MB", 1e6, true},
    {"GB", 1e9, true},
    {"TB", 1e12, true},
    {"KiB", 1024, true},
    {"MiB", 1048576, true},
    {"GiB", 1073741824, true},
    {"TiB", 1099511627776, true},
};

static const unit *unit_find(const char *s, bool bytes)
{
    for (size_t i = 0; i < TD_COUNT(units); i++)
        if (!strcmp(units[i].text, s) && (bytes || !units[i].bytes_only))
            return &units[i];
    return NULL;
}

/* Length of [+-]digits[.digits][e[+-]digits] at s; 0 when there is none. */
static size_t number_len(const char *s, bool exponent)
{
    const char *p = s + (*s == '-' || *s == '+');
    size_t whole = strspn(p, "0123456789");
    p += whole;
    if (*p == '.') {
        size_t frac = strspn(p + 1, "0123456789");
        if (!whole && !frac)
            return 0;
        p += 1 + frac;
    } else if (!whole) {
        return 0;
    }
    if (exponent && (*p == 'e' || *p == 'E')) {
        const char *e = p + 1 + (p[1] == '-' || p[1] == '+');
        size_t digits = strspn(e, "0123456789");
        if (digits)
            p = e + digits;
    }
    return (size_t)(p - s);
}

bool flags_parse_num(const char *s, double *out)
{
    if (!*s || number_len(s, true) != strlen(s))
        return false;
    *out = strtod(s, NULL);
    return isfinite(*out);
}

bool flags_parse_int(const char *s, bool bytes, int64_t *out)
{
    size_t n = number_len(s, false);
    const unit *u = n ? unit_find(s + n, bytes) : NULL;
    if (!u)
        return false;
    errno = 0;
    char *end;
    long long whole = strtoll(s, &end, 10);
    if (end == s + n) { // no fraction: exact over all of int64
        int64_t factor = (int64_t)u->factor;
        return errno == 0 && !__builtin_mul_overflow((int64_t)whole, factor, out);
    }
    double v = strtod(s, NULL) * u->factor;
    double r = nearbyint(v);
    if (!(fabs(v) < 9e15) || fabs(v - r) > 1e-6 * fmax(1, fabs(v)) * 1e-3)
        return false;
    *out = (int64_t)r;
    return true;
}

enum { WORD_MAX = 64 };

/* Levenshtein distance of two words of at most WORD_MAX bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = TD_MIN(change, TD_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

const char *flags_nearest(const char *word, const char *(*name_at)(const void *ctx, size_t i), const void *ctx,
                          size_t count)
{
    const char *best = NULL;
    size_t least = TD_MAX(strlen(word) / 3, 2) + 1;
    for (size_t i = 0; i < count; i++) {
        const char *name = name_at(ctx, i);
        if (!name)
            continue;
        size_t d = distance(word, name);
        if (d < least) {
            least = d;
            best = name;
        }
    }
    return best;
}
