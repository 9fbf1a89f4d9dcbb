/* Any bytes as JSON: the strict scanner and the parser agree; what was parsed can be walked, and printed and read again
 * gives the same text: nothing was lost or let through on the way. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static int64_t walk(const td_json *j)
{
    int64_t count = 1, whole;
    double number;
    if (td_json_int(j, &whole) && !td_json_num(j, &number))
        abort(); // every whole number is a number
    td_json_each(item, j)
        count += walk(item);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const td_json_limits small = {.depth_max = 32, .nodes_max = 2000};
    td_json *j = NULL, *again = NULL;
    bool fits = td_json_scan((const char *)data, size, &small, NULL) == TD_OK;
    if ((td_json_parse((const char *)data, size, &small, &j, NULL) == TD_OK) != fits)
        abort();
    if (!fits)
        return 0;
    if (walk(j) > small.nodes_max)
        abort();
    char *text = cJSON_PrintUnformatted(j), *twice;
    if (!text || td_json_parse(text, strlen(text), &small, &again, NULL) != TD_OK)
        abort();
    twice = cJSON_PrintUnformatted(again);
    if (!twice || strcmp(text, twice) != 0)
        abort();
    free(text);
    free(twice);
    td_json_free(j);
    td_json_free(again);
    return 0;
}
