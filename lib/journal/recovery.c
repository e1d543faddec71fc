/* recovery.c: from what lies in the directory to a journal that can be appended to.
 *
 * Only the last segment is read, however many there are: a sealed segment's extent is in its name and the next one's.
 * A bad record of the last segment is a torn tail, with all behind it, unless a record behind it says that it was safe
 * once: several writes share a sync, and a machine that goes down in mid-sync may have done the later ones only. What is
 * torn was never acknowledged, and is cut off and said. Else it is damage: refused, until evctl repair is asked. The
 * catalog proves the same: it gets its seq only when all up to there is synced, so at each end of a hub.
 * The catalog is brought from its own seq to the journal's end; one that is missing, damaged or ahead is built anew.
 * Leaves to others: looking into the sealed segments (reading.c when they are read, verify.c). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "journal/journal_private.h"

/* ---- which segments there are ---- */

/* The size of a sealed segment's file; a start looks no further into it. */
static int measure(evb_journal *self, evb_segment *seg, evb_error *err) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seg->first, name);
    int fd = self->io->open(self->io, name, false);
    off_t size = fd < 0 ? -1 : self->io->size(self->io, fd);
    if (fd >= 0)
        self->io->close(self->io, fd);
    if (size < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", name);
    seg->size = (uint64_t)size;
    return 0;
}

static int list_segments(evb_journal *self, evb_error *err) {
    uint64_t *firsts;
    size_t count;
    int rc = evb_segment_list(self->io, &firsts, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        evb_segment seg = {.first = firsts[i], .next = i + 1 < count ? firsts[i + 1] : firsts[i], .fd = -1};
        rc = measure(self, &seg, err);
        rc = rc ? rc : evb_journal_add_segment(self, seg, err);
        self->bytes += seg.size;
    }
    free(firsts);
    return rc;
}

/* ---- the last segment ---- */

/* Ends the last segment at its last whole record; `end` is where its file ends. */
static int cut_tail(evb_journal *self, evb_segment *seg, uint64_t end, const char *reason, evb_error *err) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seg->first, name);
    if (self->io->truncate(self->io, seg->fd, (off_t)seg->size) || self->io->datasync(self->io, seg->fd))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot cut off its torn tail", name);
    evb_log_say(&self->log,
                "%s: cut off a torn tail of %" PRIu64 " bytes at offset %" PRIu64 " (%s); next seq %" PRIu64, name,
                end - seg->size, seg->size, reason, seg->next);
    self->bytes -= end - seg->size;
    return 0;
}

/* A bad record at scan->offset: was it acknowledged, or a write under way? */
static int judge_tail(evb_journal *self, evb_segment *seg, evb_scan *scan, const char *reason, evb_error *err) {
    evb_error why;
    evb_record rec;
    uint64_t end = scan->end;
    int rc = evb_scan_proof(scan, seg->next, &rec, &why);
    if (rc < 0)
        return evb_fail(err, rc, "journal: %s", why.text);
    uint64_t noted = evb_catalog_seq(self->catalog);
    if (rc == 0 && noted < seg->next)
        return cut_tail(self, seg, end, reason, err);
    evb_segment_fail(seg, EVB_EDAMAGED, seg->size, seg->next, reason, err);
    evb_error head = *err;
    if (rc == 0)
        return evb_fail(err, EVB_EDAMAGED,
                        "%s; all up to seq %" PRIu64 " was on disk, says the catalog: run evctl repair", head.text,
                        noted);
    return evb_fail(err, EVB_EDAMAGED,
                    "%s; a good record follows at offset %" PRIu64 " (seq %" PRIu64 "): run evctl repair", head.text,
                    scan->offset, rec.seq);
}

static int read_last(evb_journal *self, evb_error *err) {
    evb_segment *seg = evb_journal_active(self);
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seg->first, name);
    seg->fd = self->io->open(self->io, name, false);
    if (seg->fd < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", name);
    evb_scan *scan = &self->scan;
    evb_record rec;
    evb_error why;
    int rc;
    evb_scan_start(scan, self->io, seg->fd, 0, seg->size);
    seg->size = 0;
    while ((rc = evb_scan_next(scan, &rec, &why)) > 0) {
        if (rec.seq < seg->next) {
            scan->offset = seg->size;
            return evb_segment_fail(seg, EVB_EDAMAGED, seg->size, seg->next, "a seq comes again: run evctl repair",
                                    err);
        }
        if (!evb_segment_note(seg, &rec))
            return evb_fail(err, EVB_ENOMEM, "journal: out of memory");
    }
    if (rc == EVB_EDAMAGED)
        return judge_tail(self, seg, scan, why.text, err);
    return rc ? evb_fail(err, rc, "%s: %s", name, why.text) : 0;
}

static int begin_journal(evb_journal *self, evb_error *err) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(1, name);
    int fd = evb_io_create(self->io, name);
    if (fd < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", name);
    return evb_journal_add_segment(self, (evb_segment){.first = 1, .next = 1, .fd = fd}, err);
}

/* ---- the catalog ---- */

/* Takes in the ids that events of a record have of their own. */
static int ingest_ids(evb_catalog *catalog, const evb_record *rec, evb_error *err) {
    evb_header room[EVB_HEADER_ROOM];
    uint8_t key[EVB_ID_KEY];
    evb_event event;
    evb_mp cursor = rec->events;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < rec->count && evb_record_next(&cursor, &event, room); i++) {
        if (!event.id)
            continue;
        evb_id_key(rec->topic, rec->topic_size, event.id, event.id_size, key);
        rc = evb_catalog_id_note(catalog, key, rec->seq + i, rec->time_ns, err);
    }
    return rc;
}

/* Counts a record for its topic and its producer. */
static int ingest(evb_catalog *catalog, const evb_record *rec, bool ids, evb_error *err) {
    int rc = evb_catalog_reserve(catalog, 1, err);
    evb_topic_state *topic = rc ? NULL : evb_catalog_topic(catalog, rec->topic, rec->topic_size, err);
    if (!topic)
        return EVB_ENOMEM;
    uint64_t last = rec->seq + rec->count - 1, batches = topic->batches + 1;
    if (last > topic->last) /* else gone.log has said what came later */
        *topic = (evb_topic_state){.last = last,
                                   .version = rec->version + rec->count - 1,
                                   .bytes = topic->bytes + rec->size,
                                   .time_ns = rec->time_ns};
    topic->batches = batches;
    if (batches % EVB_MILESTONE_EVERY == 0 &&
        (rc = evb_catalog_milestone_note(catalog, rec->topic, rec->topic_size, rec->seq, 0, err)))
        return rc;
    if (ids && (rc = ingest_ids(catalog, rec, err)))
        return rc;
    return evb_catalog_producer_note(catalog, rec->producer, rec->producer_seq, rec->seq, rec->seq + rec->count,
                                     rec->time_ns, err);
}

int evb_journal_catch_up(evb_journal *self, evb_error *err) {
    uint64_t from = evb_catalog_seq(self->catalog) + 1, end = evb_journal_active(self)->next;
    int64_t ids_ns = self->options.id_most ? evb_clock_wall_ns() - self->options.id_window_ns : INT64_MAX;
    if (from < self->segments[0].first)
        from = self->segments[0].first;
    while (from < end) {
        evb_segment *seg = evb_journal_segment_of(self, from);
        evb_record rec;
        evb_error why;
        int rc = evb_journal_open_segment(self, seg, err);
        if (rc || (rc = evb_segment_seek(seg, self->io, from, &self->scan, err)))
            return rc;
        while ((rc = evb_scan_next(&self->scan, &rec, &why)) > 0)
            if (rec.count && (rc = ingest(self->catalog, &rec, rec.time_ns >= ids_ns, err)))
                return rc;
        if (rc < 0)
            return evb_segment_fail(seg, rc, self->scan.offset, from, why.text, err);
        from = seg->next;
    }
    return 0;
}

/* Opens the catalog; one that is damaged is removed and made anew. */
static int open_catalog(evb_journal *self, const char *path, evb_error *err) {
    self->catalog = evb_catalog_new(path, err);
    if (!self->catalog && err->code == EVB_EDAMAGED) {
        evb_log_say(&self->log, "%s; building it anew from the journal", err->text);
        if (unlink(path))
            return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot remove", path);
        self->catalog = evb_catalog_new(path, err);
    }
    if (!self->catalog)
        return err->code;
    evb_catalog_keep_ids(self->catalog, self->options.id_window_ns, self->options.id_most);
    return 0;
}

/* What is known of topics that have no events left comes before those that have. */
static int teach_catalog(evb_journal *self, evb_error *err) {
    return evb_catalog_seq(self->catalog) ? 0 : evb_gone_teach(self->gone, self->catalog, err);
}

static int recover_catalog(evb_journal *self, evb_error *err) {
    int rc = 0;
    uint64_t head = evb_journal_active(self)->next - 1, seq = evb_catalog_seq(self->catalog);
    if (seq > head) {
        evb_log_say(&self->log,
                    "catalog: it is ahead of the journal (seq %" PRIu64 ", %" PRIu64 "); building it anew", seq,
                    head);
        if ((rc = evb_catalog_clear(self->catalog, err)))
            return rc;
    } else if (!seq && self->segment_count > 1) {
        evb_log_say(&self->log, "catalog: missing; building it anew from %zu segment%s", self->segment_count,
                    evb_plural(self->segment_count));
    }
    rc = teach_catalog(self, err);
    return rc ? rc : evb_journal_catch_up(self, err);
}

int evb_journal_recover(evb_journal *self, const char *catalog_path, evb_error *err) {
    int rc = list_segments(self, err);
    rc = rc ? rc : open_catalog(self, catalog_path, err);
    if (rc == 0)
        rc = self->segment_count ? read_last(self, err) : begin_journal(self, err);
    if (rc == 0 && !(self->gone = evb_gone_new(self->io, self->log, err)))
        rc = err->code;
    if (rc == 0)
        rc = recover_catalog(self, err);
    if (rc)
        return rc;
    /* What a killed hub has left may be in the page cache only: its bytes, and the names of its files. */
    if (self->io->datasync(self->io, evb_journal_active(self)->fd) || self->io->sync_dir(self->io))
        return evb_fail_errno(err, EVB_EIO, errno, "journal: cannot sync what is there");
    self->durable = self->synced = evb_journal_active(self)->next;
    return 0;
}
