/* link.c: the transport over ZeroMQ: a DEALER for requests, a SUB for a feed, a monitor beside each.
 *
 * libzmq's own reconnecting is off: it would go on in silence where we must know that something may have been missed
 * or must be sent again. A socket whose connection fails or ends is closed, and a fresh one connects.
 * Invariants: linger is 0 everywhere, since an exit waits for the acknowledgement and never for the linger; a socket
 * connects before it subscribes, so that the hub sees its subscriptions in the order in which they were made.
 * Any call of libzmq's may fail with EINTR, also one that does not wait, when a signal comes while it looks: it is made
 * again, for a request that was not sent is never answered.
 * Leaves to others: when to connect again, what to send again (client/bus.c, client/subscription.c). */
#include "net/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/record.h"
#include "net/url.h"

/* Requests have no mark: what is under way is bounded by who sends it, and one that a full queue dropped would never be
 * answered. */
enum { FEED_HWM = 256, REQUEST_HWM = 0, FDS_MAX = 64 };

static const int64_t MESSAGE_MOST = (int64_t)EVB_PAYLOAD_MOST + EVB_RECORD_OVERHEAD;

struct evb_link {
    void *context;
    evb_url url;
    char text[EVB_ENDPOINT_MAX];
    evb_channel *channels; /* a list */
    size_t channel_count;
    zmq_pollitem_t *items; /* for evb_link_wait */
    size_t item_room;
    unsigned monitors; /* made so far, for their names */
};

struct evb_channel {
    evb_link *link;
    evb_channel *next;
    evb_channel_kind kind;
    evb_channel_state state;
    void *socket, *monitor;
    bool listening;
    bool reached; /* the kernel has connected us */
    bool was_up;  /* since it was opened */
};

evb_link *evb_link_new(const char *url, evb_error *err) {
    evb_url parsed;
    if (evb_url_parse(url, &parsed, err))
        return NULL;
    evb_link *self = calloc(1, sizeof *self);
    if (!self || !(self->context = zmq_ctx_new())) {
        free(self);
        evb_fail(err, EVB_ENOMEM, "%s: out of memory", url);
        return NULL;
    }
    zmq_ctx_set(self->context, ZMQ_IO_THREADS, 1);
    self->url = parsed;
    snprintf(self->text, sizeof self->text, "%s", url);
    return self;
}

void evb_link_destroy(evb_link **self) {
    if (!*self)
        return;
    while (zmq_ctx_term((*self)->context) && errno == EINTR)
        continue;
    free((*self)->items);
    free(*self);
    *self = NULL;
}

/* What connect(2) says of the hub's socket: 0 or an errno. */
static int try_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int why = connect(fd, (struct sockaddr *)&address, sizeof address) ? errno : 0;
    close(fd);
    return why;
}

int evb_link_explain(const evb_link *self, bool *hopeless, evb_error *err) {
    *hopeless = false;
    if (!self->url.ipc && !self->url.loopback)
        return evb_fail(err, EVB_ENOHUB, "no hub answers at %s: is the host's name right, and evbusd running there?",
                        self->text);
    if (!self->url.ipc)
        return evb_fail(err, EVB_ENOHUB, "no hub at %s: start one with evbusd -u %s", self->text, self->text);
    char lock[EVB_ENDPOINT_MAX + 8];
    snprintf(lock, sizeof lock, "%s/lock", self->url.dir);
    int why = try_connect(self->url.request + strlen("ipc://"));
    bool absent = why == ENOENT || why == ENOTDIR;
    *hopeless = why == EACCES || why == EPERM || (absent && access(lock, F_OK));
    if (why == EACCES || why == EPERM)
        return evb_fail(err, EVB_EPERM, "%s: not permitted: the hub belongs to another user", self->text);
    return evb_fail(err, EVB_ENOHUB, "no hub at %s: start one with evbusd -u %s", self->text, self->text);
}

/* ---- channels ---- */

evb_channel *evb_channel_new(evb_link *link, evb_channel_kind kind) {
    evb_channel *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    *self = (evb_channel){.link = link, .next = link->channels, .kind = kind, .listening = true};
    link->channels = self;
    link->channel_count++;
    return self;
}

void evb_channel_close(evb_channel *self) {
    if (self->socket) {
        zmq_socket_monitor(self->socket, NULL, 0); /* else libzmq may wait for ever for the end of the monitor */
        zmq_close(self->socket);
    }
    if (self->monitor)
        zmq_close(self->monitor);
    self->socket = self->monitor = NULL;
    self->reached = self->was_up = false;
    self->state = EVB_CHANNEL_CLOSED;
}

void evb_channel_destroy(evb_channel **self) {
    if (!*self)
        return;
    evb_channel_close(*self);
    evb_channel **at = &(*self)->link->channels;
    while (*at != *self)
        at = &(*at)->next;
    *at = (*self)->next;
    (*self)->link->channel_count--;
    free(*self);
    *self = NULL;
}

static void set_int(void *socket, int option, int value) { zmq_setsockopt(socket, option, &value, sizeof value); }

static void *make_socket(evb_channel *self) {
    bool feed = self->kind == EVB_CHANNEL_FEED;
    void *socket = zmq_socket(self->link->context, feed ? ZMQ_SUB : ZMQ_DEALER);
    if (!socket)
        return NULL;
    set_int(socket, ZMQ_LINGER, 0);
    set_int(socket, ZMQ_RECONNECT_IVL, -1);
    set_int(socket, ZMQ_RCVHWM, feed ? FEED_HWM : REQUEST_HWM);
    set_int(socket, ZMQ_SNDHWM, REQUEST_HWM);
    set_int(socket, ZMQ_IPV6, 1);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &MESSAGE_MOST, sizeof MESSAGE_MOST);
    return socket;
}

/* The monitor of a socket: a PAIR on which libzmq tells of its connection. */
static void *make_monitor(evb_link *link, void *socket) {
    char name[48];
    snprintf(name, sizeof name, "inproc://monitor-%u", link->monitors++);
    int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED |
                 ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;
    if (TEMP_FAILURE_RETRY(zmq_socket_monitor(socket, name, events)))
        return NULL;
    void *monitor = zmq_socket(link->context, ZMQ_PAIR);
    if (!monitor)
        return NULL;
    set_int(monitor, ZMQ_LINGER, 0);
    if (TEMP_FAILURE_RETRY(zmq_connect(monitor, name)) == 0)
        return monitor;
    zmq_close(monitor);
    return NULL;
}

int evb_channel_open(evb_channel *self, evb_error *err) {
    evb_channel_close(self);
    const evb_url *url = &self->link->url;
    self->socket = make_socket(self);
    self->monitor = self->socket ? make_monitor(self->link, self->socket) : NULL;
    const char *to = self->kind == EVB_CHANNEL_FEED ? url->feed : url->request;
    if (!self->monitor || TEMP_FAILURE_RETRY(zmq_connect(self->socket, to))) {
        int why = errno;
        evb_channel_close(self);
        return evb_fail(err, EVB_EIO, "%s: cannot connect: %s", self->link->text, zmq_strerror(why));
    }
    self->state = EVB_CHANNEL_CONNECTING;
    return 0;
}

/* A part of what the monitor says, as zmq_recv. */
static int hear_monitor(const evb_channel *self, void *out, size_t size) {
    return (int)TEMP_FAILURE_RETRY(zmq_recv(self->monitor, out, size, ZMQ_DONTWAIT));
}

evb_channel_state evb_channel_look(evb_channel *self) {
    uint8_t event[6], address[EVB_ENDPOINT_MAX];
    while (self->monitor && hear_monitor(self, event, sizeof event) == (int)sizeof event) {
        uint16_t kind;
        memcpy(&kind, event, sizeof kind);
        hear_monitor(self, address, sizeof address);
        self->was_up |= kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        self->reached = kind == ZMQ_EVENT_CONNECTED || kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        if (self->state != EVB_CHANNEL_DOWN && kind != ZMQ_EVENT_CONNECTED)
            self->state = kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED ? EVB_CHANNEL_UP : EVB_CHANNEL_DOWN;
    }
    return self->state;
}

bool evb_channel_reached(evb_channel *self) {
    evb_channel_look(self);
    return self->reached;
}

bool evb_channel_was_up(evb_channel *self) {
    evb_channel_look(self);
    return self->was_up;
}

void evb_channel_listen(evb_channel *self, bool on) { self->listening = on; }

/* ---- messages ---- */

static bool send_part(void *socket, const void *data, size_t size, int more) {
    return TEMP_FAILURE_RETRY(zmq_send(socket, data, size, ZMQ_DONTWAIT | more)) >= 0;
}

bool evb_channel_send(evb_channel *self, const void *head, size_t head_size, void *body, size_t size,
                      void (*release)(void *data, void *hint), void *hint) {
    zmq_msg_t message;
    if (!self->socket || !send_part(self->socket, head, head_size, size ? ZMQ_SNDMORE : 0)) {
        if (size)
            release(body, hint);
        return false;
    }
    if (!size)
        return true;
    if (zmq_msg_init_data(&message, body, size, release, hint)) {
        release(body, hint);
        send_part(self->socket, "", 0, 0);
        return false;
    }
    if (TEMP_FAILURE_RETRY(zmq_msg_send(&message, self->socket, ZMQ_DONTWAIT)) >= 0)
        return true;
    zmq_msg_close(&message);
    return false;
}

bool evb_channel_subscribe(evb_channel *self, const void *prefix, size_t size) {
    return self->socket && zmq_setsockopt(self->socket, ZMQ_SUBSCRIBE, prefix, size) == 0;
}

static bool receive_part(void *socket, evb_message *out) {
    zmq_msg_t *message = malloc(sizeof *message);
    if (!message)
        return false;
    zmq_msg_init(message);
    if (TEMP_FAILURE_RETRY(zmq_msg_recv(message, socket, ZMQ_DONTWAIT)) < 0) {
        free(message);
        return false;
    }
    *out = (evb_message){zmq_msg_data(message), zmq_msg_size(message), message};
    return true;
}

int evb_channel_receive(evb_channel *self, evb_message *first, evb_message *second) {
    *first = *second = (evb_message){0};
    if (!self->socket || !receive_part(self->socket, first))
        return 0;
    bool more = zmq_msg_more(first->handle);
    if (more && receive_part(self->socket, second))
        for (more = zmq_msg_more(second->handle); more;) {
            evb_message extra;
            if (!receive_part(self->socket, &extra))
                break;
            more = zmq_msg_more(extra.handle);
            evb_message_free(&extra);
        }
    return 1;
}

bool evb_channel_has(evb_channel *self) {
    int events = 0;
    size_t size = sizeof events;
    return self->socket && TEMP_FAILURE_RETRY(zmq_getsockopt(self->socket, ZMQ_EVENTS, &events, &size)) == 0 &&
           events & ZMQ_POLLIN;
}

void evb_message_free(evb_message *self) {
    if (self->handle) {
        zmq_msg_close(self->handle);
        free(self->handle);
    }
    *self = (evb_message){0};
}

/* ---- waiting ---- */

static size_t add_channels(const evb_link *self, zmq_pollitem_t *items) {
    size_t n = 0;
    for (const evb_channel *c = self->channels; c; c = c->next) {
        if (!c->socket)
            continue;
        items[n++] = (zmq_pollitem_t){c->monitor, 0, ZMQ_POLLIN, 0};
        if (c->listening)
            items[n++] = (zmq_pollitem_t){c->socket, 0, ZMQ_POLLIN, 0};
    }
    return n;
}

static short to_zmq(short events) {
    return (short)(((events & POLLIN) ? ZMQ_POLLIN : 0) | ((events & POLLOUT) ? ZMQ_POLLOUT : 0) | ZMQ_POLLERR);
}

static short from_zmq(short events) {
    return (short)(((events & ZMQ_POLLIN) ? POLLIN : 0) | ((events & ZMQ_POLLOUT) ? POLLOUT : 0) |
                   ((events & ZMQ_POLLERR) ? POLLERR : 0));
}

static bool room_for_items(evb_link *self, size_t count) {
    if (count <= self->item_room)
        return true;
    zmq_pollitem_t *items = realloc(self->items, count * 2 * sizeof *items);
    if (!items)
        return false;
    self->items = items;
    self->item_room = count * 2;
    return true;
}

int evb_link_wait(evb_link *self, struct pollfd *fds, size_t count, int64_t timeout_ns, evb_error *err) {
    int ready = 0;
    if (count > FDS_MAX)
        return evb_fail(err, EVB_EINVAL, "evb_bus_wait: more than %d descriptors", FDS_MAX);
    if (!room_for_items(self, self->channel_count * 2 + count))
        return evb_fail(err, EVB_ENOMEM, "%s: out of memory", self->text);
    zmq_pollitem_t *items = self->items;
    size_t n = add_channels(self, items);
    for (size_t i = 0; i < count; i++)
        items[n + i] = (zmq_pollitem_t){NULL, fds[i].fd, to_zmq(fds[i].events), 0};
    if (zmq_poll(items, (int)(n + count), evb_clock_poll_ms(timeout_ns)) < 0 && errno != EINTR)
        return evb_fail(err, EVB_EIO, "%s: %s", self->text, zmq_strerror(errno));
    for (size_t i = 0; i < count; i++) {
        fds[i].revents = from_zmq(items[n + i].revents);
        ready += fds[i].revents != 0;
    }
    return ready;
}
