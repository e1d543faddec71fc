/* hub_world.h: a hub over a journal in memory that can end and begin again, as a process does; for the targets that
 * drive one. Every answer is looked at, and so is the journal at the end. */
#ifndef EVB_FUZZ_HUB_WORLD_H
#define EVB_FUZZ_HUB_WORLD_H

#include "hub/hub.h"
#include "input.h"

typedef struct {
    evb_io *disk;        /* outlives the journal's own */
    const char *catalog; /* a path */
    evb_journal *journal;
    evb_hub *hub;
    evb_patterns *live;
    uint8_t *bodies[64]; /* of the round under way */
    size_t body_count;
    size_t owed; /* answers */
    size_t said; /* lines of the hub's log */
} hub_world;

/* Makes its disk, with nothing on it. */
void hub_world_make(hub_world *self);

/* Opens journal and hub: 0, or the error that it ended with. */
int hub_world_open(hub_world *self, evb_error *err);

/* Ends both; what the disk has stays. */
void hub_world_close(hub_world *self);

/* Closes it, looks the journal through, and lets go of everything. */
void hub_world_end(hub_world *self);

/* One request and, unless more follow in the same round, its end; head and body are taken over, body may be NULL. */
void hub_world_ask(hub_world *self, uint8_t *head, size_t head_size, uint8_t *body, size_t body_size, bool more);

/* Ends a round; a second later, or later still, what is due. */
void hub_world_commit(hub_world *self);
void hub_world_wait(hub_world *self, int64_t ns);

/* Stores `events` events of a topic, from a producer of that number. */
void hub_world_store(hub_world *self, const char *topic, unsigned producer, uint64_t number, unsigned events);

#endif
