/* listen_out.h: what a listener's commands print, on its way to being an event. Nothing here blocks.
 *
 * A run whose output is not empty is handed in; once its event is stored, or cannot be, the run is given back. Until then
 * the events that it was for are not done. */
#ifndef EVB_LISTEN_OUT_H
#define EVB_LISTEN_OUT_H

#include "listen_file.h"
#include "run/pool.h"

typedef struct listen_out listen_out;

/* An event that a run was for: as much of it as the hub is to be told. */
typedef struct {
    uint64_t seq;
    bool replayed;
} listen_source;

/* A run that has ended well. */
typedef struct {
    const listen_source *sources;
    size_t count;
    const evb_child_end *end;
    const void *errors; /* what it said on stderr */
    size_t errors_size;
} listen_run_end;

/* why: NULL when its output is stored (or was one of a loop, which is said), else why it is not. */
typedef void listen_out_fn(void *context, const listen_run_end *run, const char *why);

/* The listener, bus and context must outlive it. NULL: out of memory. */
listen_out *listen_out_new(evb_bus *bus, const listener *l, listen_out_fn *done, void *context);

/* Forgets it; what is on its way may or may not be stored, and is not given back. */
void listen_out_destroy(listen_out **self);

/* Hands in an event of a run; the last of a run (!outcome->more) has its output. False: out of memory, and none of the
 * run's is given back. */
bool listen_out_add(listen_out *self, const evb_event *event, const evb_outcome *outcome);

/* Sends what can be sent, gives back what is stored. */
void listen_out_step(listen_out *self);

/* Whether there is room for more: the hub keeps up. */
bool listen_out_room(const listen_out *self);

/* Runs that are not given back yet. */
size_t listen_out_count(const listen_out *self);

#endif
