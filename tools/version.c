/* version: what was built, from what, with which libraries, and what the machine offers. */
#include "tools/version.h"

#include "base/json.h"
#include "kernels/device.h"
#include "tools/editor.h"
#include "tools/output.h"
#include "tools/verbs.h"

#include <curl/curl.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>
#include <sys/utsname.h>
#include <utf8proc.h>
#include <yaml.h>

const char *version_text(void) { return TANDEM_VERSION; }
const char *version_commit(void) { return TANDEM_COMMIT; }

typedef struct library {
    const char *name;
    char version[64];
} library;

enum { LIBRARIES = 8 };

/* Versions found at run time, which may differ from those built against. */
static void libraries(library out[LIBRARIES])
{
    char pcre[64] = "";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    const char *const found[LIBRARIES][2] = {
        {"cJSON", cJSON_Version()},           {"libcurl", curl_version_info(CURLVERSION_NOW)->version},
        {"libmicrohttpd", MHD_get_version()}, {"libyaml", yaml_get_version_string()},
        {"OpenSSL", OpenSSL_version(OPENSSL_VERSION)}, {"PCRE2", pcre},
        {"utf8proc", utf8proc_version()},     {"libedit", editor_version()},
    };
    for (int i = 0; i < LIBRARIES; i++) {
        const char *text = found[i][1] ? found[i][1] : "none";
        text += found[i][1] ? strcspn(text, "0123456789") : 0; // "OpenSSL 3.0.17 1 Jul 2025"
        out[i].name = found[i][0];
        snprintf(out[i].version, sizeof out[i].version, "%.*s", (int)strcspn(text, " "), text);
    }
}

static void print_text(td_buf *out, const library *libs, const td_buf *isas, const struct utsname *u)
{
    td_buf_fmt(out, "tandem %s (commit %s)\n", TANDEM_VERSION, TANDEM_COMMIT);
    td_buf_fmt(out, "machine      %s %s, %d compute threads\n", u->sysname, u->machine, kern_thread_default());
    td_buf_fmt(out, "cpu          %s\n", td_buf_cstr(isas));
    td_buf_fmt(out, "devices      cpu\nlibraries   ");
    for (int i = 0; i < LIBRARIES; i++)
        td_buf_fmt(out, " %s %s%s", libs[i].name, libs[i].version, i + 1 < LIBRARIES ? "," : "\n");
}

static void print_json(td_buf *out, const library *libs, const td_buf *isas, const struct utsname *u)
{
    td_buf_fmt(out, "{\"version\":\"%s\",\"commit\":\"%s\",\"system\":\"%s\",\"machine\":\"%s\",\"threads\":%d,",
               TANDEM_VERSION, TANDEM_COMMIT, u->sysname, u->machine, kern_thread_default());
    td_buf_str(out, "\"isas\":[");
    const char *comma = "";
    for (const char *p = td_buf_cstr(isas); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        td_buf_fmt(out, "%s\"%.*s\"", comma, (int)n, p);
        comma = ",";
        p += n;
    }
    td_buf_str(out, "],\"devices\":[\"cpu\"],\"libraries\":{");
    for (int i = 0; i < LIBRARIES; i++)
        td_buf_fmt(out, "%s\"%s\":\"%s\"", i ? "," : "", libs[i].name, libs[i].version);
    td_buf_str(out, "}}\n");
}

td_rc verb_version(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    library libs[LIBRARIES];
    struct utsname u;
    td_buf out = TD_BUF_INIT, isas = TD_BUF_INIT;
    uname(&u);
    libraries(libs);
    kern_dev_describe(&isas);
    (flags_bool(f, "json") ? print_json : print_text)(&out, libs, &isas, &u);
    td_rc rc = output_buf(&out, err);
    td_buf_free(&out);
    td_buf_free(&isas);
    return rc;
}
