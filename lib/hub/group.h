/* group.h: a group: readers who share one position, each event handed to one of them until it is acknowledged.
 *
 * Every matching event below `next` has been taken on: it is pending, or done. Groups are the hub's (groups.c makes
 * and finds them); what changes is noted for groups.log (group_state.h) in the same call. Times are monotonic. */
#ifndef EVB_GROUP_H
#define EVB_GROUP_H

#include "event/limits.h"
#include "event/topic.h"
#include "hub/hub.h"
#include "hub/pending.h"
#include "hub/reports.h"

enum { EVB_TOKEN_MAX = 64 };

typedef struct evb_group evb_group;
typedef struct evb_member evb_member;

typedef struct {
    int64_t ack_wait_ns;                 /* an event in hand for longer goes to another member */
    uint64_t max_deliver;                /* after so many deliveries an event becomes a dead letter */
    uint64_t max_pending;                /* events that one member may have in hand */
    bool ordered;                        /* at most one event of a topic in hand */
    int64_t backoff_ns[EVB_BACKOFF_MAX]; /* the wait before the second delivery, the third…; the last goes on */
    uint32_t backoff_count;
    bool listener; /* it is evlisten's: a command for each event */
} evb_group_settings;

extern const evb_group_settings EVB_GROUP_DEFAULTS;

struct evb_member {
    TAILQ_ENTRY(evb_member) link;
    evb_holder holder;
    uint64_t lowest;  /* key of its lowest event in hand… */
    int64_t since_ns; /* …and since when it is that */
    bool fresh;       /* that was said in this round: it hears of it when the round is safe */
    bool hungry;      /* there was nothing for it: to be told when there is */
    uint64_t until;   /* to be told too when all up to this seq is done; 0: no */
    bool called;      /* to be told at the round's end */
    size_t token_size;
    char token[EVB_TOKEN_MAX];
};

/* A dead letter that nobody has dealt with yet. */
typedef struct {
    uint64_t seq; /* of the letter */
    uint64_t key; /* of the event that was given up on */
} evb_letter;

/* Old events to be handed out once more. */
typedef struct {
    uint64_t next, to; /* seqs; next > to: nothing to do */
    uint64_t rate;     /* events a second; 0: no bound */
    int64_t begun_ns;  /* when it began, or last had nothing to wait for */
    uint64_t handed;   /* since then */
} evb_group_replay;

struct evb_group {
    TAILQ_ENTRY(evb_group) link;
    uint64_t id; /* in groups.log */
    evb_patterns *patterns;
    evb_group_settings settings;
    bool paused;        /* nothing is handed out; what is in hand goes on */
    bool unsafe;        /* that it is there, its settings or paused may not be on disk */
    int64_t created_ns; /* since the epoch */
    uint64_t next, noted_next;
    evb_pending pending;
    TAILQ_HEAD(evb_member_list, evb_member) members;
    size_t hungry;                                  /* of them */
    uint64_t acked, redelivered, lost, noted_count; /* events, ever */
    evb_letter *letters;                            /* by seq */
    size_t letter_count, letter_room;
    bool drops_attempts; /* how the last one failed could not be kept */
    int64_t bury_due_ns; /* when to try again to store dead letters that could not be; INT64_MAX: there are none */
    evb_group_replay replay;
    evb_reports reports;
    size_t event_bytes;         /* of the journal's, for one event, as of the last read; 0: not known */
    char fault[EVB_REASON_MAX]; /* why it cannot go on; empty: it can */
    size_t name_size;
    char name[]; /* NUL-terminated */
};

/* NULL: out of memory. Takes the patterns over. */
evb_group *evb_group_new(const char *name, size_t size, evb_patterns *patterns);
void evb_group_destroy(evb_group **self);

/* Whether the group gets events of this topic: those of the hub ($…) only if a pattern names them. */
bool evb_group_wants(const evb_group *self, const char *topic, size_t size);

/* Everything up to this seq is done. */
uint64_t evb_group_floor(const evb_group *self);

/* The same, but 0 for as long as a replay hands events out once more. */
uint64_t evb_group_floor_of_all(const evb_group *self);

/* Cuts the pending entries so that none reaches over either end of first..last. False: out of memory. */
bool evb_group_carve(evb_group *self, uint64_t first, uint64_t last);

/* What one take hands out. */
typedef struct {
    uint64_t room; /* events wanted, still */
    size_t bytes;  /* records wanted, in all */
    evb_buf rows;  /* [key, count, deliveries, index] for each record */
    uint32_t row_count;
    evb_buf records;
    bool more; /* there may be more at once */
} evb_hand;

/* Hands events to a member. EVB_ENOMEM, or an error that ends the hub; what cannot be read stands in self->fault. */
int evb_group_take(evb_hub *hub, evb_group *self, evb_member *member, evb_hand *hand, int64_t now_ns, evb_error *err);

/* The events of these keys are done, whoever says so. False: out of memory. */
bool evb_group_ack(evb_hub *hub, evb_group *self, uint64_t first, uint64_t last);

/* A member could not handle an event: it goes out again after delay_ns (below 0: as backoff says), or, final or
 * delivered often enough, becomes a dead letter. Errors as take. */
int evb_group_fail(evb_hub *hub, evb_group *self, evb_member *member, uint64_t key, int64_t delay_ns, bool final,
                   const char *reason, int64_t now_ns, evb_error *err);

/* Takes back what a member has in hand, for others. `suspect`: its lowest event, the one it was at, counts as delivered
 * and waits for delay_ns (below 0: as backoff says); NULL: none does. Errors as take. */
int evb_group_release(evb_hub *hub, evb_group *self, evb_member *member, const char *suspect, int64_t delay_ns,
                      int64_t now_ns, evb_error *err);

/* After anything happened to what a member has in hand. */
void evb_member_refresh(evb_member *self, int64_t now_ns);

/* When the member's time is over; INT64_MAX: it has nothing in hand. */
int64_t evb_member_deadline(const evb_group *group, const evb_member *self);

#endif
