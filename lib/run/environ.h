/* environ.h: what a command is told of an event in its environment.
 *
 *   EVBUS_TOPIC EVBUS_SEQ EVBUS_VERSION EVBUS_TIME EVBUS_ID EVBUS_DELIVERIES (in a group) EVBUS_REPLAY=1 (a replay)
 *   EVBUS_H_NAME for each header: its name in capitals, what is not A-Z, 0-9 or _ as _; the last one of a name counts
 *   EVBUS_CAUSE EVBUS_CORRELATION EVBUS_DEPTH what evpub makes headers of: see event/cause.h */
#ifndef EVB_ENVIRON_H
#define EVB_ENVIRON_H

#include "base/buf.h"
#include "evbus.h"

typedef struct {
    evb_buf text;     /* the strings, one behind the other */
    evb_buf pointers; /* const char *, ended by NULL */
} evb_environ;

/* Makes the environment of `base` (NAME=VALUE, ended by NULL, borrowed) without its EVBUS_* of another event, and of
 * the event (NULL: only base). NUL in a value ends it. Valid until the next call with this *self. NULL: out of memory. */
const char *const *evb_environ_make(evb_environ *self, const char *const *base, const evb_event *event);
void evb_environ_free(evb_environ *self);

#endif
