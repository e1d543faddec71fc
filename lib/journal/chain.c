/* chain.c: where the batches of some few topics lie, found by themselves and not by reading everything.
 *
 * Each batch names its topic's last seq before it, so from any batch of a topic a walk leads back; every
 * EVB_MILESTONE_EVERY batches of a topic the catalog keeps a milestone, so a reading that begins at the first finds the
 * batch to walk back from near by, and goes on from there with the next piece.
 * Invariants: what is told is complete up to `known`, or nothing is told; whatever looks odd (a batch of another topic
 * where one was lost, a walk that is too long, batches so close that reading on is faster) leaves it to the scan.
 * Leaves to others: the events' matching and the answer (reading.c). */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "journal/journal_private.h"

enum {
    TOPICS_MAX = 16, /* more are read by scanning */
    WALK_MAX = 2 * EVB_MILESTONE_EVERY,
    STEP_BYTES = 16 * 1024, /* what a step costs beside its record, as bytes of a scan */
    TRIED_BYTES = 8 * STEP_BYTES
};

/* The bytes that lie, more or less, between two seqs. */
static uint64_t distance(const evb_journal *self, uint64_t from, uint64_t to) {
    uint64_t first = self->segments[0].first, next = evb_journal_active(self)->next;
    return next > first ? (uint64_t)((double)(to - from) * ((double)self->bytes / (double)(next - first))) : 0;
}

static bool add(evb_chain *chain, uint64_t seq) {
    if (chain->count == chain->room) {
        size_t room = chain->room ? chain->room * 2 : EVB_MILESTONE_EVERY;
        uint64_t *seqs = realloc(chain->seqs, room * sizeof *seqs);
        if (!seqs)
            return false;
        chain->seqs = seqs;
        chain->room = room;
    }
    chain->seqs[chain->count++] = seq;
    return true;
}

/* Walks back from the batch that holds seq `at` to the first that reaches from. False: leave it to the scan. */
static bool walk_back(evb_journal *self, const char *topic, size_t size, uint64_t at, uint64_t from) {
    evb_chain *chain = &self->chain;
    evb_record rec;
    evb_error err;
    uint64_t gone = evb_gone_of(self->gone, topic, size), cost = 0;
    for (uint64_t steps = 1, start = at; at >= from && at > gone; steps++) {
        if (steps > WALK_MAX || evb_journal_find(self, at, &rec, &err) <= 0 || rec.topic_size != size ||
            memcmp(rec.topic, topic, size) != 0 || !add(chain, rec.seq))
            return false;
        cost += STEP_BYTES + rec.size;
        if (cost > TRIED_BYTES && distance(self, rec.seq, start) < cost) {
            self->chain.dense = XXH3_64bits(topic, size);
            self->chain.dense_from = from;
            self->chain.dense_to = start;
            return false;
        }
        at = rec.prev;
    }
    return true;
}

/* Adds the batches of one topic that reach from, as far as they are near. False: leave it to the scan. */
static bool add_topic(evb_journal *self, const char *topic, size_t size, uint64_t from) {
    evb_topic_state state;
    uint64_t milestone;
    evb_error err;
    const evb_chain *chain = &self->chain;
    if (from >= chain->dense_from && from <= chain->dense_to && XXH3_64bits(topic, size) == chain->dense)
        return false;
    if (evb_catalog_look(self->catalog, topic, size, &state, &err))
        return false;
    if (state.last < from)
        return true;
    if (evb_catalog_milestone(self->catalog, topic, size, from, &milestone, &err))
        return false;
    if (!milestone || milestone > state.last)
        return walk_back(self, topic, size, state.last, from);
    if (milestone < self->chain.known)
        self->chain.known = milestone;
    return walk_back(self, topic, size, milestone, from);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool evb_journal_chain(evb_journal *self, uint64_t from, uint64_t to, const evb_patterns *patterns) {
    evb_chain *chain = &self->chain;
    size_t count = patterns ? evb_patterns_count(patterns) : 0, size;
    bool exact = count > 0 && count <= TOPICS_MAX;
    chain->count = 0;
    chain->known = to;
    if (!exact || evb_patterns_all(patterns) || distance(self, from, to) < TRIED_BYTES)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *text = evb_patterns_get(patterns, i, &size);
        evb_pattern_prefix(text, size, &exact);
        if (!exact || !add_topic(self, text, size, from))
            return false;
    }
    if (chain->count)
        qsort(chain->seqs, chain->count, sizeof *chain->seqs, ascending);
    return true;
}
