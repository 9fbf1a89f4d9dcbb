/* transport.h - the bytes of one client, plain or under TLS (GnuTLS), without blocking.
 *
 * TLS ends here and not in the HTTP library, so that the raw checks of http_guard hold for HTTPS as well. A tls_context
 * holds the certificate; connections keep the one they began with, so it may be replaced at any time. Loop thread. */
#ifndef TD_SERVER_TRANSPORT_H
#define TD_SERVER_TRANSPORT_H

#include "base/err.h"

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct tls_context tls_context;

/* TD_E_USAGE when a file is missing, no PEM, or key and certificate do not belong together. */
td_rc tls_context_load(const char *certfile, const char *keyfile, const char *ca_certs, tls_context **out, td_err *err);
tls_context *tls_context_ref(tls_context *t);
void tls_context_unref(tls_context *t); // NULL is fine

enum { TRANSPORT_AGAIN = -1, TRANSPORT_FAILED = -2 };

typedef struct transport {
    int fd;
    tls_context *context;  // NULL = plain
    gnutls_session_t tls;
    bool handshaking;
} transport;

td_rc transport_open(transport *t, int fd, tls_context *context, td_err *err); // takes fd, also when it fails
void transport_close(transport *t);
/* Bytes (0 = the client ended its side), TRANSPORT_AGAIN, or TRANSPORT_FAILED. The first calls do the handshake. */
ssize_t transport_read(transport *t, void *buf, size_t cap);
ssize_t transport_write(transport *t, const void *buf, size_t len);
void transport_end(transport *t);           // no more writes; the client sees the end
bool transport_pending(const transport *t); // decrypted bytes wait that no poll will announce
bool transport_wants_write(const transport *t); // the handshake waits for the socket to take bytes

#endif
