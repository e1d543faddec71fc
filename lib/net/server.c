/* server.c: one loop over three sockets: requests in (ROUTER), the feed out (XPUB), signals.
 *
 * A round takes in the requests that are there, up to a bound, has the hub decide, and then does what it says; only
 * then are subscriptions looked at and beats sent, so that a beat's seq is always the feed's.
 * The mark: libzmq drops a frame for a subscriber whose queue is full and tells nobody. With XPUB_NODROP a send fails
 * instead, once for each queue that has become full; the frame is then sent again without it, and every frame
 * from then on carries that seq as its mark. A queue that is full already is passed over by libzmq until it has room,
 * so a stopped subscriber costs one failed send and nobody waits for it. (Read in libzmq 4.3.4: xpub.cpp, dist.cpp.)
 * Memory: a frame fanned out from a request is not copied; the request's bytes live until its last frame was sent.
 * What peers can make libzmq hold without our seeing it (a message whose parts never end) is bounded by a watch on the
 * process's memory: over the bound all sockets are closed and bound again, and clients come back by themselves.
 * Leaves to others: what requests mean (hub), descriptors running out (accept_guard.c). */
#include "net/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/units.h"
#include "net/accept_guard.h"
#include "net/url.h"

enum {
    ROUND_REQUESTS = 128,
    ROUND_BYTES = 4 * 1024 * 1024,
    ROUND_ANSWERS = 16 * 1024 * 1024, /* bytes of events, and one fetch more */
    FEED_HWM = 256,                   /* frames queued for one subscriber; evbus(7) states the memory that follows */
    REPLY_HWM = 128,                  /* replies queued for one client: its window of 64 and its fetches */
    REQUEST_HWM = 64,                 /* requests taken in for one client before it is read no further */
    SUBSCRIPTION_MAX = 1024,
    COPY_MAX = 1024, /* a smaller frame is copied into its message */
    BACKLOG = 1024
};
static const int64_t BEAT_NS = EVB_SECOND_NS;
static const int64_t TEND_AGAIN_NS = 50 * EVB_MILLISECOND_NS; /* while there is more to tend */
static const int64_t FINISH_NS = EVB_SECOND_NS;
static const int64_t WATCH_NS = 250 * EVB_MILLISECOND_NS;
static const int64_t LATE_NS = 250 * EVB_MILLISECOND_NS;  /* who sleeps so much longer than asked was stopped */
static const int64_t GRACE_NS = 250 * EVB_MILLISECOND_NS; /* to read what has come meanwhile */
static const uint64_t MEMORY_BOUND = (uint64_t)512 << 20;
static const uint64_t MEMORY_SPARE = (uint64_t)256 << 20; /* up to here readers that catch up get large pieces */
static const char BEAT_TOPIC[] = "$hub.beat";
static const char WELCOME_PREFIX[] = "$hub.welcome.";

/* The body of a request, for as long as frames cut from it are under way. */
typedef struct {
    atomic_uint uses;
    zmq_msg_t message;
} parcel;

/* A request's sender: its routing id. */
typedef struct {
    zmq_msg_t id;
} peer;

struct evb_server {
    evb_server_options options;
    evb_hub *hub;
    evb_journal *journal;
    evb_log log;
    evb_url *urls;
    int *locks; /* one a URL; -1 for tcp */
    void *context, *requests, *feed;
    parcel *parcels[ROUND_REQUESTS];
    size_t parcel_count;
    size_t subscriptions; /* distinct ones; while there are none nothing is sent on the feed */
    uint64_t mark;        /* the newest seq that some subscriber may not have been sent */
    int64_t beat_due_ns, tend_due_ns, watch_due_ns; /* monotonic */
    int64_t grace_ns; /* monotonic: nothing but the watch is due before, for we were stopped */
    uint64_t memory_bound;
    unsigned long refused_said;
};

/* ---- parcels ---- */

static void release_parcel(parcel *p) {
    if (atomic_fetch_sub(&p->uses, 1) != 1)
        return;
    zmq_msg_close(&p->message);
    free(p);
}

static void release_frame(void *data, void *hint) {
    (void)data;
    release_parcel(hint);
}

/* The parcel of this round in which a frame lies. */
static parcel *parcel_of(evb_server *self, const uint8_t *frame) {
    for (size_t i = self->parcel_count; i-- > 0;) {
        const uint8_t *data = zmq_msg_data(&self->parcels[i]->message);
        if (frame >= data && frame < data + zmq_msg_size(&self->parcels[i]->message))
            return self->parcels[i];
    }
    return NULL;
}

/* ---- the feed ---- */

static bool send_frame(evb_server *self, zmq_msg_t *message) {
    int off = 0, on = 1;
    if (zmq_msg_send(message, self->feed, ZMQ_DONTWAIT) >= 0)
        return true;
    zmq_setsockopt(self->feed, ZMQ_XPUB_NODROP, &off, sizeof off);
    if (zmq_msg_send(message, self->feed, ZMQ_DONTWAIT) < 0)
        zmq_msg_close(message);
    zmq_setsockopt(self->feed, ZMQ_XPUB_NODROP, &on, sizeof on);
    return false;
}

static int make_frame(evb_server *self, const evb_action *action, zmq_msg_t *message) {
    parcel *p = action->frame_size > COPY_MAX ? parcel_of(self, action->frame) : NULL;
    if (p) {
        atomic_fetch_add(&p->uses, 1);
        if (zmq_msg_init_data(message, action->frame, action->frame_size, release_frame, p) == 0)
            return 0;
        release_parcel(p);
        return -1;
    }
    if (zmq_msg_init_size(message, action->frame_size))
        return -1;
    memcpy(zmq_msg_data(message), action->frame, action->frame_size);
    return 0;
}

static void fan_out(evb_server *self, const evb_action *action) {
    if (!self->subscriptions)
        return;
    zmq_msg_t message;
    evb_batch_set_mark(action->batch, self->mark);
    if (make_frame(self, action, &message) || !send_frame(self, &message))
        self->mark = action->last ? action->last : self->mark;
}

/* Sends an empty frame that says how far the feed has come. */
static void say_head(evb_server *self, const char *topic, size_t size) {
    evb_buf frame = {0};
    zmq_msg_t message;
    if (evb_hub_beat(self->hub, topic, size, self->mark, evb_clock_wall_ns(), &frame) &&
        zmq_msg_init_size(&message, frame.size) == 0) {
        memcpy(zmq_msg_data(&message), frame.data, frame.size);
        send_frame(self, &message);
    }
    evb_buf_free(&frame);
}

/* Whether a subscription asks for a welcome: the prefix, a token, a NUL. */
static bool asks_welcome(const char *subscription, size_t size) {
    size_t prefix = sizeof WELCOME_PREFIX - 1;
    return size > prefix + 1 && size <= prefix + 65 && memcmp(subscription, WELCOME_PREFIX, prefix) == 0 &&
           memchr(subscription, 0, size) == subscription + size - 1;
}

/* Who sent it: libzmq notes "NAME:UID:GID:PID" on what comes by ipc, on every frame but the first of a request. */
static evb_origin origin_of(zmq_msg_t *message) {
    evb_origin origin = {-1, -1};
    const char *address = zmq_msg_gets(message, "Peer-Address"), *at = address ? strchr(address, ':') : NULL;
    int64_t gid;
    if (!at || sscanf(at, ":%" SCNd64 ":%" SCNd64 ":%" SCNd64, &origin.uid, &gid, &origin.pid) != 3)
        return (evb_origin){-1, -1};
    return origin;
}

/* Takes in what XPUB tells of a subscription: a byte, 1 or 0, and the prefix. */
static void read_subscription(evb_server *self, zmq_msg_t *message) {
    const char *text = zmq_msg_data(message);
    size_t size = zmq_msg_size(message), skip = sizeof WELCOME_PREFIX; /* the flag and the prefix */
    if (!size || size > SUBSCRIPTION_MAX)
        return;
    if (text[0] == 1)
        self->subscriptions++;
    else if (text[0] == 0 && self->subscriptions)
        self->subscriptions--;
    if (!asks_welcome(text + 1, size - 1))
        return;
    if (text[0] == 1) {
        evb_hub_came(self->hub, text + skip, size - 1 - skip, origin_of(message), evb_clock_wall_ns());
        say_head(self, text + 1, size - 2);
    } else {
        evb_hub_left(self->hub, text + skip, size - 1 - skip);
    }
}

static void read_subscriptions(evb_server *self) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, self->feed, ZMQ_DONTWAIT) >= 0)
        read_subscription(self, &message);
    zmq_msg_close(&message);
}

/* ---- replies ---- */

static void drop_peer(void *data) {
    peer *from = data;
    zmq_msg_close(&from->id);
    free(from);
}

static void free_buf(void *data, void *hint) {
    (void)hint;
    free(data);
}

/* Sends a buf, which it takes over. */
static int send_buf(void *socket, evb_buf *buf, int flags) {
    zmq_msg_t message;
    int rc = buf->size ? zmq_msg_init_data(&message, buf->data, buf->size, free_buf, NULL) : zmq_msg_init(&message);
    if (rc || !buf->size)
        evb_buf_free(buf);
    *buf = (evb_buf){0};
    if (rc)
        return -1;
    if (zmq_msg_send(&message, socket, ZMQ_DONTWAIT | flags) >= 0)
        return 0;
    zmq_msg_close(&message);
    return -1;
}

static bool is_same_peer(peer *a, peer *b) {
    size_t size = zmq_msg_size(&a->id);
    return zmq_msg_size(&b->id) == size && memcmp(zmq_msg_data(&a->id), zmq_msg_data(&b->id), size) == 0;
}

/* A client that is gone, or does not read its replies, loses them: it asks again when it is back. */
static void reply(evb_server *self, evb_action *action) {
    peer *to = action->peer;
    if (zmq_msg_send(&to->id, self->requests, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0) {
        send_buf(self->requests, &action->head, action->has_body ? ZMQ_SNDMORE : 0);
        if (action->has_body)
            send_buf(self->requests, &action->body, 0);
    }
    drop_peer(to);
    evb_buf_free(&action->head);
    evb_buf_free(&action->body);
}

/* ---- rounds ---- */

/* Throws away the further parts of a message that has more than it should. */
static void discard_rest(evb_server *self, zmq_msg_t *part) {
    while (zmq_msg_more(part)) {
        zmq_msg_close(part);
        zmq_msg_init(part);
        if (zmq_msg_recv(part, self->requests, ZMQ_DONTWAIT) < 0)
            return;
    }
}

/* Receives one request: sender, head and, perhaps, body. 1; 0: none is there; -1: one that was not well formed. */
static int receive(evb_server *self, peer *from, zmq_msg_t *head, zmq_msg_t *body) {
    if (zmq_msg_recv(&from->id, self->requests, ZMQ_DONTWAIT) < 0)
        return 0;
    if (!zmq_msg_more(&from->id) || zmq_msg_recv(head, self->requests, ZMQ_DONTWAIT) < 0)
        return -1;
    if (!zmq_msg_more(head))
        return zmq_msg_size(head) <= EVB_REQUEST_MAX ? 1 : -1;
    if (zmq_msg_recv(body, self->requests, ZMQ_DONTWAIT) < 0)
        return -1;
    if (!zmq_msg_more(body) && zmq_msg_size(head) <= EVB_REQUEST_MAX)
        return 1;
    discard_rest(self, body);
    return -1;
}

/* Hands a received request to the hub; its body goes to the round's parcels. */
static int take_request(evb_server *self, peer *from, zmq_msg_t *head, parcel *p, evb_error *err) {
    self->parcels[self->parcel_count++] = p;
    return evb_hub_request(self->hub, from, origin_of(head), zmq_msg_data(head), zmq_msg_size(head),
                           zmq_msg_data(&p->message), zmq_msg_size(&p->message), evb_clock_wall_ns(),
                           evb_clock_monotonic_ns(), err);
}

/* Receives and takes one request. 1 and *size; 0: none is there; or an error that ends the hub. */
static int next_request(evb_server *self, size_t *size, evb_error *err) {
    peer *from = malloc(sizeof *from);
    parcel *p = malloc(sizeof *p);
    zmq_msg_t head;
    if (!from || !p) {
        free(from);
        free(p);
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    }
    zmq_msg_init(&from->id);
    zmq_msg_init(&head);
    zmq_msg_init(&p->message);
    atomic_init(&p->uses, 1);
    int got = receive(self, from, &head, &p->message), rc = got ? 1 : 0;
    *size = zmq_msg_size(&p->message);
    if (got > 0) {
        int failed = take_request(self, from, &head, p, err);
        rc = failed ? failed : 1;
    } else {
        zmq_msg_close(&from->id);
        free(from);
        release_parcel(p);
    }
    zmq_msg_close(&head);
    return rc;
}

static int take_requests(evb_server *self, evb_error *err) {
    size_t bytes = 0, size = 0;
    for (int i = 0; i < ROUND_REQUESTS && bytes < ROUND_BYTES && evb_hub_answered(self->hub) < ROUND_ANSWERS; i++) {
        int rc = next_request(self, &size, err);
        if (rc <= 0)
            return rc;
        bytes += size;
    }
    return 0;
}

static void play_action(evb_server *self, evb_action *action) {
    switch (action->kind) {
    case EVB_ACTION_NONE: return;
    case EVB_ACTION_FEED: fan_out(self, action); return;
    case EVB_ACTION_REPLY: reply(self, action); return;
    case EVB_ACTION_POKE:
        say_head(self, (const char *)action->head.data, action->head.size);
        evb_buf_free(&action->head);
        return;
    }
}

/* Whether a reply to the same peer stands before actions[at]: replies to one come in the order of its requests. */
static bool is_behind_another(const evb_action *actions, size_t at) {
    peer *to = actions[at].peer;
    for (size_t i = 0; i < at; i++)
        if (actions[i].kind == EVB_ACTION_REPLY && is_same_peer(actions[i].peer, to))
            return true;
    return false;
}

/* Sends what need not wait for the round's sync, so that who gets it can ask for more meanwhile. */
static void reply_early(evb_server *self) {
    evb_action *actions;
    size_t count = evb_hub_early(self->hub, &actions);
    for (size_t i = 0; i < count; i++) {
        if (!actions[i].early || is_behind_another(actions, i))
            continue;
        reply(self, &actions[i]);
        actions[i].kind = EVB_ACTION_NONE;
    }
}

/* Ends the hub's round and does what it says. */
static int end_round(evb_server *self, evb_error *err) {
    evb_action *actions;
    size_t count;
    reply_early(self);
    int rc = evb_hub_commit(self->hub, evb_clock_monotonic_ns(), &actions, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        play_action(self, &actions[i]);
    for (size_t i = 0; i < self->parcel_count; i++)
        release_parcel(self->parcels[i]);
    self->parcel_count = 0;
    return rc;
}

static int play_round(evb_server *self, evb_error *err) {
    int rc = take_requests(self, err);
    return rc ? rc : end_round(self, err);
}

/* ---- opening and closing ---- */

static void *open_socket(evb_server *self, int type, int receive_hwm, int send_hwm, int64_t max_message) {
    void *socket = zmq_socket(self->context, type);
    int linger = 0, backlog = BACKLOG, ipv6 = 1;
    if (!socket)
        return NULL;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_BACKLOG, &backlog, sizeof backlog);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &receive_hwm, sizeof receive_hwm);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &send_hwm, sizeof send_hwm);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_message, sizeof max_message);
    zmq_setsockopt(socket, ZMQ_IPV6, &ipv6, sizeof ipv6);
    return socket;
}

static int bind_url(evb_server *self, const evb_url *url, evb_error *err) {
    char path[EVB_ENDPOINT_MAX + 8];
    mode_t mask = umask(0177);
    if (url->ipc) { /* under the lock, so a socket there is a stale one */
        snprintf(path, sizeof path, "%s/hub", url->dir);
        unlink(path);
        snprintf(path, sizeof path, "%s/feed", url->dir);
        unlink(path);
    }
    int rc = zmq_bind(self->requests, url->request) || zmq_bind(self->feed, url->feed) ? -1 : 0;
    int why = errno;
    umask(mask);
    if (rc == 0)
        return 0;
    return evb_fail(err,
                    why == EADDRINUSE ? EVB_EBUSY
                    : why == EACCES   ? EVB_EPERM
                                      : EVB_EIO,
                    "%s: cannot bind: %s", url->request, zmq_strerror(why));
}

static int open_sockets(evb_server *self, evb_error *err) {
    int on = 1;
    int64_t largest = (int64_t)self->options.max_payload + EVB_RECORD_OVERHEAD + 2 * EVB_BATCH_SOFT;
    if (largest < EVB_REQUEST_MAX)
        largest = EVB_REQUEST_MAX;
    self->context = zmq_ctx_new();
    if (!self->context)
        return evb_fail(err, EVB_ENOMEM, "hub: %s", zmq_strerror(errno));
    zmq_ctx_set(self->context, ZMQ_IO_THREADS, 1);
    self->requests = open_socket(self, ZMQ_ROUTER, REQUEST_HWM, REPLY_HWM, largest);
    self->feed = open_socket(self, ZMQ_XPUB, FEED_HWM, FEED_HWM, SUBSCRIPTION_MAX);
    if (!self->requests || !self->feed)
        return evb_fail(err, EVB_EIO, "hub: %s", zmq_strerror(errno));
    zmq_setsockopt(self->requests, ZMQ_ROUTER_MANDATORY, &on, sizeof on);
    zmq_setsockopt(self->feed, ZMQ_XPUB_NODROP, &on, sizeof on);
    for (size_t i = 0; i < self->options.url_count; i++) {
        int rc = bind_url(self, &self->urls[i], err);
        if (rc)
            return rc;
    }
    self->subscriptions = 0;
    self->mark = evb_journal_head(self->journal);
    return 0;
}

static void close_sockets(evb_server *self) {
    if (self->requests)
        zmq_close(self->requests);
    if (self->feed)
        zmq_close(self->feed);
    if (self->context)
        while (zmq_ctx_term(self->context) && errno == EINTR)
            continue;
    self->requests = self->feed = self->context = NULL;
}

/* Makes the directory of an ipc URL, checks that nobody else may enter it, and takes its lock. */
static int take_directory(evb_server *self, size_t i, evb_error *err) {
    const char *dir = self->urls[i].dir;
    struct stat st;
    char path[EVB_ENDPOINT_MAX + 8];
    if (mkdir(dir, 0700) && errno != EEXIST)
        return evb_fail_errno(err, errno == EACCES ? EVB_EPERM : EVB_EIO, errno, "%s: cannot make the directory",
                              dir);
    if (lstat(dir, &st))
        return evb_fail_errno(err, EVB_EIO, errno, "%s", dir);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077))
        return evb_fail(err, EVB_EPERM, "%s: must be a directory of yours that nobody else may enter (chmod 700)",
                        dir);
    snprintf(path, sizeof path, "%s/lock", dir);
    self->locks[i] = evb_lock_take(path, err);
    return self->locks[i] < 0 ? self->locks[i] : 0;
}

static int take_urls(evb_server *self, evb_error *err) {
    for (size_t i = 0; i < self->options.url_count; i++) {
        evb_url *url = &self->urls[i];
        int rc = evb_url_parse(self->options.urls[i], url, err);
        if (rc == 0 && url->ipc)
            rc = take_directory(self, i, err);
        else if (rc == 0 && !url->loopback)
            rc = evb_fail(err, EVB_EINVAL, "%s: the hub listens on this machine only (tcp://127.0.0.1:PORT)",
                          self->options.urls[i]);
        if (rc)
            return rc;
    }
    return 0;
}

evb_server *evb_server_new(const evb_server_options *options, evb_hub *hub, evb_journal *journal, evb_log log,
                           evb_error *err) {
    evb_server *self = calloc(1, sizeof *self);
    if (!self || !(self->urls = calloc(options->url_count, sizeof *self->urls)) ||
        !(self->locks = malloc(options->url_count * sizeof *self->locks))) {
        evb_fail(err, EVB_ENOMEM, "hub: out of memory");
        evb_server_destroy(&self);
        return NULL;
    }
    for (size_t i = 0; i < options->url_count; i++)
        self->locks[i] = -1;
    self->options = *options;
    self->hub = hub;
    self->journal = journal;
    self->log = log;
    self->memory_bound = MEMORY_BOUND;
    evb_hub_on_drop(hub, drop_peer);
    evb_accept_guard_arm();
    if (take_urls(self, err) || open_sockets(self, err))
        evb_server_destroy(&self);
    return self;
}

void evb_server_destroy(evb_server **self) {
    evb_server *s = *self;
    if (!s)
        return;
    close_sockets(s);
    for (size_t i = 0; s->locks && i < s->options.url_count; i++) {
        char path[EVB_ENDPOINT_MAX + 8];
        if (s->locks[i] < 0)
            continue;
        snprintf(path, sizeof path, "%s/hub", s->urls[i].dir);
        unlink(path);
        snprintf(path, sizeof path, "%s/feed", s->urls[i].dir);
        unlink(path);
        close(s->locks[i]);
    }
    free(s->urls);
    free(s->locks);
    free(s);
    *self = NULL;
}

/* ---- the watch ---- */

/* Bytes of the process's memory that no file backs: proc(5), statm. */
static uint64_t anonymous_memory(void) {
    unsigned long size, resident, shared;
    FILE *f = fopen("/proc/self/statm", "re");
    int n = f ? fscanf(f, "%lu %lu %lu", &size, &resident, &shared) : 0;
    if (f)
        fclose(f);
    return n == 3 && resident > shared ? (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Over the bound: closes everything that peers can fill, and binds again. What still stands then is ours. */
static int watch(evb_server *self, evb_error *err) {
    unsigned long refused = evb_accept_guard_refused();
    if (refused != self->refused_said)
        evb_log_say(&self->log, "hub: %lu connection%s turned away: too many open files", refused,
                    evb_plural(refused));
    self->refused_said = refused;
    uint64_t now = anonymous_memory(), spare_to = self->memory_bound - MEMORY_BOUND + MEMORY_SPARE;
    evb_hub_set_spare(self->hub, now < spare_to ? (size_t)(spare_to - now) : 0);
    if (now < self->memory_bound)
        return 0;
    evb_log_say(&self->log,
                "hub: %" PRIu64 " MiB in memory, held by what clients send or do not read: closing all "
                "connections; they come back by themselves",
                now >> 20);
    close_sockets(self);
    evb_hub_left_all(self->hub);
    malloc_trim(0);
    self->memory_bound = anonymous_memory() + MEMORY_BOUND;
    return open_sockets(self, err);
}

/* ---- the loop ---- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* What is due but for the watch, which must not wait: memory fills from what is read. */
static int act_on_time(evb_server *self, int64_t now, evb_error *err) {
    if (now >= self->beat_due_ns) {
        say_head(self, BEAT_TOPIC, sizeof BEAT_TOPIC - 1);
        self->beat_due_ns = now + BEAT_NS;
    }
    if (now >= self->tend_due_ns) {
        bool more = evb_journal_tend(self->journal, evb_clock_wall_ns());
        self->tend_due_ns = now + (more ? TEND_AGAIN_NS : self->options.tend_ns);
    }
    if (now < evb_hub_deadline(self->hub))
        return 0;
    evb_journal_watch_clock(self->journal, evb_clock_wall_ns(), evb_clock_monotonic_ns());
    int rc = evb_hub_tick(self->hub, now, err);
    return rc ? rc : end_round(self, err);
}

static int on_time(evb_server *self, evb_error *err) {
    int64_t now = evb_clock_monotonic_ns();
    int rc = now < self->grace_ns ? 0 : act_on_time(self, now, err);
    if (rc == 0 && now >= self->watch_due_ns) {
        rc = watch(self, err);
        self->watch_due_ns = now + WATCH_NS;
    }
    return rc;
}

static int64_t next_deadline(const evb_server *self) {
    int64_t at = least(least(self->beat_due_ns, self->tend_due_ns), evb_hub_deadline(self->hub));
    return least(at > self->grace_ns ? at : self->grace_ns, self->watch_due_ns);
}

/* Sleeps until something comes, or is due. A hub that was itself stopped meanwhile (SIGSTOP, a frozen machine) finds
 * deadlines passed before libzmq's thread, stopped too, has read what came: members who say that they are at work. So what
 * is due waits a moment; a beat, too, which is not to tell of a time whose events lie unread. Not again at once: a hub that
 * is stopped again and again is to act all the same. */
static int sleep_until_due(evb_server *self, zmq_pollitem_t *items, int count, evb_error *err) {
    int64_t now = evb_clock_monotonic_ns(), due = next_deadline(self), wait = due > now ? due - now : 0;
    if (zmq_poll(items, count, evb_clock_poll_ms(wait)) < 0 && errno != EINTR)
        return evb_fail(err, EVB_EIO, "hub: %s", zmq_strerror(errno));
    int64_t awake = evb_clock_monotonic_ns();
    if (now >= self->grace_ns && awake - now > wait + LATE_NS)
        self->grace_ns = awake + GRACE_NS;
    return 0;
}

int evb_server_run(evb_server *self, int signal_fd, evb_error *err) {
    for (;;) {
        zmq_pollitem_t items[] = {
            {self->requests, 0, ZMQ_POLLIN, 0}, {self->feed, 0, ZMQ_POLLIN, 0}, {NULL, signal_fd, ZMQ_POLLIN, 0}};
        if (sleep_until_due(self, items, 3, err))
            return err->code;
        int rc = items[0].revents ? play_round(self, err) : 0;
        if (rc == 0 && items[1].revents)
            read_subscriptions(self);
        rc = rc ? rc : on_time(self, err);
        if (rc)
            return rc;
        if (items[2].revents)
            return 0;
    }
}

/* What has arrived is more than a round where there are many clients; who sends on and on does not keep us for ever. */
int evb_server_finish(evb_server *self, evb_error *err) {
    int64_t end = evb_clock_monotonic_ns() + FINISH_NS;
    zmq_pollitem_t item = {self->requests, 0, ZMQ_POLLIN, 0};
    int rc;
    do
        rc = play_round(self, err);
    while (rc == 0 && evb_clock_monotonic_ns() < end && zmq_poll(&item, 1, 0) > 0);
    return rc;
}
