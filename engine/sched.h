/* sched.h - which sequences compute how many tokens in the next step. Sans I/O: no clock, no threads, no model.
 *
 * Running sequences come first: those that decode, then those whose prompt is not finished, in order of arrival; what
 * is left of the token budget admits waiting ones by (priority, arrival). Blocks are claimed here, so a formed step
 * cannot fail: where none is free, the running sequence of lowest priority that arrived last is preempted. It gives its
 * blocks back, keeps its tokens, and is computed again later; its answer does not change. */
#ifndef TD_ENGINE_SCHED_H
#define TD_ENGINE_SCHED_H

#include "engine/request.h"

typedef struct seq_list {
    seq *head, *tail;
    int32_t count;
} seq_list;

typedef struct sched {
    kv_pool *pool;
    int32_t seqs_max;         // running at once
    int32_t tok_max;          // in a step
    bool prefix_caching;
    seq_list running;         // by arrival
    seq_list waiting;         // by priority, then arrival
    seq **plan;               // [seqs_max] the step being formed
    int32_t plan_count, plan_tok;
    uint64_t preemptions, prefix_queries, prefix_hits; // since start; tokens
} sched;

void sched_init(sched *s, kv_pool *pool, int32_t seqs_max, int32_t tok_max, bool prefix_caching, seq **plan);
/* Puts a sequence into the queue. */
void sched_add(sched *s, seq *q);
/* Takes it out of wherever it is and gives its blocks back. */
void sched_remove(sched *s, seq *q);
/* Forms a step: fills plan[], each seq's step_tok, and claims its blocks. */
void sched_form(sched *s);
/* Lets a seq that shares its tokens with `from` run at once. false: no room; it is for sched_add then. */
bool sched_fork(sched *s, seq *to, const seq *from);
/* After the step: its tokens are stored. */
void sched_advance(sched *s, seq *q);
bool sched_busy(const sched *s); // something is waiting or running

#endif
