/* scan.h: walks the records of a segment file, checking each. */
#ifndef EVB_SCAN_H
#define EVB_SCAN_H

#include "event/record.h"
#include "journal/io.h"

/* A value; set up by evb_scan_start, its buffer kept from one walk to the next and freed with evb_scan_free. */
typedef struct {
    evb_io *io;
    int fd;
    uint64_t offset; /* of the next record */
    uint64_t end;    /* where the walk stops */
    evb_buf buf;     /* bytes of the file from buf_offset on */
    uint64_t buf_offset;
    size_t piece; /* how much the next read takes at least: little at first, then more */
} evb_scan;

void evb_scan_start(evb_scan *scan, evb_io *io, int fd, uint64_t offset, uint64_t end);

/* The next record, checked against its checksum: 1 and *rec, whose bytes live until the next call; 0 at the end;
 * EVB_EDAMAGED when what stands at scan->offset is not a whole good record (the walk stays there), EVB_EIO,
 * EVB_ENOMEM. *err has only the reason: file and offset are for the caller to name. */
int evb_scan_next(evb_scan *scan, evb_record *rec, evb_error *err);

/* Looks for a whole good record anywhere behind scan->offset and moves there: 1; 0 when there is none; EVB_EIO,
 * EVB_ENOMEM. */
int evb_scan_resync(evb_scan *scan, evb_error *err);

/* From a fault at scan->offset on, where the record of seq `next` should begin: looks for a good record that proves that
 * this one was safe once (record.h, `mark`): 1 and *proof, the walk standing where that begins; 0: there is none, so what
 * is there is a write under way when the machine went down; EVB_EIO, EVB_ENOMEM. */
int evb_scan_proof(evb_scan *scan, uint64_t next, evb_record *proof, evb_error *err);

void evb_scan_free(evb_scan *scan);

#endif
