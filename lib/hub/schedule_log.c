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

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/error.h"

static const char NAME[] = "scheduled.log";
static const char NEW_NAME[] = "scheduled.log.new";
static const uint8_t MAGIC[4] = {'E', 'V', 'B', 'S'};
enum { HEADER = 16, WINDOW = 1 << 20, FLUSH = 1 << 20 };

struct evb_schedule_log {
    evb_io *io;
    evb_log log;
    int fd; /* -1: no file yet */
    uint64_t size;
    bool dirty;
    int new_fd; /* of the rewrite under way; -1: none */
    uint64_t new_size;
    evb_buf out; /* of the rewrite, not yet written */
};

static bool add_frame(evb_buf *out, const uint8_t *body, size_t size) {
    uint8_t h[HEADER];
    memcpy(h, MAGIC, sizeof MAGIC);
    evb_put32(h + 4, (uint32_t)size);
    evb_put64(h + 8, XXH3_64bits(body, size));
    return evb_buf_add(out, h, HEADER) && evb_buf_add(out, body, size);
}

/* ---- reading ---- */

/* The file as it is read, a piece at a time. */
typedef struct {
    evb_schedule_log *log;
    uint64_t end;
    uint64_t from; /* of the piece */
    evb_buf piece;
    bool failed; /* errno says why */
} reader;

/* The bytes at..at + size of the file, or NULL: they are not there, or cannot be read. */
static uint8_t *look(reader *r, uint64_t at, size_t size) {
    if (r->failed || at > r->end || size > r->end - at)
        return NULL;
    if (at >= r->from && at + size <= r->from + r->piece.size)
        return r->piece.data + (at - r->from);
    size_t want = size > WINDOW ? size : WINDOW;
    want = want > r->end - at ? (size_t)(r->end - at) : want;
    r->piece.size = 0;
    r->failed = !evb_buf_reserve(&r->piece, want) ||
                evb_io_read_all(r->log->io, r->log->fd, r->piece.data, want, (off_t)at) != 0;
    if (r->failed)
        return NULL;
    r->from = at;
    r->piece.size = want;
    return r->piece.data;
}

/* The body of the frame at `at`, and its size; NULL: there is no whole one. */
static uint8_t *frame_at(reader *r, uint64_t at, size_t *size) {
    const uint8_t *h = look(r, at, HEADER);
    if (!h || memcmp(h, MAGIC, sizeof MAGIC) != 0)
        return NULL;
    *size = evb_get32(h + 4);
    uint64_t sum = evb_get64(h + 8);
    uint8_t *body = look(r, at + HEADER, *size);
    return body && XXH3_64bits(body, *size) == sum ? body : NULL;
}

/* Whether no whole frame begins behind `at`: then what is there is an unfinished write. */
static bool is_torn(reader *r, uint64_t at) {
    size_t size;
    for (at++; at + HEADER <= r->end && !r->failed; at++)
        if (frame_at(r, at, &size))
            return false;
    return !r->failed;
}

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
    reader r = {.log = self, .end = end < 0 ? 0 : (uint64_t)end, .failed = end < 0};
    uint8_t *body;
    size_t size;
    bool understood = true;
    while (understood && self->size < r.end && (body = frame_at(&r, self->size, &size))) {
        understood = each(context, self->size + HEADER, body, size);
        self->size += understood ? HEADER + size : 0;
    }
    bool torn = understood && self->size < r.end && is_torn(&r, self->size);
    evb_buf_free(&r.piece);
    if (r.failed)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", NAME);
    if (self->size == r.end)
        return 0;
    return torn ? cut_torn(self, r.end, err) : fail_damaged(self, err);
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
    drop_rewrite(*self);
    if ((*self)->fd >= 0)
        (*self)->io->close((*self)->io, (*self)->fd);
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
    rc = add_frame(&frame, body, size) ? write_frame(self, &frame, err)
                                       : evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    evb_buf_free(&frame);
    if (rc)
        return rc;
    if (offset)
        *offset = self->size + HEADER;
    self->size += HEADER + size;
    self->dirty = true;
    return 0;
}

int evb_schedule_log_sync(evb_schedule_log *self, evb_error *err) {
    if (self->dirty && self->io->datasync(self->io, self->fd))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: fdatasync failed", NAME);
    self->dirty = false;
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
    if (!add_frame(&self->out, body, size))
        return fail_rewrite(self, EVB_ENOMEM, ENOMEM, err);
    if (offset)
        *offset = self->new_size + HEADER;
    self->new_size += HEADER + size;
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
    self->size = self->new_size;
    self->new_fd = -1;
    self->dirty = false;
    evb_buf_free(&self->out);
    if (self->io->sync_dir(self->io))
        return evb_fail_errno(err, EVB_EIO, errno, "%s: cannot sync its directory", NAME);
    return 0;
}
