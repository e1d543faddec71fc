/* subscription.h: what a subscription tells programs beyond evbus.h. Not in the public API. */
#ifndef EVB_SUBSCRIPTION_H
#define EVB_SUBSCRIPTION_H

#include "evbus.h"

/* The hub's time, since the epoch, up to which every event that matches was handed on: none that is older will come, since
 * beats and events come in order. 0: nobody can tell for now: the feed is not there, or events that it has not brought are
 * being fetched, or handed on. Of a subscription in no group. */
int64_t evb_sub_complete_ns(const evb_sub *self);

/* In a group: from now on another may say what patterns and settings it has: where this one joins again, they stay as
 * they are. */
void evb_sub_yield(evb_sub *self);

#endif
