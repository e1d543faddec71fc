/* attempt.h: what is kept of an attempt in vain: an event on the topic $failed.GROUP.SEQ. */
#ifndef EVB_ATTEMPT_H
#define EVB_ATTEMPT_H

#include "event/mp.h"
#include "hub/group.h"

/* How handling an event failed, as the member says; output is borrowed. */
typedef struct {
    uint64_t begun_ns, took_ns;
    uint64_t exit, signal; /* signal 0: it ended by itself, with exit */
    const uint8_t *output;
    size_t size;
} evb_attempt_said;

/* Reads the map of a fail, {begun_ns, took_ns, exit or signal, output}, each of which may be missing. False: it is none. */
bool evb_attempt_read(evb_mp *mp, evb_attempt_said *out);

/* Stores the attempt of the event that the member has in hand under this key; of another nothing. What the disk has no
 * room for is not kept, which is said. Errors end the hub: EVB_EIO, EVB_ENOMEM. */
int evb_attempt_store(evb_hub *hub, evb_group *group, const evb_member *member, uint64_t key, const char *reason,
                      const evb_attempt_said *said, evb_error *err);

#endif
