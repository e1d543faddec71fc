/* run_tell.h: publishes evrun's events beside the job: on a thread of its own, so that no hub delays the job. */
#ifndef EVB_RUN_TELL_H
#define EVB_RUN_TELL_H

#include "base/buf.h"
#include "evbus.h"

typedef struct {
    const char *url;    /* NULL: as the environment says */
    int64_t timeout_ns; /* for which the hub is waited for, for each event */
    const char *topic;  /* what the events' topics begin with */
    const char *run;    /* the run's id */
    bool verbose;       /* say that an event waits in the spool */
} run_tell_options;

typedef struct run_tell run_tell;

/* What *options point at is borrowed. NULL: out of memory. */
run_tell *run_tell_new(const run_tell_options *options);

/* Has an event published on TOPIC.what behind those before; takes *payload over. Where the hub finds it too large, *small
 * (may be NULL) takes its place, taken over, too. Does not block. Said on stderr: what could be neither stored nor spooled. */
void run_tell_event(run_tell *self, const char *what, evb_buf *payload, evb_buf *small, int64_t time_ns);

/* Waits until each event is stored or spooled, or neither could be done, and destroys it. */
void run_tell_finish(run_tell **self);

#endif
