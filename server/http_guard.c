/* The head is taken line by line as lines complete, so that a client which talks something else (TLS, HTTP/2, HTTP/0.9)
 * is answered at once and does not have to time out. Everything RFC 9112 leaves to the recipient's goodwill is refused:
 * obsolete line folding, absolute-form targets, trailers, lists of transfer codings. A server behind proxies gains
 * nothing from accepting them, and each has been a smuggling bug somewhere. */
#include "server/http_guard.h"

#include "base/limits.h"

#include <string.h>

void http_guard_reset(http_guard *g) { *g = (http_guard){.body = HTTP_BODY_NONE}; }

static http_verdict bad(http_guard *g, int status, const char *reason)
{
    g->status = status;
    g->reason = reason;
    return HTTP_BAD;
}

static bool is_tchar(unsigned char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c && strchr("!#$%&'*+-.^_`|~", c);
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* Does s[0…len) equal the lower-case word, whatever its own case? */
static bool same_word(const char *s, size_t len, const char *word)
{
    if (strlen(word) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower(s[i]) != word[i])
            return false;
    return true;
}

/* How many pieces the separator cuts s[0…len) into. */
static int32_t pieces(const char *s, size_t len, char separator)
{
    int32_t n = 1;
    for (size_t i = 0; i < len; i++)
        n += s[i] == separator;
    return n;
}

/* METHOD SP target SP HTTP/1.x */
static http_verdict request_line(http_guard *g, const char *p, size_t len)
{
    size_t m = 0;
    while (m < len && is_tchar((unsigned char)p[m]))
        m++;
    if (m == 0 || m > 16 || m == len || p[m] != ' ')
        return bad(g, 400, "the request line does not begin with a method");
    const char *target = p + m + 1, *end = p + len;
    const char *space = memchr(target, ' ', (size_t)(end - target));
    if (!space)
        return bad(g, 400, "the request line has no HTTP version");
    size_t target_len = (size_t)(space - target);
    if (target_len > TD_HTTP_URI_BYTES_MAX)
        return bad(g, 414, "the path is longer than 8192 bytes");
    if (pieces(target, target_len, '&') > TD_HTTP_QUERY_ARGS_MAX)
        return bad(g, 414, "the query has more than 100 arguments");
    bool asterisk = target_len == 1 && *target == '*';
    if (target_len == 0 || (*target != '/' && !asterisk))
        return bad(g, 400, "the request target must be a path");
    for (const char *c = target; c < space; c++)
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f || *c == '#')
            return bad(g, 400, "the path holds a character that must be percent-encoded");
    const char *version = space + 1;
    size_t version_len = (size_t)(end - version);
    if (version_len != 8 || memcmp(version, "HTTP/1.", 7) || (version[7] != '0' && version[7] != '1'))
        return bad(g, 400, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    g->http10 = version[7] == '0';
    return HTTP_MORE;
}

static http_verdict content_length(http_guard *g, const char *v, size_t len)
{
    if (g->length_seen)
        return bad(g, 400, "more than one Content-Length");
    g->length_seen = true;
    uint64_t n = 0;
    if (len == 0)
        return bad(g, 400, "Content-Length is empty");
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(v[i]))
            return bad(g, 400, "Content-Length is not a number");
        if (n > UINT64_MAX / 16)
            return bad(g, 413, "the body is larger than 16 MiB");
        n = n * 10 + (uint64_t)(v[i] - '0');
    }
    g->left = n;
    return HTTP_MORE;
}

/* The headers that decide where a request ends and whom it is for. */
static http_verdict header_value(http_guard *g, const char *name, size_t name_len, const char *v, size_t len)
{
    if (same_word(name, name_len, "content-length"))
        return content_length(g, v, len);
    if (same_word(name, name_len, "transfer-encoding")) {
        if (g->chunked)
            return bad(g, 400, "more than one Transfer-Encoding");
        if (!same_word(v, len, "chunked"))
            return bad(g, 400, "the only Transfer-Encoding accepted is chunked");
        g->chunked = true;
    } else if (same_word(name, name_len, "host")) {
        if (g->host_seen)
            return bad(g, 400, "more than one Host");
        g->host_seen = true;
    } else if (same_word(name, name_len, "cookie")) { // nobody here reads them, but the library would keep each
        g->cookies += pieces(v, len, ';');
        if (g->cookies > TD_HTTP_COOKIES_MAX)
            return bad(g, 431, "more than 200 cookies");
    } else if (same_word(name, name_len, "expect") && !same_word(v, len, "100-continue")) {
        return bad(g, 400, "the only Expect accepted is 100-continue");
    }
    return HTTP_MORE;
}

static http_verdict header_line(http_guard *g, const char *p, size_t len)
{
    if (++g->headers > TD_HTTP_HEADERS_MAX)
        return bad(g, 431, "more than 100 header fields");
    size_t n = 0;
    while (n < len && is_tchar((unsigned char)p[n]))
        n++;
    if (n == 0)
        return bad(g, 400, "a header line does not begin with a field name");
    if (n == len || p[n] != ':')
        return bad(g, 400, "a header field name must be followed by a colon at once");
    const char *v = p + n + 1, *end = p + len;
    while (v < end && is_blank(*v))
        v++;
    while (end > v && is_blank(end[-1]))
        end--;
    return header_value(g, p, n, v, (size_t)(end - v));
}

/* The empty line: do the headers agree with each other? */
static http_verdict head_end(http_guard *g)
{
    if (!g->host_seen && !g->http10)
        return bad(g, 400, "HTTP/1.1 needs a Host header");
    if (g->chunked && g->length_seen)
        return bad(g, 400, "Content-Length beside Transfer-Encoding");
    if (g->chunked && g->http10)
        return bad(g, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (g->left > TD_HTTP_BODY_BYTES_MAX)
        return bad(g, 413, "the body is larger than 16 MiB");
    g->body = g->chunked ? HTTP_CHUNK_SIZE : g->left ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    return HTTP_OK;
}

/* One complete line without its CR LF. */
static http_verdict head_line(http_guard *g, const char *p, size_t len)
{
    if (g->lines == 0 && len == 0 && g->skip == 0) { // one empty line before a request is to be ignored
        g->skip = 2;
        return HTTP_MORE;
    }
    g->lines++;
    if (g->lines == 1)
        return request_line(g, p, len);
    return len == 0 ? head_end(g) : header_line(g, p, len);
}

http_verdict http_guard_head(http_guard *g, const char *p, size_t len, size_t *head_len)
{
    for (; g->scanned < len; g->scanned++) {
        unsigned char c = (unsigned char)p[g->scanned];
        if (g->cr && c != '\n')
            return bad(g, 400, "a carriage return without a line feed");
        if (c == '\n') {
            if (!g->cr)
                return bad(g, 400, "a line feed without a carriage return");
            g->cr = false;
            http_verdict v = head_line(g, p + g->line_start, g->scanned - 1 - g->line_start);
            g->line_start = g->scanned + 1;
            if (v == HTTP_OK)
                *head_len = ++g->scanned;
            if (v != HTTP_MORE)
                return v;
        } else if (c == '\r') {
            g->cr = true;
        } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return bad(g, 400, "a control character in the request head");
        }
        if (g->scanned >= TD_HTTP_HEADER_BYTES_MAX + g->skip)
            return bad(g, 431, "the request head is larger than 32 KiB");
        if (g->lines == 0 && g->scanned > TD_HTTP_URI_BYTES_MAX + 64)
            return bad(g, 414, "the path is longer than 8192 bytes");
    }
    return HTTP_MORE;
}

size_t http_guard_trim(const http_guard *g, char *p, size_t head_len)
{
    char *from = p + g->skip, *end = p + head_len, *to = from;
    for (bool first = true; from < end; first = false) { // every line ends with CR LF, and the last one is empty
        char *stop = memchr(from, '\r', (size_t)(end - from));
        char *colon = first ? NULL : memchr(from, ':', (size_t)(stop - from));
        if (colon) {
            memmove(to, from, (size_t)(colon + 1 - from));
            to += colon + 1 - from;
            from = colon + 1;
        }
        char *last = stop;
        while (colon && from < last && is_blank(*from))
            from++;
        while (colon && last > from && is_blank(last[-1]))
            last--;
        memmove(to, from, (size_t)(last - from));
        to += last - from;
        memcpy(to, "\r\n", 2);
        to += 2;
        from = stop + 2;
    }
    size_t gap = (size_t)(end - to);
    memmove(p + g->skip + gap, p + g->skip, head_len - g->skip - gap);
    return g->skip + gap;
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of "SIZE[;extension] CR LF". */
static http_verdict chunk_size_byte(http_guard *g, char c)
{
    if (g->cr) {
        if (c != '\n')
            return bad(g, 400, "a carriage return without a line feed in a chunk size");
        g->cr = false;
        if (g->digits == 0)
            return bad(g, 400, "a chunk without a size");
        g->total += g->left;
        if (g->total > TD_HTTP_BODY_BYTES_MAX)
            return bad(g, 413, "the body is larger than 16 MiB");
        g->body = g->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_LAST;
        g->digits = g->ext_bytes = 0;
        return HTTP_MORE;
    }
    if (c == '\r') {
        g->cr = true;
        return HTTP_MORE;
    }
    if (g->ext_bytes || (c == ';' && g->digits)) {
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return bad(g, 400, "a control character in a chunk extension");
        if (++g->ext_bytes > TD_HTTP_CHUNK_EXT_BYTES_MAX)
            return bad(g, 400, "a chunk extension is longer than 128 bytes");
        return HTTP_MORE;
    }
    int h = hex_value(c);
    if (h < 0)
        return bad(g, 400, "a chunk size is not a hexadecimal number");
    if (++g->digits > 8)
        return bad(g, 413, "the body is larger than 16 MiB");
    g->left = g->left * 16 + (uint64_t)h;
    return HTTP_MORE;
}

/* CR LF after a chunk's data, or after the last chunk. */
static http_verdict chunk_crlf_byte(http_guard *g, char c)
{
    bool last = g->body == HTTP_CHUNK_LAST;
    if (c != (g->cr ? '\n' : '\r'))
        return bad(g, 400, last ? "trailers after a chunked body are not accepted" : "a chunk is longer than its size");
    g->cr = !g->cr;
    if (g->cr)
        return HTTP_MORE;
    g->body = last ? HTTP_BODY_NONE : HTTP_CHUNK_SIZE;
    return last ? HTTP_OK : HTTP_MORE;
}

http_verdict http_guard_body(http_guard *g, const char *p, size_t len, size_t *used)
{
    size_t i = 0;
    http_verdict v = HTTP_MORE;
    while (v == HTTP_MORE && g->body != HTTP_BODY_NONE && i < len) {
        if (g->body == HTTP_BODY_LENGTH || g->body == HTTP_CHUNK_DATA) {
            size_t n = len - i < g->left ? len - i : (size_t)g->left;
            i += n;
            g->left -= n;
            if (g->left == 0)
                g->body = g->body == HTTP_CHUNK_DATA ? HTTP_CHUNK_END : HTTP_BODY_NONE;
        } else if (g->body == HTTP_CHUNK_SIZE) {
            v = chunk_size_byte(g, p[i++]);
        } else {
            v = chunk_crlf_byte(g, p[i++]);
        }
    }
    *used = i;
    if (v == HTTP_MORE && g->body == HTTP_BODY_NONE)
        v = HTTP_OK;
    return v;
}
