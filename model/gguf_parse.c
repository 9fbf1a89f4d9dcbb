/* The header of a GGUF file: counts, key-value pairs, tensor records, then padding to where tensor data begins.
 *
 * The header's length is not written anywhere, so its bytes are read into one growing buffer, ahead of the cursor and
 * never beyond the file or TD_MODEL_HEADER_BYTES_MAX. Whatever is kept is copied to the arena; a string array becomes
 * two blocks (texts and views) however many strings it has. */
#include "model/gguf_parse.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/utf8.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors and values are used as they are in the file");

enum { READ_AHEAD = 256 << 10, ALIGN_DEFAULT = 32, KV_BYTES_MIN = 8 + 1 + 4 + 1, TENSOR_BYTES_MIN = 8 + 1 + 4 + 4 + 8 };

typedef struct cursor {
    const td_file *f;
    td_arena *arena;
    uint8_t *buf;          // file bytes [0, have)
    size_t have, cap, pos;
    uint64_t string_bytes; // of all strings so far
    td_err *err;
} cursor;

static td_rc no_memory(td_err *err) { return td_fail(err, TD_E_NOMEM, "not enough memory for the metadata"); }

/* Makes the next n bytes available at buf + pos. */
static td_rc need(cursor *c, uint64_t n, const char *what)
{
    if (n > c->f->bytes - c->pos)
        return td_fail(c->err, TD_E_MODEL, "the file ends inside %s at byte %zu; it is truncated or damaged", what,
                       c->pos);
    if (n > TD_MODEL_HEADER_BYTES_MAX - c->pos)
        return td_fail(c->err, TD_E_MODEL, "%s at byte %zu makes the metadata larger than %u bytes", what, c->pos,
                       TD_MODEL_HEADER_BYTES_MAX);
    size_t end = c->pos + (size_t)n;
    if (end <= c->have)
        return TD_OK;
    uint64_t ahead = TD_MIN(TD_MAX((uint64_t)end, TD_MAX((uint64_t)READ_AHEAD, (uint64_t)c->have * 2)), c->f->bytes);
    if (ahead > c->cap) {
        uint8_t *grown = td_realloc(c->buf, (size_t)ahead);
        if (!grown)
            return no_memory(c->err);
        c->buf = grown;
        c->cap = (size_t)ahead;
    }
    td_rc rc = td_file_pread(c->f, c->have, c->buf + c->have, (size_t)ahead - c->have, c->err);
    if (rc == TD_OK)
        c->have = (size_t)ahead;
    return rc;
}

static td_rc take_u32(cursor *c, const char *what, uint32_t *out)
{
    td_rc rc = need(c, sizeof *out, what);
    if (rc != TD_OK)
        return rc;
    memcpy(out, c->buf + c->pos, sizeof *out);
    c->pos += sizeof *out;
    return TD_OK;
}

static td_rc take_u64(cursor *c, const char *what, uint64_t *out)
{
    td_rc rc = need(c, sizeof *out, what);
    if (rc != TD_OK)
        return rc;
    memcpy(out, c->buf + c->pos, sizeof *out);
    c->pos += sizeof *out;
    return TD_OK;
}

/* Skips a string's length and text, leaving *at and *len; the text lies in the buffer until the next need(). */
static td_rc skip_str(cursor *c, const char *what, size_t *at, size_t *len)
{
    uint64_t n;
    td_rc rc = take_u64(c, what, &n);
    if (rc != TD_OK)
        return rc;
    rc = need(c, n, what);
    if (rc != TD_OK)
        return rc;
    c->string_bytes += n; // cannot wrap: at most the file's size
    if (c->string_bytes > TD_MODEL_STRINGS_BYTES_MAX)
        return td_fail(c->err, TD_E_MODEL, "the metadata has more than %u bytes of text", TD_MODEL_STRINGS_BYTES_MAX);
    *at = c->pos;
    *len = (size_t)n;
    c->pos += (size_t)n;
    return TD_OK;
}

/* A string of its own: UTF-8 without NUL. */
static td_rc take_str(cursor *c, const char *what, gguf_str *out)
{
    size_t at = 0, len = 0;
    td_rc rc = skip_str(c, what, &at, &len);
    if (rc != TD_OK)
        return rc;
    const char *s = (const char *)c->buf + at;
    if (memchr(s, 0, len) || !td_utf8_valid(s, len))
        return td_fail(c->err, TD_E_MODEL, "%s at byte %zu is not UTF-8 text", what, at);
    char *copy = td_arena_strndup(c->arena, s, len);
    if (!copy)
        return no_memory(c->err);
    *out = (gguf_str){copy, (uint32_t)len};
    return TD_OK;
}

/* A key or tensor name: neither empty nor longer than TD_MODEL_NAME_MAX. */
static td_rc take_name(cursor *c, const char *what, gguf_str *out)
{
    size_t at = c->pos;
    td_rc rc = take_str(c, what, out);
    if (rc != TD_OK)
        return rc;
    if (out->len == 0 || out->len > TD_MODEL_NAME_MAX)
        return td_fail(c->err, TD_E_MODEL, "%s at byte %zu has %u bytes; 1 to %d are accepted", what, at, out->len,
                       TD_MODEL_NAME_MAX);
    return TD_OK;
}

static td_rc take_str_array(cursor *c, gguf_kv *kv)
{
    size_t start = c->pos, total = 0, at = 0, len = 0;
    for (size_t i = 0; i < kv->count; i++) {
        td_rc rc = skip_str(c, kv->key, &at, &len);
        if (rc != TD_OK)
            return rc;
        total += len + 1;
    }
    char *text = td_arena_alloc(c->arena, total);
    gguf_str *strs = td_arena_calloc(c->arena, kv->count, sizeof *strs);
    if (!text || !strs)
        return no_memory(c->err);
    const uint8_t *p = c->buf + start;
    for (size_t i = 0; i < kv->count; i++) {
        uint64_t n;
        memcpy(&n, p, sizeof n);
        p += sizeof n;
        memcpy(text, p, (size_t)n);
        strs[i] = (gguf_str){text, (uint32_t)n};
        p += n;
        text += n + 1;
    }
    kv->v.strs = strs;
    return TD_OK;
}

static td_rc take_array(cursor *c, gguf_kv *kv)
{
    uint32_t elem;
    uint64_t count;
    td_rc rc = take_u32(c, kv->key, &elem);
    if (rc == TD_OK)
        rc = take_u64(c, kv->key, &count);
    if (rc != TD_OK)
        return rc;
    if (elem >= GGUF_TYPES || elem == GGUF_ARR)
        return td_fail(c->err, TD_E_MODEL, "key %s is an array of type %u, which is %s", kv->key, elem,
                       elem == GGUF_ARR ? "an array again: not supported" : "unknown");
    if (count > TD_MODEL_ARRAY_MAX)
        return td_fail(c->err, TD_E_MODEL, "key %s is an array of %llu elements; at most %d are accepted", kv->key,
                       (unsigned long long)count, TD_MODEL_ARRAY_MAX);
    kv->elem = (gguf_type)elem;
    kv->count = (size_t)count;
    if (elem == GGUF_STR) {
        rc = need(c, count * sizeof(uint64_t), kv->key); // before memory is asked for
        return rc == TD_OK ? take_str_array(c, kv) : rc;
    }
    size_t bytes = kv->count * gguf_value_bytes(kv->elem);
    rc = need(c, bytes, kv->key);
    if (rc != TD_OK)
        return rc;
    uint8_t *raw = td_arena_alloc(c->arena, bytes);
    if (!raw)
        return no_memory(c->err);
    memcpy(raw, c->buf + c->pos, bytes);
    c->pos += bytes;
    kv->v.raw = raw;
    return TD_OK;
}

static td_rc take_kv(cursor *c, gguf_kv *kv)
{
    gguf_str key;
    uint32_t type;
    td_rc rc = take_name(c, "a key", &key);
    if (rc == TD_OK)
        rc = take_u32(c, "a key's type", &type);
    if (rc != TD_OK)
        return rc;
    kv->key = key.s;
    if (type >= GGUF_TYPES)
        return td_fail(c->err, TD_E_MODEL, "key %s has the unknown type %u", key.s, type);
    kv->type = (gguf_type)type;
    if (type == GGUF_STR)
        return take_str(c, key.s, &kv->v.str);
    if (type == GGUF_ARR)
        return take_array(c, kv);
    size_t bytes = gguf_value_bytes(kv->type);
    rc = need(c, bytes, key.s);
    if (rc != TD_OK)
        return rc;
    kv->v.bits = gguf_value_load(kv->type, c->buf + c->pos);
    c->pos += bytes;
    return TD_OK;
}

static td_rc take_kvs(cursor *c, gguf_head *h)
{
    h->kv = td_arena_calloc(c->arena, h->kv_count, sizeof *h->kv);
    if (!h->kv || !td_map_init(&h->by_key, h->kv_count))
        return no_memory(c->err);
    for (size_t i = 0; i < h->kv_count; i++) {
        td_rc rc = take_kv(c, &h->kv[i]);
        if (rc != TD_OK)
            return rc;
        bool oom = false;
        const char *key = h->kv[i].key;
        if (!td_map_put(&h->by_key, key, strlen(key), (uint32_t)i, &oom))
            return oom ? no_memory(c->err) : td_fail(c->err, TD_E_MODEL, "key %s appears twice", key);
    }
    return TD_OK;
}

/* Shape and type to bytes. An unknown type has 0: the tensor can be listed but not read. */
static td_rc tensor_size(cursor *c, gguf_tensor *t)
{
    uint64_t rows = 1, elems, row_bytes;
    bool ok = true;
    for (uint32_t d = 0; d < t->dim_count; d++) {
        if (t->dims[d] == 0 || t->dims[d] > INT64_MAX)
            return td_fail(c->err, TD_E_MODEL, "tensor %s has %lld as dimension %u", t->name, (long long)t->dims[d], d);
        if (d)
            ok = ok && td_mul_ok(rows, t->dims[d], &rows);
    }
    ok = ok && td_mul_ok(rows, t->dims[0], &elems) && elems <= INT64_MAX;
    uint32_t block_elems, block_bytes;
    if (ok && gguf_type_block(t->ggml_type, &block_elems, &block_bytes)) {
        if (t->dims[0] % block_elems)
            return td_fail(c->err, TD_E_MODEL, "tensor %s has rows of %llu values, not a multiple of the %u of type %s",
                           t->name, (unsigned long long)t->dims[0], block_elems, gguf_type_name(t->ggml_type));
        ok = td_mul_ok(t->dims[0] / block_elems, block_bytes, &row_bytes) && td_mul_ok(rows, row_bytes, &t->bytes) &&
             t->bytes <= INT64_MAX;
    }
    return ok ? TD_OK : td_fail(c->err, TD_E_MODEL, "tensor %s is too large: its size overflows", t->name);
}

static td_rc take_tensor(cursor *c, gguf_tensor *t)
{
    gguf_str name;
    td_rc rc = take_name(c, "a tensor's name", &name);
    if (rc != TD_OK)
        return rc;
    t->name = name.s;
    rc = take_u32(c, t->name, &t->dim_count);
    if (rc != TD_OK)
        return rc;
    if (t->dim_count > TD_MODEL_DIMS_MAX)
        return td_fail(c->err, TD_E_MODEL, "tensor %s has %u dimensions; at most %d are accepted", t->name,
                       t->dim_count, TD_MODEL_DIMS_MAX);
    for (uint32_t d = 0; d < TD_COUNT(t->dims); d++)
        t->dims[d] = 1;
    for (uint32_t d = 0; d < t->dim_count && rc == TD_OK; d++)
        rc = take_u64(c, t->name, &t->dims[d]);
    if (rc == TD_OK)
        rc = take_u32(c, t->name, &t->ggml_type);
    if (rc == TD_OK)
        rc = take_u64(c, t->name, &t->offset);
    return rc == TD_OK ? tensor_size(c, t) : rc;
}

static td_rc alignment_of(const gguf_head *h, uint64_t *align, td_err *err)
{
    const gguf_kv *kv = gguf_head_find(h, "general.alignment");
    *align = ALIGN_DEFAULT;
    if (!kv)
        return TD_OK;
    if (kv->type != GGUF_U32)
        return td_fail(err, TD_E_MODEL, "general.alignment has value type %d, not uint32", (int)kv->type);
    *align = kv->v.bits;
    if (*align == 0 || *align > TD_MODEL_ALIGN_MAX || (*align & (*align - 1)))
        return td_fail(err, TD_E_MODEL, "general.alignment is %llu; a power of two up to %u is needed",
                       (unsigned long long)*align, TD_MODEL_ALIGN_MAX);
    return TD_OK;
}

/* Tensors lie in the order of their records, each at the next aligned place. Offsets become absolute. */
static td_rc place_tensors(const cursor *c, const gguf_head *h, uint64_t align)
{
    uint64_t data = (c->pos + align - 1) & ~(align - 1), next = 0;
    bool exact = true; // false after a tensor whose size we do not know
    for (size_t i = 0; i < h->tensor_count; i++) {
        gguf_tensor *t = &h->tensors[i];
        if (exact ? t->offset != next : t->offset < next || t->offset % align)
            return td_fail(c->err, TD_E_MODEL, "tensor %s lies at offset %llu, expected %llu", t->name,
                           (unsigned long long)t->offset, (unsigned long long)next);
        if (data > c->f->bytes || t->offset > c->f->bytes - data || t->bytes > c->f->bytes - data - t->offset)
            return td_fail(c->err, TD_E_MODEL,
                           "the file ends inside tensor %s: %llu bytes at %llu, but the file has %llu; it is truncated",
                           t->name, (unsigned long long)t->bytes, (unsigned long long)(data + t->offset),
                           (unsigned long long)c->f->bytes);
        exact = t->bytes != 0;
        next = (t->offset + t->bytes + align - 1) & ~(align - 1);
        t->offset += data;
    }
    return TD_OK;
}

static td_rc take_version(cursor *c, gguf_head *h)
{
    td_rc rc = need(c, 4, "the magic");
    if (rc != TD_OK)
        return rc;
    if (memcmp(c->buf, "GGUF", 4) != 0)
        return td_fail(c->err, TD_E_MODEL, "not a GGUF file: it does not begin with \"GGUF\"");
    c->pos = 4;
    rc = take_u32(c, "the version", &h->version);
    if (rc != TD_OK)
        return rc;
    if (h->version && (h->version & 0xffff) == 0)
        return td_fail(c->err, TD_E_UNSUPPORTED, "a big-endian GGUF file; convert it to little endian");
    if (h->version != 2 && h->version != 3)
        return td_fail(c->err, TD_E_UNSUPPORTED, "GGUF version %u; versions 2 and 3 are supported%s", h->version,
                       h->version == 1 ? ": convert the model again" : "");
    return TD_OK;
}

static td_rc take_counts(cursor *c, gguf_head *h)
{
    uint64_t tensors, kvs;
    td_rc rc = take_u64(c, "the tensor count", &tensors);
    if (rc == TD_OK)
        rc = take_u64(c, "the key count", &kvs);
    if (rc != TD_OK)
        return rc;
    // No more records than the rest of the file could hold, so that a lie costs no memory.
    uint64_t rest = c->f->bytes - c->pos;
    if (tensors > TD_MODEL_TENSORS_MAX || tensors > rest / TENSOR_BYTES_MIN)
        return td_fail(c->err, TD_E_MODEL, "the file claims %lld tensors, more than it can hold", (long long)tensors);
    if (kvs > TD_MODEL_KV_MAX || kvs > rest / KV_BYTES_MIN)
        return td_fail(c->err, TD_E_MODEL, "the file claims %lld metadata keys, more than it can hold", (long long)kvs);
    h->tensor_count = (size_t)tensors;
    h->kv_count = (size_t)kvs;
    return TD_OK;
}

static td_rc parse(cursor *c, gguf_head *h)
{
    uint64_t align;
    td_rc rc = take_version(c, h);
    if (rc == TD_OK)
        rc = take_counts(c, h);
    if (rc == TD_OK)
        rc = take_kvs(c, h);
    if (rc == TD_OK)
        rc = alignment_of(h, &align, c->err);
    if (rc != TD_OK)
        return rc;
    h->tensors = td_arena_calloc(c->arena, h->tensor_count, sizeof *h->tensors);
    if (!h->tensors)
        return no_memory(c->err);
    for (size_t i = 0; i < h->tensor_count && rc == TD_OK; i++)
        rc = take_tensor(c, &h->tensors[i]);
    return rc == TD_OK ? place_tensors(c, h, align) : rc;
}

td_rc gguf_head_parse(const td_file *f, td_arena *arena, gguf_head *h, td_err *err)
{
    *h = (gguf_head){0};
    cursor c = {.f = f, .arena = arena, .err = err};
    td_rc rc = parse(&c, h);
    td_free(c.buf);
    if (rc != TD_OK)
        gguf_head_free(h);
    return rc;
}

void gguf_head_free(gguf_head *h) { td_map_free(&h->by_key); }

const gguf_kv *gguf_head_find(const gguf_head *h, const char *key)
{
    uint32_t i;
    return td_map_get(&h->by_key, key, strlen(key), &i) ? &h->kv[i] : NULL;
}
