/* client_private.h: the bus as its publishers and subscriptions see it: calls to the hub, and who is to be driven. */
#ifndef EVB_CLIENT_PRIVATE_H
#define EVB_CLIENT_PRIVATE_H

#include <stdatomic.h>

#include "base/buf.h"
#include "evbus.h"
#include "event/limits.h"
#include "event/mp.h"
#include "net/link.h"

/* A call's body, which libzmq's thread may still be sending when the call is over. */
typedef struct evb_frame evb_frame;
struct evb_frame {
    atomic_uint uses;
    evb_buf buf;
    /* the publisher's own */
    int64_t begun_ns; /* wall clock: when its first event was added */
    evb_frame *next;
};

evb_frame *evb_frame_new(void);
void evb_frame_release(evb_frame *self);

/* What the hub answered: code is 0 and results stand behind op and id, with the body's bytes; or an evb_err and why, and
 * results stand behind the text. */
typedef struct {
    int code;
    const char *text;
    evb_mp results;    /* of an error, what follows its text */
    evb_message *body; /* the taker may keep it: it then zeroes this */
} evb_reply;

typedef struct evb_call evb_call;
typedef void evb_done_fn(void *context, evb_call *call, const evb_reply *reply);

/* A request that the hub owes an answer to. Sent again, with the same frame, after each new connection.
 * One that is held is answered whenever the hub sees fit, in no order, and has its own deadline; where it is not to be
 * sent again it ends with EVB_EUNKNOWN when its connection is lost. */
struct evb_call {
    evb_call *next;
    uint64_t id;
    evb_buf head;
    bool held, again;       /* again: it may be sent again; set before it is sent */
    bool on_way;            /* given to the connection that there is */
    bool was_sent;          /* it may have reached a hub on a connection before this */
    int64_t due_ns;         /* monotonic; of one that is held; INT64_MAX: none */
    int64_t grace_ns;       /* of that: see evb_bus_expired */
    const uint64_t *latest; /* or NULL: the head ends with this number, of 9 bytes, as it stands when it is sent */
    evb_frame *frame;       /* or NULL */
    evb_done_fn *done;
    void *context;
    size_t tag;                  /* the context's own */
    void (*drop)(void *context); /* or NULL: what frees the context where done is never called */
};

/* Something driven by the bus: a subscription with its feed. */
typedef struct evb_driven evb_driven;
struct evb_driven {
    evb_driven *next;
    void (*step)(void *context);              /* takes in what has happened; starts what is due */
    int64_t (*deadline)(const void *context); /* monotonic; INT64_MAX: none */
    bool (*ready)(const void *context);       /* whether it has something for its user */
    void *context;
};

struct evb_bus {
    evb_link *link;
    evb_channel *requests;
    int64_t timeout_ns; /* below 0: none */
    uint64_t next_id;
    evb_call *first, *last; /* in the order in which they were made, which is that of the replies */
    evb_call *held;         /* in no order */
    int64_t progress_ns;    /* monotonic: when the hub last answered, or began to owe an answer */
    int64_t grace_ns;       /* see evb_bus_expired */
    int64_t retry_ns;       /* monotonic: when to connect again, while the channel is down */
    int64_t backoff_ns;
    bool was_up;       /* there was a connection once */
    uint64_t finished; /* calls answered or failed so far */
    evb_driven *driven;
    evb_pub *own; /* of evb_publish */
};

/* Begins a call: op, id and `args` arguments, which the caller packs with *packer. NULL: out of memory. */
evb_call *evb_call_new(evb_bus *bus, const char *op, uint32_t args, msgpack_packer *packer, evb_done_fn *done,
                       void *context);

/* Destroys a call that was not sent, and sets *call to NULL. */
void evb_call_discard(evb_call **call);

/* Sends it. The bus owns it from then on; done is called once, unless the call is forgotten first. */
void evb_call_send(evb_bus *bus, evb_call *call);

/* Lets go of every call of this context: done is not called any more. */
void evb_call_forget(evb_bus *bus, const void *context);

/* Reads a status. False: it is not one. */
bool evb_status_read(evb_mp mp, evb_status *out);

/* Drives everything as far as it goes without waiting. True when something was taken in. */
bool evb_bus_step(evb_bus *bus);

/* Why a wait for the hub has ended without it: it did not answer, it went away and did not come back, or it was never
 * there. Returns the code. */
int evb_bus_explain(const evb_bus *bus, evb_channel *channel, bool was_up, evb_error *err);

/* Whether a wait for the hub has lasted beyond its deadline, also on a second look a quarter of a second later: a client
 * that was itself stopped (SIGSTOP, a frozen machine) finds deadlines passed before it has read what came meanwhile.
 * *grace_ns: when the second look is due; 0 at first, and again after each progress. */
bool evb_bus_expired(int64_t now, int64_t deadline, int64_t *grace_ns);

/* The next pause before connecting again: 10 ms, 20, 40, then a hundredth more each time, up to 250 ms after some 20 s:
 * a hub that is killed again and again does not live long, and must still be met. */
int64_t evb_bus_backoff(int64_t *backoff_ns);

void evb_bus_drive(evb_bus *bus, evb_driven *driven);
void evb_bus_undrive(evb_bus *bus, evb_driven *driven);

/* Blocks until *done or the call fails; used with a context whose done function sets it. */
int evb_bus_until(evb_bus *bus, const bool *done, evb_error *err);

#endif
