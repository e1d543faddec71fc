/* commands.h: what is asked of handlers: who serves which topic, whose commands wait, and what became of them. The requests
 * (call, serve, serve.take, serve.stop) are in hub_private.h. */
#ifndef EVB_COMMANDS_H
#define EVB_COMMANDS_H

#include "hub/hub.h"

typedef struct evb_commands evb_commands;

/* head: the journal's, up to which all is of hubs before. NULL: out of memory. */
evb_commands *evb_commands_new(int64_t now_ns, uint64_t head);

/* drop (or NULL) is called for each peer that is owed an answer. */
void evb_commands_destroy(evb_commands **self, void (*drop)(void *peer));

/* A handler's connection is gone; all are. A round is due then. */
void evb_commands_left(evb_hub *hub, const char *token, size_t size);
void evb_commands_left_all(evb_hub *hub);

/* When something is due, and doing it: callers' time is over, handlers are gone. Errors end the hub. */
int64_t evb_commands_deadline(const evb_hub *hub);
int evb_commands_tick(evb_hub *hub, evb_error *err);

#endif
