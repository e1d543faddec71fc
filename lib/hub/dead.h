/* dead.h: dead letters: events that a group has given up on, stored on the topic $dead.GROUP. */
#ifndef EVB_DEAD_H
#define EVB_DEAD_H

#include "hub/group.h"

/* Stores the entry's first event as a dead letter and takes it out of the group; if it can't be stored (disk full) it
 * stays, to be tried again in a second. An event that is gone from the journal is counted as lost. The rest of the
 * entry waits, due now. Errors end the hub: EVB_EIO, EVB_ENOMEM. */
int evb_dead_bury(evb_hub *hub, evb_group *group, evb_entry *entry, const char *reason, int64_t now_ns,
                  evb_error *err);

/* Tries again those that could not be stored. Errors as bury. */
int evb_dead_bury_again(evb_hub *hub, evb_group *group, int64_t now_ns, evb_error *err);

/* Adds an open letter to the group's list; takes one off. */
bool evb_dead_add(evb_group *group, evb_letter letter);
bool evb_dead_remove(evb_group *group, uint64_t seq);

#endif
