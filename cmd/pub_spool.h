/* pub_spool.h: evpub --spool: what is published goes to the hub or, from where there is none, to the spool. */
#ifndef EVB_PUB_SPOOL_H
#define EVB_PUB_SPOOL_H

#include "evbus.h"
#include "spool/spool.h"

/* A value; zero: no spool, and everything here does as if it were not there. */
typedef struct {
    evb_spool *spool;
    bool on;        /* the hub is not there: events go to the spool */
    bool whole;     /* all of them or none */
    uint64_t added; /* events that went there */
    uint64_t kept;  /* of those, that are on disk */
    evb_error why;  /* why it is on */
    evb_spool_delivery delivery;
    int64_t retry_ns; /* monotonic: when the hub is tried again, while it is on */
    uint64_t back;    /* events of ours that were kept and then delivered, and stored by publishers before */
} pub_spool;

/* Opens the spool and delivers what waits; where that cannot be done now, it is on. Other errors as evb_spool_deliver. */
int pub_spool_begin(pub_spool *self, const char *url, evb_bus *bus, bool whole, evb_error *err);

/* Publishes the event: as evb_pub_add, or evb_spool_add, with a commit now and then. */
int pub_spool_add(pub_spool *self, evb_pub *pub, const evb_event *event, evb_error *err);

/* Takes an error of the publisher's: where the spool is for it, what is not acknowledged goes there, and it is on, and 0.
 * Else, also for 0, the code. */
int pub_spool_fall_back(pub_spool *self, evb_pub *pub, int code, evb_error *err);

/* Puts what was added on disk. Errors as evb_spool_commit. */
int pub_spool_commit(pub_spool *self, evb_error *err);

/* While it is on: tries the hub again when that is due, which may block for the bus's timeout. Where it is back, and all is
 * delivered, it is off, and *pub is a new publisher. Errors as pub_spool_begin. */
int pub_spool_retry(pub_spool *self, evb_bus *bus, evb_pub **pub, const evb_pub_options *options, evb_error *err);

/* How long a wait for input may last: until then, or without end (-1). */
int64_t pub_spool_wait_ns(const pub_spool *self);

/* A commit at the end; what another process was delivering meanwhile goes with it, or is delivered now. */
int pub_spool_end(pub_spool *self, evb_bus *bus, evb_error *err);

/* evpub --spool without events: delivers, and says so. The exit code's evb_err. */
int pub_spool_only(pub_spool *self, const char *url, evb_bus *bus, evb_error *err);

#endif
