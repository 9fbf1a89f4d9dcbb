/* A safetensors model: the files, and where each tensor lies. With shards the index is what counts: a tensor belongs to
 * the shard that the index names, must be there, and must not be in another one. */
#include "model/safetensors.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/map.h"
#include "model/json_model.h"
#include "model/safetensors_parse.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES_MAX = 4096 };

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

typedef struct part {
    const char *path;
    td_file file;
} part;

struct safetensors {
    td_arena arena;     // everything but the map, `parts` and `tensors`
    part *parts;        // [part_count], all open
    uint32_t part_count;
    st_tensor *tensors; // [tensor_count]
    size_t tensor_count;
    td_map by_name;     // tensor name -> index
};

static td_rc no_memory(td_err *err) { return td_fail(err, TD_E_NOMEM, "not enough memory for the tensor list"); }

/* Opens one file and leaves its tensors in the arena. */
static td_rc open_part(safetensors *s, const char *path, st_tensor **tensors, size_t *count, td_err *err)
{
    part *grown = td_realloc(s->parts, (s->part_count + 1) * sizeof *grown);
    if (!grown)
        return no_memory(err);
    s->parts = grown;
    part *p = &s->parts[s->part_count];
    p->path = td_arena_strndup(&s->arena, path, strlen(path));
    if (!p->path)
        return no_memory(err);
    td_rc rc = td_file_open(path, &p->file, err);
    if (rc != TD_OK)
        return rc;
    s->part_count++; // from here on safetensors_close() closes it
    rc = safetensors_parse(&p->file, &s->arena, tensors, count, err);
    if (rc != TD_OK)
        td_err_prefix(err, "%s", path);
    return rc;
}

static td_rc add_tensor(safetensors *s, const st_tensor *t, td_err *err)
{
    bool oom = false;
    s->tensors[s->tensor_count] = *t;
    s->tensors[s->tensor_count].part = s->part_count - 1;
    if (!td_map_put(&s->by_name, t->name, strlen(t->name), (uint32_t)s->tensor_count, &oom))
        return oom ? no_memory(err) : td_fail(err, TD_E_MODEL, "tensor %s appears twice", t->name);
    s->tensor_count++;
    return TD_OK;
}

static td_rc reserve_tensors(safetensors *s, size_t extra, td_err *err)
{
    if (extra > TD_MODEL_TENSORS_MAX - s->tensor_count)
        return td_fail(err, TD_E_MODEL, "more than %d tensors", TD_MODEL_TENSORS_MAX);
    st_tensor *grown = td_realloc(s->tensors, (s->tensor_count + extra) * sizeof *grown);
    if (!grown)
        return no_memory(err);
    s->tensors = grown;
    return TD_OK;
}

static td_rc open_single(safetensors *s, const char *path, td_err *err)
{
    st_tensor *t;
    size_t count;
    td_rc rc = open_part(s, path, &t, &count, err);
    if (rc == TD_OK)
        rc = reserve_tensors(s, count, err);
    for (size_t i = 0; rc == TD_OK && i < count; i++)
        rc = add_tensor(s, &t[i], err);
    return rc;
}

/* ---- shards ---- */

typedef struct weight_map { // the index: which shard has which tensor
    td_map shard_of;        // tensor name -> index in shards
    td_map shard_index;     // shard name -> index in shards
    const char **shards;    // [shard_count], in order of first mention
    uint32_t shard_count;
} weight_map;

/* A plain file name: nothing that could lead out of the model's directory. */
static bool shard_name_ok(const char *name)
{
    size_t len = strlen(name), tail = strlen(".safetensors");
    return len > tail && len <= TD_MODEL_NAME_MAX && strcmp(name + len - tail, ".safetensors") == 0 &&
           !strchr(name, '/') && !strchr(name, '\\') && name[0] != '.' && !strstr(name, "..");
}

/* One entry "tensor": "shard". Its strings belong to the JSON tree, which outlives the map. */
static td_rc map_entry(weight_map *m, const td_json *entry, td_err *err)
{
    const char *shard = td_json_str(entry);
    if (!shard || !shard_name_ok(shard))
        return td_fail(err, TD_E_MODEL,
                       "tensor %.60s is mapped to \"%.60s\", which is not the name of a .safetensors file "
                       "in the same directory",
                       entry->string, shard ? shard : "");
    uint32_t index;
    bool oom = false;
    if (!td_map_get(&m->shard_index, shard, strlen(shard), &index)) {
        if (m->shard_count == TD_MODEL_SHARDS_MAX)
            return td_fail(err, TD_E_MODEL, "more than %d shards", TD_MODEL_SHARDS_MAX);
        index = m->shard_count;
        if (!td_map_put(&m->shard_index, shard, strlen(shard), index, &oom))
            return no_memory(err);
        m->shards[m->shard_count++] = shard;
    }
    if (!td_map_put(&m->shard_of, entry->string, strlen(entry->string), index, &oom))
        return oom ? no_memory(err) : td_fail(err, TD_E_MODEL, "tensor %.60s is mapped twice", entry->string);
    return TD_OK;
}

static td_rc map_read(weight_map *m, td_arena *arena, const td_json *root, td_err *err)
{
    const td_json *entries = td_json_get(root, "weight_map");
    if (!cJSON_IsObject(entries) || !entries->child)
        return td_fail(err, TD_E_MODEL, "the index has no \"weight_map\"");
    m->shards = td_arena_calloc(arena, TD_MODEL_SHARDS_MAX, sizeof *m->shards);
    if (!m->shards || !td_map_init(&m->shard_of, 0) || !td_map_init(&m->shard_index, 0))
        return no_memory(err);
    td_json_each(entry, entries) {
        td_rc rc = map_entry(m, entry, err);
        if (rc != TD_OK)
            return rc;
    }
    return TD_OK;
}

/* Takes the tensors that the index gives to this shard; what it does not know at all is left out. */
static td_rc open_shard(safetensors *s, const weight_map *m, uint32_t shard, const char *path, td_err *err)
{
    st_tensor *t;
    size_t count;
    td_rc rc = open_part(s, path, &t, &count, err);
    if (rc == TD_OK)
        rc = reserve_tensors(s, count, err);
    for (size_t i = 0; rc == TD_OK && i < count; i++) {
        uint32_t home;
        if (!td_map_get(&m->shard_of, t[i].name, strlen(t[i].name), &home))
            continue;
        if (home != shard)
            return td_fail(err, TD_E_MODEL, "%s holds tensor %s, which the index gives to %s", path, t[i].name,
                           m->shards[home]);
        rc = add_tensor(s, &t[i], err);
    }
    return rc;
}

/* Every tensor of the index was found. */
static td_rc check_complete(const safetensors *s, const weight_map *m, const td_json *root, td_err *err)
{
    td_json_each(entry, td_json_get(root, "weight_map")) {
        uint32_t i;
        if (!td_map_get(&s->by_name, entry->string, strlen(entry->string), &i))
            return td_fail(err, TD_E_MODEL, "the index gives tensor %.100s to %.100s, which does not hold it",
                           entry->string, td_json_str(entry));
    }
    td_assert(s->part_count == m->shard_count);
    return TD_OK;
}

static td_rc open_shards(safetensors *s, const char *index_path, const td_json *root, weight_map *m, td_err *err)
{
    td_rc rc = map_read(m, &s->arena, root, err);
    if (rc != TD_OK) {
        td_err_prefix(err, "%s", index_path);
        return rc;
    }
    const char *slash = strrchr(index_path, '/');
    int dir_len = slash ? (int)(slash - index_path) + 1 : 0;
    for (uint32_t i = 0; rc == TD_OK && i < m->shard_count; i++) {
        char path[PATH_BYTES_MAX];
        int n = snprintf(path, sizeof path, "%.*s%s", dir_len, index_path, m->shards[i]);
        if (n < 0 || n >= PATH_BYTES_MAX)
            return td_fail(err, TD_E_USAGE, "the path %.60s… is too long", index_path);
        rc = open_shard(s, m, i, path, err);
    }
    return rc == TD_OK ? check_complete(s, m, root, err) : rc;
}

static td_rc open_index(safetensors *s, const char *path, td_err *err)
{
    td_json *root;
    td_rc rc = model_json_read(path, NULL, &root, err);
    if (rc != TD_OK)
        return rc;
    weight_map m = {0};
    rc = open_shards(s, path, root, &m, err);
    td_map_free(&m.shard_of);
    td_map_free(&m.shard_index);
    td_json_free(root);
    return rc;
}

/* ---- the whole ---- */

static bool is_index(const char *path)
{
    size_t len = strlen(path), tail = strlen(".index.json");
    return len > tail && strcmp(path + len - tail, ".index.json") == 0;
}

static td_rc open_path(safetensors *s, const char *path, td_err *err)
{
    char file[PATH_BYTES_MAX];
    if (!td_map_init(&s->by_name, 0))
        return no_memory(err);
    if (!td_dir_exists(path))
        return is_index(path) ? open_index(s, path, err) : open_single(s, path, err);
    int n = snprintf(file, sizeof file, "%s/%s", path, single_name);
    if (n >= 0 && n < PATH_BYTES_MAX && td_file_exists(file))
        return open_single(s, file, err);
    n = snprintf(file, sizeof file, "%s/%s", path, index_name);
    if (n >= 0 && n < PATH_BYTES_MAX && td_file_exists(file))
        return open_index(s, file, err);
    return td_fail(err, TD_E_NOTFOUND, "%s holds neither %s nor %s", path, single_name, index_name);
}

td_rc safetensors_open(const char *path, safetensors **out, td_err *err)
{
    safetensors *s = td_alloc(sizeof *s);
    if (!s)
        return no_memory(err);
    td_arena_init(&s->arena, 0);
    td_rc rc = open_path(s, path, err);
    if (rc != TD_OK) {
        safetensors_close(s);
        return rc;
    }
    *out = s;
    return TD_OK;
}

void safetensors_close(safetensors *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->part_count; i++)
        td_file_close(&s->parts[i].file);
    td_map_free(&s->by_name);
    td_free(s->parts);
    td_free(s->tensors);
    td_arena_free(&s->arena);
    td_free(s);
}

uint32_t safetensors_part_count(const safetensors *s) { return s->part_count; }

const char *safetensors_part_path(const safetensors *s, uint32_t index)
{
    td_assert(index < s->part_count);
    return s->parts[index].path;
}

uint64_t safetensors_file_bytes(const safetensors *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->part_count; i++)
        sum += s->parts[i].file.bytes;
    return sum;
}

size_t safetensors_tensor_count(const safetensors *s) { return s->tensor_count; }

const st_tensor *safetensors_tensor_at(const safetensors *s, size_t i)
{
    td_assert(i < s->tensor_count);
    return &s->tensors[i];
}

const st_tensor *safetensors_tensor_find(const safetensors *s, const char *name)
{
    uint32_t i;
    return td_map_get(&s->by_name, name, strlen(name), &i) ? &s->tensors[i] : NULL;
}

td_rc safetensors_read(const safetensors *s, const st_tensor *t, uint64_t offset, void *out, size_t len, td_err *err)
{
    td_assert(t->part < s->part_count && offset <= t->bytes && len <= t->bytes - offset);
    td_rc rc = td_file_pread(&s->parts[t->part].file, t->offset + offset, out, len, err);
    if (rc != TD_OK)
        td_err_prefix(err, "%s: tensor %s", s->parts[t->part].path, t->name);
    return rc;
}

td_rc safetensors_map(const safetensors *s, uint32_t index, td_mapping *out, td_err *err)
{
    td_assert(index < s->part_count);
    td_rc rc = td_file_map(&s->parts[index].file, out, err);
    if (rc != TD_OK)
        td_err_prefix(err, "%s", s->parts[index].path);
    return rc;
}
