/* segment.h: one file of the journal: its name, its extent, and the sparse index into it. */
#ifndef EVB_SEGMENT_H
#define EVB_SEGMENT_H

#include "event/record.h"
#include "journal/io.h"
#include "journal/scan.h"

enum { EVB_SEGMENT_NAME = 32 };

/* A record's place; at least one is kept for every 16 KiB of records. */
typedef struct {
    uint64_t seq;
    uint64_t offset;
    int64_t time_ns; /* the latest time of the records up to and with this one */
} evb_place;

typedef struct {
    uint64_t first;  /* its first event's seq, which names it */
    uint64_t next;   /* the seq after its last event */
    uint64_t size;   /* bytes of whole records */
    int64_t time_ns; /* the latest time in it; known while open */
    int fd;          /* -1 while closed */
    evb_place *places;
    size_t place_count, place_room;
} evb_segment;

/* The file names of the segment that begins at `first`: its records, its index. */
void evb_segment_name(uint64_t first, char out[EVB_SEGMENT_NAME]);
void evb_segment_index_name(uint64_t first, char out[EVB_SEGMENT_NAME]);

/* Whether name is a segment's; *first is set then. */
bool evb_segment_named(const char *name, uint64_t *first);

/* The firsts of all segments in the directory, ascending, for the caller to free. EVB_EIO, EVB_ENOMEM. */
int evb_segment_list(evb_io *io, uint64_t **firsts, size_t *count, evb_error *err);

/* Takes a record at offset seg->size into account. False when memory is short. */
bool evb_segment_note(evb_segment *seg, const evb_record *rec);

/* Opens a sealed segment, with its index: read from its side file, or made anew by reading the segment when that is
 * missing or bad. EVB_EIO, EVB_EDAMAGED (naming file and offset), EVB_ENOMEM. */
int evb_segment_open(evb_segment *seg, evb_io *io, evb_error *err);

/* Closes it and forgets the index. */
void evb_segment_close(evb_segment *seg, evb_io *io);

/* Writes the side file. Not needed to be safe: -1 is no more than slower later. */
int evb_segment_save_index(const evb_segment *seg, evb_io *io);

/* Starts *scan at the record that holds seq, or the first one behind it. The segment is open. Errors as open. */
int evb_segment_seek(const evb_segment *seg, evb_io *io, uint64_t seq, evb_scan *scan, evb_error *err);

/* The first seq in it whose time is time_ns or later, or seg->next. The segment is open. Errors as open. */
int evb_segment_seek_time(const evb_segment *seg, evb_io *io, int64_t time_ns, evb_scan *scan, uint64_t *seq,
                          evb_error *err);

/* Sets *err: "FILE: offset N: reason (seqs from S)". Returns code. */
int evb_segment_fail(const evb_segment *seg, int code, uint64_t offset, uint64_t seq, const char *reason,
                     evb_error *err);

#endif
