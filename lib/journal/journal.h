/* journal.h: the durable, ordered log of records, in segments, with its catalog. No sockets, no threads.
 *
 * Whoever opens a journal holds its lock (base/lock.h) first. Every call may block for the disk. */
#ifndef EVB_JOURNAL_H
#define EVB_JOURNAL_H

#include "base/log.h"
#include "event/record.h"
#include "event/topic.h"
#include "journal/catalog.h"
#include "journal/io.h"

typedef struct evb_journal evb_journal;

/* Events of a pattern that are kept for less time than the rest. */
typedef struct {
    const char *pattern; /* NUL-terminated, well formed */
    int64_t age_ns;
} evb_retain;

typedef struct {
    uint64_t segment_bytes;    /* begin a new segment beyond this */
    uint64_t retain_bytes;     /* drop the oldest segments beyond this; 0: keep all */
    int64_t retain_ns;         /* drop segments whose newest event is older; 0: keep all */
    const evb_retain *retains; /* borrowed until other options come */
    size_t retain_count;
    unsigned reserve_percent; /* take no events while less of the disk is free */
    int64_t id_window_ns;     /* an event's own id is known for so long, */
    uint64_t id_most;         /* and until so many newer ones came; 0: ids are not looked at */
} evb_journal_options;

/* Opens the journal behind io (which it takes over, also on failure) and recovers it: reads the last segment, cuts off
 * a torn tail, brings the catalog up to date. Says on log what it cut or rebuilt. catalog_path: where LMDB keeps its
 * file. NULL and *err: EVB_EDAMAGED naming file, offset and seq; EVB_EIO, EVB_ENOMEM, EVB_ESTORE. */
evb_journal *evb_journal_new(evb_io *io, const char *catalog_path, const evb_journal_options *options, evb_log log,
                             evb_error *err);

/* Syncs, writes a checkpoint and closes. A failure is said on the log: nothing acknowledged depends on it. */
void evb_journal_destroy(evb_journal **self);

/* Takes new options from now on. */
void evb_journal_configure(evb_journal *self, const evb_journal_options *options);

/* Stamps `count` parsed records with their seqs, versions and the time, and appends them: those that lie back to back
 * in one write. All or nothing: on EVB_ESTORE (disk full, write failed) and EVB_ENOMEM
 * nothing has changed; after EVB_EIO the journal cannot be trusted and the process must end. Not safe until
 * evb_journal_sync has returned 0. */
int evb_journal_append(evb_journal *self, evb_record *recs, size_t count, int64_t now_ns, evb_error *err);

/* Makes all that was appended safe. Any error is final: the page cache can no longer be trusted; end the process. */
int evb_journal_sync(evb_journal *self, evb_error *err);

/* The same, unless all is safe: before something that stands for what was appended is made safe elsewhere. */
int evb_journal_settle(evb_journal *self, evb_error *err);

/* Forgets the appended but unsynced difference: what was appended counts as readable without a sync (--sync MS|none). */
void evb_journal_trust(evb_journal *self);

/* Drops what retention says, rewrites segments much of which is gone, and looks how full the disk is. To be called about
 * once a second; true: there is more to do, so call it again soon. */
bool evb_journal_tend(evb_journal *self, int64_t now_ns);

/* Looks whether the wall clock was set: it goes as the monotonic one, steady_ns, or it was. To be called before anything is
 * judged by it, since how old ids and publishers are does not jump with it. */
void evb_journal_watch_clock(evb_journal *self, int64_t now_ns, int64_t steady_ns);

/* Takes away what is below seq `first`, which is at most appended + 1: whole segments at once, the rest is no longer
 * read. EVB_ESTORE, EVB_EIO. */
int evb_journal_trim(evb_journal *self, uint64_t first, int64_t now_ns, evb_error *err);

/* Takes away every event that was appended so far and matches: none is read again, and the disk gets its room back by
 * and by. Versions go on. *count: how many they were; UINT64_MAX: nobody has counted. EVB_ESTORE, EVB_EIO. */
int evb_journal_purge(evb_journal *self, const evb_patterns *patterns, uint64_t *count, evb_error *err);

/* The first seq, not below `from`, from which on nothing is missing that the patterns may match (NULL: everything). */
uint64_t evb_journal_left(const evb_journal *self, const evb_patterns *patterns, uint64_t from);

/* The seq of a topic's last event, which `last` is, or 0: all that it had was purged or has expired by its pattern. */
uint64_t evb_journal_last(const evb_journal *self, const char *topic, size_t size, uint64_t last);

/* The oldest seq that is left; the newest that is safe (0: none); the newest that was appended. */
uint64_t evb_journal_first(const evb_journal *self);
uint64_t evb_journal_head(const evb_journal *self);
uint64_t evb_journal_appended(const evb_journal *self);

/* Of the disk that it lies on; -1: not known. Whether too little is free to take events. How many segments there are. */
int evb_journal_space(evb_journal *self, uint64_t *free_bytes, uint64_t *total_bytes);
bool evb_journal_is_full(const evb_journal *self);
size_t evb_journal_segments(const evb_journal *self);

/* Bytes of all segments. */
uint64_t evb_journal_bytes(const evb_journal *self);

/* Appends to *out whole records that hold seqs in from..to, match and are not gone, until out holds max bytes (at least
 * one record) or enough was looked at for one go; *next is where to go on, > to when that is all. to <= head. EVB_EGONE
 * when from is below first, EVB_EDAMAGED, EVB_EIO, EVB_ENOMEM. */
int evb_journal_read(evb_journal *self, uint64_t from, uint64_t to, size_t max, const evb_patterns *patterns,
                     evb_buf *out, uint64_t *next, evb_error *err);

/* The first seq whose time is time_ns or later; head + 1 when there is none. Errors as read. */
int evb_journal_seek_time(evb_journal *self, int64_t time_ns, uint64_t *seq, evb_error *err);

/* Where a batch lies; all 0: not there. */
typedef struct {
    uint64_t seq, version; /* of its first event */
    uint32_t count;
} evb_stored;

/* Finds a producer's batches number .. number + count - 1 among the records of seq .. end - 1: fills out[count].
 * EVB_EGONE when seq is below first; else errors as read. */
int evb_journal_batches(evb_journal *self, uint64_t seq, uint64_t end, const uint8_t producer[EVB_PRODUCER_SIZE],
                        uint64_t number, size_t count, evb_stored *out, evb_error *err);

/* The record that holds seq, checked, whose bytes live until the journal's next call: 1; 0 when it is not there.
 * It may not be safe yet. Errors as read. */
int evb_journal_find(evb_journal *self, uint64_t seq, evb_record *rec, evb_error *err);

/* The directory that it lies in, for what belongs beside it; borrowed. */
evb_io *evb_journal_io(evb_journal *self);

/* What is looked up by name. */
evb_catalog *evb_journal_catalog(evb_journal *self);

#endif
