/* listen.h - the socket that the server listens on: TCP by name or address, or a unix socket. */
#ifndef TD_SERVER_LISTEN_H
#define TD_SERVER_LISTEN_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Non-blocking and listening. TD_E_BIND when the address is taken, not ours, or unknown. *port is what was chosen. */
td_rc listen_tcp(const char *host, uint16_t port, int *fd, uint16_t *chosen, td_err *err);
/* A socket file that nobody listens on any more is replaced; any other file is not. */
td_rc listen_unix(const char *path, int *fd, td_err *err);
/* The next client, with its address as text; -1 and errno otherwise. */
int listen_accept(int fd, char *peer, size_t peer_cap);

/* The address listened on, "127.0.0.1:8000" or "[::1]:8000". */
const char *listen_name(int fd, char *out, size_t cap);

#endif
