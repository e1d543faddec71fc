/* where.h: a condition on events, in jq's language: compiled once, asked for each event.
 *
 * `.` is the object of jv_event.h: .topic, .seq, .headers.kind, .payload, and .data, what the payload says where it is
 * JSON. It holds when its first value is neither false nor null; where the expression fails it does not hold. Not in
 * libevbus.so; who uses it links with -ljq. */
#ifndef EVB_WHERE_H
#define EVB_WHERE_H

#include "evbus.h"

typedef struct evb_where evb_where;

/* NULL and *err: EVB_EINVAL with jq's own message, EVB_ENOMEM. */
evb_where *evb_where_new(const char *text, evb_error *err);
void evb_where_destroy(evb_where **self);

/* Whether it holds. EVB_EDATA and *holds false: it failed for this event, and why. */
int evb_where_test(evb_where *self, const evb_event *event, bool *holds, evb_error *err);

/* The members (bits of jv_event.h's evb_member) that the expression can see: all, where that cannot be told from its
 * text. */
uint32_t evb_where_members(const char *text);

#endif
