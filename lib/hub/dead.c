/* dead.c: burying an event: a letter on the topic $dead.GROUP that has all of it, and why.
 *
 * Invariant: an event leaves its group only when its letter is appended in the same round, and the round's sync comes
 * before groups.log says that it is done: so after a crash it is in one of the two, or in both.
 * Leaves to others: listing and retrying letters (groups.c). */
#include "hub/dead.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "hub/group_state.h"
#include "hub/hub_private.h"
#include "hub/retry.h"

enum { EXTRA_HEADERS = EVB_HEADER_ROOM - EVB_HEADER_COUNT_MAX };

bool evb_dead_add(evb_group *group, evb_letter letter) {
    if (group->letter_count == group->letter_room) {
        size_t room = group->letter_room ? group->letter_room * 2 : 16;
        evb_letter *letters = realloc(group->letters, room * sizeof *letters);
        if (!letters)
            return false;
        group->letters = letters;
        group->letter_room = room;
    }
    group->letters[group->letter_count++] = letter;
    return true;
}

bool evb_dead_remove(evb_group *group, uint64_t seq) {
    for (size_t i = 0; i < group->letter_count; i++) {
        if (group->letters[i].seq != seq)
            continue;
        memmove(&group->letters[i], &group->letters[i + 1], (--group->letter_count - i) * sizeof *group->letters);
        return true;
    }
    return false;
}

/* The event itself: event `seq` of rec, with its headers in room. */
static bool find_event(const evb_record *rec, uint64_t seq, evb_event *event, evb_header *room) {
    evb_mp cursor = rec->events;
    for (uint64_t at = rec->seq; evb_record_next(&cursor, event, room); at++)
        if (at == seq)
            return true;
    return false;
}

static evb_header header(const char *name, const char *value, size_t size) {
    return (evb_header){name, strlen(name), value, size};
}

/* Writes the letter's record into *out. False: out of memory. */
static bool write_letter(const evb_group *group, const evb_record *rec, const evb_entry *entry, const char *reason,
                         evb_buf *out) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    evb_header headers[EVB_HEADER_ROOM];
    evb_event event = {0};
    char topic[EVB_TOPIC_MAX], seq[24], deliveries[24];
    if (!find_event(rec, evb_key_seq(entry->first), &event, headers))
        return false;
    int topic_size = snprintf(topic, sizeof topic, "$dead.%s", group->name);
    int seq_size = snprintf(seq, sizeof seq, "%" PRIu64, evb_key_seq(entry->first));
    int deliveries_size = snprintf(deliveries, sizeof deliveries, "%" PRIu32, entry->deliveries);
    size_t n = event.header_count;
    evb_header of = evb_retry_topic(rec);
    headers[n++] = header("dead-topic", of.value, of.value_size);
    headers[n++] = header("dead-seq", seq, (size_t)seq_size);
    headers[n++] = header("dead-deliveries", deliveries, (size_t)deliveries_size);
    headers[n++] = header("dead-reason", reason, strnlen(reason, EVB_REASON_MAX));
    event.headers = headers;
    event.header_count = n;
    event.id = NULL; /* it is another event; and ids are for publishers */
    _Static_assert(EXTRA_HEADERS >= 4, "room for the letter's own headers");
    return evb_record_begin(out, topic, (size_t)topic_size, 0, nobody, 0) && evb_record_add(out, 0, &event);
}

/* Stores the letter in *record, and has it fanned out. EVB_ESTORE: not now; others end the hub. */
static int store_letter(evb_hub *hub, evb_buf *record, uint64_t *seq, evb_error *err) {
    evb_record rec;
    if (evb_record_parse(record->data, record->size, &rec))
        return evb_fail(err, EVB_EIO, "hub: made a bad dead letter");
    int rc = evb_journal_append(hub->journal, &rec, 1, evb_clock_wall_ns(), err);
    if (rc)
        return rc;
    hub->appended = true;
    *seq = rec.seq;
    return evb_hub_feed_own(hub, &rec, record) ? evb_fail(err, EVB_ENOMEM, "hub: out of memory") : 0;
}

/* Not now: the event stays, and is tried again in a second. */
static int postpone(evb_hub *hub, evb_group *group, evb_entry *entry, int64_t now_ns, const evb_error *why,
                    evb_error *err) {
    if (!entry->doomed || entry->state != EVB_WAITING)
        evb_log_say(&hub->options.log, "group %s: cannot store the dead letter of seq %" PRIu64 " yet: %s",
                    group->name, evb_key_seq(entry->first), why->text);
    entry->doomed = true;
    group->bury_due_ns = now_ns + EVB_SECOND_NS;
    evb_pending_wait(&group->pending, entry, group->bury_due_ns);
    return evb_note_entry(hub, group, entry) ? 0 : evb_fail(err, EVB_ENOMEM, "hub: out of memory");
}

/* Makes the letter of the entry's event, empty if that is gone from the journal, and stores it. Errors as store_letter. */
static int write_and_store(evb_hub *hub, const evb_group *group, const evb_entry *entry, const char *reason,
                           uint64_t *letter, evb_error *err) {
    uint64_t seq = evb_key_seq(entry->first), next;
    evb_buf record = {0};
    evb_record rec = {0};
    hub->scratch.size = 0;
    *letter = 0;
    int rc = evb_journal_read(hub->journal, seq, seq, 1, NULL, &hub->scratch, &next, err);
    bool there = rc == 0 && hub->scratch.size && !evb_record_parse(hub->scratch.data, hub->scratch.size, &rec);
    if (there && write_letter(group, &rec, entry, reason, &record))
        rc = store_letter(hub, &record, letter, err);
    evb_buf_free(&record);
    return rc == EVB_ESTORE || rc == EVB_EIO || rc == EVB_ENOMEM ? rc : 0;
}

int evb_dead_bury(evb_hub *hub, evb_group *group, evb_entry *entry, const char *reason, int64_t now_ns,
                  evb_error *err) {
    uint64_t key = entry->first, letter;
    evb_error why = {0};
    if (evb_entry_count(entry) > 1 && !evb_pending_split(&group->pending, entry, 1))
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    int rc = write_and_store(hub, group, entry, reason, &letter, &why);
    if (rc == EVB_ESTORE)
        return postpone(hub, group, entry, now_ns, &why, err);
    if (rc)
        return evb_fail(err, rc, "%s", why.text);
    if (letter && (!evb_dead_add(group, (evb_letter){letter, key}) ||
                   !evb_note_letter(hub, group, &group->letters[group->letter_count - 1])))
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    group->lost += !letter;
    evb_pending_remove(&group->pending, &entry);
    return evb_note_done(hub, group, key, key) ? 0 : evb_fail(err, EVB_ENOMEM, "hub: out of memory");
}

int evb_dead_bury_again(evb_hub *hub, evb_group *group, int64_t now_ns, evb_error *err) {
    int rc = 0;
    group->bury_due_ns = INT64_MAX;
    for (evb_entry *e = evb_pending_from(&group->pending, 0), *next; rc == 0 && e; e = next) {
        next = evb_pending_next(e);
        if (e->doomed && e->state == EVB_WAITING)
            rc = evb_dead_bury(hub, group, e, "given up on", now_ns, err);
        if (group->bury_due_ns != INT64_MAX)
            break; /* there is still no room */
    }
    return rc;
}
