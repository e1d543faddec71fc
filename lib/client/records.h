/* records.h: records as they are, to and from a hub: what exports and imports are made of. Not in the public API.
 *
 * Needs evb_bus of bus.c; blocking calls block up to the bus's timeout. */
#ifndef EVB_RECORDS_H
#define EVB_RECORDS_H

#include "evbus.h"
#include "event/record.h"
#include "event/topic.h"

/* Appends to *out whole records that hold seqs in from..to and match (NULL: everything), about 1 MiB of them at most;
 * *next is where to go on, > to when that is all. lenient: pass over what is gone. EVB_EGONE, EVB_EDAMAGED, EVB_ENOHUB,
 * EVB_ETIMEDOUT, EVB_ENOMEM. */
int evb_records_fetch(evb_bus *bus, uint64_t from, uint64_t to, const evb_patterns *patterns, bool lenient,
                      evb_buf *out, uint64_t *next, evb_error *err);

/* The number of the last batch that the hub took from a producer; 0: it knows none. Errors as above. */
int evb_records_producer(evb_bus *bus, const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t *last, evb_error *err);

/* Makes a new publisher, to which nothing was added yet, go on as this producer behind its batch `last`. */
void evb_pub_resume(evb_pub *pub, const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t last);

/* Adds a record's events as one batch of their own. Errors as evb_pub_add; not for an atomic publisher. */
int evb_pub_add_record(evb_pub *pub, const evb_record *rec, evb_error *err);

/* The number of the last batch that the hub has acknowledged. */
uint64_t evb_pub_acked(const evb_pub *pub);

/* Gives fn each batch that was added and not acknowledged, in order, with the time (wall clock) when its frame was begun,
 * until fn returns something else than 0, which it then returns. */
typedef int evb_record_fn(void *context, const evb_record *rec, int64_t begun_ns, evb_error *err);
int evb_pub_each_pending(const evb_pub *pub, evb_record_fn *fn, void *context, evb_error *err);

#endif
