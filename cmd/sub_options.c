/* sub_options.c: evsub's options, what goes together, and what they mean for the subscription.
 *
 * Leaves to others: times and positions (event/position.h, base/units.h), the cursor's file (base/cursor.h). */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/replace.h"
#include "base/units.h"
#include "event/position.h"
#include "program.h"
#include "sub_session.h"

enum { JOBS_MAX = 1024, BATCH_MAX = 65536 };

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(sub_options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {0, "from", EVB_OPT_STRING, offsetof(sub_options, from), NULL, "POSITION",
     "begin at first, last, now, a SEQ, a TIME, or -N back", "first last now today yesterday 10m 1h 1d -10"},
    {0, "to", EVB_OPT_STRING, offsetof(sub_options, to), NULL, "POSITION",
     "end behind a SEQ, or the last event of a TIME; wait for it if it is to come", "now today yesterday 10m 1h 1d"},
    {'x', "exclude", EVB_OPT_LIST, offsetof(sub_options, excludes), NULL, "PATTERN", "leave out these topics", NULL},
    {0, "where", EVB_OPT_STRING, offsetof(sub_options, where), NULL, "EXPR",
     "only events for which this expression of jq(1) holds, as .data.total > 10", NULL},
    {0, "speed", EVB_OPT_STRING, offsetof(sub_options, speed), NULL, "FACTOR",
     "replay at the pace at which it happened (1), faster (10), slower (0.5), or at once (max)", "1 10 max"},
    {0, "last-per-topic", EVB_OPT_FLAG, offsetof(sub_options, last_per_topic), NULL, NULL,
     "begin with each topic's last event", NULL},
    {'e', "end", EVB_OPT_FLAG, offsetof(sub_options, until_head), NULL, NULL, "end at the head of when it started",
     NULL},
    {'n', "count", EVB_OPT_NUMBER, offsetof(sub_options, count), NULL, "COUNT", "end after COUNT events", NULL},
    {'W', "idle", EVB_OPT_DURATION, offsetof(sub_options, idle_ns), NULL, "SEC",
     "end when no event comes for SEC; exit 1 if -n was not reached", NULL},
    {'t', "topics", EVB_OPT_FLAG, offsetof(sub_options, topics), NULL, NULL, "the topic and a TAB before each event",
     NULL},
    {'0', "null", EVB_OPT_FLAG, offsetof(sub_options, nul), NULL, NULL, "NUL after each event, not newline", NULL},
    {'r', "raw", EVB_OPT_FLAG, offsetof(sub_options, raw), NULL, NULL, "nothing after each event", NULL},
    {'J', "json", EVB_OPT_FLAG, offsetof(sub_options, json), NULL, NULL, "each event as a JSON object", NULL},
    {'F', "format", EVB_OPT_STRING, offsetof(sub_options, format), NULL, "FORMAT",
     "each event so: %t %s %v %T %i %p %h{NAME} %n %%, \\n \\t \\0", NULL},
    {'c', "cursor", EVB_OPT_STRING, offsetof(sub_options, cursor), NULL, "NAME|FILE",
     "begin where this cursor stands, and move it on", "@file"},
    {'g', "group", EVB_OPT_STRING, offsetof(sub_options, group), NULL, "NAME",
     "share the events with the other members of this group", NULL},
    {0, "ack-wait", EVB_OPT_DURATION, offsetof(sub_options, ack_wait_ns), NULL, "SEC",
     "-g: an event not printed for SEC goes to another member (30)", NULL},
    {0, "max-deliver", EVB_OPT_NUMBER, offsetof(sub_options, max_deliver), NULL, "N",
     "-g: after N deliveries in vain an event becomes a dead letter (20)", NULL},
    {0, "backoff", EVB_OPT_STRING, offsetof(sub_options, backoff), NULL, "SEC,...",
     "-g: the waits before the second delivery, the third, ... (1)", NULL},
    {0, "max-pending", EVB_OPT_NUMBER, offsetof(sub_options, max_pending), NULL, "N",
     "-g: at most N events in a member's hand (8192)", NULL},
    {0, "ordered", EVB_OPT_FLAG, offsetof(sub_options, ordered), NULL, NULL,
     "-g: at most one event of a topic in hand at a time", NULL},
    {'j', "jobs", EVB_OPT_NUMBER, offsetof(sub_options, jobs), NULL, "N",
     "-- CMD: so many commands at once, each topic's events in order (1)", NULL},
    {0, "cmd-timeout", EVB_OPT_DURATION, offsetof(sub_options, cmd_timeout_ns), NULL, "SEC",
     "-- CMD: SIGTERM to a command that takes longer, then SIGKILL", NULL},
    {0, "batch", EVB_OPT_NUMBER, offsetof(sub_options, batch), NULL, "N",
     "-- CMD: up to N events to one run, as JSON lines", NULL},
    {0, "keep", EVB_OPT_FLAG, offsetof(sub_options, keep), NULL, NULL,
     "-- CMD: start it once; it reads JSON lines and answers each with a line", NULL},
    {0, "strict", EVB_OPT_FLAG, offsetof(sub_options, strict), NULL, NULL, "-- CMD: end when a command fails", NULL},
    {0, "shell", EVB_OPT_STRING, offsetof(sub_options, shell), NULL, "LINE", "the command is this line of the shell",
     NULL},
    {0, "allow-gap", EVB_OPT_FLAG, offsetof(sub_options, allow_gap), NULL, NULL,
     "go on where retention has removed events", NULL},
    {0, "ready-fd", EVB_OPT_NUMBER, offsetof(sub_options, ready_fd), NULL, "FD",
     "write a newline to FD and close it when subscribed", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(sub_options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub (5; 0: for ever)", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(sub_options, verbose), NULL, NULL,
     "say when it is subscribed, reconnected, caught up", NULL},
    EVB_OPTS_STANDARD(sub_options, standard),
};

static const evb_opts OPTS = {
    "evsub",
    "[OPTION]... [PATTERN]... [-- CMD [ARG]...]",
    "Prints the events whose topic matches one of the patterns, or all: live, or from a position on.\n"
    "With a command it is run for each of them, the payload on its stdin.",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    NULL,
};

/* NULL, or what does not go with a command… */
static const char *command_conflict(const sub_options *o) {
    if (o->topics || o->nul || o->raw || o->format || o->speed)
        return "-t, -0, -r, -F and --speed are for printing: a command reads the payload, or with -J a JSON line";
    if (o->keep && o->batch != SUB_NONE)
        return "--keep and --batch do not go together";
    if (o->jobs == 0 || (o->jobs != SUB_NONE && o->jobs > JOBS_MAX))
        return "-j: from 1 to 1024";
    if (o->batch == 0 || (o->batch != SUB_NONE && o->batch > BATCH_MAX))
        return "--batch: from 1 to 65536";
    if (o->strict && o->group)
        return "--strict and -g do not go together: what fails in a group is tried again, then a dead letter";
    return NULL;
}

/* …or without one. */
static const char *printing_conflict(const sub_options *o) {
    if (o->jobs != SUB_NONE || o->batch != SUB_NONE || o->cmd_timeout_ns || o->keep || o->strict)
        return "-j, --cmd-timeout, --batch, --keep and --strict go with a command: -- CMD ARG...";
    return NULL;
}

/* NULL, or what does not go together. */
static const char *conflict(const sub_options *o) {
    const char *wrong;
    if (o->json && o->format)
        return "-J and -F do not go together";
    if (o->nul && o->raw)
        return "-0 and -r do not go together";
    if (o->group && (o->cursor || o->last_per_topic))
        return "-g goes neither with -c nor with --last-per-topic: the hub keeps the group's position";
    if (!o->group &&
        (o->ack_wait_ns > 0 || o->max_deliver != SUB_NONE || o->max_pending != SUB_NONE || o->backoff || o->ordered))
        return "--ack-wait, --max-deliver, --backoff, --max-pending and --ordered go with -g NAME";
    if (o->ack_wait_ns == 0)
        return "--ack-wait: more than 0";
    if (o->max_deliver == 0)
        return "--max-deliver: more than 0";
    if (o->max_pending == 0)
        return "--max-pending: more than 0";
    if (o->group && (o->to || o->excludes.count || o->speed))
        return "-g goes neither with --to nor with -x nor with --speed";
    if (o->from && o->last_per_topic)
        return "--from and --last-per-topic do not go together";
    wrong = o->command ? command_conflict(o) : printing_conflict(o);
    if (wrong)
        return wrong;
    if (o->ready_fd != SUB_NONE && !program_is_ready_fd(o->ready_fd))
        return PROGRAM_NO_READY_FD;
    return NULL;
}

static int set_form(sub_session *s) {
    const sub_options *o = &s->opt;
    evb_error why;
    if (o->where && !(s->where = evb_where_new(o->where, &why)))
        return evb_fail(&s->err, why.code, "--where: %.400s", why.text);
    s->ends = !o->raw && (!o->format || o->nul);
    s->after = o->nul ? '\0' : '\n';
    if (!o->format)
        return 0;
    s->format = evb_format_new(o->format, &s->err);
    return s->format ? 0 : s->err.code;
}

static int set_position(sub_session *s) {
    evb_error why;
    s->how.from = s->opt.last_per_topic ? EVB_FROM_LAST_PER_TOPIC : EVB_FROM_NOW;
    s->how.until_head = s->opt.until_head;
    s->how.allow_gap = s->opt.allow_gap;
    s->how.kind = "evsub";
    if (!s->opt.from)
        return 0;
    int rc = evb_position_parse(s->opt.from, evb_clock_wall_ns(), &s->how.from, &s->how.value, &why);
    return rc ? evb_fail(&s->err, rc, "--from: %.400s", why.text) : 0;
}

static int set_end(sub_session *s) {
    evb_from form;
    evb_error why;
    uint64_t value;
    s->how.excludes = s->opt.excludes.items;
    s->how.exclude_count = s->opt.excludes.count;
    if (!s->opt.to)
        return 0;
    int rc = evb_position_parse(s->opt.to, evb_clock_wall_ns(), &form, &value, &why);
    s->how.has_to = true;
    if (!rc && form == EVB_FROM_SEQ && value)
        s->how.to = value;
    else if (!rc && form == EVB_FROM_TIME)
        s->how.to_ns = (int64_t)value;
    else if (!rc && form == EVB_FROM_NOW)
        s->how.to_ns = evb_clock_wall_ns();
    else
        return evb_fail(&s->err, EVB_EINVAL, "--to: '%.100s': neither a seq of 1 or more, nor now, nor a time",
                        s->opt.to);
    return 0;
}

static int set_speed(sub_session *s) {
    char *end;
    if (!s->opt.speed || strcmp(s->opt.speed, "max") == 0)
        return 0;
    s->speed = strtod(s->opt.speed, &end);
    if (end == s->opt.speed || *end || !(s->speed >= 1e-6 && s->speed <= 1e9))
        return evb_fail(&s->err, EVB_EINVAL, "--speed %s: a factor above 0, as 1, 10 or 0.5, or max", s->opt.speed);
    return 0;
}

/* Reads --backoff: durations with commas between them. */
static int set_backoff(sub_session *s) {
    char text[512];
    if (!s->opt.backoff)
        return 0;
    if (snprintf(text, sizeof text, "%s", s->opt.backoff) >= (int)sizeof text)
        return evb_fail(&s->err, EVB_EINVAL, "--backoff: too long");
    char *rest = text;
    for (char *one; (one = strsep(&rest, ","));) {
        if (s->group.backoff_count == EVB_BACKOFF_MAX)
            return evb_fail(&s->err, EVB_EINVAL, "--backoff: at most %d waits", EVB_BACKOFF_MAX);
        const char *fault = evb_duration_parse(one, &s->backoff_ns[s->group.backoff_count++]);
        if (fault)
            return evb_fail(&s->err, EVB_EINVAL, "--backoff %s: '%s': %s", s->opt.backoff, one, fault);
    }
    s->group.backoff_ns = s->backoff_ns;
    return 0;
}

/* How many events to have in hand for the command, where it takes long: more than are run at once where those may be of
 * one topic. */
static uint64_t hands(const sub_options *o) {
    uint64_t jobs = o->jobs == SUB_NONE ? 1 : o->jobs, batch = o->batch == SUB_NONE ? 1 : o->batch;
    return o->command ? jobs * batch * (jobs > 1 ? 2 : 1) : 0;
}

static int set_group(sub_session *s) {
    const sub_options *o = &s->opt;
    if (!o->group)
        return 0;
    s->group = (evb_group_options){.name = o->group,
                                   .ack_wait_ns = o->ack_wait_ns > 0 ? o->ack_wait_ns : 0,
                                   .max_deliver = o->max_deliver == SUB_NONE ? 0 : o->max_deliver,
                                   .max_pending = o->max_pending == SUB_NONE ? 0 : o->max_pending,
                                   .ordered = o->ordered,
                                   .working = o->command,
                                   .at_once = hands(o)};
    s->how.group = &s->group;
    return set_backoff(s);
}

/* Takes the lock beside the cursor, for as long as we run: two that move one cursor would each do the other's work again. */
static int lock_cursor(sub_session *s) {
    char lock[PATH_MAX];
    if (snprintf(lock, sizeof lock, "%s.lock", s->cursor_path) >= (int)sizeof lock)
        return evb_fail(&s->err, EVB_EINVAL, "%.300s: path too long", s->cursor_path);
    int rc = evb_replace_way(lock, &s->err);
    int fd = rc ? rc : evb_lock_take(lock, &s->err);
    return fd < 0 ? fd : 0;
}

/* A cursor that is there goes before --from. */
static int set_cursor(sub_session *s) {
    const evb_environment env = program_environment();
    bool found;
    if (!s->opt.cursor)
        return 0;
    s->cursor_path = evb_paths_cursor(&env, s->opt.cursor, &s->err);
    if (!s->cursor_path)
        return s->err.code;
    size_t size = strlen(s->cursor_path);
    if (size >= 5 && strcmp(s->cursor_path + size - 5, ".lock") == 0)
        return evb_fail(&s->err, EVB_EINVAL, "-c %.300s: what ends in .lock is a cursor's lock", s->opt.cursor);
    int rc = lock_cursor(s);
    rc = rc ? rc : evb_cursor_read(s->cursor_path, &s->kept, &found, &s->err);
    if (rc || !found)
        return rc;
    s->handed = s->kept;
    s->how.from = EVB_FROM_SEQ;
    s->how.value = s->kept;
    return 0;
}

/* What stands behind "--" is the command. Returns how many arguments stand before it. */
static int take_command(sub_session *s, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            argv[i] = NULL;
            s->opt.command = argv + i + 1;
            return i;
        }
    return argc;
}

/* --shell LINE is a command, too. */
static const char *set_command(sub_options *o) {
    static char shell[] = "/bin/sh", flag[] = "-c";
    static char *line[4] = {shell, flag};
    if (o->command && !*o->command)
        return "-- is followed by a command";
    if (o->shell && o->command)
        return "--shell LINE is the command: nothing follows --";
    if (o->shell) {
        line[2] = strdup(o->shell);
        o->command = line;
    }
    return NULL;
}

int sub_parse(sub_session *s, int argc, char **argv, bool *asked) {
    int first, rc;
    s->opt.count = s->opt.ready_fd = SUB_NONE;
    s->opt.max_deliver = s->opt.max_pending = s->opt.jobs = s->opt.batch = SUB_NONE;
    int count = take_command(s, argc, argv);
    s->opt.idle_ns = s->opt.ack_wait_ns = -1;
    s->opt.timeout_ns = 5 * EVB_SECOND_NS;
    if ((rc = evb_opts_parse(&OPTS, &s->opt, count, argv, &first, &s->err)) ||
        (rc = program_answer(&OPTS, &s->opt.standard, asked, &s->err)) || *asked)
        return rc;
    const char *wrong = set_command(&s->opt);
    wrong = wrong ? wrong : conflict(&s->opt);
    if (wrong)
        return evb_fail(&s->err, EVB_EINVAL, "%s", wrong);
    if (s->opt.command && (rc = program_find(*s->opt.command, &s->err)))
        return rc;
    s->how.patterns = (const char *const *)(argv + first);
    s->how.pattern_count = (size_t)(count - first);
    if ((rc = set_form(s)) || (rc = set_position(s)) || (rc = set_group(s)) || (rc = set_end(s)) ||
        (rc = set_speed(s)))
        return rc;
    return set_cursor(s);
}
