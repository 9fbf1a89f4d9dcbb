#include "model/tok_forms.h"

#include "base/arena.h"
#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

typedef struct cps { // growing array of code points
    utf8proc_int32_t *cp, *spare; // spare: as large, for sorting
    size_t count, cap;
} cps;

enum { DECOMPOSED_MAX = 32 }; // code points of one character; Unicode's longest is 18

static bool grow(cps *c)
{
    if (c->cap - c->count >= DECOMPOSED_MAX)
        return true;
    size_t cap = c->cap * 2 + 256;
    utf8proc_int32_t *p = td_realloc(c->cp, cap * sizeof *p);
    if (p)
        c->cp = p;
    utf8proc_int32_t *q = p ? td_realloc(c->spare, cap * sizeof *q) : NULL;
    if (q) {
        c->spare = q;
        c->cap = cap;
    }
    return q != NULL;
}

static int class_of(utf8proc_int32_t cp) { return utf8proc_get_property(cp)->combining_class; }

/* Stable merge sort by combining class of n marks; `tmp` has room for as many. */
static void sort_marks(utf8proc_int32_t *a, utf8proc_int32_t *tmp, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo + width < n; lo += 2 * width) {
            size_t mid = lo + width, hi = mid + width < n ? mid + width : n, i = lo, j = mid;
            for (size_t k = lo; k < hi; k++)
                tmp[k] = i < mid && (j == hi || class_of(a[i]) <= class_of(a[j])) ? a[i++] : a[j++];
            memcpy(a + lo, tmp + lo, (hi - lo) * sizeof *a);
        }
    }
}

static void reorder(cps *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->cp[i] < 0x300 || class_of(c->cp[i]) == 0)
            continue;
        size_t from = i;
        while (i < c->count && class_of(c->cp[i]) != 0)
            i++;
        sort_marks(c->cp + from, c->spare, i - from);
    }
}

static bool decompose(const char *s, size_t len, utf8proc_option_t options, cps *c)
{
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp = 0;
        n = td_utf8_decode(s + i, len - i, &cp);
        if (n == 0)
            return true; // the caller checked the text
        if (!grow(c))
            return false;
        int boundary = 0;
        utf8proc_ssize_t got = cp < 0x80 ? 0 : utf8proc_decompose_char((utf8proc_int32_t)cp, c->cp + c->count,
                                                                       DECOMPOSED_MAX, options, &boundary);
        if (got <= 0 || got > DECOMPOSED_MAX)
            c->cp[c->count++] = (utf8proc_int32_t)cp;
        else
            c->count += (size_t)got;
    }
    return true;
}

void tok_form(const char *s, size_t len, int form, td_buf *out)
{
    size_t plain = 0; // ASCII is the same in every form, and nothing before it changes but its last character
    while (plain < len && (unsigned char)s[plain] < 0x80)
        plain++;
    plain = plain == len ? len : plain ? plain - 1 : 0;
    td_buf_add(out, s, plain);
    if (plain == len)
        return;
    cps c = {0};
    int decompose_by = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (form & TOK_COMPATIBLE ? UTF8PROC_COMPAT : 0);
    if (!decompose(s + plain, len - plain, (utf8proc_option_t)decompose_by, &c)) {
        out->failed = true;
    } else {
        reorder(&c);
        utf8proc_ssize_t n = (utf8proc_ssize_t)c.count;
        if (form & TOK_COMPOSE)
            n = utf8proc_normalize_utf32(c.cp, n, (utf8proc_option_t)(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
        for (utf8proc_ssize_t i = 0; i < n && !out->failed; i++) {
            char four[4];
            td_buf_add(out, four, td_utf8_encode((uint32_t)c.cp[i], four));
        }
    }
    td_free(c.cp);
    td_free(c.spare);
}
