/* frames.h: the frames of which groups.log and scheduled.log are made.
 *
 *   0  4  magic: EVG2 in groups.log, EVS2 in scheduled.log
 *   4  4  bytes of the body
 *   8  8  when the frame was written, all bytes of the file below this one were on disk; UINT64_MAX: the file got its
 *         name only when all of the frame was
 *  16  8  XXH3-64 (seed 0) of bytes 0..15 and the body
 *  24     the body; of 0 bytes in a frame that only says what is on disk, written when the hub ends
 *
 * All integers are big-endian. Files of before November 2026 have frames EVBG and EVBS, which are read too: magic, bytes of
 * the body, XXH3-64 of the body alone. To change it: another magic, and readers keep the old ones. */
#ifndef EVB_FRAMES_H
#define EVB_FRAMES_H

#include "base/buf.h"
#include "base/error.h"
#include "journal/io.h"

enum { EVB_FRAME_HEADER = 24 };
#define EVB_FRAME_SAFE UINT64_MAX

typedef struct {
    char magic[5], old[5];
} evb_frame_kind;

/* Appends a frame to *out. False when memory is short. */
bool evb_frame_add(evb_buf *out, const evb_frame_kind *kind, uint64_t synced, const uint8_t *body, size_t size);

/* A file as it is read, a piece at a time; a value. piece is freed with evb_buf_free. */
typedef struct {
    evb_io *io;
    int fd;
    const evb_frame_kind *kind;
    uint64_t end;
    uint64_t from; /* of the piece */
    evb_buf piece;
    bool failed; /* errno says why */
} evb_frame_reader;

typedef struct {
    uint8_t *body; /* until the next call */
    size_t size;
    size_t header; /* its bytes */
    uint64_t synced;
} evb_frame;

/* The frame at this place of the file. False: there is no whole one, or it cannot be read (failed). */
bool evb_frame_at(evb_frame_reader *r, uint64_t at, evb_frame *out);

/* Whether the bad frame at this place, and all behind it, can be what a hub or a machine that went down was writing: no
 * whole frame behind it says that it was on disk before. False also where it cannot be read (failed). */
bool evb_frame_torn(evb_frame_reader *r, uint64_t at);

/* Looks through a whole file, changing nothing, also while a hub is writing it. first_safe: it got its name only when its
 * first frame was on disk. 0: it is whole, but for what may be a torn end, or not there; EVB_EDAMAGED and *at, where the
 * damage begins; EVB_EIO. */
int evb_frames_verify(evb_io *io, const char *name, const evb_frame_kind *kind, bool first_safe, uint64_t *at,
                      evb_error *err);

#endif
