/* pending.c: three orders over the same entries: by key, by turn, by topic.
 *
 * Invariants: every entry is in the tree by key; a waiting one also in the set's tree by turn, one in hand also in its
 * holder's tree; no two overlap. In a lane (the entries of one topic, by key) only the first may wait or be in hand,
 * the others are held back: so at most one range of a topic is ever in hand.
 * Leaves to others: when an entry is due, how many events of it are handed out (group.c), durability (group_state.c). */
#include "hub/pending.h"

#include <stdlib.h>
#include <string.h>

struct evb_lane {
    RB_ENTRY(evb_lane) by_topic;
    TAILQ_HEAD(evb_lane_entries, evb_entry) entries;
    size_t size;
    char topic[];
};

static int by_key(const evb_entry *a, const evb_entry *b) { return a->first < b->first ? -1 : a->first > b->first; }

static int by_due(const evb_entry *a, const evb_entry *b) {
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns ? -1 : 1;
    return by_key(a, b);
}

static int by_topic(const evb_lane *a, const evb_lane *b) {
    int order = memcmp(a->topic, b->topic, a->size < b->size ? a->size : b->size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* libbsd's tree.h leaves __unused to the system; glibc has none. */
#ifndef __unused
#define __unused __attribute__((unused))
#endif
RB_GENERATE_STATIC(evb_key_tree, evb_entry, by_key, by_key)
RB_GENERATE_STATIC(evb_turn_tree, evb_entry, by_turn, by_due)
RB_GENERATE_STATIC(evb_holder_tree, evb_entry, by_turn, by_key)
RB_GENERATE_STATIC(evb_lane_tree, evb_lane, by_topic, by_topic)

/* ---- states ---- */

static uint64_t *counter_of(evb_pending *self, evb_entry_state state) {
    return state == EVB_WAITING   ? &self->waiting_events
           : state == EVB_IN_HAND ? &self->in_hand_events
                                  : &self->held_events;
}

/* Takes an entry out of what its state has it in. */
static void leave_state(evb_pending *self, evb_entry *entry) {
    *counter_of(self, entry->state) -= evb_entry_count(entry);
    if (entry->state == EVB_WAITING) {
        RB_REMOVE(evb_turn_tree, &self->waiting, entry);
        self->waiting_count--;
    }
    if (entry->state != EVB_IN_HAND)
        return;
    RB_REMOVE(evb_holder_tree, &entry->holder->entries, entry);
    entry->holder->events -= evb_entry_count(entry);
    entry->holder = NULL;
}

static void enter_state(evb_pending *self, evb_entry *entry, evb_entry_state state) {
    entry->state = state;
    *counter_of(self, state) += evb_entry_count(entry);
    if (state == EVB_WAITING) {
        RB_INSERT(evb_turn_tree, &self->waiting, entry);
        self->waiting_count++;
    }
    if (state != EVB_IN_HAND)
        return;
    RB_INSERT(evb_holder_tree, &entry->holder->entries, entry);
    entry->holder->events += evb_entry_count(entry);
}

/* ---- lanes ---- */

static evb_lane *lane_of(evb_pending *self, const char *topic, size_t size) {
    evb_lane *lane = malloc(sizeof *lane + size);
    if (!lane)
        return NULL;
    lane->size = size;
    memcpy(lane->topic, topic, size);
    TAILQ_INIT(&lane->entries);
    evb_lane *there = RB_INSERT(evb_lane_tree, &self->lanes, lane);
    if (!there)
        return lane;
    free(lane);
    return there;
}

/* Puts an entry into its lane by key; mostly it is the last. */
static void enter_lane(evb_lane *lane, evb_entry *entry) {
    evb_entry *before = TAILQ_LAST(&lane->entries, evb_lane_entries);
    entry->lane = lane;
    while (before && before->first > entry->first)
        before = TAILQ_PREV(before, evb_lane_entries, in_lane);
    if (before)
        TAILQ_INSERT_AFTER(&lane->entries, before, entry, in_lane);
    else
        TAILQ_INSERT_HEAD(&lane->entries, entry, in_lane);
}

/* Takes an entry out of its lane, whose next one may go then; a lane without entries is gone. */
static void leave_lane(evb_pending *self, evb_entry *entry) {
    evb_lane *lane = entry->lane;
    TAILQ_REMOVE(&lane->entries, entry, in_lane);
    evb_entry *first = TAILQ_FIRST(&lane->entries);
    if (!first) {
        RB_REMOVE(evb_lane_tree, &self->lanes, lane);
        free(lane);
    } else if (first->state == EVB_HELD) {
        leave_state(self, first);
        first->due_ns = 0;
        enter_state(self, first, EVB_WAITING);
    }
}

/* ---- the set ---- */

static void link_entry(evb_pending *self, evb_entry *entry) {
    RB_INSERT(evb_key_tree, &self->entries, entry);
    self->events += evb_entry_count(entry);
    self->count++;
}

evb_entry *evb_pending_add(evb_pending *self, uint64_t first, uint64_t last, int64_t due_ns, const char *topic,
                           size_t topic_size) {
    evb_entry *entry = calloc(1, sizeof *entry);
    evb_lane *lane = entry && topic ? lane_of(self, topic, topic_size) : NULL;
    if (!entry || (topic && !lane)) {
        free(entry);
        return NULL;
    }
    entry->first = first;
    entry->last = last;
    entry->due_ns = due_ns;
    link_entry(self, entry);
    if (lane)
        enter_lane(lane, entry);
    enter_state(self, entry, !lane || TAILQ_FIRST(&lane->entries) == entry ? EVB_WAITING : EVB_HELD);
    return entry;
}

evb_entry *evb_pending_from(const evb_pending *self, uint64_t key) {
    evb_entry *found = NULL;
    for (evb_entry *e = RB_ROOT(&self->entries); e;) {
        if (key > e->last) {
            e = RB_RIGHT(e, by_key);
            continue;
        }
        found = e;
        e = RB_LEFT(e, by_key);
    }
    return found;
}

evb_entry *evb_pending_next(evb_entry *entry) { return evb_key_tree_RB_NEXT(entry); }

evb_entry *evb_pending_first_due(const evb_pending *self) {
    return evb_turn_tree_RB_MINMAX((struct evb_turn_tree *)(uintptr_t)&self->waiting, RB_NEGINF);
}

evb_entry *evb_pending_split(evb_pending *self, evb_entry *entry, uint64_t keep) {
    evb_entry *rest = malloc(sizeof *rest);
    if (!rest)
        return NULL;
    evb_entry_state state = entry->state;
    evb_holder *holder = entry->holder;
    leave_state(self, entry);
    self->events -= evb_entry_count(entry);
    *rest = *entry;
    rest->first = entry->first + keep;
    entry->last = rest->first - 1;
    self->events += evb_entry_count(entry);
    entry->holder = rest->holder = holder;
    enter_state(self, entry, state);
    link_entry(self, rest);
    if (entry->lane)
        TAILQ_INSERT_AFTER(&entry->lane->entries, entry, rest, in_lane);
    if (entry->lane)
        rest->holder = NULL;
    enter_state(self, rest, entry->lane ? EVB_HELD : state);
    return rest;
}

void evb_pending_hand(evb_pending *self, evb_entry *entry, evb_holder *holder) {
    leave_state(self, entry);
    entry->failed = false;
    entry->holder = holder;
    enter_state(self, entry, EVB_IN_HAND);
}

void evb_pending_wait(evb_pending *self, evb_entry *entry, int64_t due_ns) {
    leave_state(self, entry);
    entry->due_ns = due_ns;
    enter_state(self, entry, EVB_WAITING);
}

void evb_pending_remove(evb_pending *self, evb_entry **entry) {
    evb_entry *e = *entry;
    leave_state(self, e);
    RB_REMOVE(evb_key_tree, &self->entries, e);
    self->events -= evb_entry_count(e);
    self->count--;
    if (e->lane)
        leave_lane(self, e);
    free(e);
    *entry = NULL;
}

evb_entry *evb_holder_first(const evb_holder *holder) {
    return evb_holder_tree_RB_MINMAX((struct evb_holder_tree *)(uintptr_t)&holder->entries, RB_NEGINF);
}

evb_entry *evb_holder_next(evb_entry *entry) { return evb_holder_tree_RB_NEXT(entry); }

void evb_pending_clear(evb_pending *self) {
    evb_entry *entry;
    while ((entry = RB_MIN(evb_key_tree, &self->entries)))
        evb_pending_remove(self, &entry);
}
