/* schedule_log.c: frames appended, read back, and written anew.
 *
 * Invariants: `size` is the end of the last whole frame, and nothing lies behind it: a failed write is cut off again. A
 * file that is written anew has the name scheduled.log only once all its bytes are safe.
 * Damage is never passed over: these events are nowhere else. What a crash may leave, an unfinished last frame, was
 * never acknowledged.
 * Leaves to others: what a body says, when to write anew (schedule_state.c). */
#include "hub/schedule_log.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "hub/frames.h"

static const char NAME[] = "scheduled.log";
static const char NEW_NAME[] = "scheduled.log.new";
static const evb_frame_kind KIND = {"EVS2", "EVBS"};
enum { FLUSH = 1 << 20 };

struct evb_schedule_log {
    evb_io *io;
    evb_log log;
    int fd; /* -1: no file yet */
    uint64_t size;
    uint64_t synced; /* bytes that are on disk */
    bool dirty;
    bool appended; /* since it was opened */
    int new_fd;    /* of the rewrite under way; -1: none */
    uint64_t new_size;
    evb_buf out; /* of the rewrite, not yet written */
};

/* ---- reading ---- */

static int cut_torn(evb_schedule_log *self, uint64_t end, evb_error *err) {
    evb_log_say(&self->log, "%s: its last %llu bytes were never finished: cut off", NAME,
                (unsigned long long)(end - self->size));
    if (self->io->truncate(self->io, self->fd, (off_t)self->size))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot cut off its torn end", NAME);
    return 0;
}

static int fail_damaged(const evb_schedule_log *self, evb_error *err) {
    return evb_fail(err, EVB_EDAMAGED,
                    "%s: damaged at byte %llu: what is scheduled there and behind cannot be read; bring back a good "
                    "copy, or move the file away to start without it",
                    NAME, (unsigned long long)self->size);
}

static int read_all(evb_schedule_log *self, evb_schedule_log_fn *each, void *context, evb_error *err) {
    off_t end = self->io->size(self->io, self->fd);
    evb_frame_reader r = {.io = self->io, .fd = self->fd, .kind = &KIND, .end = end < 0 ? 0 : (uint64_t)end};
    evb_frame frame;
    bool understood = true;
    r.failed = end < 0;
    while (understood && self->size < r.end && evb_frame_at(&r, self->size, &frame)) {
        understood = !frame.size || each(context, self->size + frame.header, frame.body, frame.size);
        self->size += understood ? frame.header + frame.size : 0;
    }
    bool torn = understood && self->size < r.end && evb_frame_torn(&r, self->size);
    evb_buf_free(&r.piece);
    if (r.failed)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", NAME);
    int rc = self->size == r.end ? 0 : torn ? cut_torn(self, r.end, err) : fail_damaged(self, err);
    if (rc == 0 && self->io->datasync(self->io, self->fd)) /* a killed hub has left it in the page cache */
        rc = evb_fail_errno(err, EVB_EIO, errno, "%s: cannot sync", NAME);
    self->synced = self->size;
    return rc;
}

evb_schedule_log *evb_schedule_log_new(evb_io *io, evb_log log, evb_schedule_log_fn *each, void *context,
                                       evb_error *err) {
    evb_schedule_log *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
        return NULL;
    }
    *self = (evb_schedule_log){.io = io, .log = log, .new_fd = -1};
    self->fd = io->open(io, NAME, false);
    if (self->fd < 0 && errno == ENOENT)
        return self;
    if (self->fd < 0)
        evb_fail_errno(err, EVB_EIO, errno, "%s", NAME);
    if (self->fd < 0 || read_all(self, each, context, err))
        evb_schedule_log_destroy(&self);
    return self;
}

int evb_schedule_log_verify(evb_io *io, evb_log log, evb_error *err) {
    uint64_t at;
    int rc = evb_frames_verify(io, NAME, &KIND, false, &at, err);
    if (rc == EVB_EDAMAGED)
        evb_log_say(&log,
                    "%s: damaged at byte %llu: no hub will start with it; bring back a good copy, or move the file "
                    "away to start without what is scheduled",
                    NAME, (unsigned long long)at);
    return rc;
}

static void drop_rewrite(evb_schedule_log *self) {
    if (self->new_fd >= 0) {
        self->io->close(self->io, self->new_fd);
        self->io->remove(self->io, NEW_NAME);
    }
    self->new_fd = -1;
    evb_buf_free(&self->out);
}

void evb_schedule_log_destroy(evb_schedule_log **self) {
    if (!*self)
        return;
    evb_error why;
    drop_rewrite(*self);
    if ((*self)->fd >= 0) {
        if ((*self)->appended && evb_schedule_log_sync(*self, &why) == 0)
            evb_schedule_log_append(*self, NULL, 0, NULL, &why);
        (*self)->io->close((*self)->io, (*self)->fd);
    }
    free(*self);
    *self = NULL;
}

bool evb_schedule_log_is_new(const evb_schedule_log *self) { return self->fd < 0; }

uint64_t evb_schedule_log_size(const evb_schedule_log *self) { return self->size; }

int evb_schedule_log_read(evb_schedule_log *self, uint64_t offset, size_t size, evb_buf *out, evb_error *err) {
    if (!evb_buf_reserve(out, size))
        return evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    if (evb_io_read_all(self->io, self->fd, out->data + out->size, size, (off_t)offset))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: at byte %llu", NAME, (unsigned long long)offset);
    out->size += size;
    return 0;
}

/* ---- appending ---- */

static int create(evb_schedule_log *self, evb_error *err) {
    self->fd = evb_io_create(self->io, NAME);
    return self->fd < 0 ? evb_fail_errno(err, EVB_ESTORE, errno, "%s", NAME) : 0;
}

static int write_frame(evb_schedule_log *self, const evb_buf *frame, evb_error *err) {
    if (evb_io_write_all(self->io, self->fd, frame->data, frame->size, (off_t)self->size) == 0)
        return 0;
    int why = errno;
    if (self->io->truncate(self->io, self->fd, (off_t)self->size))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot cut off a failed write", NAME);
    return evb_fail_errno(err, EVB_ESTORE, why, "%s: cannot store", NAME);
}

int evb_schedule_log_append(evb_schedule_log *self, const uint8_t *body, size_t size, uint64_t *offset,
                            evb_error *err) {
    evb_buf frame = {0};
    int rc = self->fd < 0 ? create(self, err) : 0;
    if (rc)
        return rc;
    rc = evb_frame_add(&frame, &KIND, self->synced, body, size)
             ? write_frame(self, &frame, err)
             : evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    evb_buf_free(&frame);
    if (rc)
        return rc;
    if (offset)
        *offset = self->size + EVB_FRAME_HEADER;
    self->size += EVB_FRAME_HEADER + size;
    self->dirty = self->appended = true;
    return 0;
}

int evb_schedule_log_sync(evb_schedule_log *self, evb_error *err) {
    if (self->dirty && self->io->datasync(self->io, self->fd))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: fdatasync failed", NAME);
    self->dirty = false;
    self->synced = self->size;
    return 0;
}

bool evb_schedule_log_is_dirty(const evb_schedule_log *self) { return self->dirty; }

/* ---- writing anew ---- */

static int fail_rewrite(evb_schedule_log *self, int code, int why, evb_error *err) {
    drop_rewrite(self);
    return evb_fail_errno(err, code, why, "%s", NEW_NAME);
}

int evb_schedule_log_rewrite(evb_schedule_log *self, evb_error *err) {
    drop_rewrite(self);
    self->io->remove(self->io, NEW_NAME);
    self->new_fd = self->io->open(self->io, NEW_NAME, true);
    self->new_size = 0;
    return self->new_fd < 0 ? fail_rewrite(self, EVB_ESTORE, errno, err) : 0;
}

static int flush_rewrite(evb_schedule_log *self, evb_error *err) {
    if (evb_io_write_all(self->io, self->new_fd, self->out.data, self->out.size,
                         (off_t)(self->new_size - self->out.size)))
        return fail_rewrite(self, EVB_ESTORE, errno, err);
    self->out.size = 0;
    return 0;
}

int evb_schedule_log_rewrite_add(evb_schedule_log *self, const uint8_t *body, size_t size, uint64_t *offset,
                                 evb_error *err) {
    if (!evb_frame_add(&self->out, &KIND, EVB_FRAME_SAFE, body, size))
        return fail_rewrite(self, EVB_ENOMEM, ENOMEM, err);
    if (offset)
        *offset = self->new_size + EVB_FRAME_HEADER;
    self->new_size += EVB_FRAME_HEADER + size;
    return self->out.size >= FLUSH ? flush_rewrite(self, err) : 0;
}

int evb_schedule_log_rewrite_end(evb_schedule_log *self, evb_error *err) {
    int rc = flush_rewrite(self, err);
    if (rc)
        return rc;
    if (self->io->datasync(self->io, self->new_fd))
        return fail_rewrite(self, EVB_ESTORE, errno, err);
    if (self->io->rename(self->io, NEW_NAME, NAME))
        return fail_rewrite(self, EVB_ESTORE, errno, err);
    self->io->close(self->io, self->fd);
    self->fd = self->new_fd;
    self->size = self->synced = self->new_size;
    self->new_fd = -1;
    self->dirty = false;
    evb_buf_free(&self->out);
    if (self->io->sync_dir(self->io))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot sync its directory", NAME);
    return 0;
}
