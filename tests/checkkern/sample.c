/* Sampling of each level against plain C, field for field. */
#include "checkkern.h"

const ck_test ck_sample_tests[] = {{NULL, NULL, NULL, 0}};
