/* pending.h: what a group has taken on and not yet done: ranges of events, each waiting for a member, in a member's
 * hand, or held back behind an earlier event of its topic.
 *
 * An event's key is its seq; that of an event handed out again by a replay has EVB_KEY_REPLAY set besides, so that the
 * same event may be pending for both reasons. A range (an entry) lies within one record. Memory only; no clock: times
 * are the caller's, monotonic. Functions that make an entry return NULL or false when memory is short. */
#ifndef EVB_PENDING_H
#define EVB_PENDING_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define EVB_KEY_REPLAY ((uint64_t)1 << 63)

static inline uint64_t evb_key_seq(uint64_t key) { return key & ~EVB_KEY_REPLAY; }

typedef enum { EVB_WAITING, EVB_IN_HAND, EVB_HELD } evb_entry_state;

typedef struct evb_entry evb_entry;
typedef struct evb_holder evb_holder;
typedef struct evb_lane evb_lane;

struct evb_entry {
    RB_ENTRY(evb_entry) by_key;
    RB_ENTRY(evb_entry) by_turn; /* waiting: of the set; in hand: of the holder */
    TAILQ_ENTRY(evb_entry) in_lane;
    uint64_t first, last; /* keys */
    evb_entry_state state;
    uint32_t deliveries; /* so far, the one under way included */
    bool doomed;         /* given up on: to become a dead letter when its turn comes */
    bool failed;         /* waiting since its member said so: nobody has it any more */
    bool ahead;          /* stored behind what the group has read: a retry */
    int64_t due_ns;      /* waiting: when it may be handed out */
    evb_holder *holder;  /* in hand */
    evb_lane *lane;      /* NULL: the set is not ordered */
};

RB_HEAD(evb_key_tree, evb_entry);
RB_HEAD(evb_turn_tree, evb_entry);
RB_HEAD(evb_lane_tree, evb_lane);
RB_HEAD(evb_holder_tree, evb_entry);

/* Who has events in hand. */
struct evb_holder {
    struct evb_holder_tree entries; /* by key */
    uint64_t events;
};

/* The set. Zero-initialised, it is empty. */
typedef struct {
    struct evb_key_tree entries;
    struct evb_turn_tree waiting; /* by due time, then key */
    struct evb_lane_tree lanes;   /* by topic */
    uint64_t events, waiting_events, in_hand_events, held_events;
    size_t count, waiting_count; /* of entries */
} evb_pending;

static inline uint64_t evb_entry_count(const evb_entry *entry) { return entry->last - entry->first + 1; }

/* Adds a range that is not in it yet. Without a topic it waits, due at due_ns; with one it waits if nothing of that
 * topic is before it, and is held back else. */
evb_entry *evb_pending_add(evb_pending *self, uint64_t first, uint64_t last, int64_t due_ns, const char *topic,
                           size_t topic_size);

/* The entry that holds key, or the first one behind it, or NULL. */
evb_entry *evb_pending_from(const evb_pending *self, uint64_t key);
evb_entry *evb_pending_next(evb_entry *entry);

/* The waiting entry that is due first, or NULL. */
evb_entry *evb_pending_first_due(const evb_pending *self);

/* Cuts an entry in two: it keeps its first `keep` events (at least 1, less than all), the new one has the others, in
 * the same state; in a lane they are held back. Returns the new one. */
evb_entry *evb_pending_split(evb_pending *self, evb_entry *entry, uint64_t keep);

/* Puts an entry into a holder's hand; makes it wait; takes it out, and lets its lane go on. */
void evb_pending_hand(evb_pending *self, evb_entry *entry, evb_holder *holder);
void evb_pending_wait(evb_pending *self, evb_entry *entry, int64_t due_ns);
void evb_pending_remove(evb_pending *self, evb_entry **entry);

/* The lowest that a holder has, and the next behind one of its. */
evb_entry *evb_holder_first(const evb_holder *holder);
evb_entry *evb_holder_next(evb_entry *entry);

/* Empties it. Holders are empty then too. */
void evb_pending_clear(evb_pending *self);

#endif
