/* Methods of strings that cut, search and join. Pieces share their parent's bytes. */
#include "base/check.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

static bool strip_with(jrun *r, jval self, const jcall *c, jval *out, bool left, bool right)
{
    jval set;
    if (!jcall_bind(r, c, "strip", "/chars", 0, &set))
        return false;
    bool given = set.kind != J_MISSING && set.kind != J_NONE;
    if (given && !jarg_str(r, "strip", set))
        return false;
    const char *s = self.s;
    size_t len = self.len;
    if (given && set.len > 16 && !jrun_bytes(r, TD_MIN((size_t)self.len * set.len, (size_t)UINT32_MAX * 64)))
        return false;
    jstr_strip(&s, &len, given ? set.s : NULL, given ? set.len : 0, left, right);
    *out = jval_str(s, len);
    return true;
}

bool jstrm_strip(jrun *r, jval self, const jcall *c, jval *out) { return strip_with(r, self, c, out, true, true); }
bool jstrm_lstrip(jrun *r, jval self, const jcall *c, jval *out) { return strip_with(r, self, c, out, true, false); }
bool jstrm_rstrip(jrun *r, jval self, const jcall *c, jval *out) { return strip_with(r, self, c, out, false, true); }

/* ---- pieces: a growing list ---- */

typedef struct pieces {
    jrun *r;
    jval *v; // [n]
    size_t n, cap;
} pieces;

static bool piece(pieces *p, const char *s, size_t len)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        jval *v = jrun_alloc(p->r, cap, sizeof *v);
        if (!v)
            return false;
        if (p->n)
            memcpy(v, p->v, p->n * sizeof *v);
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = jval_str(s, len);
    return (p->n & 3) || jrun_step(p->r, 1);
}

static bool pieces_list(pieces *p, bool reversed, jval *out)
{
    if (p->r->rc != TD_OK || !jval_list_of(p->r, p->v, p->n, out))
        return false;
    for (size_t i = 0; reversed && i < p->n; i++)
        out->seq->v[i] = p->v[p->n - 1 - i];
    return true;
}

static void split_space(pieces *p, const char *s, size_t len, int64_t limit)
{
    uint32_t cp;
    for (;;) {
        jstr_strip(&s, &len, NULL, 0, true, false);
        if (len == 0)
            return;
        size_t end = 0, n = 0;
        while (end < len && (n = jstr_next(s + end, len - end, &cp), !jstr_is_space(cp)))
            end += n;
        if (limit == 0) { // the rest keeps its inner space
            piece(p, s, jstr_rstrip(s, len) == 0 ? 0 : len);
            return;
        }
        if (!piece(p, s, end))
            return;
        s += end;
        len -= end;
        limit -= limit > 0;
    }
}

static void rsplit_space(pieces *p, const char *s, size_t len, int64_t limit)
{
    uint32_t cp;
    for (;;) {
        len = jstr_rstrip(s, len);
        if (len == 0)
            return;
        size_t from = len;
        while (from > 0) {
            size_t prev = jstr_prev(s, from);
            jstr_next(s + prev, from - prev, &cp);
            if (jstr_is_space(cp))
                break;
            from = prev;
        }
        if (limit == 0) {
            piece(p, s, len);
            return;
        }
        if (!piece(p, s + from, len - from))
            return;
        len = from;
        limit -= limit > 0;
    }
}

static void split_by(pieces *p, const char *s, size_t len, jval sep, int64_t limit)
{
    for (; limit != 0; limit -= limit > 0) {
        size_t at = jstr_find(s, len, sep.s, sep.len);
        if (at == SIZE_MAX || !piece(p, s, at))
            break;
        s += at + sep.len;
        len -= at + sep.len;
    }
    piece(p, s, len);
}

static void rsplit_by(pieces *p, const char *s, size_t len, jval sep, int64_t limit)
{
    for (; limit != 0; limit -= limit > 0) {
        size_t at = jstr_rfind(s, len, sep.s, sep.len);
        if (at == SIZE_MAX || !piece(p, s + at + sep.len, len - at - sep.len))
            break;
        len = at;
    }
    piece(p, s, len);
}

/* Looking backwards compares at every place, so a long needle costs more. */
static bool pay_backwards(jrun *r, jval s, jval needle)
{
    size_t work;
    return jrun_bytes(r, td_size_mul_ok(s.len, needle.len, &work) ? work : SIZE_MAX / 2);
}

bool jstr_split_list(jrun *r, jval s, jval sep, int64_t limit, bool from_right, jval *out)
{
    pieces p = {.r = r};
    if (sep.kind == J_MISSING || sep.kind == J_NONE) {
        (from_right ? rsplit_space : split_space)(&p, s.s, s.len, limit);
    } else {
        if (!jarg_str(r, "split", sep) || (from_right && !pay_backwards(r, s, sep)))
            return false;
        if (sep.len == 0)
            return jrun_fail(r, "split: empty separator");
        (from_right ? rsplit_by : split_by)(&p, s.s, s.len, sep, limit);
    }
    return pieces_list(&p, from_right, out);
}

static bool split_args(jrun *r, jval self, const jcall *c, jval *out, bool from_right)
{
    jval a[2];
    int64_t limit;
    return jcall_bind(r, c, "split", "sep maxsplit", 0, a) && jarg_int(r, "split", a[1], -1, &limit) &&
           jstr_split_list(r, self, a[0], limit, from_right, out);
}

bool jstrm_split(jrun *r, jval self, const jcall *c, jval *out) { return split_args(r, self, c, out, false); }
bool jstrm_rsplit(jrun *r, jval self, const jcall *c, jval *out) { return split_args(r, self, c, out, true); }

bool jstr_lines(jrun *r, jval s, bool keep_ends, jval *out)
{
    pieces p = {.r = r};
    uint32_t cp;
    for (size_t from = 0, i = 0; i < s.len || from < s.len;) {
        size_t end = i, n = 0;
        while (end < s.len && (n = jstr_next(s.s + end, s.len - end, &cp), !jstr_ends_line(cp)))
            end += n;
        size_t next = end < s.len ? end + n : end;
        next += end < s.len && s.s[end] == '\r' && next < s.len && s.s[next] == '\n';
        if (!piece(&p, s.s + from, (keep_ends ? next : end) - from))
            return false;
        from = i = next;
    }
    return pieces_list(&p, false, out);
}

bool jstrm_splitlines(jrun *r, jval self, const jcall *c, jval *out)
{
    jval keep;
    return jcall_bind(r, c, "splitlines", "keepends", 0, &keep) && jstr_lines(r, self, jval_true(r, keep), out);
}

static bool partition(jrun *r, jval self, const jcall *c, jval *out, bool right)
{
    jval sep;
    if (!jcall_bind(r, c, "partition", "/sep", 1, &sep) || !jarg_str(r, "partition", sep))
        return false;
    if (sep.len == 0)
        return jrun_fail(r, "partition: empty separator");
    if (right && !pay_backwards(r, self, sep))
        return false;
    size_t at = (right ? jstr_rfind : jstr_find)(self.s, self.len, sep.s, sep.len);
    jval part[3] = {self, jval_str("", 0), jval_str("", 0)};
    if (at != SIZE_MAX) {
        part[0] = jval_str(self.s, at);
        part[1] = sep;
        part[2] = jval_str(self.s + at + sep.len, self.len - at - sep.len);
    } else if (right) {
        part[0] = part[1];
        part[2] = self;
    }
    if (!jval_list_of(r, part, 3, out))
        return false;
    out->kind = J_TUPLE;
    return true;
}

bool jstrm_partition(jrun *r, jval self, const jcall *c, jval *out) { return partition(r, self, c, out, false); }
bool jstrm_rpartition(jrun *r, jval self, const jcall *c, jval *out) { return partition(r, self, c, out, true); }

/* ---- joining and replacing ---- */

bool jstr_join(jrun *r, jval sep, const jval *item, size_t n, jval *out)
{
    size_t mark = jrun_mark(r);
    for (size_t i = 0; i < n; i++) {
        if ((i && !jrun_put(r, sep.s, sep.len)) || !jrun_step(r, (i & 3) == 0) || !jval_put_str(r, item[i]))
            return false;
    }
    return jrun_cut(r, mark, out);
}

bool jstrm_join(jrun *r, jval self, const jcall *c, jval *out)
{
    jval over, *item;
    size_t n;
    if (!jcall_bind(r, c, "join", "/iterable", 1, &over) || !jval_items(r, over, &item, &n))
        return false;
    if (self.sub == JSTR_SAFE) { // takes anything and escapes it
        jval *safe = jrun_alloc(r, n, sizeof *safe);
        for (size_t i = 0; safe && i < n; i++)
            if (!jop_escape(r, item[i], &safe[i]))
                return false;
        item = safe;
    }
    for (size_t i = 0; item && i < n; i++)
        if (item[i].kind != J_STR)
            return jrun_fail(r, "join: item %zu is %s and not a string", i, jval_type_name(item[i]));
    return r->rc == TD_OK && jstr_join(r, self, item, n, out);
}

bool jstr_replace(jrun *r, jval s, jval from, jval to, int64_t limit, jval *out)
{
    size_t mark = jrun_mark(r), at = 0;
    uint32_t cp;
    if (from.len == 0) { // before every character and at the end
        while (limit != 0 && r->rc == TD_OK) {
            jrun_put(r, to.s, to.len);
            limit -= limit > 0;
            if (at == s.len || !jrun_step(r, (at & 15) == 0))
                break;
            size_t n = jstr_next(s.s + at, s.len - at, &cp);
            jrun_put(r, s.s + at, n);
            at += n;
        }
    }
    while (from.len && limit != 0 && r->rc == TD_OK) {
        size_t next = jstr_find(s.s + at, s.len - at, from.s, from.len);
        if (next == SIZE_MAX || !jrun_step(r, (at & 15) == 0))
            break;
        jrun_put(r, s.s + at, next);
        jrun_put(r, to.s, to.len);
        at += next + from.len;
        limit -= limit > 0;
    }
    return jrun_put(r, s.s + at, s.len - at) && jrun_cut(r, mark, out);
}

bool jstrm_replace(jrun *r, jval self, const jcall *c, jval *out)
{
    jval a[3];
    int64_t limit;
    return jcall_bind(r, c, "replace", "/old new count", 2, a) && jarg_str(r, "replace", a[0]) &&
           jarg_str(r, "replace", a[1]) && jarg_int(r, "replace", a[2], -1, &limit) &&
           jstr_replace(r, self, a[0], a[1], limit, out);
}

/* ---- searching, with optional bounds in code points ---- */

typedef struct window { // the part of self between the bounds
    jval what;
    size_t from, to;    // bytes
    int64_t first;      // code points before it
    bool inside;        // false: the start lies beyond the end
} window;

static int64_t clamp_index(int64_t i, int64_t n) { return i < 0 ? TD_MAX(i + n, 0) : i; }

static bool bounds(jrun *r, jval self, const jcall *c, const char *name, window *w)
{
    jval a[3];
    int64_t start = 0, stop = INT64_MAX, n;
    if (!jcall_bind(r, c, name, "/what start end", 1, a))
        return false;
    w->what = a[0];
    bool plain = a[1].kind == J_MISSING && a[2].kind == J_MISSING;
    *w = (window){.what = a[0], .to = self.len, .inside = true};
    if (plain)
        return true;
    a[1] = a[1].kind == J_NONE ? jval_kind(J_MISSING) : a[1];
    a[2] = a[2].kind == J_NONE ? jval_kind(J_MISSING) : a[2];
    if (!jarg_int(r, name, a[1], 0, &start) || !jarg_int(r, name, a[2], INT64_MAX, &stop) || !jval_length(r, self, &n))
        return false;
    start = clamp_index(start, n);
    stop = TD_MIN(clamp_index(stop, n), n);
    w->inside = start <= stop;
    if (!w->inside)
        return true;
    w->first = start;
    w->from = jstr_offset(self.s, self.len, (size_t)start);
    w->to = jstr_offset(self.s, self.len, (size_t)stop);
    return true;
}

static bool search(jrun *r, jval self, const jcall *c, const char *name, bool right, int64_t *out)
{
    window w;
    if (!bounds(r, self, c, name, &w) || !jarg_str(r, name, w.what) || (right && !pay_backwards(r, self, w.what)))
        return false;
    *out = -1;
    if (!w.inside)
        return true;
    size_t at = (right ? jstr_rfind : jstr_find)(self.s + w.from, w.to - w.from, w.what.s, w.what.len);
    if (at != SIZE_MAX)
        *out = w.first + (int64_t)jstr_count(self.s + w.from, at);
    return true;
}

static bool search_value(jrun *r, jval self, const jcall *c, const char *name, bool right, bool must, jval *out)
{
    int64_t at;
    if (!search(r, self, c, name, right, &at))
        return false;
    *out = jval_int(at);
    return at >= 0 || !must || jrun_fail(r, "%s: substring not found", name);
}

bool jstrm_find(jrun *r, jval s, const jcall *c, jval *out)
{
    return search_value(r, s, c, "find", false, false, out);
}

bool jstrm_rfind(jrun *r, jval s, const jcall *c, jval *out)
{
    return search_value(r, s, c, "rfind", true, false, out);
}

bool jstrm_index(jrun *r, jval s, const jcall *c, jval *out)
{
    return search_value(r, s, c, "index", false, true, out);
}

bool jstrm_rindex(jrun *r, jval s, const jcall *c, jval *out)
{
    return search_value(r, s, c, "rindex", true, true, out);
}

bool jstrm_count(jrun *r, jval self, const jcall *c, jval *out)
{
    window w;
    int64_t n = 0;
    if (!bounds(r, self, c, "count", &w) || !jarg_str(r, "count", w.what))
        return false;
    const char *s = self.s + w.from;
    size_t len = w.to - w.from, at;
    if (w.inside && w.what.len == 0)
        n = (int64_t)jstr_count(s, len) + 1;
    while (w.inside && w.what.len && (at = jstr_find(s, len, w.what.s, w.what.len)) != SIZE_MAX) {
        if ((n++ & 15) == 0 && !jrun_step(r, 1))
            return false;
        s += at + w.what.len;
        len -= at + w.what.len;
    }
    *out = jval_int(n);
    return true;
}

static bool affix_at(const char *s, size_t len, jval what, bool end)
{
    return what.len <= len && !memcmp(end ? s + len - what.len : s, what.s, what.len);
}

static bool affix(jrun *r, jval self, const jcall *c, const char *name, bool end, jval *out)
{
    window w;
    bool yes = false;
    if (!bounds(r, self, c, name, &w))
        return false;
    if (w.what.kind == J_TUPLE) {
        for (size_t i = 0; i < w.what.seq->n && !yes; i++) {
            if (!jrun_step(r, 1) || !jarg_str(r, name, w.what.seq->v[i]))
                return false;
            yes = w.inside && affix_at(self.s + w.from, w.to - w.from, w.what.seq->v[i], end);
        }
    } else {
        if (!jarg_str(r, name, w.what))
            return false;
        yes = w.inside && affix_at(self.s + w.from, w.to - w.from, w.what, end);
    }
    *out = jval_bool(yes);
    return true;
}

bool jstrm_startswith(jrun *r, jval s, const jcall *c, jval *out) { return affix(r, s, c, "startswith", false, out); }
bool jstrm_endswith(jrun *r, jval s, const jcall *c, jval *out) { return affix(r, s, c, "endswith", true, out); }

static bool remove_affix(jrun *r, jval self, const jcall *c, const char *name, bool end, jval *out)
{
    jval what;
    if (!jcall_bind(r, c, name, "/affix", 1, &what) || !jarg_str(r, name, what))
        return false;
    size_t cut = affix_at(self.s, self.len, what, end) ? what.len : 0;
    *out = jval_str(end ? self.s : self.s + cut, self.len - cut);
    return true;
}

bool jstrm_removeprefix(jrun *r, jval self, const jcall *c, jval *out)
{
    return remove_affix(r, self, c, "removeprefix", false, out);
}

bool jstrm_removesuffix(jrun *r, jval self, const jcall *c, jval *out)
{
    return remove_affix(r, self, c, "removesuffix", true, out);
}
