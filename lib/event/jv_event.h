/* jv_event.h: an event as a value of libjq's, for expressions: the object that evb_json_add_event writes, and `data`, what
 * the payload says where it is JSON.
 *
 *   {"seq":7,"version":1,"time":"2026-11-23T10:00:00.123456789Z","topic":"order.1","id":"…","headers":{},
 *    "payload":"{\"sum\":3}","data":{"sum":3}}
 *
 * Numbers are doubles in libjq: exact up to 2^53. Not in libevbus.so; who uses it links with -ljq. */
#ifndef EVB_JV_EVENT_H
#define EVB_JV_EVENT_H

#include <jv.h>

#include "evbus.h"

/* The members. "live" is there only where it is true, "payload_base64" in place of "payload" where that is not UTF-8. */
typedef enum {
    EVB_MEMBER_SEQ,
    EVB_MEMBER_VERSION,
    EVB_MEMBER_TIME,
    EVB_MEMBER_LIVE,
    EVB_MEMBER_TOPIC,
    EVB_MEMBER_ID,
    EVB_MEMBER_HEADERS,
    EVB_MEMBER_PAYLOAD,
    EVB_MEMBER_PAYLOAD_BASE64,
    EVB_MEMBER_DATA
} evb_member;

enum { EVB_MEMBER_COUNT = EVB_MEMBER_DATA + 1, EVB_MEMBERS_ALL = (1 << EVB_MEMBER_COUNT) - 1 };

extern const char *const evb_member_names[EVB_MEMBER_COUNT];

typedef struct evb_jv_events evb_jv_events; /* makes them, one after the other */

/* members: a bit (1 << member) for each one that is wanted; the others are left out. NULL when memory is short. */
evb_jv_events *evb_jv_events_new(uint32_t members);
void evb_jv_events_destroy(evb_jv_events **self);

/* The event's value, the caller's to free. */
jv evb_jv_events_make(evb_jv_events *self, const evb_event *event);

#endif
