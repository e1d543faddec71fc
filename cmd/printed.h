/* printed.h: writes to stdout what a program has printed into a buffer. */
#ifndef EVB_PRINTED_H
#define EVB_PRINTED_H

#include "base/buf.h"

/* Writes all of *printed to stdout, which it waits for also where that is non-blocking, and empties it. *out_errno says
 * why nothing is written any more: EINTR when a signal (signals.h) ended it, EPIPE when the reader is gone; while it is
 * set, what is printed is dropped. */
void printed_flush(evb_buf *printed, int *out_errno);

#endif
