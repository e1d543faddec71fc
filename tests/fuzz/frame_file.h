/* frame_file.h: a hub that reads a file of frames (groups.log, scheduled.log) which somebody else has written. */
#ifndef EVB_FUZZ_FRAME_FILE_H
#define EVB_FUZZ_FRAME_FILE_H

#include "hub_world.h"

/* Writes the input as the file `name`, frames whose magic is `magic` and whose checksums hold, and bytes between them that
 * are none, beside a journal for it to speak of, and opens the hub, which must say something wherever it returns an
 * error. What it has made of the file it must be able to read again, and then without a word. 0, or the hub's error. */
int fuzz_frame_file(const char *name, const char *magic, const uint8_t *data, size_t size);

#endif
