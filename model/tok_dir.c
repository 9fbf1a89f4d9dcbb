#include "model/tok_int.h"
td_rc tokenizer_from_dir(const char *dir, tokenizer **out, td_err *err) { (void)out; return td_fail(err, TD_E_UNSUPPORTED, "%s", dir); }
