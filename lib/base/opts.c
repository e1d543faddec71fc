/* opts.c: options from a table: parsing, usage, completion scripts.
 *
 * Parsing is getopt_long(3) over arrays made from the table: long options have the value LONG_BASE + row, short ones
 * their character, so that both lead back to the row. All values go through set_value, so that argv and configuration
 * files agree on what is right.
 * Leaves to others: printing, the environment, defaults (all the program's), where a configuration line stands. */
#include "base/opts.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "base/version.h"

enum { LONG_BASE = 256, HELP_COLUMN = 30 };

void evb_opt_list_free(evb_opt_list *list) {
    free(list->items);
    *list = (evb_opt_list){0};
}

/* ---- one value ---- */

static const char *set_flag(bool *to, const char *value) {
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    if (!value) {
        *to = true;
        return NULL;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(value, words[i]) == 0) {
            *to = i & 1;
            return NULL;
        }
    return "neither yes nor no";
}

static const char *add_item(evb_opt_list *list, const char *value) {
    const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        return NULL;
    list->items = items;
    items[list->count++] = value;
    return value;
}

/* value is NULL only for a flag or a call. */
static int set_value(const evb_opt *row, void *target, const char *value, evb_error *err) {
    void *to = (char *)target + row->offset;
    const char *fault = NULL;
    switch (row->kind) {
    case EVB_OPT_FLAG: fault = set_flag(to, value); break;
    case EVB_OPT_STRING: *(const char **)to = value; break;
    case EVB_OPT_NUMBER: fault = evb_number_parse(value, to); break;
    case EVB_OPT_DURATION: fault = evb_duration_parse(value, to); break;
    case EVB_OPT_SIZE: fault = evb_size_parse(value, to); break;
    case EVB_OPT_LIST: return add_item(to, value) ? 0 : evb_fail(err, EVB_ENOMEM, "out of memory");
    case EVB_OPT_CALL: return row->call(target, value, err);
    }
    return fault ? evb_fail(err, EVB_EINVAL, "'%.100s': %s", value, fault) : 0;
}

/* set_value with the option's name before the reason. */
static int set_named(const evb_opt *row, void *target, const char *value, const char *dashes, evb_error *err) {
    evb_error why = {0, ""};
    int rc = set_value(row, target, value, &why);
    return rc ? evb_fail(err, rc, "%s%s: %s", dashes, row->long_name, why.text) : 0;
}

const evb_opt *evb_opts_find(const evb_opts *opts, const char *long_name) {
    for (size_t i = 0; i < opts->count; i++)
        if (strcmp(opts->rows[i].long_name, long_name) == 0)
            return &opts->rows[i];
    return NULL;
}

int evb_opts_set(const evb_opts *opts, void *target, const char *long_name, const char *value, evb_error *err) {
    const evb_opt *row = evb_opts_find(opts, long_name);
    if (!row)
        return evb_fail(err, EVB_EINVAL, "%.100s: no such option", long_name);
    return set_named(row, target, value, "", err);
}

/* ---- argv ---- */

/* Fills in getopt's arrays: letters takes 3 + 2 per row, longs 1 per row and an empty last. */
static void make_getopt(const evb_opts *opts, char *letters, struct option *longs) {
    *letters++ = ':';
    for (size_t i = 0; i < opts->count; i++) {
        const evb_opt *row = &opts->rows[i];
        int has = row->arg ? required_argument : no_argument;
        longs[i] = (struct option){row->long_name, has, NULL, LONG_BASE + (int)i};
        if (!row->short_name)
            continue;
        *letters++ = row->short_name;
        if (row->arg)
            *letters++ = ':';
    }
    *letters = '\0';
    longs[opts->count] = (struct option){0};
}

static const evb_opt *find_row(const evb_opts *opts, int value) {
    if (value >= LONG_BASE)
        return (size_t)value - LONG_BASE < opts->count ? &opts->rows[value - LONG_BASE] : NULL;
    for (size_t i = 0; i < opts->count; i++)
        if (value && opts->rows[i].short_name == value)
            return &opts->rows[i];
    return NULL;
}

/* What there is no such option of may be meant as a payload, where a topic stands before it. */
static int refuse_unknown(const evb_opts *opts, const char *word, bool behind_operand, evb_error *err) {
    const char letter[] = {'-', (char)optopt, '\0'};
    bool hint = behind_operand && strstr(opts->synopsis, "PAYLOAD");
    return evb_fail(err, EVB_EINVAL, "%.100s: no such option%s; try '%s --help'",
                    optopt > 0 && optopt < LONG_BASE ? letter : word,
                    hint ? "; a payload that begins with - goes behind --" : "", opts->program);
}

/* Says what is wrong when getopt_long returned '?' or ':'; word is the argument it stood in. */
static int refuse(const evb_opts *opts, int found, const char *word, bool behind_operand, evb_error *err) {
    const evb_opt *row = find_row(opts, optopt);
    if (!row)
        return refuse_unknown(opts, word, behind_operand, err);
    return evb_fail(err, EVB_EINVAL, "--%s: %s; try '%s --help'", row->long_name,
                    found == ':' ? "an argument is missing" : "it takes no argument", opts->program);
}

/* Whether the next argument is an operand. */
static bool at_operand(int argc, char **argv, int at) { return at < argc && (*argv[at] != '-' || !argv[at][1]); }

static int parse_with(const evb_opts *opts, void *target, int argc, char **argv, const char *letters,
                      const struct option *longs, evb_error *err) {
    int found, rc = 0;
    bool behind_operand = at_operand(argc, argv, 1);
    optind = 0;
    opterr = 0;
    while (!rc && (found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const evb_opt *row = found == '?' || found == ':' ? NULL : find_row(opts, found);
        if (!row)
            return refuse(opts, found, argv[optind - 1], behind_operand, err);
        rc = set_named(row, target, row->arg ? optarg : NULL, "--", err);
        behind_operand |= at_operand(argc, argv, optind);
    }
    return rc;
}

int evb_opts_parse(const evb_opts *opts, void *target, int argc, char **argv, int *first, evb_error *err) {
    char *letters = malloc(3 + 2 * opts->count);
    struct option *longs = malloc((opts->count + 1) * sizeof *longs);
    int rc;
    if (letters && longs) {
        make_getopt(opts, letters, longs);
        rc = parse_with(opts, target, argc, argv, letters, longs, err);
        *first = optind;
    } else {
        rc = evb_fail(err, EVB_ENOMEM, "options: out of memory");
    }
    free(letters);
    free(longs);
    return rc;
}

/* ---- usage ---- */

static bool usage_row(const evb_opt *row, evb_buf *out) {
    size_t start = out->size;
    bool ok = row->short_name ? evb_buf_printf(out, "  -%c, ", row->short_name) : evb_buf_text(out, "      ");
    ok = ok && evb_buf_printf(out, "--%s%s%s", row->long_name, row->arg ? "=" : "", row->arg ? row->arg : "");
    size_t used = out->size - start;
    bool fits = used + 2 <= HELP_COLUMN;
    int blanks = (int)(fits ? HELP_COLUMN - used : HELP_COLUMN);
    return ok && evb_buf_printf(out, "%s%*s%s\n", fits ? "" : "\n", blanks, "", row->help);
}

bool evb_opts_usage(const evb_opts *opts, evb_buf *out) {
    bool ok = true;
    for (const char *line = opts->synopsis; ok && line;) {
        size_t n = strcspn(line, "\n");
        ok = evb_buf_printf(out, "%s %s %.*s\n", line == opts->synopsis ? "Usage:" : "      ", opts->program, (int)n,
                            line);
        line = line[n] ? line + n + 1 : NULL;
    }
    ok = ok && evb_buf_printf(out, "%s\n\n", opts->about);
    for (size_t i = 0; ok && i < opts->count; i++)
        ok = !opts->rows[i].help || usage_row(&opts->rows[i], out);
    return ok;
}

/* ---- completion ---- */

/* Appends text with each of `special` behind a backslash. */
static bool escaped(evb_buf *out, const char *text, const char *special) {
    bool ok = true;
    for (; ok && *text; text++)
        ok = (!strchr(special, *text) || evb_buf_text(out, "\\")) && evb_buf_add(out, text, 1);
    return ok;
}

/* The bash command that completes what `values` names. */
static bool bash_values(const char *values, evb_buf *out) {
    if (!values)
        return evb_buf_text(out, "COMPREPLY=()");
    if (strcmp(values, "@file") == 0)
        return evb_buf_text(out, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")");
    if (strcmp(values, "@dir") == 0)
        return evb_buf_text(out, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")");
    return evb_buf_printf(out, "mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\")", values);
}

static bool bash_case(const evb_opt *row, evb_buf *out) {
    bool ok = evb_buf_text(out, "    ");
    if (row->short_name)
        ok = ok && evb_buf_printf(out, "-%c | ", row->short_name);
    return ok && evb_buf_printf(out, "--%s) ", row->long_name) && bash_values(row->values, out) &&
           evb_buf_text(out, "; return ;;\n");
}

/* Behind "--" there is a command: its name, then whatever bash completes without us. */
static bool bash_command(const evb_opts *opts, evb_buf *out) {
    if (!strstr(opts->synopsis, "-- CMD"))
        return true;
    return evb_buf_text(out, "    local i\n"
                             "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                             "        [[ ${COMP_WORDS[i]} == -- ]] || continue\n"
                             "        compopt -o default; COMPREPLY=()\n"
                             "        ((i < COMP_CWORD - 1)) || mapfile -t COMPREPLY < <(compgen -c -- \"$cur\")\n"
                             "        return\n"
                             "    done\n");
}

static bool bash_completion(const evb_opts *opts, evb_buf *out) {
    const char *name = opts->program;
    bool ok = evb_buf_printf(out,
                             "# bash completion of %s, made by %s --print-completion=bash\n"
                             "_%s() {\n"
                             "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                             "    if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then "
                             "prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n",
                             name, name, name) &&
              bash_command(opts, out) && evb_buf_text(out, "    case $prev in\n");
    for (size_t i = 0; ok && i < opts->count; i++)
        ok = !opts->rows[i].arg || !opts->rows[i].help || bash_case(&opts->rows[i], out);
    ok = ok && evb_buf_text(out, "    esac\n    if [[ $cur == -* ]]; then\n"
                                 "        mapfile -t COMPREPLY < <(compgen -W '");
    for (size_t i = 0; ok && i < opts->count; i++)
        ok = !opts->rows[i].help || evb_buf_printf(out, "--%s ", opts->rows[i].long_name);
    ok = ok && evb_buf_text(out, "' -- \"$cur\")\n    else\n        ") && bash_values(opts->operands, out);
    return ok && evb_buf_printf(out, "\n    fi\n}\ncomplete %s-F _%s %s\n", opts->operands ? "-o default " : "", name,
                                name);
}

/* zsh's action for an argument. */
static bool zsh_values(const char *values, evb_buf *out) {
    if (!values)
        return evb_buf_text(out, " ");
    if (strcmp(values, "@file") == 0)
        return evb_buf_text(out, "_files");
    if (strcmp(values, "@dir") == 0)
        return evb_buf_text(out, "_files -/");
    return evb_buf_printf(out, "(%s)", values);
}

/* One specification of _arguments, in single quotes. */
static bool zsh_row(const evb_opt *row, evb_buf *out) {
    const char *many = row->kind == EVB_OPT_LIST || row->kind == EVB_OPT_CALL ? "*" : "";
    const char *equals = row->arg ? "=" : "";
    bool ok = evb_buf_text(out, "    ");
    if (row->short_name && *many)
        ok = ok &&
             evb_buf_printf(out, "'*'{-%c%s,--%s%s}'[", row->short_name, row->arg ? "+" : "", row->long_name, equals);
    else if (row->short_name)
        ok = ok && evb_buf_printf(out, "'(-%c --%s)'{-%c%s,--%s%s}'[", row->short_name, row->long_name,
                                  row->short_name, row->arg ? "+" : "", row->long_name, equals);
    else
        ok = ok && evb_buf_printf(out, "'%s--%s%s[", many, row->long_name, equals);
    for (const char *p = row->help; ok && *p; p++)
        ok = *p == '\'' ? evb_buf_text(out, "'\\''") : escaped(out, (char[]){*p, 0}, "[]:\\");
    ok = ok && evb_buf_text(out, "]");
    if (row->arg)
        ok = ok && evb_buf_text(out, ":") && escaped(out, row->arg, ":\\") && evb_buf_text(out, ":") &&
             zsh_values(row->values, out);
    return ok && evb_buf_text(out, "' \\\n");
}

static bool zsh_completion(const evb_opts *opts, evb_buf *out) {
    bool ok = evb_buf_printf(out, "#compdef %s\n# made by %s --print-completion=zsh\n", opts->program, opts->program);
    if (strstr(opts->synopsis, "-- CMD")) /* behind "--" */
        ok = ok && evb_buf_text(out, "local -i at=${words[(i)--]}\n"
                                     "if ((at < CURRENT)); then\n"
                                     "    shift $at words\n"
                                     "    ((CURRENT -= at))\n"
                                     "    _normal\n"
                                     "    return\n"
                                     "fi\n");
    ok = ok && evb_buf_text(out, "_arguments -s -S \\\n");
    for (size_t i = 0; ok && i < opts->count; i++)
        ok = !opts->rows[i].help || zsh_row(&opts->rows[i], out);
    return ok && evb_buf_text(out, "    '*:operand:") && zsh_values(opts->operands, out) && evb_buf_text(out, "'\n");
}

int evb_opts_completion(const evb_opts *opts, const char *shell, evb_buf *out, evb_error *err) {
    bool bash = strcmp(shell, "bash") == 0;
    if (!bash && strcmp(shell, "zsh") != 0)
        return evb_fail(err, EVB_EINVAL, "--print-completion: '%.100s': neither bash nor zsh", shell);
    bool ok = bash ? bash_completion(opts, out) : zsh_completion(opts, out);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "completion: out of memory");
}

int evb_opts_answer(const evb_opts *opts, const evb_opts_standard *standard, evb_buf *out, bool *asked,
                    evb_error *err) {
    *asked = standard->help || standard->version || standard->completion;
    if (standard->completion)
        return evb_opts_completion(opts, standard->completion, out, err);
    bool ok = true;
    if (standard->help)
        ok = evb_opts_usage(opts, out);
    else if (standard->version)
        ok = evb_buf_printf(out, "%s (evbus) %s\n", opts->program, EVB_VERSION);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "%s: out of memory", opts->program);
}
