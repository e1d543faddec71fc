/* record.h: the record: one batch as publishers send it, the journal stores it and replies carry it.
 *
 * A record is a header of 40 bytes and a body; the body is what the feed sends: the topic, a NUL, the batch.
 * All integers are big-endian. The hub fills in what is marked H; the publisher leaves zeros there.
 *
 *   header   0  4  magic "EVBJ"
 *            4  1  format version, 1
 *            5  1  bytes of the topic
 *            6  2  zero
 *            8  4  bytes of the body
 *           12  4  count of events
 *           16  8  first seq                                  H
 *           24  8  time, ns since the epoch                   H
 *           32  8  XXH3-64 (seed 0) of header bytes 0..31 and the body   H
 *   body     0  t  topic
 *            t  1  NUL
 *          t+1  b  batch: a msgpack array of ten, its numbers in their widest form, so that each has a fixed place
 *
 *   batch    0  1  9a       array of 10
 *            1  1  format version, 1
 *            2  1  flags: bit 0, live (never stored)
 *            3  9  uint64   seq of the first event; 0 if live  H
 *           12  9  uint64   prev: the topic's last seq before it, 0 if none   H
 *           21  9  uint64   version of the first event         H
 *           30  9  uint64   time                               H
 *           39  9  uint64   mark: on the feed, the newest seq that some subscriber may not have been sent; in the
 *                           journal, all below this seq was on disk when the record was written; else 0   H
 *           48 18  bin8     the producer's id, 16 bytes
 *           66  9  uint64   the producer's number of this batch, from 1
 *           75  5  array32  the events
 *           80     events: each a bin (the payload), or an array of payload, headers (map of str to str, or nil)
 *                  and id (str or nil); readers pass over further elements
 *
 * To change it: new elements at the end of an event's array need no new version. Anything else raises the format
 * version in the header (journal) and in the batch (feed), and readers here keep both. */
#ifndef EVB_RECORD_H
#define EVB_RECORD_H

#include "base/buf.h"
#include "evbus.h"
#include "event/limits.h"
#include "event/mp.h"

/* Of a record without events that begins a segment: seqs may be missing in it, which were purged or have expired. */
#define EVB_TOPIC_COMPACTED "$hub.compacted"

enum {
    EVB_RECORD_HEADER = 40,
    EVB_BATCH_HEADER = 80,
    EVB_RECORD_LEAST = EVB_RECORD_HEADER + 2 + EVB_BATCH_HEADER, /* topic of one byte, no event */
    EVB_RECORD_OVERHEAD =
        EVB_RECORD_HEADER + EVB_TOPIC_MAX + 1 + EVB_BATCH_HEADER + EVB_HEADERS_MAX + EVB_HEADERS_OWN + 128,
    EVB_FLAG_LIVE = 1
};

/* The seq behind a record's last is no larger, nor where a segment begins: so that none wraps. */
#define EVB_SEQ_MOST ((uint64_t)INT64_MAX)

/* A record or feed frame taken apart; pointers into its bytes. */
typedef struct {
    uint8_t *record; /* its header, or NULL for a feed frame */
    size_t size;     /* of the whole record or frame */
    const char *topic;
    size_t topic_size;
    uint8_t *batch;
    uint32_t count;
    uint32_t ids; /* events with an id of their own, for who has counted them; parse says 0 */
    uint8_t flags;
    uint64_t seq, prev, version, mark, producer_seq;
    int64_t time_ns;
    const uint8_t *producer; /* 16 bytes */
    evb_mp events;           /* the events' bytes */
} evb_record;

/* The size of the record whose header begins at data, or 0 when fewer than a header's bytes are there or the magic,
 * version or sizes are not a record's. Looks at the header only. */
size_t evb_record_size(const uint8_t *data, size_t size);

/* Takes apart the record that begins at data: 0 and *out, or a phrase that says what is wrong. Checks that header
 * and batch agree and fit; neither the checksum nor the single events. */
const char *evb_record_parse(uint8_t *data, size_t size, evb_record *out);

/* The same for a feed frame, which has no record header. */
const char *evb_frame_parse(uint8_t *data, size_t size, evb_record *out);

/* Checks each event's form and their count: NULL or what is wrong. max_payload in bytes. *ids (may be NULL): how many
 * of them have an id of their own. */
const char *evb_record_check_events(const evb_record *rec, size_t max_payload, uint32_t *ids);

/* Whether the checksum holds. */
bool evb_record_intact(const uint8_t *record, size_t size);

/* Whether it is a record of EVB_TOPIC_COMPACTED. */
bool evb_record_compacted(const evb_record *rec);

/* Fills in the hub's fields of a record, and of *rec itself, all but the checksum. */
void evb_record_stamp(evb_record *rec, uint64_t seq, uint64_t prev, uint64_t version, int64_t time_ns);

/* Sets the flag that says that the batch is never stored. */
void evb_record_set_live(evb_record *rec);

/* Computes and stores the checksum; after the stamp, once. */
void evb_record_seal(evb_record *rec);

/* Sets the mark in a batch: of a feed frame, or of a record before it is sealed. */
void evb_batch_set_mark(uint8_t *batch, uint64_t mark);

/* Reads the next of a record's events from *cursor (at first rec->events): fills payload, headers, id and index of *event;
 * headers into room[EVB_HEADER_ROOM]. False at the end or where the form is wrong. */
bool evb_record_next(evb_mp *cursor, evb_event *event, evb_header *room);

/* ---- building ---- */

/* Appends a record's header and batch header with no events yet. False when memory is short. */
bool evb_record_begin(evb_buf *out, const char *topic, size_t topic_size, uint8_t flags,
                      const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t producer_seq);

/* Whether the record that begins at `record` is of this topic. */
bool evb_record_is_of(const uint8_t *record, const char *topic, size_t topic_size);

/* Appends one event to the record that began at offset start of *out and is its last. False when memory is short,
 * the record unchanged. */
bool evb_record_add(evb_buf *out, size_t start, const evb_event *event);

/* Appends a record of `count` of rec's events, the first `skip` left out: stamped as they are, and sealed. All of rec is
 * copied as it is. False when memory is short, or an event of it is malformed. */
bool evb_record_slice(evb_buf *out, const evb_record *rec, uint32_t skip, uint32_t count);

/* Appends a record of rec's events, all of them, as another producer's batch; not stamped. False when memory is short. */
bool evb_record_copy(evb_buf *out, const evb_record *rec, uint8_t flags, const uint8_t producer[EVB_PRODUCER_SIZE],
                     uint64_t producer_seq);

/* Appends a record of rec's events but for those at the `count` indexes in gone, which ascend; not stamped.
 * False when memory is short, or an event of it is malformed. */
bool evb_record_without(evb_buf *out, const evb_record *rec, const uint32_t *gone, size_t count);

/* Appends a feed frame without events: what the hub says of its head (a beat). seq: head + 1. */
bool evb_frame_beat(evb_buf *out, const char *topic, size_t topic_size, uint64_t seq, uint64_t mark, int64_t time_ns);

#endif
