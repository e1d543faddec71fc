/* listen_file.c: from the lines of files to listeners.
 *
 * The keys of a section are a table of options (base/opts.h), as those of a command line are; so a value is read the same way
 * everywhere. A fault is said and the rest is read on, so that one look at a file finds them all.
 * Leaves to others: lines (listen_lines.c), words (listen_words.c), expressions (event/where.c), running (listen_run.c). */
#include "listen_file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "event/expr.h"
#include "event/position.h"
#include "event/topic.h"
#include "event/where.h"
#include "listen_lines.h"
#include "listen_words.h"
#include "program.h"

enum { FILE_MAX = 1024 * 1024, JOBS_MAX = 1024, BATCH_MAX = 65536 };

#define ROW(name, kind, field)                                                                                       \
    { 0, name, kind, offsetof(listener, field), NULL, "VALUE", NULL, NULL }
static const evb_opt ROWS[] = {
    ROW("on", EVB_OPT_STRING, on),
    ROW("when", EVB_OPT_STRING, when),
    ROW("run", EVB_OPT_STRING, run),
    ROW("shell", EVB_OPT_STRING, shell),
    ROW("jobs", EVB_OPT_NUMBER, jobs),
    ROW("timeout", EVB_OPT_DURATION, timeout_ns),
    ROW("retry", EVB_OPT_NUMBER, retry),
    ROW("backoff", EVB_OPT_STRING, backoff),
    ROW("env", EVB_OPT_LIST, env),
    ROW("user", EVB_OPT_STRING, user),
    ROW("cwd", EVB_OPT_STRING, cwd),
    ROW("batch", EVB_OPT_NUMBER, batch),
    ROW("from", EVB_OPT_STRING, from),
    ROW("input", EVB_OPT_STRING, input),
    ROW("publish", EVB_OPT_STRING, publish),
    ROW("ack-wait", EVB_OPT_DURATION, ack_wait_ns),
    {0, "keep", EVB_OPT_FLAG, offsetof(listener, keep), NULL, NULL, NULL, NULL},
    {0, "ordered", EVB_OPT_FLAG, offsetof(listener, ordered), NULL, NULL, NULL, NULL},
};
static const evb_opts KEYS = {"evlisten", "", "", ROWS, sizeof ROWS / sizeof *ROWS, NULL};

static const evb_opt EXPECT_ROWS[] = {
    ROW("topic", EVB_OPT_STRING, on),
    ROW("every", EVB_OPT_DURATION, every_ns),
    ROW("run", EVB_OPT_STRING, run),
    ROW("shell", EVB_OPT_STRING, shell),
    ROW("timeout", EVB_OPT_DURATION, timeout_ns),
    ROW("env", EVB_OPT_LIST, env),
    ROW("user", EVB_OPT_STRING, user),
    ROW("cwd", EVB_OPT_STRING, cwd),
};
static const evb_opts EXPECT_KEYS = {"evlisten", "", "", EXPECT_ROWS, sizeof EXPECT_ROWS / sizeof *EXPECT_ROWS, NULL};

typedef struct {
    listen_set *set;
    listener **last;
    const char *file;
    listener *now; /* the section that is read; NULL: none, or a bad one */
    const evb_opts *keys;
    bool in_section;
    evb_buf text; /* of it */
    size_t faults;
    bool check;
} reading;

__attribute__((format(printf, 3, 4))) static void fault(reading *r, int line, const char *format, ...) {
    va_list list;
    va_start(list, format);
    if (line)
        fprintf(stderr, "evlisten: %s:%d: ", r->file, line);
    else
        fprintf(stderr, "evlisten: %s: ", r->file);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    r->faults++;
}

/* A fault of the section that is read. */
static void fault_of(reading *r, const char *key, const char *reason) {
    fault(r, r->now->line, "[%s] %s: %s", r->now->name, key, reason);
}

static char *keep_text(reading *r, const char *text, size_t size) {
    char *copy = arena_text(&r->set->memory, text, size);
    if (!copy)
        fault(r, 0, "out of memory");
    return copy;
}

/* ---- what the values mean ---- */

static void understand_on(reading *r) {
    static const char BETWEEN[] = ", \t\n";
    listener *l = r->now;
    size_t room = 2; /* one more than there are separators, and the NULL */
    evb_error why;
    for (const char *c = l->on; *c; c++)
        room += strchr(BETWEEN, *c) != NULL;
    l->patterns = arena_take(&r->set->memory, room * sizeof *l->patterns);
    for (const char *at = l->on; l->patterns && *at;) {
        size_t size = strcspn(at, BETWEEN);
        if (size && evb_pattern_check(at, size, &why))
            fault_of(r, "on", why.text);
        if (size && !(l->patterns[l->pattern_count++] = keep_text(r, at, size)))
            return;
        at += size + strspn(at + size, BETWEEN);
    }
    if (!l->pattern_count)
        fault_of(r, "on", "no pattern");
}

static void understand_backoff(reading *r) {
    listener *l = r->now;
    char text[512];
    if (!l->backoff)
        return;
    snprintf(text, sizeof text, "%s", l->backoff);
    char *rest = text;
    for (char *one; (one = strsep(&rest, ","));) {
        one += strspn(one, " \t\n");
        one[strcspn(one, " \t\n")] = 0;
        const char *why = l->backoff_count == EVB_BACKOFF_MAX
                              ? "at most 16 waits"
                              : evb_duration_parse(one, &l->backoff_ns[l->backoff_count]);
        if (why) {
            fault_of(r, "backoff", why);
            return;
        }
        l->backoff_count++;
    }
}

/* The words of `run`, behind those that change the user. */
static void understand_run(reading *r) {
    listener *l = r->now;
    evb_buf words = {0};
    evb_error why;
    size_t count = 0, n = 0;
    char option[2][80];
    const struct passwd *pw = l->user ? getpwnam(l->user) : NULL;
    if (l->user && !pw)
        fault_of(r, "user", "there is no such user");
    if (pw && pw->pw_uid != getuid() && getuid())
        fault_of(r, "user", "only root may run commands as another user");
    if (l->shell)
        count = evb_buf_text(&words, "/bin/sh") && evb_buf_add(&words, "\0-c", 4) &&
                        evb_buf_add(&words, l->shell, strlen(l->shell) + 1)
                    ? 3
                    : 0;
    else if (listen_words(l->run, &words, &count, &why))
        fault_of(r, "run", why.text);
    const char *at = count ? keep_text(r, (const char *)words.data, words.size) : NULL;
    evb_buf_free(&words);
    l->argv = at ? arena_take(&r->set->memory, (count + 6) * sizeof *l->argv) : NULL;
    if (!l->argv)
        return;
    if (r->check && program_find(at, &why))
        fault_of(r, "run", why.text);
    if (pw && pw->pw_uid != getuid()) {
        snprintf(option[0], sizeof option[0], "--reuid=%u", pw->pw_uid);
        snprintf(option[1], sizeof option[1], "--regid=%u", pw->pw_gid);
        l->argv[n++] = "setpriv";
        l->argv[n++] = keep_text(r, option[0], strlen(option[0]));
        l->argv[n++] = keep_text(r, option[1], strlen(option[1]));
        l->argv[n++] = "--init-groups";
        l->argv[n++] = "--";
    }
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1)
        l->argv[n++] = at;
}

static void check_expressions(reading *r) {
    const listener *l = r->now;
    evb_error why;
    if (l->when) {
        evb_where *where = evb_where_new(l->when, &why);
        if (!where)
            fault_of(r, "when", why.text);
        evb_where_destroy(&where);
    }
    if (l->input && strcmp(l->input, "payload") != 0 && strcmp(l->input, "json") != 0) {
        evb_expr *expr = evb_expr_new(l->input, NULL, 0, &why);
        if (!expr)
            fault_of(r, "input", why.text);
        evb_expr_destroy(&expr);
    }
}

static void check_values(reading *r) {
    const listener *l = r->now;
    evb_error why;
    if (!l->run == !l->shell)
        fault_of(r, "run", "there is to be run = COMMAND or shell = LINE");
    if (!l->jobs || l->jobs > JOBS_MAX)
        fault_of(r, "jobs", "from 1 to 1024");
    if (!l->batch || l->batch > BATCH_MAX)
        fault_of(r, "batch", "from 1 to 65536");
    if (l->keep && l->batch > 1)
        fault_of(r, "batch", "it does not go with keep");
    if (l->input && l->batch > 1 && strcmp(l->input, "json") != 0)
        fault_of(r, "input", "with batch it is json");
    if (l->publish && evb_topic_check(l->publish, strlen(l->publish), &why))
        fault_of(r, "publish", why.text);
    for (size_t i = 0; i < l->env.count; i++)
        if (!strchr(l->env.items[i], '=') || *l->env.items[i] == '=')
            fault_of(r, "env", "NAME=VALUE");
}

/* The section is read. */
static void end_section(reading *r) {
    listener *l = r->now;
    evb_error why;
    if (!l)
        return;
    l->text = keep_text(r, r->text.size ? (const char *)r->text.data : "", r->text.size);
    r->text.size = 0;
    if (!l->on)
        fault_of(r, r->keys == &KEYS ? "on" : "topic", "it is missing: PATTERN, ...");
    else
        understand_on(r);
    if (r->keys == &EXPECT_KEYS && l->every_ns <= 0)
        fault_of(r, "every", "it is missing: a time, as 25h");
    check_values(r);
    if (l->run || l->shell)
        understand_run(r);
    understand_backoff(r);
    check_expressions(r);
    l->start = EVB_FROM_NOW;
    if (l->from && evb_position_parse(l->from, evb_clock_wall_ns(), &l->start, &l->start_value, &why))
        fault_of(r, "from", why.text);
    r->now = NULL;
}

/* ---- lines ---- */

static void take_section(void *context, int line, const char *name) {
    reading *r = context;
    end_section(r);
    size_t kind = name ? strcspn(name, " \t") : 0;
    r->in_section = true;
    r->keys = kind == 6 && strncmp(name, "expect", 6) == 0 ? &EXPECT_KEYS : &KEYS;
    if (!name || (r->keys == &KEYS && (kind != 8 || strncmp(name, "listener", 8) != 0))) {
        fault(r, line, "not a section: [listener NAME] or [expect NAME]");
        return;
    }
    name += kind + strspn(name + kind, " \t");
    const listener *same = listen_set_find(r->set, name);
    if (!*name || strlen(name) > EVB_GROUP_NAME_MAX || evb_topic_check(name, strlen(name), NULL))
        fault(r, line, "[%s]: a name is like a topic, of at most 128 bytes", name);
    else if (same)
        fault(r, line, "[%s]: it is there already, in %s:%d", name, same->file, same->line);
    else if ((r->now = arena_take(&r->set->memory, sizeof *r->now))) {
        *r->now = (listener){.file = r->file, .line = line, .jobs = 1, .batch = 1, .retry = LISTEN_NONE};
        r->now->name = keep_text(r, name, strlen(name));
        *r->last = r->now;
        r->last = &r->now->next;
        r->set->count++;
    }
}

static void take_setting(void *context, int line, const char *key, const char *value) {
    reading *r = context;
    evb_error why;
    if (!r->now) {
        if (!r->in_section)
            fault(r, line, "%s: it stands in no section: begin with [listener NAME]", key);
        return;
    }
    const char *copy = keep_text(r, value, strlen(value));
    if (!copy || !evb_buf_printf(&r->text, "%s=%s\n", key, value))
        return;
    if (evb_opts_set(r->keys, r->now, key, copy, &why))
        fault(r, line, "[%s] %s", r->now->name, why.text);
}

static void take_fault(void *context, int line, const char *reason) { fault(context, line, "%s", reason); }

/* ---- files ---- */

static void read_one(reading *r, const char *path) {
    struct stat about;
    FILE *file = fopen(path, "re");
    r->file = keep_text(r, path, strlen(path));
    if (!r->file)
        return;
    if (!file || fstat(fileno(file), &about) < 0) {
        fault(r, 0, "%s", strerror(errno));
    } else if (about.st_size > FILE_MAX) {
        fault(r, 0, "larger than 1 MiB");
    } else {
        char *text = malloc((size_t)FILE_MAX);
        size_t size = text ? fread(text, 1, FILE_MAX, file) : 0;
        const listen_lines_to to = {r, take_section, take_setting, take_fault};
        r->in_section = false;
        if (!text || ferror(file) || !listen_lines_read(text, size, &to))
            fault(r, 0, "%s", text && ferror(file) ? strerror(errno) : "out of memory");
        end_section(r);
        free(text);
    }
    if (file)
        fclose(file);
}

static int is_conf(const struct dirent *entry) {
    size_t size = strlen(entry->d_name);
    return size > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + size - 5, ".conf") == 0;
}

static void read_path(reading *r, const char *path) {
    struct dirent **names;
    struct stat about;
    if (stat(path, &about) < 0 || !S_ISDIR(about.st_mode)) {
        read_one(r, path);
        return;
    }
    int count = scandir(path, &names, is_conf, alphasort);
    r->file = path;
    if (count < 0)
        fault(r, 0, "%s", strerror(errno));
    for (int i = 0; i < count; i++) {
        char file[4096];
        if (snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name) < (int)sizeof file)
            read_one(r, file);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

listen_set *listen_set_read(const char *const *paths, size_t count, bool check) {
    reading r = {.set = calloc(1, sizeof *r.set), .check = check};
    if (!r.set)
        return NULL;
    r.last = &r.set->first;
    for (size_t i = 0; i < count; i++)
        read_path(&r, paths[i]);
    evb_buf_free(&r.text);
    if (r.faults)
        listen_set_destroy(&r.set);
    return r.set;
}

void listen_set_destroy(listen_set **self) {
    if (!*self)
        return;
    for (listener *l = (*self)->first; l; l = l->next)
        evb_opt_list_free(&l->env);
    arena_free(&(*self)->memory);
    free(*self);
    *self = NULL;
}

const listener *listen_set_find(const listen_set *self, const char *name) {
    const listener *l = self->first;
    while (l && strcmp(l->name, name) != 0)
        l = l->next;
    return l;
}

/* The command as it would be written in a file. */
static void print_command(const listener *l) {
    evb_buf text = {0};
    for (size_t i = 0; l->argv[i]; i++) {
        listen_words_quote(&text, l->argv[i]);
        evb_buf_add(&text, " ", 1);
    }
    printf("  run = %.*s\n", (int)(text.size ? text.size - 1 : 0), (const char *)text.data);
    evb_buf_free(&text);
}

static void print_key(const char *key, const char *value) {
    if (value)
        printf("  %s = %s\n", key, value);
}

void listen_set_print(const listen_set *self) {
    for (const listener *l = self->first; l; l = l->next) {
        printf("%s (%s:%d)\n  on =", l->name, l->file, l->line);
        for (size_t i = 0; i < l->pattern_count; i++)
            printf("%s %s", i ? "," : "", l->patterns[i]);
        printf("\n");
        print_key("when", l->when);
        if (l->every_ns)
            printf("  every = %.6gs\n", (double)l->every_ns / 1e9);
        print_command(l);
        print_key("input", l->input);
        print_key("publish", l->publish);
        printf("  jobs = %" PRIu64 "\n", l->jobs);
    }
}
