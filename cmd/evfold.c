/* evfold: a state from events: each event is folded into it by an expression of jq's.
 *
 * One loop asks for the next event until there is none at once; then what is printed is written, the state file follows if
 * it is due, and evb_bus_wait sleeps. The state lives in memory as libjq's value and is changed in place; it is written
 * out only to be printed or kept.
 * Invariants: the state file holds a state and exactly the position at which it was; it never passes a state that was
 * not printed under --print. An expression that fails takes the state with it (it was being changed in place), so that the
 * last good one is made again, from the state file up to the event before.
 * Leaves to others: order, gaps, reconnects (client), expressions (event/expr.h), the file (fold_state.h), signals and the
 * command line's words (fold_options.h). */
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
#include "base/error.h"
#include "base/lock.h"
#include "base/paths.h"
#include "base/units.h"
#include "event/expr.h"
#include "event/jv_event.h"
#include "fold_options.h"
#include "fold_state.h"
#include "printed.h"
#include "program.h"
#include "signals.h"

enum { WRITE_SIZE = 128 * 1024, LOOK_AT_CLOCK = 64, FIRST_CHECK = 1024 };
static const int64_t IDLE_KEEP_NS = 300 * EVB_SECOND_NS; /* when only the position has moved */
static const int64_t RETRY_NS = 10 * EVB_SECOND_NS;      /* after a fault of the disk, at the latest */
static const int64_t RETRY_LEAST_NS = EVB_SECOND_NS;     /* and at the soonest: a try costs a sync */

/* ---- the session ---- */

typedef struct session {
    fold_options opt;
    fold_recipe recipe;
    evb_expr *expr;
    evb_jv_events *events;
    evb_bus *bus;
    evb_sub *sub;
    fold_point now;     /* the state in memory; its position only where it is written or read */
    evb_buf out;        /* states printed */
    int out_errno;      /* why nothing is written any more */
    int lock;           /* on the state file, or -1 */
    uint64_t hub_first; /* with --at: the hub's first seq */
    uint64_t folded;    /* events, in this run */
    uint64_t since;     /* events since the state was kept or read */
    uint64_t kept;      /* the position that the file has; 0: there is none */
    int64_t kept_ns;    /* when it was last written, or failed to be */
    uint64_t check_at;  /* when `folded` comes there, the state's depth is looked at */
    bool keeps, prints; /* the state file is written; each state is printed */
    bool unkept;        /* the state file could not be written */
    bool adopted;       /* its state, by this recipe, and it does not say so yet */
    bool subscribed, ready;
    uint64_t failed_seq; /* the event that the expression failed on */
    evb_error err;
} session;

static void say(const char *text) { fprintf(stderr, "evfold: %s\n", text); }

/* ---- printing ---- */

/* Writes all that is printed. 0; EVB_EIO and out_errno, which is EINTR when a signal ended it. */
static int flush_out(session *s) {
    printed_flush(&s->out, &s->out_errno);
    return s->out_errno ? evb_fail_errno(&s->err, EVB_EIO, s->out_errno, "stdout") : 0;
}

static ssize_t add_printed(void *cookie, const char *data, size_t size) {
    return evb_buf_add(cookie, data, size) ? (ssize_t)size : 0;
}

/* Prints the state into s->out. */
static int print_state(session *s) {
    int rc = fold_state_check(s->now.state, &s->err);
    if (rc)
        return rc;
    FILE *out = fopencookie(&s->out, "w", (cookie_io_functions_t){.write = add_printed});
    if (out) {
        jv_dumpf(jv_copy(s->now.state), out, 0);
        fputc('\n', out);
    }
    return out && fclose(out) == 0 ? 0 : evb_fail(&s->err, EVB_ENOMEM, "out of memory");
}

/* The same for a state after each event, which is small as a rule: without a stream's buffers. */
static int print_small(session *s) {
    int rc = fold_state_check(s->now.state, &s->err);
    if (rc)
        return rc;
    jv text = jv_dump_string(jv_copy(s->now.state), 0);
    bool ok = evb_buf_add(&s->out, jv_string_value(text), (size_t)jv_string_length_bytes(jv_copy(text))) &&
              evb_buf_add(&s->out, "\n", 1);
    jv_free(text);
    return ok ? 0 : evb_fail(&s->err, EVB_ENOMEM, "out of memory");
}

/* ---- keeping ---- */

/* Whether there is something that the state file does not say. */
static bool is_ahead(const session *s) { return s->since || s->adopted || evb_sub_position(s->sub) != s->kept; }

/* Writes the state file. What the disk refuses is said once, and tried again later: 0 then, with `unkept` set. */
static int keep(session *s) {
    uint64_t position = evb_sub_position(s->sub);
    evb_error why;
    if (s->prints && flush_out(s))
        return s->err.code;
    if (s->ready)
        s->now.position = position;
    int rc = fold_state_write(s->opt.state, &s->recipe, &s->now, &why);
    s->kept_ns = evb_clock_monotonic_ns();
    if (rc == EVB_EDATA)
        return evb_fail(&s->err, rc, "%s", why.text);
    if (rc && !s->unkept)
        fprintf(stderr, "evfold: %s: the state file stays as it was; trying again\n", why.text);
    if (!rc && s->unkept)
        fprintf(stderr, "evfold: %s: written again\n", s->opt.state);
    s->unkept = rc != 0;
    if (rc) {
        s->err = why;
        return 0;
    }
    s->kept = s->now.position;
    s->since = 0;
    s->adopted = false;
    if (s->opt.verbose)
        fprintf(stderr, "evfold: state kept, next seq %" PRIu64 "\n", s->kept);
    return 0;
}

/* ns until the state file is to be written; negative when there is nothing to write. */
static int64_t keep_due(const session *s, int64_t now_ns) {
    if (!s->keeps || !s->ready || !is_ahead(s))
        return -1;
    int64_t every = s->adopted && !s->unkept ? 0 : s->since ? s->opt.every_ns : IDLE_KEEP_NS;
    if (s->unkept)
        every = every > RETRY_NS ? RETRY_NS : every < RETRY_LEAST_NS ? RETRY_LEAST_NS : every;
    int64_t due = s->kept_ns + every - now_ns;
    return due < 0 ? 0 : due;
}

/* Under load: whether so many events were folded, or (looked at now and then) so much time has passed. */
static bool is_due(const session *s) {
    if (!s->keeps)
        return false;
    if (s->opt.every_count && s->since >= s->opt.every_count && !s->unkept)
        return true;
    return s->folded % LOOK_AT_CLOCK == 0 && keep_due(s, evb_clock_monotonic_ns()) == 0;
}

/* ---- notes ---- */

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
    case EVB_NOTE_CAUGHT_UP: (void)(verbose && fprintf(stderr, "evfold: caught up at seq %llu\n", v)); return;
    case EVB_NOTE_DISCONNECTED:
        if (verbose)
            say("the hub is gone: waiting for it");
        return;
    case EVB_NOTE_RECONNECTED: (void)(verbose && fprintf(stderr, "evfold: reconnected, head %llu\n", v)); return;
    case EVB_NOTE_REPAIRED:
        (void)(verbose && fprintf(stderr, "evfold: fetched what the feed dropped: %llu\n", v));
        return;
    case EVB_NOTE_LOST: return; /* live events, which are not folded */
    case EVB_NOTE_GAP:
        fprintf(stderr, "evfold: %llu seq%s passed over: retention has removed them\n", v, evb_plural(v));
        return;
    }
}

/* ---- the loop ---- */

typedef enum { GO_ON, END_HEAD, END_AT, END_SIGNAL, END_READER, END_EXPRESSION, END_FAULT } outcome;

static outcome fault_of(const session *s) {
    if (s->out_errno == EINTR)
        return END_SIGNAL;
    return s->out_errno == EPIPE ? END_READER : END_FAULT;
}

/* Says, once, that the position is fixed: by a state file that stands there from then on, and on --ready-fd. */
static int become_ready(session *s, const evb_event *event) {
    s->ready = true;
    s->kept_ns = evb_clock_monotonic_ns();
    if (s->keeps && !s->kept) {
        s->now.position = event && event->seq ? event->seq : evb_sub_position(s->sub);
        int rc = fold_state_write(s->opt.state, &s->recipe, &s->now, &s->err);
        s->kept = s->now.position;
        s->keeps = !rc; /* else nothing more is tried */
        if (rc)
            return rc;
    }
    int fd = s->opt.ready_fd;
    if (fd < 0)
        return 0;
    s->opt.ready_fd = -1;
    if (write(fd, "\n", 1) != 1)
        return evb_fail_errno(&s->err, EVB_EIO, errno, "--ready-fd %d", fd);
    close(fd);
    return 0;
}

/* There is no event at once: writes what is printed, keeps the state if it is time, waits. */
static outcome pause_here(session *s) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    if (flush_out(s))
        return fault_of(s);
    if (keep_due(s, evb_clock_monotonic_ns()) == 0 && keep(s))
        return fault_of(s);
    int64_t timeout = keep_due(s, evb_clock_monotonic_ns());
    if (evb_bus_wait(s->bus, fds, s->prints ? 2 : 1, timeout, &s->err) < 0)
        return END_FAULT;
    return s->prints && fds[1].revents & (POLLERR | POLLHUP) ? END_READER : GO_ON;
}

/* What is to be done when an event was folded: check, print, keep. */
static outcome after_event(session *s) {
    if (s->folded == s->check_at) {
        s->check_at *= 2;
        if (fold_state_check(s->now.state, &s->err))
            return END_FAULT;
    }
    if (s->prints && print_small(s))
        return END_FAULT;
    if (s->out.size >= WRITE_SIZE && flush_out(s))
        return fault_of(s);
    return is_due(s) && keep(s) ? fault_of(s) : GO_ON;
}

static outcome fold_event(session *s, const evb_event *event) {
    evb_error why;
    jv value = evb_jv_events_make(s->events, event);
    signals_evaluate(true);
    int rc = evb_expr_eval(s->expr, s->now.state, &value, &s->now.state, &why);
    signals_evaluate(false);
    if (rc) {
        int size = (int)event->topic_size;
        s->failed_seq = event->seq;
        evb_fail(&s->err, EVB_EDATA, "seq %" PRIu64 ": %.*s: %s", event->seq, size, event->topic, why.text);
        return END_EXPRESSION;
    }
    s->now.events++;
    s->now.last_seq = event->seq;
    s->now.last_time_ns = event->time_ns;
    evb_event_id(event, s->now.last_id);
    s->folded++;
    s->since++;
    return after_event(s);
}

static bool beyond(const fold_bound *bound, const evb_event *event) {
    switch (bound->kind) {
    case FOLD_TO_THE_END: break;
    case FOLD_TO_SEQ: return event->seq > bound->seq;
    case FOLD_TO_TIME: return event->time_ns > bound->time_ns;
    }
    return false;
}

/* The first event after --at. Where nothing came before it, and retention has removed what did, nobody knows. */
static outcome end_at(session *s) {
    if (s->folded || s->now.events || s->opt.sub.from != EVB_FROM_FIRST || s->hub_first <= 1)
        return END_AT;
    evb_fail(&s->err, EVB_EGONE, "--at: retention has removed what was there then; the first seq left is %" PRIu64,
             s->hub_first);
    return END_FAULT;
}

/* One step: an event, or a wait for one. */
static outcome step(session *s, const fold_bound *bound) {
    evb_event event;
    int rc = evb_sub_next(s->sub, &event, &s->err);
    if (rc < 0)
        return END_FAULT;
    if (!s->ready && (s->subscribed || rc != EVB_NOTHING) && become_ready(s, rc == EVB_EVENT ? &event : NULL))
        return fault_of(s);
    if (rc == EVB_END)
        return END_HEAD;
    if (rc == EVB_NOTHING)
        return pause_here(s);
    if (event.live)
        return GO_ON;
    return beyond(bound, &event) ? end_at(s) : fold_event(s, &event);
}

static outcome fold(session *s, const fold_bound *bound) {
    outcome why = GO_ON;
    while (why == GO_ON && !signals_caught)
        why = step(s, bound);
    return why == GO_ON ? END_SIGNAL : why;
}

/* Begins where the state in memory stands, or anew. */
static int begin(session *s, bool until_head) {
    evb_sub_options how = s->opt.sub;
    how.kind = "evfold";
    how.until_head = until_head;
    if (s->now.position) {
        how.from = EVB_FROM_SEQ;
        how.value = s->now.position;
    }
    evb_sub_destroy(&s->sub);
    s->sub = evb_sub_new(s->bus, &how, on_note, s, &s->err);
    return s->sub ? 0 : s->err.code;
}

/* ---- the end ---- */

/* The expression has failed on an event, and the state with it: makes the one before it again and keeps that. */
static void keep_last_good(session *s) {
    const fold_bound before = {FOLD_TO_SEQ, s->failed_seq - 1, 0};
    evb_error first = s->err;
    uint64_t failed_seq = s->failed_seq;
    bool found;
    if (!s->keeps || (!s->since && !s->adopted))
        return; /* the file has it */
    s->keeps = s->prints = false;
    s->out.size = 0;
    int rc = fold_state_read(s->opt.state, &s->recipe, true, &s->now, &found, &s->err);
    if (!rc && found && !(rc = begin(s, true))) {
        outcome why = fold(s, &before);
        s->now.position = failed_seq;
        s->ready = false; /* that position, and not the subscription's */
        rc = why != END_AT && why != END_HEAD ? EVB_EDATA : keep(s);
    }
    if (rc || !found || s->unkept)
        fprintf(stderr, "evfold: %s: stays at seq %" PRIu64 "\n", s->opt.state, s->kept);
    s->err = first;
}

/* Keeps the state, and prints it unless each was. A fault of the end does not hide an earlier one. */
static outcome finish(session *s, outcome why) {
    evb_error first = s->err;
    bool failed = why == END_FAULT || why == END_EXPRESSION, fine = s->ready && jv_is_valid(s->now.state);
    if (why != END_READER && flush_out(s))
        why = failed ? why : fault_of(s);
    if (why != END_READER && !s->out_errno && fine && s->keeps && is_ahead(s) && (keep(s) || s->unkept))
        why = failed ? why : END_FAULT;
    if (!failed && why != END_READER && why != END_FAULT && fine && !s->opt.print && !s->opt.quiet &&
        (print_state(s) || flush_out(s)))
        why = fault_of(s);
    if (failed)
        s->err = first;
    return why;
}

/* Runs to the end, and gives the exit code; a signal that is meant to end the process is in *sig. */
static int run(session *s, int *sig) {
    outcome why = fold(s, &s->opt.at);
    if (why == END_EXPRESSION) {
        flush_out(s);
        say(s->err.text);
        keep_last_good(s);
        return evb_err_exit(EVB_EDATA);
    }
    why = finish(s, why);
    switch (why) {
    case GO_ON:
    case END_HEAD:
    case END_AT: return 0;
    case END_SIGNAL: *sig = signals_caught; return 0;
    case END_READER: *sig = SIGPIPE; return 0;
    case END_EXPRESSION:
    case END_FAULT: break;
    }
    say(s->err.text);
    return evb_err_exit(s->err.code);
}

/* ---- opening ---- */

static int open_expression(session *s) {
    static const char *const names[] = {"event"};
    uint32_t members;
    s->expr = evb_expr_new(s->recipe.expression, names, 1, &s->err);
    if (!s->expr)
        return s->err.code;
    if (!evb_expr_members(s->recipe.expression, names[0], evb_member_names, EVB_MEMBER_COUNT, &members))
        members = EVB_MEMBERS_ALL;
    s->events = evb_jv_events_new(members);
    return s->events ? 0 : evb_fail(&s->err, EVB_ENOMEM, "out of memory");
}

/* Whether a state that was kept is of use: with --at only one from before. */
static bool is_of_use(const fold_bound *at, const fold_point *point) {
    switch (at->kind) {
    case FOLD_TO_THE_END: break;
    case FOLD_TO_SEQ: return point->position <= at->seq + 1;
    case FOLD_TO_TIME: return point->last_time_ns <= at->time_ns;
    }
    return true;
}

/* Takes the lock on the state file, and the state that it has. */
static int open_state(session *s) {
    char lock[PATH_MAX];
    fold_point kept;
    bool found;
    s->now.state = jv_copy(s->recipe.init);
    if (!s->opt.state)
        return 0;
    if (snprintf(lock, sizeof lock, "%s.lock", s->opt.state) >= (int)sizeof lock)
        return evb_fail(&s->err, EVB_EINVAL, "%.300s: path too long", s->opt.state);
    if (s->keeps && (s->lock = evb_lock_take(lock, &s->err)) < 0)
        return s->lock;
    int rc = fold_state_read(s->opt.state, &s->recipe, s->opt.adopt, &kept, &found, &s->err);
    if (rc || !found)
        return rc;
    if (!is_of_use(&s->opt.at, &kept)) {
        jv_free(kept.state);
        return 0;
    }
    jv_free(s->now.state);
    s->now = kept;
    s->kept = kept.position;
    s->adopted = s->opt.adopt;
    return 0;
}

/* The state's last event is read again: in another journal there is another one in its place. Where it is gone, or there is
 * none yet, nothing is said. */
static int check_last(session *s) {
    evb_sub_options how = s->opt.sub;
    evb_event event;
    char id[EVB_ID_MAX] = "";
    how.kind = "evfold";
    how.from = EVB_FROM_SEQ;
    how.value = s->now.last_seq;
    how.until_head = true;
    how.allow_gap = false;
    evb_sub *sub = evb_sub_new(s->bus, &how, NULL, NULL, &s->err);
    int rc = sub ? EVB_NOTHING : s->err.code;
    while (rc == EVB_NOTHING && (rc = evb_sub_next(sub, &event, &s->err)) == EVB_NOTHING && !signals_caught &&
           !(rc = evb_bus_wait(s->bus, NULL, 0, -1, &s->err)))
        ;
    if (rc == EVB_EVENT && event.seq == s->now.last_seq)
        evb_event_id(&event, id);
    evb_sub_destroy(&sub);
    if (!*id || strcmp(id, s->now.last_id) == 0)
        return rc < 0 && rc != EVB_EGONE ? rc : 0;
    return evb_fail(&s->err, EVB_EGONE,
                    "%.200s: another journal's: its seq %" PRIu64
                    " is %s, and the hub's is %s; remove it to begin anew",
                    s->opt.state, s->now.last_seq, s->now.last_id, id);
}

/* Whether the hub's journal is the state's, and reaches as far as --at. */
static int check_hub(session *s) {
    evb_status hub;
    const fold_bound *at = &s->opt.at;
    if (!s->kept && at->kind == FOLD_TO_THE_END)
        return 0;
    int rc = evb_bus_status(s->bus, &hub, &s->err);
    if (rc)
        return rc;
    s->hub_first = hub.first;
    if (s->kept > hub.head + 1)
        return evb_fail(&s->err, EVB_EGONE,
                        "%.200s: stands at %" PRIu64 ", beyond the journal's end at %" PRIu64
                        ": it is another journal's; remove it to begin anew",
                        s->opt.state, s->kept, hub.head);
    if (at->kind == FOLD_TO_SEQ && at->seq > hub.head)
        return evb_fail(&s->err, EVB_EGONE, "--at: there is no seq %" PRIu64 " yet: the head is %" PRIu64, at->seq,
                        hub.head);
    return s->now.last_seq && s->kept ? check_last(s) : 0;
}

static int open_bus(session *s) {
    s->bus = program_bus(s->opt.url, s->opt.timeout_ns, &s->err);
    if (!s->bus)
        return s->err.code;
    int rc = check_hub(s);
    return rc ? rc : begin(s, s->opt.until_head || s->opt.at.kind != FOLD_TO_THE_END);
}

static int open_session(session *s) {
    const fold_options *o = &s->opt;
    s->recipe = (fold_recipe){o->expression, o->sub.patterns, o->sub.pattern_count, o->init};
    s->keeps = o->state && o->at.kind == FOLD_TO_THE_END;
    s->prints = o->print;
    s->check_at = FIRST_CHECK;
    int rc = open_expression(s);
    if (rc || (rc = open_state(s)))
        return rc;
    return open_bus(s);
}

int main(int argc, char **argv) {
    static session s = {.lock = -1};
    bool asked = false;
    int sig = 0;
    program_hold_descriptors();
    signal(SIGPIPE, SIG_IGN);
    int rc = fold_options_read(&s.opt, argc, argv, &asked, &s.err);
    if (!rc && !asked) {
        rc = open_session(&s); /* a signal until then ends it at once: nothing has begun */
        signals_catch(2);
    }
    if (rc)
        say(s.err.text);
    int code = rc || asked ? evb_err_exit(rc) : run(&s, &sig);
    if (sig)
        signals_die_of(sig);
    _exit(code); /* all is written: nothing to take down */
}
