/* sweep.c: looks through sealed segments for what is gone, or expires by its pattern, and writes those again much of
 * which is gone.
 *
 * A look is two rounds over one segment, in slices. The first counts: what is hidden already, and for each retained
 * pattern that is due there (all of the segment is older than its age) the end of its last record, up to which the
 * pattern is gone from then on. If a quarter of the bytes or more are gone the second round writes the rest to
 * compact.new, behind a record of topic $hub.compacted without events, and puts that in the segment's place by rename.
 * Retained patterns go through the segments in order, each as it comes of age, and gone.log keeps how far they came.
 * For what was purged, segments are looked through only once topics that make up an eighth of the journal are gone.
 * Invariants: the state of a topic is in gone.log before its last record goes; a segment that is rewritten keeps its
 * name and its latest time; one of which nothing is left is removed if the one before it tells of missing seqs already.
 * Leaves to others: what is hidden (gone.c), dropping whole segments by age and size (retention.c). */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "journal/journal_private.h"

enum { SLICE = 4 * 1024 * 1024, GONE_COST = 2048, COPY_PIECE = 256 * 1024, PURGED_SHARE = 8, GONE_SHARE = 4 };
static const uint64_t NOT_DUE = UINT64_MAX;
static const char COPY[] = "compact.new";
/* Marks beside those of retained patterns: up to where a look for what was purged is wanted, and done. */
static const char WANTED[] = "$hub.purge.wanted", DONE[] = "$hub.purge.done";

static void say_fault(evb_journal *self, const char *text) {
    evb_log_say(&self->log, "%s; its segment is left as it is", text);
}

static evb_segment *segment_under_way(evb_journal *self) {
    for (size_t i = 0; i + 1 < self->segment_count; i++)
        if (self->segments[i].first == self->sweep.first)
            return &self->segments[i];
    return NULL;
}

void evb_journal_sweep_end(evb_journal *self) {
    evb_sweep *s = &self->sweep;
    if (s->copying) {
        self->io->close(self->io, s->copy);
        self->io->remove(self->io, COPY);
    }
    if (s->fd_open)
        self->io->close(self->io, s->scan.fd);
    s->copying = s->fd_open = false;
    s->first = 0;
}

/* ---- which segment ---- */

static bool is_old(evb_journal *self, evb_segment *seg, int64_t age_ns, int64_t now_ns) {
    evb_error err;
    return evb_journal_open_segment(self, seg, &err) == 0 && seg->time_ns < now_ns - age_ns;
}

/* The next segment that a retained pattern is to be looked for in, if it is old enough. */
static evb_segment *next_for(evb_journal *self, const evb_retain *retain, int64_t now_ns) {
    uint64_t swept = evb_gone_swept(self->gone, retain->pattern, strlen(retain->pattern));
    for (size_t i = 0; i + 1 < self->segment_count; i++)
        if (self->segments[i].next - 1 > swept)
            return is_old(self, &self->segments[i], retain->age_ns, now_ns) ? &self->segments[i] : NULL;
    return NULL;
}

/* The next segment that is to be looked through for what was purged. */
static evb_segment *next_purged(evb_journal *self) {
    const evb_sweep *s = &self->sweep;
    for (size_t i = 0; s->until && i + 1 < self->segment_count; i++)
        if (self->segments[i].first > s->after && self->segments[i].first <= s->until)
            return &self->segments[i];
    return NULL;
}

static evb_segment *next_segment(evb_journal *self, int64_t now_ns) {
    evb_segment *found = next_purged(self);
    for (size_t i = 0; i < self->options.retain_count; i++) {
        evb_segment *seg = next_for(self, &self->options.retains[i], now_ns);
        if (seg && (!found || seg->first < found->first))
            found = seg;
    }
    return found;
}

/* Opens the segment's file once more, for the scan: what readers have open may be closed under it. */
static int start_scan(evb_journal *self, const evb_segment *seg) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seg->first, name);
    int fd = self->io->open(self->io, name, false);
    if (fd < 0)
        return -1;
    evb_scan_start(&self->sweep.scan, self->io, fd, 0, seg->size);
    self->sweep.fd_open = true;
    return 0;
}

static bool begin(evb_journal *self, int64_t now_ns) {
    evb_sweep *s = &self->sweep;
    evb_segment *seg = next_segment(self, now_ns);
    size_t count = self->options.retain_count;
    if (!seg)
        return false;
    if (s->hit_count != count) {
        uint64_t *hits = realloc(s->hits, (count + 1) * sizeof *hits);
        if (!hits)
            return false;
        s->hits = hits;
        s->hit_count = count;
    }
    for (size_t i = 0; i < count; i++) {
        const evb_retain *r = &self->options.retains[i];
        bool due = evb_gone_swept(self->gone, r->pattern, strlen(r->pattern)) < seg->next - 1 &&
                   is_old(self, seg, r->age_ns, now_ns);
        s->hits[i] = due ? 0 : NOT_DUE;
    }
    if (start_scan(self, seg))
        return false;
    s->first = seg->first;
    s->gone = 0;
    return true;
}

/* ---- the first round ---- */

/* Counts a record, and whether it expires now. */
static void look_at(evb_journal *self, const evb_record *rec) {
    evb_sweep *s = &self->sweep;
    bool gone = rec->count && evb_gone_hides(self->gone, rec);
    for (size_t i = 0; rec->count && i < s->hit_count; i++) {
        const char *pattern = self->options.retains[i].pattern;
        if (s->hits[i] == NOT_DUE || !evb_pattern_match(pattern, strlen(pattern), rec->topic, rec->topic_size))
            continue;
        s->hits[i] = rec->seq + rec->count - 1;
        gone = true;
    }
    s->gone += gone ? rec->size : 0;
}

/* The segment was looked through, or cannot be: the patterns that were due have come so far. */
static int note_sweep(evb_journal *self, const evb_segment *seg, evb_error *err) {
    evb_sweep *s = &self->sweep;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->hit_count; i++) {
        const char *pattern = self->options.retains[i].pattern;
        size_t size = strlen(pattern);
        if (s->hits[i] == NOT_DUE)
            continue;
        rc = s->hits[i] ? evb_gone_purge(self->gone, pattern, size, s->hits[i], err) : 0;
        rc = rc ? rc : evb_gone_sweep(self->gone, pattern, size, seg->next - 1, err);
    }
    if (seg->first <= s->until)
        s->after = seg->first;
    return rc ? rc : evb_gone_sync(self->gone, err);
}

/* ---- the second round ---- */

static int flush(evb_journal *self, evb_error *err) {
    evb_sweep *s = &self->sweep;
    if (s->out.size && evb_io_write_all(self->io, s->copy, s->out.data, s->out.size, (off_t)s->copied))
        return evb_fail_errno(err, EVB_ESTORE, errno, "%s", COPY);
    s->copied += s->out.size;
    s->out.size = 0;
    return 0;
}

/* The record without events that begins a rewritten segment: seqs may be missing there. */
static bool add_marker(evb_buf *out, const evb_segment *seg) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    evb_record rec;
    if (!evb_record_begin(out, EVB_TOPIC_COMPACTED, strlen(EVB_TOPIC_COMPACTED), 0, nobody, 0) ||
        evb_record_parse(out->data, out->size, &rec))
        return false;
    evb_record_stamp(&rec, seg->first, 0, 0, seg->time_ns);
    evb_record_seal(&rec);
    return true;
}

static int begin_copy(evb_journal *self, const evb_segment *seg, evb_error *err) {
    evb_sweep *s = &self->sweep;
    self->io->remove(self->io, COPY);
    s->copy = self->io->open(self->io, COPY, true);
    if (s->copy < 0)
        return evb_fail_errno(err, EVB_ESTORE, errno, "%s", COPY);
    s->copying = true;
    s->copied = s->out.size = 0;
    evb_scan_start(&s->scan, self->io, s->scan.fd, 0, seg->size);
    return add_marker(&s->out, seg) ? 0 : evb_fail(err, EVB_ENOMEM, "%s: out of memory", COPY);
}

/* Notes the topic's state if this record, which goes, is its last. */
static int keep_state(evb_journal *self, const evb_record *rec, evb_error *err) {
    evb_topic_state state;
    uint64_t last = rec->seq + rec->count - 1;
    if (last < evb_gone_carried(self->gone))
        return 0;
    int rc = evb_catalog_look(self->catalog, rec->topic, rec->topic_size, &state, err);
    if (rc || state.last != last)
        return rc;
    return evb_gone_topic(self->gone, rec->topic, rec->topic_size, &state, err);
}

static int copy_record(evb_journal *self, const evb_record *rec, uint64_t *cost, evb_error *err) {
    evb_sweep *s = &self->sweep;
    if (!rec->count)
        return 0; /* the marker of a time before */
    if (evb_gone_hides(self->gone, rec)) {
        *cost += GONE_COST; /* a look into the catalog */
        return keep_state(self, rec, err);
    }
    if (!evb_buf_add(&s->out, rec->record, rec->size))
        return evb_fail(err, EVB_ENOMEM, "%s: out of memory", COPY);
    s->kept = true;
    return s->out.size < COPY_PIECE ? 0 : flush(self, err);
}

/* Whether the segment's first record says that seqs may be missing in it. */
static bool is_compacted(evb_journal *self, evb_segment *seg) {
    evb_error err;
    evb_record rec;
    if (evb_journal_open_segment(self, seg, &err))
        return false;
    evb_scan_start(&self->scan, self->io, seg->fd, 0, seg->size);
    return evb_scan_next(&self->scan, &rec, &err) > 0 && evb_record_compacted(&rec);
}

/* Removes a segment of which nothing is left: the one before it reaches to the next then. */
static void remove_empty(evb_journal *self, evb_segment *seg) {
    char name[EVB_SEGMENT_NAME];
    size_t i = (size_t)(seg - self->segments);
    if (!i || !is_compacted(self, seg - 1))
        return;
    evb_segment_name(seg->first, name);
    if (self->io->remove(self->io, name) || self->io->sync_dir(self->io))
        return;
    evb_segment_close(seg, self->io);
    self->bytes -= seg->size;
    seg[-1].next = seg->next;
    evb_segment_close(seg - 1, self->io);
    memmove(seg, seg + 1, (--self->segment_count - i) * sizeof *seg);
}

/* Puts the new file in the segment's place. */
static int finish_copy(evb_journal *self, evb_segment *seg, evb_error *err) {
    evb_sweep *s = &self->sweep;
    char name[EVB_SEGMENT_NAME], index[EVB_SEGMENT_NAME];
    int rc = flush(self, err);
    rc = rc ? rc : evb_gone_sync(self->gone, err);
    if (rc)
        return rc;
    evb_segment_name(seg->first, name);
    evb_segment_index_name(seg->first, index);
    if (self->io->datasync(self->io, s->copy))
        return evb_fail_errno(err, EVB_ESTORE, errno, "%s", COPY);
    self->io->remove(self->io, index);
    if (self->io->rename(self->io, COPY, name) || self->io->sync_dir(self->io))
        return evb_fail_errno(err, EVB_ESTORE, errno, "%s: cannot put %s in its place", name, COPY);
    int64_t time_ns = seg->time_ns;
    evb_segment_close(seg, self->io);
    seg->time_ns = time_ns;
    self->bytes -= seg->size - s->copied;
    seg->size = s->copied;
    if (!s->kept)
        remove_empty(self, seg);
    return 0;
}

/* ---- slices ---- */

/* Ends a round: 1 when the next one is to follow, 0 when the segment is done, or an error. */
static int end_round(evb_journal *self, evb_segment *seg, evb_error *err) {
    evb_sweep *s = &self->sweep;
    if (s->copying)
        return finish_copy(self, seg, err);
    int rc = note_sweep(self, seg, err);
    s->kept = false;
    if (rc || s->gone < seg->size / GONE_SHARE || !s->gone)
        return rc;
    rc = evb_journal_open_segment(self, seg, err); /* for its time */
    rc = rc ? rc : begin_copy(self, seg, err);
    return rc ? rc : 1;
}

/* Takes the next records of the segment. 1: there are more, in this round or the next; 0: done; or an error. */
static int slice(evb_journal *self, evb_segment *seg, evb_error *err) {
    evb_sweep *s = &self->sweep;
    evb_record rec;
    evb_error why;
    int rc = 1;
    for (uint64_t cost = 0; rc > 0 && cost < SLICE; cost += rec.size) {
        rc = evb_scan_next(&s->scan, &rec, &why);
        if (rc < 0)
            return evb_segment_fail(seg, rc, s->scan.offset, seg->first, why.text, err);
        if (rc == 0)
            return end_round(self, seg, err);
        if (!s->copying)
            look_at(self, &rec);
        else if ((rc = copy_record(self, &rec, &cost, err)) == 0)
            rc = 1;
    }
    return rc;
}

/* A look that failed is not begun again before the next start. */
static void give_up(evb_journal *self, const evb_segment *seg, const char *text) {
    evb_error err;
    say_fault(self, text);
    if (!self->sweep.copying && note_sweep(self, seg, &err))
        self->sweep.until = 0;
}

int evb_journal_sweep_purged(evb_journal *self, uint64_t bytes, evb_error *err) {
    self->purged += bytes;
    if (!self->purged || self->purged < self->bytes / PURGED_SHARE)
        return 0;
    self->purged = 0;
    self->sweep.after = 0;
    return evb_gone_sweep(self->gone, WANTED, sizeof WANTED - 1, evb_gone_of_patterns(self->gone, NULL), err);
}

/* Whether there is a look for what was purged, and its end. */
static void plan(evb_journal *self) {
    evb_sweep *s = &self->sweep;
    evb_error err;
    uint64_t done = evb_gone_swept(self->gone, DONE, sizeof DONE - 1);
    s->until = evb_gone_swept(self->gone, WANTED, sizeof WANTED - 1);
    if (s->until <= done)
        s->until = 0;
    if (s->until && s->until < evb_journal_active(self)->first && !next_purged(self) && !s->first &&
        evb_gone_sweep(self->gone, DONE, sizeof DONE - 1, s->until, &err))
        say_fault(self, err.text);
}

bool evb_journal_sweep(evb_journal *self, int64_t now_ns) {
    evb_sweep *s = &self->sweep;
    evb_error err;
    if (s->failed)
        return false;
    plan(self);
    if (!s->first && !begin(self, now_ns))
        return false;
    evb_segment *seg = segment_under_way(self);
    int rc = seg ? slice(self, seg, &err) : 0;
    if (rc < 0) {
        s->failed = s->copying; /* a full disk: there is no point in filling it again and again */
        give_up(self, seg, err.text);
    }
    if (rc <= 0) {
        evb_journal_sweep_end(self);
        evb_gone_tidy(self->gone, self->catalog, evb_journal_first(self));
    }
    return true;
}
