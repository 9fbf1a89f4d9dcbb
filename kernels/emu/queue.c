/* queue.c - the queues of streams and who runs next. */
#include "kernels/emu/queue.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>
#include <time.h>

gpu_stream emu_streams[EMU_STREAMS_MAX];
uint32_t emu_host_before[EMU_STREAMS_MAX];
static uint32_t seq[EMU_STREAMS_MAX];
static uint32_t op_ids;
static uint64_t random_state;

uint64_t emu_sum(const void *p, size_t bytes)
{
    const uint8_t *b = p;
    uint64_t h = 0x9e3779b97f4a7c15u ^ bytes, v;
    for (; bytes >= 8; bytes -= 8, b += 8) {
        memcpy(&v, b, 8);
        h = (h ^ v) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; bytes; bytes--)
        h = (h ^ *b++) * 0x100000001b3u;
    return h;
}

void emu_max_before(uint32_t *to, const uint32_t *from)
{
    for (int i = 0; i < EMU_STREAMS_MAX; i++)
        to[i] = TD_MAX(to[i], from[i]);
}

uint32_t emu_queue_next(uint32_t stream) { return ++seq[stream]; }

void emu_op_free(emu_op *op)
{
    td_free(op->kernel.args_block);
    td_free(op->sums);
    td_free(op);
}

static void begin(emu_when *w, uint32_t stream, const char *what)
{
    w->id = ++op_ids ? op_ids : ++op_ids;
    w->before[stream] = emu_queue_next(stream);
    emu_when_name(w->id, stream, w->before[stream], what);
}

static void copy(const emu_op *op, const emu_when *w)
{
    if (op->from_host && op->sum != emu_sum(op->from, op->bytes))
        emu_fail("staging reused", "%zu bytes of host memory at %p changed after their copy to the device was "
                 "queued and before it ran", op->bytes, op->from);
    if (op->kind == EMU_OP_COPY)
        emu_copy_access(w, op->from, op->bytes, false, "a copy");
    emu_copy_access(w, op->to, op->bytes, true, op->kind == EMU_OP_COPY ? "a copy" : "a fill");
    if (op->kind == EMU_OP_COPY)
        memmove(op->to, op->from, op->bytes);
    else
        memset(op->to, op->value, op->bytes);
}

/* w->before holds what is over before this operation, and comes back with the operation itself added. */
void emu_queue_run(emu_op *op, emu_op *after, emu_when *w, uint32_t stream)
{
    if (op->kind == EMU_OP_KERNEL) {
        emu_launch_op *k = &op->kernel;
        if (!k->when.id) {
            begin(w, stream, k->name);
            k->when = *w;
        }
        *w = k->when;
        if (after && after->kind == EMU_OP_KERNEL && after->kernel.pdl) {
            emu_when next = *w;
            begin(&next, stream, after->kernel.name);
            after->kernel.when = next;
            emu_launch_prologue(&after->kernel);
        }
        emu_launch_run(k);
        k->when.id = 0;
        k->primary_done = false;
        k->next_group = 0;
    } else if (op->kind == EMU_OP_COPY || op->kind == EMU_OP_SET) {
        begin(w, stream, "a copy");
        copy(op, w);
    }
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool ready(gpu_stream s)
{
    return s->head && (s->head->kind != EMU_OP_WAIT || s->head->event->done >= s->head->ticket);
}

/* Runs the head of s; a kernel whose successor may overlap it takes that one along. */
static void advance(gpu_stream s)
{
    for (bool again = true; again;) {
        emu_op *op = s->head;
        s->head = op->next;
        s->tail = s->head ? s->tail : NULL;
        emu_max_before(s->before, op->host_before);
        emu_when w = {0};
        memcpy(w.before, s->before, sizeof w.before);
        again = op->kind == EMU_OP_KERNEL && s->head && s->head->kind == EMU_OP_KERNEL && s->head->kernel.pdl;
        if (op->kind == EMU_OP_RECORD) {
            op->event->done = TD_MAX(op->event->done, op->ticket);
            memcpy(op->event->before, s->before, sizeof s->before);
            op->event->ms = now_ms();
        } else if (op->kind == EMU_OP_WAIT) {
            emu_max_before(s->before, op->event->before);
        } else if (op->kind == EMU_OP_GRAPH) {
            emu_graph_run(op->graph, s, op->sums);
        } else {
            emu_queue_run(op, s->head, &w, s->index);
            emu_max_before(s->before, w.before);
        }
        emu_op_free(op);
    }
}

/* Only what s needs: the streams whose events its head waits for. */
static bool advance_needed(gpu_stream s, int depth)
{
    if (ready(s)) {
        advance(s);
        return true;
    }
    for (int i = 0; s->head && depth < EMU_STREAMS_MAX && i < EMU_STREAMS_MAX; i++)
        for (emu_op *op = emu_streams[i] ? emu_streams[i]->head : NULL; op; op = op->next)
            if (op->kind == EMU_OP_RECORD && op->event == s->head->event && op->ticket <= s->head->ticket)
                return advance_needed(emu_streams[i], depth + 1);
    return false;
}

static bool advance_other(gpu_stream s) // any but s, from the last one down
{
    for (int i = EMU_STREAMS_MAX - 1; i >= 0; i--)
        if (emu_streams[i] && emu_streams[i] != s && ready(emu_streams[i])) {
            advance(emu_streams[i]);
            return true;
        }
    return false;
}

static bool advance_random(void)
{
    uint32_t some[EMU_STREAMS_MAX], n = 0;
    for (uint32_t i = 0; i < EMU_STREAMS_MAX; i++)
        if (emu_streams[i] && ready(emu_streams[i]))
            some[n++] = i;
    if (!n)
        return false;
    random_state ^= emu_get_seed();
    advance(emu_streams[some[emu_random(&random_state) % n]]);
    return true;
}

static void step(gpu_stream s)
{
    bool moved = emu_get_order() == EMU_RANDOM ? advance_random()
                 : emu_get_order() == EMU_REVERSE && advance_other(s) ? true
                                                                       : advance_needed(s, 0);
    if (!moved)
        emu_fail("deadlock", "a stream waits for an event that no queued work will record");
}

void emu_queue_until_idle(gpu_stream s)
{
    while (s->head)
        step(s);
    emu_max_before(emu_host_before, s->before);
}

static gpu_stream recorder(gpu_event e)
{
    for (int i = 0; i < EMU_STREAMS_MAX; i++)
        for (emu_op *op = emu_streams[i] ? emu_streams[i]->head : NULL; op; op = op->next)
            if (op->kind == EMU_OP_RECORD && op->event == e)
                return emu_streams[i];
    td_bug("an event's record is in no stream", __FILE__, __LINE__);
}

void emu_queue_until(gpu_event e, uint64_t ticket)
{
    while (e->done < ticket)
        step(recorder(e));
    emu_max_before(emu_host_before, e->before);
}

bool emu_queue_poll(gpu_event e)
{
    if (e->done < e->recorded)
        step(recorder(e));
    if (e->done < e->recorded)
        return false;
    emu_max_before(emu_host_before, e->before);
    return true;
}

/* What a copy to the host will overwrite is not there before the copy ran, unless queued work still reads it. */
static void poison(const emu_op *op)
{
    const emu_region *r = emu_mem_find(op->to);
    if (op->kind != EMU_OP_COPY || !r || r->device)
        return;
    for (int i = 0; i < EMU_STREAMS_MAX; i++)
        for (const emu_op *o = emu_streams[i] ? emu_streams[i]->head : NULL; o; o = o->next)
            if (o->from_host || o->kind == EMU_OP_GRAPH)
                return;
    memset(op->to, 0xff, op->bytes);
}

void emu_queue_push(gpu_stream s, emu_op *op)
{
    if (s->capture) {
        emu_graph_add(s->capture, s, op);
        return;
    }
    memcpy(op->host_before, emu_host_before, sizeof op->host_before);
    if (op->from_host)
        op->sum = emu_sum(op->from, op->bytes);
    poison(op);
    if (s->tail)
        s->tail->next = op;
    else
        s->head = op;
    s->tail = op;
}
