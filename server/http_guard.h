/* http_guard.h - checks the raw bytes of HTTP/1.1 requests before the HTTP library sees them.
 *
 * The library accepts what a proxy in front of it may read differently: two lengths, a length beside a transfer coding,
 * line feeds without carriage returns, NUL bytes, names with a space before the colon. Here every byte of a request is
 * looked at once: the head is held back until it is complete and clean, the body is passed on as it comes while its
 * framing is followed, so that the end of each request on a connection is known and the next one is checked as well.
 *
 * Sans-I/O and without allocation: bytes in, verdict out. One object per connection, one thread. */
#ifndef TD_SERVER_HTTP_GUARD_H
#define TD_SERVER_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum http_verdict {
    HTTP_MORE, // clean so far, incomplete
    HTTP_OK,   // complete
    HTTP_BAD,  // refused: status and reason are set; nothing after it can be trusted
} http_verdict;

typedef enum http_body_state {
    HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_CHUNK_SIZE, HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_CHUNK_LAST
} http_body_state;

typedef struct http_guard {
    // of the head that is being read
    size_t scanned, line_start; // bytes looked at; where the current line begins
    size_t skip;                // an empty line before the request line, not to be passed on
    int32_t lines, headers, cookies;
    bool http10, length_seen, chunked, host_seen;
    // of the body that follows
    http_body_state body;
    uint64_t left;              // bytes of body, or of the chunk, still to come
    uint64_t total;             // bytes of body so far
    int32_t digits, ext_bytes;  // in a chunk-size line
    bool cr;                    // the byte before was a carriage return
    // why it was refused
    int status;
    const char *reason;
} http_guard;

void http_guard_reset(http_guard *g); // before each request
/* p[0…len) is everything of this request so far, from its first byte. HTTP_OK: the head is p[g->skip … *head_len), and
 * the body's framing is known. */
http_verdict http_guard_head(http_guard *g, const char *p, size_t len, size_t *head_len);
/* Once it is HTTP_OK: rewrites p[g->skip … head_len) in place as NAME:VALUE without the white space around values, so
 * that the library is given what was judged and nothing else. It ends where it ended; returns where it begins now. */
size_t http_guard_trim(const http_guard *g, char *p, size_t head_len);
/* The next bytes after the head; *used of them belong to this request and may be passed on. HTTP_OK: the request ends
 * with them. */
http_verdict http_guard_body(http_guard *g, const char *p, size_t len, size_t *used);

#endif
