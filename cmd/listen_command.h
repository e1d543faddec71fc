/* listen_command.h: what a listener runs: its commands' pool, their environment, what they read, which events they want. */
#ifndef EVB_LISTEN_COMMAND_H
#define EVB_LISTEN_COMMAND_H

#include "arena.h"
#include "event/expr.h"
#include "event/jv_event.h"
#include "event/where.h"
#include "listen_file.h"
#include "run/pool.h"

/* Zero-initialise it; the fields are to be read only. */
typedef struct {
    evb_pool *pool; /* NULL: not open */
    evb_where *when;
    evb_expr *input;
    evb_jv_events *events;
    const char **environment;
    arena memory;
    bool keep;
} listen_command;

/* Opens it for the listener, which must outlive it. base: the environment (borrowed, too), to which the listener's own is
 * added. False: out of memory, or of descriptors, and it is closed. */
bool listen_command_open(listen_command *self, const listener *l, const char *const *base, evb_pool_done_fn *done,
                         void *context);

/* Closes it; what still runs is killed. */
void listen_command_close(listen_command *self);

#endif
