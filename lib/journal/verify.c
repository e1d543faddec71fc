/* verify.c: walks all segments, record by record, and tells damage from a torn tail.
 *
 * A hole is a stretch of bytes that holds no good record, or a jump in the seqs. It ends at the next good record, or
 * where the next segment begins. Repair writes what is good, and for each hole one record of topic $hub.lost whose
 * single event has the hole's last seq, so that the journal says itself, to every reader, what is missing from it.
 * Invariant: a segment is replaced whole, by rename, after its new bytes are safe.
 * Leaves to others: the lock (evctl), the catalog, which is built anew after a repair (recovery.c). */
#include "journal/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "journal/segment.h"

static const char LOST_TOPIC[] = "$hub.lost";

typedef struct {
    evb_io *io;
    evb_log log;
    evb_verification *out;
    evb_error *err;
    bool repair;
    uint64_t noted;   /* up to here all was on disk */
    uint64_t *firsts; /* of the segments */
    size_t count;
    /* of the segment under way */
    char name[EVB_SEGMENT_NAME];
    evb_scan scan;
    uint64_t expected; /* the seq that should come next */
    bool compacted;    /* seqs may be missing in it */
    bool damaged;
    int copy; /* fd of the new file, or -1 */
    uint64_t copy_size;
} walk;

/* ---- the new file ---- */

static int copy_bytes(walk *w, const void *data, size_t size) {
    if (w->copy < 0)
        return 0;
    if (evb_io_write_all(w->io, w->copy, data, size, (off_t)w->copy_size))
        return evb_fail_errno(w->err, EVB_EIO, errno, "%s: cannot write it anew", w->name);
    w->copy_size += size;
    return 0;
}

/* Writes the record that stands for the lost seqs up to `last`. */
static int copy_lost(walk *w, uint64_t last) {
    if (w->copy < 0 || last < w->expected)
        return 0;
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    char text[128];
    int n = snprintf(text, sizeof text, "lost: seqs %" PRIu64 " to %" PRIu64 ", damaged in %s", w->expected, last,
                     w->name);
    evb_event event = {.payload = text, .size = (size_t)n};
    evb_buf buf = {0};
    evb_record rec;
    int rc = EVB_ENOMEM;
    if (evb_record_begin(&buf, LOST_TOPIC, sizeof LOST_TOPIC - 1, 0, nobody, 0) && evb_record_add(&buf, 0, &event) &&
        !evb_record_parse(buf.data, buf.size, &rec)) {
        evb_record_stamp(&rec, last, 0, 1, evb_clock_wall_ns());
        evb_record_seal(&rec);
        rc = copy_bytes(w, buf.data, buf.size);
    }
    evb_buf_free(&buf);
    return rc;
}

static int open_copy(walk *w) {
    if (!w->repair)
        return 0;
    w->io->remove(w->io, "repair.new");
    w->copy = w->io->open(w->io, "repair.new", true);
    w->copy_size = 0;
    return w->copy < 0 ? evb_fail_errno(w->err, EVB_EIO, errno, "%s: cannot write it anew", w->name) : 0;
}

/* Puts the new file in the segment's place if the segment was damaged. */
static int close_copy(walk *w, uint64_t first, int rc) {
    if (w->copy < 0)
        return rc;
    if (rc == 0 && w->damaged && w->io->datasync(w->io, w->copy))
        rc = evb_fail_errno(w->err, EVB_EIO, errno, "%s: cannot write it anew", w->name);
    w->io->close(w->io, w->copy);
    w->copy = -1;
    if (rc || !w->damaged) {
        w->io->remove(w->io, "repair.new");
        return rc;
    }
    char index[EVB_SEGMENT_NAME];
    evb_segment_index_name(first, index);
    w->io->remove(w->io, index);
    if (w->io->rename(w->io, "repair.new", w->name) || w->io->sync_dir(w->io))
        return evb_fail_errno(w->err, EVB_EIO, errno, "%s: cannot put the repaired file in its place", w->name);
    return 0;
}

/* ---- walking ---- */

/* Says that the bytes from..to are bad and that the seqs up to last are lost with them. */
static int hole(walk *w, uint64_t from, uint64_t to, uint64_t last, const char *reason) {
    w->damaged = true;
    w->out->damages++;
    uint64_t lost = last >= w->expected ? last - w->expected + 1 : 0;
    w->out->lost += lost;
    if (lost)
        evb_log_say(&w->log, "%s: offset %" PRIu64 " to %" PRIu64 ": %s; seqs %" PRIu64 " to %" PRIu64 " %s", w->name,
                    from, to, reason, w->expected, last, w->repair ? "are lost" : "cannot be read");
    else
        evb_log_say(&w->log, "%s: offset %" PRIu64 " to %" PRIu64 ": %s; no seq is missing", w->name, from, to,
                    reason);
    int rc = copy_lost(w, last);
    w->expected += lost;
    return rc;
}

static int good(walk *w, const evb_record *rec, uint64_t offset) {
    int rc = 0;
    w->compacted |= evb_record_compacted(rec);
    if (rec->seq > w->expected && !w->compacted &&
        !(rec->topic_size == sizeof LOST_TOPIC - 1 && memcmp(rec->topic, LOST_TOPIC, rec->topic_size) == 0))
        rc = hole(w, offset, offset, rec->seq - 1, "seqs are missing before this place");
    rc = rc ? rc : copy_bytes(w, rec->record, rec->size);
    w->expected = rec->seq + rec->count;
    w->out->records++;
    w->out->events += rec->count;
    w->out->bytes += rec->size;
    w->out->last = w->expected - 1;
    return rc;
}

/* What is wrong with a record whose checksum holds, or NULL. */
static const char *fault_of(const walk *w, const evb_record *rec) {
    return rec->seq < w->expected      ? "a seq comes again"
           : evb_record_compacted(rec) ? NULL
                                       : evb_record_check_events(rec, EVB_PAYLOAD_MOST, NULL);
}

/* Whether what begins at the fault, in the last segment, was never acknowledged: 1, 0, or an error. */
static int is_tail(walk *w) {
    evb_record rec;
    uint64_t at = w->scan.offset;
    int rc = evb_scan_proof(&w->scan, w->expected, &rec, w->err);
    w->scan.offset = at;
    return rc < 0 ? rc : !rc;
}

static int pass_tail(walk *w, uint64_t from, const char *reason) {
    w->scan.offset = w->scan.end;
    w->out->tail_bytes = w->scan.end - from;
    evb_log_say(&w->log,
                "%s: a torn tail of %" PRIu64 " bytes at offset %" PRIu64
                " (%s): a write under way, or cut off at the next start",
                w->name, w->out->tail_bytes, from, reason);
    w->damaged |= w->repair;
    return 0;
}

/* A fault at offset `from`: finds the next good record, or the segment's end, and deals with what lies between. */
static int pass_fault(walk *w, uint64_t from, uint64_t segment_end_seq, const char *reason) {
    evb_record rec;
    if (!segment_end_seq && w->noted >= w->expected)
        segment_end_seq = w->noted + 1;
    int rc = segment_end_seq ? 0 : is_tail(w);
    if (rc)
        return rc < 0 ? rc : pass_tail(w, from, reason);
    while ((rc = evb_scan_resync(&w->scan, w->err)) > 0) {
        uint64_t at = w->scan.offset;
        rc = evb_scan_next(&w->scan, &rec, w->err);
        w->scan.offset = at;
        if (rc > 0 && !fault_of(w, &rec))
            return hole(w, from, at, rec.seq - 1, reason);
    }
    if (rc < 0)
        return rc;
    return segment_end_seq ? hole(w, from, w->scan.end, segment_end_seq - 1, reason) : pass_tail(w, from, reason);
}

/* Walks the open segment; segment_end_seq is where the next one begins, 0 for the last. */
static int walk_records(walk *w, uint64_t segment_end_seq) {
    evb_record rec;
    evb_error why;
    for (;;) {
        uint64_t at = w->scan.offset;
        int rc = evb_scan_next(&w->scan, &rec, &why);
        const char *fault = rc > 0 ? fault_of(w, &rec) : rc == EVB_EDAMAGED ? why.text : NULL;
        if (fault) {
            w->scan.offset = at;
            rc = pass_fault(w, at, segment_end_seq, fault);
            if (rc)
                return rc;
            continue;
        }
        if (rc < 0)
            return evb_fail(w->err, rc, "%s: %s", w->name, why.text);
        if (rc == 0)
            break;
        if ((rc = good(w, &rec, at)))
            return rc;
    }
    if (segment_end_seq > w->expected && !w->compacted)
        return hole(w, w->scan.end, w->scan.end, segment_end_seq - 1, "it ends too early");
    return 0;
}

static int walk_segment(walk *w, size_t i) {
    uint64_t end_seq = i + 1 < w->count ? w->firsts[i + 1] : 0;
    evb_segment_name(w->firsts[i], w->name);
    int fd = w->io->open(w->io, w->name, false);
    if (fd < 0 && errno == ENOENT && i + 1 < w->count)
        return 0; /* retention took it while we walked */
    off_t size = fd < 0 ? -1 : w->io->size(w->io, fd);
    if (size < 0)
        return evb_fail_errno(w->err, EVB_EIO, errno, "%s", w->name);
    w->expected = w->firsts[i];
    w->damaged = w->compacted = false;
    w->out->segments++;
    if (w->out->segments == 1)
        w->out->first = w->firsts[i];
    evb_scan_start(&w->scan, w->io, fd, 0, (uint64_t)size);
    int rc = open_copy(w);
    rc = rc ? rc : walk_records(w, end_seq);
    rc = close_copy(w, w->firsts[i], rc);
    w->io->close(w->io, fd);
    return rc;
}

static int walk_all(walk *w) {
    int rc = evb_segment_list(w->io, &w->firsts, &w->count, w->err);
    if (rc)
        return rc;
    if (!w->count)
        return evb_fail(w->err, EVB_EINVAL, "journal: no segments there: not a journal's directory");
    w->out->last = w->firsts[0] - 1;
    for (size_t i = 0; rc == 0 && i < w->count; i++)
        rc = walk_segment(w, i);
    return rc;
}

static int walk_journal(evb_io *io, evb_log log, bool repair, uint64_t noted, evb_verification *out, evb_error *err) {
    walk w = {.io = io, .log = log, .out = out, .err = err, .repair = repair, .copy = -1};
    w.noted = noted <= EVB_SEQ_MOST ? noted : 0;
    *out = (evb_verification){0};
    int rc = walk_all(&w);
    evb_scan_free(&w.scan);
    free(w.firsts);
    return rc;
}

int evb_journal_verify(evb_io *io, evb_log log, uint64_t noted, evb_verification *out, evb_error *err) {
    int rc = walk_journal(io, log, false, noted, out, err);
    if (rc == 0 && out->damages)
        rc = evb_fail(err, EVB_EDAMAGED,
                      "journal: damaged in %" PRIu64 " place%s, %" PRIu64
                      " seq%s cannot be read: stop the hub and run evctl repair",
                      out->damages, evb_plural(out->damages), out->lost, evb_plural(out->lost));
    return rc;
}

int evb_journal_repair(evb_io *io, evb_log log, uint64_t noted, evb_verification *out, evb_error *err) {
    return walk_journal(io, log, true, noted, out, err);
}
