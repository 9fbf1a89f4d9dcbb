/* version: what was built, from what, with which libraries, and what the machine offers. */
#include "tools/version.h"

#include "base/json.h"
#include "kernels/device.h"
#include "tools/editor.h"
#include "tools/output.h"
#include "tools/verbs.h"

#include <curl/curl.h>
#include <gnutls/gnutls.h>
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

enum { LIBRARIES = 11 };

/* Versions found at run time, which may differ from those built against; sentencepiece and OpenMP do not tell theirs,
 * so those are what was built against. */
static void libraries(library out[LIBRARIES])
{
    char pcre[64] = "";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    const char *const found[LIBRARIES][2] = {
        {"cJSON", cJSON_Version()},           {"libcurl", curl_version_info(CURLVERSION_NOW)->version},
        {"libmicrohttpd", MHD_get_version()}, {"libyaml", yaml_get_version_string()},
        {"OpenSSL", OpenSSL_version(OPENSSL_VERSION)}, {"PCRE2", pcre},
        {"utf8proc", utf8proc_version()},     {"libedit", editor_version()},
        {"GnuTLS", gnutls_check_version(NULL)}, {"sentencepiece", TANDEM_SENTENCEPIECE}, {"OpenMP", TANDEM_OPENMP},
    };
    for (int i = 0; i < LIBRARIES; i++) {
        bool there = found[i][1] && *found[i][1];
        const char *text = there ? found[i][1] : "none";
        text += there ? strcspn(text, "0123456789") : 0; // "OpenSSL 3.0.17 1 Jul 2025"
        out[i].name = found[i][0];
        snprintf(out[i].version, sizeof out[i].version, "%.*s", (int)strcspn(text, " "), text);
    }
}

typedef struct machine {
    struct utsname u;
    td_buf isas, devices; // names with spaces between
} machine;

static void print_text(td_buf *out, const library *libs, const machine *m)
{
    td_buf_fmt(out, "tandem %s (commit %s)\n", TANDEM_VERSION, TANDEM_COMMIT);
    td_buf_fmt(out, "machine      %s %s, %d compute threads\n", m->u.sysname, m->u.machine, kern_thread_default());
    td_buf_fmt(out, "cpu          %s\n", td_buf_cstr(&m->isas));
    td_buf_fmt(out, "devices      %s\nlibraries   ", td_buf_cstr(&m->devices));
    for (int i = 0; i < LIBRARIES; i++)
        td_buf_fmt(out, " %s %s%s", libs[i].name, libs[i].version, i + 1 < LIBRARIES ? "," : "\n");
}

static void json_names(td_buf *out, const char *key, const td_buf *names)
{
    const char *comma = "";
    td_buf_fmt(out, "\"%s\":[", key);
    for (const char *p = td_buf_cstr(names); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        td_buf_fmt(out, "%s\"%.*s\"", comma, (int)n, p);
        comma = ",";
        p += n;
    }
    td_buf_str(out, "],");
}

static void print_json(td_buf *out, const library *libs, const machine *m)
{
    td_buf_fmt(out, "{\"version\":\"%s\",\"commit\":\"%s\",\"system\":\"%s\",\"machine\":\"%s\",\"threads\":%d,",
               TANDEM_VERSION, TANDEM_COMMIT, m->u.sysname, m->u.machine, kern_thread_default());
    json_names(out, "isas", &m->isas);
    json_names(out, "devices", &m->devices);
    td_buf_str(out, "\"libraries\":{");
    for (int i = 0; i < LIBRARIES; i++)
        td_buf_fmt(out, "%s\"%s\":\"%s\"", i ? "," : "", libs[i].name, libs[i].version);
    td_buf_str(out, "}}\n");
}

td_rc verb_version(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    library libs[LIBRARIES];
    machine m = {.isas = TD_BUF_INIT, .devices = TD_BUF_INIT};
    td_buf out = TD_BUF_INIT;
    uname(&m.u);
    libraries(libs);
    kern_dev_describe(&m.isas);
    kern_dev_names(&m.devices);
    (flags_bool(f, "json") ? print_json : print_text)(&out, libs, &m);
    td_rc rc = output_buf(&out, err);
    td_buf_free(&out);
    td_buf_free(&m.isas);
    td_buf_free(&m.devices);
    return rc;
}
