/* cursor.h: a cursor file: the next seq that its reader wants, a decimal number and a newline. */
#ifndef EVB_CURSOR_H
#define EVB_CURSOR_H

#include "evbus.h"

/* Reads it: 0 and *seq, *found true; 0 and *found false where there is no such file; EVB_EDATA for what is not a cursor;
 * EVB_EPERM, EVB_EIO. */
int evb_cursor_read(const char *path, uint64_t *seq, bool *found, evb_error *err);

/* Writes it so that after a crash at any time either the old or the new one is there, and makes the directories that it
 * wants (mode 0700). Blocks on the disk. EVB_EPERM, EVB_EIO, EVB_EINVAL for a path that is too long. */
int evb_cursor_write(const char *path, uint64_t seq, evb_error *err);

#endif
