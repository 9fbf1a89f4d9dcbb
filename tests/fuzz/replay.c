/* Runs a fuzz entry without libFuzzer: every seed of the given folder, then copies of each with a few bytes changed,
 * cut or repeated, from a fixed generator, so that a failure can be repeated. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED_BYTES_MAX = 64 << 10, COPIES = 400 };

static uint64_t state = 1;

static uint32_t next(uint32_t bound)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32) % bound;
}

static size_t damage(uint8_t *p, size_t len)
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '0', '\\', '}'};
    for (uint32_t n = 1 + next(4); n && len; n--) {
        uint32_t at = next((uint32_t)len);
        switch (next(4)) {
        case 0:
            p[at] = values[next(sizeof values)];
            break;
        case 1:
            p[at] ^= (uint8_t)(1u << next(8));
            break;
        case 2:
            len = at;
            break;
        default: { // a piece of it once more, over what was there
            uint32_t from = next((uint32_t)len), piece = next(32);
            if (from + piece <= len && at + piece <= len)
                memmove(p + at, p + from, piece);
        }
        }
    }
    return len;
}

static int replay(const char *dir, const char *name)
{
    static uint8_t seed[SEED_BYTES_MAX];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    size_t len = fread(seed, 1, sizeof seed, f);
    fclose(f);
    LLVMFuzzerTestOneInput(seed, len);
    for (int i = 0; i < COPIES; i++) {
        uint8_t *copy = malloc(len + 1); // a fresh block, so that a read beyond the end is seen
        memcpy(copy, seed, len);
        size_t cut = damage(copy, len);
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, copy, cut);
        free(copy);
        LLVMFuzzerTestOneInput(exact, cut);
        free(exact);
    }
    return 1;
}

int main(int argc, char **argv)
{
    int seeds = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d)
            continue;
        for (struct dirent *e; (e = readdir(d));)
            if (e->d_name[0] != '.')
                seeds += replay(argv[i], e->d_name);
        closedir(d);
    }
    printf("%d seeds, %d runs\n", seeds, seeds * (COPIES + 1));
    return seeds ? 0 : 1;
}
