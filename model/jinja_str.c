/* Text by code points. Positions are byte offsets inside and code point numbers outside. */
#include "model/jinja_str.h"

#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

size_t jstr_next(const char *s, size_t len, uint32_t *cp)
{
    unsigned char c = (unsigned char)*s;
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t n = td_utf8_decode(s, len, cp);
    if (n)
        return n;
    *cp = 0xFFFD;
    return 1;
}

size_t jstr_count(const char *s, size_t len)
{
    size_t n = 0;
    uint32_t cp;
    for (size_t i = 0; i < len; n++)
        i += jstr_next(s + i, len - i, &cp);
    return n;
}

size_t jstr_offset(const char *s, size_t len, size_t index)
{
    size_t i = 0;
    uint32_t cp;
    while (index-- && i < len)
        i += jstr_next(s + i, len - i, &cp);
    return i;
}

size_t jstr_prev(const char *s, size_t at)
{
    size_t from = at - 1;
    while (from > 0 && at - from < 4 && ((unsigned char)s[from] & 0xC0) == 0x80)
        from--;
    return td_utf8_len(s + from, at - from) == at - from ? from : at - 1;
}

size_t jstr_rstrip(const char *s, size_t len)
{
    jstr_strip(&s, &len, NULL, 0, false, true);
    return len;
}

static bool in_set(uint32_t cp, const char *set, size_t set_len)
{
    uint32_t c;
    if (!set)
        return jstr_is_space(cp);
    for (size_t i = 0; i < set_len;) {
        i += jstr_next(set + i, set_len - i, &c);
        if (c == cp)
            return true;
    }
    return false;
}

void jstr_strip(const char **s, size_t *len, const char *set, size_t set_len, bool left, bool right)
{
    uint32_t cp;
    while (left && *len) {
        size_t n = jstr_next(*s, *len, &cp);
        if (!in_set(cp, set, set_len))
            break;
        *s += n;
        *len -= n;
    }
    while (right && *len) {
        size_t from = jstr_prev(*s, *len);
        jstr_next(*s + from, *len - from, &cp);
        if (!in_set(cp, set, set_len))
            break;
        *len = from;
    }
}

size_t jstr_find(const char *s, size_t len, const char *needle, size_t needle_len)
{
    const char *p = needle_len > len ? NULL : needle_len ? memmem(s, len, needle, needle_len) : s;
    return p ? (size_t)(p - s) : SIZE_MAX;
}

size_t jstr_rfind(const char *s, size_t len, const char *needle, size_t needle_len)
{
    if (needle_len > len)
        return SIZE_MAX;
    for (size_t i = len - needle_len + 1; i-- > 0;)
        if (!needle_len || (s[i] == needle[0] && !memcmp(s + i, needle, needle_len)))
            return i;
    return SIZE_MAX;
}

static bool put_mapped(td_buf *b, uint32_t cp, jcase to)
{
    uint32_t out[3];
    char utf8[4];
    int n = jstr_map_case(cp, to, out);
    for (int i = 0; i < n; i++)
        td_buf_add(b, utf8, td_utf8_encode(out[i], utf8));
    return !b->failed;
}

/* Characters that the rule for the final sigma looks through (Unicode's Case_Ignorable, nearly). */
static bool case_ignorable(uint32_t cp)
{
    if (cp == '\'' || cp == '.' || cp == ':' || cp == '^' || cp == '`' || cp == 0xB7 || cp == 0x2018 || cp == 0x2019)
        return true;
    int c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK;
}

/* Capital sigma at byte `at`, `n` bytes long: the final form when a cased letter precedes and none follows. */
static bool final_sigma(const char *s, size_t len, size_t at, size_t n)
{
    uint32_t cp = 0;
    bool before = false;
    for (size_t i = at; i > 0;) {
        size_t from = jstr_prev(s, i);
        jstr_next(s + from, i - from, &cp);
        i = from;
        if (!case_ignorable(cp)) {
            before = jstr_is_cased(cp);
            break;
        }
    }
    for (size_t i = at + n; before && i < len;) {
        i += jstr_next(s + i, len - i, &cp);
        if (!case_ignorable(cp))
            return !jstr_is_cased(cp);
    }
    return before;
}

static bool put_lower(td_buf *b, const char *s, size_t len, size_t at, size_t n, uint32_t cp)
{
    if (cp == 0x3A3)
        return td_buf_add(b, final_sigma(s, len, at, n) ? "\xCF\x82" : "\xCF\x83", 2);
    return put_mapped(b, cp, JCASE_LOWER);
}

bool jstr_put_case(td_buf *b, const char *s, size_t len, jcase to)
{
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n) {
        n = jstr_next(s + i, len - i, &cp);
        if (cp < 128) {
            bool swap = to == JCASE_UPPER || to == JCASE_TITLE ? cp >= 'a' && cp <= 'z' : cp >= 'A' && cp <= 'Z';
            td_buf_char(b, (char)(swap ? cp ^ 32 : cp));
        } else if (to == JCASE_LOWER) {
            put_lower(b, s, len, i, n, cp);
        } else {
            put_mapped(b, cp, to);
        }
    }
    return !b->failed;
}

bool jstr_put_title(td_buf *b, const char *s, size_t len)
{
    bool inside = false; // a word
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n) {
        n = jstr_next(s + i, len - i, &cp);
        if (inside)
            put_lower(b, s, len, i, n, cp);
        else
            put_mapped(b, cp, JCASE_TITLE);
        inside = jstr_is_cased(cp);
    }
    return !b->failed;
}

bool jstr_put_capital(td_buf *b, const char *s, size_t len)
{
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n) {
        n = jstr_next(s + i, len - i, &cp);
        if (i == 0)
            put_mapped(b, cp, JCASE_TITLE);
        else
            put_lower(b, s, len, i, n, cp);
    }
    return !b->failed;
}

bool jstr_put_swapped(td_buf *b, const char *s, size_t len)
{
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n) {
        n = jstr_next(s + i, len - i, &cp);
        if (jstr_is_upper(cp))
            put_lower(b, s, len, i, n, cp);
        else if (jstr_is_lower(cp))
            put_mapped(b, cp, JCASE_UPPER);
        else
            td_buf_add(b, s + i, n);
    }
    return !b->failed;
}
