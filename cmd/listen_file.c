/* listen_file.c: from the lines of files to listeners.
 *
 * The keys of a section are a table of options (base/opts.h), as those of a command line are; so a value is read the same way
 * everywhere. A fault is said and the rest is read on, so that one look at a file finds them all.
 * Leaves to others: lines (listen_lines.c), what values mean (listen_values.c), running (listen_run.c). */
#include "listen_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "event/topic.h"
#include "listen_lines.h"
#include "listen_values.h"

enum { FILE_MAX = 1024 * 1024, KEYS_MAX = 32 };

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
_Static_assert(sizeof ROWS / sizeof *ROWS <= KEYS_MAX, "reading.lines has room for each");
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
    int lines[KEYS_MAX]; /* where the keys of the section are set; 0: they are not */
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

/* Where the section that is read sets this key: its line, or 0; NULL: there is no such key. */
static int *line_of(reading *r, const char *key) {
    const evb_opt *row = evb_opts_find(r->keys, key);
    return row ? &r->lines[row - r->keys->rows] : NULL;
}

/* A fault of the section that is read. */
static void fault_of(void *context, const char *key, const char *reason) {
    reading *r = context;
    const int *line = line_of(r, key);
    fault(r, line && *line ? *line : r->now->line, "[%s] %s: %s", r->now->name, key, reason);
}

static bool is_set(const void *context, const char *key) {
    const reading *r = context;
    const evb_opt *row = evb_opts_find(r->keys, key);
    return row && r->lines[row - r->keys->rows];
}

static char *keep_text(reading *r, const char *text, size_t size) {
    char *copy = arena_text(&r->set->memory, text, size);
    if (!copy)
        fault(r, 0, "out of memory");
    return copy;
}

/* The section is read. */
static void end_section(reading *r) {
    listener *l = r->now;
    const listen_values values = {l, &r->set->memory, r->check, r, fault_of, is_set};
    if (!l)
        return;
    l->text = keep_text(r, r->text.size ? (const char *)r->text.data : "", r->text.size);
    r->text.size = 0;
    if (!l->on)
        fault_of(r, r->keys == &KEYS ? "on" : "topic", "it is missing: PATTERN, ...");
    if (r->keys == &EXPECT_KEYS && l->every_ns <= 0)
        fault_of(r, "every", is_set(r, "every") ? "more than 0" : "it is missing: a time, as 25h");
    listen_values_understand(&values);
    r->now = NULL;
}

/* ---- lines ---- */

static void take_section(void *context, int line, const char *name) {
    reading *r = context;
    end_section(r);
    size_t kind = name ? strcspn(name, " \t") : 0;
    r->in_section = true;
    r->keys = kind == 6 && strncmp(name, "expect", 6) == 0 ? &EXPECT_KEYS : &KEYS;
    if (!name)
        return;
    if (r->keys == &KEYS && (kind != 8 || strncmp(name, "listener", 8) != 0)) {
        fault(r, line, "not a section: [listener NAME] or [expect NAME]");
        return;
    }
    name += kind + strspn(name + kind, " \t");
    const listener *same = listen_set_find(r->set, name);
    if (!evb_group_name_valid(name, strlen(name)))
        fault(r, line, "[%s]: a name is like a topic, of at most 128 bytes and 14 tokens", name);
    else if (same)
        fault(r, line, "[%s]: it is there already, in %s:%d", name, same->file, same->line);
    else if ((r->now = arena_take(&r->set->memory, sizeof *r->now))) {
        *r->now = (listener){.file = r->file, .line = line, .jobs = 1, .batch = 1, .retry = LISTEN_NONE};
        memset(r->lines, 0, sizeof r->lines);
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
    int *at = line_of(r, key);
    if (!copy || !evb_buf_printf(&r->text, "%s=%s\n", key, value))
        return;
    if (at && *at && evb_opts_find(r->keys, key)->kind != EVB_OPT_LIST)
        fault(r, line, "[%s] %s: it is there already, in line %d", r->now->name, key, *at);
    else if (at)
        *at = line;
    if (!at)
        fault(r, line, "[%s] %.100s: no such key", r->now->name, key);
    else if (evb_opts_set(r->keys, r->now, key, copy, &why))
        fault(r, line, "[%s] %s", r->now->name, why.text);
}

static void take_fault(void *context, int line, const char *reason) { fault(context, line, "%s", reason); }

/* ---- files ---- */

static void read_one(reading *r, const char *path) {
    r->file = keep_text(r, path, strlen(path));
    if (!r->file)
        return;
    FILE *file = fopen(path, "re");
    if (!file) {
        fault(r, 0, "%s", strerror(errno));
    } else {
        char *text = malloc((size_t)FILE_MAX + 1);
        size_t size = text ? fread(text, 1, (size_t)FILE_MAX + 1, file) : 0;
        const listen_lines_to to = {r, take_section, take_setting, take_fault};
        r->in_section = false;
        if (!text || ferror(file))
            fault(r, 0, "%s", text ? strerror(errno) : "out of memory");
        else if (size > FILE_MAX)
            fault(r, 0, "larger than 1 MiB");
        else if (!listen_lines_read(text, size, &to))
            fault(r, 0, "out of memory");
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

/* Not a fault of a directory whose first file is to come: but nothing to check is. */
static void say_none(reading *r, const char *const *paths, size_t count) {
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "evlisten: no listeners in %s\n", paths[i]);
    r->faults += r->check;
}

listen_set *listen_set_read(const char *const *paths, size_t count, bool check) {
    reading r = {.set = calloc(1, sizeof *r.set), .check = check};
    if (!r.set)
        return NULL;
    r.last = &r.set->first;
    for (size_t i = 0; i < count; i++)
        read_path(&r, paths[i]);
    if (!r.faults && !r.set->count)
        say_none(&r, paths, count);
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
