/* A GGUF model: one file or the parts of a split one, seen as one directory of tensors and one set of keys (those of
 * the first part). The parts stay open; reads are positioned, so any number of threads may read at once. */
#include "model/gguf.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/limits.h"
#include "model/gguf_parse.h"

#include <stdio.h>
#include <string.h>

typedef struct part {
    const char *path;
    td_file file;
} part;

struct gguf {
    td_arena arena;       // everything but the maps and `tensors`
    gguf_head head;       // of part 0; its tensors moved to the array below
    part *parts;          // [part_count], all open
    uint32_t part_count;
    gguf_tensor *tensors; // [tensor_count], of all parts
    size_t tensor_count;
    td_map by_name;       // tensor name -> index
};

static td_rc no_memory(td_err *err) { return td_fail(err, TD_E_NOMEM, "not enough memory for the metadata"); }

/* Adds a part's tensors to the directory. */
static td_rc add_tensors(gguf *g, const gguf_head *h, uint32_t part_index, td_err *err)
{
    size_t count = g->tensor_count + h->tensor_count;
    if (count > TD_MODEL_TENSORS_MAX)
        return td_fail(err, TD_E_MODEL, "more than %d tensors", TD_MODEL_TENSORS_MAX);
    gguf_tensor *grown = td_realloc(g->tensors, count * sizeof *grown);
    if (!grown)
        return no_memory(err);
    g->tensors = grown;
    for (size_t i = 0; i < h->tensor_count; i++) {
        gguf_tensor *t = &g->tensors[g->tensor_count];
        *t = h->tensors[i];
        t->part = part_index;
        bool oom = false;
        if (!td_map_put(&g->by_name, t->name, strlen(t->name), (uint32_t)g->tensor_count, &oom))
            return oom ? no_memory(err) : td_fail(err, TD_E_MODEL, "tensor %s appears twice", t->name);
        g->tensor_count++;
    }
    return TD_OK;
}

/* Opens, parses and adds one file. *h is the caller's to free on success. */
static td_rc open_part(gguf *g, uint32_t index, const char *path, gguf_head *h, td_err *err)
{
    part *p = &g->parts[index];
    td_rc rc = td_file_open(path, &p->file, err);
    if (rc != TD_OK)
        return rc;
    g->part_count = index + 1; // from here on gguf_close() closes it
    p->path = td_arena_strndup(&g->arena, path, strlen(path));
    rc = p->path ? gguf_head_parse(&p->file, &g->arena, h, err) : no_memory(err);
    if (rc == TD_OK) {
        rc = add_tensors(g, h, index, err);
        if (rc != TD_OK)
            gguf_head_free(h);
    }
    if (rc != TD_OK)
        td_err_prefix(err, "%s", path);
    return rc;
}

static int64_t kv_int(const gguf_kv *kv, int64_t dflt)
{
    if (!kv || kv->type == GGUF_F32 || kv->type == GGUF_F64 || kv->type == GGUF_STR || kv->type == GGUF_ARR ||
        (kv->type == GGUF_U64 && kv->v.bits > INT64_MAX))
        return dflt;
    return (int64_t)kv->v.bits;
}

static int64_t head_int(const gguf_head *h, const char *key, int64_t dflt)
{
    return kv_int(gguf_head_find(h, key), dflt);
}

/* Parts are named PREFIX-00001-of-00003.gguf. */
enum { SUFFIX_LEN = 20 };

static void part_suffix(char out[static 32], uint32_t index, uint32_t count)
{
    snprintf(out, 32, "-%05u-of-%05u.gguf", index + 1, count);
}

/* One of the parts after the first: its own numbers must agree with its name. */
static td_rc open_sister(gguf *g, const char *path, uint32_t index, uint32_t count, td_err *err)
{
    gguf_head h;
    td_rc rc = open_part(g, index, path, &h, err);
    if (rc != TD_OK)
        return rc;
    int64_t no = head_int(&h, "split.no", -1), of = head_int(&h, "split.count", -1);
    gguf_head_free(&h);
    if (no != index || of != count)
        return td_fail(err, TD_E_MODEL,
                       "%s says that it is part %lld of %lld (split.no, split.count), expected %u of %u", path,
                       (long long)no + 1, (long long)of, index + 1, count);
    return TD_OK;
}

static td_rc open_sisters(gguf *g, const char *path, uint32_t count, td_err *err)
{
    int64_t no = head_int(&g->head, "split.no", -1), tensors = head_int(&g->head, "split.tensors.count", -1);
    size_t len = strlen(path);
    char suffix[32];
    part_suffix(suffix, 0, count);
    if (no != 0)
        return td_fail(err, TD_E_MODEL, "%s is part %lld of a split model; open its first part (…%s)", path,
                       (long long)no + 1, suffix);
    if (len < SUFFIX_LEN || strcmp(path + len - SUFFIX_LEN, suffix) != 0)
        return td_fail(err, TD_E_MODEL, "%s is the first of %u parts, so its name must end in %s", path, count, suffix);
    char *sister = td_arena_strndup(&g->arena, path, len);
    part *parts = td_arena_calloc(&g->arena, count, sizeof *parts);
    if (!sister || !parts)
        return no_memory(err);
    parts[0] = g->parts[0];
    g->parts = parts;
    for (uint32_t i = 1; i < count; i++) {
        part_suffix(suffix, i, count);
        memcpy(sister + len - SUFFIX_LEN, suffix, SUFFIX_LEN);
        td_rc rc = open_sister(g, sister, i, count, err);
        if (rc != TD_OK)
            return rc;
    }
    if (tensors < 0 || (size_t)tensors != g->tensor_count)
        return td_fail(err, TD_E_MODEL, "%s: the %u parts have %zu tensors, but split.tensors.count is %lld", path,
                       count, g->tensor_count, (long long)tensors);
    return TD_OK;
}

static td_rc open_all(gguf *g, const char *path, td_err *err)
{
    g->parts = td_arena_calloc(&g->arena, 1, sizeof *g->parts);
    if (!g->parts || !td_map_init(&g->by_name, 0))
        return no_memory(err);
    td_rc rc = open_part(g, 0, path, &g->head, err);
    if (rc != TD_OK)
        return rc;
    const gguf_kv *split = gguf_head_find(&g->head, "split.count");
    int64_t count = kv_int(split, 0);
    if (split && (count < 1 || count > TD_MODEL_SHARDS_MAX))
        return td_fail(err, TD_E_MODEL, "%s: split.count is %lld; 1 to %d are accepted", path, (long long)count,
                       TD_MODEL_SHARDS_MAX);
    return count > 1 ? open_sisters(g, path, (uint32_t)count, err) : TD_OK;
}

td_rc gguf_open(const char *path, gguf **out, td_err *err)
{
    gguf *g = td_alloc(sizeof *g);
    if (!g)
        return no_memory(err);
    td_arena_init(&g->arena, 0);
    td_rc rc = open_all(g, path, err);
    if (rc != TD_OK) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return TD_OK;
}

void gguf_close(gguf *g)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->part_count; i++)
        td_file_close(&g->parts[i].file);
    gguf_head_free(&g->head);
    td_map_free(&g->by_name);
    td_free(g->tensors);
    td_arena_free(&g->arena);
    td_free(g);
}

uint32_t gguf_version(const gguf *g) { return g->head.version; }
uint32_t gguf_part_count(const gguf *g) { return g->part_count; }

const char *gguf_part_path(const gguf *g, uint32_t index)
{
    td_assert(index < g->part_count);
    return g->parts[index].path;
}

uint64_t gguf_file_bytes(const gguf *g)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->part_count; i++)
        sum += g->parts[i].file.bytes;
    return sum;
}

size_t gguf_tensor_count(const gguf *g) { return g->tensor_count; }

const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i)
{
    td_assert(i < g->tensor_count);
    return &g->tensors[i];
}

const gguf_tensor *gguf_tensor_find(const gguf *g, const char *name)
{
    uint32_t i;
    return td_map_get(&g->by_name, name, strlen(name), &i) ? &g->tensors[i] : NULL;
}

td_rc gguf_read(const gguf *g, const gguf_tensor *t, uint64_t offset, void *out, size_t len, td_err *err)
{
    td_assert(t->part < g->part_count && offset <= t->bytes && len <= t->bytes - offset);
    td_rc rc = td_file_pread(&g->parts[t->part].file, t->offset + offset, out, len, err);
    if (rc != TD_OK)
        td_err_prefix(err, "%s: tensor %s", g->parts[t->part].path, t->name);
    return rc;
}

td_rc gguf_map(const gguf *g, uint32_t index, td_mapping *out, td_err *err)
{
    td_assert(index < g->part_count);
    td_rc rc = td_file_map(&g->parts[index].file, out, err);
    if (rc != TD_OK)
        td_err_prefix(err, "%s", g->parts[index].path);
    return rc;
}

size_t gguf_key_count(const gguf *g) { return g->head.kv_count; }

const char *gguf_key_at(const gguf *g, size_t i, gguf_type *type)
{
    td_assert(i < g->head.kv_count);
    if (type)
        *type = g->head.kv[i].type;
    return g->head.kv[i].key;
}

bool gguf_has(const gguf *g, const char *key) { return gguf_head_find(&g->head, key) != NULL; }

const char *gguf_get_str(const gguf *g, const char *key)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    return kv && kv->type == GGUF_STR ? kv->v.str.s : NULL;
}

int64_t gguf_get_int(const gguf *g, const char *key, int64_t dflt) { return head_int(&g->head, key, dflt); }

/* A number of any type from its bits as in gguf_kv. */
static double bits_num(gguf_type type, uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    if (type == GGUF_F32 || type == GGUF_F64)
        return d;
    return type == GGUF_U64 ? (double)bits : (double)(int64_t)bits;
}

double gguf_get_num(const gguf *g, const char *key, double dflt)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    if (!kv || kv->type == GGUF_STR || kv->type == GGUF_ARR || kv->type == GGUF_BOOL)
        return dflt;
    return bits_num(kv->type, kv->v.bits);
}

bool gguf_get_bool(const gguf *g, const char *key, bool dflt)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    return kv && kv->type == GGUF_BOOL ? kv->v.bits != 0 : dflt;
}

bool gguf_arr_type(const gguf *g, const char *key, gguf_type *type, size_t *count)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    if (!kv || kv->type != GGUF_ARR)
        return false;
    *type = kv->elem;
    *count = kv->count;
    return true;
}

size_t gguf_arr_count(const gguf *g, const char *key, gguf_type type)
{
    gguf_type have;
    size_t count;
    return gguf_arr_type(g, key, &have, &count) && have == type ? count : 0;
}

gguf_str gguf_arr_str(const gguf *g, const char *key, size_t i)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    if (!kv || kv->type != GGUF_ARR || kv->elem != GGUF_STR || i >= kv->count)
        return (gguf_str){"", 0};
    return kv->v.strs[i];
}

double gguf_arr_num(const gguf *g, const char *key, size_t i)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    if (!kv || kv->type != GGUF_ARR || kv->elem == GGUF_STR || i >= kv->count)
        return 0;
    return bits_num(kv->elem, gguf_value_load(kv->elem, kv->v.raw + i * gguf_value_bytes(kv->elem)));
}

const void *gguf_arr_data(const gguf *g, const char *key, gguf_type type)
{
    const gguf_kv *kv = gguf_head_find(&g->head, key);
    return kv && kv->type == GGUF_ARR && kv->elem == type && type != GGUF_STR ? kv->v.raw : NULL;
}
