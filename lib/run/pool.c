/* pool.c: lanes, slots, and what an end means.
 *
 * Each topic that has events here has a lane. A lane is idle, in `ready` (it has events and none of them is run), or
 * busy; a run takes the first event of the first ready lane, or, of a batch, as many as there are from ready lanes.
 * So events of one topic never overtake each other, and a lane goes to the end of the queue after each of its runs.
 * Invariant: every event added is in its lane's queue or in a slot, until `done` has been called for it.
 * Leaves to others: processes (child.c), what is done with a failure (the owner). */
#include "run/pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/table.h"
#include "base/utf8.h"
#include "event/json.h"
#include "event/limits.h"
#include "run/environ.h"

enum {
    AHEAD_EVENTS = 32, /* for each job, looked at to find a topic that is free */
    AHEAD_BYTES = 16 * 1024 * 1024,
    OUT_DEFAULT = 1024 * 1024,
    EXIT_NEVER = 65
};

typedef struct lane lane;

/* An event of ours: one block, with what the event points at behind it. */
typedef struct item {
    STAILQ_ENTRY(item) link;
    lane *lane;
    uint64_t tag;
    size_t bytes;
    evb_event event;
} item;

STAILQ_HEAD(items, item);

struct lane {
    TAILQ_ENTRY(lane) link; /* in pool->ready */
    struct items items;     /* not run yet */
    size_t count;           /* of them */
    size_t busy;            /* events of it in a slot */
    size_t topic_size;
    char topic[];
};

/* A command that may run. */
typedef struct {
    evb_child *child;
    struct items items;       /* what it is at */
    int64_t begun_ns, due_ns; /* keep: of the event in hand: since the epoch; monotonic */
    bool proven;              /* keep: the command has answered, and is not late with the event in hand */
} slot;

struct evb_pool {
    evb_pool_options how;
    evb_pool_done_fn *done;
    void *context;
    slot *slots;
    int fd;           /* epoll(7), of all that the commands write, and of their ends */
    evb_table *lanes; /* topic to its lane */
    TAILQ_HEAD(lanes, lane) ready;
    size_t ready_events; /* the events of lanes in ready */
    size_t waiting, running, bytes;
    bool draining;
    evb_environ environ;
    evb_buf input;
};

/* ---- making ---- */

evb_pool *evb_pool_new(const evb_pool_options *options, evb_pool_done_fn *done, void *context) {
    evb_pool *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->how = *options;
    self->how.jobs = options->jobs ? options->jobs : 1;
    self->how.batch = options->batch ? options->batch : 1;
    self->how.out_most = options->out_most ? options->out_most : OUT_DEFAULT;
    self->done = done;
    self->context = context;
    TAILQ_INIT(&self->ready);
    self->slots = calloc(self->how.jobs, sizeof *self->slots);
    self->lanes = evb_table_new();
    self->fd = epoll_create1(EPOLL_CLOEXEC);
    if (!self->slots || !self->lanes || self->fd < 0) {
        evb_pool_destroy(&self);
        return NULL;
    }
    for (size_t i = 0; i < self->how.jobs; i++)
        STAILQ_INIT(&self->slots[i].items);
    return self;
}

static void drop_items(struct items *items) {
    for (item *it; (it = STAILQ_FIRST(items));) {
        STAILQ_REMOVE_HEAD(items, link);
        free(it);
    }
}

static void drop_lane(void *value) {
    lane *l = value;
    drop_items(&l->items);
    free(l);
}

void evb_pool_destroy(evb_pool **self) {
    evb_pool *p = *self;
    if (!p)
        return;
    for (size_t i = 0; p->slots && i < p->how.jobs; i++) {
        evb_child_destroy(&p->slots[i].child);
        drop_items(&p->slots[i].items);
    }
    if (p->lanes)
        evb_table_destroy(&p->lanes, drop_lane);
    if (p->fd >= 0)
        close(p->fd);
    evb_environ_free(&p->environ);
    evb_buf_free(&p->input);
    free(p->slots);
    free(p);
    *self = NULL;
}

/* ---- adding ---- */

bool evb_pool_room(const evb_pool *self) {
    size_t busy = 0;
    for (size_t i = 0; i < self->how.jobs; i++)
        busy += !STAILQ_EMPTY(&self->slots[i].items);
    size_t idle = self->how.jobs - busy, most = self->how.jobs * self->how.batch * AHEAD_EVENTS;
    return !self->draining && self->ready_events < idle * self->how.batch && self->waiting < most &&
           (self->bytes < AHEAD_BYTES || !(self->waiting + self->running));
}

/* Copies bytes to *at, which moves on. */
static const void *copy(char **at, const void *data, size_t size) {
    char *to = *at;
    if (size)
        memcpy(to, data, size);
    *at += size;
    return to;
}

static size_t bytes_of(const evb_event *e) {
    size_t size = e->topic_size + e->size + (e->id ? e->id_size : 0) + (e->producer ? EVB_PRODUCER_SIZE : 0);
    for (size_t i = 0; i < e->header_count; i++)
        size += e->headers[i].name_size + e->headers[i].value_size;
    return size + e->header_count * sizeof *e->headers;
}

static item *copy_event(const evb_event *event, uint64_t tag) {
    size_t bytes = bytes_of(event);
    item *it = calloc(1, sizeof *it + bytes);
    if (!it)
        return NULL;
    it->tag = tag;
    it->bytes = bytes;
    evb_event *e = &it->event;
    *e = *event;
    evb_header *headers = (evb_header *)(it + 1);
    char *at = (char *)(headers + event->header_count);
    e->headers = headers;
    for (size_t i = 0; i < event->header_count; i++) {
        headers[i] = event->headers[i];
        headers[i].name = copy(&at, event->headers[i].name, event->headers[i].name_size);
        headers[i].value = copy(&at, event->headers[i].value, event->headers[i].value_size);
    }
    e->topic = copy(&at, event->topic, event->topic_size);
    e->payload = copy(&at, event->payload, event->size);
    e->id = event->id ? copy(&at, event->id, event->id_size) : NULL;
    e->producer = event->producer ? copy(&at, event->producer, EVB_PRODUCER_SIZE) : NULL;
    return it;
}

/* The lane of the event's topic, or of its own where there is no order to keep. */
static lane *lane_of(evb_pool *self, const evb_event *event, uint64_t tag) {
    char topic[EVB_TOPIC_MAX + sizeof tag];
    size_t size = event->topic_size < EVB_TOPIC_MAX ? event->topic_size : EVB_TOPIC_MAX;
    memcpy(topic, event->topic, size);
    if (self->how.unordered) {
        memcpy(topic + size, &tag, sizeof tag);
        size += sizeof tag;
    }
    lane *l = evb_table_get(self->lanes, topic, size);
    if (l)
        return l;
    l = calloc(1, sizeof *l + size);
    if (!l)
        return NULL;
    STAILQ_INIT(&l->items);
    l->topic_size = size;
    memcpy(l->topic, topic, size);
    if (evb_table_put(self->lanes, l->topic, size, l))
        return l;
    free(l);
    return NULL;
}

static void make_ready(evb_pool *self, lane *l) {
    TAILQ_INSERT_TAIL(&self->ready, l, link);
    self->ready_events += l->count;
}

bool evb_pool_add(evb_pool *self, const evb_event *event, uint64_t tag) {
    item *it = copy_event(event, tag);
    lane *l = it ? lane_of(self, event, tag) : NULL;
    if (!l) {
        free(it);
        return false;
    }
    bool first = STAILQ_EMPTY(&l->items) && !l->busy;
    it->lane = l;
    STAILQ_INSERT_TAIL(&l->items, it, link);
    l->count++;
    self->waiting++;
    self->bytes += it->bytes;
    if (first)
        make_ready(self, l);
    else if (!l->busy)
        self->ready_events++;
    return true;
}

/* ---- giving back ---- */

/* The slot's events are done with. */
static void give_back(evb_pool *self, slot *s, const evb_outcome *outcome) {
    for (item *it; (it = STAILQ_FIRST(&s->items));) {
        evb_outcome one = *outcome;
        STAILQ_REMOVE_HEAD(&s->items, link);
        one.more = !STAILQ_EMPTY(&s->items);
        if (one.more)
            one.output_size = one.errors_size = 0;
        self->running--;
        self->bytes -= it->bytes;
        lane *l = it->lane;
        if (--l->busy == 0 && !STAILQ_EMPTY(&l->items)) {
            make_ready(self, l);
        } else if (!l->busy) {
            evb_table_remove(self->lanes, l->topic, l->topic_size);
            free(l);
        }
        self->done(self->context, &it->event, it->tag, &one);
        free(it);
    }
}

/* What could not even be started. */
static void give_back_unstarted(evb_pool *self, slot *s, evb_run_result result, const evb_error *why) {
    evb_outcome outcome = {.result = result, .reason = why->text};
    outcome.end.begun_ns = evb_clock_wall_ns();
    outcome.end.status = why->code == EVB_EPERM ? 126 : 127;
    give_back(self, s, &outcome);
}

static evb_run_result result_of(int status) {
    return status == 0 ? EVB_RUN_DONE : status == EXIT_NEVER ? EVB_RUN_NEVER : EVB_RUN_FAILED;
}

/* ---- starting ---- */

/* Looked at just before each start: what the owner was told before a command ended, holds for what would follow it. */
static bool may_start(const evb_pool *self) { return !self->draining && !(self->how.stop && *self->how.stop); }

/* Moves the first event of a ready lane into the slot. */
static void take_first(evb_pool *self, slot *s, lane *l) {
    item *it = STAILQ_FIRST(&l->items);
    STAILQ_REMOVE_HEAD(&l->items, link);
    STAILQ_INSERT_TAIL(&s->items, it, link);
    l->count--;
    l->busy++;
    self->waiting--;
    self->running++;
}

/* Fills an idle slot: one event, or up to a batch. */
static void fill(evb_pool *self, slot *s) {
    size_t left = self->how.keep ? 1 : self->how.batch;
    for (lane *l; left && (l = TAILQ_FIRST(&self->ready));) {
        self->ready_events -= l->count;
        TAILQ_REMOVE(&self->ready, l, link);
        for (; left && !STAILQ_EMPTY(&l->items); left--)
            take_first(self, s, l);
    }
}

static bool add_line(evb_buf *out, const evb_event *event) {
    return evb_json_add_event(out, event) && evb_buf_add(out, "\n", 1);
}

/* What the slot's command is to read: *data and *size. */
static int make_input(evb_pool *self, const slot *s, const void **data, size_t *size, evb_error *err) {
    const item *it = STAILQ_FIRST(&s->items);
    bool ok = true;
    int rc = 0;
    self->input.size = 0;
    *data = it->event.payload;
    *size = it->event.size;
    if (self->how.batch == 1 && !self->how.json && !self->how.keep && !self->how.shape)
        return 0;
    if (self->how.shape)
        rc = self->how.shape(self->how.shape_context, &it->event, &self->input, err);
    else
        for (; ok && it; it = STAILQ_NEXT(it, link))
            ok = add_line(&self->input, &it->event);
    if (rc == 0 && self->how.shape && self->how.keep)
        ok = evb_buf_add(&self->input, "\n", 1);
    *data = self->input.data;
    *size = self->input.size;
    return rc ? rc : ok ? 0 : evb_fail(err, EVB_ENOMEM, "out of memory");
}

/* How the slot's command is started; event: which it is told of in its environment, or NULL. */
static bool child_options(evb_pool *self, const evb_event *event, evb_child_options *o) {
    *o = (evb_child_options){.argv = self->how.argv,
                             .environment = evb_environ_make(&self->environ, self->how.environment, event),
                             .cwd = self->how.cwd,
                             .timeout_ns = self->how.keep ? 0 : self->how.timeout_ns};
    if (self->how.take_out || self->how.keep)
        o->out = (evb_child_stream){.take = true, .most = self->how.out_most + 1};
    if (self->how.take_err)
        o->err = (evb_child_stream){.take = true, .last = true, .pass = true, .most = EVB_ERRORS_MAX};
    return o->environment;
}

/* Has the slot's new command waited for. A descriptor that is closed leaves the epoll by itself. */
static bool watch(evb_pool *self, slot *s) {
    struct pollfd fds[EVB_CHILD_FDS];
    struct epoll_event event = {.data.u64 = (uint64_t)(s - self->slots)};
    size_t count = evb_child_fds(s->child, fds);
    for (size_t i = 0; i < count; i++) {
        event.events = fds[i].events & POLLOUT ? (uint32_t)EPOLLOUT | (uint32_t)EPOLLET : (uint32_t)EPOLLIN;
        if (epoll_ctl(self->fd, EPOLL_CTL_ADD, fds[i].fd, &event) < 0)
            return false;
    }
    return true;
}

/* Starts a command in the slot. False and *err. */
static bool spawn(evb_pool *self, slot *s, const evb_child_options *o, evb_error *err) {
    s->child = evb_child_new(o, err);
    if (s->child && !watch(self, s)) {
        evb_fail(err, EVB_ENOMEM, "too many descriptors");
        evb_child_destroy(&s->child);
    }
    return s->child;
}

/* Starts the slot's command for its events. */
static void run(evb_pool *self, slot *s) {
    evb_error err = {.code = EVB_ENOMEM, .text = "out of memory"};
    evb_child_options o;
    const evb_event *event = &STAILQ_FIRST(&s->items)->event;
    if (!child_options(self, event, &o)) {
        give_back_unstarted(self, s, EVB_RUN_FAILED, &err);
        return;
    }
    if (make_input(self, s, &o.input, &o.input_size, &err)) {
        give_back_unstarted(self, s, err.code == EVB_ENOMEM ? EVB_RUN_FAILED : EVB_RUN_NEVER, &err);
        return;
    }
    if (!spawn(self, s, &o, &err))
        give_back_unstarted(self, s, EVB_RUN_FAILED, &err);
}

/* Gives the slot's kept command its next event; starts it if it does not run. */
static void feed(evb_pool *self, slot *s) {
    evb_error err = {.code = EVB_ENOMEM, .text = "out of memory"};
    evb_child_options o;
    const void *data;
    size_t size;
    if (!s->child && child_options(self, NULL, &o)) {
        o.in = EVB_STDIN_FEED;
        s->proven = false;
        spawn(self, s, &o, &err);
    }
    if (!s->child || make_input(self, s, &data, &size, &err)) {
        give_back_unstarted(self, s, err.code == EVB_EDATA && s->child ? EVB_RUN_NEVER : EVB_RUN_FAILED, &err);
        return;
    }
    s->begun_ns = evb_clock_wall_ns();
    s->due_ns = self->how.timeout_ns > 0 ? evb_clock_monotonic_ns() + self->how.timeout_ns : INT64_MAX;
    if (!evb_child_feed(s->child, data, size))
        evb_child_hurry(s->child); /* it reads no more */
}

/* ---- ends ---- */

static void finish_run(evb_pool *self, slot *s) {
    const evb_child_end *end = evb_child_ended(s->child);
    evb_child *child = s->child;
    uint64_t lost = 0;
    char reason[64];
    evb_buf *out = evb_child_out(child, &lost), *errors = evb_child_err(child, NULL);
    evb_outcome outcome = {.result = end->late ? EVB_RUN_FAILED : result_of(end->status),
                           .end = *end,
                           .output = out->data,
                           .output_size = out->size,
                           .errors = errors->data,
                           .errors_size = errors->size};
    evb_child_say(end, self->how.timeout_ns, reason);
    if (self->how.take_out && out->size + lost > self->how.out_most && outcome.result == EVB_RUN_DONE) {
        outcome.result = EVB_RUN_FAILED;
        snprintf(reason, sizeof reason, "its output is over %zu bytes", self->how.out_most);
    }
    if (self->how.keep && outcome.result == EVB_RUN_DONE) { /* exit 0 is no answer to the event in its hand */
        outcome.result = EVB_RUN_FAILED;
        snprintf(reason, sizeof reason, "exit 0 without an answer");
    }
    outcome.reason = outcome.result == EVB_RUN_DONE ? NULL : reason;
    s->child = NULL;
    give_back(self, s, &outcome);
    evb_child_destroy(&child);
}

/* A kept command has written a line of `size` bytes: what it says of the event in hand. */
static void finish_line(evb_pool *self, slot *s, char *line, size_t size) {
    evb_outcome outcome = {.result = EVB_RUN_DONE, .output = line, .output_size = size};
    char reason[EVB_REASON_MAX] = "";
    size_t marks = size && line[0] == '!' ? size > 1 && line[1] == '!' ? 2 : 1 : 0;
    if (marks) {
        outcome.result = marks == 2 ? EVB_RUN_NEVER : EVB_RUN_FAILED;
        evb_utf8_copy(reason, sizeof reason, line + marks, size - marks, false);
        outcome.reason = reason;
        outcome.end.status = marks == 2 ? EXIT_NEVER : 1;
    }
    outcome.end.begun_ns = s->begun_ns;
    outcome.end.took_ns = evb_clock_wall_ns() - s->begun_ns;
    evb_buf *errors = evb_child_err(s->child, NULL);
    outcome.errors = errors->data;
    outcome.errors_size = errors->size;
    s->due_ns = INT64_MAX;
    s->proven = true;
    give_back(self, s, &outcome);
}

/* Takes the line that the kept command has written, if it has. */
static void read_line(evb_pool *self, slot *s) {
    evb_buf *out = evb_child_out(s->child, NULL), line;
    uint8_t *end = out->size ? memchr(out->data, '\n', out->size) : NULL;
    if (STAILQ_EMPTY(&s->items)) {
        out->size = 0; /* it was not asked */
        return;
    }
    if (!end && out->size > self->how.out_most)
        evb_child_signal(s->child, SIGKILL);
    if (!end)
        return;
    size_t size = (size_t)(end - out->data);
    line = (evb_buf){0};
    if (!evb_buf_add(&line, out->data, size))
        return;
    out->size = 0;
    finish_line(self, s, (char *)line.data, size);
    evb_buf_free(&line);
}

/* The time of the event in a kept command's hand is over: the command is ended, and the event fails with it. */
static void end_late(slot *s, int64_t now) {
    if (STAILQ_EMPTY(&s->items) || now < s->due_ns || evb_child_is_late(s->child))
        return;
    s->proven = false;
    evb_child_hurry(s->child);
}

/* The kept command has ended and never saw the event in hand, which was given to it just then: that is another's. */
static void hand_on(evb_pool *self, slot *s) {
    const evb_outcome undone = {.result = EVB_RUN_FAILED};
    evb_child_destroy(&s->child);
    if (may_start(self))
        feed(self, s);
    else
        give_back(self, s, &undone);
}

/* A kept command has ended: in mid-event, that has failed. An event that it has not begun to read is not its fault, if it
 * has answered one before: else a command that reads nothing would get it for ever. */
static void finish_kept(evb_pool *self, slot *s) {
    if (STAILQ_EMPTY(&s->items))
        evb_child_destroy(&s->child);
    else if (s->proven && evb_child_unread(s->child))
        hand_on(self, s);
    else
        finish_run(self, s);
}

/* When the slot is to be looked at though its command says nothing. */
static int64_t slot_due(const evb_pool *self, const slot *s) {
    int64_t due = s->child ? evb_child_deadline(s->child) : INT64_MAX;
    bool kept = s->child && self->how.keep && !STAILQ_EMPTY(&s->items);
    return kept && s->due_ns < due && !evb_child_is_late(s->child) ? s->due_ns : due;
}

static void step_slot(evb_pool *self, slot *s, int64_t now) {
    bool ended = evb_child_step(s->child);
    if (self->how.keep) {
        read_line(self, s);
        if (ended)
            finish_kept(self, s);
        else
            end_late(s, now);
    } else if (ended) {
        finish_run(self, s);
    }
}

/* Gives an idle slot something to do. One that cannot be started is given back at once, and the next one is tried. */
static void start(evb_pool *self, slot *s) {
    while (STAILQ_EMPTY(&s->items) && !TAILQ_EMPTY(&self->ready) && may_start(self)) {
        fill(self, s);
        if (self->how.keep)
            feed(self, s);
        else
            run(self, s);
    }
}

/* Gives back, undone, what waits and is not behind an event of its topic that is being run. */
static void give_back_waiting(evb_pool *self) {
    slot rest = {.items = STAILQ_HEAD_INITIALIZER(rest.items)};
    const evb_outcome undone = {.result = EVB_RUN_FAILED};
    while (!TAILQ_EMPTY(&self->ready)) {
        fill(self, &rest);
        give_back(self, &rest, &undone);
    }
}

/* The slots whose commands have something for us, or whose time is over. */
static void step_slots(evb_pool *self) {
    struct epoll_event events[64];
    int64_t now = evb_clock_monotonic_ns();
    int count = epoll_wait(self->fd, events, (int)(sizeof events / sizeof *events), 0);
    for (int i = 0; i < count; i++) {
        slot *s = &self->slots[events[i].data.u64];
        if (s->child)
            step_slot(self, s, now);
    }
    for (size_t i = 0; i < self->how.jobs; i++)
        if (self->slots[i].child && now >= slot_due(self, &self->slots[i]))
            step_slot(self, &self->slots[i], now);
}

void evb_pool_step(evb_pool *self) {
    step_slots(self);
    for (size_t i = 0; i < self->how.jobs; i++)
        start(self, &self->slots[i]);
    if (self->draining)
        give_back_waiting(self);
}

/* ---- waiting ---- */

int evb_pool_fd(const evb_pool *self) { return self->fd; }

int64_t evb_pool_deadline(const evb_pool *self) {
    int64_t at = INT64_MAX;
    for (size_t i = 0; i < self->how.jobs; i++) {
        int64_t due = slot_due(self, &self->slots[i]);
        at = due < at ? due : at;
    }
    return at;
}

size_t evb_pool_events(const evb_pool *self) { return self->waiting + self->running; }
size_t evb_pool_running(const evb_pool *self) { return self->running; }

/* ---- ending ---- */

void evb_pool_drain(evb_pool *self) {
    self->draining = true;
    give_back_waiting(self);
}

void evb_pool_signal(const evb_pool *self, int sig) {
    for (size_t i = 0; i < self->how.jobs; i++)
        if (self->slots[i].child)
            evb_child_signal(self->slots[i].child, sig);
}
