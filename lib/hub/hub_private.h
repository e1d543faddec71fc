/* hub_private.h: the hub's own struct, shared by hub.c (rounds), the requests (publish.c, replay.c, group_admin.c) and
 * the groups. */
#ifndef EVB_HUB_PRIVATE_H
#define EVB_HUB_PRIVATE_H

#include "base/table.h"
#include "event/mp.h"
#include "hub/clients.h"
#include "hub/commands.h"
#include "hub/group.h"
#include "hub/group_log.h"
#include "hub/hub.h"
#include "hub/schedule.h"

enum { EVB_RATE_SLOTS = 12 };

/* What has come in since the hub began, and in each of the last seconds. */
typedef struct {
    uint64_t events, bytes, batches;
    uint64_t fed; /* events put on the feed */
    int64_t seconds[EVB_RATE_SLOTS];
    uint64_t events_of[EVB_RATE_SLOTS];
} evb_hub_counts;

struct evb_hub {
    evb_journal *journal;
    evb_hub_options options;
    evb_action *actions; /* of this round */
    size_t action_count, action_room;
    bool appended;          /* this round, or since the last sync */
    int64_t sync_due_ns;    /* monotonic; EVB_SYNC_LATER; INT64_MAX: nothing to sync */
    evb_table *live_counts; /* topic to its live_count, for the topics that are not stored */
    evb_record *recs;       /* the records of the request under way */
    size_t rec_room;
    struct evb_client_list clients;
    evb_hub_counts counts;
    int64_t begun_ns; /* monotonic */
    int64_t now_ns;   /* monotonic, of the round */
    evb_buf *own;     /* records that the hub made itself, whose frames this round's actions name */
    size_t own_count;
    evb_buf *later; /* records that are appended and not safe, of evb_hub_feed_later */
    size_t later_count, later_room;
    int64_t later_due_ns; /* monotonic; INT64_MAX: there are none */
    evb_buf scratch;      /* one read of the journal's */
    int failed;           /* between rounds: the next tick ends the hub with this */

    evb_commands *commands;
    void (*drop_peer)(void *peer); /* or NULL */

    TAILQ_HEAD(evb_group_list, evb_group) groups;
    uint64_t group_id; /* the last given out */
    evb_group_log *group_log;
    evb_buf notes;       /* of this round, for group_log */
    int64_t keep_due_ns; /* when group_log is to be made safe */
    bool firm;           /* an answer of this round is firm */
    bool early;          /* one is early */
    size_t answered;     /* bytes of events in this round's replies */
    size_t spare;        /* bytes that fetches may bring beyond the default */

    evb_schedule *schedule;
};

/* A request taken apart as far as its op. */
typedef struct {
    void *peer;
    evb_origin origin;
    uint64_t id;
    evb_mp args; /* behind op and id */
    uint32_t arg_count;
    uint8_t *body;
    size_t body_size;
    int64_t now_ns;
} evb_request;

/* Adds an action and returns it, zeroed, or NULL when memory is short. */
evb_action *evb_hub_act(evb_hub *self, evb_action_kind kind);

/* Begins a reply ["ok", id, …] of `results` results; *packer goes on with them. NULL: out of memory. */
evb_action *evb_hub_answer(evb_hub *self, const evb_request *request, uint32_t results, msgpack_packer *packer);

/* The same for an answer that is given out only once groups.log is on disk. */
evb_action *evb_hub_answer_firm(evb_hub *self, const evb_request *request, uint32_t results, msgpack_packer *packer);

/* Makes this round's firm answers refusals, "store" and text. EVB_ENOMEM. */
int evb_hub_refuse_firm(evb_hub *self, const char *text);

/* Replies ["error", id, code, text]. EVB_ENOMEM. */
int evb_hub_refuse(evb_hub *self, const evb_request *request, const char *code, const char *text);

/* The same as refuse, with the code that stands for an evb_err. */
int evb_hub_refuse_error(evb_hub *self, const evb_request *request, const evb_error *why);

/* The same with a number behind the text: the version that the topic stands at, the first seq that is left. */
int evb_hub_refuse_with(evb_hub *self, const evb_request *request, const evb_error *why, uint64_t value);

/* Keeps the bytes of *record, which it takes over, until the round's actions are done. EVB_ENOMEM. */
int evb_hub_own(evb_hub *self, evb_buf *record);

/* Fans out a stored record of the hub's own making; takes the bytes of *record over. EVB_ENOMEM. */
int evb_hub_feed_own(evb_hub *self, const evb_record *rec, evb_buf *record);

/* The same for one that does not ask for a sync: it is fanned out before the next stored record, whose sync is its own, or
 * after 10 ms. EVB_ENOMEM. */
int evb_hub_feed_later(evb_hub *self, evb_buf *record);

/* Fans out a record of this round, and tells groups. EVB_ENOMEM. */
int evb_hub_feed(evb_hub *self, const evb_record *rec);

/* Counts a batch that has come in. */
void evb_hub_count(evb_hub *self, uint64_t events, uint64_t bytes);

/* Takes a request's body apart into self->recs; *ids: how many events have one. EVB_EDATA and why, EVB_ENOMEM. */
int evb_hub_read_records(evb_hub *self, const evb_request *request, size_t *count, size_t *ids, evb_error *why);

/* Whether it is never stored. */
bool evb_hub_is_live(const evb_hub *self, const evb_record *rec);

/* Reads an array of patterns. False and *why. */
bool evb_hub_read_patterns(evb_mp *args, evb_patterns **out, evb_error *why);

/* The requests: each replies once; call and serve.take perhaps in a later round. 0, or an error that ends the hub. */
int evb_hub_publish(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_fetch(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_status(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_clients(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_hello(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_seek(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_producer(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_topics(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_trim(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_purge(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_join(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_take(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_leave(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_busy(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_groups(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_reset(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_delete(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_replay(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_group_pause(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_dead(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_dead_retry(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_dead_edit(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_call(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_serve(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_serve_take(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_serve_stop(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_dead_drop(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_schedule(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_scheduled(evb_hub *self, const evb_request *request, evb_error *err);
int evb_hub_schedule_cancel(evb_hub *self, const evb_request *request, evb_error *err);

#endif
