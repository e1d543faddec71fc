/* hub.h: what the hub decides, given requests and a clock. No sockets, and no files but the journal's.
 *
 * A round: the net layer hands over the requests that are there (evb_hub_request), then asks for what is to be done
 * (evb_hub_commit): nothing of a round is answered or fanned out before the round's one sync. The wire is written
 * down in evbus-protocol(7). */
#ifndef EVB_HUB_H
#define EVB_HUB_H

#include "base/buf.h"
#include "base/log.h"
#include "event/topic.h"
#include "journal/journal.h"

typedef struct evb_hub evb_hub;

typedef enum { EVB_SYNC_ALWAYS, EVB_SYNC_LATER, EVB_SYNC_NONE } evb_sync;

typedef struct {
    evb_sync sync;
    int64_t sync_ns;          /* EVB_SYNC_LATER: sync within this time of a write */
    const evb_patterns *live; /* topics never stored; borrowed; NULL: none */
    size_t max_payload;
    int64_t pid;
    const char *dir; /* where the journal is, for who asks; borrowed; NULL: in memory */
    evb_log log;
} evb_hub_options;

typedef enum { EVB_ACTION_NONE, EVB_ACTION_REPLY, EVB_ACTION_FEED, EVB_ACTION_POKE } evb_action_kind;

typedef struct {
    evb_action_kind kind;
    /* reply: to the peer of one request, whose head (and body, if it has one) the taker owns */
    void *peer;
    evb_buf head, body;
    bool has_body;
    bool early;  /* it says nothing of what this round stores, and need not wait for it to be safe */
    bool firm;   /* it says that a group's state is safe */
    uint64_t id; /* of the request, where firm */
    /* poke: head is the topic of an empty frame, as for a beat */
    /* feed: a frame within the body of a request of this round, or within memory of the hub's own; its batch, for the
     * mark; its last seq (0: live) */
    uint8_t *frame;
    size_t frame_size;
    uint8_t *batch;
    uint64_t last;
} evb_action;

/* Reads the groups, too. The journal is borrowed. NULL and *err: EVB_ENOMEM; EVB_EIO, EVB_ESTORE for groups.log. */
evb_hub *evb_hub_new(evb_journal *journal, const evb_hub_options *options, int64_t monotonic_ns, evb_error *err);
void evb_hub_destroy(evb_hub **self);

/* A request's peer may be kept beyond its round; drop is called by evb_hub_destroy for those that are owed a reply. */
void evb_hub_on_drop(evb_hub *self, void (*drop)(void *peer));

/* Takes new options from now on. */
void evb_hub_configure(evb_hub *self, const evb_hub_options *options);

/* Who sent a request, as the kernel says of an ipc connection; -1: not known. */
typedef struct {
    int64_t pid, uid;
} evb_origin;

/* Takes one request. head is its first frame; body its second, which stays in place, and is written to, until the
 * round's actions are done; body_size 0: none. peer comes back with the one reply that each request gets.
 * 0, or an error that ends the hub: EVB_EIO, EVB_ENOMEM. */
int evb_hub_request(evb_hub *self, void *peer, evb_origin origin, const uint8_t *head, size_t head_size,
                    uint8_t *body, size_t body_size, int64_t now_ns, int64_t monotonic_ns, evb_error *err);

/* A feed connection has asked for a welcome with this token; it is gone; all are gone. Between rounds only. */
void evb_hub_came(evb_hub *self, const char *token, size_t size, evb_origin origin, int64_t now_ns);
void evb_hub_left(evb_hub *self, const char *token, size_t size);
void evb_hub_left_all(evb_hub *self);

/* Before the round's end, while a sync is due: its actions so far, of which the early replies may be sent; such a one is
 * then made an EVB_ACTION_NONE. */
size_t evb_hub_early(evb_hub *self, evb_action **actions);

/* Bytes of events in this round's replies: who lets more requests in bounds them. */
size_t evb_hub_answered(const evb_hub *self);

/* How many bytes fetches may bring beyond EVB_FETCH_DEFAULT each, until it is said again; at first as many as they want. */
void evb_hub_set_spare(evb_hub *self, size_t bytes);

/* Ends the round: makes what was stored safe as the sync mode says, and gives out the actions, to be done in order
 * before the next request; they are the hub's, their bufs the caller's. EVB_EIO: nothing may be answered, end. */
int evb_hub_commit(evb_hub *self, int64_t monotonic_ns, evb_action **actions, size_t *count, evb_error *err);

/* When evb_hub_tick wants to be called next (monotonic; INT64_MAX: no need), and the call, which begins a round: commit
 * follows. EVB_EIO, EVB_ENOMEM: the hub's end. */
int64_t evb_hub_deadline(const evb_hub *self);
int evb_hub_tick(evb_hub *self, int64_t monotonic_ns, evb_error *err);

/* The empty frame of `topic` that says how far the feed has come: the beat, or an answer to a subscriber's welcome.
 * Between rounds only. False: out of memory. */
bool evb_hub_beat(const evb_hub *self, const char *topic, size_t topic_size, uint64_t mark, int64_t now_ns,
                  evb_buf *out);

#endif
