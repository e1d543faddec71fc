/* check.h: what an event's headers and id may be. Pure. */
#ifndef EVB_CHECK_H
#define EVB_CHECK_H

#include "evbus.h"

/* Looks at the headers and the id, and adds the bytes that they take in a batch to *size. 0; EVB_EDATA and what is wrong. */
int evb_headers_check(const evb_event *event, size_t *size, evb_error *err);

#endif
