/* fake_hub.h: a hub for tests of the client: a journal in memory, one ROUTER, one XPUB, and knobs for what a real hub does
 * only in bad moments. It serves while somebody calls fake_serve, or from a thread of its own between fake_start_thread
 * and fake_stop_thread; the knobs are then not to be touched. Everything that fails inside fails the test. */
#ifndef EVB_FAKE_HUB_H
#define EVB_FAKE_HUB_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "event/record.h"

enum { FAKE_RECORDS_MAX = 4096, FAKE_TOPICS_MAX = 256, FAKE_PUBS_MAX = 4096 };

typedef struct {
    char name[EVB_TOPIC_MAX + 1];
    uint64_t last, version, live; /* seq; stored events; live events */
} fake_topic;

/* A "pub" as it came, whether it was answered or not. */
typedef struct {
    uint64_t acked, first, last; /* batch numbers */
    uint64_t digest;             /* of the body's bytes */
    size_t size, records;
} fake_pub;

typedef struct {
    char dir[64], url[80];
    void *context, *router, *feed;
    evb_buf records[FAKE_RECORDS_MAX];
    size_t record_count;
    fake_topic topics[FAKE_TOPICS_MAX];
    size_t topic_count;
    uint64_t head, first;
    uint64_t producer_last; /* of the one publisher of a test */
    fake_pub pubs[FAKE_PUBS_MAX];
    size_t pub_count;
    unsigned fetches, statuses, welcomes;

    /* knobs */
    bool mute;                                 /* take requests, answer none */
    bool mute_feed;                            /* send nothing on the feed */
    unsigned drop_frames;                      /* the next so many stored batches do not go out on the feed */
    unsigned drop_welcomes;                    /* the next so many welcomes do not */
    bool split_runs;                           /* answer a pub with one run for each batch */
    const char *error, *text;                  /* answer the next request with this error */
    const evb_buf *answer;                     /* answer the next request with these bytes behind ["ok", id */
    bool wrong_id;                             /* answer each request with another's id */
    bool status_further;                       /* status holds more than we know of, first */
    uint64_t mark;                             /* in frames and beats */
    int64_t time_ns;                           /* of beats and welcomes; 0: 1 */
    bool corrupt;                              /* spoil a byte of what is fetched */
    void (*before)(void *hub, const char *op); /* called before each request is answered */
    pthread_t thread;
    bool threaded;
    atomic_bool stop;
} fake_hub;

/* Makes its directory; the hub is not there yet. Remove all with fake_destroy. */
fake_hub *fake_new(void);
void fake_destroy(fake_hub **self);

/* Binds, and goes away; the journal stays. fake_forget empties it, as a hub with --memory does. */
void fake_up(fake_hub *self);
void fake_down(fake_hub *self);
void fake_forget(fake_hub *self);

/* Answers what has come, after waiting up to ms for it. */
void fake_serve(fake_hub *self, int ms);

void fake_start_thread(fake_hub *self);
void fake_stop_thread(fake_hub *self);

/* Stores a batch of `events` events whose payloads are their seqs in decimal, and feeds it. */
void fake_store(fake_hub *self, const char *topic, unsigned events);

/* Sends a live batch; lost: only counts it. */
void fake_live(fake_hub *self, const char *topic, unsigned events, bool lost);

/* Sends a beat; any bytes; the frame of record i once more. */
void fake_beat(fake_hub *self);
void fake_feed(fake_hub *self, const void *data, size_t size);
void fake_feed_record(fake_hub *self, size_t i);

/* Retention: what lies before seq is gone. */
void fake_retain(fake_hub *self, uint64_t first);

#endif
