/* retention.c: what goes, and when: whole segments by age and size, everything before a seq, everything of a pattern.
 *
 * Invariants: before the last event of a topic goes, its state is in gone.log, so that its versions go on even when the
 * catalog is lost; a purge counts once gone.log is synced; segments go from the front only, sealed ones only. Only the
 * topics of attempts, one for each event that failed, are forgotten with their last event: that event is older than its
 * attempts, so nothing more comes on them, and they would be without end.
 * Leaves to others: patterns that are kept for less time, and room on the disk for what was purged (sweep.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/limits.h"
#include "journal/journal_private.h"

/* ---- the states of topics that go ---- */

typedef struct {
    evb_gone *gone;
    uint64_t from, before; /* topics that end in from..before - 1 */
    uint64_t count;
    evb_error *err;
    int rc;
} carrying;

static int carry_topic(void *context, const char *topic, size_t size, const evb_topic_state *state) {
    static const size_t prefix = sizeof EVB_FAILED_PREFIX - 1;
    carrying *c = context;
    if (!state->last || state->last < c->from || state->last >= c->before)
        return 0;
    if (size > prefix && memcmp(topic, EVB_FAILED_PREFIX, prefix) == 0)
        return 0;
    c->count++;
    return c->rc = evb_gone_topic(c->gone, topic, size, state, c->err);
}

/* Notes the states of the topics that end below the first segment kept, once for several segments: it costs a look at
 * every topic. When it fails the segments go all the same: the disk may be full, and the catalog has the states.
 * False: they were noted before. */
static bool carry(evb_journal *self, size_t count) {
    size_t ahead = count + self->segment_count / 8;
    const evb_segment *last = &self->segments[(ahead < self->segment_count ? ahead : self->segment_count) - 1];
    evb_error err;
    char next[EVB_TOPIC_MAX];
    size_t size;
    carrying c = {self->gone, evb_gone_carried(self->gone), last->next, 0, &err, 0};
    if (self->segments[count - 1].next <= c.from)
        return false;
    int rc = evb_catalog_topics(self->catalog, "", 0, SIZE_MAX, NULL, carry_topic, &c, next, &size, &err);
    rc = rc ? rc : c.rc;
    rc = rc ? rc : evb_gone_carry(self->gone, c.before, &err);
    rc = rc || !c.count ? rc : evb_gone_sync(self->gone, &err);
    if (rc)
        evb_log_say(&self->log, "%s: the versions of topics that end before seq %llu are in the catalog only",
                    err.text, (unsigned long long)c.before);
    return true;
}

static void forget_attempts(evb_journal *self) {
    evb_error err;
    if (evb_catalog_forget(self->catalog, EVB_FAILED_PREFIX, sizeof EVB_FAILED_PREFIX - 1, evb_journal_first(self),
                           &err))
        evb_log_say(&self->log, "%s", err.text);
}

/* ---- dropping ---- */

static void drop_oldest(evb_journal *self) {
    char name[EVB_SEGMENT_NAME];
    evb_segment *seg = &self->segments[0];
    evb_segment_close(seg, self->io);
    evb_segment_name(seg->first, name);
    if (self->io->remove(self->io, name) && errno != ENOENT)
        evb_log_say(&self->log, "%s: cannot remove", name);
    evb_segment_index_name(seg->first, name);
    self->io->remove(self->io, name);
    self->bytes -= seg->size;
    self->segment_count--;
    memmove(seg, seg + 1, self->segment_count * sizeof *seg);
}

void evb_journal_drop(evb_journal *self, size_t count) {
    if (!count)
        return;
    bool carried = carry(self, count);
    while (count--)
        drop_oldest(self);
    if (carried)
        forget_attempts(self);
    if (self->io->sync_dir(self->io))
        evb_log_say(&self->log, "journal: cannot sync its directory after retention");
    evb_gone_tidy(self->gone, self->catalog, evb_journal_first(self));
}

/* ---- by age and size ---- */

/* Whether every event of a segment is older than retention keeps. */
static bool too_old(evb_journal *self, evb_segment *seg, int64_t now_ns) {
    evb_error err;
    return self->options.retain_ns && evb_journal_open_segment(self, seg, &err) == 0 &&
           seg->time_ns < now_ns - self->options.retain_ns;
}

/* How many of the oldest segments retention no longer keeps. */
static size_t count_expired(evb_journal *self, int64_t now_ns) {
    uint64_t bytes = self->bytes;
    size_t count = 0;
    while (count + 1 < self->segment_count) {
        evb_segment *seg = &self->segments[count];
        bool over = self->options.retain_bytes && bytes > self->options.retain_bytes;
        if (!over && !too_old(self, seg, now_ns))
            break;
        bytes -= seg->size;
        count++;
    }
    return count;
}

static int64_t shortest_age(const evb_journal_options *options) {
    int64_t age = options->retain_ns;
    for (size_t i = 0; i < options->retain_count; i++)
        if (!age || options->retains[i].age_ns < age)
            age = options->retains[i].age_ns;
    return age;
}

/* Events expire a segment at a time, so one that lasts long is ended early: what is kept is at most an eighth more. */
static bool lasts_too_long(const evb_journal *self, int64_t now_ns) {
    const evb_segment *seg = evb_journal_active(self);
    int64_t age = shortest_age(&self->options);
    return age && seg->place_count && seg->places[0].time_ns < now_ns - age / 8;
}

/* A wall clock that has gone much further than the other, or back, was set. */
void evb_journal_watch_clock(evb_journal *self, int64_t now_ns, int64_t steady_ns) {
    static const int64_t back_ns = EVB_SECOND_NS, ahead_ns = 30 * EVB_SECOND_NS;
    int64_t by_ns = now_ns - self->watched_ns - (steady_ns - self->watched_steady_ns);
    if (self->watched_ns && (by_ns < -back_ns || by_ns > ahead_ns))
        evb_catalog_clock_jumped(self->catalog, by_ns);
    self->watched_ns = now_ns;
    self->watched_steady_ns = steady_ns;
}

bool evb_journal_tend(evb_journal *self, int64_t now_ns) {
    evb_error err;
    if (self->broken)
        return false;
    evb_journal_look_for_room(self);
    if (lasts_too_long(self, now_ns) && evb_journal_roll(self, now_ns, &err))
        evb_log_say(&self->log, "%s", err.text);
    evb_journal_drop(self, count_expired(self, now_ns));
    return evb_journal_sweep(self, now_ns);
}

/* ---- by hand ---- */

int evb_journal_trim(evb_journal *self, uint64_t first, int64_t now_ns, evb_error *err) {
    const evb_segment *active = evb_journal_active(self);
    size_t count = 0;
    if (first > active->next)
        first = active->next;
    if (first <= evb_journal_first(self))
        return 0;
    /* A power failure must not take back what is noted as gone: others would get its seqs, and be gone. */
    int rc =
        first == active->next && active->size ? evb_journal_roll(self, now_ns, err) : evb_journal_settle(self, err);
    rc = rc ? rc : evb_gone_trim(self->gone, first, err);
    rc = rc ? rc : evb_gone_sync(self->gone, err);
    if (rc)
        return rc;
    while (count + 1 < self->segment_count && self->segments[count].next <= first)
        count++;
    evb_journal_drop(self, count);
    return 0;
}

typedef struct {
    const evb_journal *journal;
    uint64_t last;  /* the newest seq that goes */
    uint64_t count; /* of events; UINT64_MAX: not known */
    uint64_t bytes;
} purging;

/* Counts a topic that is purged. Its events are all there only if none was ever taken away. */
static int purge_topic(void *context, const char *topic, size_t size, const evb_topic_state *state) {
    purging *p = context;
    uint64_t gone = evb_gone_of(p->journal->gone, topic, size);
    if (state->last <= gone || state->last < evb_journal_first(p->journal))
        return 0;
    if (gone || evb_journal_first(p->journal) > 1)
        p->count = UINT64_MAX;
    else if (p->count != UINT64_MAX)
        p->count += state->version;
    p->last = state->last > p->last ? state->last : p->last;
    p->bytes += state->bytes;
    return 0;
}

/* Looks at every topic that matches the pattern. */
static int purge_topics(evb_journal *self, const char *text, size_t size, purging *p, evb_error *err) {
    char next[EVB_TOPIC_MAX];
    size_t next_size;
    bool exact;
    evb_pattern_prefix(text, size, &exact);
    if (exact) {
        evb_topic_state state;
        int rc = evb_catalog_look(self->catalog, text, size, &state, err);
        return rc ? rc : state.last ? purge_topic(p, text, size, &state) : 0;
    }
    evb_patterns *one = evb_patterns_new(NULL, 0, err);
    int rc = one ? evb_patterns_add(one, text, size, err) : EVB_ENOMEM;
    rc = rc ? rc : evb_catalog_topics(self->catalog, "", 0, SIZE_MAX, one, purge_topic, p, next, &next_size, err);
    evb_patterns_destroy(&one);
    return rc;
}

/* Each pattern goes up to the last event that it has: a reader behind that misses nothing. */
int evb_journal_purge(evb_journal *self, const evb_patterns *patterns, uint64_t *count, evb_error *err) {
    int rc = evb_journal_settle(self, err); /* as in evb_journal_trim */
    purging p = {.journal = self};
    for (size_t i = 0; rc == 0 && i < evb_patterns_count(patterns); i++) {
        size_t size;
        const char *text = evb_patterns_get(patterns, i, &size);
        p.last = 0;
        rc = purge_topics(self, text, size, &p, err);
        if (rc == 0 && p.last)
            rc = evb_gone_purge(self->gone, text, size, p.last, err);
    }
    *count = p.count;
    rc = rc ? rc : evb_journal_sweep_purged(self, p.bytes, err);
    return rc ? rc : evb_gone_sync(self->gone, err);
}

/* ---- what is left ---- */

uint64_t evb_journal_left(const evb_journal *self, const evb_patterns *patterns, uint64_t from) {
    uint64_t first = evb_journal_first(self), gone = evb_gone_of_patterns(self->gone, patterns);
    from = from > first ? from : first;
    return gone < from ? from : gone + 1;
}

uint64_t evb_journal_last(const evb_journal *self, const char *topic, size_t size, uint64_t last) {
    return last <= evb_gone_of(self->gone, topic, size) ? 0 : last;
}
