/* evbus.h: the public API of libevbus: publish events to a hub, subscribe to them, replay them.
 *
 * Threads: a bus, and every publisher and subscription made from it, belong to one thread at a time.
 * Two threads take two buses. Nothing here installs signal handlers, prints, exits or reads the environment.
 * Bytes are pointer and length; topics, patterns, header names and values and ids are UTF-8, not NUL-terminated
 * unless said. Times are ns since the epoch, UTC. What is borrowed is copied before a function returns.
 * Functions return 0 or a negative evb_err and, where they take one, say why in *err (which may be NULL). */
#ifndef EVBUS_H
#define EVBUS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVB_API __attribute__((visibility("default")))

/* ---- errors ---- */

typedef enum {
    EVB_OK = 0,
    EVB_EAGAIN = -1,      /* not now: wait with evb_bus_wait, then call again */
    EVB_EINVAL = -2,      /* an argument is wrong */
    EVB_EDATA = -3,       /* bad topic, pattern, payload or header */
    EVB_ENOHUB = -4,      /* no hub there, or it speaks another protocol */
    EVB_ESTORE = -5,      /* the hub could not store it: disk full or failing */
    EVB_ETIMEDOUT = -6,   /* the hub did not answer in time */
    EVB_EPERM = -7,       /* not permitted */
    EVB_ECONFIG = -8,     /* bad configuration */
    EVB_ENOMEM = -9,      /* out of memory */
    EVB_EIO = -10,        /* a file or socket of our own failed */
    EVB_EDAMAGED = -11,   /* damage was found in a journal */
    EVB_EGONE = -12,      /* retention has removed what was asked for */
    EVB_EBUSY = -13,      /* another process holds it */
    EVB_EVERSION = -14,   /* the topic does not stand at the version that was expected */
    EVB_ENOHANDLER = -15, /* nobody handles this topic's commands */
    EVB_EUNKNOWN = -16    /* what became of the command is not known: it may have been done */
} evb_err;

typedef struct {
    int code;       /* an evb_err */
    char text[512]; /* "object: reason", NUL-terminated, no newline */
} evb_error;

/* The exit code of a program that ends with `code`, as in evbus(7): 0, 1, 64, 65, 69, 74, 75, 77 or 78. */
EVB_API int evb_err_exit(int code);

/* ---- events ---- */

#define EVB_TOPIC_MAX 255
#define EVB_ID_MAX 96 /* bytes of an id, with its NUL */

typedef struct {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
} evb_header;

typedef struct {
    const char *topic;
    size_t topic_size;
    const void *payload; /* any bytes */
    size_t size;
    const evb_header *headers; /* each name once */
    size_t header_count;
    const char *id; /* the publisher's own, or NULL; no second event is stored with one that is known on the topic */
    size_t id_size;
    bool live; /* never stored; seq is 0 then, and version counts the topic's live events */
    /* what the hub adds; ignored when publishing */
    uint64_t seq;     /* place in the journal, from 1 */
    uint64_t version; /* place among the topic's events, from 1 */
    int64_t time_ns;
    /* where it came from: see evb_event_id */
    const uint8_t *producer; /* 16 bytes */
    uint64_t producer_seq;
    uint32_t index;
    /* in a group */
    uint32_t deliveries; /* how often it was handed out, this time included; 0: not in a group */
    bool replayed;       /* handed out once more on request: leave side effects out */
} evb_event;

/* Writes the event's id into `out`: the publisher's own, else PRODUCER-BATCH-INDEX, which no other event has.
 * Returns its length, without the NUL that follows. Never fails. */
EVB_API size_t evb_event_id(const evb_event *event, char out[EVB_ID_MAX]);

/* 0, or EVB_EDATA and why: is this a topic that may be published to; is this a pattern? */
EVB_API int evb_topic_check(const char *topic, size_t size, evb_error *err);
EVB_API int evb_pattern_check(const char *pattern, size_t size, evb_error *err);

/* ---- the bus ---- */

typedef struct evb_bus evb_bus;

/* Makes a bus for the hub at `url` (ipc://DIR or tcp://HOST:PORT); NULL or "" is this user's own hub, which is
 * ipc:///run/evbus for root and ipc:///run/user/UID/evbus for others. Does not wait for the hub, so that it may start
 * later. timeout_ns bounds every wait for the hub; 0 means 5 s, negative no bound.
 * NULL and *err: EVB_EINVAL for the URL, EVB_ENOMEM, EVB_EIO. */
EVB_API evb_bus *evb_bus_new(const char *url, int64_t timeout_ns, evb_error *err);

/* Closes it and sets *self to NULL; its publishers and subscriptions must be gone. *self may be NULL.
 * Never blocks: what is not acknowledged by then may or may not be stored. */
EVB_API void evb_bus_destroy(evb_bus **self);

/* Waits until the bus has work, one of fds has events, or timeout_ns has passed (negative: no bound); fills revents
 * and lets publishers and subscriptions go on. Returns how many of fds are ready, 0, or EVB_EIO. Returns early on a
 * signal. Call it whenever a function here said EVB_EAGAIN or EVB_NOTHING. */
EVB_API int evb_bus_wait(evb_bus *bus, struct pollfd *fds, size_t count, int64_t timeout_ns, evb_error *err);

typedef struct {
    uint64_t first;       /* the oldest seq that is left; head + 1 when there is none */
    uint64_t head;        /* the newest seq that is stored; 0 when there is none */
    uint64_t max_payload; /* bytes */
    int64_t pid;          /* of the hub */
    int64_t time_ns;      /* the hub's clock */
} evb_status;

/* Asks the hub how it stands. Blocks up to the timeout: EVB_ENOHUB, EVB_ETIMEDOUT. */
EVB_API int evb_bus_status(evb_bus *bus, evb_status *out, evb_error *err);

/* ---- publishing ---- */

/* A run of events in the order in which they were added: all stored, the first at seq, without gaps (seq 0: live).
 * version: of the first, where the publisher is atomic; else 0. */
typedef void evb_stored_fn(void *context, uint64_t seq, uint64_t version, uint64_t count);

typedef struct {
    evb_stored_fn *stored; /* called from evb_bus_wait, evb_pub_add and evb_pub_drain; may be NULL */
    /* In place of stored, for an event whose id was stored before: count is 1, seq and version (0 where the publisher is
     * not atomic, or it is gone) are those of the one stored. NULL: stored is called. */
    evb_stored_fn *again;
    void *context;
    bool live; /* deliver to who listens now; do not store */
    bool
        atomic; /* what is added between two evb_pub_send (or drain) is one batch of one topic: all or none is stored */
    bool expects;      /* atomic, and only if the topic stands at version `expected` (0: no such topic yet); each */
    uint64_t expected; /* batch stored moves it on */
    /* Not 0: publish when the hub's clock says so (ns since the epoch), at once if that is past. Acknowledged when the
     * hub has it safe; seqs are then scheduled seqs, which name the events until they are published. Ids are looked at
     * when that is so. Not with live, atomic, expects. */
    int64_t due_ns;
} evb_pub_options;

typedef struct evb_pub evb_pub;

/* Makes a publisher. options may be NULL. NULL and *err: EVB_ENOMEM; EVB_EINVAL: due_ns with what it does not go with,
 * or negative. The bus must outlive it. */
EVB_API evb_pub *evb_pub_new(evb_bus *bus, const evb_pub_options *options, evb_error *err);
EVB_API void evb_pub_destroy(evb_pub **self);

/* Adds an event behind those added before. Full batches leave at once, the last one with evb_pub_send; an atomic one
 * only with evb_pub_send, and EVB_EDATA says that an event is of another topic or does not fit into the batch.
 * EVB_EAGAIN: the window is full, or, once, before the first payload over 64 KiB, the hub is asked for its limit: wait
 * and add it again. EVB_EDATA: this event is not valid, nothing else is lost. Any other error is final for the publisher
 * and comes again from every later call: what was not reported as stored may or may not be. Never blocks. */
EVB_API int evb_pub_add(evb_pub *pub, const evb_event *event, evb_error *err);

/* Sends what waits for its batch to fill: call it when there is nothing more to add for now. Never blocks. */
EVB_API int evb_pub_send(evb_pub *pub, evb_error *err);

/* Sends everything and blocks until all is acknowledged. A wait in which the hub acknowledges nothing for the bus's
 * timeout ends with EVB_ENOHUB or EVB_ETIMEDOUT; EVB_ESTORE, EVB_EPERM, EVB_EVERSION as the hub says. */
EVB_API int evb_pub_drain(evb_pub *pub, evb_error *err);

/* How many events were added and not yet acknowledged; how many the hub acknowledged as stored, now or before under
 * their id (or sent on, live). */
EVB_API uint64_t evb_pub_pending(const evb_pub *pub);
EVB_API uint64_t evb_pub_stored(const evb_pub *pub);

/* Publishes one event and blocks until it is stored; *seq (may be NULL) is its place, or that of the one stored before
 * under its id. Errors as evb_pub_drain. */
EVB_API int evb_publish(evb_bus *bus, const evb_event *event, uint64_t *seq, evb_error *err);

/* ---- subscribing ---- */

typedef enum {
    EVB_FROM_NOW,            /* what is stored from now on */
    EVB_FROM_FIRST,          /* the oldest that is left */
    EVB_FROM_LAST,           /* the newest that matches, then on */
    EVB_FROM_SEQ,            /* this seq, or the next that matches */
    EVB_FROM_TIME,           /* the first stored at this time (ns) or later */
    EVB_FROM_BACK,           /* the newest `value` events that match, then on */
    EVB_FROM_LAST_PER_TOPIC, /* each matching topic's newest, then on */
} evb_from;

/* Members of a group share its events: each goes to one of them until it is acknowledged, and the hub keeps how far
 * they are. 0, NULL and false: as the group has it, or for a new one the default. What is set holds for all from then. */
typedef struct {
    const char *name;          /* like a topic, at most 128 bytes, 14 tokens; NUL-terminated */
    int64_t ack_wait_ns;       /* an event not acknowledged by then goes to another member; 30 s */
    uint64_t max_deliver;      /* after so many deliveries in vain it becomes a dead letter; 20 */
    uint64_t max_pending;      /* events that a member may have in hand; 8192 */
    const int64_t *backoff_ns; /* the wait before the second delivery, the third…; the last goes on; 1 s */
    size_t backoff_count;      /* at most 16 */
    bool ordered;              /* at most one event of a topic in hand */
    bool listener;             /* its members run something for each event: evctl listeners has it */
    bool
        whole; /* what is 0, NULL or false is the default also for a group that there is, and its patterns are to be these:
                 * events that it has not looked at yet are matched with them, what is pending stays. */
    /* of this member only */
    uint64_t at_once; /* events that it works on at once, where they take long; 1 */
    bool working;     /* while evb_bus_wait is called what is in hand is being worked on: its ack wait begins anew */
} evb_group_options;

typedef struct {
    const char *const *patterns; /* NUL-terminated; none means "#", everything */
    size_t pattern_count;
    evb_from from;
    uint64_t value;  /* a seq, a time or a count, as from says */
    bool until_head; /* end at the head that stands when it starts */
    bool has_to;     /* end behind the last event that is not beyond `to`; live until then if it is not stored yet */
    uint64_t to;     /* a seq, inclusive; 0: none */
    int64_t to_ns;   /* where to is 0: a time; events stored then or before */
    const char *const *excludes; /* NUL-terminated patterns: what matches one is left out; not in a group */
    size_t exclude_count;
    bool allow_gap; /* go on where retention has removed events, instead of EVB_EGONE */
    /* NULL: read for oneself. In a group the patterns are the group's (none: those that it has), from is where a new one
     * begins, until_head ends when all up to the head is acknowledged, by whichever member. */
    const evb_group_options *group;
    const char *kind; /* what the hub's list of clients calls it, at most 15 bytes; NULL: "library" */
} evb_sub_options;

typedef struct evb_sub evb_sub;

enum { EVB_NOTHING = 0, EVB_EVENT = 1, EVB_END = 2 };

typedef enum {
    EVB_NOTE_SUBSCRIBED,   /* every event from now on will come */
    EVB_NOTE_CAUGHT_UP,    /* the replay has reached the head; value: its seq */
    EVB_NOTE_DISCONNECTED, /* trying to get back */
    EVB_NOTE_RECONNECTED,  /* back, nothing missed; value: the hub's head */
    EVB_NOTE_REPAIRED, /* the feed had dropped stored events; they were fetched; value: how many seqs were looked at */
    EVB_NOTE_LOST,     /* live events were lost; value: how many */
    EVB_NOTE_GAP       /* retention had removed events (allow_gap, or in a group); value: how many seqs */
} evb_note;

typedef void evb_note_fn(void *context, evb_note note, uint64_t value);

/* Makes a subscription; it asks for its events from inside evb_sub_next and evb_bus_wait, in the order of the
 * journal, without gaps and without doubles, over reconnects and restarts of the hub. note may be NULL.
 * NULL and *err: EVB_EDATA for a pattern, EVB_ENOMEM. Does not block. The bus must outlive it. */
EVB_API evb_sub *evb_sub_new(evb_bus *bus, const evb_sub_options *options, evb_note_fn *note, void *context,
                             evb_error *err);
EVB_API void evb_sub_destroy(evb_sub **self);

/* The next event: EVB_EVENT and *event, whose pointers live until the next call; EVB_NOTHING: none right now, wait;
 * EVB_END with until_head; or an error, final: EVB_ENOHUB, EVB_ETIMEDOUT, EVB_EGONE, EVB_EPERM. Never blocks. */
EVB_API int evb_sub_next(evb_sub *sub, evb_event *event, evb_error *err);

/* While held, a subscription does not end evb_bus_wait for what it has, and takes in no more than it must: for who has
 * enough to do. What a group's member was called for, and its acknowledgements, still go on; one that has nothing in hand
 * is handed nothing meanwhile. */
EVB_API void evb_sub_hold(evb_sub *sub, bool held);

/* The seq after the last one that evb_sub_next has passed: where a cursor goes on. */
EVB_API uint64_t evb_sub_position(const evb_sub *sub);

/* In a group: this event (its seq and replayed are looked at), or with NULL every one handed on so far, is done. The
 * hub is told from evb_bus_wait, or from here. EVB_EINVAL: it is not in our hand. EVB_ENOMEM. */
EVB_API int evb_sub_ack(evb_sub *sub, const evb_event *event);

/* In a group: this event could not be handled, for this reason (at most 400 bytes are kept). It is handed out again
 * after delay_ns (negative: as the group's backoff says), or becomes a dead letter when that was its last delivery.
 * reject: it becomes one now. Errors as evb_sub_ack. */
EVB_API int evb_sub_nack(evb_sub *sub, const evb_event *event, int64_t delay_ns, const char *reason);
EVB_API int evb_sub_reject(evb_sub *sub, const evb_event *event, const char *reason);

/* How handling an event failed, for who looks into it later. */
typedef struct {
    const char *reason; /* as for evb_sub_nack */
    int64_t begun_ns, took_ns;
    int status;         /* of a command: its exit status, or minus the signal that killed it */
    const void *output; /* what it said: the last 16 KiB are kept */
    size_t output_size;
} evb_attempt;

/* The same as evb_sub_nack and, `final`, evb_sub_reject; the hub keeps the attempt, as an event on $failed.GROUP.SEQ, in
 * the same step. Errors as evb_sub_ack. */
EVB_API int evb_sub_fail_attempt(evb_sub *sub, const evb_event *event, int64_t delay_ns, bool final,
                                 const evb_attempt *attempt);

/* Tells the hub what has become of what this subscription runs for its events, counted since it was made: for evctl
 * listeners and clients. last_error (NULL: none yet; its first 255 bytes are told) was at last_error_ns. It is sent
 * within a second or so, and by evb_sub_leave; nothing depends on it. What of last_error is no text becomes '?'. Never
 * blocks; 0. */
EVB_API int evb_sub_report(evb_sub *sub, uint64_t runs, uint64_t failures, const char *last_error,
                           int64_t last_error_ns);

/* In a group: begins to leave, as evb_sub_leave does, and does not wait: evb_sub_next then says EVB_NOTHING until it
 * has left, and EVB_END then, or why it could not be told. EVB_EINVAL: it is in no group. */
EVB_API int evb_sub_leave_start(evb_sub *sub, evb_error *err);

/* In a group: tells the hub what was acknowledged and gives back, uncounted, what was not; blocks until the hub has
 * taken it, up to the bus's timeout, and where that has no bound or the hub turns us away, until it has taken nothing for 5
 * seconds more. The subscription is good for nothing but evb_sub_destroy then; destroyed without
 * it, what was acknowledged last may be handed out again. EVB_ENOHUB, EVB_ETIMEDOUT, and what ended the subscription. */
EVB_API int evb_sub_leave(evb_sub *sub, evb_error *err);

/* ---- commands ---- */

/* What became of a command. */
typedef struct {
    bool refused;       /* by the handler, for this reason */
    const char *reason; /* NUL-terminated, at most 400 bytes are kept; may be NULL where it is given */
    const void *data;   /* the answer */
    size_t size;
    const void *errors; /* what the handler said beside it: at most 16 KiB, the last; not kept by the hub */
    size_t errors_size;
    uint64_t seq; /* of the command's event $cmd.TOPIC.asked; 0: not stored */
    bool again;   /* it was handled before under this id, and this is the first answer */
    void *own;    /* see evb_answer_free */
} evb_answer;

typedef struct {
    int64_t timeout_ns; /* 0: 5 s */
    bool quiet;         /* no events of it are stored; without effect where the command has an id */
} evb_command_options;

/* Asks the one handler of command->topic, and blocks until the outcome is known. Of the command topic, payload, headers and
 * id count. options may be NULL. 0 and *out, refused or not, which is freed with evb_answer_free; EVB_ENOHANDLER: nobody
 * serves the topic; EVB_ETIMEDOUT: no handler took it in time, it is not done; EVB_EUNKNOWN: it may have been done: no answer
 * in time, or the handler or the hub went away: with an id it may be asked again and is not done twice. EVB_ENOHUB, EVB_EDATA,
 * EVB_ESTORE, EVB_EBUSY, EVB_EGONE: it is not done now. */
EVB_API int evb_bus_call(evb_bus *bus, const evb_event *command, const evb_command_options *options, evb_answer *out,
                         evb_error *err);
EVB_API void evb_answer_free(evb_answer *answer);

/* The outcome of a command: code 0 and *answer, which is freed after the call unless the callee has taken it over and zeroed
 * it; or an error, as of evb_bus_call, and *why. */
typedef void evb_answer_fn(void *context, int code, evb_answer *answer, const evb_error *why);

/* Asks, and does not wait: done is called once, from evb_bus_wait or whatever else blocks on this bus, unless the bus is
 * destroyed first. As many as one likes may be under way. EVB_EDATA, EVB_ENOMEM, and then done is not called. Blocks only
 * to ask the hub for its limit, before a payload over 64 KiB. */
EVB_API int evb_bus_ask(evb_bus *bus, const evb_event *command, const evb_command_options *options,
                        evb_answer_fn *done, void *context, evb_error *err);

typedef struct {
    const char *topic; /* NUL-terminated */
    size_t jobs;       /* commands in hand at once, at most 1024; 0: 1 */
    bool standby;      /* where another serves the topic: wait, and take over when that is gone */
    const char *kind;  /* what the hub's list of clients calls it; NULL: "handler" */
    evb_note_fn *note; /* EVB_NOTE_SUBSCRIBED: serving, or standing by; DISCONNECTED, RECONNECTED; may be NULL */
    void *note_context;
} evb_serve_options;

typedef struct evb_serve evb_serve;

/* Makes a handler; it serves from inside evb_serve_next and evb_bus_wait, also after the hub was away. NULL and *err:
 * EVB_EDATA for the topic, EVB_EINVAL, EVB_ENOMEM. Does not block. The bus must outlive it. */
EVB_API evb_serve *evb_serve_new(evb_bus *bus, const evb_serve_options *options, evb_error *err);
EVB_API void evb_serve_destroy(evb_serve **self);

/* The next command: EVB_EVENT, *command, whose pointers live until it is answered (its headers until the next call), and
 * *number; EVB_NOTHING: none right now, wait; EVB_END: stopped, and all is answered; or an error, final: EVB_EBUSY: another
 * serves the topic, and *err has its pid; EVB_ENOHUB, EVB_ETIMEDOUT, EVB_EPERM. Never blocks. */
EVB_API int evb_serve_next(evb_serve *self, evb_event *command, uint64_t *number, evb_error *err);

/* What became of a command in hand. EVB_EINVAL: it is not in hand; EVB_EDATA: the answer is larger than the hub takes, and the
 * command still in hand; EVB_ENOMEM. */
EVB_API int evb_serve_answer(evb_serve *self, uint64_t number, const evb_answer *answer, evb_error *err);

/* Takes no more: evb_serve_next gives what is here already, and EVB_END when the hub has all outcomes. */
EVB_API void evb_serve_stop(evb_serve *self);

#ifdef __cplusplus
}
#endif
#endif
