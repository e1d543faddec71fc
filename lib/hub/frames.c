/* frames.c: frames built, read and judged.
 *
 * Several frames share a sync, and a machine that goes down in mid-sync may have put later ones on disk and not earlier
 * ones. So a whole frame behind a bad one proves damage only if it says that the bad one was safe before.
 * Leaves to others: what a body says, and what to do about damage (group_log.c, schedule_log.c). */
#include "hub/frames.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"

enum { MAGIC = 4, OLD_HEADER = 16, SUMMED = 16, WINDOW = 1 << 20 };

static uint64_t sum_of(const uint8_t *header, const uint8_t *body, size_t size) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, header, SUMMED);
    XXH3_64bits_update(&state, body, size);
    return XXH3_64bits_digest(&state);
}

bool evb_frame_add(evb_buf *out, const evb_frame_kind *kind, uint64_t synced, const uint8_t *body, size_t size) {
    uint8_t h[EVB_FRAME_HEADER];
    memcpy(h, kind->magic, MAGIC);
    evb_put32(h + 4, (uint32_t)size);
    evb_put64(h + 8, synced);
    evb_put64(h + 16, sum_of(h, body, size));
    size_t start = out->size;
    if (evb_buf_add(out, h, sizeof h) && evb_buf_add(out, body, size))
        return true;
    out->size = start;
    return false;
}

/* The bytes at..at + size of the file, or NULL: they are not there, or cannot be read. */
static uint8_t *look(evb_frame_reader *r, uint64_t at, size_t size) {
    if (r->failed || at > r->end || size > r->end - at)
        return NULL;
    if (at >= r->from && at + size <= r->from + r->piece.size)
        return r->piece.data + (at - r->from);
    size_t want = size > WINDOW ? size : WINDOW;
    want = want > r->end - at ? (size_t)(r->end - at) : want;
    r->piece.size = 0;
    r->failed =
        !evb_buf_reserve(&r->piece, want + 1) || evb_io_read_all(r->io, r->fd, r->piece.data, want, (off_t)at) != 0;
    if (r->failed)
        return NULL;
    r->from = at;
    r->piece.size = want;
    return r->piece.data;
}

bool evb_frame_at(evb_frame_reader *r, uint64_t at, evb_frame *out) {
    uint8_t *h = look(r, at, OLD_HEADER);
    bool old = h && memcmp(h, r->kind->old, MAGIC) == 0;
    if (!h || (!old && memcmp(h, r->kind->magic, MAGIC) != 0))
        return false;
    out->size = evb_get32(h + 4);
    out->header = old ? OLD_HEADER : EVB_FRAME_HEADER;
    h = look(r, at, out->header + out->size);
    if (!h)
        return false;
    out->body = h + out->header;
    out->synced = old ? EVB_FRAME_SAFE : evb_get64(h + 8);
    uint64_t sum = old ? XXH3_64bits(out->body, out->size) : sum_of(h, out->body, out->size);
    return sum == evb_get64(h + out->header - 8);
}

bool evb_frame_torn(evb_frame_reader *r, uint64_t at) {
    evb_frame frame;
    for (uint64_t next = at + 1; next + OLD_HEADER <= r->end && !r->failed;) {
        bool whole = evb_frame_at(r, next, &frame);
        if (whole && frame.synced > at)
            return false;
        next += whole ? frame.header + frame.size : 1;
    }
    return !r->failed;
}

int evb_frames_verify(evb_io *io, const char *name, const evb_frame_kind *kind, bool first_safe, uint64_t *at,
                      evb_error *err) {
    evb_frame frame;
    int fd = io->open(io, name, false);
    if (fd < 0)
        return errno == ENOENT ? 0 : evb_fail_errno(err, EVB_EIO, errno, "%s", name);
    off_t end = io->size(io, fd);
    evb_frame_reader r = {.io = io, .fd = fd, .kind = kind, .end = end < 0 ? 0 : (uint64_t)end, .failed = end < 0};
    *at = 0;
    while (*at < r.end && evb_frame_at(&r, *at, &frame))
        *at += frame.header + frame.size;
    bool whole = *at == r.end || ((*at || !first_safe) && evb_frame_torn(&r, *at));
    int rc = r.failed ? evb_fail_errno(err, EVB_EIO, errno, "%s", name) : whole ? 0 : EVB_EDAMAGED;
    evb_buf_free(&r.piece);
    io->close(io, fd);
    return rc;
}
