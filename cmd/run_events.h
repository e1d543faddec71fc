/* run_events.h: what evrun's events say: one JSON object each. Pure, but for run_about_id and run_about_us. */
#ifndef EVB_RUN_EVENTS_H
#define EVB_RUN_EVENTS_H

#include "base/buf.h"
#include "run/child.h"

enum { RUN_OUTPUT_MOST = 64 * 1024 }; /* bytes of a job's output that its last event has */

/* A run of a job. */
typedef struct {
    const char *topic;       /* what its events' topics begin with */
    const char *const *argv; /* ended by NULL */
    char id[33];             /* no other run has it */
    char host[65], user[65];
    pid_t pid; /* of the job; 0: none */
    int64_t begun_ns;
} run_about;

/* How it ended. */
typedef struct {
    const evb_child_end *end; /* NULL: it could not be started */
    int exit;                 /* what evrun's exit status is then */
    const char *error;        /* why it could not be */
    const void *output;       /* its last bytes */
    size_t size;
    uint64_t cut; /* how many there were before */
} run_outcome;

/* Fills in the id; host and user. */
void run_about_id(run_about *about);
void run_about_us(run_about *about);

/* "job.NAME" from the last part of a command's path, what a topic's token does not have as '-'. */
void run_topic(const char *command, char out[EVB_TOPIC_MAX + 1]);

/* Each appends an object; false: out of memory. */
bool run_started(evb_buf *out, const run_about *about);
bool run_ended(evb_buf *out, const run_about *about, const run_outcome *outcome);
bool run_skipped(evb_buf *out, const run_about *about, long holder, int64_t since_ns);

#endif
