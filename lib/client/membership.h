/* membership.h: a subscription's share in a group: takes events from the hub, and tells it what became of them.
 *
 * The subscription owns it, and brings it what comes by the feed; it fails the subscription when it cannot go on. */
#ifndef EVB_MEMBERSHIP_H
#define EVB_MEMBERSHIP_H

#include "client/client_private.h"
#include "event/topic.h"

typedef struct evb_membership evb_membership;

/* Copies the options. patterns is borrowed. NULL and *err: EVB_EINVAL, EVB_ENOMEM. */
evb_membership *evb_membership_new(evb_sub *sub, const evb_group_options *options, const evb_patterns *patterns,
                                   evb_error *err);
void evb_membership_destroy(evb_membership **self);

/* The feed has welcomed us under this token: joins, at `start` if the group is new (0: from now). */
void evb_membership_join(evb_membership *self, const char *token, uint64_t start);

/* The feed is gone: nothing more is asked for until the next join. What is here already is still handed on. */
void evb_membership_part(evb_membership *self);

/* There may be events now. */
void evb_membership_poke(evb_membership *self);

/* Sends what is to be sent. */
void evb_membership_step(evb_membership *self);

/* When it is to be stepped though nothing comes; INT64_MAX: no need. */
int64_t evb_membership_deadline(const evb_membership *self);

/* The next event. False: none is here. */
bool evb_membership_next(evb_membership *self, evb_event *event);
bool evb_membership_ready(const evb_membership *self);

/* Whether all that stood in the journal at the join, or was handed out, is acknowledged, by whomever. */
bool evb_membership_is_done(const evb_membership *self);

/* What became of an event (NULL: of each one handed on so far); false: it is not in our hand, or memory is short.
 * attempt: for the hub to keep, or NULL. */
bool evb_membership_ack(evb_membership *self, const evb_event *event);
bool evb_membership_nack(evb_membership *self, const evb_event *event, int64_t delay_ns, bool final,
                         const char *reason, const evb_attempt *attempt);

/* Where it joins again, the group's patterns and settings stay as they are. */
void evb_membership_yield(evb_membership *self);

/* Leaves as soon as it can be said; left says whether it was. */
void evb_membership_leave(evb_membership *self);
bool evb_membership_is_leaving(const evb_membership *self);
bool evb_membership_left(const evb_membership *self);

/* How many events the hub has not been told of, or has not answered. */
uint64_t evb_membership_untold(const evb_membership *self);

#endif
