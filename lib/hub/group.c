/* group.c: handing out, taking back, acknowledging.
 *
 * Invariants: an event below `next` that is not pending is done, a dead letter, or lost to retention; no event is in two
 * members' hands. What waits and is due goes out before what is new. In an ordered group new events go into their
 * topic's lane first, and out one at a time; so many may be held back there, then the group reads no further.
 * Whoever took an event longest ago without an answer is suspected of only the lowest that it has: readers work in
 * order, so what lies behind was not begun.
 * Leaves to others: the orders (pending.c), dead letters (dead.c), who may ask (groups.c). */
#include "hub/group.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "hub/dead.h"
#include "hub/group_state.h"
#include "hub/hub_private.h"
#include "hub/retry.h"

enum { HELD_MAX = 64 * 1024, READS_MAX = 8 };

const evb_group_settings EVB_GROUP_DEFAULTS = {
    .ack_wait_ns = 30 * EVB_SECOND_NS,
    .max_deliver = 20,
    .max_pending = 8192,
    .backoff_ns = {EVB_SECOND_NS},
    .backoff_count = 1,
};

evb_group *evb_group_new(const char *name, size_t size, evb_patterns *patterns) {
    evb_group *self = calloc(1, sizeof *self + size + 1);
    if (!self)
        return NULL;
    self->patterns = patterns;
    self->settings = EVB_GROUP_DEFAULTS;
    self->replay.next = 1;
    self->bury_due_ns = INT64_MAX;
    TAILQ_INIT(&self->members);
    evb_reports_init(&self->reports);
    self->name_size = size;
    memcpy(self->name, name, size);
    return self;
}

void evb_group_destroy(evb_group **self) {
    evb_group *g = *self;
    if (!g)
        return;
    evb_pending_clear(&g->pending);
    evb_reports_free(&g->reports);
    for (evb_member *m; (m = TAILQ_FIRST(&g->members));) {
        TAILQ_REMOVE(&g->members, m, link);
        free(m);
    }
    evb_patterns_destroy(&g->patterns);
    free(g->letters);
    free(g);
    *self = NULL;
}

bool evb_group_wants(const evb_group *self, const char *topic, size_t size) {
    size_t pattern_size;
    if (*topic != '$')
        return evb_patterns_match(self->patterns, topic, size);
    if (evb_retry_is(topic, size))
        return false; /* it is for one group, which has it already */
    for (size_t i = 0; i < evb_patterns_count(self->patterns); i++) {
        const char *pattern = evb_patterns_get(self->patterns, i, &pattern_size);
        if (*pattern == '$' && evb_pattern_match(pattern, pattern_size, topic, size))
            return true;
    }
    return false;
}

uint64_t evb_group_floor(const evb_group *self) {
    const evb_entry *first = evb_pending_from(&self->pending, 0);
    return first && first->first < self->next ? first->first - 1 : self->next - 1;
}

uint64_t evb_group_floor_of_all(const evb_group *self) {
    bool replays = self->replay.next <= self->replay.to || evb_pending_from(&self->pending, EVB_KEY_REPLAY);
    return replays ? 0 : evb_group_floor(self);
}

bool evb_group_carve(evb_group *self, uint64_t first, uint64_t last) {
    evb_entry *e = evb_pending_from(&self->pending, first);
    if (e && e->first < first && !evb_pending_split(&self->pending, e, first - e->first))
        return false;
    e = evb_pending_from(&self->pending, last);
    return !e || e->first > last || e->last <= last || evb_pending_split(&self->pending, e, last - e->first + 1);
}

/* ---- members ---- */

void evb_member_refresh(evb_member *self, int64_t now_ns) {
    const evb_entry *first = evb_holder_first(&self->holder);
    uint64_t lowest = first ? first->first : 0;
    if (lowest != self->lowest) {
        self->since_ns = now_ns;
        self->fresh = true;
    }
    self->lowest = lowest;
}

int64_t evb_member_deadline(const evb_group *group, const evb_member *self) {
    return self->lowest ? self->since_ns + group->settings.ack_wait_ns : INT64_MAX;
}

/* ---- handing out ---- */

static int no_memory(evb_error *err) { return evb_fail(err, EVB_ENOMEM, "hub: out of memory"); }

/* Adds events seq… of a record, for the entry, to what is handed out. */
static bool add_to_hand(evb_hand *hand, const evb_entry *entry, const evb_record *rec) {
    uint64_t skip = evb_key_seq(entry->first) - rec->seq, count = evb_entry_count(entry);
    msgpack_packer packer;
    evb_mp_packer(&packer, &hand->rows);
    hand->row_count++;
    hand->room -= count;
    return evb_record_slice(&hand->records, rec, (uint32_t)skip, (uint32_t)count) &&
           !msgpack_pack_array(&packer, 4) && !msgpack_pack_uint64(&packer, entry->first) &&
           !msgpack_pack_uint64(&packer, count) && !msgpack_pack_uint32(&packer, entry->deliveries) &&
           !msgpack_pack_uint64(&packer, skip);
}

/* Moves an entry into the member's hand, with the record that holds it. */
static int hand_entry(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, evb_entry *entry,
                      const evb_record *rec, evb_error *err) {
    if (entry->deliveries++)
        self->redelivered += evb_entry_count(entry);
    evb_pending_hand(&self->pending, entry, &member->holder);
    return add_to_hand(hand, entry, rec) && evb_note_entry(hub, self, entry) ? 0 : no_memory(err);
}

/* The group cannot go on at seq, or passes over what cannot be read there. */
static void lose(evb_hub *hub, evb_group *self, uint64_t seq, uint64_t count, const char *why) {
    self->lost += count;
    evb_log_say(&hub->options.log, "group %s: passes over %" PRIu64 " event%s from seq %" PRIu64 ": %s", self->name,
                count, evb_plural(count), seq, why);
}

/* Reads the record that holds the entry. 1 and *rec, which lies in hub->scratch; 0: it is gone, and the entry with it. */
static int read_entry(evb_hub *hub, evb_group *self, evb_entry **entry, evb_record *rec, evb_error *err) {
    uint64_t seq = evb_key_seq((*entry)->first), next;
    evb_error why = {.text = "it is gone from the journal"};
    hub->scratch.size = 0;
    int rc = evb_journal_read(hub->journal, seq, seq, 1, NULL, &hub->scratch, &next, &why);
    if (rc == EVB_ENOMEM)
        return no_memory(err);
    if (rc == 0 && hub->scratch.size && !evb_record_parse(hub->scratch.data, hub->scratch.size, rec) &&
        rec->seq <= seq && seq < rec->seq + rec->count)
        return 1;
    lose(hub, self, seq, evb_entry_count(*entry), why.text);
    bool noted = evb_note_done(hub, self, (*entry)->first, (*entry)->last);
    evb_pending_remove(&self->pending, entry);
    return noted ? 0 : no_memory(err);
}

static bool is_full(const evb_hand *hand) { return !hand->room || hand->records.size >= hand->bytes; }

/* Hands out what waits and is due. */
static int hand_waiting(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, int64_t now_ns,
                        evb_error *err) {
    evb_entry *e;
    evb_record rec;
    int rc = 0;
    while (rc == 0 && !is_full(hand) && (e = evb_pending_first_due(&self->pending)) && e->due_ns <= now_ns) {
        if (e->ahead && evb_key_seq(e->first) > evb_journal_head(hub->journal))
            break; /* a retry of this round, which is not safe yet */
        if (e->doomed || e->deliveries >= self->settings.max_deliver) {
            rc = evb_dead_bury(hub, self, e, "given up on", now_ns, err);
            continue;
        }
        uint64_t most = self->settings.ordered ? 1 : hand->room;
        if (evb_entry_count(e) > most && !evb_pending_split(&self->pending, e, most))
            return no_memory(err);
        rc = read_entry(hub, self, &e, &rec, err);
        if (rc > 0)
            rc = hand_entry(hub, self, member, hand, e, &rec, err);
    }
    return rc;
}

/* Takes events first.. of a record on: into the member's hand as far as there is room, or into their lane. Returns how
 * many, or an error. */
static int64_t take_on(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, const evb_record *rec,
                       uint64_t first, uint64_t last, uint64_t flag, evb_error *err) {
    bool ordered = self->settings.ordered;
    uint64_t count = last - first + 1;
    if (!ordered && count > hand->room)
        count = hand->room;
    evb_entry *e = evb_pending_add(&self->pending, first | flag, (first + count - 1) | flag, 0,
                                   ordered ? rec->topic : NULL, rec->topic_size);
    if (!e || (ordered && !evb_note_entry(hub, self, e)))
        return no_memory(err);
    int rc = ordered ? 0 : hand_entry(hub, self, member, hand, e, rec, err);
    return rc ? rc : (int64_t)count;
}

/* How many bytes to read on: as many as there is room for in the hand, going by how large the last events were. */
static size_t bytes_on(const evb_group *self, const evb_hand *hand) {
    size_t left = hand->bytes - hand->records.size;
    if (self->settings.ordered || !self->event_bytes || hand->room > left / self->event_bytes)
        return left;
    return (size_t)hand->room * self->event_bytes;
}

/* Takes the size of what was read into account. */
static void note_bytes(evb_group *self, size_t bytes, uint64_t events) {
    if (events)
        self->event_bytes = bytes / events + 1;
}

/* Reads on from *next, up to `to`, and takes on what matches; moves *next. flag: EVB_KEY_REPLAY or 0. */
static int read_on(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, uint64_t *next, uint64_t to,
                   uint64_t flag, evb_error *err) {
    evb_error why = {0};
    evb_record rec;
    uint64_t after;
    hub->scratch.size = 0;
    int rc =
        evb_journal_read(hub->journal, *next, to, bytes_on(self, hand), self->patterns, &hub->scratch, &after, &why);
    if (rc == EVB_EGONE) {
        uint64_t first = evb_journal_first(hub->journal), end = first <= to ? first : to + 1;
        lose(hub, self, *next, end - *next, "retention has removed them");
        *next = first;
        return 0;
    }
    if (rc) {
        snprintf(self->fault, sizeof self->fault, "%.*s", EVB_REASON_MAX - 1, why.text);
        return rc == EVB_ENOMEM ? no_memory(err) : 0;
    }
    self->fault[0] = 0;
    for (size_t at = 0; at < hub->scratch.size; at += rec.size) {
        if (evb_record_parse(hub->scratch.data + at, hub->scratch.size - at, &rec))
            return evb_fail(err, EVB_EIO, "hub: a record changed while it was read");
        note_bytes(self, rec.size, rec.count);
        uint64_t first = rec.seq > *next ? rec.seq : *next, last = rec.seq + rec.count - 1;
        last = last < to ? last : to;
        if (!evb_group_wants(self, rec.topic, rec.topic_size) || first > last)
            continue;
        if (!self->settings.ordered && is_full(hand)) {
            *next = first;
            return 0;
        }
        int64_t taken = take_on(hub, self, member, hand, &rec, first, last, flag, err);
        if (taken < 0)
            return (int)taken;
        *next = first + (uint64_t)taken;
        if (*next <= last)
            return 0;
    }
    *next = after > *next ? after : *next;
    return 0;
}

/* How far a replay may go by now. */
static uint64_t replay_to(evb_group_replay *r, int64_t now_ns, evb_hand *hand) {
    if (r->next > r->to || !r->rate)
        return r->to;
    double rate = (double)r->rate, at = (double)(now_ns - r->begun_ns) / 1e9 * rate;
    if (at > (double)r->handed + rate) { /* a second's worth that nobody took: it is not made up for */
        r->begun_ns = now_ns;
        r->handed = 0;
        at = 0;
    }
    uint64_t due = at < 0x1p63 ? (uint64_t)at + 1 : UINT64_MAX;
    if (due <= r->handed)
        return 0;
    if (due - r->handed < hand->room)
        hand->room = due - r->handed;
    return r->to;
}

static int hand_replay(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, int64_t now_ns,
                       evb_error *err) {
    evb_group_replay *r = &self->replay;
    uint64_t room = hand->room, next = r->next, before = self->pending.events, to = replay_to(r, now_ns, hand);
    int rc = 0;
    if (r->next > to || self->pending.held_events >= HELD_MAX)
        return 0;
    for (int i = 0; rc == 0 && i < READS_MAX && r->next <= to && !is_full(hand) && !self->fault[0]; i++)
        rc = read_on(hub, self, member, hand, &r->next, to, EVB_KEY_REPLAY, err);
    uint64_t taken = self->pending.events - before;
    r->handed += taken;
    hand->room = room - (self->settings.ordered ? 0 : taken);
    return rc ? rc : r->next == next || evb_note_replay(hub, self) ? 0 : no_memory(err);
}

static int hand_new(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, evb_error *err) {
    uint64_t head = evb_journal_head(hub->journal);
    if (self->next > head || self->pending.held_events >= HELD_MAX)
        return 0;
    return read_on(hub, self, member, hand, &self->next, head, 0, err);
}

/* Whether a look further may find something to hand out. */
static bool goes_on(const evb_hub *hub, const evb_group *self, const evb_hand *hand) {
    return !is_full(hand) && !self->fault[0] && self->pending.held_events < HELD_MAX &&
           self->next <= evb_journal_head(hub->journal);
}

int evb_group_take(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, int64_t now_ns,
                   evb_error *err) {
    if (self->paused)
        return 0;
    self->fault[0] = 0; /* it may have passed, or be behind where the group goes on now */
    uint64_t most = self->settings.max_pending, has = member->holder.events;
    if (hand->room > most - (has < most ? has : most))
        hand->room = most - (has < most ? has : most);
    int rc = hand_waiting(hub, self, member, hand, now_ns, err);
    if (rc == 0 && !is_full(hand))
        rc = hand_replay(hub, self, member, hand, now_ns, err);
    for (int i = 0; rc == 0 && i < READS_MAX && goes_on(hub, self, hand); i++) {
        rc = hand_new(hub, self, member, hand, err);
        if (rc == 0 && self->settings.ordered)
            rc = hand_waiting(hub, self, member, hand, now_ns, err);
    }
    if (rc == 0 && self->settings.ordered)
        rc = hand_waiting(hub, self, member, hand, now_ns, err);
    hand->more = goes_on(hub, self, hand);
    evb_member_refresh(member, now_ns);
    return rc;
}

/* ---- taking back ---- */

bool evb_group_ack(evb_hub *hub, evb_group *self, uint64_t first, uint64_t last) {
    if (!evb_group_carve(self, first, last))
        return false;
    uint64_t before = self->pending.events;
    for (evb_entry *e = evb_pending_from(&self->pending, first), *next; e && e->first <= last; e = next) {
        next = evb_pending_next(e);
        if (e->state != EVB_HELD)
            evb_pending_remove(&self->pending, &e);
    }
    self->acked += before - self->pending.events;
    return before == self->pending.events || evb_note_done(hub, self, first, last);
}

static int64_t backoff(const evb_group_settings *settings, uint32_t deliveries) {
    uint32_t i = deliveries ? deliveries - 1 : 0;
    if (!settings->backoff_count)
        return 0;
    return settings->backoff_ns[i < settings->backoff_count ? i : settings->backoff_count - 1];
}

/* The entry's first event was delivered in vain: it waits, or it was the last time. The rest is as it was. */
static int try_again(evb_hub *hub, evb_group *self, evb_entry *entry, int64_t delay_ns, const char *reason,
                     int64_t now_ns, evb_error *err) {
    if (evb_entry_count(entry) > 1 && !evb_pending_split(&self->pending, entry, 1))
        return no_memory(err);
    if (entry->doomed || entry->deliveries >= self->settings.max_deliver)
        return evb_dead_bury(hub, self, entry, reason, now_ns, err);
    evb_pending_wait(&self->pending, entry,
                     now_ns + (delay_ns < 0 ? backoff(&self->settings, entry->deliveries) : delay_ns));
    return evb_note_entry(hub, self, entry) ? 0 : no_memory(err);
}

int evb_group_fail(evb_hub *hub, evb_group *self, evb_member *member, uint64_t key, int64_t delay_ns, bool final,
                   const char *reason, int64_t now_ns, evb_error *err) {
    evb_entry *e = evb_pending_from(&self->pending, key);
    if (!e || e->first > key || e->holder != &member->holder)
        return 0; /* another has it by now, or it is done */
    if (!evb_group_carve(self, key, key))
        return no_memory(err);
    e = evb_pending_from(&self->pending, key);
    e->doomed |= final;
    e->failed = true;
    /* never due for the request that says so: sent again, for its answer was lost, that would fail the next delivery, too */
    int64_t wait_ns = delay_ns < 0 ? backoff(&self->settings, e->deliveries) : delay_ns;
    return try_again(hub, self, e, wait_ns ? wait_ns : 1, reason, now_ns, err);
}

int evb_group_release(evb_hub *hub, evb_group *self, evb_member *member, const char *suspect, int64_t delay_ns,
                      int64_t now_ns, evb_error *err) {
    evb_entry *e = evb_holder_first(&member->holder);
    int rc = e && suspect ? try_again(hub, self, e, delay_ns, suspect, now_ns, err) : 0;
    while (rc == 0 && (e = evb_holder_first(&member->holder))) {
        e->deliveries--;
        evb_pending_wait(&self->pending, e, now_ns);
        rc = evb_note_entry(hub, self, e) ? 0 : no_memory(err);
    }
    evb_member_refresh(member, now_ns);
    return rc;
}
