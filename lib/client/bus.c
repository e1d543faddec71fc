/* bus.c: calls to the hub and their answers, over connections that come and go.
 *
 * Invariants: calls are answered in the order in which they were made, but for those that are held, which have a list of
 * their own; a call stays in the list until its answer is
 * there or the hub has been silent for the timeout, and after each new connection all of the list is sent again, in
 * order (publishing is idempotent, the other requests only look). Nobody else reads the requests' channel.
 * Leaves to others: what the answers mean (publisher.c, subscription.c, locate.c), sockets (net/link.c). */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/paths.h"
#include "base/utf8.h"
#include "client/client_private.h"

static const int64_t TIMEOUT_DEFAULT_NS = 5 * EVB_SECOND_NS;
static const int64_t GRACE_NS = 250 * EVB_MILLISECOND_NS;
static const int64_t BACKOFF_LEAST_NS = 10 * EVB_MILLISECOND_NS;
static const int64_t BACKOFF_SOON_NS = 40 * EVB_MILLISECOND_NS;
static const int64_t BACKOFF_MOST_NS = 250 * EVB_MILLISECOND_NS;

/* A link to the hub at url, or where this user's hub is by default. */
static evb_link *link_to(const char *url, evb_error *err) {
    const evb_environment named = {.url = url, .uid = geteuid()};
    char *where = evb_paths_url(&named, err);
    evb_link *link = where ? evb_link_new(where, err) : NULL;
    free(where);
    return link;
}

evb_bus *evb_bus_new(const char *url, int64_t timeout_ns, evb_error *err) {
    evb_bus *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "bus: out of memory");
        return NULL;
    }
    self->timeout_ns = timeout_ns ? timeout_ns : TIMEOUT_DEFAULT_NS;
    self->link = link_to(url, err);
    self->requests = self->link ? evb_channel_new(self->link, EVB_CHANNEL_REQUESTS) : NULL;
    if (self->link && !self->requests)
        evb_fail(err, EVB_ENOMEM, "bus: out of memory");
    if (!self->requests)
        evb_bus_destroy(&self);
    return self;
}

/* ---- calls ---- */

evb_frame *evb_frame_new(void) {
    evb_frame *self = calloc(1, sizeof *self);
    if (self)
        atomic_init(&self->uses, 1);
    return self;
}

void evb_frame_release(evb_frame *self) {
    if (!self || atomic_fetch_sub(&self->uses, 1) != 1)
        return;
    evb_buf_free(&self->buf);
    free(self);
}

static void release_sent(void *data, void *hint) {
    (void)data;
    evb_frame_release(hint);
}

static void destroy_call(evb_call *call) {
    evb_buf_free(&call->head);
    evb_frame_release(call->frame);
    free(call);
}

void evb_call_discard(evb_call **call) {
    destroy_call(*call);
    *call = NULL;
}

evb_call *evb_call_new(evb_bus *bus, const char *op, uint32_t args, msgpack_packer *packer, evb_done_fn *done,
                       void *context) {
    evb_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->id = ++bus->next_id;
    call->due_ns = INT64_MAX;
    call->done = done;
    call->context = context;
    evb_mp_packer(packer, &call->head);
    if (msgpack_pack_array(packer, args + 2) || evb_mp_pack_str(packer, op, strlen(op)) ||
        msgpack_pack_uint64(packer, call->id)) {
        destroy_call(call);
        return NULL;
    }
    return call;
}

static void transmit(evb_bus *bus, evb_call *call) {
    evb_frame *frame = call->frame;
    if (frame)
        atomic_fetch_add(&frame->uses, 1);
    if (call->latest)
        evb_put64(call->head.data + call->head.size - sizeof *call->latest, *call->latest);
    call->on_way = true;
    evb_channel_send(bus->requests, call->head.data, call->head.size, frame ? frame->buf.data : NULL,
                     frame ? frame->buf.size : 0, release_sent, frame);
}

/* Whether a connection is needed. */
static bool is_owed(const evb_bus *bus) { return bus->first || bus->held; }

static void connect_requests(evb_bus *bus) {
    bus->retry_ns = 0;
    if (evb_channel_open(bus->requests, NULL)) {
        bus->retry_ns = evb_clock_monotonic_ns() + evb_bus_backoff(&bus->backoff_ns);
        return;
    }
    for (evb_call *call = bus->first; call; call = call->next)
        transmit(bus, call);
    for (evb_call *call = bus->held; call; call = call->next)
        transmit(bus, call);
}

static void add_call(evb_bus *bus, evb_call *call) {
    if (call->held) {
        call->next = bus->held;
        bus->held = call;
        return;
    }
    if (!bus->first) {
        bus->progress_ns = evb_clock_monotonic_ns();
        bus->grace_ns = 0;
    }
    *(bus->first ? &bus->last->next : &bus->first) = call;
    bus->last = call;
}

void evb_call_send(evb_bus *bus, evb_call *call) {
    bool down = evb_channel_look(bus->requests) == EVB_CHANNEL_DOWN;
    if (down && !is_owed(bus))
        evb_channel_close(bus->requests);
    add_call(bus, call);
    if (evb_channel_look(bus->requests) == EVB_CHANNEL_CLOSED) {
        if (!bus->retry_ns)
            connect_requests(bus);
    } else if (!down) { /* else with the next connection: what was asked before must see the loss first */
        transmit(bus, call);
    }
}

static void ignore(void *context, evb_call *call, const evb_reply *reply) {
    (void)context;
    (void)call;
    (void)reply;
}

static void forget(evb_call *call, const void *context) {
    for (; call; call = call->next)
        if (call->context == context) {
            call->done = ignore;
            call->latest = NULL;
        }
}

void evb_call_forget(evb_bus *bus, const void *context) {
    forget(bus->first, context);
    forget(bus->held, context);
}

static void finish_first(evb_bus *bus, const evb_reply *reply) {
    evb_call *call = bus->first;
    bus->first = call->next;
    bus->finished++;
    call->done(call->context, call, reply);
    destroy_call(call);
}

static void finish_held(evb_bus *bus, evb_call *call, const evb_reply *reply) {
    evb_call **at = &bus->held;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    bus->finished++;
    call->done(call->context, call, reply);
    destroy_call(call);
}

/* A held call with an id up to `last`, one that is late by now, or one that may not be sent again; NULL: none. */
typedef bool pick_fn(const evb_call *call, int64_t value);

static bool is_old(const evb_call *call, int64_t last) { return call->id <= (uint64_t)last; }
static bool is_late(const evb_call *call, int64_t now) { return call->grace_ns && call->grace_ns <= now; }
static bool is_lost(const evb_call *call, int64_t unused) {
    (void)unused;
    return call->was_sent && !call->again;
}

/* Ends the held calls that are picked. One that may have reached a hub has no known outcome then. */
static void fail_held(evb_bus *bus, pick_fn *pick, int64_t value, const evb_error *why) {
    for (evb_call *call = bus->held, *next; call; call = next) {
        next = call->next;
        if (!pick(call, value))
            continue;
        const evb_reply reply = {.code = call->was_sent ? EVB_EUNKNOWN : why->code, .text = why->text};
        finish_held(bus, call, &reply);
        next = bus->held; /* done functions may have begun or ended others */
    }
}

/* Ends every open call with an error. Those that their done functions begin are new, and stay. */
static void fail_calls(evb_bus *bus, const evb_error *why) {
    evb_reply reply = {.code = why->code, .text = why->text};
    fail_held(bus, is_old, (int64_t)bus->next_id, why);
    for (evb_call *end = bus->last; bus->first;) {
        bool last = bus->first == end;
        finish_first(bus, &reply);
        if (last)
            return;
    }
}

/* ---- answers ---- */

static int code_of(const char *word, size_t size) {
    static const struct {
        const char *word;
        int code;
    } CODES[] = {{"data", EVB_EDATA},        {"store", EVB_ESTORE},         {"perm", EVB_EPERM},
                 {"gone", EVB_EGONE},        {"version", EVB_EVERSION},     {"member", EVB_EAGAIN},
                 {"busy", EVB_EBUSY},        {"nohandler", EVB_ENOHANDLER}, {"unknown", EVB_EUNKNOWN},
                 {"timeout", EVB_ETIMEDOUT}, {"order", EVB_EDATA},          {"damaged", EVB_EDAMAGED},
                 {"usage", EVB_EINVAL}};
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (strlen(CODES[i].word) == size && memcmp(CODES[i].word, word, size) == 0)
            return CODES[i].code;
    return EVB_ESTORE;
}

/* Takes a reply's head apart; false: it is not what a hub of this protocol says. */
static bool read_head(const evb_message *head, uint64_t *id, evb_reply *reply, char *text, size_t text_size) {
    evb_mp mp = {head->data, head->data + head->size};
    uint32_t count;
    const char *word, *why;
    size_t size;
    if (!evb_mp_array(&mp, &count) || count < 2 || !evb_mp_str(&mp, &word, &size) || !evb_mp_uint(&mp, id))
        return false;
    *reply = (evb_reply){.results = mp};
    if (size == 2 && memcmp(word, "ok", 2) == 0)
        return true;
    if (size != 5 || memcmp(word, "error", 5) != 0 || !evb_mp_str(&mp, &word, &size))
        return false;
    reply->code = code_of(word, size);
    if (!evb_mp_str(&mp, &why, &size))
        return false;
    reply->results = mp; /* what stands behind the text */
    evb_utf8_copy(text, text_size, why, size, true);
    if (!size) /* who is told of an error is told something */
        snprintf(text, text_size, "the hub gives no reason");
    reply->text = text;
    reply->results = mp;
    return true;
}

static evb_call *held_of(const evb_bus *bus, uint64_t id) {
    evb_call *call = bus->held;
    while (call && call->id != id)
        call = call->next;
    return call;
}

static bool take_reply(evb_bus *bus) {
    evb_message head, body;
    evb_reply reply;
    uint64_t id;
    char text[400];
    if (!evb_channel_receive(bus->requests, &head, &body))
        return false;
    if (!read_head(&head, &id, &reply, text, sizeof text)) {
        evb_error why;
        evb_fail(&why, EVB_ENOHUB, "what answers there does not speak evbus-protocol(7)");
        fail_calls(bus, &why);
    } else if (bus->first && bus->first->id == id) {
        bus->progress_ns = evb_clock_monotonic_ns();
        bus->grace_ns = 0;
        reply.body = &body;
        finish_first(bus, &reply);
    } else if (held_of(bus, id)) {
        reply.body = &body;
        finish_held(bus, held_of(bus, id), &reply);
    } /* else: not what we asked for, and no progress: it must not put off the timeout */
    evb_message_free(&head);
    evb_message_free(&body);
    return true;
}

/* ---- connections and time ---- */

int64_t evb_bus_backoff(int64_t *backoff_ns) {
    if (*backoff_ns < BACKOFF_SOON_NS)
        *backoff_ns = *backoff_ns ? *backoff_ns * 2 : BACKOFF_LEAST_NS;
    else
        *backoff_ns += *backoff_ns / 100;
    if (*backoff_ns > BACKOFF_MOST_NS)
        *backoff_ns = BACKOFF_MOST_NS;
    return *backoff_ns;
}

/* Whether a hub may have had it on this connection, which is over for it. */
static void mark_sent(evb_bus *bus, evb_call *call) {
    call->was_sent |= call->on_way && evb_channel_was_up(bus->requests);
    call->on_way = false;
}

/* The connection is gone: is there any use in another? */
static void lose_requests(evb_bus *bus, int64_t now) {
    evb_error why;
    bool hopeless = false;
    while (take_reply(bus))
        continue; /* what came before the loss */
    for (evb_call *call = bus->first; call; call = call->next)
        mark_sent(bus, call);
    for (evb_call *call = bus->held; call; call = call->next)
        mark_sent(bus, call);
    evb_channel_close(bus->requests);
    evb_fail(&why, EVB_EUNKNOWN, "the hub went away");
    fail_held(bus, is_lost, 0, &why);
    if (!is_owed(bus))
        return;
    int code = evb_link_explain(bus->link, &hopeless, &why);
    if (hopeless && (!bus->was_up || code == EVB_EPERM))
        fail_calls(bus, &why);
    else
        bus->retry_ns = now + evb_bus_backoff(&bus->backoff_ns);
}

static void look_at_connection(evb_bus *bus, int64_t now) {
    switch (evb_channel_look(bus->requests)) {
    case EVB_CHANNEL_UP:
        bus->was_up = true;
        bus->backoff_ns = 0;
        break;
    case EVB_CHANNEL_DOWN: lose_requests(bus, now); break;
    case EVB_CHANNEL_CLOSED:
        if (is_owed(bus) && now >= bus->retry_ns)
            connect_requests(bus);
        break;
    case EVB_CHANNEL_CONNECTING: break;
    }
}

int evb_bus_explain(const evb_bus *bus, evb_channel *channel, bool was_up, evb_error *err) {
    double seconds = (double)bus->timeout_ns / 1e9;
    bool hopeless;
    if (evb_channel_reached(channel))
        return evb_fail(err, EVB_ETIMEDOUT, "the hub did not answer for %.3g s", seconds);
    if (was_up)
        return evb_fail(err, EVB_ETIMEDOUT, "the hub went away and did not come back for %.3g s", seconds);
    return evb_link_explain(bus->link, &hopeless, err);
}

/* The hub owes an answer for longer than the timeout. */
static void give_up(evb_bus *bus) {
    evb_error why;
    for (evb_call *call = bus->held; call; call = call->next)
        mark_sent(bus, call);
    evb_bus_explain(bus, bus->requests, bus->was_up, &why);
    fail_calls(bus, &why);
}

static int64_t patience_ends(const evb_bus *bus) {
    return bus->first && bus->timeout_ns >= 0 ? bus->progress_ns + bus->timeout_ns : INT64_MAX;
}

bool evb_bus_expired(int64_t now, int64_t deadline, int64_t *grace_ns) {
    if (now < deadline)
        return false;
    if (!*grace_ns)
        *grace_ns = now + GRACE_NS;
    return now >= *grace_ns;
}

/* Held calls whose time is over: the hub has not said so itself, or there is none. */
static void fail_late(evb_bus *bus, int64_t now) {
    evb_error why;
    bool late = false;
    for (evb_call *call = bus->held; call; call = call->next)
        if (evb_bus_expired(now, call->due_ns, &call->grace_ns)) {
            mark_sent(bus, call);
            late = true;
        }
    if (late && evb_bus_explain(bus, bus->requests, bus->was_up, &why) == EVB_ETIMEDOUT)
        evb_fail(&why, EVB_ETIMEDOUT, "the hub did not answer in time"); /* a call has a time of its own */
    if (late)
        fail_held(bus, is_late, now, &why);
}

bool evb_bus_step(evb_bus *bus) {
    uint64_t before = bus->finished;
    while (take_reply(bus))
        continue;
    int64_t now = evb_clock_monotonic_ns();
    look_at_connection(bus, now);
    fail_late(bus, now);
    if (evb_bus_expired(now, patience_ends(bus), &bus->grace_ns))
        give_up(bus);
    for (evb_driven *d = bus->driven; d; d = d->next)
        d->step(d->context);
    return bus->finished != before;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t next_deadline(const evb_bus *bus) {
    if (evb_channel_look(bus->requests) == EVB_CHANNEL_DOWN)
        return 0; /* a look since the step may have taken the one event that would end the wait */
    int64_t at = bus->first && bus->grace_ns ? bus->grace_ns : patience_ends(bus);
    if (is_owed(bus) && bus->retry_ns)
        at = least(at, bus->retry_ns);
    for (const evb_call *call = bus->held; call; call = call->next)
        at = least(at, call->grace_ns ? call->grace_ns : call->due_ns);
    for (evb_driven *d = bus->driven; d; d = d->next)
        at = d->ready(d->context) ? 0 : least(at, d->deadline(d->context));
    return at;
}

int evb_bus_wait(evb_bus *bus, struct pollfd *fds, size_t count, int64_t timeout_ns, evb_error *err) {
    bool progress = evb_bus_step(bus);
    int64_t at = progress ? 0 : next_deadline(bus), now = evb_clock_monotonic_ns();
    int64_t wait = at == INT64_MAX ? -1 : at > now ? at - now : 0;
    if (timeout_ns >= 0 && (wait < 0 || timeout_ns < wait))
        wait = timeout_ns;
    int ready = evb_link_wait(bus->link, fds, count, wait, err);
    if (ready >= 0)
        evb_bus_step(bus);
    return ready;
}

void evb_bus_drive(evb_bus *bus, evb_driven *driven) {
    driven->next = bus->driven;
    bus->driven = driven;
}

void evb_bus_undrive(evb_bus *bus, evb_driven *driven) {
    evb_driven **at = &bus->driven;
    while (*at && *at != driven)
        at = &(*at)->next;
    if (*at)
        *at = driven->next;
}

int evb_bus_until(evb_bus *bus, const bool *done, evb_error *err) {
    while (!*done)
        if (evb_bus_wait(bus, NULL, 0, -1, err) < 0)
            return EVB_EIO;
    return 0;
}

void evb_bus_destroy(evb_bus **self) {
    evb_bus *bus = *self;
    if (!bus)
        return;
    evb_pub_destroy(&bus->own);
    for (evb_call *call = bus->first, *next; call; call = next) {
        next = call->next;
        destroy_call(call);
    }
    for (evb_call *call; (call = bus->held);) {
        bus->held = call->next;
        if (call->drop)
            call->drop(call->context);
        destroy_call(call);
    }
    evb_channel_destroy(&bus->requests);
    evb_link_destroy(&bus->link);
    free(bus);
    *self = NULL;
}

/* ---- status ---- */

typedef struct {
    evb_status *out;
    bool done;
    int code;
    evb_error *err;
} status_wait;

bool evb_status_read(evb_mp mp, evb_status *out) {
    uint32_t rows;
    const char *name;
    size_t size;
    uint64_t value;
    *out = (evb_status){0};
    if (!evb_mp_map(&mp, &rows))
        return false;
    while (rows--) {
        if (!evb_mp_str(&mp, &name, &size))
            return false;
        if (!evb_mp_uint(&mp, &value)) {
            if (!evb_mp_skip(&mp))
                return false;
            continue;
        }
#define ROW(text, field)                                                                                             \
    if (size == sizeof text - 1 && memcmp(name, text, size) == 0)                                                    \
    out->field = (__typeof__(out->field))value
        ROW("first", first);
        ROW("head", head);
        ROW("max_payload", max_payload);
        ROW("pid", pid);
        ROW("time", time_ns);
#undef ROW
    }
    return out->first && out->first - 1 <= out->head;
}

static void status_done(void *context, evb_call *call, const evb_reply *reply) {
    status_wait *w = context;
    (void)call;
    w->done = true;
    w->code = reply->code ? evb_fail(w->err, reply->code, "%s", reply->text) : 0;
    if (!reply->code && !evb_status_read(reply->results, w->out))
        w->code = evb_fail(w->err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
}

int evb_bus_status(evb_bus *bus, evb_status *out, evb_error *err) {
    status_wait w = {.out = out, .err = err};
    msgpack_packer packer;
    evb_call *call = evb_call_new(bus, "status", 0, &packer, status_done, &w);
    if (!call)
        return evb_fail(err, EVB_ENOMEM, "bus: out of memory");
    evb_call_send(bus, call);
    int rc = evb_bus_until(bus, &w.done, err);
    if (!w.done)
        evb_call_forget(bus, &w);
    return rc ? rc : w.code;
}
