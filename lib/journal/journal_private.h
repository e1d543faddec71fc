/* journal_private.h: the journal's own struct, shared by journal.c (appending, retention), recovery.c (opening) and
 * reading.c (replay). */
#ifndef EVB_JOURNAL_PRIVATE_H
#define EVB_JOURNAL_PRIVATE_H

#include "journal/gone.h"
#include "journal/journal.h"
#include "journal/segment.h"

enum { OPEN_SEGMENTS_MAX = 64 }; /* sealed ones kept open for readers */

/* Where the batches of some topics lie. */
typedef struct {
    uint64_t *seqs; /* of their first events, ascending; one may be there twice */
    size_t count, room;
    uint64_t known;                       /* these are all whose first seq is at most this */
    uint64_t dense, dense_from, dense_to; /* XXH3-64 of a topic whose batches lie close from seq to seq: not walked */
} evb_chain;

/* The look at one segment: what of it is gone, and writing it without that. In slices, so that nobody waits long. */
typedef struct {
    uint64_t first; /* of the segment; 0: none is under way */
    uint64_t after; /* sealed segments up to and with this one were looked through for what was purged */
    uint64_t until; /* as far as to the one that holds this; 0: nobody asks */
    bool copying;   /* the second round */
    evb_scan scan;
    uint64_t gone;  /* bytes of records that are gone */
    uint64_t *hits; /* for each retained pattern the end of its last record there, if it is to expire; 0: none */
    size_t hit_count;
    int copy; /* the new file */
    evb_buf out;
    uint64_t copied;
    bool kept;    /* something is left */
    bool fd_open; /* the scan's */
    bool failed;  /* no more of this before the next start */
} evb_sweep;

struct evb_journal {
    evb_io *io;
    evb_log log;
    evb_journal_options options;
    evb_catalog *catalog;
    evb_gone *gone;
    evb_sweep sweep;
    uint64_t purged;       /* bytes of topics purged since segments were last looked through for them */
    evb_segment *segments; /* ascending; never empty; the last is the one appended to, and open */
    size_t segment_count;
    uint64_t durable;                      /* all below this seq is safe, or counts as that */
    uint64_t synced;                       /* all below this seq is on disk */
    uint64_t bytes;                        /* of all segments */
    uint64_t unchecked;                    /* bytes appended since the disk's room was looked at */
    bool full;                             /* too little room: nothing is taken */
    bool broken;                           /* a sync or a truncate failed: nothing is taken any more */
    int64_t watched_ns, watched_steady_ns; /* both clocks at the last look at them; 0: none yet */
    int64_t look_on_ns;                    /* for readings that find little: see reading.c */
    evb_chain chain;                       /* of the reading under way */
    evb_scan scan;                         /* its buffer serves every reader */
    uint64_t used[OPEN_SEGMENTS_MAX];      /* firsts of the sealed segments that are open, the oldest use first */
    size_t used_count;
    evb_topic_state **touched; /* of the append under way, and what they were before it */
    evb_topic_state *before;
    size_t touched_room;
};

static inline evb_segment *evb_journal_active(const evb_journal *self) {
    return &self->segments[self->segment_count - 1];
}

/* Adds a segment behind the last. EVB_ENOMEM. */
int evb_journal_add_segment(evb_journal *self, evb_segment segment, evb_error *err);

/* Reads segments, catalog and last segment: what evb_journal_new promises. */
int evb_journal_recover(evb_journal *self, const char *catalog_path, evb_error *err);

/* The last sync took so long. */
void evb_journal_synced_in(evb_journal *self, int64_t ns);

/* Looks how full the disk is. */
void evb_journal_look_for_room(evb_journal *self);

/* Drops the oldest `count` segments, which are sealed; before that the states of topics that end in them are noted. */
void evb_journal_drop(evb_journal *self, size_t count);

/* Ends the active segment and begins the next. EVB_ESTORE: nothing changed but that it is synced; EVB_EIO: final. */
int evb_journal_roll(evb_journal *self, int64_t now_ns, evb_error *err);

/* Goes on for a while with what sweep.c is for. True: there is more to do. */
bool evb_journal_sweep(evb_journal *self, int64_t now_ns);

/* So many bytes were purged, more or less: once they are many, segments are looked through for them. EVB_ESTORE. */
int evb_journal_sweep_purged(evb_journal *self, uint64_t bytes, evb_error *err);

/* Leaves what is under way. */
void evb_journal_sweep_end(evb_journal *self);

/* Takes all records behind the catalog's seq into the catalog. */
int evb_journal_catch_up(evb_journal *self, evb_error *err);

/* Opens the segment for reading; closes the one that was read longest ago when too many are open. */
int evb_journal_open_segment(evb_journal *self, evb_segment *seg, evb_error *err);

/* Finds in self->chain the batches between from and to of patterns that are some few topics. False: there is no saying,
 * or it would take longer than reading everything. */
bool evb_journal_chain(evb_journal *self, uint64_t from, uint64_t to, const evb_patterns *patterns);

/* The segment that holds seq or would; seq is not below the first. */
evb_segment *evb_journal_segment_of(const evb_journal *self, uint64_t seq);

#endif
