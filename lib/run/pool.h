/* pool.h: runs a command for events, several at once, each topic's events one after the other.
 *
 * Each event added is given back once, by `done`, with how its command ended. The command has the event in its
 * environment (run/environ.h) and the payload on its stdin. Who owns the pool waits with poll(2) on evb_pool_fd until
 * evb_pool_deadline, then calls evb_pool_step. */
#ifndef EVB_POOL_H
#define EVB_POOL_H

#include <signal.h>

#include "run/child.h"

typedef struct evb_pool evb_pool;

/* Makes what the command reads, into *out, which is empty. 0, or an error that fails the event for ever. */
typedef int evb_pool_shape_fn(void *context, const evb_event *event, evb_buf *out, evb_error *err);

typedef struct {
    const char *const *argv;        /* borrowed while the pool lives, as all pointers here */
    const char *const *environment; /* of every run: NAME=VALUE, ended by NULL; the event's is added */
    const char *cwd;                /* NULL: ours */
    size_t jobs;                    /* commands at once; 0: 1 */
    size_t batch;                   /* up to so many events to one run, as JSON lines; 0, 1: one, its payload */
    bool keep;                      /* the command goes on: gets JSON lines, answers each with a line, may end then */
    bool json;                      /* one event, as a JSON line */
    evb_pool_shape_fn *shape;       /* or NULL: what stdin has, for one event */
    void *shape_context;
    int64_t timeout_ns;                /* of a run; with keep of one event; 0: none */
    bool unordered;                    /* also events of one topic may be run at once */
    bool take_out;                     /* stdout is for the outcome; else it is ours */
    size_t out_most;                   /* more than so many bytes of it are a failure; 0: 1 MiB */
    const volatile sig_atomic_t *stop; /* or NULL: a signal's flag; from when it is not 0 on nothing is started */
    bool take_err; /* stderr's last EVB_ERRORS_MAX bytes are for the outcome; it is passed on to ours also then */
} evb_pool_options;

enum { EVB_ERRORS_MAX = 16 * 1024 };

typedef enum {
    EVB_RUN_DONE,   /* exit 0; keep: a line that does not begin with '!' */
    EVB_RUN_FAILED, /* to be tried again; keep: "!reason" */
    EVB_RUN_NEVER   /* exit 65; keep: "!!reason": trying again is useless */
} evb_run_result;

typedef struct {
    evb_run_result result;
    const char *reason; /* of a failure: "exit 3", "killed by SIGKILL", "timed out after 5 s", "CMD: not found" */
    evb_child_end end;
    const void *output, *errors; /* of a batch: with its last event only */
    size_t output_size, errors_size;
    bool more; /* another event of the same run follows at once */
} evb_outcome;

typedef void evb_pool_done_fn(void *context, const evb_event *event, uint64_t tag, const evb_outcome *outcome);

/* NULL: out of memory, or of descriptors. */
evb_pool *evb_pool_new(const evb_pool_options *options, evb_pool_done_fn *done, void *context);

/* Kills what still runs; done is not called for it. */
void evb_pool_destroy(evb_pool **self);

/* Whether it takes another event now. */
bool evb_pool_room(const evb_pool *self);

/* Takes a copy of the event; it is started from evb_pool_step. False: out of memory. */
bool evb_pool_add(evb_pool *self, const evb_event *event, uint64_t tag);

/* A descriptor to wait on for POLLIN: the pool's until its end. */
int evb_pool_fd(const evb_pool *self);
int64_t evb_pool_deadline(const evb_pool *self); /* monotonic; INT64_MAX: none */

/* Takes in what has ended, calls done, and starts what can be started. */
void evb_pool_step(evb_pool *self);

/* Events added and not yet given back; those of them that are being run. */
size_t evb_pool_events(const evb_pool *self);
size_t evb_pool_running(const evb_pool *self);

/* Starts nothing more: what was not started, or not read by a kept command that ends, is given back undone (`done` with
 * EVB_RUN_FAILED and a NULL reason), at once or from evb_pool_step. */
void evb_pool_drain(evb_pool *self);

/* Sends a signal to the groups of all that run. */
void evb_pool_signal(const evb_pool *self, int sig);

#endif
