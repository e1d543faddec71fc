/* group_state.h: what groups.log says, and how the groups come back from it.
 *
 * A body is a run of msgpack arrays, each [op, group's id, …]; evbus-journal(5) lists them. Each note adds to
 * hub->notes, which evb_groups_keep writes. False: out of memory, and hub->notes_lost is set. */
#ifndef EVB_GROUP_STATE_H
#define EVB_GROUP_STATE_H

#include "hub/group.h"

/* A group is there, with these settings and this next. */
bool evb_note_group(evb_hub *hub, const evb_group *group);
bool evb_note_deleted(evb_hub *hub, const evb_group *group);

/* The group goes on at next, and nothing is pending any more. */
bool evb_note_reset(evb_hub *hub, const evb_group *group);

/* The entry's range is pending, in its state. */
bool evb_note_entry(evb_hub *hub, const evb_group *group, const evb_entry *entry);

/* The range is done. */
bool evb_note_done(evb_hub *hub, const evb_group *group, uint64_t first, uint64_t last);

/* How far it has come, and its counters; only if they have changed. */
bool evb_note_progress(evb_hub *hub, evb_group *group);
bool evb_note_replay(evb_hub *hub, const evb_group *group);
bool evb_note_letter(evb_hub *hub, const evb_group *group, const evb_letter *letter);
bool evb_note_letter_done(evb_hub *hub, const evb_group *group, uint64_t seq);

/* Takes in one body of groups.log. False: it is not one. */
bool evb_group_state_read(void *hub, const uint8_t *body, size_t size);

/* Notes everything: a snapshot. */
bool evb_group_state_write(evb_hub *hub);

/* Puts what is pending, none of it in a member's hand, into the lanes of its topics, or out of them: as `ordered` says.
 * EVB_ENOMEM ends the hub. */
int evb_group_relane(evb_hub *hub, evb_group *group, evb_error *err);

/* After reading: brings each group into step with the journal (which may have lost its end in a power failure, or its
 * beginning to retention), and puts the events of ordered groups into their lanes. Errors end the hub. */
int evb_group_state_settle(evb_hub *hub, int64_t now_ns, evb_error *err);

#endif
