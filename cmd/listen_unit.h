/* listen_unit.h: one listener that runs: a member of the group of its name, its commands, what they print.
 *
 * Nothing here blocks: who owns units steps each in turn, then waits on the bus until the earliest deadline. */
#ifndef EVB_LISTEN_UNIT_H
#define EVB_LISTEN_UNIT_H

#include "listen_file.h"

typedef struct listen_unit listen_unit;

/* What the units of a process share; it must outlive them. */
typedef struct {
    evb_bus *bus;                   /* without a timeout */
    int epoll;                      /* to which the descriptors of their pools are added */
    const char *const *environment; /* of commands */
    bool verbose;
} listen_ground;

/* Makes one; its listener must outlive it. NULL: out of memory. */
listen_unit *listen_unit_new(const listen_ground *ground, const listener *l);

/* Forgets it; what runs is killed. */
void listen_unit_destroy(listen_unit **self);

const listener *listen_unit_of(const listen_unit *self);

/* Goes on as far as it can without a wait. */
void listen_unit_step(listen_unit *self);
int64_t listen_unit_deadline(const listen_unit *self); /* monotonic; INT64_MAX: none */

/* Whether it has joined its group, or was refused. */
bool listen_unit_is_settled(const listen_unit *self);

/* While held it joins, so that its group is as it wants it, but takes nothing yet: the one before it is at work still. */
void listen_unit_hold(listen_unit *self, bool held);

/* It takes nothing more, and is gone when what it has in hand is done and the hub knows. */
void listen_unit_stop(listen_unit *self);
bool listen_unit_is_stopped(const listen_unit *self);
bool listen_unit_is_gone(const listen_unit *self);

/* Sends a signal to the commands that run. */
void listen_unit_signal(const listen_unit *self, int sig);

#endif
