/* schedule.h: events that are to be published later: what of them is in memory, and when they are due.
 *
 * A scheduled event has a number of its own, its scheduled seq (1, 2, 3 …), until it is published and gets a seq of
 * the journal. What was scheduled in one batch, for one time, is one entry, as long as none of it is cancelled. The
 * events themselves lie in scheduled.log, which retention, trim and purge do not touch. */
#ifndef EVB_SCHEDULE_H
#define EVB_SCHEDULE_H

#include <bsd/sys/tree.h>
#include <sys/queue.h>

#include "base/table.h"
#include "event/record.h"
#include "hub/hub.h"
#include "hub/schedule_log.h"

enum {
    EVB_SCHEDULED_MOST = 1000000,            /* events that may wait at once, */
    EVB_SCHEDULED_BYTES = 256 * 1024 * 1024, /* and bytes of their batches */
    EVB_SCHEDULED_PRODUCERS = 64 * 1024      /* publishers that are remembered */
};

/* Events first .. first + count - 1, which are those behind the first `skip` of a batch. */
typedef struct evb_due {
    RB_ENTRY(evb_due) by_due;
    RB_ENTRY(evb_due) by_seq;
    int64_t due_ns; /* by the wall clock */
    uint64_t first;
    uint64_t offset; /* of the batch's record, in scheduled.log */
    uint32_t size;   /* of that record */
    uint32_t count, skip;
} evb_due;

RB_HEAD(evb_due_tree, evb_due);
RB_HEAD(evb_due_seqs, evb_due);

/* What a publisher scheduled lately, so that what it sends again is answered and not scheduled twice. */
typedef struct {
    uint64_t number, first, count; /* its number of the batch; the batch's first scheduled seq */
} evb_due_batch;

typedef struct evb_due_producer {
    TAILQ_ENTRY(evb_due_producer) link; /* the one that was silent longest comes first */
    uint8_t id[EVB_PRODUCER_SIZE];
    uint64_t last; /* number of its last batch */
    int64_t used_ns;
    evb_due_batch *batches; /* that it may not know to be scheduled, ascending */
    size_t count, room;
} evb_due_producer;

typedef struct evb_schedule {
    evb_schedule_log *log;
    struct evb_due_tree due;
    struct evb_due_seqs seqs;
    uint64_t entries, events;
    uint64_t bytes;                /* of the records of all entries; one that was split counts for each part */
    uint64_t next;                 /* the next scheduled seq */
    uint8_t id[EVB_PRODUCER_SIZE]; /* the producer of what is published from here */
    evb_table *producers;
    TAILQ_HEAD(evb_due_producers, evb_due_producer) used;
    /* publishing: where in the journal it was to begin (0: nothing is in doubt), and the entries' first seqs */
    uint64_t firing_at;
    uint64_t *firing;
    size_t firing_count;
    bool added;       /* this round: to be made safe at its end */
    bool fired;       /* that has succeeded, and is to be noted */
    bool refused;     /* what is due cannot be stored; said */
    uint64_t long_at; /* when the file is so long it is written anew */
    int64_t tick_ns;  /* monotonic; INT64_MAX: nothing waits */
} evb_schedule;

/* Opens it: reads scheduled.log, and finds out from the journal whether what was being published when the last hub ended
 * was. NULL and *err: EVB_EDAMAGED, EVB_EIO, EVB_ENOMEM. */
evb_schedule *evb_schedule_new(evb_journal *journal, evb_log log, int64_t wall_ns, evb_error *err);
void evb_schedule_destroy(evb_schedule **self);

/* ---- entries (schedule_state.c) ---- */

/* The first that is due; the first that is not before that due time and seq; the one after; the one that has seq. */
evb_due *evb_schedule_first(evb_schedule *self);
evb_due *evb_schedule_from(evb_schedule *self, int64_t due_ns, uint64_t seq);
evb_due *evb_schedule_next(evb_due *due);
evb_due *evb_schedule_find(evb_schedule *self, uint64_t seq);

/* Adds an entry for all of a record of scheduled.log. False: out of memory. */
bool evb_schedule_add(evb_schedule *self, int64_t due_ns, const evb_record *rec, uint64_t offset);

/* Takes away an entry; an event, by which its entry may become two. False: out of memory, or it is not there. */
void evb_schedule_remove(evb_schedule *self, evb_due *due);
bool evb_schedule_remove_event(evb_schedule *self, uint64_t seq);

/* The producer of that id, made if it is not known; those silent for too long are forgotten. NULL: out of memory. */
evb_due_producer *evb_schedule_producer(evb_schedule *self, const uint8_t id[EVB_PRODUCER_SIZE], int64_t now_ns);

/* Notes that it has scheduled this batch (what it scheduled before goes if its number is not behind the last one's), and
 * knows of all up to number `acked`. False: out of memory. */
bool evb_schedule_remember(evb_due_producer *producer, uint64_t number, uint64_t first, uint64_t count);
void evb_schedule_acked(evb_due_producer *producer, uint64_t acked);

/* ---- notes: frames of scheduled.log. EVB_ESTORE: not now, nothing has changed; EVB_EIO, EVB_ENOMEM ---- */

/* `size` bytes of whole records, whose seqs are scheduled seqs, with that due time; the first record lies at *offset. */
int evb_schedule_note_added(evb_schedule *self, int64_t due_ns, uint64_t acked, const uint8_t *records, size_t size,
                            uint64_t *offset, evb_error *err);
int evb_schedule_note_cancelled(evb_schedule *self, const uint64_t *seqs, size_t count, evb_error *err);

/* The entries of self->firing are about to be published from self->firing_at on; they were. */
int evb_schedule_note_firing(evb_schedule *self, evb_error *err);
int evb_schedule_note_fired(evb_schedule *self, evb_error *err);

/* Writes scheduled.log anew once much of it is past. A refusal is said on log. EVB_EIO. */
int evb_schedule_tidy(evb_schedule *self, evb_log *log, evb_error *err);

/* Reads the record of an entry to the front of *out, checked. EVB_EIO, EVB_EDAMAGED, EVB_ENOMEM. */
int evb_schedule_read(evb_schedule *self, const evb_due *due, evb_buf *out, evb_record *rec, evb_error *err);

/* ---- time (schedule.c) ---- */

/* Publishes what is due by the wall clock; a round, as evb_hub_tick. */
int evb_schedule_tick(evb_hub *hub, int64_t wall_ns, evb_error *err);

/* The round's end, behind the journal's sync: notes what was published, makes safe what was scheduled. EVB_EIO. */
int evb_schedule_keep(evb_hub *hub, evb_error *err);

#endif
