/* group_state.c: from what a group does to the operations of groups.log, and back.
 *
 * Invariant: applying a body's operations in order to an empty hub gives the groups that wrote them, but for members.
 * What was in hand is then nobody's: its delivery is not counted, since the hub's end is not the event's fault, and it
 * is kept back for a moment, so that members who come back can claim what they still have.
 * Times: until all is settled, an entry's due_ns is how long it is yet to wait. A wait is written with the wall clock's
 * time of its end; it never gets longer, whatever that clock does.
 * To add an operation: a number, a note, a row in READERS, a line in evbus-journal(5). Readers refuse a number that
 * they do not know: an older hub must not take a newer one's groups to pieces.
 * Leaves to others: the file (group_log.c), when to write (groups.c). */
#include "hub/group_state.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "hub/dead.h"
#include "hub/hub_private.h"
#include "hub/retry.h"

enum {
    OP_GROUP =
        1, /* name, created_ns, next, [patterns], [ack_wait, max_deliver, max_pending, ordered, marks?], [backoffs] */
    OP_DELETED,
    OP_RESET,       /* next */
    OP_ENTRY,       /* first, last, deliveries, flags; where it waits also how long, and until when (Unix), in ns */
    OP_DONE,        /* first, last */
    OP_PROGRESS,    /* next, acked, redelivered, lost */
    OP_REPLAY,      /* next, to, rate */
    OP_LETTER,      /* seq, key */
    OP_LETTER_DONE, /* seq */
    OP_AHEAD,       /* as OP_ENTRY, of a retry: what is before it is not said to have been read */
    OP_COUNT
};

enum { ENTRY = 4, ENTRY_WAITS = 6 }; /* arguments of OP_ENTRY and OP_AHEAD */
enum { FLAG_IN_HAND = 1, FLAG_DOOMED = 2, FLAG_FAILED = 4 };

/* Said only where there is one, so that a hub that knows of none reads the groups that have none. */
enum { MARK_LISTENER = 1, MARK_PAUSED = 2 };

static const int64_t CLAIM_NS = 2 * EVB_SECOND_NS;

/* ---- notes ---- */

/* Begins an operation of `args` arguments. */
static bool begin(evb_hub *hub, const evb_group *group, unsigned op, uint32_t args, msgpack_packer *packer) {
    evb_mp_packer(packer, &hub->notes);
    return !msgpack_pack_array(packer, args + 2) && !msgpack_pack_uint64(packer, op) &&
           !msgpack_pack_uint64(packer, group->id);
}

/* An operation whose arguments are all numbers. */
static bool note(evb_hub *hub, const evb_group *group, unsigned op, const uint64_t *args, uint32_t count) {
    msgpack_packer packer;
    size_t before = hub->notes.size;
    bool ok = begin(hub, group, op, count, &packer);
    for (uint32_t i = 0; ok && i < count; i++)
        ok = !msgpack_pack_uint64(&packer, args[i]);
    if (!ok)
        hub->notes.size = before;
    return ok;
}

static bool pack_patterns(msgpack_packer *packer, const evb_patterns *patterns) {
    size_t count = evb_patterns_count(patterns), size;
    bool ok = !msgpack_pack_array(packer, count);
    for (size_t i = 0; ok && i < count; i++) {
        const char *text = evb_patterns_get(patterns, i, &size);
        ok = !evb_mp_pack_str(packer, text, size);
    }
    return ok;
}

bool evb_note_group(evb_hub *hub, const evb_group *group) {
    const evb_group_settings *s = &group->settings;
    unsigned marks = (s->listener ? MARK_LISTENER : 0u) | (group->paused ? MARK_PAUSED : 0u);
    msgpack_packer p;
    bool ok = begin(hub, group, OP_GROUP, 6, &p) && !evb_mp_pack_str(&p, group->name, group->name_size) &&
              !msgpack_pack_uint64(&p, (uint64_t)group->created_ns) && !msgpack_pack_uint64(&p, group->next) &&
              pack_patterns(&p, group->patterns) && !msgpack_pack_array(&p, marks ? 5 : 4) &&
              !msgpack_pack_uint64(&p, (uint64_t)s->ack_wait_ns) && !msgpack_pack_uint64(&p, s->max_deliver) &&
              !msgpack_pack_uint64(&p, s->max_pending) && !msgpack_pack_uint64(&p, s->ordered) &&
              !(marks && msgpack_pack_uint64(&p, marks)) && !msgpack_pack_array(&p, s->backoff_count);
    for (uint32_t i = 0; ok && i < s->backoff_count; i++)
        ok = !msgpack_pack_uint64(&p, (uint64_t)s->backoff_ns[i]);
    return ok;
}

bool evb_note_deleted(evb_hub *hub, const evb_group *group) { return note(hub, group, OP_DELETED, NULL, 0); }

bool evb_note_reset(evb_hub *hub, const evb_group *group) { return note(hub, group, OP_RESET, &group->next, 1); }

bool evb_note_entry(evb_hub *hub, const evb_group *group, const evb_entry *entry) {
    uint64_t flags = (entry->state == EVB_IN_HAND ? FLAG_IN_HAND : 0u) | (entry->doomed ? FLAG_DOOMED : 0u) |
                     (entry->failed ? FLAG_FAILED : 0u);
    int64_t wait = entry->state == EVB_WAITING && entry->due_ns > hub->now_ns ? entry->due_ns - hub->now_ns : 0;
    uint64_t args[ENTRY_WAITS] = {entry->first, entry->last, entry->deliveries, flags, (uint64_t)wait};
    if (wait)
        args[5] = (uint64_t)(evb_clock_wall_ns() + wait);
    return note(hub, group, entry->ahead ? OP_AHEAD : OP_ENTRY, args, wait ? ENTRY_WAITS : ENTRY);
}

bool evb_note_done(evb_hub *hub, const evb_group *group, uint64_t first, uint64_t last) {
    return note(hub, group, OP_DONE, (uint64_t[]){first, last}, 2);
}

bool evb_note_progress(evb_hub *hub, evb_group *group) {
    uint64_t count = group->acked + group->redelivered + group->lost;
    if (group->next == group->noted_next && count == group->noted_count)
        return true;
    group->noted_next = group->next;
    group->noted_count = count;
    return note(hub, group, OP_PROGRESS, (uint64_t[]){group->next, group->acked, group->redelivered, group->lost}, 4);
}

bool evb_note_replay(evb_hub *hub, const evb_group *group) {
    const evb_group_replay *r = &group->replay;
    return note(hub, group, OP_REPLAY, (uint64_t[]){r->next, r->to, r->rate}, 3);
}

bool evb_note_letter(evb_hub *hub, const evb_group *group, const evb_letter *letter) {
    return note(hub, group, OP_LETTER, (uint64_t[]){letter->seq, letter->key}, 2);
}

bool evb_note_letter_done(evb_hub *hub, const evb_group *group, uint64_t seq) {
    return note(hub, group, OP_LETTER_DONE, &seq, 1);
}

static bool write_group(evb_hub *hub, evb_group *group) {
    const evb_group_replay *r = &group->replay;
    group->noted_count = UINT64_MAX;
    bool ok = evb_note_group(hub, group) && evb_note_progress(hub, group);
    for (evb_entry *e = evb_pending_from(&group->pending, 0); ok && e; e = evb_pending_next(e))
        ok = evb_note_entry(hub, group, e);
    for (size_t i = 0; ok && i < group->letter_count; i++)
        ok = evb_note_letter(hub, group, &group->letters[i]);
    return ok && (r->next > r->to || evb_note_replay(hub, group));
}

bool evb_group_state_write(evb_hub *hub) {
    evb_group *group;
    TAILQ_FOREACH (group, &hub->groups, link)
        if (!write_group(hub, group))
            return false;
    return true;
}

/* ---- reading ---- */

/* An operation's arguments, behind op and group's id. */
typedef struct {
    evb_hub *hub;
    uint64_t id;
    evb_group *group; /* of that id, or NULL */
    uint32_t count;   /* of the arguments */
    evb_mp args;
} operation;

static bool numbers(evb_mp *mp, uint64_t *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!evb_mp_uint(mp, &out[i]))
            return false;
    return true;
}

static evb_patterns *read_patterns(evb_mp *mp) {
    uint32_t count;
    const char *text;
    size_t size;
    evb_error err;
    if (!evb_mp_array(mp, &count))
        return NULL;
    evb_patterns *patterns = evb_patterns_new(NULL, 0, &err);
    while (patterns && count--)
        if (!evb_mp_str(mp, &text, &size) || evb_patterns_add(patterns, text, size, &err))
            evb_patterns_destroy(&patterns);
    return patterns;
}

/* No time that a request may set is longer (groups.c): a moment and such a time do not wrap. */
static const uint64_t TIME_MOST = INT64_MAX / 4;

static bool read_settings(evb_mp *mp, evb_group_settings *s, bool *paused) {
    uint64_t values[5] = {0}, wait;
    uint32_t count;
    if (!evb_mp_array(mp, &count) || count < 4 || count > 5 || !numbers(mp, values, count) || values[0] > TIME_MOST ||
        !evb_mp_array(mp, &count) || count > EVB_BACKOFF_MAX)
        return false;
    *s = (evb_group_settings){.ack_wait_ns = (int64_t)values[0],
                              .max_deliver = values[1],
                              .max_pending = values[2],
                              .ordered = values[3] != 0,
                              .listener = values[4] & MARK_LISTENER};
    *paused = values[4] & MARK_PAUSED;
    for (; s->backoff_count < count; s->backoff_count++) {
        if (!evb_mp_uint(mp, &wait) || wait > TIME_MOST)
            return false;
        s->backoff_ns[s->backoff_count] = (int64_t)wait;
    }
    return true;
}

static bool read_group(operation *op) {
    const char *name;
    size_t size;
    uint64_t places[2];
    evb_group_settings settings;
    bool paused;
    if (!evb_mp_str(&op->args, &name, &size) || !numbers(&op->args, places, 2))
        return false;
    evb_patterns *patterns = read_patterns(&op->args);
    bool ok = patterns && read_settings(&op->args, &settings, &paused);
    if (ok && !op->group && (op->group = evb_group_new(name, size, patterns))) {
        patterns = NULL;
        op->group->id = op->id;
        op->group->created_ns = (int64_t)places[0];
        op->group->next = places[1];
        if (op->id > op->hub->group_id)
            op->hub->group_id = op->id;
        TAILQ_INSERT_TAIL(&op->hub->groups, op->group, link);
    }
    if (ok && op->group && patterns) { /* they are others than before */
        evb_patterns *old = op->group->patterns;
        op->group->patterns = patterns;
        patterns = old;
    }
    evb_patterns_destroy(&patterns);
    if (ok && op->group) {
        op->group->settings = settings;
        op->group->paused = paused;
    }
    return ok && op->group;
}

static bool read_deleted(operation *op) {
    TAILQ_REMOVE(&op->hub->groups, op->group, link);
    evb_group_destroy(&op->group);
    return true;
}

static bool read_reset(operation *op) {
    evb_pending_clear(&op->group->pending);
    op->group->replay.next = op->group->replay.to + 1;
    return evb_mp_uint(&op->args, &op->group->next);
}

static bool remove_range(evb_group *group, uint64_t first, uint64_t last) {
    if (first > last || !evb_group_carve(group, first, last))
        return false;
    for (evb_entry *e; (e = evb_pending_from(&group->pending, first)) && e->first <= last;)
        evb_pending_remove(&group->pending, &e);
    return true;
}

/* What is left at `now` of a wait until `end`. */
static int64_t left_of(uint64_t wait, uint64_t end, uint64_t now) {
    uint64_t left = end > now ? end - now : 0;
    return (int64_t)(left < wait ? left : wait);
}

static bool add_entry(operation *op, bool ahead) {
    uint64_t v[ENTRY_WAITS] = {0};
    evb_group *group = op->group;
    if (!numbers(&op->args, v, op->count < ENTRY_WAITS ? ENTRY : ENTRY_WAITS) || v[4] > TIME_MOST ||
        !remove_range(group, v[0], v[1]))
        return false;
    bool in_hand = v[3] & FLAG_IN_HAND;
    int64_t wait = v[4] ? left_of(v[4], v[5], (uint64_t)evb_clock_wall_ns()) : 0;
    evb_entry *e = evb_pending_add(&group->pending, v[0], v[1], in_hand ? CLAIM_NS : wait, NULL, 0);
    if (!e)
        return false;
    e->deliveries = (uint32_t)v[2] - (in_hand && v[2]);
    e->doomed = v[3] & FLAG_DOOMED;
    e->failed = v[3] & FLAG_FAILED;
    if (e->doomed)
        group->bury_due_ns = 0;
    e->ahead = ahead;
    if (!ahead && !(v[1] & EVB_KEY_REPLAY) && group->next <= v[1])
        group->next = v[1] + 1;
    return true;
}

static bool read_entry(operation *op) { return add_entry(op, false); }
static bool read_ahead(operation *op) { return add_entry(op, true); }

static bool read_done(operation *op) {
    uint64_t v[2];
    return numbers(&op->args, v, 2) && remove_range(op->group, v[0], v[1]);
}

static bool read_progress(operation *op) {
    uint64_t v[4];
    if (!numbers(&op->args, v, 4))
        return false;
    if (op->group->next < v[0])
        op->group->next = v[0];
    op->group->acked = v[1];
    op->group->redelivered = v[2];
    op->group->lost = v[3];
    return true;
}

static bool read_replay(operation *op) {
    uint64_t v[3];
    if (!numbers(&op->args, v, 3))
        return false;
    op->group->replay = (evb_group_replay){.next = v[0], .to = v[1], .rate = v[2]};
    return true;
}

static bool read_letter(operation *op) {
    uint64_t v[2];
    return numbers(&op->args, v, 2) && evb_dead_add(op->group, (evb_letter){v[0], v[1]});
}

static bool read_letter_done(operation *op) {
    uint64_t seq;
    return evb_mp_uint(&op->args, &seq) && (evb_dead_remove(op->group, seq), true);
}

static bool (*const READERS[OP_COUNT])(operation *op) = {
    [OP_GROUP] = read_group,   [OP_DELETED] = read_deleted, [OP_RESET] = read_reset,
    [OP_ENTRY] = read_entry,   [OP_DONE] = read_done,       [OP_PROGRESS] = read_progress,
    [OP_REPLAY] = read_replay, [OP_LETTER] = read_letter,   [OP_LETTER_DONE] = read_letter_done,
    [OP_AHEAD] = read_ahead,
};

static evb_group *group_of(evb_hub *hub, uint64_t id) {
    evb_group *group;
    TAILQ_FOREACH (group, &hub->groups, link)
        if (group->id == id)
            return group;
    return NULL;
}

bool evb_group_state_read(void *context, const uint8_t *body, size_t size) {
    evb_mp mp = {body, body + size};
    while (mp.at < mp.end) {
        operation op = {.hub = context, .args = mp};
        uint64_t code;
        uint32_t count;
        if (!evb_mp_skip(&mp) || !evb_mp_array(&op.args, &count) || count < 2 || !evb_mp_uint(&op.args, &code) ||
            !evb_mp_uint(&op.args, &op.id) || !code || code >= OP_COUNT)
            return false;
        op.count = count - 2;
        op.group = group_of(context, op.id);
        if ((!op.group && code != OP_GROUP) || !READERS[code](&op))
            return false;
    }
    return true;
}

/* ---- settling ---- */

/* Takes out what lies beyond the journal's head: a power failure has undone it. */
static bool cut_to_head(evb_group *group, uint64_t head) {
    bool ok = remove_range(group, head + 1, EVB_KEY_REPLAY - 1) &&
              remove_range(group, (head + 1) | EVB_KEY_REPLAY, UINT64_MAX);
    if (group->next > head + 1)
        group->next = head + 1;
    if (group->replay.to > head)
        group->replay.to = head;
    while (group->letter_count && group->letters[group->letter_count - 1].seq > head)
        group->letter_count--;
    return ok;
}

typedef struct {
    uint64_t first, last;
    uint32_t deliveries;
    bool doomed, failed, ahead;
    int64_t due_ns;
} plain;

/* Takes the entries out, as a list in their order. NULL: none, or out of memory. */
static plain *take_out(evb_group *group, size_t *count) {
    plain *list = malloc((group->pending.count + 1) * sizeof *list);
    *count = 0;
    for (evb_entry *e = evb_pending_from(&group->pending, 0); list && e; e = evb_pending_next(e))
        list[(*count)++] = (plain){e->first, e->last, e->deliveries, e->doomed, e->failed, e->ahead, e->due_ns};
    if (list)
        evb_pending_clear(&group->pending);
    return list;
}

/* The topic whose lane an event of this key goes into; it lies in hub->scratch. */
static evb_header lane_topic(evb_hub *hub, uint64_t key) {
    uint64_t seq = evb_key_seq(key), next;
    evb_record rec;
    evb_error why;
    hub->scratch.size = 0;
    bool there = evb_journal_read(hub->journal, seq, seq, 1, NULL, &hub->scratch, &next, &why) == 0 &&
                 hub->scratch.size && !evb_record_parse(hub->scratch.data, hub->scratch.size, &rec);
    return there ? evb_retry_topic(&rec) : (evb_header){.value = ""};
}

int evb_group_relane(evb_hub *hub, evb_group *group, evb_error *err) {
    size_t count;
    plain *list = take_out(group, &count);
    int rc = list ? 0 : EVB_ENOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        evb_header topic = group->settings.ordered ? lane_topic(hub, list[i].first) : (evb_header){.value = NULL};
        evb_entry *e = evb_pending_add(&group->pending, list[i].first, list[i].last, list[i].due_ns, topic.value,
                                       topic.value_size);
        if (!e) {
            rc = EVB_ENOMEM;
            continue;
        }
        e->deliveries = list[i].deliveries;
        e->doomed = list[i].doomed;
        e->failed = list[i].failed;
        e->ahead = list[i].ahead;
    }
    free(list);
    return rc ? evb_fail(err, rc, "hub: out of memory") : 0;
}

int evb_group_state_settle(evb_hub *hub, int64_t now_ns, evb_error *err) {
    evb_group *group;
    uint64_t head = evb_journal_head(hub->journal);
    TAILQ_FOREACH (group, &hub->groups, link) {
        if (!cut_to_head(group, head))
            return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
        int rc = group->settings.ordered ? evb_group_relane(hub, group, err) : 0;
        if (rc)
            return rc;
        for (evb_entry *e = evb_pending_from(&group->pending, 0); e; e = evb_pending_next(e))
            if (e->state == EVB_WAITING && e->due_ns)
                evb_pending_wait(&group->pending, e, now_ns + e->due_ns);
        group->replay.begun_ns = now_ns;
    }
    return 0;
}
