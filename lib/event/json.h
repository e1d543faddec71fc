/* json.h: an event as a line of JSON (RFC 8259), as evsub -J prints it and evpub -J reads it.
 *
 *   {"seq":7,"version":1,"time":"2026-11-23T10:00:00.123456789Z","topic":"order.1","id":"…","headers":{"k":"v"},
 *    "payload":"text"}
 *
 * The payload stands as "payload", a string, where its bytes are UTF-8 (NUL is, and reads \u0000), else as
 * "payload_base64" (RFC 4648, section 4). An event that was never stored has "live":true and seq 0. */
#ifndef EVB_JSON_H
#define EVB_JSON_H

#include "base/buf.h"
#include "evbus.h"

/* Appends the event as one object without a newline, inside or behind. False when memory is short, *out then with a
 * part of it. */
bool evb_json_add_event(evb_buf *out, const evb_event *event);

/* Appends text as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. False when memory is short. */
bool evb_json_add_text(evb_buf *out, const void *text, size_t size);

/* Appends `plain` (,"name":) and the bytes as a string where they are UTF-8, else `base64` (,"name_base64":) and that. */
bool evb_json_add_bytes(evb_buf *out, const char *plain, const char *base64, const void *data, size_t size);

typedef struct evb_json evb_json; /* reads events, one after the other */

/* NULL when memory is short. */
evb_json *evb_json_new(void);
void evb_json_destroy(evb_json **self);

/* Reads one object of `size` bytes. "topic" must be there; payload is "payload", "payload_base64" or empty; "headers" and
 * "id" as they are there; "seq", "version", "time", "live" and what is not known are passed over. 0 and *event, whose
 * pointers live until the next call; EVB_EDATA and what is wrong; EVB_ENOMEM. Topic and headers are not checked
 * further: evb_pub_add does. */
int evb_json_read(evb_json *self, const char *text, size_t size, evb_event *event, evb_error *err);

#endif
