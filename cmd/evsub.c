/* evsub: prints events: live, from a position on, or both.
 *
 * One loop asks for the next event until there is none at once; then what is printed is written, the cursor follows, and
 * evb_bus_wait sleeps until the hub, a signal, a deadline or the end of stdout's reader wakes it. So under load there is one
 * write(2) for WRITE_SIZE bytes, and a single event is out at once.
 * Invariant: the cursor never passes what was written. `handed` is the position as of the last write that was whole.
 * SIGINT and SIGTERM set a flag and wake the loop by a pipe; a second one kills. alarm(2) ticks after the first, so that a
 * write to a reader who has stopped is interrupted, whenever it began.
 * Leaves to others: order, gaps, reconnects (client), what an event looks like (event/json.h, event/format.h). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/opts.h"
#include "base/paths.h"
#include "base/units.h"
#include "evbus.h"
#include "event/format.h"
#include "event/json.h"
#include "event/limits.h"
#include "event/position.h"

enum { WRITE_SIZE = 128 * 1024 };

/* ---- options ---- */

typedef struct {
    evb_opts_standard standard;
    const char *url, *from, *format, *cursor;
    uint64_t count, ready_fd;
    int64_t timeout_ns, idle_ns;
    const char *to, *speed;
    evb_opt_list excludes;
    const char *group, *backoff;
    int64_t ack_wait_ns;
    uint64_t max_deliver, max_pending;
    bool ordered;
    bool last_per_topic, until_head, allow_gap, topics, nul, raw, json, verbose;
} options;

#define NONE UINT64_MAX

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {0, "from", EVB_OPT_STRING, offsetof(options, from), NULL, "POSITION",
     "begin at first, last, now, a SEQ, a TIME, or -N back", "first last now today yesterday 10m 1h 1d -10"},
    {0, "to", EVB_OPT_STRING, offsetof(options, to), NULL, "POSITION",
     "end behind a SEQ, or the last event of a TIME; wait for it if it is to come", "now today yesterday 10m 1h 1d"},
    {'x', "exclude", EVB_OPT_LIST, offsetof(options, excludes), NULL, "PATTERN", "leave out these topics", NULL},
    {0, "speed", EVB_OPT_STRING, offsetof(options, speed), NULL, "FACTOR",
     "replay at the pace at which it happened (1), faster (10), slower (0.5), or at once (max)", "1 10 max"},
    {0, "last-per-topic", EVB_OPT_FLAG, offsetof(options, last_per_topic), NULL, NULL,
     "begin with each topic's last event", NULL},
    {'e', "end", EVB_OPT_FLAG, offsetof(options, until_head), NULL, NULL, "end at the head of when it started", NULL},
    {'n', "count", EVB_OPT_NUMBER, offsetof(options, count), NULL, "COUNT", "end after COUNT events", NULL},
    {'W', "idle", EVB_OPT_DURATION, offsetof(options, idle_ns), NULL, "SEC",
     "end when no event comes for SEC; exit 1 if -n was not reached", NULL},
    {'t', "topics", EVB_OPT_FLAG, offsetof(options, topics), NULL, NULL, "the topic and a TAB before each event",
     NULL},
    {'0', "null", EVB_OPT_FLAG, offsetof(options, nul), NULL, NULL, "NUL after each event, not newline", NULL},
    {'r', "raw", EVB_OPT_FLAG, offsetof(options, raw), NULL, NULL, "nothing after each event", NULL},
    {'J', "json", EVB_OPT_FLAG, offsetof(options, json), NULL, NULL, "each event as a JSON object", NULL},
    {'F', "format", EVB_OPT_STRING, offsetof(options, format), NULL, "FORMAT",
     "each event so: %t %s %v %T %i %p %h{NAME} %n %%, \\n \\t \\0", NULL},
    {'c', "cursor", EVB_OPT_STRING, offsetof(options, cursor), NULL, "NAME|FILE",
     "begin where this cursor stands, and move it on", "@file"},
    {'g', "group", EVB_OPT_STRING, offsetof(options, group), NULL, "NAME",
     "share the events with the other members of this group", NULL},
    {0, "ack-wait", EVB_OPT_DURATION, offsetof(options, ack_wait_ns), NULL, "SEC",
     "-g: an event not printed for SEC goes to another member (30)", NULL},
    {0, "max-deliver", EVB_OPT_NUMBER, offsetof(options, max_deliver), NULL, "N",
     "-g: after N deliveries in vain an event becomes a dead letter (20)", NULL},
    {0, "backoff", EVB_OPT_STRING, offsetof(options, backoff), NULL, "SEC,...",
     "-g: the waits before the second delivery, the third, ... (1)", NULL},
    {0, "max-pending", EVB_OPT_NUMBER, offsetof(options, max_pending), NULL, "N",
     "-g: at most N events in a member's hand (8192)", NULL},
    {0, "ordered", EVB_OPT_FLAG, offsetof(options, ordered), NULL, NULL,
     "-g: at most one event of a topic in hand at a time", NULL},
    {0, "allow-gap", EVB_OPT_FLAG, offsetof(options, allow_gap), NULL, NULL,
     "go on where retention has removed events", NULL},
    {0, "ready-fd", EVB_OPT_NUMBER, offsetof(options, ready_fd), NULL, "FD",
     "write a newline to FD and close it when subscribed", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub (5; 0: for ever)", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(options, verbose), NULL, NULL,
     "say when it is subscribed, reconnected, caught up", NULL},
    EVB_OPTS_STANDARD(options, standard),
};

static const evb_opts OPTS = {
    "evsub",
    "[OPTION]... [PATTERN]...",
    "Prints the events whose topic matches one of the patterns, or all: live, or from a position on.",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    NULL,
};

/* ---- the session ---- */

typedef struct session {
    options opt;
    char *cursor_path; /* NULL: no cursor */
    evb_format *format;
    bool (*print)(const struct session *, evb_buf *, const evb_event *);
    char after; /* what follows each event, if `ends` */
    bool ends;
    evb_sub_options how;
    evb_group_options group;
    int64_t backoff_ns[EVB_BACKOFF_MAX];
    evb_bus *bus;
    evb_sub *sub;
    evb_buf out;
    int out_errno;         /* why nothing is written any more */
    bool subscribed;       /* the hub has said so */
    bool ready;            /* and it was said on --ready-fd, and the cursor stands */
    bool unprinted;        /* the event in hand is not printed: nothing is acknowledged */
    uint64_t printed;      /* events */
    uint64_t handed, kept; /* positions: all before it is written; what the cursor file says. 0: none yet */
    int64_t kept_ns;       /* when the cursor was last written */
    int64_t idle_since_ns; /* start of the wait for the next event */
    bool new_event;        /* an event has come since that was set */
    double speed;          /* of the replay; 0: at once */
    int64_t begun_ns;      /* when the replay began, by our clock… */
    int64_t first_ns;      /* …and by its events': 0 before the first */
    evb_error err;
} session;

static void say(const char *text) { fprintf(stderr, "evsub: %s\n", text); }

/* ---- signals ---- */

static volatile sig_atomic_t caught;
static int wake[2] = {-1, -1};

static void on_signal(int sig) {
    int keep = errno;
    caught = sig;
    if (write(wake[1], "", 1) < 0) /* full: it wakes already */
        errno = keep;
    alarm(1);
    errno = keep;
}

static void on_alarm(int sig) {
    (void)sig;
    alarm(1);
}

static void catch_signals(void) {
    struct sigaction once = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, tick = {.sa_handler = on_alarm};
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    sigaction(SIGINT, &once, NULL);
    sigaction(SIGTERM, &once, NULL);
    sigaction(SIGALRM, &tick, NULL);
}

static void die_of(int sig) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    signal(sig, SIG_DFL);
    raise(sig);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + sig);
}

/* ---- printing ---- */

static bool print_payload(const session *s, evb_buf *out, const evb_event *event) {
    (void)s;
    if (!evb_buf_reserve(out, event->size + 1)) /* 1: so that what ends it never asks again */
        return false;
    if (event->size)
        memcpy(out->data + out->size, event->payload, event->size);
    out->size += event->size;
    return true;
}

static bool print_json(const session *s, evb_buf *out, const evb_event *event) {
    (void)s;
    return evb_json_add_event(out, event);
}

static bool print_format(const session *s, evb_buf *out, const evb_event *event) {
    return evb_format_add(s->format, out, event);
}

static bool print_event(session *s, const evb_event *event) {
    evb_buf *out = &s->out;
    if (s->opt.topics && !(evb_buf_add(out, event->topic, event->topic_size) && evb_buf_add(out, "\t", 1)))
        return false;
    if (!s->print(s, out, event))
        return false;
    return !s->ends || evb_buf_add(out, &s->after, 1);
}

/* Writes all that is printed. 0; EVB_EIO and out_errno, which is EINTR when a signal ended it. */
static int flush_out(session *s) {
    size_t done = 0;
    while (done < s->out.size && !s->out_errno) {
        ssize_t n = write(STDOUT_FILENO, s->out.data + done, s->out.size - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN)
            poll(&(struct pollfd){STDOUT_FILENO, POLLOUT, 0}, 1, caught ? 0 : -1);
        else if (errno != EINTR)
            s->out_errno = errno;
        if (n < 0 && caught && !s->out_errno)
            s->out_errno = EINTR;
    }
    s->out.size = 0;
    if (s->out_errno)
        return evb_fail_errno(&s->err, EVB_EIO, s->out_errno, "stdout");
    uint64_t position = evb_sub_position(s->sub);
    if (s->ready && position > s->handed)
        s->handed = position;
    if (s->opt.group && !s->unprinted && evb_sub_ack(s->sub, NULL))
        return evb_fail(&s->err, EVB_ENOMEM, "out of memory");
    return 0;
}

/* ---- the cursor, readiness ---- */

static int keep_cursor(session *s) {
    if (!s->cursor_path || !s->handed || s->handed == s->kept)
        return 0;
    int rc = evb_cursor_write(s->cursor_path, s->handed, &s->err);
    s->kept = s->handed;
    s->kept_ns = evb_clock_monotonic_ns();
    return rc;
}

/* ns until the cursor may be written again; negative when it has nothing to say. */
static int64_t cursor_due(const session *s, int64_t now_ns) {
    if (!s->cursor_path || s->handed == s->kept)
        return -1;
    int64_t due = s->kept_ns + EVB_SECOND_NS - now_ns;
    return due < 0 ? 0 : due;
}

/* Says, once, that the position is fixed: by a cursor file that stands there from then on, and on --ready-fd.
 * event: the first, not yet printed, or NULL if none has come. */
static int become_ready(session *s, const evb_event *event) {
    s->ready = true;
    if (!s->kept) {
        s->handed = event && event->seq ? event->seq : evb_sub_position(s->sub);
        int rc = keep_cursor(s);
        if (rc)
            return rc;
    }
    if (s->opt.ready_fd == NONE)
        return 0;
    int fd = (int)s->opt.ready_fd;
    if (write(fd, "\n", 1) != 1)
        return evb_fail_errno(&s->err, EVB_EIO, errno, "--ready-fd %d", fd);
    close(fd);
    return 0;
}

static void on_note(void *context, evb_note note, uint64_t value) {
    session *s = context;
    unsigned long long v = value;
    bool verbose = s->opt.verbose;
    switch (note) {
    case EVB_NOTE_SUBSCRIBED:
        s->subscribed = true;
        if (verbose)
            say("subscribed");
        return;
    case EVB_NOTE_CAUGHT_UP:
        s->speed = 0;
        (void)(verbose && fprintf(stderr, "evsub: caught up at seq %llu\n", v));
        return;
    case EVB_NOTE_DISCONNECTED:
        (void)(verbose && fprintf(stderr, "evsub: the hub is gone: waiting for it\n"));
        return;
    case EVB_NOTE_RECONNECTED: (void)(verbose && fprintf(stderr, "evsub: reconnected, head %llu\n", v)); return;
    case EVB_NOTE_REPAIRED:
        (void)(verbose && fprintf(stderr, "evsub: fetched what the feed dropped: %llu\n", v));
        return;
    case EVB_NOTE_LOST: fprintf(stderr, "evsub: %llu live event%s lost\n", v, v == 1 ? "" : "s"); return;
    case EVB_NOTE_GAP: fprintf(stderr, "evsub: %llu seqs passed over: retention has removed them\n", v); return;
    }
}

/* ---- the loop ---- */

typedef enum { GO_ON, END_COUNT, END_HEAD, END_IDLE, END_SIGNAL, END_READER, END_FAULT } outcome;

static outcome fault_of(const session *s) {
    if (s->out_errno == EINTR)
        return END_SIGNAL;
    return s->out_errno == EPIPE ? END_READER : END_FAULT;
}

/* Sleeps until there may be an event. */
static outcome wait_for_more(session *s) {
    struct pollfd fds[2] = {{wake[0], POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    int64_t now = evb_clock_monotonic_ns(), timeout = cursor_due(s, now);
    if (s->new_event || !s->ready)
        s->idle_since_ns = now;
    s->new_event = false;
    if (s->opt.idle_ns >= 0 && s->ready) {
        int64_t left = s->idle_since_ns + s->opt.idle_ns - now;
        if (left <= 0)
            return END_IDLE;
        timeout = timeout < 0 || left < timeout ? left : timeout;
    }
    if (evb_bus_wait(s->bus, fds, 2, timeout, &s->err) < 0)
        return END_FAULT;
    return fds[1].revents & (POLLERR | POLLHUP) ? END_READER : GO_ON;
}

/* There is no event at once: writes what is printed, moves the cursor if it is time, waits. */
static outcome pause_here(session *s) {
    if (flush_out(s))
        return fault_of(s);
    if (cursor_due(s, evb_clock_monotonic_ns()) == 0 && keep_cursor(s))
        return END_FAULT;
    return wait_for_more(s);
}

/* Under load: writes, and looks at the clock for the cursor only then. */
static outcome write_full(session *s) {
    if (flush_out(s))
        return fault_of(s);
    return cursor_due(s, s->cursor_path ? evb_clock_monotonic_ns() : 0) == 0 && keep_cursor(s) ? END_FAULT : GO_ON;
}

/* Writes what is printed and moves the cursor up to the event, which is not printed yet. */
static int flush_before(session *s, const evb_event *event) {
    bool ready = s->ready;
    s->ready = false;
    int rc = flush_out(s);
    s->ready = ready;
    if (rc == 0 && ready && event->seq > s->handed)
        s->handed = event->seq;
    return rc ? rc : keep_cursor(s);
}

/* Waits until the event is due in a replay at a pace. Nothing is asked of the hub meanwhile. */
static outcome keep_pace(session *s, const evb_event *event) {
    struct pollfd fds[2] = {{wake[0], POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    int64_t now = evb_clock_monotonic_ns();
    if (!s->first_ns) {
        s->first_ns = event->time_ns;
        s->begun_ns = now;
    }
    int64_t due = s->begun_ns + (int64_t)((double)(event->time_ns - s->first_ns) / s->speed);
    if (now < due && flush_before(s, event))
        return s->out_errno ? fault_of(s) : END_FAULT;
    for (; now < due && !caught; now = evb_clock_monotonic_ns()) {
        if (poll(fds, 2, evb_clock_poll_ms(due - now)) > 0 && fds[1].revents & (POLLERR | POLLHUP))
            return END_READER;
    }
    return caught ? END_SIGNAL : GO_ON;
}

static outcome take_event(session *s, const evb_event *event) {
    outcome paced = s->speed > 0 ? keep_pace(s, event) : GO_ON;
    if (paced != GO_ON) {
        s->ready = false; /* so that the cursor stays before it */
        return paced;
    }
    bool ok = print_event(s, event);
    s->unprinted = !ok;
    if (!ok) {
        s->ready = false; /* so that the cursor stays before it */
        evb_fail(&s->err, EVB_ENOMEM, "out of memory");
        return END_FAULT;
    }
    s->new_event = true;
    if (++s->printed == s->opt.count)
        return END_COUNT;
    return s->out.size >= WRITE_SIZE ? write_full(s) : GO_ON;
}

/* One step: an event, or a wait for one. */
static outcome step(session *s) {
    evb_event event;
    int rc = evb_sub_next(s->sub, &event, &s->err);
    if (rc < 0)
        return END_FAULT;
    s->unprinted = rc == EVB_EVENT;
    if (!s->ready && (s->subscribed || rc != EVB_NOTHING) && become_ready(s, rc == EVB_EVENT ? &event : NULL))
        return END_FAULT;
    if (s->opt.count == 0 && s->ready)
        return END_COUNT;
    if (rc == EVB_EVENT)
        return take_event(s, &event);
    return rc == EVB_END ? END_HEAD : pause_here(s);
}

/* Writes what is left and moves the cursor. A fault of the end does not hide an earlier one. */
static outcome finish(session *s, outcome why) {
    evb_error first = s->err;
    bool failed = why == END_FAULT;
    if (why != END_READER && flush_out(s))
        why = failed ? why : fault_of(s);
    if (keep_cursor(s))
        why = END_FAULT;
    if (s->opt.group && !failed && evb_sub_leave(s->sub, &s->err))
        why = END_FAULT;
    if (failed)
        s->err = first;
    return why;
}

/* Runs to the end, and gives the exit code; a signal that is meant to end the process is in *sig. */
static int run(session *s, int *sig) {
    outcome why = GO_ON;
    while (why == GO_ON && !caught)
        why = step(s);
    why = finish(s, caught && why == GO_ON ? END_SIGNAL : why);
    switch (why) {
    case GO_ON:
    case END_COUNT:
    case END_HEAD: return 0;
    case END_IDLE: return s->opt.count == NONE ? 0 : 1;
    case END_SIGNAL: *sig = caught; return 0;
    case END_READER: *sig = SIGPIPE; return 0;
    case END_FAULT: break;
    }
    say(s->err.text);
    return evb_err_exit(s->err.code);
}

/* ---- parse, open ---- */

/* NULL, or what does not go together. */
static const char *conflict(const options *o) {
    if (o->json && o->format)
        return "-J and -F do not go together";
    if (o->nul && o->raw)
        return "-0 and -r do not go together";
    if (o->group && (o->cursor || o->last_per_topic))
        return "-g goes neither with -c nor with --last-per-topic: the hub keeps the group's position";
    if (!o->group &&
        (o->ack_wait_ns > 0 || o->max_deliver != NONE || o->max_pending != NONE || o->backoff || o->ordered))
        return "--ack-wait, --max-deliver, --backoff, --max-pending and --ordered go with -g NAME";
    if (o->ack_wait_ns == 0 || o->max_deliver == 0 || o->max_pending == 0)
        return "--ack-wait, --max-deliver and --max-pending are more than 0";
    if (o->group && (o->to || o->excludes.count || o->speed))
        return "-g goes neither with --to nor with -x nor with --speed";
    if (o->from && o->last_per_topic)
        return "--from and --last-per-topic do not go together";
    if (o->ready_fd != NONE &&
        (o->ready_fd <= STDERR_FILENO || o->ready_fd > INT_MAX || fcntl((int)o->ready_fd, F_GETFD) < 0))
        return "--ready-fd: not an open descriptor above 2";
    return NULL;
}

static int set_form(session *s) {
    const options *o = &s->opt;
    s->ends = !o->raw && (!o->format || o->nul);
    s->after = o->nul ? '\0' : '\n';
    s->print = o->json ? print_json : o->format ? print_format : print_payload;
    if (!o->format)
        return 0;
    s->format = evb_format_new(o->format, &s->err);
    return s->format ? 0 : s->err.code;
}

static int set_position(session *s) {
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

static int set_end(session *s) {
    evb_from form;
    evb_error why;
    uint64_t value;
    s->how.excludes = s->opt.excludes.items;
    s->how.exclude_count = s->opt.excludes.count;
    if (!s->opt.to)
        return 0;
    int rc = evb_position_parse(s->opt.to, evb_clock_wall_ns(), &form, &value, &why);
    if (rc)
        return evb_fail(&s->err, rc, "--to: %.400s", why.text);
    s->how.has_to = true;
    if (form == EVB_FROM_SEQ && value)
        s->how.to = value;
    else if (form == EVB_FROM_TIME)
        s->how.to_ns = (int64_t)value;
    else if (form == EVB_FROM_NOW)
        s->how.to_ns = evb_clock_wall_ns();
    else
        return evb_fail(&s->err, EVB_EINVAL, "--to %s: a seq of 1 or more, or a time", s->opt.to);
    return 0;
}

static int set_speed(session *s) {
    char *end;
    if (!s->opt.speed || strcmp(s->opt.speed, "max") == 0)
        return 0;
    s->speed = strtod(s->opt.speed, &end);
    if (end == s->opt.speed || *end || !(s->speed >= 1e-6 && s->speed <= 1e9))
        return evb_fail(&s->err, EVB_EINVAL, "--speed %s: a factor above 0, as 1, 10 or 0.5, or max", s->opt.speed);
    return 0;
}

/* Reads --backoff: durations with commas between them. */
static int set_backoff(session *s) {
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
            return evb_fail(&s->err, EVB_EINVAL, "--backoff %s: %s: %s", s->opt.backoff, one, fault);
    }
    s->group.backoff_ns = s->backoff_ns;
    return 0;
}

static int set_group(session *s) {
    const options *o = &s->opt;
    if (!o->group)
        return 0;
    s->group = (evb_group_options){.name = o->group,
                                   .ack_wait_ns = o->ack_wait_ns > 0 ? o->ack_wait_ns : 0,
                                   .max_deliver = o->max_deliver == NONE ? 0 : o->max_deliver,
                                   .max_pending = o->max_pending == NONE ? 0 : o->max_pending,
                                   .ordered = o->ordered};
    s->how.group = &s->group;
    return set_backoff(s);
}

static evb_environment environment(void) {
    return (evb_environment){getenv("EVBUS_URL"), getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"),
                             getuid()};
}

/* A cursor that is there goes before --from. */
static int set_cursor(session *s) {
    const evb_environment env = environment();
    bool found;
    if (!s->opt.cursor)
        return 0;
    s->cursor_path = evb_paths_cursor(&env, s->opt.cursor, &s->err);
    if (!s->cursor_path)
        return s->err.code;
    int rc = evb_cursor_read(s->cursor_path, &s->kept, &found, &s->err);
    if (rc || !found)
        return rc;
    s->handed = s->kept;
    s->how.from = EVB_FROM_SEQ;
    s->how.value = s->kept;
    return 0;
}

static int print_answer(session *s, bool *asked) {
    int rc = evb_opts_answer(&OPTS, &s->opt.standard, &s->out, asked, &s->err);
    if (rc || !*asked)
        return rc;
    bool ok = fwrite(s->out.data, 1, s->out.size, stdout) == s->out.size && fflush(stdout) == 0;
    return ok || errno == EPIPE ? 0 : evb_fail_errno(&s->err, EVB_EIO, errno, "stdout");
}

static int parse(session *s, int argc, char **argv, bool *asked) {
    int first, rc;
    s->opt.count = s->opt.ready_fd = NONE;
    s->opt.max_deliver = s->opt.max_pending = NONE;
    s->opt.idle_ns = s->opt.ack_wait_ns = -1;
    s->opt.timeout_ns = 5 * EVB_SECOND_NS;
    if ((rc = evb_opts_parse(&OPTS, &s->opt, argc, argv, &first, &s->err)) || (rc = print_answer(s, asked)) || *asked)
        return rc;
    const char *wrong = conflict(&s->opt);
    if (wrong)
        return evb_fail(&s->err, EVB_EINVAL, "%s", wrong);
    s->how.patterns = (const char *const *)(argv + first);
    s->how.pattern_count = (size_t)(argc - first);
    if ((rc = set_form(s)) || (rc = set_position(s)) || (rc = set_group(s)) || (rc = set_end(s)) ||
        (rc = set_speed(s)))
        return rc;
    return set_cursor(s);
}

/* A cursor beyond the hub's journal is another journal's: going on from it would pass over events in silence. */
static int check_cursor(session *s) {
    evb_status hub;
    if (!s->kept)
        return 0;
    int rc = evb_bus_status(s->bus, &hub, &s->err);
    if (rc || s->kept <= hub.head + 1)
        return rc;
    return evb_fail(&s->err, EVB_EGONE,
                    "%s: stands at %" PRIu64 ", beyond the journal's end at %" PRIu64
                    ": it is another journal's; remove it to begin anew",
                    s->cursor_path, s->kept, hub.head);
}

static int open_sub(session *s) {
    const evb_environment env = environment();
    char *url = s->opt.url ? strdup(s->opt.url) : evb_paths_url(&env, &s->err);
    if (url)
        s->bus = evb_bus_new(url, s->opt.timeout_ns ? s->opt.timeout_ns : -1, &s->err);
    free(url);
    if (s->bus && check_cursor(s) == 0)
        s->sub = evb_sub_new(s->bus, &s->how, on_note, s, &s->err);
    return s->sub ? 0 : s->err.code;
}

/* Puts something that fails in the place of a standard descriptor that is closed, so that no socket gets its number. */
static void hold_descriptors(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* With -n 0 there is nothing to wait for, but a cursor or a group that is to be made. */
static bool nothing_to_do(const session *s) {
    return s->opt.count == 0 && !s->opt.group && (!s->cursor_path || s->kept);
}

int main(int argc, char **argv) {
    static session s;
    bool asked = false;
    int sig = 0, code;
    hold_descriptors();
    signal(SIGPIPE, SIG_IGN);
    int rc = parse(&s, argc, argv, &asked);
    bool go = !rc && !asked && !nothing_to_do(&s);
    if (go) {
        catch_signals();
        rc = open_sub(&s);
    }
    if (rc)
        say(s.err.text);
    code = rc || !go ? evb_err_exit(rc) : run(&s, &sig);
    if (sig)
        die_of(sig);
    _exit(code); /* all is written: nothing to take down */
}
