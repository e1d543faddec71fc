/* run_tell.c: one thread, and a queue of a run's two events.
 *
 * The bus and the spool are the thread's alone. It begins with the first event and ends with run_tell_finish; signals are
 * the main thread's. Each event has an id, RUN.WHAT, so that the hub knows one that it has.
 * Leaves to others: what is delivered when, and keeping it when there is no hub (lib/spool). */
#include "run_tell.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "event/cause.h"
#include "program.h"
#include "spool/spool.h"

enum { EVENTS_MAX = 2, WHAT_MAX = 16 };

typedef struct {
    char what[WHAT_MAX];
    evb_buf payload, small;
    int64_t time_ns;
} told;

struct run_tell {
    run_tell_options how;
    evb_cause cause; /* of the next event: what evrun itself is run for, then the start where its seq is known */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    told events[EVENTS_MAX];
    size_t count;
    bool ended; /* no more will come */
    /* the thread's */
    evb_bus *bus;
    evb_spool *spool;
    char *path;
};

run_tell *run_tell_new(const run_tell_options *options) {
    run_tell *self = calloc(1, sizeof *self);
    evb_error err;
    if (!self)
        return NULL;
    self->how = *options;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->more, NULL);
    if (evb_cause_read(getenv("EVBUS_CAUSE"), getenv("EVBUS_CORRELATION"), getenv("EVBUS_DEPTH"), &self->cause, &err))
        fprintf(stderr, "evrun: %s\n", err.text);
    return self;
}

/* ---- the thread ---- */

static void note(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "evrun: %s\n", text);
}

/* Opens the bus, and the spool if there can be one: without, events are published or lost. */
static int open_way(run_tell *self, evb_error *err) {
    const evb_environment env = program_environment();
    if (self->bus)
        return 0;
    char *url = self->how.url ? strdup(self->how.url) : evb_paths_url(&env, err);
    if (!url)
        return EVB_ENOMEM;
    self->bus = evb_bus_new(url, self->how.timeout_ns, err);
    if (self->bus && (self->path = evb_spool_path(&env, url, err)))
        self->spool = evb_spool_new(self->path, note, NULL, err);
    free(url);
    return self->bus ? 0 : err->code;
}

/* Publishes the event or keeps it; event->seq is its place then, 0 where that is not known. */
static int publish(run_tell *self, evb_event *event, bool *kept, evb_error *err) {
    *kept = false;
    event->seq = 0;
    return self->spool ? evb_spool_publish(self->spool, self->bus, event, &event->seq, kept, err)
                       : evb_publish(self->bus, event, &event->seq, err);
}

/* What was started is the cause of how it ends. */
static void follow(run_tell *self, const evb_event *started) {
    evb_cause next; /* the event still has the text of the one before */
    evb_cause_of(started, &next);
    self->cause = next;
}

static void tell(run_tell *self, const told *t) {
    char topic[EVB_TOPIC_MAX + 1], id[EVB_ID_MAX];
    evb_header headers[1 + EVB_CAUSE_HEADERS] = {{"run", 3, self->how.run, strlen(self->how.run)}};
    evb_error err;
    bool kept;
    evb_event event = {
        .topic = topic, .payload = t->payload.data, .size = t->payload.size, .id = id, .headers = headers};
    event.topic_size = (size_t)snprintf(topic, sizeof topic, "%s.%s", self->how.topic, t->what);
    event.id_size = (size_t)snprintf(id, sizeof id, "%s.%s", self->how.run, t->what);
    event.header_count = evb_cause_add(&self->cause, headers, 1);
    event.time_ns = t->time_ns;
    int rc = open_way(self, &err);
    rc = rc ? rc : publish(self, &event, &kept, &err);
    if (rc == EVB_EDATA && t->small.size) {
        fprintf(stderr, "evrun: %s: %s: published without the output\n", topic, err.text);
        event.payload = t->small.data;
        event.size = t->small.size;
        rc = publish(self, &event, &kept, &err);
    }
    if (rc == 0 && event.seq)
        follow(self, &event);
    if (rc)
        fprintf(stderr, "evrun: %s: not published: %s\n", topic, err.text);
    else if (kept && self->how.verbose)
        fprintf(stderr, "evrun: %s: waits in %s: %s\n", topic, self->path, err.text);
}

static void *work(void *context) {
    run_tell *self = context;
    for (size_t done = 0;; done++) {
        pthread_mutex_lock(&self->lock);
        while (done == self->count && !self->ended)
            pthread_cond_wait(&self->more, &self->lock);
        bool over = done == self->count;
        pthread_mutex_unlock(&self->lock);
        if (over)
            return NULL;
        tell(self, &self->events[done]);
    }
}

/* ---- the main thread's side ---- */

static void begin(run_tell *self) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    self->running = pthread_create(&self->thread, NULL, work, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void run_tell_event(run_tell *self, const char *what, evb_buf *payload, evb_buf *small, int64_t time_ns) {
    told *t = &self->events[self->count];
    snprintf(t->what, sizeof t->what, "%s", what);
    t->payload = *payload;
    *payload = (evb_buf){0};
    if (small) {
        t->small = *small;
        *small = (evb_buf){0};
    }
    t->time_ns = time_ns;
    pthread_mutex_lock(&self->lock);
    self->count++;
    pthread_cond_signal(&self->more);
    pthread_mutex_unlock(&self->lock);
    if (!self->running)
        begin(self);
}

void run_tell_finish(run_tell **self) {
    run_tell *t = *self;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->ended = true;
    pthread_cond_signal(&t->more);
    pthread_mutex_unlock(&t->lock);
    if (t->running)
        pthread_join(t->thread, NULL);
    else if (t->count)
        work(t);
    for (size_t i = 0; i < t->count; i++) {
        evb_buf_free(&t->events[i].payload);
        evb_buf_free(&t->events[i].small);
    }
    evb_spool_destroy(&t->spool);
    evb_bus_destroy(&t->bus);
    free(t->path);
    pthread_cond_destroy(&t->more);
    pthread_mutex_destroy(&t->lock);
    free(t);
    *self = NULL;
}
