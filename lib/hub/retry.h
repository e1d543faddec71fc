/* retry.h: a dead letter that somebody has edited: an event on the topic $retry.GROUP that only this group gets, and
 * whose header retry-topic is the topic that its members see. */
#ifndef EVB_RETRY_H
#define EVB_RETRY_H

#include "event/record.h"

/* Whether it is such a topic. */
bool evb_retry_is(const char *topic, size_t size);

/* The topic of a record as a group's members see it, in .value, which lies in the record. */
evb_header evb_retry_topic(const evb_record *rec);

#endif
