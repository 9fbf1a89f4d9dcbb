/* Secret volumes replace a whole folder by renaming a link, editors replace a file by renaming another over it: so the
 * folders are watched, not the files, and a moment passes before the pair of files is taken for complete. */
#include "server/reload.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { SETTLE_MS = 200 };

static void watch_ready(loop_fd *f, uint32_t events)
{
    struct server *s = (struct server *)((char *)f - offsetof(struct server, watch_fd));
    char drop[4096];
    (void)events;
    while (read(f->fd, drop, sizeof drop) > 0)
        ;
    s->reload_ns = td_now_ns() + SETTLE_MS * TD_NS_PER_MS;
    loop_at(&s->loop, s->reload_ns);
}

static td_rc watch_folder_of(struct server *s, const char *path, td_err *err)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) : 0;
    snprintf(folder, sizeof folder, "%.*s", n ? n : 1, slash ? path : ".");
    uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE;
    if (inotify_add_watch(s->watch_fd.fd, folder, mask) < 0)
        return td_fail_param(err, TD_E_IO, "enable-ssl-refresh", "cannot watch %s: %s", folder, strerror(errno));
    return TD_OK;
}

static td_rc watch(struct server *s, td_err *err)
{
    s->watch_fd = (loop_fd){.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .events = EPOLLIN, .ready = watch_ready};
    if (s->watch_fd.fd < 0)
        return td_fail(err, TD_E_IO, "cannot watch the certificate: %s", strerror(errno));
    td_rc rc = watch_folder_of(s, s->opts.ssl_certfile, err);
    if (!rc)
        rc = watch_folder_of(s, s->opts.ssl_keyfile, err);
    return rc ? rc : loop_add(&s->loop, &s->watch_fd, err);
}

td_rc reload_open(struct server *s, td_err *err)
{
    if (!s->opts.ssl_certfile)
        return TD_OK;
    td_rc rc = tls_context_load(s->opts.ssl_certfile, s->opts.ssl_keyfile, s->opts.ssl_ca_certs, &s->tls, err);
    return rc || !s->opts.ssl_refresh ? rc : watch(s, err);
}

void reload_close(struct server *s)
{
    if (s->watch_fd.fd >= 0)
        close(s->watch_fd.fd);
    s->watch_fd.fd = -1;
}

static void reload_tls(struct server *s)
{
    tls_context *t = NULL;
    td_err err = TD_ERR_INIT;
    if (!s->opts.ssl_certfile)
        return;
    if (tls_context_load(s->opts.ssl_certfile, s->opts.ssl_keyfile, s->opts.ssl_ca_certs, &t, &err)) {
        td_warn("the old certificate stays: %s", err.msg);
        return;
    }
    tls_context_unref(s->tls); // connections that began with it keep it
    s->tls = t;
    td_info("certificate loaded again from %s", s->opts.ssl_certfile);
}

void reload_now(struct server *s)
{
    auth_keys *keys = NULL;
    td_err err = TD_ERR_INIT;
    reload_tls(s);
    if (!s->opts.api_key_file)
        return;
    if (auth_load(s->opts.api_keys, s->opts.api_key_count, s->opts.api_key_file, &keys, &err)) {
        td_warn("the old API keys stay: %s", err.msg);
        return;
    }
    auth_free(s->keys);
    s->keys = keys;
    td_info("API keys loaded again from %s", s->opts.api_key_file);
}

void reload_tick(struct server *s, uint64_t now)
{
    if (!s->reload_ns)
        return;
    if (now < s->reload_ns) {
        loop_at(&s->loop, s->reload_ns);
        return;
    }
    s->reload_ns = 0;
    reload_tls(s);
}
