/* group_log.c: appending frames, reading them back, beginning anew.
 *
 * Invariants: `size` is the end of the last whole frame, and nothing lies behind it; after a failed write the file is
 * behind its owner's memory (`behind`) until a snapshot replaces it, and nothing is appended meanwhile.
 * A damaged file stays as it is until a snapshot is to take its place, and is kept under another name then.
 * A failure here never stops the hub: what is lost is that some events are handed out once more after its end.
 * Leaves to others: what a body says (group_state.c). */
#include "hub/group_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "hub/frames.h"

static const char NAME[] = "groups.log";
static const char STEM[] = "groups";
static const evb_frame_kind KIND = {"EVG2", "EVBG"};
enum { LONG_LEAST = 1 << 20, LONG_FACTOR = 4 };

struct evb_group_log {
    evb_io *io;
    evb_log log;
    int fd;
    uint64_t size, snapshot; /* bytes: of all, and as of the last replace */
    uint64_t synced;         /* bytes that are on disk */
    bool dirty, behind, is_new;
    bool appended; /* since it was opened or replaced */
    bool damaged;  /* the file, which stays until a snapshot replaces it */
};

/* ---- reading ---- */

/* Keeps a copy of the damaged file before another takes its place. False and errno. */
static bool keep_aside(evb_group_log *self) {
    char name[EVB_ASIDE_NAME];
    if (evb_io_keep_aside(self->io, self->fd, STEM, name))
        return false;
    evb_log_say(&self->log, "%s: the damaged file is kept as %s", NAME, name);
    self->damaged = false;
    return true;
}

/* Reads whole frames; what begins at self->size then is none. False: a body is not understood. */
static bool read_frames(evb_group_log *self, evb_frame_reader *r, evb_group_log_fn *each, void *context) {
    evb_frame frame;
    while (self->size < r->end && evb_frame_at(r, self->size, &frame)) {
        if (frame.size && !each(context, frame.body, frame.size))
            return false;
        self->size += frame.header + frame.size;
    }
    return true;
}

static int cut_torn(evb_group_log *self, uint64_t end, evb_error *err) {
    evb_log_say(&self->log, "%s: its last %llu bytes were never finished: cut off", NAME,
                (unsigned long long)(end - self->size));
    if (self->io->truncate(self->io, self->fd, (off_t)self->size))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot cut off its torn end", NAME);
    return 0;
}

/* What a bad frame is: the end of a write that was never finished, or damage. A file that has nothing else may have begun
 * with a snapshot, which is safe before the file has its name. */
static bool is_torn(evb_group_log *self, evb_frame_reader *r) { return self->size && evb_frame_torn(r, self->size); }

static int read_all(evb_group_log *self, evb_group_log_fn *each, void *context, bool *damaged, evb_error *err) {
    off_t end = self->io->size(self->io, self->fd);
    evb_frame_reader r = {.io = self->io, .fd = self->fd, .kind = &KIND, .end = end < 0 ? 0 : (uint64_t)end};
    r.failed = end < 0;
    bool understood = read_frames(self, &r, each, context), bad = self->size < r.end;
    *damaged = bad && !(understood && is_torn(self, &r));
    evb_buf_free(&r.piece);
    if (r.failed)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", NAME);
    self->damaged = self->behind = *damaged;
    if (*damaged)
        evb_log_say(&self->log,
                    "%s: damaged at byte %llu: the groups' state up to there is kept, what came later is handed out "
                    "again",
                    NAME, (unsigned long long)self->size);
    int rc = bad && !*damaged ? cut_torn(self, r.end, err) : 0;
    if (rc == 0 && self->io->datasync(self->io, self->fd)) /* a killed hub has left it in the page cache */
        rc = evb_fail_errno(err, EVB_EIO, errno, "%s: cannot sync", NAME);
    self->synced = self->size;
    return rc;
}

evb_group_log *evb_group_log_new(evb_io *io, evb_log log, evb_group_log_fn *each, void *context, bool *damaged,
                                 evb_error *err) {
    evb_group_log *self = calloc(1, sizeof *self);
    *damaged = false;
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
        return NULL;
    }
    *self = (evb_group_log){.io = io, .log = log};
    self->fd = io->open(io, NAME, false);
    self->is_new = self->fd < 0 && errno == ENOENT;
    if (self->is_new)
        self->fd = evb_io_create(io, NAME);
    if (self->fd < 0)
        evb_fail_errno(err, self->is_new ? EVB_ESTORE : EVB_EIO, errno, "%s", NAME);
    if (self->fd < 0 || read_all(self, each, context, damaged, err))
        evb_group_log_destroy(&self);
    return self;
}

int evb_group_log_verify(evb_io *io, evb_log log, evb_error *err) {
    uint64_t at;
    int rc = evb_frames_verify(io, NAME, &KIND, true, &at, err);
    if (rc == EVB_EDAMAGED)
        evb_log_say(&log,
                    "%s: damaged at byte %llu: at the next start of a hub, what the groups did behind that place is "
                    "handed out again",
                    NAME, (unsigned long long)at);
    return rc;
}

/* Says that all is on disk, for who looks at it after the end. Nothing depends on it. */
static void seal(evb_group_log *self) {
    evb_buf frame = {0};
    if (!evb_frame_add(&frame, &KIND, self->synced, NULL, 0) ||
        evb_io_write_all(self->io, self->fd, frame.data, frame.size, (off_t)self->size))
        self->io->truncate(self->io, self->fd, (off_t)self->size);
    evb_buf_free(&frame);
}

void evb_group_log_destroy(evb_group_log **self) {
    if (!*self)
        return;
    if ((*self)->fd >= 0) {
        if (evb_group_log_sync(*self) && (*self)->appended)
            seal(*self);
        (*self)->io->close((*self)->io, (*self)->fd);
    }
    free(*self);
    *self = NULL;
}

bool evb_group_log_is_new(const evb_group_log *self) { return self->is_new; }

/* ---- writing ---- */

static bool fail_behind(evb_group_log *self, int why) {
    if (!self->behind)
        evb_log_say(&self->log, "%s: %s: acknowledgements are kept in memory until it can be written", NAME,
                    strerror(why));
    self->behind = true;
    return false;
}

bool evb_group_log_append(evb_group_log *self, const uint8_t *body, size_t size) {
    evb_buf frame = {0};
    if (self->behind)
        return false;
    bool ok = evb_frame_add(&frame, &KIND, self->synced, body, size);
    if (!ok)
        errno = ENOMEM;
    ok = ok && evb_io_write_all(self->io, self->fd, frame.data, frame.size, (off_t)self->size) == 0;
    int why = errno;
    if (ok)
        self->size += frame.size;
    else
        self->io->truncate(self->io, self->fd, (off_t)self->size);
    evb_buf_free(&frame);
    self->dirty = self->appended = true;
    return ok || fail_behind(self, why);
}

bool evb_group_log_is_long(const evb_group_log *self) {
    return self->behind || (self->size > LONG_LEAST && self->size > LONG_FACTOR * self->snapshot);
}

bool evb_group_log_replace(evb_group_log *self, const uint8_t *body, size_t size) {
    evb_buf file = {0};
    bool ok = evb_frame_add(&file, &KIND, EVB_FRAME_SAFE, body, size);
    if (!ok)
        errno = ENOMEM;
    ok = ok && (!self->damaged || keep_aside(self)) && evb_io_replace(self->io, NAME, file.data, file.size) == 0;
    int why = errno, fd = ok ? self->io->open(self->io, NAME, false) : -1;
    uint64_t written = file.size;
    evb_buf_free(&file);
    if (fd < 0)
        return fail_behind(self, ok ? errno : why);
    if (self->behind)
        evb_log_say(&self->log, "%s: written again", NAME);
    self->io->close(self->io, self->fd);
    self->fd = fd;
    self->size = self->snapshot = self->synced = written;
    self->dirty = self->behind = self->appended = false;
    return true;
}

bool evb_group_log_is_behind(const evb_group_log *self) { return self->behind; }

bool evb_group_log_is_dirty(const evb_group_log *self) { return self->dirty; }

bool evb_group_log_sync(evb_group_log *self) {
    if (self->dirty && self->io->datasync(self->io, self->fd))
        return fail_behind(self, errno);
    self->dirty = false;
    self->synced = self->size;
    return !self->behind;
}
