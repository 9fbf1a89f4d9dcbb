/* Teacher forcing: a request that is scored instead of continued. */
#include "engine/engine.h"

#include "base/check.h"

static td_rc check_positions(const int32_t *p, int32_t n, int32_t count, td_err *err)
{
    for (int32_t i = 0; i < n; i++)
        if (p[i] < 0 || p[i] >= count || (i && p[i] <= p[i - 1]))
            return td_fail_param(err, TD_E_INPUT, "positions",
                                 "position %d: positions ascend and are below the %d tokens", p[i], count);
    return n > 0 ? TD_OK : td_fail_param(err, TD_E_INPUT, "positions", "no positions given");
}

td_rc td_logits(td_engine *e, const int32_t *ids, int32_t count, const int32_t *positions, int32_t position_count,
                float *out, td_err *err)
{
    td_request_opts o = {.prompt = ids,
                         .prompt_count = count,
                         .sampling = td_sampling_default(),
                         .no_cache_read = true};
    o.sampling.max_tokens = 1;
    td_rc rc = check_positions(positions, position_count, count, err);
    td_request *r;
    if (rc == TD_OK)
        rc = request_new(e, &o, &r, err);
    if (rc != TD_OK)
        return rc;
    r->positions = positions; // this call outlives the request's use of them
    r->position_count = position_count;
    r->score_out = out;
    rc = engine_submit(e, r, err);
    td_event ev = {.kind = TD_EVENT_PROMPT};
    while (rc == TD_OK && ev.kind != TD_EVENT_END) {
        td_request_wait(r, -1);
        if (td_request_next(r, &ev) && ev.kind == TD_EVENT_END && ev.rc != TD_OK)
            rc = td_fail(err, ev.rc, "%s", ev.message);
        td_assert(rc != TD_OK || ev.kind == TD_EVENT_END || ev.kind == TD_EVENT_DONE || ev.kind == TD_EVENT_PROMPT);
    }
    td_request_free(r);
    return rc;
}
