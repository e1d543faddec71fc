/* listen_values.c: patterns, waits, words, users, expressions.
 *
 * Nothing is left to be found out when the listener runs that can be known before.
 * Leaves to others: which keys there are and of what kind (listen_file.c), words (listen_words.c). */
#include "listen_values.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
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
#include "listen_words.h"
#include "program.h"

enum { JOBS_MAX = 1024, BATCH_MAX = 65536, RETRY_MAX = 1000000000, PRIVILEGE_WORDS = 6 };
static const char SEPARATORS[] = ", \t\n", BLANKS[] = " \t\n";

static void fault(const listen_values *self, const char *key, const char *reason) {
    self->fault(self->context, key, reason);
}

static char *keep_text(const listen_values *self, const char *key, const char *text, size_t size) {
    char *copy = arena_text(self->memory, text, size);
    if (!copy)
        fault(self, key, "out of memory");
    return copy;
}

/* The next item of a list with commas or blanks between; false: there is none. */
static bool next_item(const char **at, const char **item, size_t *size) {
    *item = *at + strspn(*at, SEPARATORS);
    *size = strcspn(*item, SEPARATORS);
    *at = *item + *size;
    return *size;
}

/* ---- which events ---- */

static void understand_on(const listen_values *self) {
    listener *l = self->l;
    const char *key = l->every_ns || self->is_set(self->context, "topic") ? "topic" : "on", *item;
    size_t room = 1, size;
    evb_error why;
    if (!l->on)
        return;
    for (const char *at = l->on; next_item(&at, &item, &size);)
        room++;
    l->patterns = arena_take(self->memory, room * sizeof *l->patterns);
    for (const char *at = l->on; l->patterns && next_item(&at, &item, &size);) {
        if (evb_pattern_check(item, size, &why))
            fault(self, key, why.text);
        if (!(l->patterns[l->pattern_count++] = keep_text(self, key, item, size)))
            return;
    }
    if (!l->pattern_count)
        fault(self, key, "no pattern");
}

static void understand_from(const listen_values *self) {
    listener *l = self->l;
    evb_error why;
    l->start = EVB_FROM_NOW;
    if (!l->from)
        return;
    if (evb_position_parse(l->from, evb_clock_wall_ns(), &l->start, &l->start_value, &why))
        fault(self, "from", why.text);
    else if (l->start == EVB_FROM_LAST_PER_TOPIC)
        fault(self, "from", "a group reads on from one place");
}

static void check_when(const listen_values *self) {
    evb_error why;
    evb_where *where = self->l->when ? evb_where_new(self->l->when, &why) : NULL;
    if (self->l->when && !where)
        fault(self, "when", why.text);
    evb_where_destroy(&where);
}

/* ---- again ---- */

/* Whether there is a comma with no item before it or behind it. */
static bool has_gap(const char *list) {
    for (const char *at = list;; at++) {
        at += strspn(at, BLANKS);
        if (!*at || *at == ',')
            return true;
        while (*at && *at != ',') {
            at += strcspn(at, SEPARATORS);
            at += strspn(at, BLANKS);
        }
        if (!*at)
            return false;
    }
}

/* Takes one wait; false: it is none, or one too many. */
static bool take_wait(const listen_values *self, const char *text, size_t size) {
    listener *l = self->l;
    char one[64], reason[160];
    if (l->backoff_count == EVB_BACKOFF_MAX) {
        fault(self, "backoff", "at most 16 waits");
        return false;
    }
    snprintf(one, sizeof one, "%.*s", size < sizeof one ? (int)size : (int)sizeof one - 1, text);
    const char *why = evb_duration_parse(one, &l->backoff_ns[l->backoff_count]);
    if (why) {
        snprintf(reason, sizeof reason, "'%s': %s", one, why);
        fault(self, "backoff", reason);
        return false;
    }
    l->backoff_count++;
    return true;
}

static void understand_backoff(const listen_values *self) {
    const char *item, *at = self->l->backoff;
    size_t size;
    if (!at)
        return;
    if (has_gap(at))
        take_wait(self, "", 0);
    else
        while (next_item(&at, &item, &size) && take_wait(self, item, size))
            continue;
}

/* ---- the command ---- */

/* The options of setpriv(1) that make the command the user's. Returns how many words. */
static size_t change_user(const listen_values *self, const struct passwd *pw) {
    const char **argv = self->l->argv;
    char option[2][80];
    evb_error why;
    snprintf(option[0], sizeof option[0], "--reuid=%u", pw->pw_uid);
    snprintf(option[1], sizeof option[1], "--regid=%u", pw->pw_gid);
    argv[0] = "setpriv";
    argv[1] = keep_text(self, "user", option[0], strlen(option[0]));
    argv[2] = keep_text(self, "user", option[1], strlen(option[1]));
    argv[3] = "--init-groups";
    argv[4] = "--";
    self->l->home = keep_text(self, "user", pw->pw_dir, strlen(pw->pw_dir));
    if (self->check && program_find(argv[0], &why))
        fault(self, "user", why.text);
    return argv[1] && argv[2] ? 5 : 0;
}

/* The user to change to; NULL: none. */
static const struct passwd *other_user(const listen_values *self) {
    const char *user = self->l->user;
    errno = 0;
    const struct passwd *pw = user ? getpwnam(user) : NULL;
    if (user && !pw)
        fault(self, "user", errno ? strerror(errno) : "there is no such user");
    if (!pw || pw->pw_uid == getuid())
        return NULL;
    if (getuid()) {
        fault(self, "user", "only root may run commands as another user");
        return NULL;
    }
    return pw;
}

/* The words of the command, each with a NUL behind it; 0: there are none. */
static size_t read_words(const listen_values *self, evb_buf *words) {
    const listener *l = self->l;
    evb_error why = {.text = "no command"};
    size_t count = 0;
    if (l->shell && !l->run && evb_buf_add(words, "/bin/sh\0-c", 11) &&
        evb_buf_add(words, l->shell, strlen(l->shell) + 1))
        return 3;
    if (l->shell || !l->run)
        return 0;
    if (listen_words(l->run, words, &count, &why) || !count)
        fault(self, "run", why.text);
    return count;
}

/* Whether the command is there, seen from where it is to be run. */
static void find_command(const listen_values *self, const char *command) {
    char path[PATH_MAX];
    evb_error why;
    const char *cwd = self->l->cwd;
    if (cwd && *command != '/' && strchr(command, '/') &&
        snprintf(path, sizeof path, "%s/%s", cwd, command) < (int)sizeof path)
        command = path;
    if (program_find(command, &why))
        fault(self, self->l->run ? "run" : "shell", why.text);
}

static void understand_command(const listen_values *self) {
    listener *l = self->l;
    evb_buf words = {0};
    const struct passwd *pw = other_user(self);
    size_t count = read_words(self, &words), n = 0;
    const char *at = count ? keep_text(self, "run", (const char *)words.data, words.size) : NULL;
    evb_buf_free(&words);
    l->argv = at ? arena_take(self->memory, (count + PRIVILEGE_WORDS) * sizeof *l->argv) : NULL;
    if (!l->argv)
        return;
    if (self->check)
        find_command(self, at);
    if (pw)
        n = change_user(self, pw);
    l->command = l->argv + n;
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1)
        l->argv[n++] = at;
}

static void check_place(const listen_values *self) {
    const listener *l = self->l;
    struct stat about;
    if (l->cwd && self->check && (stat(l->cwd, &about) < 0 || access(l->cwd, X_OK) < 0))
        fault(self, "cwd", strerror(errno));
    else if (l->cwd && self->check && !S_ISDIR(about.st_mode))
        fault(self, "cwd", strerror(ENOTDIR));
    for (size_t i = 0; i < l->env.count; i++)
        if (!strchr(l->env.items[i], '=') || *l->env.items[i] == '=')
            fault(self, "env", "NAME=VALUE");
}

/* ---- what goes in and comes out ---- */

static void check_input(const listen_values *self) {
    const listener *l = self->l;
    evb_error why;
    bool payload = l->input && strcmp(l->input, "payload") == 0;
    if (l->batch > 1 && (payload || listener_has_expression(l)))
        fault(self, "input", "with batch it is json");
    if (l->keep && payload)
        fault(self, "input", "with keep it is json or an expression");
    if (!listener_has_expression(l))
        return;
    evb_expr *expr = evb_expr_new(l->input, NULL, 0, &why);
    if (!expr)
        fault(self, "input", why.text);
    evb_expr_destroy(&expr);
}

static void check_output(const listen_values *self) {
    const listener *l = self->l;
    evb_error why;
    if (l->publish && evb_topic_check(l->publish, strlen(l->publish), &why))
        fault(self, "publish", why.text);
}

/* ---- numbers ---- */

static void check_numbers(const listen_values *self) {
    const listener *l = self->l;
    if (!l->jobs || l->jobs > JOBS_MAX)
        fault(self, "jobs", "from 1 to 1024");
    if (!l->batch || l->batch > BATCH_MAX)
        fault(self, "batch", "from 1 to 65536");
    if (l->keep && l->batch > 1)
        fault(self, "batch", "it does not go with keep");
    if (l->retry != LISTEN_NONE && l->retry > RETRY_MAX)
        fault(self, "retry", "at most 1000000000");
    if (self->is_set(self->context, "ack-wait") && l->ack_wait_ns <= 0)
        fault(self, "ack-wait", "more than 0");
}

bool listener_has_expression(const listener *self) {
    return self->input && strcmp(self->input, "payload") != 0 && strcmp(self->input, "json") != 0;
}

void listen_values_understand(const listen_values *self) {
    if (!self->l->run == !self->l->shell)
        fault(self, self->l->run ? "shell" : "run", "there is to be one of run = COMMAND and shell = LINE");
    check_numbers(self);
    understand_on(self);
    understand_from(self);
    understand_backoff(self);
    understand_command(self);
    check_place(self);
    check_when(self);
    check_input(self);
    check_output(self);
}
