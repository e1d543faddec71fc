/* scan.c: reads a segment in large pieces and takes it apart record by record.
 *
 * Invariant: buf holds the file's bytes from buf_offset on, and buf_offset <= offset. A record larger than a piece
 * grows the buffer to its size, which evb_record_size has bounded.
 * Leaves to others: what a fault means at this place, torn tail or damage (recovery.c, verify.c). */
#include "journal/scan.h"

#include <errno.h>

#include "base/error.h"

enum { PIECE_FIRST = 32 * 1024, PIECE_MOST = 256 * 1024 };

void evb_scan_start(evb_scan *scan, evb_io *io, int fd, uint64_t offset, uint64_t end) {
    scan->io = io;
    scan->fd = fd;
    scan->offset = scan->buf_offset = offset;
    scan->end = end;
    scan->buf.size = 0;
    scan->piece = PIECE_FIRST;
}

/* Makes `want` bytes from scan->offset on be in the buffer, or all up to the end; *have says how many are. */
static int fill(evb_scan *scan, size_t want, size_t *have, evb_error *err) {
    size_t skip = (size_t)(scan->offset - scan->buf_offset);
    *have = scan->buf.size - skip;
    if (*have >= want || scan->buf_offset + scan->buf.size == scan->end)
        return 0;
    evb_buf_drop(&scan->buf, skip);
    scan->buf_offset = scan->offset;
    size_t room = want > scan->piece ? want : scan->piece;
    scan->piece = scan->piece < PIECE_MOST ? 2 * scan->piece : PIECE_MOST;
    uint64_t left = scan->end - scan->offset;
    size_t more = (room < left ? room : (size_t)left) - *have;
    if (!evb_buf_reserve(&scan->buf, more))
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    if (evb_io_read_all(scan->io, scan->fd, scan->buf.data + *have, more, (off_t)(scan->offset + *have)))
        return evb_fail_errno(err, EVB_EIO, errno, "cannot read");
    scan->buf.size += more;
    *have += more;
    return 0;
}

static uint8_t *here(const evb_scan *scan) { return scan->buf.data + (scan->offset - scan->buf_offset); }

int evb_scan_next(evb_scan *scan, evb_record *rec, evb_error *err) {
    if (scan->offset == scan->end)
        return 0;
    size_t have;
    int rc = fill(scan, EVB_RECORD_HEADER, &have, err);
    if (rc)
        return rc;
    size_t size = evb_record_size(here(scan), have);
    if (!size || size > scan->end - scan->offset)
        return evb_fail(err, EVB_EDAMAGED, size ? "a record is cut short" : "no record begins here");
    if ((rc = fill(scan, size, &have, err)))
        return rc;
    const char *fault = evb_record_parse(here(scan), have, rec);
    if (!fault && !evb_record_intact(here(scan), size))
        fault = "its checksum does not hold";
    if (fault)
        return evb_fail(err, EVB_EDAMAGED, "a bad record: %s", fault);
    scan->offset += size;
    return 1;
}

int evb_scan_resync(evb_scan *scan, evb_error *err) {
    evb_record rec;
    while (scan->offset + 1 < scan->end) {
        scan->offset++;
        size_t have;
        int rc = fill(scan, EVB_RECORD_HEADER, &have, err);
        if (rc)
            return rc;
        const uint8_t *found = memchr(here(scan), 'E', have);
        scan->offset += found ? (uint64_t)(found - here(scan)) : have;
        if (!found) {
            scan->offset--;
            continue;
        }
        uint64_t start = scan->offset;
        rc = evb_scan_next(scan, &rec, err);
        scan->offset = start;
        if (rc != EVB_EDAMAGED)
            return rc;
    }
    scan->offset = scan->end;
    return 0;
}

int evb_scan_proof(evb_scan *scan, uint64_t next, evb_record *proof, evb_error *err) {
    int rc;
    while ((rc = evb_scan_resync(scan, err)) > 0) {
        uint64_t found = scan->offset;
        rc = evb_scan_next(scan, proof, err);
        uint64_t end = scan->offset;
        scan->offset = found;
        if (rc < 0)
            return rc;
        if (proof->seq < next)
            continue; /* bytes of an event that look like a record */
        if (!proof->mark || proof->mark > next)
            return 1;
        scan->offset = end - 1; /* resync looks behind it */
    }
    return rc;
}

void evb_scan_free(evb_scan *scan) { evb_buf_free(&scan->buf); }
