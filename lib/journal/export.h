/* export.h: a journal, or a part of it, as one stream of bytes that is checked: written and read.
 *
 * All integers are big-endian.
 *
 *   head     0  4  magic "EVBE"
 *            4  1  format version, 1
 *            5  3  zero
 *            8  8  from: the first seq that was asked for
 *           16  8  to: the last one; no record goes beyond them
 *           24  4  bytes of the patterns
 *           28  4  zero
 *           32  p  the patterns, a newline behind each; none: everything
 *   records        as in record.h, in the order of their seqs, with their checksums
 *   trailer  0  4  magic "EVBT"
 *            4  4  zero
 *            8  8  count of records
 *           16  8  count of events
 *           24  8  bytes of all before the trailer
 *           32  8  XXH3-64 (seed 0) of all before these eight bytes
 *
 * Nothing in it tells when or by whom it was made: the same events give the same bytes. To change it: raise the
 * version in the head; readers keep both. */
#ifndef EVB_EXPORT_H
#define EVB_EXPORT_H

#include "event/record.h"
#include "event/topic.h"

enum { EVB_EXPORT_HEAD = 32, EVB_EXPORT_TRAILER = 40 };

/* What an export has. */
typedef struct evb_export_extent {
    uint64_t from, to;
    uint64_t records, events;
    uint64_t first, last; /* seqs of the first event and of the last; 0: it has none */
    uint64_t missing;     /* seqs between first and last that it has not */
    uint64_t bytes;       /* of it all */
    uint64_t digest;      /* XXH3 of it all but the digest */
    size_t payload_most;  /* reading: bytes of the largest payload */
    uint64_t payload_seq; /* and its batch's seq */
} evb_export_extent;

/* ---- writing ---- */

typedef struct evb_export_writer evb_export_writer;

/* Writes to fd (borrowed) an export of from..to. NULL and *err: EVB_ENOMEM, EVB_EIO. Here and below, writing blocks. */
evb_export_writer *evb_export_writer_new(int fd, uint64_t from, uint64_t to, const evb_patterns *patterns,
                                         evb_error *err);
void evb_export_writer_destroy(evb_export_writer **self);

/* Writes records that lie back to back, as a fetch gives them: checks each and cuts off what is outside of from..to.
 * EVB_EDAMAGED naming the seq; EVB_EIO (errno is EPIPE where nobody reads), EVB_ENOMEM. */
int evb_export_writer_add(evb_export_writer *self, uint8_t *records, size_t size, evb_error *err);

/* Writes the trailer. *out (may be NULL): what was written. EVB_EIO. */
int evb_export_writer_end(evb_export_writer *self, evb_export_extent *out, evb_error *err);

/* ---- reading ---- */

typedef struct evb_export_reader evb_export_reader;

/* Reads an export from fd (borrowed), from where it stands, to its end. NULL and *err: EVB_EDATA when it is none,
 * EVB_EIO, EVB_ENOMEM. Here and below, reading blocks. */
evb_export_reader *evb_export_reader_new(int fd, evb_error *err);
void evb_export_reader_destroy(evb_export_reader **self);

/* The next record, checked, which lives until the next call: 1; 0 at the end, when all that the trailer says was found
 * to hold; EVB_EDATA naming the offset and the seq behind which it is damaged or cut short; EVB_EIO, EVB_ENOMEM. */
int evb_export_reader_next(evb_export_reader *self, evb_record *rec, evb_error *err);

/* What was read so far; all of it at the end. */
const evb_export_extent *evb_export_reader_extent(const evb_export_reader *self);

/* Its patterns, a newline behind each; none: everything. */
const char *evb_export_reader_patterns(const evb_export_reader *self);

#endif
