/* tok_ucd.h - code points that Unicode got after version 14, with their general category.
 *
 * PCRE2 10.42 knows Unicode 14, the reference tokenizers know a later one, and a letter that one of the two takes for
 * unassigned is split differently. Between those versions code points were only added, none moved; so a list of the
 * additions is all that is needed: tok_regex puts the matching ranges beside each \p{…}. */
#ifndef TD_MODEL_TOK_UCD_H
#define TD_MODEL_TOK_UCD_H

#include <stddef.h>
#include <stdint.h>

typedef struct tok_ucd_range {
    uint32_t first, last;
    char category[3];
} tok_ucd_range;

extern const tok_ucd_range tok_ucd_new[];
extern const size_t tok_ucd_new_count;

#endif
