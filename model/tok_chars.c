#include "model/tok_chars.h"

#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

bool tok_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

bool tok_is_word(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default:
        return cp == 0x200C || cp == 0x200D || (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
               (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
    }
}

/* Length of the character that ends at s + end; 0 at the beginning. */
static size_t char_before(const char *s, size_t end, uint32_t *cp)
{
    size_t n = 0;
    while (n < end && n < 4) {
        n++;
        if (((unsigned char)s[end - n] & 0xC0) != 0x80)
            break;
    }
    return n && td_utf8_decode(s + end - n, n, cp) == n ? n : 0;
}

size_t tok_space_at(const char *s, size_t len)
{
    uint32_t cp;
    size_t n = td_utf8_decode(s, len, &cp);
    return n && tok_is_space(cp) ? n : 0;
}

size_t tok_space_before(const char *s, size_t end)
{
    uint32_t cp;
    size_t n = char_before(s, end, &cp);
    return n && tok_is_space(cp) ? n : 0;
}

bool tok_word_at(const char *s, size_t len)
{
    uint32_t cp;
    return td_utf8_decode(s, len, &cp) && tok_is_word(cp);
}

bool tok_word_before(const char *s, size_t end)
{
    uint32_t cp;
    return char_before(s, end, &cp) && tok_is_word(cp);
}

static int sextet(char ch)
{
    if (ch >= 'A' && ch <= 'Z')
        return ch - 'A';
    if (ch >= 'a' && ch <= 'z')
        return ch - 'a' + 26;
    if (ch >= '0' && ch <= '9')
        return ch - '0' + 52;
    return ch == '+' ? 62 : ch == '/' ? 63 : -1;
}

bool tok_base64(const char *text, uint8_t *out, size_t *len)
{
    size_t end = strlen(text), n = 0;
    while (end && text[end - 1] == '=')
        end--;
    uint32_t bits = 0;
    for (size_t i = 0; i < end; i++) {
        int v = sextet(text[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 != 0)
            out[n++] = (uint8_t)(bits >> (i % 4 == 1 ? 4 : i % 4 == 2 ? 2 : 0));
    }
    *len = n;
    return true;
}
