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

#endif
