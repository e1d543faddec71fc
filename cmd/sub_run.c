/* sub_run.c: evsub -- CMD: runs a command for each event.
 *
 * One loop: events go into the pool while it has room, then evb_bus_wait sleeps until the hub, the end of a command, a
 * signal or a deadline wakes it; while there is no room the subscription is held.
 * Invariants: an event is acknowledged, or the cursor passes it, only when its command has ended well; without a group or
 * --strict also when it failed, which is said. The cursor stands at the lowest event that is not done.
 * The first SIGINT or SIGTERM takes nothing more and waits for what runs, the second sends SIGTERM to it, the third ends
 * evsub. Leaves to others: processes and their order (run/pool.c), retries and dead letters (the hub). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "program.h"
#include "run/pool.h"
#include "signals.h"
#include "sub_session.h"

/* An event that is not done, or done behind one that is not. */
typedef struct {
    uint64_t seq;
    bool done;
} open_event;

typedef struct {
    sub_session *s;
    evb_pool *pool;
    const char **environment;
    open_event *open; /* in the order of the journal: a ring that begins at `first` */
    size_t first, count, room;
    uint64_t added;  /* events ever; the tag of the next, and of open[first] it is added - count */
    sub_outcome why; /* not GO_ON: takes no more events, and ends so when none is left */
    bool told;       /* a second signal was passed on */
    bool heard;      /* the first was heeded */
} runner;

/* ---- which are done ---- */

static bool note_open(runner *r, uint64_t seq) {
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 64;
        open_event *list = malloc(room * sizeof *list);
        if (!list)
            return false;
        for (size_t i = 0; i < r->count; i++)
            list[i] = r->open[(r->first + i) % r->room];
        free(r->open);
        r->open = list;
        r->room = room;
        r->first = 0;
    }
    r->open[(r->first + r->count++) % r->room] = (open_event){seq, false};
    return true;
}

/* The event of this tag is done: the cursor may go up to the first that is not. */
static void note_done(runner *r, uint64_t tag) {
    size_t behind = (size_t)(tag - (r->added - r->count));
    r->open[(r->first + behind) % r->room].done = true;
    for (; r->count && r->open[r->first].done; r->count--) {
        uint64_t seq = r->open[r->first].seq;
        r->first = (r->first + 1) % r->room;
        if (seq >= r->s->handed)
            r->s->handed = seq + 1;
    }
}

/* ---- what became of an event ---- */

static void say_failure(const evb_event *event, const evb_outcome *outcome, const char *then) {
    fprintf(stderr, "evsub: seq %" PRIu64 " %.*s: %s%s\n", event->seq, (int)event->topic_size, event->topic,
            outcome->reason, then);
}

/* In a group the hub decides what follows. */
static void settle(runner *r, const evb_event *event, const evb_outcome *outcome) {
    const evb_attempt attempt = {.reason = outcome->reason,
                                 .begun_ns = outcome->end.begun_ns,
                                 .took_ns = outcome->end.took_ns,
                                 .status = outcome->end.status,
                                 .output = outcome->errors,
                                 .output_size = outcome->errors_size};
    bool never = outcome->result == EVB_RUN_NEVER;
    if (outcome->result == EVB_RUN_DONE) {
        evb_sub_ack(r->s->sub, event); /* one that is not ours any more has gone to somebody else */
        return;
    }
    if (r->s->opt.verbose)
        say_failure(event, outcome, never ? ": a dead letter" : "");
    evb_sub_fail_attempt(r->s->sub, event, -1, never, &attempt);
}

static void ended(void *context, const evb_event *event, uint64_t tag, const evb_outcome *outcome) {
    runner *r = context;
    bool undone = outcome->result != EVB_RUN_DONE && !outcome->reason;
    r->s->idle_anew = true;
    if (undone && signals_caught && r->why != END_FAULT && r->why != END_STRICT)
        r->why = END_SIGNAL; /* -n or -e had ended the taking, but not all is done */
    if (r->s->opt.group) {
        if (!undone)
            settle(r, event, outcome);
        return;
    }
    if (outcome->result != EVB_RUN_DONE && !undone)
        say_failure(event, outcome, "");
    if (outcome->result == EVB_RUN_DONE || (!undone && !r->s->opt.strict)) {
        note_done(r, tag);
    } else if (!undone && r->why != END_STRICT) {
        r->why = END_STRICT;
        evb_pool_drain(r->pool);
    }
}

/* ---- the loop ---- */

static void stop(runner *r, sub_outcome why) {
    if (r->why == GO_ON)
        r->why = why;
}

static void fail(runner *r) {
    if (r->why != END_FAULT)
        evb_pool_drain(r->pool);
    r->why = END_FAULT;
}

/* One that is not wanted is done. */
static bool pass_over(runner *r, const evb_event *event) {
    if (r->s->opt.group)
        return evb_sub_ack(r->s->sub, event) == 0;
    if (!note_open(r, event->seq))
        return false;
    note_done(r, r->added++);
    return true;
}

static bool take_one(runner *r, const evb_event *event) {
    sub_session *s = r->s;
    if (!sub_wants(s, event) && pass_over(r, event))
        return true;
    s->idle_anew = true;
    if (!evb_pool_add(r->pool, event, r->added) || (!s->opt.group && !note_open(r, event->seq))) {
        evb_fail(&s->err, EVB_ENOMEM, "out of memory");
        fail(r);
        return false;
    }
    r->added++;
    if (++s->printed == s->opt.count)
        stop(r, END_COUNT);
    return true;
}

/* Takes events while there is room for them. */
static void take_events(runner *r) {
    sub_session *s = r->s;
    evb_event event;
    while (r->why == GO_ON && evb_pool_room(r->pool)) {
        int rc = evb_sub_next(s->sub, &event, &s->err);
        if (rc < 0 || (!s->ready && (s->subscribed || rc != EVB_NOTHING) &&
                       sub_become_ready(s, rc == EVB_EVENT ? &event : NULL))) {
            fail(r);
            return;
        }
        if (s->opt.count == 0 && s->ready)
            stop(r, END_COUNT);
        else if (rc == EVB_END)
            stop(r, END_HEAD);
        if (rc != EVB_EVENT || r->why != GO_ON || !take_one(r, &event))
            return;
    }
}

/* Signals: the first ends the taking, the second is passed on. */
static void heed_signals(runner *r) {
    signals_clear();
    if (!signals_caught)
        return;
    if (!r->heard) {
        r->heard = true;
        stop(r, END_SIGNAL);
        evb_pool_drain(r->pool);
    }
    if (signals_count > 1 && !r->told) {
        r->told = true;
        evb_pool_signal(r->pool, SIGTERM);
    }
}

static int64_t least(int64_t a, int64_t b) { return b >= 0 && (a < 0 || b < a) ? b : a; }

/* How long to wait; -1: for ever. Ends the taking where nothing has come for too long. */
static int64_t patience(runner *r) {
    sub_session *s = r->s;
    int64_t now = evb_clock_monotonic_ns(), due = evb_pool_deadline(r->pool);
    int64_t wait = sub_cursor_due(s, now);
    if (due != INT64_MAX)
        wait = least(wait, due > now ? due - now : 0);
    bool busy = s->idle_anew || evb_pool_events(r->pool); /* more may be there that nobody has asked for yet */
    s->idle_anew = busy;
    if (s->opt.idle_ns < 0 || !s->ready || r->why != GO_ON || evb_pool_events(r->pool))
        return wait;
    int64_t left = sub_idle_left(s, now);
    if (left == 0 && !busy)
        stop(r, END_IDLE);
    return least(wait, left);
}

static void wait_for_more(runner *r) {
    sub_session *s = r->s;
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {evb_pool_fd(r->pool), POLLIN, 0}};
    evb_sub_hold(s->sub, r->why != GO_ON || !evb_pool_room(r->pool));
    int64_t wait = patience(r);
    if (r->why == GO_ON || evb_pool_events(r->pool)) {
        if (evb_bus_wait(s->bus, fds, 2, wait, &s->err) < 0)
            fail(r);
    }
    if (r->why == GO_ON && evb_pool_room(r->pool))
        evb_sub_hold(s->sub, false);
}

static void run(runner *r) {
    while (r->why == GO_ON || evb_pool_events(r->pool)) {
        take_events(r);
        evb_pool_step(r->pool);
        heed_signals(r);
        if (r->s->ready && sub_cursor_due(r->s, evb_clock_monotonic_ns()) == 0 && sub_keep_cursor(r->s))
            fail(r);
        wait_for_more(r);
    }
}

/* ---- beginning and end ---- */

static bool open_runner(runner *r) {
    const sub_options *o = &r->s->opt;
    r->environment = program_environ(o->url);
    const evb_pool_options how = {.argv = (const char *const *)o->command,
                                  .environment = r->environment,
                                  .jobs = o->jobs == SUB_NONE ? 1 : (size_t)o->jobs,
                                  .batch = o->batch == SUB_NONE ? 1 : (size_t)o->batch,
                                  .keep = o->keep,
                                  .json = o->json,
                                  .timeout_ns = o->cmd_timeout_ns,
                                  .stop = &signals_caught,
                                  .take_err = o->group};
    if (r->environment)
        r->pool = evb_pool_new(&how, ended, r);
    return r->pool;
}

/* Tells the hub or the cursor what is done. A fault of the end does not hide an earlier one. */
static void finish(runner *r) {
    sub_session *s = r->s;
    evb_error first = s->err;
    bool failed = r->why == END_FAULT;
    evb_sub_hold(s->sub, false);
    if (s->ready && sub_keep_cursor(s))
        r->why = END_FAULT;
    if (s->opt.group && !failed && evb_sub_leave(s->sub, &s->err))
        r->why = END_FAULT;
    if (failed)
        s->err = first;
}

sub_outcome sub_run(sub_session *s) {
    runner r = {.s = s, .why = GO_ON};
    if (open_runner(&r)) {
        run(&r);
        finish(&r);
    } else {
        evb_fail(&s->err, EVB_ENOMEM, "out of memory");
        r.why = END_FAULT;
    }
    evb_pool_destroy(&r.pool);
    free(r.environment);
    free(r.open);
    return r.why;
}
