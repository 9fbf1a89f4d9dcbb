/* Completion scripts. Each shell gets a static function over words that come from the table: verbs, then the flags of
 * the verb, then the choices of an enumeration, then files. */
#include "base/flags.h"

#include "base/flags_int.h"

#include <string.h>

static bool offered(const flags_def *d, size_t verb)
{
    return flags_def_of(d, verb) && !(d->traits & (FLAG_IGNORED | FLAG_REFUSED));
}

static bool is_on(const flags_def *d) { return d->type == FLAG_BOOL && d->dflt && !strcmp(d->dflt, "true"); }

static void words_of_choices(td_buf *out, const char *choices)
{
    for (; *choices; choices++)
        td_buf_char(out, *choices == '|' ? ' ' : *choices);
}

/* First words of the verbs, each once ("bench" stands for all its kinds). */
static void first_words(td_buf *out, const flags_table *t)
{
    const char *last = "";
    size_t last_len = 0;
    for (size_t v = 0; v < t->verb_count; v++) {
        size_t n = strcspn(t->verbs[v].name, " ");
        if (n == last_len && !memcmp(last, t->verbs[v].name, n))
            continue;
        td_buf_fmt(out, "%s%.*s", last_len ? " " : "", (int)n, t->verbs[v].name);
        last = t->verbs[v].name;
        last_len = n;
    }
}

static void second_words(td_buf *out, const flags_table *t, const char *first)
{
    size_t n = strlen(first);
    for (size_t v = 0; v < t->verb_count; v++)
        if (!strncmp(t->verbs[v].name, first, n) && t->verbs[v].name[n] == ' ')
            td_buf_fmt(out, " %s", t->verbs[v].name + n + 1);
}

static void flag_words(td_buf *out, const flags_table *t, size_t verb)
{
    for (size_t i = 0; i < t->def_count; i++)
        if (offered(&t->defs[i], verb))
            td_buf_fmt(out, " --%s%s", is_on(&t->defs[i]) ? "no-" : "", t->defs[i].name);
}

static void bash(const flags_table *t, td_buf *out, bool zsh)
{
    const char *p = t->program;
    if (zsh)
        td_buf_fmt(out, "#compdef %s\nautoload -U +X bashcompinit && bashcompinit\n", p);
    td_buf_fmt(out,
               "# completion of %s for %s\n_%s() {\n    local word=\"${COMP_WORDS[COMP_CWORD]}\" last=\"${COMP_WORDS"
               "[COMP_CWORD-1]}\" verb=\"${COMP_WORDS[1]}\" words=\"\"\n    if [ \"$COMP_CWORD\" = 1 ]; then\n"
               "        COMPREPLY=($(compgen -W \"",
               p, zsh ? "zsh" : "bash", p);
    first_words(out, t);
    td_buf_str(out, "\" -- \"$word\"))\n        return\n    fi\n");
    td_buf_str(out, "    if [ \"$verb\" = bench ]; then\n        if [ \"$COMP_CWORD\" = 2 ]; then\n"
                    "            COMPREPLY=($(compgen -W \"");
    second_words(out, t, "bench");
    td_buf_str(out, "\" -- \"$word\"))\n            return\n        fi\n        verb=\"bench ${COMP_WORDS[2]}\"\n"
                    "    fi\n    case \"$last\" in\n");
    for (size_t i = 0; i < t->def_count; i++)
        if (t->defs[i].type == FLAG_ENUM && !(t->defs[i].traits & (FLAG_IGNORED | FLAG_REFUSED))) {
            td_buf_fmt(out, "    --%s) words=\"", t->defs[i].name);
            words_of_choices(out, t->defs[i].choices);
            td_buf_str(out, "\" ;;\n");
        }
    td_buf_str(out, "    esac\n    case \"$word\" in\n    -*)\n        case \"$verb\" in\n");
    for (size_t v = 0; v < t->verb_count; v++) {
        td_buf_fmt(out, "        \"%s\") words=\"", t->verbs[v].name);
        flag_words(out, t, v);
        td_buf_str(out, "\" ;;\n");
    }
    td_buf_fmt(out,
               "        esac ;;\n    esac\n    if [ -n \"$words\" ]; then\n        COMPREPLY=($(compgen -W \"$words\" "
               "-- \"$word\"))\n    else\n        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\n"
               "complete -o filenames -F _%s %s\n",
               p, p);
}

/* Inside single quotes of fish only ' and \ are special. */
static void fish_quote(td_buf *out, const char *s)
{
    td_buf_char(out, '\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            td_buf_char(out, '\\');
        td_buf_char(out, *s == '\n' ? ' ' : *s);
    }
    td_buf_char(out, '\'');
}

static void fish_flag(const flags_table *t, const flags_def *d, size_t verb, td_buf *out)
{
    td_buf_fmt(out, "complete -c %s -n '__%s_verb \"%s\"' -l %s%s", t->program, t->program, t->verbs[verb].name,
               is_on(d) ? "no-" : "", d->name);
    if (d->letter)
        td_buf_fmt(out, " -s %c", d->letter);
    if (d->type == FLAG_ENUM) {
        td_buf_str(out, " -x -a '");
        words_of_choices(out, d->choices);
        td_buf_char(out, '\'');
    } else if (d->type != FLAG_BOOL) {
        td_buf_str(out, " -r");
    }
    td_buf_str(out, " -d ");
    fish_quote(out, d->help ? d->help : "");
    td_buf_char(out, '\n');
}

static void fish(const flags_table *t, td_buf *out)
{
    const char *p = t->program;
    td_buf_fmt(out,
               "# completion of %s for fish\nfunction __%s_verb\n    set -l words (commandline -opc)\n"
               "    set -l n (count (string split ' ' -- $argv[1]))\n    test (count $words) -gt $n; and "
               "test \"$words[2..(math $n + 1)]\" = \"$argv[1]\"\nend\n"
               "complete -c %s -n '__fish_is_first_arg' -f -a '",
               p, p, p);
    first_words(out, t);
    td_buf_fmt(out, "'\ncomplete -c %s -n '__fish_seen_subcommand_from bench; and __fish_is_nth_token 2' -f -a '", p);
    second_words(out, t, "bench");
    td_buf_str(out, "'\n");
    for (size_t v = 0; v < t->verb_count; v++)
        for (size_t i = 0; i < t->def_count; i++)
            if (offered(&t->defs[i], v))
                fish_flag(t, &t->defs[i], v, out);
}

bool flags_completion(const flags_table *t, const char *shell, td_buf *out)
{
    if (!strcmp(shell, "fish"))
        fish(t, out);
    else if (!strcmp(shell, "bash") || !strcmp(shell, "zsh"))
        bash(t, out, shell[0] == 'z');
    else
        return false;
    return !out->failed;
}
