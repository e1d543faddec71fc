/* again.c: which of a frame's events are stored already, by the ids that their publishers gave them.
 *
 * Invariants: an id is looked up in the catalog and among the frame's own; it is remembered only once its event was
 * appended; a record that loses events is written anew into memory of the hub's, the others stay where they are.
 * A batch that is sent again is asked for its ids again: one that stands for another seq than the one that the event
 * would have in the stored batch was left out then.
 * Leaves to others: how long ids are known (journal/catalog_ids.c), answering (publish.c). */
#include "hub/again.h"

#include <stdlib.h>

#include "base/error.h"

int evb_again_begin(evb_again *self, size_t ids) {
    if (!ids)
        return 0;
    self->fresh = malloc(ids * sizeof *self->fresh);
    self->seen = evb_table_new();
    return self->fresh && self->seen ? 0 : EVB_ENOMEM;
}

void evb_again_free(evb_again *self) {
    evb_table_destroy(&self->seen, NULL);
    free(self->fresh);
    free(self->events);
    *self = (evb_again){0};
}

static int add_event(evb_again *self, evb_again_event event) {
    if (self->count == self->room) {
        size_t room = self->room ? self->room * 2 : 16;
        evb_again_event *events = realloc(self->events, room * sizeof *events);
        if (!events)
            return EVB_ENOMEM;
        self->events = events;
        self->room = room;
    }
    self->events[self->count++] = event;
    return 0;
}

static int look_up(evb_again *self, const evb_record *rec, const evb_event *event, uint8_t key[EVB_ID_KEY],
                   uint64_t *seq, evb_error *why) {
    evb_id_key(rec->topic, rec->topic_size, event->id, event->id_size, key);
    return evb_catalog_id(evb_journal_catalog(self->hub->journal), key, self->now_ns, seq, why);
}

/* Finds out whether an event, which would be `kept` of the stored batch, was stored before. 1, 0, or an error. */
static int sift_event(evb_again *self, const evb_record *rec, const evb_event *event, size_t batch, uint32_t index,
                      uint32_t kept, evb_error *why) {
    evb_new_id *fresh = &self->fresh[self->fresh_count];
    uint64_t seq;
    int rc = look_up(self, rec, event, fresh->key, &seq, why);
    if (rc)
        return rc;
    if (seq)
        return (rc = add_event(self, (evb_again_event){batch, index, seq, 0, 0})) ? rc : 1;
    const evb_new_id *twin = evb_table_get(self->seen, fresh->key, EVB_ID_KEY);
    if (twin)
        return (rc = add_event(self, (evb_again_event){batch, index, 0, twin->batch, twin->index})) ? rc : 1;
    fresh->batch = batch;
    fresh->index = kept;
    if (!evb_table_put(self->seen, fresh->key, EVB_ID_KEY, fresh))
        return EVB_ENOMEM;
    self->fresh_count++;
    return 0;
}

/* Puts a record without the events at gone[] in the place of *rec. */
static int leave_out(evb_again *self, evb_record *rec, const uint32_t *gone, size_t count) {
    evb_buf record = {0};
    if (count == rec->count) {
        rec->count = 0;
        return 0;
    }
    if (!evb_record_without(&record, rec, gone, count) || evb_record_parse(record.data, record.size, rec) ||
        evb_hub_own(self->hub, &record)) {
        evb_buf_free(&record);
        return EVB_ENOMEM;
    }
    return 0;
}

int evb_again_sift(evb_again *self, evb_record *rec, size_t batch, evb_error *why) {
    evb_header room[EVB_HEADER_ROOM];
    evb_mp cursor = rec->events;
    evb_event event;
    size_t count = 0;
    int rc = 0;
    uint32_t *gone = malloc(rec->ids * sizeof *gone);
    if (!gone)
        return EVB_ENOMEM;
    for (uint32_t i = 0; rc >= 0 && i < rec->count && evb_record_next(&cursor, &event, room); i++)
        if (event.id && (rc = sift_event(self, rec, &event, batch, i, i - (uint32_t)count, why)) > 0)
            gone[count++] = i;
    if (rc >= 0)
        rc = count ? leave_out(self, rec, gone, count) : 0;
    free(gone);
    return rc;
}

int evb_again_recall(evb_again *self, const evb_record *rec, size_t batch, const evb_stored *place, evb_error *why) {
    evb_header room[EVB_HEADER_ROOM];
    uint8_t key[EVB_ID_KEY];
    evb_mp cursor = rec->events;
    evb_event event;
    uint64_t next = place->seq, end = place->seq + place->count;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < rec->count && evb_record_next(&cursor, &event, room); i++) {
        uint64_t seq = 0;
        if (event.id && (rc = look_up(self, rec, &event, key, &seq, why)))
            break;
        if (next < end && (!seq || seq == next))
            next++;
        else if (seq)
            rc = add_event(self, (evb_again_event){batch, i, seq, 0, 0});
    }
    return rc;
}

int evb_again_settle(evb_again *self, const evb_record *recs, evb_error *why) {
    evb_catalog *catalog = evb_journal_catalog(self->hub->journal);
    int rc = 0;
    for (size_t i = 0; i < self->count; i++) {
        evb_again_event *event = &self->events[i];
        if (!event->seq)
            event->seq = recs[event->twin].seq + event->twin_index;
    }
    for (size_t i = 0; rc == 0 && i < self->fresh_count; i++) {
        const evb_new_id *fresh = &self->fresh[i];
        rc = evb_catalog_id_note(catalog, fresh->key, recs[fresh->batch].seq + fresh->index, self->now_ns, why);
    }
    return rc;
}
