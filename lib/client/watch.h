/* watch.h: how a hub stands, looked at again and again without waiting: its status, topics, groups and clients.
 *
 * The watch asks from evb_watch_tick, takes in what is answered from evb_bus_wait, and never blocks. Of the topics it
 * asks for as many in each tick as the hub answers in a few ms, and goes on there in the next: with very many topics a
 * look at all takes some ticks, and costs the hub no more than with few. Rates are counted from one look to the next. */
#ifndef EVB_WATCH_H
#define EVB_WATCH_H

#include "evbus.h"
#include "event/topic.h"

enum { EVB_WATCH_HISTORY = 64 };

/* The newest EVB_WATCH_HISTORY rates, one for each tick; rates[at] is the newest, the oldest stands behind it. */
typedef struct {
    float rates[EVB_WATCH_HISTORY];
    unsigned at;
} evb_watch_history;

typedef struct {
    char *name; /* NUL-terminated */
    size_t size;
    uint64_t version, last, bytes;
    int64_t time_ns;            /* of its last event; 0: not known */
    double rate;                /* events a second */
    evb_watch_history *history; /* NULL: no event came while it was watched */
    int64_t seen_ns;            /* monotonic */
    uint64_t look;              /* the last one that has found it */
} evb_watch_topic;

typedef struct {
    char *name, *patterns, *stalled; /* stalled: why, or NULL */
    uint64_t members, lag, pending, in_hand, redelivered, acked, dead;
    double rate; /* acknowledged a second */
} evb_watch_group;

typedef struct {
    char *kind, *patterns, *group; /* group: or NULL */
    uint64_t pid, uid, position, lag, losses;
    bool has_uid;
    double rate;
    int64_t since_ns;
} evb_watch_client;

typedef struct {
    char *version, *sync; /* or NULL: not told */
    uint64_t pid, first, head, bytes, disk_free, disk_total, clients, rss;
    int64_t time_ns, uptime_ns; /* uptime_ns 0: not told */
    bool full;
    double rate; /* events a second */
    evb_watch_history history;
} evb_watch_status;

typedef struct evb_watch evb_watch;

/* Watches the hub of the bus (which must outlive it), of its topics those that match (borrowed; NULL: all).
 * NULL and *err: EVB_ENOMEM. */
evb_watch *evb_watch_new(evb_bus *bus, const evb_patterns *patterns, evb_error *err);
void evb_watch_destroy(evb_watch **self);

/* Begins a look, or goes on with it; to be called about once a second. What the last one still waits for is not asked
 * again. False: out of memory. */
bool evb_watch_tick(evb_watch *self);

/* Whether everything that the last tick has asked for is answered. */
bool evb_watch_settled(const evb_watch *self);

/* NULL when the hub has answered the last look; else why not. *since_ns: monotonic, when it last answered; 0: never. */
const char *evb_watch_absent(const evb_watch *self, int64_t *since_ns);

/* What was found; it lives until the next evb_bus_wait. Topics come in the order of their names; groups and clients
 * as the hub has them. clients: NULL and *count 0 also when the hub does not tell of them. */
const evb_watch_status *evb_watch_hub(const evb_watch *self);
evb_watch_topic *const *evb_watch_topics(const evb_watch *self, size_t *count);
const evb_watch_group *evb_watch_groups(const evb_watch *self, size_t *count);
const evb_watch_client *evb_watch_clients(const evb_watch *self, size_t *count);

#endif
