/* bench_sse - how many streamed chunks a second the server writes: N clients stream at once from the scripted engine,
 * which gives every stream one token a step. The figure that counts is chunks per second of processor time of the
 * loop thread, since clients and the fake engine share the machine with it. Usage: bench_sse [STREAMS [TOKENS
 * [STEP_US]]] */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct client {
    int fd;
    bool done;
    uint32_t tail; // last four bytes, to find "data" across reads
    uint64_t chunks;
} client;

static server *s;

static void *serve(void *arg)
{
    td_err err = TD_ERR_INIT;
    (void)arg;
    if (server_run(s, &err))
        fprintf(stderr, "bench_sse: %s\n", err.msg);
    return NULL;
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) {
        perror("bench_sse: connect");
        exit(1);
    }
    return fd;
}

static bool ready(uint16_t port)
{
    static const char ask[] = "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n";
    char answer[512] = "";
    int fd = dial(port);
    bool ok = send(fd, ask, sizeof ask - 1, 0) > 0 && recv(fd, answer, sizeof answer - 1, 0) > 0;
    close(fd);
    return ok && !strncmp(answer, "HTTP/1.1 200", 12);
}

static void begin(client *c, uint16_t port, long tokens)
{
    char body[256], request[512];
    c->fd = dial(port);
    int n = snprintf(body, sizeof body,
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stream\":true,\"ignore_eos\":true,"
                     "\"max_tokens\":%ld}",
                     tokens);
    int m = snprintf(request, sizeof request,
                     "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json"
                     "\r\nContent-Length: %d\r\n\r\n%s",
                     n, body);
    if (send(c->fd, request, (size_t)m, 0) != m)
        exit(1);
}

static void count(client *c, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        c->tail = c->tail << 8 | (unsigned char)p[i];
        if (c->tail == 0x6174613au) // "ata:"
            c->chunks++;
        c->done = c->done || c->tail == 0x4f4e455du; // "ONE]"
    }
}

static uint64_t receive_all(client *c, int n)
{
    static char buf[1 << 16];
    int epoll = epoll_create1(0), open = n;
    uint64_t chunks = 0;
    for (int i = 0; i < n; i++)
        epoll_ctl(epoll, EPOLL_CTL_ADD, c[i].fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &c[i]});
    while (open > 0) {
        struct epoll_event ev[256];
        int got = epoll_wait(epoll, ev, TD_COUNT(ev), -1);
        for (int i = 0; i < got; i++) {
            client *k = ev[i].data.ptr;
            ssize_t len = recv(k->fd, buf, sizeof buf, 0);
            if (len > 0)
                count(k, buf, (size_t)len);
            if (len <= 0 || k->done) {
                close(k->fd);
                chunks += k->chunks;
                open--;
            }
        }
    }
    close(epoll);
    return chunks;
}

static double thread_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    long streams = argc > 1 ? strtol(argv[1], NULL, 10) : 512, tokens = argc > 2 ? strtol(argv[2], NULL, 10) : 500;
    long step_us = argc > 3 ? strtol(argv[3], NULL, 10) : 1;
    char model[96];
    snprintf(model, sizeof model, "fake:step_us=%ld,seqs=%ld,blocks=1000000", step_us, streams);
    server_opts o = {.engine.model = model, .no_access_log = true};
    td_err err = TD_ERR_INIT;
    pthread_t thread;
    clockid_t clock;
    if (streams < 1 || streams > 4000 || tokens < 1)
        return 2;
    td_log_setup(TD_LOG_WARN, false);
    struct rlimit files = {16384, 16384};
    setrlimit(RLIMIT_NOFILE, &files);
    if (server_open(&o, &s, &err)) {
        fprintf(stderr, "bench_sse: %s\n", err.msg);
        return 1;
    }
    pthread_create(&thread, NULL, serve, NULL);
    pthread_getcpuclockid(thread, &clock);
    while (!ready(server_port(s)))
        usleep(1000);
    client *c = calloc((size_t)streams, sizeof *c);
    double cpu = thread_seconds(clock);
    uint64_t from = td_now_ns();
    for (long i = 0; i < streams; i++)
        begin(&c[i], server_port(s), tokens);
    uint64_t chunks = receive_all(c, (int)streams);
    double wall = (double)(td_now_ns() - from) / 1e9;
    cpu = thread_seconds(clock) - cpu;
    printf("%ld streams, %llu chunks: %.0f chunks/s of wall time, %.0f chunks/s of the loop thread's processor time\n",
           streams, (unsigned long long)chunks, (double)chunks / wall, (double)chunks / cpu);
    server_stop(s);
    pthread_join(thread, NULL);
    server_close(s);
    free(c);
    return 0;
}
