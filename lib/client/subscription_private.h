/* subscription_private.h: a subscription, shared by subscription.c (replay, feed, gaps), fetch.c (pieces of
 * the journal), feed.c (the connection) and locate.c (where to start). */
#ifndef EVB_SUBSCRIPTION_PRIVATE_H
#define EVB_SUBSCRIPTION_PRIVATE_H

#include "base/table.h"
#include "client/client_private.h"
#include "client/membership.h"
#include "client/serving.h"
#include "event/record.h"
#include "event/topic.h"

typedef enum {
    SUB_LOCATE, /* asking the hub where the position is */
    SUB_PICK,   /* fetching each topic's last event */
    SUB_REPLAY, /* reading the journal towards its head, without the feed */
    SUB_JOIN,   /* the feed is being opened: waiting for its welcome */
    SUB_REPAIR, /* fetching what lies between what we have and the feed */
    SUB_LIVE,   /* taking frames from the feed */
    SUB_GROUP, /* a member of a group, or a handler: the feed only says when there is something, and that we are here */
    SUB_ENDED, /* until_head was reached */
    SUB_FAILED
} sub_state;

enum { SUB_PICKS = 32 };

/* A seq with which a topic ends, for LAST_PER_TOPIC and BACK. */
typedef struct {
    uint64_t *seqs;
    size_t count, room;
} seq_list;

struct evb_sub {
    evb_bus *bus;
    evb_driven driven;
    evb_sub_options options;
    evb_patterns *patterns;
    evb_patterns *excludes; /* or NULL */
    evb_membership *group;  /* or NULL */
    evb_serving *serving;   /* or NULL: it is there for this, and has no events */
    evb_note_fn *note;
    void *note_context;
    sub_state state;
    evb_error failed;

    uint64_t done; /* every matching event up to this seq was handed on, or is known not to exist */
    uint64_t head; /* of the hub, as last told: where until_head ends, where a repair ends */
    uint64_t most; /* the highest head ever told: a lower one is another journal's */
    uint64_t hub_first;
    int64_t hub_time_ns;
    uint64_t to; /* the last seq that is wanted; UINT64_MAX: no end is known yet */

    void (*then)(evb_sub *self); /* once the hub's status is there */

    /* where to start */
    seq_list tops;                /* topics' last seqs: picks in order, or a heap for BACK */
    evb_message picks[SUB_PICKS]; /* LAST_PER_TOPIC: answers not read yet; that for tops.seqs[i] at i % SUB_PICKS */
    size_t asked_picks, got_picks, read_picks;
    uint64_t want;             /* BACK: events still to be found */
    uint64_t looking;          /* BACK: the seq whose batch is being fetched */
    char after[EVB_TOPIC_MAX]; /* LAST_PER_TOPIC, BACK: where the next page of topics begins */
    size_t after_size;

    /* fetching */
    uint64_t fetch_next, fetch_to;   /* what is asked for next; fetch_to 0: the head */
    uint64_t told_gone;              /* all that is gone below this was said */
    uint64_t fetch_bytes;            /* how much is asked for at once */
    int64_t fetch_asked_ns;          /* when */
    bool fetching;                   /* an answer is owed */
    bool fetched_all;                /* no more is to be asked for */
    evb_message piece, ready;        /* records: being read, and waiting behind it */
    uint64_t piece_next, ready_next; /* `done` once they are read, plus 1 */
    size_t piece_at;

    /* the feed */
    evb_channel *feed;
    char token[33];         /* of the welcome: random, and in its last two digits how often it was asked for */
    unsigned asked;         /* for a welcome on this connection */
    int64_t asked_ns;       /* and when last */
    bool subscribed;        /* the first welcome has come */
    bool lost;              /* the connection was lost since then, and what was missed is not all here yet */
    bool caught_up;         /* the replay has reached the feed once */
    bool doubt;             /* something of the feed could not be read: no frame may be stepped over to */
    uint64_t repaired_from; /* a gap's first seq, while it is repaired; 0: a seam, not a gap */
    evb_message frame;      /* from the feed: being read, or held during a repair */
    bool frame_held;
    int64_t frame_ns; /* its time, since the epoch; of the last that could be read */
    int64_t heard_ns, grace_ns, retry_ns, backoff_ns;
    evb_table *live; /* topic to live_mark */

    /* what it tells of itself */
    char id[33], kind[16], group_name[132];
    int64_t hello_ns; /* when it is due again; 0: not yet */
    int64_t said_ns;  /* when it was said last */
    uint64_t handed, losses;
    uint64_t runs, failures; /* as evb_sub_report was told */
    int64_t last_error_ns;
    char last_error[256];
    bool reports, to_report; /* there is a report; the hub was not told yet */

    /* the batch being handed on */
    evb_record batch;
    bool in_batch, held;
    evb_mp cursor;
    uint32_t index;
    uint64_t only; /* PICK: only this seq of it; 0: all */
    evb_header headers[EVB_HEADER_ROOM];
};

/* The one place where the state changes. */
void evb_sub_set(evb_sub *self, sub_state state);

/* Whether events of this topic are wanted. */
bool evb_sub_wants(const evb_sub *self, const char *topic, size_t size);

/* Ends the subscription with an error. */
void evb_sub_fail(evb_sub *self, int code, const char *text);

/* The hub tells of its head. False, and the subscription has failed: it has another journal now. */
bool evb_sub_told(evb_sub *self, uint64_t head);

/* Tells the subscription's owner. */
void evb_sub_say(evb_sub *self, evb_note note, uint64_t value);

/* feed.c: opens the feed anew and asks for a welcome, under a new token; asks for another on this connection; whether
 * this frame is one of them; counts a live batch for its topic, and says what is missing before it. */
void evb_sub_open_feed(evb_sub *self);
bool evb_sub_ask_welcome(evb_sub *self);
bool evb_sub_is_my_welcome(const evb_sub *self, const evb_record *rec);
void evb_sub_count_live(evb_sub *self, const evb_record *rec);

/* We are a member of the group: for the first time, or again. */
void evb_sub_joined(evb_sub *self, bool first, uint64_t head);

/* Starts looking for the position; ends in SUB_PICK, SUB_REPLAY or SUB_JOIN, with `done` set. */
void evb_sub_locate(evb_sub *self);

/* Asks for the hub's first and head; calls then once they are set. */
void evb_sub_ask_status(evb_sub *self, void (*then)(evb_sub *self));

/* Tells the hub who we are and where, if it is time. */
void evb_sub_hello(evb_sub *self, int64_t now_ns);

/* Tells it now, if there is a report that it was not told yet and somebody to tell. */
void evb_sub_hello_last(evb_sub *self);

/* Asks for as many picks as may be under way. */
void evb_sub_ask_picks(evb_sub *self);

/* Makes the next pick the piece in hand. False: it is not there yet, or there are no more. */
bool evb_sub_take_pick(evb_sub *self);

/* Goes from the position to the replay, or to the feed. */
void evb_sub_start(evb_sub *self, uint64_t done);

#endif
