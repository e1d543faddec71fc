/* groups.h: the hub's groups: their membership, their time, their file. What requests ask of them is in hub_private.h. */
#ifndef EVB_GROUPS_H
#define EVB_GROUPS_H

#include "event/record.h"
#include "hub/group.h"

/* Reads groups.log. EVB_EIO, EVB_ESTORE, EVB_ENOMEM. */
int evb_groups_open(evb_hub *hub, evb_error *err);

/* Writes a snapshot, if there is more than one, and closes. */
void evb_groups_close(evb_hub *hub);

evb_group *evb_groups_find(const evb_hub *hub, const char *name, size_t size);

/* Reads a name from a request's arguments and finds the group; NULL and *why: EVB_EINVAL, EVB_EGONE: there is none. */
evb_group *evb_groups_named(const evb_hub *hub, evb_mp *args, evb_error *why);

/* A record was stored: members who wait for such events are to be told, at the round's end. */
void evb_groups_saw(evb_hub *hub, const evb_record *rec);

/* A member's connection is gone. */
int evb_groups_left(evb_hub *hub, const char *token, size_t size, evb_error *err);

/* All connections are gone. */
int evb_groups_left_all(evb_hub *hub, evb_error *err);

/* Tells every member to ask again. */
void evb_group_call_all(evb_group *group);

/* Tells every member at once that it is none any more: the group is to be deleted. False: out of memory. */
bool evb_groups_dismiss(evb_hub *hub, evb_group *group);

/* When something is due, and doing it: what members have had in hand for too long goes to others. */
int64_t evb_groups_deadline(const evb_hub *hub);
int evb_groups_tick(evb_hub *hub, evb_error *err);

/* The round's end: writes what was noted, makes it safe where an answer promises that, and tells members. Where it could
 * not be made safe, those answers become refusals. EVB_ENOMEM. */
int evb_groups_keep(evb_hub *hub, evb_error *err);

/* Makes safe what was written, and writes the file anew when it is long, or behind. EVB_ENOMEM. */
int evb_groups_sync(evb_hub *hub, evb_error *err);

/* Tells those members who are to be told that there is something for them. EVB_ENOMEM. */
int evb_groups_tell(evb_hub *hub);

/* The round is safe after so long: the time of what it has handed out begins now. */
void evb_groups_round_took(evb_hub *hub, int64_t ns);

#endif
