/* schedule_log.h: the file scheduled.log, beside the journal: the events that are to be published later, and what has
 * become of them.
 *
 * A file of frames (frames.h), whose bodies only their writer understands (schedule_state.c). Made with the first
 * frame. Every call may block for the disk. */
#ifndef EVB_SCHEDULE_LOG_H
#define EVB_SCHEDULE_LOG_H

#include "base/buf.h"
#include "base/log.h"
#include "journal/io.h"

typedef struct evb_schedule_log evb_schedule_log;

/* Takes one frame's body, which begins at `offset` of the file; false: it is not understood. */
typedef bool evb_schedule_log_fn(void *context, uint64_t offset, uint8_t *body, size_t size);

/* Opens it, if it is there, and reads it through `each`. A torn end is cut off, which is said on log. io is borrowed.
 * NULL and *err: EVB_EDAMAGED naming the place: events from there on cannot be read; EVB_EIO, EVB_ENOMEM. */
evb_schedule_log *evb_schedule_log_new(evb_io *io, evb_log log, evb_schedule_log_fn *each, void *context,
                                       evb_error *err);
void evb_schedule_log_destroy(evb_schedule_log **self);

/* Looks whether the file is whole, as evb_frames_verify; says damage, and what it means, on log. */
int evb_schedule_log_verify(evb_io *io, evb_log log, evb_error *err);

/* Whether there is no file yet. */
bool evb_schedule_log_is_new(const evb_schedule_log *self);

/* Bytes of the file. */
uint64_t evb_schedule_log_size(const evb_schedule_log *self);

/* Appends a frame; its body begins at *offset. EVB_ESTORE, EVB_ENOMEM: nothing has changed; EVB_EIO: end the hub. */
int evb_schedule_log_append(evb_schedule_log *self, const uint8_t *body, size_t size, uint64_t *offset,
                            evb_error *err);

/* Reads `size` bytes at `offset` to the end of *out. EVB_EIO, EVB_ENOMEM. */
int evb_schedule_log_read(evb_schedule_log *self, uint64_t offset, size_t size, evb_buf *out, evb_error *err);

/* Makes safe what was appended, if anything was since; any error is final, as the journal's. EVB_EIO. */
int evb_schedule_log_sync(evb_schedule_log *self, evb_error *err);
bool evb_schedule_log_is_dirty(const evb_schedule_log *self);

/* Writing it anew: begin, add frames, then end, which puts the new file in its place, safely. Reading goes on from the
 * old one until then. After an error (EVB_ESTORE, EVB_ENOMEM) the old one stays and the rewrite is over; EVB_EIO from
 * end: which of the two is there is not known, end the hub. */
int evb_schedule_log_rewrite(evb_schedule_log *self, evb_error *err);
int evb_schedule_log_rewrite_add(evb_schedule_log *self, const uint8_t *body, size_t size, uint64_t *offset,
                                 evb_error *err);
int evb_schedule_log_rewrite_end(evb_schedule_log *self, evb_error *err);

#endif
