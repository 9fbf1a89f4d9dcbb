/* Configuration files: any bytes are either read or refused with a message. */
#include "base/check.h"
#include "base/flags.h"
#include "base/log.h"

#include <math.h>

static const char *const groups[] = {"All", NULL};
static const flags_def defs[] = {
    {"port", FLAG_INT, "8000", 1, .max = 65535},    {"memory", FLAG_BYTES, "auto", 1, .max = INFINITY},
    {"heat", FLAG_NUM, "1", 1, .max = 100},         {"ui", FLAG_BOOL, "true", 1},
    {"device", FLAG_ENUM, "auto", 1, .choices = "auto|cpu"}, {"text", FLAG_STR, NULL, 1},
    {"prompt", FLAG_LIST, NULL, 1},                 {"name", FLAG_LIST, NULL, 1, .traits = FLAG_MANY},
    {"paths", FLAG_LIST, NULL, 1, .traits = FLAG_SPLIT}, {"batch", FLAG_INTS, "1", 1, .min = 1, .max = 64},
    {"swap", FLAG_STR, NULL, 1, .traits = FLAG_IGNORED, .why = "x"},
    {"lora", FLAG_BOOL, NULL, 1, .traits = FLAG_REFUSED, .why = "x"}, {"other", FLAG_INT, "1", 2},
};
static const flags_verb verbs[] = {{"run", "", "", NULL}, {"other", "", "", NULL}};
static const flags_table table = {"demo", "DEMO_", NULL, groups, defs, TD_COUNT(defs), verbs, 2, "demo", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    td_log_setup(TD_LOG_ERROR, false);
    flags *f;
    td_err err = TD_ERR_INIT;
    if (flags_new(&table, 0, &f, &err))
        return 0;
    td_rc rc = flags_read_config(f, (const char *)data, len, "fuzz.yaml", &err);
    td_assert(rc == err.rc && (!rc || err.msg[0]));
    td_buf out = TD_BUF_INIT;
    flags_print(f, &out);
    td_buf_free(&out);
    flags_free(f);
    return 0;
}
