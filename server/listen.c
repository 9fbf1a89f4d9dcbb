#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    SEND_BUFFER_BYTES = 256 << 10, // what the system may hold for a client that reads slowly
};

static int bind_one(const struct addrinfo *a)
{
    int one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, BACKLOG))
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len))
        return 0;
    if (a.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&a)->sin_port);
    return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
}

td_rc listen_tcp(const char *host, uint16_t port, int *fd, uint16_t *chosen, td_err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return td_fail_param(err, TD_E_BIND, "host", "cannot listen on %s: %s", host, gai_strerror(rc));
    *fd = -1;
    for (struct addrinfo *a = list; a && *fd < 0; a = a->ai_next)
        *fd = bind_one(a);
    int saved = errno;
    freeaddrinfo(list);
    if (*fd < 0)
        return td_fail_param(err, TD_E_BIND, "port", "cannot listen on %s port %u: %s%s", host, port, strerror(saved),
                             saved == EADDRINUSE ? "; another program has it, choose another --port" : "");
    *chosen = port_of(*fd);
    return TD_OK;
}

/* Does somebody answer there? */
static int alive(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    int ok = !connect(fd, (const struct sockaddr *)a, sizeof *a);
    close(fd);
    return ok;
}

td_rc listen_unix(const char *path, int *fd, td_err *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof a.sun_path)
        return td_fail_param(err, TD_E_BIND, "uds", "a unix socket's path must have 1 to %zu bytes: %s",
                             sizeof a.sun_path - 1, path);
    memcpy(a.sun_path, path, len + 1);
    if (!lstat(path, &st)) {
        if (!S_ISSOCK(st.st_mode))
            return td_fail_param(err, TD_E_BIND, "uds", "%s exists and is not a socket", path);
        if (alive(&a))
            return td_fail_param(err, TD_E_BIND, "uds", "another program listens on %s", path);
        unlink(path);
    }
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0 && !bind(*fd, (struct sockaddr *)&a, sizeof a) && !listen(*fd, BACKLOG))
        return TD_OK;
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return td_fail_param(err, TD_E_BIND, "uds", "cannot listen on %s: %s", path, strerror(saved));
}

static void name_peer(const struct sockaddr_storage *a, char *peer, size_t cap)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(peer, cap, "%s:%u", host, ntohs(in->sin_port));
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(peer, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(peer, cap, "unix");
    }
}

int listen_accept(int fd, char *peer, size_t peer_cap)
{
    struct sockaddr_storage a = {.ss_family = AF_UNIX};
    socklen_t len = sizeof a;
    int one = 1, buffer = SEND_BUFFER_BYTES;
    int c = accept4(fd, (struct sockaddr *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (c < 0)
        return -1;
    if (a.ss_family != AF_UNIX) {
        setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
    setsockopt(c, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    name_peer(&a, peer, peer_cap);
    return c;
}

const char *listen_name(int fd, char *out, size_t cap)
{
    struct sockaddr_storage a = {.ss_family = AF_UNIX};
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len))
        a.ss_family = AF_UNIX;
    name_peer(&a, out, cap);
    return out;
}
