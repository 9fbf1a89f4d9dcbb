/* Any bytes over a unix socket to the whole server with the scripted engine behind it: whatever comes back is HTTP, the
 * connection ends, and the server lives. Inputs that begin with '{' are sent as the body of a completion or a chat. */
#include "base/log.h"
#include "server/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static server *running;

static void *serve(void *arg)
{
    (void)arg;
    if (server_run(running, NULL))
        abort();
    return NULL;
}

static void start(void)
{
    server_opts o = {.engine.model = "fake:step_us=1,len=64", .uds = address.sun_path, .no_access_log = true,
                     .header_timeout_s = 2, .body_timeout_s = 2};
    pthread_t thread;
    td_log_setup(TD_LOG_ERROR, false);
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/fuzz_server_%d.sock", (int)getpid());
    if (server_open(&o, &running, NULL) || pthread_create(&thread, NULL, serve, NULL))
        abort();
}

static void send_all(int fd, const void *p, size_t len)
{
    const char *s = p;
    for (ssize_t n; len > 0 && (n = send(fd, s, len, MSG_NOSIGNAL)) > 0;) {
        s += n;
        len -= (size_t)n;
    }
}

static void send_body(int fd, const uint8_t *data, size_t size)
{
    char head[256];
    const char *path = size & 1 ? "/v1/completions" : "/v1/chat/completions";
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     path, size);
    send_all(fd, head, (size_t)n);
    send_all(fd, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char answer[1 << 16];
    size_t have = 0;
    if (!running)
        start();
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        abort();
    if (size && data[0] == '{') {
        send_body(fd, data, size); // and wait for the answer
    } else {
        send_all(fd, data, size);
        shutdown(fd, SHUT_WR);
    }
    for (ssize_t n; (n = recv(fd, answer + have, sizeof answer - have, 0)) > 0;)
        have = have + (size_t)n < sizeof answer - 1024 ? have + (size_t)n : sizeof answer - 1024;
    close(fd);
    if (have >= 9 && memcmp(answer, "HTTP/1.1 ", 9))
        abort();
    return 0;
}
