/* position.h: where a reader starts, as people write it (evsub --from). */
#ifndef EVB_POSITION_H
#define EVB_POSITION_H

#include "evbus.h"

/* Reads all of `text`, NUL-terminated:
 *   first, last, now
 *   12                      a seq
 *   -12                     the newest 12 that match
 *   10m, 1h30m, 2d [ago]    that long before now_ns
 *   @1795341600[.5]         seconds since the epoch
 *   2026-11-23              a date; T or a blank and a time may follow: 10:30, 10:30:05, 10:30:05.25; then Z, +01:00,
 *                           +0100, or nothing for local time, as TZ says
 *   10:30                   a time of today, local; an hour may have one digit
 *   today, yesterday, tomorrow  their first instant, local; a time may follow: yesterday 10:30
 * 0, or EVB_EINVAL and *err naming the text. Pure but for the local time zone (tzset(3)). */
int evb_position_parse(const char *text, int64_t now_ns, evb_from *from, uint64_t *value, evb_error *err);

#endif
