/* catalog.h: what is looked up by name: topics and producers, in LMDB. Derived from the journal and rebuilt from it;
 * never the only home of an event.
 *
 * Everything changed since the last checkpoint lives in one open transaction and in caches before it: a crash takes
 * the catalog back to its checkpoint, and the journal's records after that are taken in again. Blocks for the disk
 * only in new, checkpoint and clear. */
#ifndef EVB_CATALOG_H
#define EVB_CATALOG_H

#include "base/buf.h"
#include "event/limits.h"
#include "event/topic.h"

typedef struct evb_catalog evb_catalog;

typedef struct {
    uint64_t last;    /* seq of the topic's last event; 0 if there is none */
    uint64_t version; /* of that event */
    uint64_t batches;
    uint64_t bytes;  /* of records */
    int64_t time_ns; /* of the last */
} evb_topic_state;

/* Opens or makes the LMDB file at path. NULL and *err: EVB_EIO, EVB_EDAMAGED when it is not a catalog. */
evb_catalog *evb_catalog_new(const char *path, evb_error *err);

/* Closes it; what came after the last checkpoint is not in it. */
void evb_catalog_destroy(evb_catalog **self);

/* Everything up to and with this seq is in it; 0 for a new one. */
uint64_t evb_catalog_seq(const evb_catalog *self);

/* Makes all changes durable and sets the seq. EVB_ESTORE when the disk is full, EVB_EIO. */
int evb_catalog_checkpoint(evb_catalog *self, uint64_t seq, int64_t now_ns, evb_error *err);

/* Goes back to the last checkpoint, after a failure: what came later must be taken in again from the journal. */
int evb_catalog_revert(evb_catalog *self, evb_error *err);

/* Empties it, before it is built anew. */
int evb_catalog_clear(evb_catalog *self, evb_error *err);

/* ---- topics ---- */

/* Makes sure that the next `count` states asked for stay where they are. */
int evb_catalog_reserve(evb_catalog *self, size_t count, evb_error *err);

/* The topic's state, which the caller may change through the pointer until the next reserve. NULL and *err: EVB_ENOMEM,
 * EVB_EIO. A topic never seen has a state of zeros. */
evb_topic_state *evb_catalog_topic(evb_catalog *self, const char *topic, size_t size, evb_error *err);

/* Looks a topic up, without making room for it: *state, zeros for one never seen. EVB_EIO. */
int evb_catalog_look(evb_catalog *self, const char *topic, size_t size, evb_topic_state *state, evb_error *err);

/* Forgets the topics that begin with prefix and have no event at first or behind it, versions and all: for topics that
 * nothing is stored on any more. EVB_EIO. */
int evb_catalog_forget(evb_catalog *self, const char *prefix, size_t size, uint64_t first, evb_error *err);

/* Every so many batches of a topic one is a milestone, noted by its first seq; a topic's oldest ones, below `first`, are
 * forgotten by and by. LMDB's errors. */
enum { EVB_MILESTONE_EVERY = 256 };
int evb_catalog_milestone_note(evb_catalog *self, const char *topic, size_t size, uint64_t seq, uint64_t first,
                               evb_error *err);

/* The topic's first milestone whose seq is `least` or more, or 0. */
int evb_catalog_milestone(evb_catalog *self, const char *topic, size_t size, uint64_t least, uint64_t *seq,
                          evb_error *err);

/* How many topics there are. */
uint64_t evb_catalog_topic_count(evb_catalog *self);

typedef int evb_catalog_topic_fn(void *context, const char *topic, size_t size, const evb_topic_state *state);

/* Calls each for the topics behind `after` (exclusive; size 0: from the start) that match, in byte order, until `scan`
 * topics were looked at or each returned other than 0. Copies the last topic looked at into next (EVB_TOPIC_MAX
 * bytes) and its size; 0 when there are no more. EVB_EIO, EVB_EDAMAGED. */
int evb_catalog_topics(evb_catalog *self, const char *after, size_t after_size, size_t scan,
                       const evb_patterns *patterns, evb_catalog_topic_fn *each, void *context, char *next,
                       size_t *next_size, evb_error *err);

/* ---- producers: how far each has come, for recognising what is sent again ---- */

/* A stretch of a producer's batches of which those that are stored lie in the journal without a gap. */
typedef struct {
    uint64_t number;  /* the producer's number of the first batch */
    uint64_t seq;     /* of the first event of the first that is stored; 0: none is */
    uint64_t end;     /* the seq after the last one's last event */
    uint64_t batches; /* at most EVB_RUN_BATCHES */
} evb_run;

enum { EVB_RUNS_MAX = 160, EVB_RUN_BATCHES = 1024 };

typedef struct {
    uint8_t id[EVB_PRODUCER_SIZE];
    uint64_t last;      /* number of its last batch */
    int64_t used_ns;    /* when it sent it */
    uint32_t run_count; /* of runs[], the oldest first */
    uint32_t run_room;
    evb_run *runs;
} evb_producer;

/* The producer, or NULL: not known, or forgotten since it was silent for 10 minutes or longer. *err.code is 0 then. */
const evb_producer *evb_catalog_producer(evb_catalog *self, const uint8_t id[EVB_PRODUCER_SIZE], evb_error *err);

/* Notes that batch `number` of a producer was stored as seq .. end - 1 (both 0: it was taken, but not stored). EVB_ENOMEM. */
int evb_catalog_producer_note(evb_catalog *self, const uint8_t id[EVB_PRODUCER_SIZE], uint64_t number, uint64_t seq,
                              uint64_t end, int64_t now_ns, evb_error *err);

/* ---- ids: what publishers named their events, so that none is stored twice ---- */

enum { EVB_ID_KEY = 16 };

/* What stands for an id on a topic: XXH3-128, seed 0, of topic, NUL and id. */
void evb_id_key(const char *topic, size_t topic_size, const char *id, size_t id_size, uint8_t key[EVB_ID_KEY]);

/* For how long, and how many, ids are kept from now on. most 0: none. */
void evb_catalog_keep_ids(evb_catalog *self, int64_t window_ns, uint64_t most);

/* The wall clock has been set: by so much (ns) it is ahead of where it would be. Ids keep their age. */
void evb_catalog_clock_jumped(evb_catalog *self, int64_t by_ns);

/* The wall clock less what it has jumped by: what is as old by it is as old. */
int64_t evb_catalog_steady(const evb_catalog *self, int64_t now_ns);

/* The seq under which the id was stored, or 0 in *seq: not known, or forgotten. EVB_EIO, EVB_EDAMAGED. */
int evb_catalog_id(evb_catalog *self, const uint8_t key[EVB_ID_KEY], int64_t now_ns, uint64_t *seq, evb_error *err);

/* Notes that the event with this id was stored as seq. Errors as above, and EVB_ESTORE. */
int evb_catalog_id_note(evb_catalog *self, const uint8_t key[EVB_ID_KEY], uint64_t seq, int64_t now_ns,
                        evb_error *err);

#endif
