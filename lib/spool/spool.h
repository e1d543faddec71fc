/* spool.h: publishing that stands even when there is no hub: events wait in a file and are delivered later, once, in order.
 *
 * A spool is one file for each hub's URL, for all programs of a user. Who publishes through it delivers first what waits
 * there, then its own; what the hub does not take now goes behind what waits. Many processes may use a file at once.
 * An event from a spool has the header "time", when it was made (RFC 3339), since the hub's time is that of its arrival;
 * one that has such a header keeps it.
 * Blocking calls block on the disk and, where they take a bus, up to its timeout. One thread. */
#ifndef EVB_SPOOL_H
#define EVB_SPOOL_H

#include "base/paths.h"
#include "evbus.h"

enum { EVB_SPOOL_MOST = 64 * 1024 * 1024 }; /* bytes that a file may grow to */

#define EVB_SPOOL_TIME "time" /* the header */

typedef struct evb_spool evb_spool;

/* Something that whoever looks after the machine is to know: damage, an event that the hub refused. One line, without a
 * newline, that begins with the file. */
typedef void evb_spool_note_fn(void *context, const char *text);

/* The spool of the hub at url (NUL-terminated): NAME in the directory that evb_paths_spool says. The caller's, to free(3).
 * NULL and *err: EVB_EINVAL where the environment does not say enough, EVB_ENOMEM. */
char *evb_spool_path(const evb_environment *env, const char *url, evb_error *err);

/* A spool in the file at path. Touches nothing yet. note may be NULL. NULL: EVB_ENOMEM. */
evb_spool *evb_spool_new(const char *path, evb_spool_note_fn *note, void *context, evb_error *err);

/* Closes it and sets *self to NULL. What was added and not committed is gone. *self may be NULL. */
void evb_spool_destroy(evb_spool **self);

/* The file, for messages; lives as long as the spool. */
const char *evb_spool_where(const evb_spool *self);

/* ---- one event: what evrun does ---- */

/* Delivers what waits, publishes the event and blocks until it is stored; where the hub does not take it now (EVB_ENOHUB,
 * EVB_ETIMEDOUT, EVB_ESTORE, or another process is delivering) it is on disk in the spool when this returns. Never both,
 * never twice. event->time_ns: when it was made; 0: now. *seq: where it is stored; 0: that is not known.
 * 0 and *kept: it waits in the spool, and *err says why (text is of the hub; code too). Else EVB_EDATA: it is not valid, or
 * larger than the hub takes; EVB_EPERM; or it is neither stored nor in the spool: EVB_ESTORE: the disk is full, or
 * the spool is; EVB_EIO, EVB_ENOMEM. */
int evb_spool_publish(evb_spool *self, evb_bus *bus, const evb_event *event, uint64_t *seq, bool *kept,
                      evb_error *err);

/* ---- its parts ---- */

/* Whether an event is to go to the spool after this error of the hub's: what evb_spool_publish does. */
bool evb_spool_keeps(int code);

/* Adds an event, in memory, behind those added before; event->time_ns as above. While `whole` is set (at first it is not)
 * what is added up to the next commit is one batch of one topic, delivered all or none.
 * EVB_EDATA, EVB_ESTORE when the spool would grow beyond EVB_SPOOL_MOST, EVB_ENOMEM; the event is then not added. */
int evb_spool_add(evb_spool *self, const evb_event *event, evb_error *err);
void evb_spool_whole(evb_spool *self, bool whole);

/* Adds what the publisher was given and the hub did not acknowledge, after it has failed with an error that is final. The
 * hub may have stored some of it: head is the hub's head before anything was given to the publisher, and a delivery finds
 * out. Errors as evb_spool_add. */
int evb_spool_add_pending(evb_spool *self, const evb_pub *pub, uint64_t head, evb_error *err);

/* How much was added and not committed yet, in bytes: commit now and then. */
size_t evb_spool_added(const evb_spool *self);

/* Puts what was added on disk: when it returns 0 it is safe; else none of it is there, and it is forgotten.
 * EVB_ESTORE: the disk or the spool is full; EVB_EPERM, EVB_EIO, EVB_ENOMEM. */
int evb_spool_commit(evb_spool *self, evb_error *err);

typedef struct {
    uint64_t delivered; /* events that were stored, or were found to be stored already */
    uint64_t refused;   /* that the hub will never take: they are in FILE.refused, which is of the same form */
    uint64_t damaged;   /* bytes that are no events any more: they are in FILE.damaged */
    uint64_t head;      /* of the hub, before anything was sent */
    size_t max_payload; /* of the hub */
} evb_spool_delivery;

/* Delivers what waits, and what others add meanwhile, until nothing waits. Also asks the hub for its head when nothing
 * does. *out (may be NULL) is filled in also where it fails. EVB_EBUSY naming the pid: another process is delivering; what
 * is committed by now goes with that. EVB_ENOHUB, EVB_ETIMEDOUT, EVB_ESTORE, EVB_EPERM of the hub: what is not delivered
 * still waits. EVB_EIO, EVB_ENOMEM. */
int evb_spool_deliver(evb_spool *self, evb_bus *bus, evb_spool_delivery *out, evb_error *err);

typedef struct {
    uint64_t events;   /* that wait; those of a delivery that was cut off count until it is gone on with */
    uint64_t bytes;    /* of the file */
    int64_t oldest_ns; /* when the first of them was made; 0: none */
    uint64_t refused;  /* events in FILE.refused */
} evb_spool_state;

/* What waits, without a hub, and without a change. EVB_EPERM, EVB_EIO, EVB_ENOMEM. */
int evb_spool_look(evb_spool *self, evb_spool_state *out, evb_error *err);

#endif
