/* journal.c: appending, syncing and sealing.
 *
 * Invariants: segments[] ascends and each begins where the one before ends; only the last is written to, only at its
 * end, and a failed write is cut off again before anything else is appended; `durable` moves only in sync (or trust).
 * A segment is sealed (synced, indexed, checkpointed) before the next begins, so that a start reads the last only.
 * After a failed fdatasync or a failed cut nothing is taken any more: the page cache says clean and lies (Rebello et
 * al., "Can Applications Recover from fsync Failures?", ATC 2020).
 * Leaves to others: opening (recovery.c), replay (reading.c), what goes again (retention.c,
 * sweep.c), what a batch may be (hub). */
#include "journal/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "journal/journal_private.h"

static const uint64_t ROOM_CHECK_BYTES = 16 << 20;

evb_journal *evb_journal_new(evb_io *io, const char *catalog_path, const evb_journal_options *options, evb_log log,
                             evb_error *err) {
    evb_journal *self = calloc(1, sizeof *self);
    if (!self) {
        evb_io_destroy(&io);
        evb_fail(err, EVB_ENOMEM, "journal: out of memory");
        return NULL;
    }
    self->io = io;
    self->log = log;
    self->options = *options;
    if (evb_journal_recover(self, catalog_path, err)) {
        self->broken = true;
        evb_journal_destroy(&self);
    }
    return self;
}

/* Writes the caches through. On failure the catalog goes back to its last checkpoint and takes in again what came
 * since. EVB_EIO when not even that works: the catalog is then no longer what the journal says. */
static int checkpoint(evb_journal *self, int64_t now_ns, evb_error *err) {
    evb_error why;
    if (evb_catalog_checkpoint(self->catalog, self->durable - 1, now_ns, &why) == 0)
        return 0;
    evb_log_say(&self->log, "%s; going on from its last checkpoint", why.text);
    if (evb_catalog_revert(self->catalog, err) || evb_journal_catch_up(self, err)) {
        self->broken = true;
        return EVB_EIO;
    }
    return 0;
}

void evb_journal_destroy(evb_journal **self) {
    evb_journal *j = *self;
    if (!j)
        return;
    evb_error err = {0};
    if (!j->broken && (evb_journal_sync(j, &err) || checkpoint(j, evb_clock_wall_ns(), &err)))
        evb_log_say(&j->log, "journal: at its end: %s", err.text);
    for (size_t i = 0; i < j->segment_count; i++)
        evb_segment_close(&j->segments[i], j->io);
    evb_journal_sweep_end(j);
    evb_scan_free(&j->sweep.scan);
    evb_buf_free(&j->sweep.out);
    free(j->sweep.hits);
    evb_gone_destroy(&j->gone);
    evb_catalog_destroy(&j->catalog);
    evb_scan_free(&j->scan);
    evb_io_destroy(&j->io);
    free(j->segments);
    free(j->touched);
    free(j->before);
    free(j->chain.seqs);
    free(j);
    *self = NULL;
}

void evb_journal_configure(evb_journal *self, const evb_journal_options *options) {
    evb_journal_sweep_end(self);
    self->options = *options;
    evb_catalog_keep_ids(self->catalog, options->id_window_ns, options->id_most);
}

uint64_t evb_journal_first(const evb_journal *self) {
    uint64_t trimmed = evb_gone_trimmed(self->gone), first = self->segments[0].first;
    return trimmed > first ? trimmed : first;
}

uint64_t evb_journal_head(const evb_journal *self) { return self->durable - 1; }

uint64_t evb_journal_appended(const evb_journal *self) { return evb_journal_active(self)->next - 1; }

uint64_t evb_journal_bytes(const evb_journal *self) { return self->bytes; }

int evb_journal_space(evb_journal *self, uint64_t *free_bytes, uint64_t *total_bytes) {
    return self->io->space(self->io, free_bytes, total_bytes);
}

bool evb_journal_is_full(const evb_journal *self) { return self->full; }

size_t evb_journal_segments(const evb_journal *self) { return self->segment_count; }

evb_io *evb_journal_io(evb_journal *self) { return self->io; }

evb_catalog *evb_journal_catalog(evb_journal *self) { return self->catalog; }

int evb_journal_add_segment(evb_journal *self, evb_segment segment, evb_error *err) {
    evb_segment *segments = realloc(self->segments, (self->segment_count + 1) * sizeof *segments);
    if (!segments)
        return evb_fail(err, EVB_ENOMEM, "journal: out of memory");
    self->segments = segments;
    segments[self->segment_count++] = segment;
    return 0;
}

/* ---- sealing ---- */

static int create_segment(evb_journal *self, uint64_t first, evb_error *err) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(first, name);
    int fd = evb_io_create(self->io, name);
    if (fd < 0)
        return evb_fail_errno(err, EVB_ESTORE, errno, "%s: cannot begin a segment", name);
    int rc = evb_journal_add_segment(self, (evb_segment){.first = first, .next = first, .fd = fd}, err);
    if (rc) {
        self->io->close(self->io, fd);
        self->io->remove(self->io, name);
    }
    return rc;
}

int evb_journal_roll(evb_journal *self, int64_t now_ns, evb_error *err) {
    int rc = evb_journal_sync(self, err);
    if (rc || (rc = create_segment(self, evb_journal_active(self)->next, err)))
        return rc;
    evb_segment *sealed = &self->segments[self->segment_count - 2];
    evb_segment_save_index(sealed, self->io);
    evb_segment_close(sealed, self->io);
    return checkpoint(self, now_ns, err);
}

/* ---- appending ---- */

void evb_journal_look_for_room(evb_journal *self) {
    uint64_t left, total;
    self->unchecked = 0;
    if (self->io->space(self->io, &left, &total))
        return;
    bool full = left < total / 100 * self->options.reserve_percent;
    if (full != self->full)
        evb_log_say(&self->log,
                    full ? "journal: less than %u %% of the disk is free: taking no events"
                         : "journal: %u %% of the disk is free again: taking events",
                    self->options.reserve_percent);
    self->full = full;
}

static int check_room(evb_journal *self, evb_error *err) {
    if (self->broken)
        return evb_fail(err, EVB_EIO, "journal: it failed before");
    if (self->full || self->unchecked >= ROOM_CHECK_BYTES)
        evb_journal_look_for_room(self);
    if (!self->full)
        return 0;
    return evb_fail(err, EVB_ESTORE, "disk full: less than %u %% is free; make room or lower --retain",
                    self->options.reserve_percent);
}

/* Room to remember `count` topics' states, so that a failed write can be taken back. */
static int make_room_for(evb_journal *self, size_t count, evb_error *err) {
    if (count > self->touched_room) {
        evb_topic_state **touched = realloc(self->touched, count * sizeof *touched);
        if (touched)
            self->touched = touched;
        evb_topic_state *before = realloc(self->before, count * sizeof *before);
        if (before)
            self->before = before;
        if (!touched || !before)
            return evb_fail(err, EVB_ENOMEM, "journal: out of memory");
        self->touched_room = count;
    }
    return evb_catalog_reserve(self->catalog, count, err);
}

static void take_back(evb_journal *self, size_t count) {
    while (count--)
        *self->touched[count] = self->before[count];
}

/* Stamps record i and counts it for its topic. */
static int stamp(evb_journal *self, evb_record *rec, size_t i, uint64_t seq, int64_t now_ns, evb_error *err) {
    evb_topic_state *topic = evb_catalog_topic(self->catalog, rec->topic, rec->topic_size, err);
    if (!topic)
        return EVB_ENOMEM;
    self->touched[i] = topic;
    self->before[i] = *topic;
    evb_record_stamp(rec, seq, topic->last, topic->version + 1, now_ns);
    evb_batch_set_mark(rec->batch, self->synced);
    evb_record_seal(rec);
    topic->last = seq + rec->count - 1;
    topic->version += rec->count;
    topic->batches++;
    topic->bytes += rec->size;
    topic->time_ns = now_ns;
    return 0;
}

/* Writes the records behind each other at the segment's end: in one call as far as they lie back to back. */
static int write_stretches(evb_journal *self, const evb_record *recs, size_t count) {
    evb_segment *seg = evb_journal_active(self);
    uint64_t offset = seg->size;
    for (size_t i = 0; i < count;) {
        const uint8_t *start = recs[i].record, *end = start;
        while (i < count && recs[i].record == end)
            end += recs[i++].size;
        if (evb_io_write_all(self->io, seg->fd, start, (size_t)(end - start), (off_t)offset))
            return -1;
        offset += (uint64_t)(end - start);
    }
    return 0;
}

static int write_records(evb_journal *self, const evb_record *recs, size_t count, evb_error *err) {
    evb_segment *seg = evb_journal_active(self);
    if (write_stretches(self, recs, count) == 0)
        return 0;
    int why = errno;
    if (self->io->truncate(self->io, seg->fd, (off_t)seg->size)) {
        self->broken = true;
        return evb_fail_errno(err, EVB_EIO, errno, "journal: cannot cut off a failed write");
    }
    evb_journal_look_for_room(self);
    return evb_fail_errno(err, EVB_ESTORE, why, "cannot store");
}

/* Only a journal that somebody has made up comes near the end of the seqs: it takes no more, and stays readable. */
static int check_seqs(const evb_journal *self, const evb_record *recs, size_t count, evb_error *err) {
    uint64_t next = evb_journal_active(self)->next;
    for (size_t i = 0; i < count; next += recs[i++].count)
        if (next > EVB_SEQ_MOST - recs[i].count)
            return evb_fail(err, EVB_ESTORE, "journal: no seqs are left behind %" PRIu64, next - 1);
    return 0;
}

static size_t total_size(const evb_record *recs, size_t count) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += recs[i].size;
    return size;
}

/* Every so many batches of a topic one is noted, for reading the topic by itself. */
static int note_milestone(evb_journal *self, const evb_record *rec, size_t i, evb_error *err) {
    if ((self->before[i].batches + 1) % EVB_MILESTONE_EVERY)
        return 0;
    return evb_catalog_milestone_note(self->catalog, rec->topic, rec->topic_size, rec->seq, evb_journal_first(self),
                                      err);
}

int evb_journal_append(evb_journal *self, evb_record *recs, size_t count, int64_t now_ns, evb_error *err) {
    size_t size = total_size(recs, count), done = 0;
    int rc = check_room(self, err);
    rc = rc ? rc : check_seqs(self, recs, count, err);
    if (rc == 0 && evb_journal_active(self)->size &&
        evb_journal_active(self)->size + size > self->options.segment_bytes)
        rc = evb_journal_roll(self, now_ns, err);
    if (rc || (rc = make_room_for(self, count, err)))
        return rc;
    uint64_t seq = evb_journal_active(self)->next;
    for (; rc == 0 && done < count; done += rc == 0) {
        rc = stamp(self, &recs[done], done, seq, now_ns, err);
        seq += recs[done].count;
    }
    rc = rc ? rc : write_records(self, recs, count, err);
    if (rc) {
        take_back(self, done);
        return rc;
    }
    for (size_t i = 0; i < count; i++)
        if (!evb_segment_note(evb_journal_active(self), &recs[i]) || note_milestone(self, &recs[i], i, err)) {
            self->broken = true; /* written, but not to be found: only a restart can tell the two together again */
            return evb_fail(err, EVB_EIO, "journal: out of memory");
        }
    self->bytes += size;
    self->unchecked += size;
    return 0;
}

int evb_journal_sync(evb_journal *self, evb_error *err) {
    evb_segment *seg = evb_journal_active(self);
    if (self->broken)
        return evb_fail(err, EVB_EIO, "journal: it failed before");
    int64_t begun = evb_clock_monotonic_ns();
    if (self->io->datasync(self->io, seg->fd)) {
        self->broken = true;
        return evb_fail_errno(err, EVB_EIO, errno, "journal: fdatasync failed");
    }
    evb_journal_synced_in(self, evb_clock_monotonic_ns() - begun);
    self->durable = self->synced = seg->next;
    return 0;
}

int evb_journal_settle(evb_journal *self, evb_error *err) {
    return self->synced < evb_journal_active(self)->next ? evb_journal_sync(self, err) : 0;
}

void evb_journal_trust(evb_journal *self) { self->durable = evb_journal_active(self)->next; }
