/* evpub: publishes events: from an argument, a file, or the lines of stdin.
 *
 * Streams are one loop around evb_bus_wait. The input is read in large pieces and only when all of the last piece has been
 * taken by the publisher, so that nothing is read that the window has no room for. Batches leave when they are full, and
 * whenever the input has nothing more at once. What the hub acknowledges comes back through on_stored, and only that
 * is ever counted as stored.
 * SIGINT and SIGTERM set a flag, wake the loop by a pipe and end the reading; a second one kills. alarm(2) ticks after the
 * first, so that a call that blocks after the flag was looked at is interrupted too.
 * Leaves to others: batches, the window, coming back after a lost hub (client), JSON (event/json.h). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/opts.h"
#include "base/units.h"
#include "evbus.h"
#include "event/cause.h"
#include "event/json.h"
#include "event/limits.h"
#include "event/position.h"
#include "printed.h"
#include "program.h"
#include "pub_spool.h"
#include "signals.h"

enum {
    READ_SIZE = 256 * 1024,
    PRINT_SIZE = 64 * 1024,  /* -p: what is held back under load */
    LINE_EXTRA = 1024 * 1024 /* a JSON line: its headers and names, beside the payload */
};

/* ---- options ---- */

static const uint64_t ANY_VERSION = UINT64_MAX;
static const int64_t NOT_IN = -1;

typedef struct {
    evb_opts_standard standard;
    evb_opt_list headers;
    const char *url;
    const char *file;
    const char *id;
    const char *at; /* a time as written */
    int64_t in_ns;  /* NOT_IN: none */
    int64_t timeout_ns;
    uint64_t expected; /* ANY_VERSION: none */
    bool live, print, print_version, atomic, nul, whole, topics, json, spool, verbose;
} options;

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {'H', "header", EVB_OPT_LIST, offsetof(options, headers), NULL, "NAME=VALUE", "a header of every event", NULL},
    {'0', "null", EVB_OPT_FLAG, offsetof(options, nul), NULL, NULL, "events end with NUL, not newline", NULL},
    {'s', "stdin", EVB_OPT_FLAG, offsetof(options, whole), NULL, NULL, "all of stdin is one event", NULL},
    {'f', "file", EVB_OPT_STRING, offsetof(options, file), NULL, "FILE", "all of FILE is one event (-: stdin)",
     "@file"},
    {'T', "topics", EVB_OPT_FLAG, offsetof(options, topics), NULL, NULL, "each line is TOPIC<TAB>PAYLOAD", NULL},
    {'J', "json", EVB_OPT_FLAG, offsetof(options, json), NULL, NULL, "each line is an object as of evsub -J", NULL},
    {0, "id", EVB_OPT_STRING, offsetof(options, id), NULL, "ID",
     "of the one event; if TOPIC had it lately, it is not stored again", NULL},
    {0, "live", EVB_OPT_FLAG, offsetof(options, live), NULL, NULL, "for who listens now; not stored", NULL},
    {0, "expect", EVB_OPT_NUMBER, offsetof(options, expected), NULL, "VERSION",
     "only if TOPIC stands at VERSION (0: it is new); all events or none", NULL},
    {0, "in", EVB_OPT_DURATION, offsetof(options, in_ns), NULL, "DURATION", "publish later: so long from now", NULL},
    {0, "at", EVB_OPT_STRING, offsetof(options, at), NULL, "TIME", "publish later: at this time", NULL},
    {0, "atomic", EVB_OPT_FLAG, offsetof(options, atomic), NULL, NULL, "store all events, in one batch, or none",
     NULL},
    {0, "print-version", EVB_OPT_FLAG, offsetof(options, print_version), NULL, NULL,
     "print each stored event's version; with --expect or --atomic", NULL},
    {0, "spool", EVB_OPT_FLAG, offsetof(options, spool), NULL, NULL,
     "without a hub keep events on disk; deliver first what is kept", NULL},
    {'p', "print", EVB_OPT_FLAG, offsetof(options, print), NULL, NULL,
     "print each stored event's seq (with --in, --at its scheduled seq)", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub (5; 0: for ever)", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(options, verbose), NULL, NULL, "say how many events were stored", NULL},
    EVB_OPTS_STANDARD(options, standard),
};

static const evb_opts OPTS = {
    "evpub",
    "[OPTION]... TOPIC [[--] PAYLOAD]\n[OPTION]... -T | -J\n--spool",
    "Publishes PAYLOAD to TOPIC, or each line of stdin. Exits 0 only when every event is stored.\n"
    "A PAYLOAD that may begin with - goes behind --, as in: evpub room.temperature -- \"$t\"",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    NULL,
};

/* ---- the session ---- */

typedef struct {
    options opt;
    const char *topic; /* NULL with -T and -J */
    const char *payload;
    evb_header headers[EVB_HEADER_COUNT_MAX + EVB_CAUSE_HEADERS];
    evb_cause cause; /* of the environment */
    evb_bus *bus;
    evb_pub *pub;
    evb_pub_options how;
    pub_spool spool;
    int64_t due_ns; /* --in, --at; 0: at once */
    evb_json *json;
    evb_event event; /* what every event begins with */
    evb_buf in;      /* what was read; taken up to `taken`, looked through up to `searched` */
    size_t taken, searched;
    size_t payload_most; /* the hub's, once it has been asked */
    size_t line_most;    /* bytes that an input line may have; grows once, when the hub has been asked */
    bool asked, ended;
    uint64_t again, again_seq; /* events that were stored before under their id; the last one's seq */
    uint64_t line;             /* number of the line that is next */
    evb_buf out;               /* -p: not yet written */
    int out_errno;             /* why nothing is written any more */
    evb_error err;
} session;

static void say(const char *text) { fprintf(stderr, "evpub: %s\n", text); }

/* ---- signals ---- */

static const int64_t GRACE_NS = 2 * EVB_SECOND_NS; /* for what is under way when a signal comes */

/* ---- -p: a reader that is gone, or a full disk, ends the printing and not the publishing ---- */

static void on_stored(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    session *s = context;
    uint64_t first = s->opt.print_version ? version : seq;
    for (uint64_t i = 0; i < count && !s->out_errno; i++) {
        if (!evb_buf_reserve(&s->out, 24)) {
            s->out_errno = ENOMEM;
            return;
        }
        s->out.size += evb_number_text(first + i, (char *)s->out.data + s->out.size);
        s->out.data[s->out.size++] = '\n';
        if (s->out.size >= PRINT_SIZE)
            printed_flush(&s->out, &s->out_errno);
    }
}

static void on_again(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    session *s = context;
    s->again += count;
    s->again_seq = seq;
    if (s->opt.print || (s->opt.print_version && version))
        on_stored(context, seq, version, count);
}

/* ---- lines to events ---- */

static int add_topic_line(session *s, const char *text, size_t size) {
    const char *tab = memchr(text, '\t', size);
    if (!tab)
        return evb_fail(&s->err, EVB_EDATA, "no TAB follows a topic");
    s->event.topic = text;
    s->event.topic_size = (size_t)(tab - text);
    s->event.payload = tab + 1;
    s->event.size = size - s->event.topic_size - 1;
    return pub_spool_add(&s->spool, s->pub, &s->event, &s->err);
}

static int add_json_line(session *s, const char *text, size_t size) {
    int rc = evb_json_read(s->json, text, size, &s->event, &s->err);
    size_t count = s->event.header_count;
    if (rc)
        return rc;
    if (*s->cause.cause && count <= EVB_HEADER_COUNT_MAX) {
        memcpy(s->headers, s->event.headers, count * sizeof *s->headers);
        s->event.headers = s->headers;
        s->event.header_count = evb_cause_add(&s->cause, s->headers, count);
    }
    return pub_spool_add(&s->spool, s->pub, &s->event, &s->err);
}

static int add_line(session *s, const char *text, size_t size) {
    if (s->opt.topics)
        return add_topic_line(s, text, size);
    if (s->opt.json)
        return add_json_line(s, text, size);
    s->event.payload = text;
    s->event.size = size;
    return pub_spool_add(&s->spool, s->pub, &s->event, &s->err);
}

/* Puts the number of the line before a fault of its data; not before one that the hub found in an earlier batch, which
 * is final for the publisher. */
static int fail_line(session *s, int rc) {
    evb_error why = s->err;
    if (rc == EVB_EDATA && (s->opt.atomic || s->spool.on || evb_pub_send(s->pub, NULL) == 0))
        evb_fail(&s->err, rc, "%s %llu: %.400s", s->opt.nul ? "event" : "line", (unsigned long long)s->line,
                 why.text);
    return rc;
}

/* Hands every whole line of the input to the publisher, and at the end the rest. 0; EVB_EAGAIN when the window is full;
 * or what is wrong. */
static int take_lines(session *s) {
    int end = s->opt.nul ? '\0' : '\n', rc = 0;
    const char *data = (const char *)s->in.data;
    while (s->taken < s->in.size) {
        const char *stop = memchr(data + s->searched, end, s->in.size - s->searched);
        if (!stop && !s->ended) {
            s->searched = s->in.size;
            return 0;
        }
        size_t next = stop ? (size_t)(stop - data) : s->in.size;
        if ((rc = add_line(s, data + s->taken, next - s->taken))) {
            s->searched = next;
            return rc == EVB_EAGAIN ? rc : fail_line(s, rc);
        }
        s->taken = s->searched = next + (stop != NULL);
        s->line++;
    }
    return 0;
}

/* ---- reading ---- */

/* Asks the hub, once, how long a payload may be, and derives from it what a line may be. */
static int ask_limit(session *s) {
    evb_status status = {.max_payload = EVB_SPOOL_MOST};
    if (s->asked)
        return 0;
    int rc = s->spool.on ? 0 : evb_bus_status(s->bus, &status, &s->err);
    if (rc)
        return rc;
    size_t most = status.max_payload < EVB_PAYLOAD_MOST ? (size_t)status.max_payload : EVB_PAYLOAD_MOST;
    s->payload_most = most;
    s->line_most = s->opt.json ? 6 * most + LINE_EXTRA : s->opt.topics ? most + EVB_TOPIC_MAX + 1 : most;
    s->asked = true;
    return 0;
}

/* Makes room for a read: moves the unfinished line to the front, and refuses to hold one that is too long. */
static int make_room(session *s) {
    evb_buf_drop(&s->in, s->taken);
    s->searched -= s->taken;
    s->taken = 0;
    if (s->in.size > s->line_most) {
        int rc = ask_limit(s);
        if (rc)
            return rc;
        if (s->in.size > s->line_most)
            return evb_fail(&s->err, EVB_EDATA,
                            "%zu bytes or more: over the hub's limit of %zu (evbusd --max-payload)", s->in.size,
                            s->payload_most);
    }
    size_t room = s->in.size < READ_SIZE ? READ_SIZE : s->in.size;
    return evb_buf_reserve(&s->in, room) ? 0 : evb_fail(&s->err, EVB_ENOMEM, "out of memory");
}

/* Reads once. What was read before an end or an error is kept. */
static int read_some(session *s, int fd, const char *name) {
    int rc = make_room(s);
    if (rc)
        return rc;
    ssize_t n = read(fd, s->in.data + s->in.size, s->in.capacity - s->in.size);
    if (n > 0)
        s->in.size += (size_t)n;
    else if (n == 0)
        s->ended = true;
    else if (errno != EINTR && errno != EAGAIN)
        return evb_fail_errno(&s->err, EVB_EIO, errno, "%.200s", name);
    return 0;
}

/* ---- the stream ---- */

/* Waits for the hub, or also for input. 1 when there is input, 0, or an error. */
static int wait_for(session *s, bool input, int64_t timeout_ns) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    int rc = evb_bus_wait(s->bus, fds, input ? 2 : 1, timeout_ns, &s->err);
    return rc < 0 ? rc : fds[1].revents != 0;
}

/* Hands on what has been added: to the hub, or to the disk. */
static int send_added(session *s) {
    return s->spool.on ? pub_spool_commit(&s->spool, &s->err) : evb_pub_send(s->pub, &s->err);
}

/* An error of the publisher's: 0 where the spool takes over. */
static int fall_back(session *s, int rc) { return pub_spool_fall_back(&s->spool, s->pub, rc, &s->err); }

/* Waits for input; whatever has been added leaves first if there is none at once: a plain poll, since a turn of the bus
 * takes longer than what it would be asked for. */
static int wait_for_input(session *s) {
    struct pollfd in = {STDIN_FILENO, POLLIN, 0};
    if (poll(&in, 1, 0) > 0 || signals_caught)
        return in.revents != 0;
    int rc = s->opt.atomic ? 0 : send_added(s);
    if (rc == 0)
        rc = pub_spool_retry(&s->spool, s->bus, &s->pub, &s->how, &s->err);
    if (rc)
        return rc;
    printed_flush(&s->out, &s->out_errno);
    return wait_for(s, true, pub_spool_wait_ns(&s->spool));
}

static int stream_step(session *s) {
    int rc = take_lines(s);
    if (rc == EVB_EAGAIN) {
        printed_flush(&s->out, &s->out_errno);
        return wait_for(s, false, -1);
    }
    if (rc || s->ended)
        return rc;
    rc = wait_for_input(s);
    return rc > 0 ? fail_line(s, read_some(s, STDIN_FILENO, "stdin")) : rc;
}

static bool all_taken(const session *s) { return s->ended && s->taken == s->in.size; }

/* Takes lines up to one that is bad: *why says so then, and what came before it is stored all the same. */
static int take_good(session *s, evb_error *why) {
    int rc = why->code ? 0 : take_lines(s);
    if (rc != EVB_EDATA || !(s->spool.on || evb_pub_send(s->pub, NULL) == 0))
        return rc;
    *why = s->err;
    return 0;
}

/* What the hub has not acknowledged goes to the spool, if there is one, and what had no room in the window. */
static int keep_unknown(session *s, int rc, evb_error *why) {
    bool late = (!rc || rc == EVB_EAGAIN) && s->spool.spool && !s->spool.on && evb_pub_pending(s->pub);
    if (late)
        rc = evb_fail(&s->err, EVB_ETIMEDOUT, "the hub had not answered yet");
    rc = fall_back(s, rc);
    if (!rc && s->spool.on)
        rc = take_good(s, why);
    int kept = pub_spool_commit(&s->spool, rc ? NULL : &s->err);
    return rc ? rc : kept;
}

/* After a signal: hands on the whole lines that were read and waits, not for long, for all to be stored. */
static int finish_caught(session *s) {
    int64_t left = s->opt.timeout_ns && s->opt.timeout_ns < GRACE_NS ? s->opt.timeout_ns : GRACE_NS;
    int64_t deadline = evb_clock_monotonic_ns() + left;
    evb_error why = {0};
    if (s->opt.atomic && !all_taken(s))
        return 0; /* none of them */
    int rc = take_good(s, &why);
    while ((!rc || rc == EVB_EAGAIN) && left > 0) {
        if (!rc && ((rc = fall_back(s, send_added(s))) || s->spool.on || !evb_pub_pending(s->pub)))
            break;
        if ((rc = evb_bus_wait(s->bus, NULL, 0, left, &s->err)) >= 0)
            rc = take_good(s, &why);
        left = deadline - evb_clock_monotonic_ns();
    }
    rc = keep_unknown(s, rc, &why);
    if (!rc && why.code)
        s->err = why;
    return rc ? rc : why.code;
}

/* Sends what is left and waits until all is acknowledged, or a signal comes. */
static int finish(session *s) {
    int rc = 0;
    while (rc >= 0 && !signals_caught && !s->spool.on && evb_pub_pending(s->pub))
        if ((rc = fall_back(s, evb_pub_send(s->pub, &s->err))) == 0 && !s->spool.on)
            rc = fall_back(s, wait_for(s, false, -1));
    return rc < 0 || signals_caught ? rc : pub_spool_end(&s->spool, s->bus, &s->err);
}

/* Publishes lines until there are no more or a signal comes, then waits for what was added. After bad data, what came
 * before is stored all the same; the first error is the one that counts. */
static int run_stream(session *s) {
    int rc = 0;
    s->line = 1;
    s->line_most = EVB_PAYLOAD_ASK;
    signals_catch(2);
    while (!rc && !signals_caught && !all_taken(s))
        rc = fall_back(s, stream_step(s));
    if (rc && ((rc != EVB_EDATA && rc != EVB_EIO) || s->opt.atomic))
        return rc;
    evb_error first = s->err;
    int late = signals_caught ? 0 : finish(s);
    if (signals_caught)
        return finish_caught(s);
    if (rc)
        s->err = first;
    return rc ? rc : late;
}

/* ---- one event ---- */

/* Reads all of fd, up to the hub's limit. */
static int read_whole(session *s, int fd, const char *name) {
    int rc = 0;
    s->line_most = EVB_PAYLOAD_ASK;
    s->line = 1;
    while (!rc && !s->ended)
        rc = fall_back(s, read_some(s, fd, name));
    return rc;
}

static int read_input(session *s) {
    bool is_file = s->opt.file && strcmp(s->opt.file, "-") != 0;
    const char *name = is_file ? s->opt.file : "stdin";
    int fd = is_file ? open(s->opt.file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0)
        return evb_fail_errno(&s->err, errno == EACCES ? EVB_EPERM : EVB_EDATA, errno, "%.200s", name);
    int rc = read_whole(s, fd, name);
    s->event.payload = s->in.data;
    s->event.size = s->in.size;
    return rc;
}

static int run_one(session *s) {
    int rc = s->payload ? 0 : read_input(s);
    bool was_on;
    do {
        was_on = s->spool.on;
        while (!rc && (rc = pub_spool_add(&s->spool, s->pub, &s->event, &s->err)) == EVB_EAGAIN)
            rc = evb_bus_wait(s->bus, NULL, 0, -1, &s->err) < 0 ? EVB_EIO : 0;
        rc = fall_back(s, rc);
    } while (!rc && s->spool.on != was_on); /* what was refused goes to the spool */
    if (!rc && !s->spool.on)
        rc = fall_back(s, evb_pub_drain(s->pub, &s->err));
    return rc ? rc : pub_spool_end(&s->spool, s->bus, &s->err);
}

/* ---- parse, open, close ---- */

/* What is published while an event is handled says so: a command that is run for one has it in its environment. */
static int set_cause(session *s) {
    int rc =
        evb_cause_read(getenv("EVBUS_CAUSE"), getenv("EVBUS_CORRELATION"), getenv("EVBUS_DEPTH"), &s->cause, &s->err);
    if (rc || !evb_cause_too_deep(&s->cause))
        return rc;
    return evb_fail(&s->err, EVB_EDATA, "EVBUS_DEPTH=%s: more than %d causes led to this event: it looks like a loop",
                    s->cause.depth, EVB_DEPTH_MAX);
}

static int set_headers(session *s) {
    int rc = program_headers(&s->opt.headers, EVB_HEADER_COUNT_MAX, s->headers, &s->err);
    s->event.headers = s->headers;
    s->event.header_count = rc ? 0 : evb_cause_add(&s->cause, s->headers, s->opt.headers.count);
    return rc;
}

/* NULL, or what does not go together. */
static const char *conflict(const options *o, int operands) {
    bool lines = o->topics || o->json, one = o->whole || o->file;
    if (o->topics && o->json)
        return "-T and -J do not go together";
    if (lines && operands)
        return "with -T and -J the topic stands in each line: no TOPIC, no PAYLOAD";
    if (one && (lines || o->nul))
        return "-s and -f make one event of all: not with -0, -T, -J";
    if (o->whole && o->file)
        return "-s and -f do not go together";
    if (o->json && o->headers.count)
        return "-H does not go with -J, whose lines have headers of their own";
    if (o->atomic && (o->topics || o->live))
        return "--expect and --atomic store events of one topic: not with -T, --live";
    if (o->print_version && (!o->atomic || o->print))
        return "--print-version goes with --expect or --atomic, and not with -p";
    bool later = o->at || o->in_ns != NOT_IN;
    if (o->at && o->in_ns != NOT_IN)
        return "--in and --at do not go together";
    if (later && (o->atomic || o->live))
        return "--in and --at do not go with --expect, --atomic, --live";
    if (o->id && !one && operands < 2)
        return "--id names one event: with PAYLOAD, -s or -f";
    if (o->id && o->live)
        return "--live and --id do not go together: a live event is not stored";
    if (o->live && o->print)
        return "--live and -p do not go together: a live event has no seq";
    if (operands > 1 && (one || o->nul))
        return "with PAYLOAD nothing is read: no -0, -s, -f";
    if (o->spool && (o->live || o->expected != ANY_VERSION || later || o->print || o->print_version))
        return "--spool keeps what has no seq or version yet: not with --live, --expect, --in, --at, -p, "
               "--print-version";
    if (operands > 2)
        return "more than TOPIC and PAYLOAD; try 'evpub --help'";
    if (o->spool && !operands && !one && !o->nul && !o->headers.count && !o->atomic)
        return NULL; /* only delivers */
    return operands || lines ? NULL : "TOPIC is missing; try 'evpub --help'";
}

static int set_operands(session *s, int count, char **operands) {
    const char *wrong = conflict(&s->opt, count);
    if (wrong)
        return evb_fail(&s->err, EVB_EINVAL, "%s", wrong);
    if (!count)
        return 0;
    s->topic = s->event.topic = operands[0];
    s->event.topic_size = strlen(operands[0]);
    s->payload = operands[1];
    s->event.payload = s->payload;
    s->event.size = s->payload ? strlen(s->payload) : 0;
    s->event.id = s->opt.id;
    s->event.id_size = s->opt.id ? strlen(s->opt.id) : 0;
    return evb_topic_check(s->event.topic, s->event.topic_size, &s->err);
}

/* Reads --at as at(1) does: a time of day that is past is tomorrow's. How long ago it was is no time to come. */
static int read_at(session *s, int64_t now_ns) {
    char tomorrow[64];
    const char *text = s->opt.at;
    evb_from from;
    uint64_t value;
    int64_t age;
    evb_error why;
    size_t word = strcspn(text, " ");
    if (!evb_age_parse(text, &age) || strcmp(text + word, " ago") == 0)
        return evb_fail(&s->err, EVB_EINVAL, "--at: '%.100s': not a time to come; from now on it is --in", text);
    if (evb_position_parse(text, now_ns, &from, &value, &why) || (from != EVB_FROM_TIME && from != EVB_FROM_NOW))
        return evb_fail(&s->err, EVB_EINVAL,
                        "--at: '%.100s': not a time, such as 2026-11-23T10:00:00Z or 'tomorrow 09:00'", text);
    if (from == EVB_FROM_NOW)
        value = (uint64_t)now_ns;
    snprintf(tomorrow, sizeof tomorrow, "tomorrow %.40s", text);
    if (value < (uint64_t)now_ns && text[0] != '@' && strcspn(text, ":") <= 2)
        evb_position_parse(tomorrow, now_ns, &from, &value, &why);
    s->due_ns = value ? (int64_t)value : 1;
    return 0;
}

/* When the events are to be published. */
static int set_due(session *s) {
    int64_t now_ns = evb_clock_wall_ns();
    if (s->opt.in_ns != NOT_IN)
        s->due_ns = now_ns + s->opt.in_ns;
    return s->opt.at ? read_at(s, now_ns) : 0;
}

static int parse(session *s, int argc, char **argv, bool *asked) {
    int first;
    s->opt.timeout_ns = 5 * EVB_SECOND_NS;
    s->opt.expected = ANY_VERSION;
    s->opt.in_ns = NOT_IN;
    int rc = evb_opts_parse(&OPTS, &s->opt, argc, argv, &first, &s->err);
    s->opt.atomic |= s->opt.expected != ANY_VERSION;
    if (!rc)
        rc = program_answer(&OPTS, &s->opt.standard, asked, &s->err);
    if (rc || *asked)
        return rc;
    rc = set_operands(s, argc - first, argv + first);
    rc = rc ? rc : set_due(s);
    rc = rc ? rc : set_cause(s);
    return rc ? rc : set_headers(s);
}

/* Whether it is evpub --spool and nothing else. */
static bool only_delivers(const session *s) { return s->opt.spool && !s->topic && !s->opt.topics && !s->opt.json; }

static int open_bus(session *s) {
    s->how = (evb_pub_options){.stored = s->opt.print || s->opt.print_version ? on_stored : NULL,
                               .again = on_again,
                               .context = s,
                               .live = s->opt.live,
                               .atomic = s->opt.atomic,
                               .expects = s->opt.expected != ANY_VERSION,
                               .expected = s->opt.expected,
                               .due_ns = s->due_ns};
    s->bus = program_bus(s->opt.url, s->opt.timeout_ns, &s->err);
    if (s->bus)
        s->pub = evb_pub_new(s->bus, &s->how, &s->err);
    if (s->opt.json && !(s->json = evb_json_new()))
        return evb_fail(&s->err, EVB_ENOMEM, "out of memory");
    if (!s->pub)
        return s->err.code;
    return s->opt.spool && !only_delivers(s) ? pub_spool_begin(&s->spool, s->opt.url, s->bus, s->opt.atomic, &s->err)
                                             : 0;
}

/* Whether it is all or none. */
static bool is_whole(const session *s) { return s->opt.atomic || s->payload || s->opt.whole || s->opt.file; }

static bool is_one(const session *s) { return s->payload || s->opt.whole || s->opt.file; }

/* Says, behind `before`, how many events the hub has. */
static void report_stored(const session *s, const char *before) {
    unsigned long long again = s->again, fresh = evb_pub_stored(s->pub) + s->spool.back - again;
    fprintf(stderr, "%s%llu event%s %s", before, fresh, evb_plural(fresh),
            s->opt.live ? "sent"
            : s->due_ns ? "scheduled"
                        : "stored");
    if (again)
        fprintf(stderr, ", %llu already stored", again);
}

/* Says what became of the events: of one that failed only what is in doubt, of a stream the count. */
static void report_events(const session *s, int rc) {
    unsigned long long pending = evb_pub_pending(s->pub);
    if (rc && is_whole(s)) {
        fputs(rc == EVB_ETIMEDOUT ? "; it may or may not be stored" : "", stderr);
        return;
    }
    if (!rc && is_one(s) && s->again) {
        fprintf(stderr, "already stored as seq %llu", (unsigned long long)s->again_seq);
        return;
    }
    report_stored(s, rc || signals_caught ? "; " : "");
    if (pending && !s->spool.on)
        fprintf(stderr, ", %llu more may or may not be", pending);
    if (s->spool.kept)
        fprintf(stderr, ", %llu kept in %s", (unsigned long long)s->spool.kept, evb_spool_where(s->spool.spool));
}

/* Says what the spool has, when it has something. */
static void report_spool(const session *s) {
    unsigned long long n = s->spool.kept;
    fprintf(stderr, "evpub: %s; %llu event%s kept in %s, for the next evpub --spool\n", s->spool.why.text, n,
            evb_plural(n), evb_spool_where(s->spool.spool));
}

/* Says how it went, if there is anything to say. */
static void report(const session *s, int rc) {
    if (!rc && s->spool.on && s->spool.kept)
        report_spool(s);
    if (!rc && !signals_caught && !s->opt.verbose)
        return;
    fprintf(stderr, "evpub: %s%s", s->topic ? s->topic : "", s->topic ? ": " : "");
    if (rc || signals_caught)
        fputs(signals_caught ? strsignal(signals_caught) : s->err.text, stderr);
    report_events(s, rc);
    fputc('\n', stderr);
}

/* evpub --spool alone. */
static int deliver_only(session *s) {
    int rc = pub_spool_only(&s->spool, s->opt.url, s->bus, &s->err);
    if (rc)
        say(s->err.text);
    return rc;
}

static int run(session *s) {
    if (only_delivers(s))
        return deliver_only(s);
    int rc = is_one(s) ? run_one(s) : run_stream(s);
    printed_flush(&s->out, &s->out_errno);
    report(s, rc);
    if (!rc && s->out_errno && s->out_errno != EPIPE && !signals_caught) {
        rc = EVB_EIO;
        fprintf(stderr, "evpub: stdout: %s", strerror(s->out_errno));
        report_stored(s, "; ");
        fputc('\n', stderr);
    }
    return rc;
}

int main(int argc, char **argv) {
    static session s;
    bool asked = false;
    program_hold_descriptors();
    setvbuf(stderr, NULL, _IOLBF, 0); /* a message is one write, also where many share a terminal or a log */
    signal(SIGPIPE, SIG_IGN);
    int rc = parse(&s, argc, argv, &asked);
    if (!rc && !asked)
        rc = open_bus(&s);
    if (rc)
        say(s.err.text);
    else if (!asked)
        rc = run(&s);
    if (signals_caught)
        signals_die_of(signals_caught);
    _exit(evb_err_exit(rc)); /* what is acknowledged is stored: nothing to take down */
}
