/* check.h: what an event's headers and id may be. Pure. */
#ifndef EVB_CHECK_H
#define EVB_CHECK_H

#include "evbus.h"

/* The first of the headers with this name, or NULL. */
const evb_header *evb_header_named(const evb_header *headers, size_t count, const char *name, size_t size);

/* Looks at the headers and the id, and adds the bytes that they take in a batch to *size. 0; EVB_EDATA and what is wrong,
 * as that a name is there twice: what prints headers as an object could say but one of them. */
int evb_headers_check(const evb_event *event, size_t *size, evb_error *err);

#endif
