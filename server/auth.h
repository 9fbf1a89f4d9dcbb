/* auth.h - API keys. Only their SHA-256 digests are kept, and every digest is compared in constant time whatever the
 * earlier ones gave, so that the time of a refusal says nothing about the keys. Loop thread. */
#ifndef TD_SERVER_AUTH_H
#define TD_SERVER_AUTH_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct auth_keys auth_keys;

/* From the list and the file (either may be missing); *out is NULL when that leaves no key. An empty file is an error:
 * who names a key file does not mean "open to all". */
td_rc auth_load(const char *const *keys, int32_t key_count, const char *file, auth_keys **out, td_err *err);
void auth_free(auth_keys *a); // NULL is fine
/* `header` is the value of Authorization, NULL when there was not exactly one. NULL keys let everybody in. */
bool auth_allows(const auth_keys *a, const char *header);

#endif
