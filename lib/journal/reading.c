/* reading.c: replay: from a seq or a time to the records that hold it.
 *
 * Invariants: nothing at or above `durable` is ever read out; what is read out has passed its checksum; a call looks
 * at a bounded number of bytes, so that readers share the hub's time.
 * Leaves to others: how much a reader may ask for (hub). */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "journal/journal_private.h"

/* Bytes looked at for one read when little of them matches. Where a sync is slow there are few reads, and who looks for
 * what is rare is not to fall behind those who publish: all reads between two syncs may look on for as long as the last
 * one took, and at so many bytes each; the clock is looked at after each step. */
enum { LOOK = 4 * 1024 * 1024, LOOK_ON_MOST = 64 * 1024 * 1024, LOOK_STEP = 1024 * 1024 };

void evb_journal_synced_in(evb_journal *self, int64_t ns) { self->look_on_ns = ns; }

/* Notes that the segment was used last. Returns the first of the one to close, or 0. */
static uint64_t note_use(evb_journal *self, uint64_t first) {
    size_t i = 0;
    while (i < self->used_count && self->used[i] != first)
        i++;
    uint64_t victim = 0;
    if (i == self->used_count && i == OPEN_SEGMENTS_MAX) {
        victim = self->used[0];
        i = 0;
    }
    if (i < self->used_count)
        memmove(&self->used[i], &self->used[i + 1], (--self->used_count - i) * sizeof *self->used);
    self->used[self->used_count++] = first;
    return victim;
}

int evb_journal_open_segment(evb_journal *self, evb_segment *seg, evb_error *err) {
    if (seg == evb_journal_active(self))
        return 0;
    uint64_t victim = note_use(self, seg->first);
    for (size_t i = 0; victim && i < self->segment_count - 1; i++)
        if (self->segments[i].first == victim)
            evb_segment_close(&self->segments[i], self->io);
    if (seg->fd < 0 && !seg->size) { /* at the first use: recovery does not look into sealed segments */
        char name[EVB_SEGMENT_NAME];
        evb_segment_name(seg->first, name);
        return evb_fail(err, EVB_EDAMAGED, "%s: it is empty", name);
    }
    return evb_segment_open(seg, self->io, err);
}

evb_segment *evb_journal_segment_of(const evb_journal *self, uint64_t seq) {
    size_t low = 0, high = self->segment_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (self->segments[middle].first <= seq)
            low = middle;
        else
            high = middle;
    }
    return &self->segments[low];
}

typedef struct {
    uint64_t from, to;
    size_t max;
    const evb_patterns *patterns;
    const evb_gone *gone;
    uint64_t first; /* of what is left */
    evb_buf *out;
    uint64_t next;             /* where to go on */
    size_t looked, step;       /* bytes: so far, and when to look at the clock */
    int64_t left_ns, begun_ns; /* for looking on, and since when it is done; 0: not yet */
    bool done;                 /* enough for one call */
} reading;

static bool may_look_on(reading *r) {
    if (r->looked < r->step)
        return true;
    if (r->left_ns <= 0 || r->looked >= LOOK + LOOK_ON_MOST)
        return false;
    int64_t now = evb_clock_monotonic_ns();
    r->begun_ns = r->begun_ns ? r->begun_ns : now;
    r->step = r->looked + LOOK_STEP;
    return now - r->begun_ns < r->left_ns;
}

/* Takes a record into the answer. False: the answer is complete before it. */
static bool take_record(reading *r, const evb_record *rec, int *rc, evb_error *err) {
    if (rec->seq > r->to) {
        r->next = r->to + 1;
        return false;
    }
    bool wanted =
        rec->count && evb_patterns_match(r->patterns, rec->topic, rec->topic_size) && !evb_gone_hides(r->gone, rec);
    if (wanted && r->out->size && r->out->size + rec->size > r->max)
        return false;
    uint32_t before = rec->seq < r->first ? (uint32_t)(r->first - rec->seq) : 0; /* trimmed */
    if (wanted && !evb_record_slice(r->out, rec, before, rec->count - before)) {
        *rc = evb_fail(err, EVB_ENOMEM, "journal: out of memory");
        return false;
    }
    r->next = rec->seq + rec->count;
    r->looked += rec->size;
    return r->out->size < r->max && may_look_on(r);
}

/* What is wrong with where a record stands, or NULL: in a segment seqs from `least` on ascend up to its end. Who passes
 * over one that does not fit would read an event twice, go back for ever, or leave out what the next segment has. */
static const char *place_fault(const evb_segment *seg, const evb_record *rec, uint64_t least) {
    if (rec->seq < least)
        return "a seq comes again";
    return rec->seq > seg->next || rec->count > seg->next - rec->seq ? "a seq is beyond the segment" : NULL;
}

/* Reads on in the segment that holds r->next. */
static int read_segment(evb_journal *self, reading *r, evb_error *err) {
    evb_segment *seg = evb_journal_segment_of(self, r->next);
    evb_scan *scan = &self->scan;
    evb_record rec;
    evb_error why;
    int rc = evb_journal_open_segment(self, seg, err);
    if (rc || (rc = evb_segment_seek(seg, self->io, r->next, scan, err)))
        return rc;
    uint64_t least = 0, start = scan->offset; /* the first may begin before what is asked for */
    for (; (rc = evb_scan_next(scan, &rec, &why)) > 0; least = r->next, start = scan->offset) {
        const char *fault = place_fault(seg, &rec, least);
        if (fault)
            return evb_segment_fail(seg, EVB_EDAMAGED, start, r->next, fault, err);
        if (!take_record(r, &rec, &rc, err)) {
            r->done = true;
            return rc < 0 ? rc : 0;
        }
    }
    if (rc < 0)
        return evb_segment_fail(seg, rc, scan->offset, r->next, why.text, err);
    if (r->next < seg->next)
        r->next = seg->next;
    return 0;
}

/* Reads the records that the chain names, and says where to go on. */
static int read_chain(evb_journal *self, reading *r, evb_error *err) {
    const evb_chain *chain = &self->chain;
    evb_record rec;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < chain->count && chain->seqs[i] <= chain->known && !r->done; i++) {
        if (i && chain->seqs[i] == chain->seqs[i - 1])
            continue;
        rc = evb_journal_find(self, chain->seqs[i], &rec, err);
        if (rc == 0 || (rc > 0 && rec.seq + rec.count <= r->next))
            return evb_fail(err, EVB_EDAMAGED, "journal: seq %" PRIu64 " is not where it was", chain->seqs[i]);
        rc = rc > 0 ? 0 : rc;
        if (rc == 0 && !take_record(r, &rec, &rc, err))
            r->done = true;
    }
    if (rc == 0 && !r->done && r->next <= chain->known)
        r->next = chain->known + 1;
    return rc;
}

int evb_journal_read(evb_journal *self, uint64_t from, uint64_t to, size_t max, const evb_patterns *patterns,
                     evb_buf *out, uint64_t *next, evb_error *err) {
    uint64_t end = evb_journal_active(self)->next - 1;
    to = to < end ? to : end;
    reading r = {.from = from,
                 .to = to,
                 .max = max,
                 .patterns = patterns,
                 .gone = self->gone,
                 .first = evb_journal_first(self),
                 .out = out,
                 .next = from,
                 .step = LOOK,
                 .left_ns = self->look_on_ns};
    if (from < evb_journal_first(self))
        return evb_fail(err, EVB_EGONE, "events before %" PRIu64 " are gone", evb_journal_first(self));
    int rc = 0;
    if (from <= to && evb_journal_chain(self, from, to, patterns)) {
        rc = read_chain(self, &r, err);
        r.done = true;
    }
    while (rc == 0 && !r.done && r.next <= to)
        rc = read_segment(self, &r, err);
    if (r.begun_ns)
        self->look_on_ns -= evb_clock_monotonic_ns() - r.begun_ns;
    *next = r.next;
    return out->size ? 0 : rc; /* an error behind what was read comes with the next call */
}

int evb_journal_seek_time(evb_journal *self, int64_t time_ns, uint64_t *seq, evb_error *err) {
    size_t low = 0, high = self->segment_count - 1; /* the first segment whose latest time is late enough */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        evb_segment *seg = &self->segments[middle];
        int rc = evb_journal_open_segment(self, seg, err);
        if (rc)
            return rc;
        if (seg->time_ns < time_ns)
            low = middle + 1;
        else
            high = middle;
    }
    int rc = evb_journal_open_segment(self, &self->segments[low], err);
    rc = rc ? rc : evb_segment_seek_time(&self->segments[low], self->io, time_ns, &self->scan, seq, err);
    if (rc == 0 && *seq > self->durable)
        *seq = self->durable;
    return rc;
}

int evb_journal_find(evb_journal *self, uint64_t seq, evb_record *rec, evb_error *err) {
    evb_error why;
    if (seq < self->segments[0].first || seq >= evb_journal_active(self)->next)
        return 0;
    evb_segment *seg = evb_journal_segment_of(self, seq);
    int rc = evb_journal_open_segment(self, seg, err);
    if (rc || (rc = evb_segment_seek(seg, self->io, seq, &self->scan, err)))
        return rc;
    rc = evb_scan_next(&self->scan, rec, &why);
    if (rc < 0)
        return evb_segment_fail(seg, rc, self->scan.offset, seq, why.text, err);
    return rc > 0 && rec->seq <= seq && seq < rec->seq + rec->count;
}

/* Takes a record into the places of the batches looked for. */
static void note_batch(const evb_record *rec, const uint8_t *producer, uint64_t number, size_t count,
                       evb_stored *out) {
    if (memcmp(rec->producer, producer, EVB_PRODUCER_SIZE) == 0 && rec->producer_seq >= number &&
        rec->producer_seq - number < count)
        out[rec->producer_seq - number] = (evb_stored){rec->seq, rec->version, rec->count};
}

int evb_journal_batches(evb_journal *self, uint64_t seq, uint64_t end, const uint8_t producer[EVB_PRODUCER_SIZE],
                        uint64_t number, size_t count, evb_stored *out, evb_error *err) {
    evb_record rec;
    evb_error why;
    memset(out, 0, count * sizeof *out);
    if (seq < self->segments[0].first)
        return evb_fail(err, EVB_EGONE, "its batches are gone");
    while (seq < end && !out[count - 1].seq) {
        evb_segment *seg = evb_journal_segment_of(self, seq);
        int rc = evb_journal_open_segment(self, seg, err);
        if (rc || (rc = evb_segment_seek(seg, self->io, seq, &self->scan, err)))
            return rc;
        while (seq < end && !out[count - 1].seq && (rc = evb_scan_next(&self->scan, &rec, &why)) > 0) {
            seq = rec.seq + rec.count;
            if (seq <= end)
                note_batch(&rec, producer, number, count, out);
        }
        if (rc < 0)
            return evb_segment_fail(seg, rc, self->scan.offset, seq, why.text, err);
        if (rc == 0 && seq < seg->next)
            seq = seg->next;
        if (rc == 0 && seg == evb_journal_active(self))
            break;
    }
    return 0;
}
