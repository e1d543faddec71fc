/* ask.h: one request to the hub, and its answer, for programs that look after a hub. Blocks up to the bus's timeout. */
#ifndef EVB_ASK_H
#define EVB_ASK_H

#include "base/buf.h"
#include "evbus.h"
#include "event/mp.h"

/* Asks `op` with `count` arguments, packed in args (which may be NULL for none). The answer's results, msgpack objects
 * one behind the other, go to *results, emptied before; its second frame, if it has one and body is not NULL, to *body.
 * 0, or what the hub refused it with; EVB_ENOHUB, EVB_ETIMEDOUT, EVB_ENOMEM. */
int evb_ask(evb_bus *bus, const char *op, uint32_t count, const evb_buf *args, evb_buf *results, evb_buf *body,
            evb_error *err);

/* The same of a request with a body of `size` bytes, 1 or more, which are copied. */
int evb_ask_with(evb_bus *bus, const char *op, uint32_t count, const evb_buf *args, const void *data, size_t size,
                 evb_buf *results, evb_error *err);

/* Where a reader of these patterns (borrowed; none: everything) would begin: a seq from 1 to the head + 1. Blocks as
 * evb_ask. EVB_EINVAL for EVB_FROM_LAST_PER_TOPIC, which is no one place; else errors as evb_ask. */
int evb_ask_place(evb_bus *bus, evb_from from, uint64_t value, const char *const *patterns, size_t count,
                  uint64_t *seq, evb_error *err);

#endif
