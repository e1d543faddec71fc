/* cause.h: why an event was made: headers that name the event that it was made for.
 *
 *   cause        the seq of the event (or the command) that was being handled
 *   correlation  the same for all that came of one first event: its own seq, unless it has such a header already
 *   depth        how many causes there are before it: 1 for what came of a first event
 *
 * A command that is run for an event has the three in its environment (EVBUS_CAUSE, EVBUS_CORRELATION, EVBUS_DEPTH),
 * as they are to be for what it publishes. An event deeper than EVB_DEPTH_MAX is not made: it is most likely a loop. */
#ifndef EVB_CAUSE_H
#define EVB_CAUSE_H

#include "evbus.h"

enum { EVB_DEPTH_MAX = 32, EVB_CAUSE_HEADERS = 3 };

typedef struct {
    char cause[24], depth[12], correlation[128]; /* NUL-terminated; cause empty: there is none */
} evb_cause;

/* What events made for this one are to carry. */
void evb_cause_of(const evb_event *event, evb_cause *out);

/* The same from an environment's three values, each of which may be NULL. EVB_EDATA where they are no such thing. */
int evb_cause_read(const char *cause, const char *correlation, const char *depth, evb_cause *out, evb_error *err);

/* Whether it is deeper than may be. */
bool evb_cause_too_deep(const evb_cause *cause);

/* Adds the headers that the event does not have yet. headers has room for `count` and EVB_CAUSE_HEADERS more; borrows the
 * cause's text. Returns how many there are then. */
size_t evb_cause_add(const evb_cause *cause, evb_header *headers, size_t count);

#endif
