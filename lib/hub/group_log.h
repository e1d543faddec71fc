/* group_log.h: the file groups.log, beside the journal: what the groups have done since a snapshot that it begins with.
 *
 * A file of frames (frames.h), whose bodies only their writer understands. A frame is written in one piece, so that a
 * killed hub loses none, and is on disk within a second of it; a torn end is cut off. */
#ifndef EVB_GROUP_LOG_H
#define EVB_GROUP_LOG_H

#include "base/buf.h"
#include "base/log.h"
#include "journal/io.h"

typedef struct evb_group_log evb_group_log;

/* Takes one frame's body; false: it is not understood. */
typedef bool evb_group_log_fn(void *context, const uint8_t *body, size_t size);

/* Opens or makes it and reads it through `each`. What is behind a damaged frame, or one that is not understood, is not
 * read, which is said on log, and *damaged set; the caller is to replace it, which keeps the old file under the name
 * groups.damaged (or groups.damaged.2…). io is borrowed. NULL and *err: EVB_EIO, EVB_ESTORE, EVB_ENOMEM. */
evb_group_log *evb_group_log_new(evb_io *io, evb_log log, evb_group_log_fn *each, void *context, bool *damaged,
                                 evb_error *err);
void evb_group_log_destroy(evb_group_log **self);

/* Looks whether the file is whole, as evb_frames_verify; says damage, and what it means, on log. */
int evb_group_log_verify(evb_io *io, evb_log log, evb_error *err);

/* Whether the file did not exist before. */
bool evb_group_log_is_new(const evb_group_log *self);

/* Appends a frame. False, said once on log: the disk is full or failing; the next replace makes up for it. */
bool evb_group_log_append(evb_group_log *self, const uint8_t *body, size_t size);

/* Whether it has grown so much, or was not written so, that a snapshot should take its place. */
bool evb_group_log_is_long(const evb_group_log *self);

/* Puts a file with just this frame in its place, safely. False as append. */
bool evb_group_log_replace(evb_group_log *self, const uint8_t *body, size_t size);

/* Whether something was not written that should have been. */
bool evb_group_log_is_behind(const evb_group_log *self);

/* Makes safe what was appended. False as append. Dirty: there is something to make safe. */
bool evb_group_log_sync(evb_group_log *self);
bool evb_group_log_is_dirty(const evb_group_log *self);

#endif
