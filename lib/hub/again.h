/* again.h: events of a frame that were stored before under their own id on their topic, and are not stored again. */
#ifndef EVB_AGAIN_H
#define EVB_AGAIN_H

#include "hub/hub_private.h"

/* An event that was stored before. */
typedef struct {
    size_t batch;        /* its place in the frame */
    uint32_t index;      /* its place in the batch as it was sent */
    uint64_t seq;        /* of the one that was stored */
    size_t twin;         /* seq 0, until evb_again_settle: the batch of this frame that brings the first one, */
    uint32_t twin_index; /* and that one's place in it as it is stored */
} evb_again_event;

/* An id that is not known yet. */
typedef struct {
    uint8_t key[EVB_ID_KEY];
    size_t batch;
    uint32_t index; /* in the batch as it is stored */
} evb_new_id;

/* A value, zeroed at first but for hub and now_ns; evb_again_free at the end. */
typedef struct {
    evb_hub *hub;
    int64_t now_ns;
    evb_again_event *events; /* in the order of the frame */
    size_t count, room;
    evb_new_id *fresh; /* room for every id of the frame */
    size_t fresh_count;
    evb_table *seen; /* key to evb_new_id */
} evb_again;

/* Makes room for a frame that has so many events with ids. EVB_ENOMEM. */
int evb_again_begin(evb_again *self, size_t ids);

/* Takes the events out of *rec, batch `batch` of the frame, that were stored before, also in this frame: *rec is then
 * another record, of the hub's own, or one without events (count 0). EVB_ENOMEM; EVB_EIO, EVB_EDAMAGED: the catalog. */
int evb_again_sift(evb_again *self, evb_record *rec, size_t batch, evb_error *why);

/* The same for a batch that was itself stored before and lies at `place`: which of its events were left out then. */
int evb_again_recall(evb_again *self, const evb_record *rec, size_t batch, const evb_stored *place, evb_error *why);

/* The frame is stored, as recs: fills in the seqs and remembers the ids. Errors as sift, and EVB_ESTORE. */
int evb_again_settle(evb_again *self, const evb_record *recs, evb_error *why);

void evb_again_free(evb_again *self);

#endif
