/* listen_run.c: one loop over all listeners.
 *
 * Each listener has a subscription in its group and a pool; a subscription whose pool is full is held, so that no listener
 * waits for another. What its command prints is published, and only then is the event acknowledged, with an id of its own,
 * so that an event handled twice publishes once within the hub's window.
 * SIGHUP reads the files again: a listener that is new or has changed is started, one that is gone or has changed takes
 * nothing more, and leaves when what it has in hand is done; its successor starts then. With a fault in a file all stays.
 * Leaves to others: processes (run/pool.c), retries and dead letters (the hub), files (listen_file.c). */
#include "listen_run.h"

#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/cause.h"
#include "event/expr.h"
#include "event/jv_event.h"
#include "event/where.h"
#include "program.h"
#include "run/pool.h"
#include "signals.h"

static const int64_t AGAIN_NS = 5 * EVB_SECOND_NS; /* before one that the hub refused is tried again */
static const int64_t PUBLISH_NS = 5 * EVB_SECOND_NS;

typedef struct supervisor supervisor;

/* A listener that runs, or is about to, or is on its way out. */
typedef struct unit {
    struct unit *next;
    supervisor *all;
    listen_set *set; /* it is of this one */
    const listener *l;
    evb_sub *sub; /* NULL: not now */
    evb_pool *pool;
    evb_where *when;
    evb_expr *input;
    evb_jv_events *events;
    const char **environment;
    bool leaving, when_failed;
    bool stuck, waits; /* the hub has refused it; it is not there */
    bool joined;
    int64_t again_ns; /* when to try again */
    int64_t heard_ns; /* expect: when the last event came, since the epoch */
    bool missed;      /* and that it is too long ago was acted on */
    uint64_t runs, failures;
    char last_error[256];
    int64_t last_error_ns;
} unit;

struct supervisor {
    const listen_options *how;
    evb_bus *bus, *out; /* out: for what is published, with a timeout */
    listen_set *set;
    unit *units;
    int epoll; /* of all pools */
    bool ending, ready;
    int fault;
};

static volatile sig_atomic_t hangup;

__attribute__((format(printf, 2, 3))) static void say(const unit *u, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "evlisten: %s: ", u->l->name);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

/* ---- what is published ---- */

/* Publishes what the command has printed. False: not now, and why. */
static bool publish(unit *u, const evb_event *event, const evb_outcome *outcome, char *reason, size_t room) {
    evb_header headers[EVB_CAUSE_HEADERS];
    evb_cause cause;
    evb_error err;
    char id[EVB_ID_MAX];
    evb_event out = {.topic = u->l->publish,
                     .topic_size = strlen(u->l->publish),
                     .payload = outcome->output,
                     .size = outcome->output_size};
    if (out.size && ((const char *)out.payload)[out.size - 1] == '\n' && !u->l->keep)
        out.size--;
    evb_cause_of(event, &cause);
    if (evb_cause_too_deep(&cause)) {
        say(u, "seq %" PRIu64 ": not published to %s: %d causes before it: this looks like a loop", event->seq,
            u->l->publish, EVB_DEPTH_MAX);
        return true;
    }
    out.headers = headers;
    out.header_count = evb_cause_add(&cause, headers, 0);
    int size = snprintf(id, sizeof id, "%s:%" PRIu64, u->l->name, event->seq);
    if (size < (int)sizeof id && !event->replayed) {
        out.id = id;
        out.id_size = (size_t)size;
    }
    if (evb_publish(u->all->out, &out, NULL, &err) == 0)
        return true;
    snprintf(reason, room, "its output could not be published: %.300s", err.text);
    return false;
}

/* ---- what became of an event ---- */

static void expectation_ended(unit *u, const evb_outcome *outcome) {
    u->runs++;
    if (outcome->result != EVB_RUN_DONE && outcome->reason)
        say(u, "%s", outcome->reason);
}

static void note_failure(unit *u, const evb_event *event, const char *reason) {
    u->failures++;
    snprintf(u->last_error, sizeof u->last_error, "seq %" PRIu64 ": %.200s", event->seq, reason);
    u->last_error_ns = evb_clock_wall_ns();
    if (u->all->how->verbose)
        say(u, "seq %" PRIu64 " %.*s: %s", event->seq, (int)event->topic_size, event->topic, reason);
}

static void ended(void *context, const evb_event *event, uint64_t tag, const evb_outcome *outcome) {
    unit *u = context;
    char reason[EVB_REASON_MAX];
    bool done = outcome->result == EVB_RUN_DONE;
    (void)tag;
    if (u->l->every_ns) {
        expectation_ended(u, outcome);
        return;
    }
    if (!done && !outcome->reason)
        return; /* not begun: the hub gets it back when we leave */
    u->runs++;
    snprintf(reason, sizeof reason, "%s", outcome->reason ? outcome->reason : "");
    if (done && u->l->publish && outcome->output_size)
        done = publish(u, event, outcome, reason, sizeof reason);
    if (done) {
        evb_sub_ack(u->sub, event);
    } else {
        const evb_attempt attempt = {.reason = reason,
                                     .begun_ns = outcome->end.begun_ns,
                                     .took_ns = outcome->end.took_ns,
                                     .status = outcome->end.status,
                                     .output = outcome->errors,
                                     .output_size = outcome->errors_size};
        note_failure(u, event, reason);
        evb_sub_fail_attempt(u->sub, event, -1, outcome->result == EVB_RUN_NEVER, &attempt);
    }
    evb_sub_report(u->sub, u->runs, u->failures, *u->last_error ? u->last_error : NULL, u->last_error_ns);
}

/* What the command reads, as `input` says. */
static int shape(void *context, const evb_event *event, evb_buf *out, evb_error *err) {
    unit *u = context;
    jv value;
    int rc = evb_expr_eval(u->input, evb_jv_events_make(u->events, event), NULL, &value, err);
    if (rc)
        return rc;
    if (jv_get_kind(value) != JV_KIND_STRING)
        value = jv_dump_string(value, 0);
    bool ok = evb_buf_add(out, jv_string_value(value), (size_t)jv_string_length_bytes(jv_copy(value)));
    jv_free(value);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "out of memory");
}

/* ---- starting ---- */

/* Whether one of the first `count` has this variable's name. */
static bool is_set(const char *const *list, size_t count, const char *variable) {
    size_t size = strcspn(variable, "=") + 1;
    for (size_t i = 0; i < count; i++)
        if (strncmp(list[i], variable, size) == 0)
            return true;
    return false;
}

/* The environment of a listener's commands: ours, with env and, for another user, what a login would set. */
static const char **make_environment(const unit *u) {
    const struct passwd *pw = u->l->user ? getpwnam(u->l->user) : NULL;
    const char **base = program_environ(u->all->how->url);
    size_t count = 0, own = u->l->env.count + (pw ? 3 : 0);
    while (base && base[count])
        count++;
    const char **list = base ? calloc(count + own + 1, sizeof *list) : NULL;
    for (size_t i = 0; list && i < u->l->env.count; i++)
        list[i] = u->l->env.items[i];
    if (list && pw) {
        char *text[3] = {NULL, NULL, NULL};
        const char *const names[3] = {"HOME", "USER", "LOGNAME"};
        const char *const values[3] = {pw->pw_dir, pw->pw_name, pw->pw_name};
        for (size_t i = 0; i < 3; i++)
            list[u->l->env.count + i] = asprintf(&text[i], "%s=%s", names[i], values[i]) < 0 ? "" : text[i];
    }
    for (size_t i = 0, n = own; list && i < count; i++)
        if (!is_set(list, own, base[i]))
            list[n++] = base[i];
    free(base);
    return list;
}

static bool make_pool(unit *u) {
    const listener *l = u->l;
    bool expr = l->input && strcmp(l->input, "json") != 0 && strcmp(l->input, "payload") != 0;
    evb_error err;
    u->environment = make_environment(u);
    if ((l->when && !(u->when = evb_where_new(l->when, &err))) ||
        (expr &&
         (!(u->input = evb_expr_new(l->input, NULL, 0, &err)) || !(u->events = evb_jv_events_new(EVB_MEMBERS_ALL)))))
        return false;
    const evb_pool_options how = {.argv = l->argv,
                                  .environment = u->environment,
                                  .cwd = l->cwd,
                                  .jobs = (size_t)l->jobs,
                                  .batch = (size_t)l->batch,
                                  .keep = l->keep,
                                  .json = l->input && strcmp(l->input, "json") == 0,
                                  .shape = expr ? shape : NULL,
                                  .shape_context = u,
                                  .timeout_ns = l->timeout_ns,
                                  .take_out = l->publish,
                                  .take_err = true};
    u->pool = u->environment ? evb_pool_new(&how, ended, u) : NULL;
    struct epoll_event readable = {.events = EPOLLIN};
    return u->pool && epoll_ctl(u->all->epoll, EPOLL_CTL_ADD, evb_pool_fd(u->pool), &readable) == 0;
}

static void on_note(void *context, evb_note note, uint64_t value) {
    unit *u = context;
    if (note == EVB_NOTE_SUBSCRIBED)
        u->joined = true;
    if (note == EVB_NOTE_GAP)
        say(u, "%" PRIu64 " events were removed by retention before they were handled", value);
    else if (note == EVB_NOTE_DISCONNECTED && u->all->how->verbose)
        say(u, "the hub is gone: waiting for it");
}

/* Reads the last event that is expected, and those to come. */
static void watch(unit *u) {
    evb_error err;
    const evb_sub_options how = {.patterns = u->l->patterns,
                                 .pattern_count = u->l->pattern_count,
                                 .from = EVB_FROM_LAST,
                                 .allow_gap = true,
                                 .kind = "evlisten"};
    u->heard_ns = evb_clock_wall_ns();
    u->sub = evb_sub_new(u->all->bus, &how, on_note, u, &err);
    if (!u->sub)
        say(u, "%s", err.text);
}

/* Joins the group. */
static void join(unit *u) {
    const listener *l = u->l;
    evb_error err;
    const evb_group_options group = {.name = l->name,
                                     .ack_wait_ns = l->ack_wait_ns,
                                     .max_deliver = l->retry == LISTEN_NONE ? 0 : l->retry + 1,
                                     .backoff_ns = l->backoff_ns,
                                     .backoff_count = l->backoff_count,
                                     .ordered = l->ordered,
                                     .listener = true,
                                     .at_once = l->jobs * l->batch * (l->jobs > 1 ? 2 : 1),
                                     .working = true};
    const evb_sub_options how = {.patterns = l->patterns,
                                 .pattern_count = l->pattern_count,
                                 .from = l->start,
                                 .value = l->start_value,
                                 .group = &group,
                                 .kind = "evlisten"};
    u->sub = evb_sub_new(u->all->bus, &how, on_note, u, &err);
    if (!u->sub) {
        say(u, "%s", err.text);
        u->again_ns = evb_clock_monotonic_ns() + AGAIN_NS;
    }
}

/* The subscription has failed: another begins in a while. What is in hand goes on; the hub gives it out again. */
static void lose(unit *u, const evb_error *why) {
    bool refused = why->code != EVB_ENOHUB;
    if (!u->stuck && (refused || !u->waits))
        say(u, "%s%s", why->text, refused ? "" : ": waiting for it");
    u->stuck = refused;
    u->waits = !refused;
    evb_pool_destroy(&u->pool);
    evb_sub_destroy(&u->sub);
    free(u->environment);
    u->environment = NULL;
    evb_where_destroy(&u->when);
    evb_expr_destroy(&u->input);
    evb_jv_events_destroy(&u->events);
    u->again_ns = evb_clock_monotonic_ns() + (refused ? AGAIN_NS : AGAIN_NS / 20);
}

static void add_unit(supervisor *all, const listener *l) {
    unit *u = calloc(1, sizeof *u);
    if (!u)
        return;
    *u = (unit){.next = all->units, .all = all, .set = all->set, .l = l};
    all->units = u;
    all->set->users++;
}

static void free_unit(unit *u) {
    evb_pool_destroy(&u->pool);
    evb_sub_destroy(&u->sub);
    evb_where_destroy(&u->when);
    evb_expr_destroy(&u->input);
    evb_jv_events_destroy(&u->events);
    free(u->environment);
    if (--u->set->users == 0 && u->set != u->all->set)
        listen_set_destroy(&u->set);
    free(u);
}

/* ---- a step of one listener ---- */

static bool wants(unit *u, const evb_event *event) {
    bool holds = true;
    evb_error why;
    if (!u->when || evb_where_test(u->when, event, &holds, &why) == 0)
        return holds;
    if (!u->when_failed)
        say(u, "when: seq %" PRIu64 ": %s: such events are passed over", event->seq, why.text);
    u->when_failed = true;
    return false;
}

static void take_events(unit *u) {
    evb_event event;
    evb_error err;
    while (!u->leaving && u->sub && evb_pool_room(u->pool)) {
        int rc = evb_sub_next(u->sub, &event, &err);
        if (rc < 0) {
            lose(u, &err);
            return;
        }
        if (rc != EVB_EVENT)
            return;
        u->stuck = false;
        if (!wants(u, &event))
            evb_sub_ack(u->sub, &event);
        else if (!evb_pool_add(u->pool, &event, 0))
            evb_sub_nack(u->sub, &event, -1, "out of memory");
    }
}

/* Runs the command of an expectation that was missed, once for each silence. */
static void act_on_silence(unit *u) {
    char payload[400];
    const evb_event event = {.topic = u->l->patterns[0],
                             .topic_size = strlen(u->l->patterns[0]),
                             .payload = payload,
                             .size = (size_t)snprintf(payload, sizeof payload, "%.128s: no %.200s for %.6g s\n",
                                                      u->l->name, u->l->patterns[0], (double)u->l->every_ns / 1e9),
                             .time_ns = evb_clock_wall_ns()};
    u->missed = true;
    say(u, "no %s for %.6g s", u->l->patterns[0], (double)u->l->every_ns / 1e9);
    if (!evb_pool_add(u->pool, &event, 0))
        say(u, "out of memory");
}

/* Hears what was expected, or acts. */
static void expect(unit *u) {
    evb_event event;
    evb_error err;
    int rc = EVB_NOTHING;
    while (!u->leaving && u->sub && (rc = evb_sub_next(u->sub, &event, &err)) == EVB_EVENT) {
        u->heard_ns = event.time_ns;
        u->missed = false;
        u->stuck = false;
    }
    if (rc < 0)
        lose(u, &err);
    else if (u->sub && u->joined && !u->missed && !u->leaving && evb_clock_wall_ns() >= u->heard_ns + u->l->every_ns)
        act_on_silence(u);
}

static void start_leaving(unit *u) {
    if (!u->leaving && u->pool)
        evb_pool_drain(u->pool);
    u->leaving = true;
}

static void step(unit *u) {
    if (!u->sub && !u->leaving && evb_clock_monotonic_ns() >= u->again_ns) {
        if (!make_pool(u))
            say(u, "out of memory");
        else if (u->l->every_ns)
            watch(u);
        else
            join(u);
    }
    if (u->l->every_ns)
        expect(u);
    else
        take_events(u);
    if (u->pool)
        evb_pool_step(u->pool);
    if (u->sub)
        evb_sub_hold(u->sub, u->leaving || !evb_pool_room(u->pool));
}

/* It is leaving and has nothing in hand: leaves the group. */
static bool is_gone(unit *u) {
    evb_error err;
    if (!u->leaving || (u->pool && evb_pool_events(u->pool)))
        return false;
    if (u->sub) {
        evb_sub_hold(u->sub, false);
        if (u->joined && !u->l->every_ns && evb_sub_leave(u->sub, &err) && u->all->how->verbose)
            say(u, "%s", err.text);
    }
    return true;
}

static void drop_gone(supervisor *all) {
    for (unit **at = &all->units; *at;) {
        unit *u = *at;
        if (is_gone(u)) {
            *at = u->next;
            free_unit(u);
        } else {
            at = &u->next;
        }
    }
}

/* ---- the files ---- */

static unit *find_unit(const supervisor *all, const char *name) {
    unit *u = all->units;
    while (u && strcmp(u->l->name, name) != 0)
        u = u->next;
    return u;
}

/* Starts what is to be there and is not; one that is leaving is waited for. */
static void start_missing(supervisor *all) {
    for (const listener *l = all->set->first; l && !all->ending; l = l->next)
        if (!find_unit(all, l->name))
            add_unit(all, l);
}

static void read_again(supervisor *all) {
    listen_set *fresh = listen_set_read(all->how->paths, all->how->path_count, false), *old = all->set;
    hangup = 0;
    if (!fresh) {
        fprintf(stderr, "evlisten: going on with the listeners as they were\n");
        return;
    }
    all->set = fresh;
    for (unit *u = all->units; u; u = u->next) {
        const listener *l = listen_set_find(fresh, u->l->name);
        if (!l || strcmp(l->text, u->l->text) != 0)
            start_leaving(u);
    }
    if (!old->users)
        listen_set_destroy(&old);
    fprintf(stderr, "evlisten: %zu listeners\n", fresh->count);
}

/* ---- the loop ---- */

static int64_t next_due(const supervisor *all) {
    int64_t at = INT64_MAX;
    for (const unit *u = all->units; u; u = u->next) {
        int64_t due = u->pool && u->sub ? evb_pool_deadline(u->pool) : u->again_ns;
        at = due < at ? due : at;
        if (u->l->every_ns && u->sub && !u->missed && !u->leaving) {
            due = evb_clock_monotonic_ns() + u->heard_ns + u->l->every_ns - evb_clock_wall_ns();
            at = due < at ? due : at;
        }
    }
    return at;
}

/* Waits for the hub, a command's end, a signal, a deadline. */
static void wait_for_more(supervisor *all, struct pollfd *fds, evb_error *err) {
    int64_t due = next_due(all), now = evb_clock_monotonic_ns();
    if (evb_bus_wait(all->bus, fds, 2, due == INT64_MAX ? -1 : due > now ? due - now : 0, err) < 0)
        all->fault = err->code;
}

static void heed_signals(supervisor *all) {
    signals_clear();
    if (hangup)
        read_again(all);
    if (signals_caught)
        all->ending = true;
    for (unit *u = all->units; u && all->ending; u = u->next) {
        start_leaving(u);
        if (signals_count > 1 && u->pool)
            evb_pool_signal(u->pool, SIGTERM);
    }
}

/* All have joined, or cannot: says so, once. */
static void become_ready(supervisor *all) {
    for (const unit *u = all->units; u; u = u->next)
        if (!u->joined && !u->stuck)
            return;
    all->ready = true;
    fprintf(stderr, "evlisten: ready: %zu listeners\n", all->set->count);
    program_notify("READY=1");
    if (all->how->ready_fd >= 0) {
        if (write(all->how->ready_fd, "\n", 1) < 0)
            perror("evlisten: --ready-fd");
        close(all->how->ready_fd);
    }
}

static void run(supervisor *all, evb_error *err) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {all->epoll, POLLIN, 0}};
    while (!all->fault && (!all->ending || all->units)) {
        start_missing(all);
        for (unit *u = all->units; u; u = u->next)
            step(u);
        drop_gone(all);
        if (!all->ready && !all->ending)
            become_ready(all);
        if (!all->ending || all->units)
            wait_for_more(all, fds, err);
        heed_signals(all);
    }
}

static int open_all(supervisor *all, evb_error *err) {
    all->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (all->epoll < 0)
        return evb_fail(err, EVB_EIO, "epoll: no descriptor");
    all->bus = program_bus(all->how->url, 0, err);
    if (all->bus)
        all->out = program_bus(all->how->url, PUBLISH_NS, err);
    return all->out ? 0 : err->code;
}

int listen_run(listen_set **set, const listen_options *options, int *sig) {
    supervisor all = {.how = options, .set = *set, .epoll = -1};
    evb_error err = {0};
    *set = NULL;
    signals_catch(4);
    signals_also(SIGHUP, &hangup);
    int rc = open_all(&all, &err);
    if (rc == 0) {
        run(&all, &err);
        rc = all.fault;
    }
    if (rc)
        fprintf(stderr, "evlisten: %s\n", err.text);
    for (unit *u; (u = all.units);) {
        all.units = u->next;
        free_unit(u);
    }
    evb_bus_destroy(&all.out);
    evb_bus_destroy(&all.bus);
    if (all.epoll >= 0)
        close(all.epoll);
    listen_set_destroy(&all.set);
    *sig = signals_caught;
    return evb_err_exit(rc);
}
