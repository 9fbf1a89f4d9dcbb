/* version.h - what this binary is. */
#ifndef TD_TOOLS_VERSION_H
#define TD_TOOLS_VERSION_H

const char *version_text(void);   // "0.1.0"
const char *version_commit(void); // "acae1f40c1d2", or "unknown"

#endif
