/* listen_unit.c: the life of a listener.
 *
 *   IDLE ──▶ JOINING ──▶ RUNNING ──▶ DRAINING ──▶ LEAVING ──▶ GONE
 *     ▲─────────┴────────────┘ the hub has refused it, or is not there
 *
 * An event is acknowledged when its command has ended well and what that printed is stored. A subscription whose pool is
 * full is held. Where the subscription is lost, what runs goes on to its end, but for nothing: the hub hands it out again,
 * and only then the listener joins anew. An expectation is the same without a group; that nothing came in its time it learns
 * from the hub, whose beats say so: by our own clock we, or the hub, may only have been stopped.
 * Leaves to others: processes (run/pool.c), what they print (listen_out.c), retries and dead letters (the hub). */
#include "listen_unit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "client/subscription.h"
#include "listen_command.h"
#include "listen_out.h"
#include "signals.h"

static const int64_t AGAIN_NS = 5 * EVB_SECOND_NS;             /* before one that the hub refused is tried again */
static const int64_t AGAIN_SOON_NS = 250 * EVB_MILLISECOND_NS; /* where there was no hub */
static const int64_t FAREWELL_NS = 5 * EVB_SECOND_NS;          /* to bring the hub what is done, at the end */
enum { TAKE_AT_ONCE = 64 };                                    /* events, then it is the others' turn */

typedef enum {
    UNIT_IDLE,     /* not in the group: joins at due_ns, when nothing runs any more */
    UNIT_JOINING,  /* has asked to */
    UNIT_RUNNING,  /* takes events */
    UNIT_DRAINING, /* takes none: what it has is run to its end, and published */
    UNIT_LEAVING,  /* the hub is told */
    UNIT_GONE
} unit_state;

struct listen_unit {
    const listen_ground *ground;
    const listener *l;
    unit_state state;
    evb_sub *sub; /* from JOINING to LEAVING */
    listen_command command;
    listen_out *out; /* with publish */
    int64_t
        due_ns; /* IDLE: when to join; DRAINING with no command left, LEAVING: when to give up; INT64_MAX: never */
    bool held, stopped;  /* by the owner */
    bool refused, waits; /* the hub has; it is not there: said already */
    bool when_failed;
    int64_t heard_ns;   /* expect: when the last event came, since the epoch; 0: not looked for yet */
    uint64_t heard_seq; /* and its seq */
    bool missed;        /* and that it is too long ago was acted on */
    uint64_t runs, failures;
    char last_error[256];
    int64_t last_error_ns;
};

static void set_state(listen_unit *self, unit_state state) {
    self->state = state;
    self->due_ns = INT64_MAX;
}

__attribute__((format(printf, 2, 3))) static void say(const listen_unit *self, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "evlisten: %s: ", self->l->name);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

static bool is_expectation(const listen_unit *self) { return self->l->every_ns > 0; }

/* ---- what became of an event ---- */

static void note_failure(listen_unit *self, uint64_t seq, const char *reason) {
    self->failures++;
    snprintf(self->last_error, sizeof self->last_error, "seq %" PRIu64 ": %.200s", seq, reason);
    self->last_error_ns = evb_clock_wall_ns();
}

static void report(listen_unit *self) {
    evb_sub_report(self->sub, self->runs, self->failures, *self->last_error ? self->last_error : NULL,
                   self->last_error_ns);
}

/* An event has failed. Without a subscription the hub hands it out again anyway. */
static void fail(listen_unit *self, const evb_event *event, bool never, const evb_attempt *attempt) {
    note_failure(self, event->seq, attempt->reason);
    if (self->ground->verbose)
        say(self, "seq %" PRIu64 "%s%.*s: %s", event->seq, event->topic_size ? " " : "", (int)event->topic_size,
            event->topic_size ? event->topic : "", attempt->reason);
    if (self->sub)
        evb_sub_fail_attempt(self->sub, event, -1, never, attempt);
}

/* A run's output is stored, or not. */
static void published(void *context, const listen_run_end *run, const char *why) {
    listen_unit *self = context;
    char reason[EVB_REASON_MAX];
    snprintf(reason, sizeof reason, "its output could not be published: %.300s", why ? why : "");
    const evb_attempt attempt = {.reason = reason,
                                 .begun_ns = run->end->begun_ns,
                                 .took_ns = run->end->took_ns,
                                 .status = run->end->status,
                                 .output = run->errors,
                                 .output_size = run->errors_size};
    for (size_t i = 0; i < run->count; i++) {
        const evb_event event = {.seq = run->sources[i].seq, .replayed = run->sources[i].replayed};
        if (why)
            fail(self, &event, false, &attempt);
        else if (self->sub)
            evb_sub_ack(self->sub, &event);
    }
    if (self->sub)
        report(self);
}

/* Nothing that follows depends on an expectation's command. */
static void end_expectation(listen_unit *self, const evb_outcome *outcome) {
    if (outcome->result != EVB_RUN_DONE && outcome->reason)
        say(self, "%s", outcome->reason);
}

static void end_failed(listen_unit *self, const evb_event *event, const evb_outcome *outcome, const char *reason) {
    const evb_attempt attempt = {.reason = reason,
                                 .begun_ns = outcome->end.begun_ns,
                                 .took_ns = outcome->end.took_ns,
                                 .status = outcome->end.status,
                                 .output = outcome->errors,
                                 .output_size = outcome->errors_size};
    fail(self, event, outcome->result == EVB_RUN_NEVER, &attempt);
}

static void ended(void *context, const evb_event *event, uint64_t tag, const evb_outcome *outcome) {
    listen_unit *self = context;
    bool done = outcome->result == EVB_RUN_DONE;
    (void)tag;
    if (!done && !outcome->reason)
        return; /* not begun: the hub gets it back when we leave */
    self->runs++;
    if (is_expectation(self)) {
        end_expectation(self, outcome);
        return;
    }
    if (!done)
        end_failed(self, event, outcome, outcome->reason);
    else if (!self->sub)
        return;
    else if (!self->out)
        evb_sub_ack(self->sub, event);
    else if (!listen_out_add(self->out, event, outcome))
        end_failed(self, event, outcome, "out of memory");
    if (self->sub)
        report(self);
}

/* ---- joining ---- */

static void on_note(void *context, evb_note note, uint64_t value) {
    listen_unit *self = context;
    if (note == EVB_NOTE_SUBSCRIBED && self->state == UNIT_JOINING) {
        self->refused = self->waits = false;
        set_state(self, UNIT_RUNNING);
    }
    if (note == EVB_NOTE_GAP && !is_expectation(self))
        say(self, "removed by retention before they were handled: %" PRIu64 " event%s", value, evb_plural(value));
    else if (note == EVB_NOTE_DISCONNECTED && self->ground->verbose)
        say(self, "the hub is gone: waiting for it");
}

/* Reads the last event that is expected, and those to come. What was heard of before a loss stays so. */
static int watch(listen_unit *self, evb_error *err) {
    const evb_sub_options how = {.patterns = self->l->patterns,
                                 .pattern_count = self->l->pattern_count,
                                 .from = EVB_FROM_LAST,
                                 .allow_gap = true,
                                 .kind = "evlisten"};
    if (!self->heard_ns)
        self->heard_ns = evb_clock_wall_ns();
    self->sub = evb_sub_new(self->ground->bus, &how, on_note, self, err);
    return self->sub ? 0 : err->code;
}

/* Joins the group, which is to be as the file says. */
static int join(listen_unit *self, evb_error *err) {
    const listener *l = self->l;
    const evb_group_options group = {.name = l->name,
                                     .ack_wait_ns = l->ack_wait_ns,
                                     .max_deliver = l->retry == LISTEN_NONE ? 0 : l->retry + 1,
                                     .backoff_ns = l->backoff_ns,
                                     .backoff_count = l->backoff_count,
                                     .ordered = l->ordered,
                                     .listener = true,
                                     .whole = true,
                                     .at_once = l->jobs * l->batch * (l->jobs > 1 ? 2 : 1),
                                     .working = true};
    const evb_sub_options how = {.patterns = l->patterns,
                                 .pattern_count = l->pattern_count,
                                 .from = l->start,
                                 .value = l->start_value,
                                 .group = &group,
                                 .kind = "evlisten"};
    self->sub = evb_sub_new(self->ground->bus, &how, on_note, self, err);
    return self->sub ? 0 : err->code;
}

static bool open_command(listen_unit *self) {
    struct epoll_event readable = {.events = EPOLLIN};
    if (self->l->publish && !(self->out = listen_out_new(self->ground->bus, self->l, published, self)))
        return false;
    return listen_command_open(&self->command, self->l, self->ground->environment, ended, self) &&
           epoll_ctl(self->ground->epoll, EPOLL_CTL_ADD, evb_pool_fd(self->command.pool), &readable) == 0;
}

static void close_command(listen_unit *self) {
    listen_command_close(&self->command);
    listen_out_destroy(&self->out);
}

static void say_lost(listen_unit *self, const evb_error *why) {
    bool refused = why->code != EVB_ENOHUB;
    if (refused ? !self->refused : !self->waits)
        say(self, "%s%s", why->text, refused ? "" : ": waiting for it");
    self->refused = refused;
    self->waits = !refused;
}

/* There is no subscription, or none any more: another is tried in a while. */
static void lose(listen_unit *self, const evb_error *why) {
    say_lost(self, why);
    evb_sub_destroy(&self->sub);
    listen_out_destroy(&self->out);
    if (self->command.pool)
        evb_pool_drain(self->command.pool);
    set_state(self, UNIT_IDLE);
    self->due_ns = evb_clock_monotonic_ns() + (self->refused ? AGAIN_NS : AGAIN_SOON_NS);
}

static void begin(listen_unit *self) {
    evb_error err;
    if (self->command.pool && evb_pool_events(self->command.pool))
        return;
    close_command(self);
    set_state(self, UNIT_JOINING);
    self->runs = self->failures = 0; /* they are counted for each subscription */
    int rc = open_command(self) ? 0 : evb_fail(&err, EVB_ENOMEM, "out of memory, or of descriptors");
    if (!rc)
        rc = is_expectation(self) ? watch(self, &err) : join(self, &err);
    if (rc)
        lose(self, &err);
}

/* ---- taking events ---- */

static bool wants(listen_unit *self, const evb_event *event) {
    bool holds = true;
    evb_error why;
    if (!self->command.when)
        return true;
    signals_evaluate(true);
    int rc = evb_where_test(self->command.when, event, &holds, &why);
    signals_evaluate(false);
    if (!rc)
        return holds;
    if (!self->when_failed)
        say(self, "when: seq %" PRIu64 ": %s: such events are passed over", event->seq, why.text);
    self->when_failed = true;
    return false;
}

static bool has_room(const listen_unit *self) {
    return !self->held && evb_pool_room(self->command.pool) && (!self->out || listen_out_room(self->out));
}

static void take_events(listen_unit *self) {
    evb_event event;
    evb_error err;
    for (int i = 0; i < TAKE_AT_ONCE && has_room(self); i++) {
        int rc = evb_sub_next(self->sub, &event, &err);
        if (rc < 0)
            lose(self, &err);
        if (rc != EVB_EVENT)
            return;
        if (!wants(self, &event))
            evb_sub_ack(self->sub, &event);
        else if (!evb_pool_add(self->command.pool, &event, 0))
            evb_sub_nack(self->sub, &event, -1, "out of memory");
    }
}

/* Runs the command of an expectation that was missed, once for each silence. */
static void act_on_silence(listen_unit *self) {
    const listener *l = self->l;
    char payload[400];
    const evb_event event = {.topic = l->patterns[0],
                             .topic_size = strlen(l->patterns[0]),
                             .payload = payload,
                             .size = (size_t)snprintf(payload, sizeof payload, "%.128s: no %.200s for %.6g s\n",
                                                      l->name, l->patterns[0], (double)l->every_ns / 1e9),
                             .time_ns = evb_clock_wall_ns()};
    self->missed = true;
    say(self, "no %s for %.6g s", l->patterns[0], (double)l->every_ns / 1e9);
    if (!evb_pool_add(self->command.pool, &event, 0))
        say(self, "out of memory");
}

/* After a loss the last event is read again: that ends no silence. In another journal, a later one has a lower seq. */
static bool is_news(const listen_unit *self, const evb_event *event) {
    return event->live || event->seq > self->heard_seq || event->time_ns > self->heard_ns;
}

static void hear(listen_unit *self, const evb_event *event) {
    if (!is_news(self, event))
        return;
    if (!event->live)
        self->heard_seq = event->seq;
    self->heard_ns = event->time_ns;
    self->missed = false;
}

/* Whether its time is over, by the hub's clock, and that is to be acted on. */
static bool is_silent(const listen_unit *self) {
    return self->state == UNIT_RUNNING && !self->missed && !self->held &&
           evb_sub_complete_ns(self->sub) >= self->heard_ns + self->l->every_ns;
}

/* Hears what was expected, or acts. */
static void expect(listen_unit *self) {
    evb_event event;
    evb_error err;
    int rc = EVB_NOTHING;
    for (int i = 0; i < TAKE_AT_ONCE && (rc = evb_sub_next(self->sub, &event, &err)) == EVB_EVENT; i++)
        hear(self, &event);
    if (rc < 0)
        lose(self, &err);
    else if (rc == EVB_NOTHING && is_silent(self))
        act_on_silence(self);
}

/* ---- the end ---- */

static void be_gone(listen_unit *self) {
    evb_sub_destroy(&self->sub);
    close_command(self);
    set_state(self, UNIT_GONE);
}

static void start_leaving(listen_unit *self) {
    evb_error err;
    if (!self->sub || is_expectation(self) || evb_sub_leave_start(self->sub, &err)) {
        be_gone(self);
        return;
    }
    set_state(self, UNIT_LEAVING);
    self->due_ns = evb_clock_monotonic_ns() + FAREWELL_NS;
}

/* Whether the time for the last words is over. It begins when no command is left. */
static bool is_late(listen_unit *self) {
    int64_t now = evb_clock_monotonic_ns();
    if (self->due_ns == INT64_MAX)
        self->due_ns = now + FAREWELL_NS;
    return now >= self->due_ns;
}

static void drain(listen_unit *self) {
    size_t unstored = self->out ? listen_out_count(self->out) : 0;
    if (evb_pool_events(self->command.pool))
        return;
    if (!unstored || !self->sub) {
        start_leaving(self);
    } else if (is_late(self)) {
        say(self, "the output of %zu run%s could not be published: the hub is not there; what ran will run again",
            unstored, evb_plural(unstored));
        be_gone(self);
    }
}

static void leave(listen_unit *self) {
    evb_event event;
    evb_error err = {.text = "the hub is not there"};
    int rc = evb_sub_next(self->sub, &event, &err);
    if (rc == EVB_NOTHING && !is_late(self))
        return;
    if (rc != EVB_END)
        say(self, "leaving: %s: what was done last may be run again", err.text);
    be_gone(self);
}

void listen_unit_stop(listen_unit *self) {
    if (self->stopped)
        return;
    self->stopped = true;
    if (self->command.pool)
        evb_pool_drain(self->command.pool);
    if (self->sub)
        evb_sub_yield(self->sub); /* to its successor */
    if (self->state == UNIT_RUNNING || (self->command.pool && evb_pool_events(self->command.pool)))
        set_state(self, UNIT_DRAINING);
    else
        be_gone(self);
}

/* ---- a step ---- */

static void step_state(listen_unit *self) {
    switch (self->state) {
    case UNIT_IDLE:
        if (evb_clock_monotonic_ns() >= self->due_ns)
            begin(self);
        break;
    case UNIT_JOINING:
    case UNIT_RUNNING:
        if (is_expectation(self))
            expect(self);
        else
            take_events(self);
        break;
    case UNIT_DRAINING: drain(self); break;
    case UNIT_LEAVING: leave(self); break;
    case UNIT_GONE: break;
    }
}

void listen_unit_step(listen_unit *self) {
    step_state(self);
    if (self->command.pool)
        evb_pool_step(self->command.pool);
    if (self->out)
        listen_out_step(self->out);
    if (self->sub && self->state <= UNIT_DRAINING)
        evb_sub_hold(self->sub, self->state == UNIT_DRAINING || !has_room(self));
}

/* ---- for the owner ---- */

listen_unit *listen_unit_new(const listen_ground *ground, const listener *l) {
    listen_unit *self = calloc(1, sizeof *self);
    if (self)
        *self = (listen_unit){.ground = ground, .l = l, .state = UNIT_IDLE};
    return self;
}

void listen_unit_destroy(listen_unit **self) {
    if (!*self)
        return;
    be_gone(*self);
    free(*self);
    *self = NULL;
}

const listener *listen_unit_of(const listen_unit *self) { return self->l; }
void listen_unit_hold(listen_unit *self, bool held) { self->held = held; }
bool listen_unit_is_stopped(const listen_unit *self) { return self->stopped; }
bool listen_unit_is_gone(const listen_unit *self) { return self->state == UNIT_GONE; }
bool listen_unit_is_settled(const listen_unit *self) { return self->state >= UNIT_RUNNING || self->refused; }

void listen_unit_signal(const listen_unit *self, int sig) {
    if (self->command.pool)
        evb_pool_signal(self->command.pool, sig);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t listen_unit_deadline(const listen_unit *self) {
    bool busy = self->command.pool && evb_pool_events(self->command.pool);
    int64_t at = self->state == UNIT_IDLE && busy ? INT64_MAX : self->due_ns;
    if (self->state == UNIT_DRAINING && !busy && at == INT64_MAX)
        return 0; /* its last command has ended since the step: nobody else may have anything to say */
    if (self->command.pool)
        at = least(at, evb_pool_deadline(self->command.pool));
    return at;
}
