/* Answers are written under the engine's lock: submits wait for some milliseconds meanwhile, which is the price of a
 * picture that fits together. */
#include "engine/debug.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "engine/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { WAIT_SECONDS = 2 };

/* ---- requests ---- */

static int32_t blocks_of(const seq *q, int32_t group_count)
{
    int32_t n = 0;
    for (int32_t g = 0; g < group_count; g++)
        n += q->table.page_count - TD_MIN(q->table.live_from[g], q->table.page_count);
    return n;
}

static void seq_json(const td_engine *e, const seq *q, uint64_t now, td_buf *out)
{
    td_request *r = q->req;
    int32_t groups = kv_pool_geometry(e->pool)->group_count;
    td_buf_str(out, "{\"id\":");
    td_buf_json_str(out, r->id, strlen(r->id));
    td_buf_fmt(out,
               ",\"choice\":%d,\"state\":\"%s\",\"priority\":%d,\"prompt\":%d,\"cached\":%d,\"tokens\":%d,"
               "\"computed\":%d,\"step\":%d,\"blocks\":%d,\"max_total\":%d,\"age_ms\":%" PRIu64 ",\"canceled\":%s}",
               q->choice, q->state == SEQ_RUNNING ? "running" : "waiting", r->priority, q->prompt_count,
               r->cached_count, q->count, q->computed, q->step_tok, blocks_of(q, groups), r->max_total,
               (uint64_t)((now - r->arrived_ns) / TD_NS_PER_MS), atomic_load(&r->cancel) ? "true" : "false");
}

static void list_json(const td_engine *e, const char *name, const seq_list *l, const debug_ask *a, td_buf *out)
{
    uint64_t now = td_now_ns();
    int32_t n = 0;
    td_buf_fmt(out, "\"%s\":[", name);
    for (const seq *q = l->head; q && n < a->count; q = q->next, n++) {
        if (n)
            td_buf_char(out, ',');
        seq_json(e, q, now, out);
    }
    td_buf_fmt(out, "],\"%s_count\":%d,", name, l->count);
}

static void requests_json(td_engine *e, const debug_ask *a)
{
    const char *fault = td_engine_fault(e);
    td_buf_char(a->out, '{');
    list_json(e, "running", &e->sched.running, a, a->out);
    list_json(e, "waiting", &e->sched.waiting, a, a->out);
    td_buf_fmt(a->out,
               "\"last_step\":{\"sequences\":%d,\"tokens\":%d},\"tokens_max\":%d,\"sequences_max\":%d,"
               "\"preemptions\":%" PRIu64 ",\"fault\":",
               e->sched.plan_count, e->sched.plan_tok, e->sched.tok_max, e->sched.seqs_max, e->sched.preemptions);
    if (fault)
        td_buf_json_str(a->out, fault, strlen(fault));
    else
        td_buf_str(a->out, "null");
    td_buf_char(a->out, '}');
}

/* ---- blocks ---- */

static void block_fields(int32_t block, const kv_block_view *v, td_buf *out)
{
    td_buf_fmt(out, "\"block\":%d,\"state\":\"%s\",\"group\":%d,\"request_refs\":%d,\"op_refs\":%d,\"name\":", block,
               v->state, v->group, v->request_refs, v->op_refs);
    char hex[2 * sizeof v->key.b + 1];
    td_hex(v->key.b, sizeof v->key.b, hex);
    if (v->named)
        td_buf_fmt(out, "\"%s\"", hex);
    else
        td_buf_str(out, "null");
}

/* Free blocks have nothing to tell and are left out. */
static void blocks_json(const td_engine *e, const debug_ask *a)
{
    kv_count c;
    kv_counts(e->pool, &c);
    td_buf_fmt(a->out,
               "{\"block_tokens\":%d,\"groups\":%d,\"free\":%lld,\"cached\":%lld,\"held\":%lld,\"leased\":%lld,"
               "\"quarantined\":%lld,\"total\":%lld,\"blocks\":[",
               e->info.block_tok, kv_pool_geometry(e->pool)->group_count, (long long)c.free, (long long)c.cached,
               (long long)c.held, (long long)c.leased, (long long)c.quarantined, (long long)c.total);
    int32_t n = 0, b = a->from;
    for (; b < e->info.block_count && n < a->count; b++) {
        kv_block_view v;
        kv_block_look(e->pool, b, &v);
        if (!strcmp(v.state, "free"))
            continue;
        td_buf_str(a->out, n++ ? ",{" : "{");
        block_fields(b, &v, a->out);
        td_buf_char(a->out, '}');
    }
    td_buf_fmt(a->out, b < e->info.block_count ? "],\"next\":%d}" : "],\"next\":null}", b);
}

static td_rc block_json(const td_engine *e, debug_ask *a)
{
    if (a->from >= e->info.block_count)
        return td_fail_param(&a->err, TD_E_NOTFOUND, "block", "there is no block %d; there are %d", a->from,
                             e->info.block_count);
    kv_block_view v;
    kv_block_look(e->pool, a->from, &v);
    td_sha256 d = kv_block_digest(e->pool, a->from);
    char hex[2 * sizeof d.b + 1];
    td_hex(d.b, sizeof d.b, hex);
    td_buf_char(a->out, '{');
    block_fields(a->from, &v, a->out);
    td_buf_fmt(a->out, ",\"sha256\":\"%s\"}", hex);
    return TD_OK;
}

/* ---- audit ---- */

static void count_refs(const td_engine *e, const seq *q, int32_t *refs)
{
    for (int32_t g = 0; g < kv_pool_geometry(e->pool)->group_count; g++)
        for (int32_t k = 0; k < q->table.page_count; k++)
            if (q->table.page[g][k] >= 0)
                refs[q->table.page[g][k]]++;
}

/* Every request reference of a block is a page of one running sequence; those that wait have none. */
static td_rc audit(const td_engine *e, debug_ask *a)
{
    int32_t *refs = td_alloc((size_t)e->info.block_count * sizeof *refs);
    if (!refs)
        return td_fail(&a->err, TD_E_NOMEM, "not enough memory to count blocks");
    kv_audit(e->pool);
    for (const seq *q = e->sched.running.head; q; q = q->next) {
        td_assert(q->state == SEQ_RUNNING && !q->req->ended);
        count_refs(e, q, refs);
    }
    for (const seq *q = e->sched.waiting.head; q; q = q->next)
        td_assert(q->state == SEQ_WAITING && !q->req->ended && q->table.page_count == 0);
    for (int32_t b = 0; b < e->info.block_count; b++) {
        kv_block_view v;
        kv_block_look(e->pool, b, &v);
        td_assert(v.request_refs == refs[b]);
    }
    td_free(refs);
    td_buf_fmt(a->out, "{\"running\":%d,\"waiting\":%d}", e->sched.running.count, e->sched.waiting.count);
    return TD_OK;
}

/* ---- asking and answering ---- */

static void answer(td_engine *e, debug_ask *a)
{
    switch (a->what) {
    case TD_DEBUG_REQUESTS: requests_json(e, a); break;
    case TD_DEBUG_BLOCKS: blocks_json(e, a); break;
    case TD_DEBUG_BLOCK: a->rc = block_json(e, a); break;
    case TD_DEBUG_AUDIT: a->rc = audit(e, a); break;
    }
    a->done = true;
}

void debug_answer(td_engine *e)
{
    if (!e->asks)
        return;
    for (; e->asks; e->asks = e->asks->next)
        answer(e, e->asks);
    pthread_cond_broadcast(&e->answered);
}

static void withdraw(td_engine *e, const debug_ask *a)
{
    debug_ask **at = &e->asks;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
}

td_rc td_engine_debug(td_engine *e, td_debug what, int32_t from, int32_t count, td_buf *out, td_err *err)
{
    debug_ask a = {.what = what, .from = TD_MAX(from, 0), .count = TD_MAX(count, 0), .out = out, .err = TD_ERR_INIT};
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&e->lock);
    a.next = e->asks;
    e->asks = &a;
    pthread_cond_signal(&e->wake);
    int rc = 0;
    while (!a.done && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&e->answered, &e->lock, &until);
    if (!a.done)
        withdraw(e, &a);
    pthread_mutex_unlock(&e->lock);
    if (!a.done)
        return td_fail(err, TD_E_UNAVAILABLE, "the engine did not end its step within %d seconds", WAIT_SECONDS);
    if (a.rc != TD_OK)
        return td_fail_param(err, a.rc, a.err.param, "%s", a.err.msg);
    return out->failed ? td_fail(err, TD_E_NOMEM, "not enough memory for the answer") : TD_OK;
}
