#include "server/transport.h"

#include "base/arena.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

struct tls_context {
    int refs;
    gnutls_certificate_credentials_t cred;
    gnutls_priority_t priority;
    bool ask_client; // for a certificate, and refuse without
};

/* TLS 1.2 is the floor that sidecars and load balancers still use. */
static const char priority_string[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";

static td_rc context_fill(tls_context *t, const char *certfile, const char *keyfile, const char *ca_certs, td_err *err)
{
    int rc = gnutls_certificate_allocate_credentials(&t->cred);
    if (rc < 0)
        return td_fail(err, TD_E_NOMEM, "TLS: %s", gnutls_strerror(rc));
    rc = gnutls_certificate_set_x509_key_file(t->cred, certfile, keyfile, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return td_fail_param(err, TD_E_USAGE, "ssl-certfile", "cannot use certificate %s with key %s: %s", certfile,
                             keyfile, gnutls_strerror(rc));
    if (ca_certs) {
        rc = gnutls_certificate_set_x509_trust_file(t->cred, ca_certs, GNUTLS_X509_FMT_PEM);
        if (rc <= 0)
            return td_fail_param(err, TD_E_USAGE, "ssl-ca-certs", "no certificates in %s%s%s", ca_certs, rc ? ": " : "",
                                 rc ? gnutls_strerror(rc) : "");
        t->ask_client = true;
    }
    rc = gnutls_priority_init(&t->priority, priority_string, NULL);
    return rc < 0 ? td_fail(err, TD_E_INTERNAL, "TLS: %s", gnutls_strerror(rc)) : TD_OK;
}

td_rc tls_context_load(const char *certfile, const char *keyfile, const char *ca_certs, tls_context **out, td_err *err)
{
    tls_context *t = td_alloc(sizeof *t);
    if (!t)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a TLS context");
    t->refs = 1;
    td_rc rc = context_fill(t, certfile, keyfile, ca_certs, err);
    if (rc)
        tls_context_unref(t);
    else
        *out = t;
    return rc;
}

tls_context *tls_context_ref(tls_context *t)
{
    if (t)
        t->refs++;
    return t;
}

void tls_context_unref(tls_context *t)
{
    if (!t || --t->refs)
        return;
    if (t->cred)
        gnutls_certificate_free_credentials(t->cred);
    if (t->priority)
        gnutls_priority_deinit(t->priority);
    td_free(t);
}

static int session_open(transport *t)
{
    static const unsigned char http11[] = "http/1.1";
    gnutls_datum_t alpn = {.data = (unsigned char *)http11, .size = sizeof http11 - 1};
    int rc = gnutls_init(&t->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (rc < 0) {
        t->tls = NULL;
        return rc;
    }
    if ((rc = gnutls_priority_set(t->tls, t->context->priority)) < 0 ||
        (rc = gnutls_credentials_set(t->tls, GNUTLS_CRD_CERTIFICATE, t->context->cred)) < 0 ||
        (rc = gnutls_alpn_set_protocols(t->tls, &alpn, 1, 0)) < 0)
        return rc;
    if (t->context->ask_client) {
        gnutls_certificate_server_set_request(t->tls, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert(t->tls, NULL, 0);
    }
    gnutls_transport_set_int(t->tls, t->fd);
    return 0;
}

td_rc transport_open(transport *t, int fd, tls_context *context, td_err *err)
{
    *t = (transport){.fd = fd, .context = tls_context_ref(context), .handshaking = context != NULL};
    int rc = context ? session_open(t) : 0;
    if (rc >= 0)
        return TD_OK;
    transport_close(t);
    return td_fail(err, TD_E_NOMEM, "TLS: %s", gnutls_strerror(rc));
}

void transport_close(transport *t)
{
    if (t->tls)
        gnutls_deinit(t->tls);
    tls_context_unref(t->context);
    if (t->fd >= 0)
        close(t->fd);
    *t = (transport){.fd = -1};
}

static ssize_t tls_result(ssize_t n)
{
    if (n >= 0)
        return n;
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED || !gnutls_error_is_fatal((int)n))
        return TRANSPORT_AGAIN;
    return n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : TRANSPORT_FAILED;
}

static ssize_t tls_handshake(transport *t)
{
    int rc;
    do
        rc = gnutls_handshake(t->tls);
    while (rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED);
    if (rc == GNUTLS_E_SUCCESS)
        t->handshaking = false;
    else if (rc != GNUTLS_E_AGAIN)
        gnutls_alert_send_appropriate(t->tls, rc);
    return rc == GNUTLS_E_SUCCESS ? 0 : rc == GNUTLS_E_AGAIN ? TRANSPORT_AGAIN : TRANSPORT_FAILED;
}

static ssize_t plain_result(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? TRANSPORT_AGAIN : TRANSPORT_FAILED;
}

ssize_t transport_read(transport *t, void *buf, size_t cap)
{
    ssize_t n;
    if (!t->tls) {
        do
            n = recv(t->fd, buf, cap, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        return plain_result(n);
    }
    if (t->handshaking && (n = tls_handshake(t)) != 0)
        return n;
    return tls_result(gnutls_record_recv(t->tls, buf, cap));
}

ssize_t transport_write(transport *t, const void *buf, size_t len)
{
    ssize_t n;
    if (!t->tls) {
        do
            n = send(t->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        return plain_result(n);
    }
    if (t->handshaking && (n = tls_handshake(t)) != 0)
        return n;
    return tls_result(gnutls_record_send(t->tls, buf, len));
}

void transport_end(transport *t)
{
    if (t->tls && !t->handshaking)
        gnutls_bye(t->tls, GNUTLS_SHUT_WR);
    shutdown(t->fd, SHUT_WR);
}

bool transport_pending(const transport *t)
{
    return t->tls && !t->handshaking && gnutls_record_check_pending(t->tls) > 0;
}

bool transport_wants_write(const transport *t)
{
    return t->tls && t->handshaking && gnutls_record_get_direction(t->tls) == 1;
}
