#include "engine/sched.h"

#include "base/check.h"

static void list_insert_after(seq_list *l, seq *at, seq *q) // at == NULL: at the head
{
    q->prev = at;
    q->next = at ? at->next : l->head;
    if (q->next)
        q->next->prev = q;
    else
        l->tail = q;
    if (at)
        at->next = q;
    else
        l->head = q;
    l->count++;
}

static void list_remove(seq_list *l, seq *q)
{
    if (q->prev)
        q->prev->next = q->next;
    else
        l->head = q->next;
    if (q->next)
        q->next->prev = q->prev;
    else
        l->tail = q->prev;
    q->prev = q->next = NULL;
    l->count--;
}

/* Whether a goes before b. Choices of one request keep their order. */
static bool before(const seq *a, const seq *b, bool by_priority)
{
    if (by_priority && a->req->priority != b->req->priority)
        return a->req->priority < b->req->priority;
    if (a->req->order != b->req->order)
        return a->req->order < b->req->order;
    return a->choice < b->choice;
}

static void list_put(seq_list *l, seq *q, bool by_priority)
{
    seq *at = l->tail; // most arrivals are the youngest
    while (at && before(q, at, by_priority))
        at = at->prev;
    list_insert_after(l, at, q);
}

void sched_init(sched *s, kv_pool *pool, int32_t seqs_max, int32_t tok_max, bool prefix_caching, seq **plan)
{
    *s =
        (sched){.pool = pool, .seqs_max = seqs_max, .tok_max = tok_max, .prefix_caching = prefix_caching, .plan = plan};
}

void sched_add(sched *s, seq *q)
{
    q->state = SEQ_WAITING;
    q->computed = 0;
    list_put(&s->waiting, q, true);
}

void sched_remove(sched *s, seq *q)
{
    if (q->state == SEQ_RUNNING)
        list_remove(&s->running, q);
    else if (q->state == SEQ_WAITING)
        list_remove(&s->waiting, q);
    kv_table_clear(&q->table, s->pool);
    q->state = SEQ_DONE;
    q->step_tok = 0;
}

bool sched_busy(const sched *s) { return s->running.head || s->waiting.head; }

static void run(sched *s, seq *q)
{
    q->state = SEQ_RUNNING;
    list_put(&s->running, q, false);
}

/* Takes a sequence out of the running set; it starts over with all its tokens when it comes back. */
static void preempt(sched *s, seq *q)
{
    if (q->step_tok) { // it was planned already: the step loses it
        s->plan_tok -= q->step_tok;
        q->step_tok = 0;
        int32_t i = 0;
        while (s->plan[i] != q)
            i++;
        s->plan_count--;
        for (; i < s->plan_count; i++)
            s->plan[i] = s->plan[i + 1];
    }
    list_remove(&s->running, q);
    kv_table_clear(&q->table, s->pool);
    s->preemptions++;
    sched_add(s, q);
}

/* Of those that run, the one of lowest priority, and among equals the last to arrive. */
static seq *victim(const sched *s)
{
    seq *worst = s->running.head;
    for (seq *q = worst; q; q = q->next)
        if (before(worst, q, true))
            worst = q;
    return worst;
}

static void plan_add(sched *s, seq *q, int32_t tok_count)
{
    q->step_tok = tok_count;
    s->plan[s->plan_count++] = q;
    s->plan_tok += tok_count;
}

/* Plans as many of q's tokens as the budget allows. false: q itself had to give way. */
static bool plan_running(sched *s, seq *q)
{
    int32_t want = TD_MIN(q->count - q->computed, s->tok_max - s->plan_tok);
    if (want <= 0)
        return true;
    while (!kv_table_reserve(&q->table, s->pool, q->computed + want)) {
        seq *v = victim(s);
        preempt(s, v);
        if (v == q)
            return false;
    }
    plan_add(s, q, want);
    return true;
}

/* One pass over the running set; those that became victims meanwhile are not in it any more, so the walk restarts
 * behind the last one that was planned. */
static void plan_pass(sched *s, bool decoding)
{
    for (seq *q = s->running.head; q;) {
        bool decodes = q->count - q->computed == 1;
        if (q->step_tok || decodes != decoding || s->plan_tok >= s->tok_max) {
            q = q->next;
            continue;
        }
        uint64_t preempted = s->preemptions;
        plan_running(s, q);
        // A preemption may have unlinked q's neighbours: planned sequences are skipped, so starting over is safe.
        q = s->preemptions == preempted ? q->next : s->running.head;
    }
}

static bool admit(sched *s, seq *q)
{
    int32_t hit = 0;
    prefix_chain_extend(&q->chain, q->ids, q->count);
    if (s->prefix_caching && !q->req->no_cache_read)
        hit = prefix_lookup(s->pool, &q->chain, q->count - 1);
    kv_table_adopt(&q->table, s->pool, &q->chain, hit);
    int32_t want = TD_MIN(q->count - hit, s->tok_max - s->plan_tok);
    if (!kv_table_reserve(&q->table, s->pool, hit + want)) {
        kv_table_clear(&q->table, s->pool);
        return false;
    }
    list_remove(&s->waiting, q);
    q->computed = hit;
    if (!q->req->prompt_done && s->prefix_caching) { // a return after preemption is no query of a user's
        s->prefix_queries += (uint64_t)q->count;
        s->prefix_hits += (uint64_t)hit;
        q->req->cached_count = hit;
    }
    run(s, q);
    plan_add(s, q, want);
    return true;
}

void sched_form(sched *s)
{
    uint64_t preempted = s->preemptions;
    s->plan_count = s->plan_tok = 0;
    for (seq *q = s->running.head; q; q = q->next)
        q->step_tok = 0;
    plan_pass(s, true);
    plan_pass(s, false);
    // Whoever was just preempted must not take back at once the blocks that it gave.
    while (s->waiting.head && s->preemptions == preempted && s->running.count < s->seqs_max && s->plan_tok < s->tok_max)
        if (!admit(s, s->waiting.head))
            break;
}

bool sched_fork(sched *s, seq *to, const seq *from)
{
    if (s->running.count >= s->seqs_max || !kv_table_fork(&to->table, &from->table, s->pool, from->computed))
        return false;
    to->computed = from->computed;
    prefix_chain_extend(&to->chain, to->ids, to->computed);
    run(s, to);
    return true;
}

void sched_advance(sched *s, seq *q)
{
    q->computed += q->step_tok;
    q->step_tok = 0;
    prefix_chain_extend(&q->chain, q->ids, q->computed);
    if (s->prefix_caching)
        kv_table_publish(&q->table, s->pool, &q->chain, q->computed);
    kv_table_leave(&q->table, s->pool, q->computed);
}
