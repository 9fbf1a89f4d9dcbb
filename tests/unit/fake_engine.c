/* One lock guards everything; the step thread notifies under it, which keeps the promise of td_request_free() that no
 * notification comes after it. Speed is not the point, being deterministic is. */
#include "fake_engine.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK_TOK = 16, CACHE_MAX = 4096 };

static const char endless[] = "The quick brown fox jumps over the lazy dog. Größe 12 €, naïve café, 日本語 🙂. ";

typedef struct fake_event {
    td_event_kind kind;
    int32_t choice, id, id_count;
    size_t text_at, text_len; // in request.texts
    td_finish finish;
    int32_t stop_id, stop_index; // of sampling.stop, or -1
    int32_t prompt_count, cached_count, output_count;
    td_rc rc;
    const char *message;
} fake_event;

typedef struct fake_choice {
    size_t at;               // next byte of the script
    int32_t output;
    td_buf held;             // text that is not certain yet
    bool done;
} fake_choice;

struct td_request {
    td_engine *e;
    td_request *prev, *next; // running or waiting
    bool running, ended, cancelled, prompt_told, news, lost;
    uint64_t arrived_ns, deadline_ns, started_ns, last_ns;
    int32_t *prompt;
    int32_t prompt_count, cached, output, blocks, fail_after;
    td_sampling s;
    char **stop;             // own copies
    int32_t *stop_ids;
    const char *script;      // bytes each choice says, over and over unless `once`
    size_t script_len;
    char *say;
    bool once;
    fake_choice choice[TD_CHOICES_MAX];
    fake_event *queue;       // [queue_cap] ring
    size_t queue_cap, queue_head, queue_len;
    td_buf texts, current;   // texts of queued events; text of the event handed out
    td_token_logprobs *lp;   // of the event handed out
    int32_t lp_cap;
    int32_t current_id;
    pthread_cond_t arrived;
    void (*notify)(void *);
    void *notify_ctx;
};

struct td_engine {
    td_engine_info info;
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    bool quit, drain, stuck;
    const char *fault;
    int64_t load_ms, step_us, stall_ms;
    td_request *running, *waiting, *waiting_last;
    uint64_t cache[CACHE_MAX]; // hashes of cached blocks, oldest first
    int32_t cached;
    uint64_t stepped_ns;
    td_metrics m;
};

/* ------------------------------------------------------------------ engine */

static const double second_bounds[] = {0.001, 0.01, 0.1, 1, 10};
static const double token_bounds[] = {1, 10, 100, 1000, 10000};

/* Not through the fault seam: it is the server's failures that tests ask for. */
static void *fake_alloc(size_t bytes)
{
    void *p = calloc(1, bytes);
    td_assert(p);
    return p;
}

static void observe(td_hist *h, double v)
{
    int32_t i = 0;
    while (i < h->bucket_count && v > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += v;
    h->count++;
}

static double seconds_since(uint64_t from) { return (double)(td_now_ns() - from) / (double)TD_NS_PER_S; }

static int64_t setting(const char *model, const char *key, int64_t dflt)
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, "%s=", key);
    const char *p = strstr(model, pattern);
    return p ? strtoll(p + strlen(pattern), NULL, 10) : dflt;
}

static void *step_loop(void *arg);

static void set_up_metrics(td_metrics *m)
{
    td_hist *seconds[] = {&m->ttft,   &m->itl,       &m->e2e,          &m->queue,      &m->prefill,
                          &m->decode, &m->inference, &m->step_prefill, &m->step_decode};
    td_hist *tokens[] = {&m->request_prompt_tokens, &m->request_generation_tokens, &m->step_tokens};
    for (size_t i = 0; i < TD_COUNT(seconds); i++)
        seconds[i]->bounds = second_bounds, seconds[i]->bucket_count = TD_COUNT(second_bounds);
    for (size_t i = 0; i < TD_COUNT(tokens); i++)
        tokens[i]->bounds = token_bounds, tokens[i]->bucket_count = TD_COUNT(token_bounds);
}

static void pause_us(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    while (us > 0 && nanosleep(&t, &t) && errno == EINTR)
        ;
}

td_rc td_engine_open(const td_engine_opts *o, td_engine **out, td_err *err)
{
    const char *model = o->model ? o->model : "fake";
    enum { LOAD_PARTS = 200 };
    int64_t load_ms = setting(model, "load_ms", 0), deaf = setting(model, "deaf", 0);
    for (int i = 0; i < LOAD_PARTS; i++) {
        if (o->canceled && o->canceled(o->progress_ctx) && !deaf)
            return td_fail(err, TD_E_CANCELED, "the fake model was not loaded");
        if (o->progress)
            o->progress(o->progress_ctx, (double)i / LOAD_PARTS);
        pause_us(load_ms * 1000 / LOAD_PARTS);
    }
    if (setting(model, "fail", 0))
        return td_fail(err, TD_E_MODEL, "the fake model was told to fail");
    td_engine *e = fake_alloc(sizeof *e);
    if (!e)
        return td_fail(err, TD_E_NOMEM, "not enough memory");
    e->step_us = setting(model, "step_us", 1000);
    e->info = (td_engine_info){
        .model_path = model, .architecture = "fake", .device = "cpu-ref", .numerics_id = "fake1", .kv_dtype = "float32",
        .chat_template = "", .chat_template_origin = "built in", .weight_types = "F32",
        .max_model_len = o->max_model_len ? o->max_model_len : (int32_t)setting(model, "len", 4096),
        .vocab_count = FAKE_VOCAB, .hidden = 1, .layer_count = 1, .threads = 1,
        .max_num_seqs = o->max_num_seqs ? o->max_num_seqs : (int32_t)setting(model, "seqs", 64),
        .max_num_batched_tokens = 2048,
        .block_tok = BLOCK_TOK, .block_count = (int32_t)setting(model, "blocks", 4096),
        .bos_id = FAKE_BOS, .eos_id = FAKE_EOS,
    };
    e->info.max_num_queued = o->max_num_queued ? o->max_num_queued
                                               : (int32_t)setting(model, "queued", 4 * e->info.max_num_seqs);
    e->m.blocks_total = e->m.blocks_free = e->info.block_count;
    set_up_metrics(&e->m);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    td_assert(pthread_create(&e->thread, NULL, step_loop, e) == 0);
    *out = e;
    return TD_OK;
}

void td_engine_close(td_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->quit = true;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

void td_engine_drain(td_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->drain = true;
    pthread_mutex_unlock(&e->lock);
}

bool td_engine_idle(td_engine *e)
{
    pthread_mutex_lock(&e->lock);
    bool idle = !e->running && !e->waiting && !e->stuck;
    pthread_mutex_unlock(&e->lock);
    return idle;
}

uint64_t td_engine_stall_ns(td_engine *e)
{
    pthread_mutex_lock(&e->lock);
    uint64_t ns = e->running || e->waiting || e->stuck ? td_now_ns() - e->stepped_ns : 0;
    pthread_mutex_unlock(&e->lock);
    return ns;
}

const char *td_engine_fault(td_engine *e)
{
    pthread_mutex_lock(&e->lock);
    const char *fault = e->fault;
    pthread_mutex_unlock(&e->lock);
    return fault;
}

td_rc td_engine_debug(td_engine *e, td_debug what, int32_t from, int32_t count, td_buf *out, td_err *err)
{
    if (what == TD_DEBUG_BLOCK && from >= e->info.block_count)
        return td_fail_param(err, TD_E_NOTFOUND, "block", "there is no block %d", (int)from);
    td_buf_fmt(out, "{\"what\":%d,\"from\":%d,\"count\":%d}", (int)what, (int)from, (int)count);
    return TD_OK;
}

const td_engine_info *td_engine_get_info(const td_engine *e) { return &e->info; }

void td_engine_metrics(td_engine *e, td_metrics *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->m;
    pthread_mutex_unlock(&e->lock);
}

/* ------------------------------------------------------------------ requests */

td_sampling td_sampling_default(void)
{
    return (td_sampling){.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n = 1,
                         .prompt_logprobs = -1};
}

void td_sampling_model_defaults(const td_engine *e, td_sampling *s)
{
    (void)e;
    (void)s;
}

static int64_t directive(const char *text, const char *name, int64_t dflt)
{
    const char *p = strstr(text, name);
    return p ? strtoll(p + strlen(name), NULL, 10) : dflt;
}

/* Reads the script out of the prompt's own text. */
static void read_script(td_request *r)
{
    td_buf text = TD_BUF_INIT;
    td_detokenize(r->e, r->prompt, r->prompt_count, true, &text, NULL);
    const char *t = td_buf_cstr(&text), *say = strstr(t, "!!say ");
    r->script = endless;
    r->script_len = sizeof endless - 1;
    if (say) {
        say += 6;
        r->script_len = strcspn(say, "\n");
        r->script = r->say = fake_alloc(r->script_len + 1);
        memcpy(r->say, say, r->script_len);
        r->once = true;
    }
    r->fail_after = (int32_t)directive(t, "!!fail ", -1);
    int64_t stall = directive(t, "!!stall ", 0);
    r->e->stall_ms = stall ? stall : r->e->stall_ms;
    r->lost = strstr(t, "!!fault") != NULL;
    td_buf_free(&text);
}

static void copy_sampling(td_request *r)
{
    td_sampling *s = &r->s;
    r->stop = fake_alloc(((size_t)s->stop_count + 1) * sizeof *r->stop);
    for (int32_t i = 0; i < s->stop_count; i++) {
        size_t n = strlen(s->stop[i]) + 1;
        r->stop[i] = fake_alloc(n);
        memcpy(r->stop[i], s->stop[i], n);
    }
    r->stop_ids = fake_alloc(((size_t)s->stop_id_count + 1) * sizeof *r->stop_ids);
    if (s->stop_id_count)
        memcpy(r->stop_ids, s->stop_ids, (size_t)s->stop_id_count * sizeof *r->stop_ids);
}

static void list_add(td_request **head, td_request **last, td_request *r)
{
    r->next = NULL;
    r->prev = last ? *last : NULL;
    if (last && *last) {
        (*last)->next = r;
    } else {
        r->next = *head;
        if (*head)
            (*head)->prev = r;
        *head = r;
    }
    if (last)
        *last = r;
}

static void list_del(td_engine *e, td_request *r)
{
    if (!r->running && e->waiting_last == r)
        e->waiting_last = r->prev;
    if (r->prev)
        r->prev->next = r->next;
    else if (r->running)
        e->running = r->next;
    else
        e->waiting = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->prev = r->next = NULL;
}

td_rc td_request_submit(td_engine *e, const td_request_opts *o, td_request **out, td_err *err)
{
    if (o->prompt_count < 1 || o->prompt_count >= e->info.max_model_len)
        return td_fail_param(err, TD_E_INPUT, "prompt", "the prompt must have 1 to %d tokens",
                             (int)e->info.max_model_len - 1);
    pthread_mutex_lock(&e->lock);
    bool full = e->m.waiting >= e->info.max_num_queued, drain = e->drain, fault = e->fault;
    pthread_mutex_unlock(&e->lock);
    if (fault)
        return td_fail(err, TD_E_FAULT, "the fake device is lost");
    if (full || drain)
        return td_fail(err, full ? TD_E_BUSY : TD_E_UNAVAILABLE, full ? "the queue is full" : "the engine drains");
    td_request *r = fake_alloc(sizeof *r);
    r->e = e;
    r->s = o->sampling;
    r->prompt_count = o->prompt_count;
    r->prompt = fake_alloc((size_t)o->prompt_count * sizeof *r->prompt);
    memcpy(r->prompt, o->prompt, (size_t)o->prompt_count * sizeof *r->prompt);
    copy_sampling(r);
    r->arrived_ns = td_now_ns();
    r->deadline_ns = o->deadline_ns;
    r->notify = o->notify;
    r->notify_ctx = o->notify_ctx;
    pthread_cond_init(&r->arrived, NULL);
    if (!r->s.max_tokens || r->s.max_tokens > e->info.max_model_len - r->prompt_count)
        r->s.max_tokens = e->info.max_model_len - r->prompt_count;
    *out = r;
    pthread_mutex_lock(&e->lock);
    read_script(r);
    if (!e->running && !e->waiting)
        e->stepped_ns = td_now_ns();
    list_add(&e->waiting, &e->waiting_last, r);
    e->m.waiting++;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    return TD_OK;
}

void td_request_cancel(td_request *r)
{
    pthread_mutex_lock(&r->e->lock);
    r->cancelled = true;
    pthread_cond_signal(&r->e->work);
    pthread_mutex_unlock(&r->e->lock);
}

static void push(td_request *r, const fake_event *ev)
{
    if (r->queue_len == r->queue_cap) {
        size_t cap = r->queue_cap ? r->queue_cap * 2 : 16;
        fake_event *q = fake_alloc(cap * sizeof *q);
        for (size_t i = 0; i < r->queue_len; i++)
            q[i] = r->queue[(r->queue_head + i) % r->queue_cap];
        free(r->queue);
        r->queue = q;
        r->queue_cap = cap;
        r->queue_head = 0;
    }
    fake_event *slot = &r->queue[(r->queue_head + r->queue_len++) % r->queue_cap];
    *slot = *ev;
    slot->prompt_count = r->prompt_count;
    slot->cached_count = r->cached;
    slot->output_count = r->output;
    r->news = true;
}

/* ------------------------------------------------------------------ blocks */

static uint64_t block_hash(const td_request *r, int32_t block)
{
    return td_hash64(r->prompt, (size_t)(block + 1) * BLOCK_TOK * sizeof *r->prompt, 1);
}

static bool in_cache(const td_engine *e, uint64_t hash)
{
    for (int32_t i = 0; i < e->cached; i++)
        if (e->cache[i] == hash)
            return true;
    return false;
}

static bool take_block(td_engine *e)
{
    if (!e->m.blocks_free && e->cached) {
        memmove(e->cache, e->cache + 1, (size_t)--e->cached * sizeof *e->cache);
        e->m.blocks_cached--;
        e->m.blocks_free++;
    }
    if (!e->m.blocks_free)
        return false;
    e->m.blocks_free--;
    e->m.blocks_held++;
    return true;
}

static void give_blocks(td_request *r)
{
    td_engine *e = r->e;
    for (int32_t b = 0; b < r->blocks; b++) {
        bool keep = (b + 1) * BLOCK_TOK <= r->prompt_count && e->cached < CACHE_MAX && !in_cache(e, block_hash(r, b));
        e->m.blocks_held--;
        if (keep) {
            e->cache[e->cached++] = block_hash(r, b);
            e->m.blocks_cached++;
        } else {
            e->m.blocks_free++;
        }
    }
    r->blocks = 0;
}

static bool want_blocks(td_request *r, int32_t tokens)
{
    while (r->blocks * BLOCK_TOK < tokens) {
        if (!take_block(r->e))
            return false;
        r->blocks++;
    }
    return true;
}

/* ------------------------------------------------------------------ steps */

static void end_request(td_request *r, td_rc rc, const char *message)
{
    td_metrics *m = &r->e->m;
    if (r->ended)
        return;
    list_del(r->e, r);
    if (r->running)
        m->running--;
    else
        m->waiting--;
    give_blocks(r);
    r->ended = true;
    r->running = false;
    if (rc == TD_E_CANCELED)
        m->finished_abort++;
    else if (rc)
        m->finished_error++;
    observe(&m->e2e, seconds_since(r->arrived_ns));
    if (r->started_ns)
        observe(&m->inference, seconds_since(r->started_ns));
    observe(&m->request_prompt_tokens, r->prompt_count);
    observe(&m->request_generation_tokens, r->output);
    push(r, &(fake_event){.kind = TD_EVENT_END, .rc = rc, .message = message, .stop_index = -1});
}

static void start_request(td_request *r)
{
    td_engine *e = r->e;
    list_del(e, r);
    e->m.waiting--;
    e->m.running++;
    r->running = true;
    list_add(&e->running, NULL, r);
    r->started_ns = r->last_ns = td_now_ns();
    for (int32_t b = 0; (b + 1) * BLOCK_TOK < r->prompt_count && in_cache(e, block_hash(r, b)); b++)
        r->cached += BLOCK_TOK;
    e->m.prefix_queries += (uint64_t)r->prompt_count;
    e->m.prefix_hits += (uint64_t)r->cached;
    e->m.prompt_tokens += (uint64_t)r->prompt_count;
    observe(&e->m.queue, seconds_since(r->arrived_ns));
}

static size_t hold_back(const td_request *r, const td_buf *held)
{
    size_t keep = td_utf8_partial_tail(held->data, held->len);
    for (int32_t i = 0; i < r->s.stop_count; i++) {
        size_t n = strlen(r->stop[i]);
        for (size_t k = n - 1; k > keep; k--) // the longest end of the text that begins a stop string
            if (k <= held->len && !memcmp(held->data + held->len - k, r->stop[i], k))
                keep = k;
    }
    return keep;
}

static int32_t find_stop(const td_request *r, const td_buf *held, size_t *at)
{
    for (int32_t i = 0; i < r->s.stop_count; i++) {
        char *p = strstr(td_buf_cstr(held), r->stop[i]);
        if (p) {
            *at = (size_t)(p - held->data);
            return i;
        }
    }
    return -1;
}

static void say(td_request *r, int32_t choice, fake_event *ev, size_t certain)
{
    fake_choice *c = &r->choice[choice];
    ev->choice = choice;
    ev->text_at = r->texts.len;
    ev->text_len = td_buf_add(&r->texts, td_buf_cstr(&c->held), certain) ? certain : 0;
    size_t rest = c->held.len - certain;
    if (rest)
        memmove(c->held.data, c->held.data + certain, rest);
    c->held.len = rest;
    if (c->held.data)
        c->held.data[rest] = 0;
    push(r, ev);
}

static bool is_stop_id(const td_request *r, int32_t id)
{
    for (int32_t i = 0; i < r->s.stop_id_count; i++)
        if (r->stop_ids[i] == id)
            return true;
    return id == FAKE_EOS && !r->s.ignore_eos;
}

/* One token of one choice. */
static void choice_token(td_request *r, int32_t choice)
{
    fake_choice *c = &r->choice[choice];
    bool at_end = r->once && c->at >= r->script_len;
    int32_t id = at_end ? FAKE_EOS : (unsigned char)r->script[(c->at++) % r->script_len];
    fake_event ev = {.kind = TD_EVENT_TOKENS, .id = id, .id_count = 1, .stop_id = -1, .stop_index = -1};
    c->output++;
    r->output++;
    r->e->m.generation_tokens++;
    observe(c->output == 1 ? &r->e->m.ttft : &r->e->m.itl, seconds_since(c->output == 1 ? r->arrived_ns : r->last_ns));
    bool stop = is_stop_id(r, id) && c->output >= r->s.min_tokens;
    if (!stop && id < 256)
        td_buf_char(&c->held, (char)id);
    size_t at = 0;
    int32_t hit = find_stop(r, &c->held, &at);
    if (!stop && hit < 0 && c->output < r->s.max_tokens) {
        say(r, choice, &ev, c->held.len - hold_back(r, &c->held));
        return;
    }
    ev.kind = TD_EVENT_DONE;
    ev.finish = stop || hit >= 0 ? TD_FINISH_STOP : TD_FINISH_LENGTH;
    ev.stop_id = stop && id != FAKE_EOS ? id : -1;
    ev.stop_index = hit;
    if (hit >= 0)
        c->held.len = at + (r->s.include_stop_str ? strlen(r->stop[hit]) : 0);
    else
        c->held.len -= td_utf8_partial_tail(td_buf_cstr(&c->held), c->held.len);
    c->done = true;
    if (ev.finish == TD_FINISH_STOP)
        r->e->m.finished_stop++;
    else
        r->e->m.finished_length++;
    say(r, choice, &ev, c->held.len);
}

static void request_step(td_request *r)
{
    bool open = false;
    if (r->cancelled) {
        end_request(r, TD_E_CANCELED, "cancelled");
        return;
    }
    if (r->deadline_ns && td_now_ns() > r->deadline_ns) {
        end_request(r, TD_E_DEADLINE, "the request did not end before its deadline");
        return;
    }
    if (!r->running || !want_blocks(r, r->prompt_count + r->output + r->s.n))
        return;
    if (!r->prompt_told) {
        int32_t shown = r->s.prompt_logprobs >= 0 ? r->prompt_count - 1 : 0;
        push(r, &(fake_event){.kind = TD_EVENT_PROMPT, .id_count = shown, .stop_index = -1, .stop_id = -1});
        r->prompt_told = true;
    }
    for (int32_t i = 0; i < r->s.n; i++) {
        if (!r->choice[i].done)
            choice_token(r, i);
        open = open || !r->choice[i].done;
    }
    r->last_ns = td_now_ns();
    if (r->fail_after >= 0 && r->output >= r->fail_after)
        end_request(r, TD_E_INTERNAL, "the script says so");
    else if (!open)
        end_request(r, TD_OK, NULL);
}

static void tell(td_request *r)
{
    if (!r->news)
        return;
    r->news = false;
    pthread_cond_broadcast(&r->arrived);
    if (r->notify)
        r->notify(r->notify_ctx);
}

static void lose_device(td_engine *e)
{
    e->fault = "the script says so";
    for (int i = 0; i < 2; i++)
        for (td_request *r = i ? e->waiting : e->running, *next; r; r = next) {
            next = r->next;
            end_request(r, TD_E_FAULT, e->fault);
            tell(r);
        }
}

static void step(td_engine *e)
{
    while (e->waiting && e->m.running < e->info.max_num_seqs)
        start_request(e->waiting);
    for (td_request *r = e->running; r; r = r->next)
        if (r->lost) {
            lose_device(e);
            break;
        }
    for (td_request *r = e->running, *next; r; r = next) {
        next = r->next;
        request_step(r);
        tell(r);
    }
    for (td_request *r = e->waiting, *next; r; r = next) {
        next = r->next;
        request_step(r); // cancelled or too late
        tell(r);
    }
    e->m.steps++;
    observe(&e->m.step_tokens, (double)e->m.running);
    e->stepped_ns = td_now_ns();
}

static void *step_loop(void *arg)
{
    td_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->quit) {
        if (!e->running && !e->waiting) {
            pthread_cond_wait(&e->work, &e->lock);
            continue;
        }
        int64_t us = e->step_us + e->stall_ms * 1000;
        e->stuck = e->stall_ms > 0;
        e->stall_ms = 0;
        pthread_mutex_unlock(&e->lock);
        pause_us(us);
        pthread_mutex_lock(&e->lock);
        e->stuck = false;
        step(e);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ------------------------------------------------------------------ events out */

/* Made up, but finite, descending and repeatable. */
static void fill_logprobs(td_token_logprobs *lp, int32_t id, int32_t top)
{
    lp->token = (td_logprob){.id = id, .rank = 1, .logprob = -0.25f - (float)(id % 7) * 0.125f};
    lp->top_count = top;
    for (int32_t k = 0; k < top; k++)
        lp->top[k] = (td_logprob){.id = (id + k) % 256, .rank = k + 1, .logprob = lp->token.logprob - (float)k * 0.5f};
}

static void attach_logprobs(td_request *r, const fake_event *ev, td_event *out)
{
    bool prompt = ev->kind == TD_EVENT_PROMPT;
    if (!ev->id_count || (!prompt && !r->s.logprobs))
        return;
    if (ev->id_count > r->lp_cap) {
        free(r->lp);
        r->lp = fake_alloc((size_t)ev->id_count * sizeof *r->lp);
        r->lp_cap = ev->id_count;
    }
    for (int32_t i = 0; i < ev->id_count; i++)
        fill_logprobs(&r->lp[i], prompt ? r->prompt[i + 1] : ev->id, prompt ? r->s.prompt_logprobs : r->s.top_logprobs);
    out->logprobs = r->lp;
}

bool td_request_next(td_request *r, td_event *out)
{
    pthread_mutex_lock(&r->e->lock);
    bool any = r->queue_len > 0;
    if (any) {
        fake_event ev = r->queue[r->queue_head];
        r->queue_head = (r->queue_head + 1) % r->queue_cap;
        r->queue_len--;
        td_buf_clear(&r->current);
        if (!td_buf_add(&r->current, td_buf_cstr(&r->texts) + ev.text_at, ev.text_len))
            ev.text_len = 0;
        if (!r->queue_len)
            td_buf_clear(&r->texts);
        r->current_id = ev.id;
        *out = (td_event){
            .kind = ev.kind, .choice = ev.choice, .ids = ev.kind == TD_EVENT_PROMPT ? r->prompt + 1 : &r->current_id,
            .id_count = ev.id_count, .text = td_buf_cstr(&r->current), .text_len = ev.text_len, .finish = ev.finish,
            .stop_id = ev.stop_id, .stop_string = ev.stop_index >= 0 ? r->stop[ev.stop_index] : NULL,
            .prompt_count = ev.prompt_count, .cached_count = ev.cached_count, .output_count = ev.output_count,
            .rc = ev.rc, .message = ev.message,
        };
        attach_logprobs(r, &ev, out);
    }
    pthread_mutex_unlock(&r->e->lock);
    return any;
}

bool td_request_wait(td_request *r, int32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L)
        until.tv_sec++, until.tv_nsec -= 1000000000L;
    pthread_mutex_lock(&r->e->lock);
    int rc = 0;
    while (!r->queue_len && rc != ETIMEDOUT)
        rc = timeout_ms < 0 ? pthread_cond_wait(&r->arrived, &r->e->lock)
                            : pthread_cond_timedwait(&r->arrived, &r->e->lock, &until);
    bool any = r->queue_len > 0;
    pthread_mutex_unlock(&r->e->lock);
    return any;
}

void td_request_free(td_request *r)
{
    pthread_mutex_lock(&r->e->lock);
    r->notify = NULL;
    end_request(r, TD_E_CANCELED, "freed");
    pthread_mutex_unlock(&r->e->lock);
    for (int32_t i = 0; i < r->s.stop_count; i++)
        free(r->stop[i]);
    for (int32_t i = 0; i < TD_CHOICES_MAX; i++)
        td_buf_free(&r->choice[i].held);
    pthread_cond_destroy(&r->arrived);
    td_buf_free(&r->texts);
    td_buf_free(&r->current);
    free(r->stop);
    free(r->stop_ids);
    free(r->say);
    free(r->prompt);
    free(r->queue);
    free(r->lp);
    free(r);
}

td_rc td_logits(td_engine *e, const int32_t *ids, int32_t count, const int32_t *positions, int32_t position_count,
                float *out, td_err *err)
{
    (void)e, (void)ids, (void)count, (void)positions, (void)position_count, (void)out;
    return td_fail(err, TD_E_UNSUPPORTED, "the fake engine has no logits");
}
