/* listen_out.c: a queue of runs, and a publisher.
 *
 * Invariants: `runs` are in the order in which they were handed in; those before `unsent` are with the publisher, which
 * tells of them in that order. An event has an id made of the listener and the seq that it comes from, so that one that is
 * handled twice is published once within the hub's window. A publisher that has failed is replaced; what it had fails with
 * it, and is run again as the group says.
 * Leaves to others: when an event is done (listen_unit.c), sending again (the library). */
#include "listen_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/error.h"
#include "event/cause.h"

enum { ROOM_BYTES = 4 * 1024 * 1024 };

/* A run. One block, with its output and what it said behind it. */
typedef struct run {
    STAILQ_ENTRY(run) link;
    evb_buf sources; /* listen_source */
    evb_cause cause;
    evb_child_end end;
    bool replayed;
    size_t output_size, errors_size;
    char text[];
} run;

struct listen_out {
    evb_bus *bus;
    const listener *l;
    listen_out_fn *done;
    void *context;
    evb_pub *pub;
    STAILQ_HEAD(runs, run) runs;
    run *unsent; /* the first that is to be sent; NULL: none */
    size_t count, unsent_bytes;
    evb_buf sources; /* of a run whose last event is still to come */
};

listen_out *listen_out_new(evb_bus *bus, const listener *l, listen_out_fn *done, void *context) {
    listen_out *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    *self = (listen_out){.bus = bus, .l = l, .done = done, .context = context};
    STAILQ_INIT(&self->runs);
    return self;
}

static void free_run(run *r) {
    evb_buf_free(&r->sources);
    free(r);
}

/* The first run that was to be sent is, or is not to be any more. */
static void pass_unsent(listen_out *self) {
    self->unsent_bytes -= self->unsent->output_size;
    self->unsent = STAILQ_NEXT(self->unsent, link);
}

/* Takes the first run out. */
static run *take_first(listen_out *self) {
    run *r = STAILQ_FIRST(&self->runs);
    if (r == self->unsent)
        pass_unsent(self);
    STAILQ_REMOVE_HEAD(&self->runs, link);
    self->count--;
    return r;
}

void listen_out_destroy(listen_out **self) {
    if (!*self)
        return;
    while (!STAILQ_EMPTY(&(*self)->runs))
        free_run(take_first(*self));
    evb_pub_destroy(&(*self)->pub);
    evb_buf_free(&(*self)->sources);
    free(*self);
    *self = NULL;
}

/* ---- in ---- */

/* The size of the output as an event: without its last newline. */
static size_t payload_size(const listener *l, const evb_outcome *o) {
    bool newline = o->output_size && ((const char *)o->output)[o->output_size - 1] == '\n';
    return o->output_size - (newline && !l->keep);
}

static uint64_t last_seq(const run *r) {
    return ((const listen_source *)(const void *)(r->sources.data + r->sources.size))[-1].seq;
}

static run *new_run(const listener *l, const evb_event *event, const evb_outcome *outcome) {
    size_t size = payload_size(l, outcome);
    run *r = calloc(1, sizeof *r + size + outcome->errors_size);
    if (!r)
        return NULL;
    r->end = outcome->end;
    r->replayed = event->replayed;
    r->output_size = size;
    r->errors_size = outcome->errors_size;
    if (size)
        memcpy(r->text, outcome->output, size);
    if (r->errors_size)
        memcpy(r->text + size, outcome->errors, r->errors_size);
    evb_cause_of(event, &r->cause);
    return r;
}

/* Whether it has so many causes before it that nothing is to come of it, which is said. */
static bool is_loop(const listen_out *self, const run *r) {
    bool loop = evb_cause_too_deep(&r->cause);
    if (loop)
        fprintf(stderr,
                "evlisten: %s: seq %" PRIu64 ": not published to %s: %d causes before it: this looks like a loop\n",
                self->l->name, last_seq(r), self->l->publish, EVB_DEPTH_MAX);
    return loop;
}

static void give_back(listen_out *self, run *r, const char *why) {
    const listen_run_end end = {(const listen_source *)(const void *)r->sources.data,
                                r->sources.size / sizeof(listen_source), &r->end, r->text + r->output_size,
                                r->errors_size};
    self->done(self->context, &end, why);
    free_run(r);
}

static void enqueue(listen_out *self, run *r) {
    STAILQ_INSERT_TAIL(&self->runs, r, link);
    self->unsent = self->unsent ? self->unsent : r;
    self->unsent_bytes += r->output_size;
    self->count++;
}

bool listen_out_add(listen_out *self, const evb_event *event, const evb_outcome *outcome) {
    const listen_source source = {event->seq, event->replayed};
    bool ok = evb_buf_add(&self->sources, &source, sizeof source);
    if (ok && outcome->more)
        return true;
    run *r = ok ? new_run(self->l, event, outcome) : NULL;
    if (!r) {
        self->sources.size = 0;
        return false;
    }
    r->sources = self->sources;
    self->sources = (evb_buf){0};
    if (!outcome->output_size || is_loop(self, r))
        give_back(self, r, NULL);
    else
        enqueue(self, r);
    return true;
}

/* ---- out ---- */

static void stored(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    listen_out *self = context;
    (void)seq;
    (void)version;
    while (count-- && self->count && STAILQ_FIRST(&self->runs) != self->unsent)
        give_back(self, take_first(self), NULL);
}

/* All that there is fails, and the publisher with it. */
static void fail_all(listen_out *self, const evb_error *why) {
    evb_pub_destroy(&self->pub);
    while (self->count)
        give_back(self, take_first(self), why->text);
}

/* Hands a run's output to the publisher. */
static int send_run(listen_out *self, const run *r, evb_error *err) {
    const listener *l = self->l;
    evb_header headers[EVB_CAUSE_HEADERS];
    char id[EVB_ID_MAX];
    evb_event out = {
        .topic = l->publish, .topic_size = strlen(l->publish), .payload = r->text, .size = r->output_size};
    int size = snprintf(id, sizeof id, "%s:%" PRIu64, l->name, last_seq(r));
    out.headers = headers;
    out.header_count = evb_cause_add(&r->cause, headers, 0);
    if (size < (int)sizeof id && !r->replayed) {
        out.id = id;
        out.id_size = (size_t)size;
    }
    if (!self->pub) {
        const evb_pub_options how = {.stored = stored, .context = self};
        if (!(self->pub = evb_pub_new(self->bus, &how, err)))
            return err->code;
    }
    return evb_pub_add(self->pub, &out, err);
}

void listen_out_step(listen_out *self) {
    evb_error err = {0}, why;
    int rc = 0, sent;
    while (self->unsent && (rc = send_run(self, self->unsent, &err)) == 0)
        pass_unsent(self);
    if (rc == EVB_EDATA && self->unsent == STAILQ_FIRST(&self->runs))
        give_back(self, take_first(self), err.text); /* else when those before it are stored */
    sent = self->pub ? evb_pub_send(self->pub, &why) : 0;
    if (sent)
        fail_all(self, &why);
    else if (rc && rc != EVB_EAGAIN && rc != EVB_EDATA)
        fail_all(self, &err);
}

bool listen_out_room(const listen_out *self) { return self->unsent_bytes < ROOM_BYTES; }
size_t listen_out_count(const listen_out *self) { return self->count; }
