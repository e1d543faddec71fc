/* publisher.c: events into batches, batches into frames, frames to the hub within a window, in order.
 *
 * Invariants: the frames in flight and then the open one hold the events in the order in which they were added;
 * a frame's bytes never change once it was sent, since it may be sent again; at most WINDOW_FRAMES and, beyond the
 * first, WINDOW_BYTES are in flight. An event that is refused leaves no trace.
 * How long a batch waits for company: not at all while fewer than EAGER_FRAMES are in flight; else for the next
 * acknowledgement (the idea is Nagle's, RFC 896).
 * Leaves to others: sending again after a lost connection (bus.c). */
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/client_private.h"
#include "client/records.h"
#include "event/check.h"
#include "event/topic.h"

enum { WINDOW_FRAMES = 64, WINDOW_BYTES = 4 * 1024 * 1024, EAGER_FRAMES = 4 };

struct evb_pub {
    evb_bus *bus;
    evb_pub_options options;
    uint8_t producer[EVB_PRODUCER_SIZE];
    uint64_t batches;       /* begun so far: the number of the open one */
    uint64_t acked;         /* number of the last acknowledged batch */
    evb_frame *open;        /* the frame being filled; NULL: none */
    size_t record;          /* where its last record begins */
    uint64_t added, stored; /* events */
    size_t flying, flying_bytes;
    bool wanted;                 /* evb_pub_send was called for the open frame */
    uint64_t max_payload;        /* the hub's; 0: not known yet */
    bool asking;                 /* for it */
    evb_error failed;            /* final, once code is set */
    evb_frame *left, **left_end; /* frames that were answered with an error, or after one, in order */
};

evb_pub *evb_pub_new(evb_bus *bus, const evb_pub_options *options, evb_error *err) {
    if (options && options->due_ns && (options->due_ns < 0 || options->live || options->atomic || options->expects)) {
        evb_fail(err, EVB_EINVAL, "publisher: due_ns goes with neither live, atomic nor expects, and is a time");
        return NULL;
    }
    evb_pub *self = calloc(1, sizeof *self);
    if (!self || getrandom(self->producer, sizeof self->producer, 0) != sizeof self->producer) {
        free(self);
        evb_fail(err, EVB_ENOMEM, "publisher: out of memory");
        return NULL;
    }
    self->bus = bus;
    self->left_end = &self->left;
    if (options)
        self->options = *options;
    return self;
}

void evb_pub_destroy(evb_pub **self) {
    if (!*self)
        return;
    evb_call_forget((*self)->bus, *self);
    evb_frame_release((*self)->open);
    for (evb_frame *frame = (*self)->left, *next; frame; frame = next) {
        next = frame->next;
        evb_frame_release(frame);
    }
    free(*self);
    *self = NULL;
}

static int failure(const evb_pub *self, evb_error *err) {
    return self->failed.code ? evb_fail(err, self->failed.code, "%s", self->failed.text) : 0;
}

/* ---- answers ---- */

/* How many events the `batches` batches have that begin at *at, which moves behind them; 0: they are not there, or the
 * first is not of this number. */
static uint64_t count_events(const evb_buf *frame, size_t *at, uint64_t number, uint64_t batches) {
    evb_record rec;
    uint64_t events = 0;
    for (uint64_t i = 0; i < batches; i++, *at += rec.size) {
        if (*at >= frame->size || evb_record_parse(frame->data + *at, frame->size - *at, &rec) ||
            rec.producer_seq != number + i)
            return 0;
        events += rec.count;
    }
    return events;
}

static void report(evb_pub *self, uint64_t seq, uint64_t version, uint64_t count) {
    if (count && self->options.stored)
        self->options.stored(self->options.context, seq, version, count);
}

static void report_again(evb_pub *self, uint64_t seq, uint64_t version) {
    evb_stored_fn *fn = self->options.again ? self->options.again : self->options.stored;
    if (fn)
        fn(self->options.context, seq, version, 1);
}

/* One run of the answer: batches that were stored, or one batch of which some events were stored before. */
typedef struct {
    uint64_t number, batches, seq, version, events;
    uint64_t stands; /* the version that the topic stands at with the last of them; 0: not known */
} run;

/* Reads the next of a batch's events that were stored before: its index, not below `least`, and its place. */
static bool read_again(evb_mp *mp, uint64_t least, uint64_t events, uint64_t *index, uint64_t *seq,
                       uint64_t *version) {
    uint32_t fields;
    *version = 0;
    if (!evb_mp_array(mp, &fields) || fields < 2 || !evb_mp_uint(mp, index) || !evb_mp_uint(mp, seq) ||
        *index < least || *index >= events || (fields > 2 && !evb_mp_uint(mp, version)))
        return false;
    while (fields-- > 3)
        if (!evb_mp_skip(mp))
            return false;
    return true;
}

/* Reports a batch whose row goes on, at *mp, with the events that were stored before. */
static bool take_again(evb_pub *self, evb_mp *mp, run *r) {
    uint32_t count;
    uint64_t at = 0, index, seq, version, fresh = 0;
    if (r->batches != 1 || !evb_mp_array(mp, &count))
        return false;
    while (count--) {
        if (!read_again(mp, at, r->events, &index, &seq, &version))
            return false;
        report(self, r->seq + fresh, r->version ? r->version + fresh : 0, index - at);
        report_again(self, seq, version);
        fresh += index - at;
        at = index + 1;
        r->stands = version > r->stands ? version : r->stands;
    }
    report(self, r->seq + fresh, r->version ? r->version + fresh : 0, r->events - at);
    fresh += r->events - at;
    r->stands = fresh && r->version ? r->version + fresh - 1 : r->stands;
    return true;
}

/* Reads a run, whose batches begin at *at of the frame, and reports it. */
static bool take_run(evb_pub *self, const evb_buf *frame, size_t *at, evb_mp *mp, run *r) {
    uint32_t fields;
    *r = (run){0};
    if (!evb_mp_array(mp, &fields) || fields < 3 || !evb_mp_uint(mp, &r->number) || !evb_mp_uint(mp, &r->batches) ||
        !evb_mp_uint(mp, &r->seq) || !(r->events = count_events(frame, at, r->number, r->batches)))
        return false;
    fields -= 3;
    if (self->options.atomic && !fields)
        return false;
    if (fields && fields-- && !evb_mp_uint(mp, &r->version) && (self->options.atomic || !evb_mp_nil(mp)))
        return false;
    bool again = fields && !evb_mp_nil(mp);
    if (again && !take_again(self, mp, r))
        return false;
    if (!again) {
        report(self, r->seq, r->version, r->events);
        r->stands = r->version ? r->version + r->events - 1 : 0;
    }
    while (fields-- > 1)
        if (!evb_mp_skip(mp))
            return false;
    return true;
}

/* Reads the answer's runs, which must cover all that the frame holds, and reports them. */
static bool take_runs(evb_pub *self, const evb_buf *frame, evb_mp mp, run *last) {
    uint32_t runs;
    size_t at = 0;
    if (!evb_mp_array(&mp, &runs))
        return false;
    while (runs--) {
        if (!take_run(self, frame, &at, &mp, last))
            return false;
        self->stored += last->events;
    }
    return at == frame->size;
}

static int send_open(evb_pub *self);

/* Whether a batch that is not full leaves at once. */
static bool eager(const evb_pub *self) { return self->flying < (self->options.atomic ? 1 : EAGER_FRAMES); }

/* Keeps a call's frame, whose events are not known to be stored. */
static void keep_frame(evb_pub *self, evb_call *call) {
    *self->left_end = call->frame;
    self->left_end = &call->frame->next;
    call->frame = NULL;
}

static void published(void *context, evb_call *call, const evb_reply *reply) {
    evb_pub *self = context;
    run last = {0};
    self->flying--;
    self->flying_bytes -= call->frame->buf.size;
    if (self->failed.code) {
        keep_frame(self, call);
        return;
    }
    if (reply->code)
        evb_fail(&self->failed, reply->code, "%s", reply->text);
    else if (!take_runs(self, &call->frame->buf, reply->results, &last))
        evb_fail(&self->failed, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    else {
        self->acked = last.number + last.batches - 1;
        if (self->options.expects && last.stands)
            self->options.expected = last.stands;
    }
    if (self->failed.code)
        keep_frame(self, call);
    else if (self->wanted && eager(self))
        send_open(self);
}

/* ---- frames ---- */

static bool window_open(const evb_pub *self) {
    if (self->options.atomic)
        return !self->flying;
    return !self->flying || (self->flying < WINDOW_FRAMES && self->flying_bytes < WINDOW_BYTES);
}

/* The request for a frame; it follows the last acknowledged batch, also when it is sent again. */
static evb_call *new_call(evb_pub *self) {
    msgpack_packer packer;
    const evb_pub_options *o = &self->options;
    evb_call *call = evb_call_new(self->bus, o->due_ns ? "schedule" : "pub", o->atomic || o->due_ns ? 2 : 1, &packer,
                                  published, self);
    if (!call || (o->due_ns && msgpack_pack_int64(&packer, o->due_ns)) ||
        msgpack_pack_fix_uint64(&packer, self->acked))
        return NULL;
    if (!o->atomic)
        call->latest = &self->acked;
    else if (o->expects ? msgpack_pack_uint64(&packer, o->expected) : msgpack_pack_nil(&packer))
        return NULL;
    return call;
}

static int send_open(evb_pub *self) {
    if (!self->open)
        return 0;
    evb_call *call = new_call(self);
    if (!call)
        return evb_fail(&self->failed, EVB_ENOMEM, "publisher: out of memory");
    call->frame = self->open;
    self->open = NULL;
    self->wanted = false;
    self->flying++;
    self->flying_bytes += call->frame->buf.size;
    evb_call_send(self->bus, call);
    return 0;
}

/* Makes sure that there is an open frame with room for `size` bytes: EVB_EAGAIN when the full one cannot leave yet. */
static int make_room(evb_pub *self, size_t size) {
    bool full = self->open && self->open->buf.size && self->open->buf.size + size > EVB_BATCH_SOFT;
    if (full && !self->options.atomic) {
        if (!window_open(self))
            return EVB_EAGAIN;
        int rc = send_open(self);
        if (rc)
            return rc;
    }
    if (self->open)
        return 0;
    self->open = evb_frame_new();
    if (!self->open || !evb_buf_reserve(&self->open->buf, EVB_BATCH_SOFT)) {
        evb_frame_release(self->open);
        self->open = NULL;
        return evb_fail(&self->failed, EVB_ENOMEM, "publisher: out of memory");
    }
    self->open->begun_ns = evb_clock_wall_ns();
    return 0;
}

/* Whether the open frame's last record is of this topic. */
static bool same_topic(const evb_pub *self, const evb_event *event) {
    return self->open && self->open->buf.size &&
           evb_record_is_of(self->open->buf.data + self->record, event->topic, event->topic_size);
}

/* ---- what may be published ---- */

static void told_limit(void *context, evb_call *call, const evb_reply *reply) {
    evb_pub *self = context;
    evb_status status;
    (void)call;
    self->asking = false;
    if (self->failed.code)
        return;
    if (reply->code)
        evb_fail(&self->failed, reply->code, "%s", reply->text);
    else if (!evb_status_read(reply->results, &status))
        evb_fail(&self->failed, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    else
        self->max_payload = status.max_payload ? status.max_payload : EVB_PAYLOAD_DEFAULT;
}

/* Asks the hub, once, how large a payload, and so a batch, may be. EVB_EAGAIN: it has not answered yet. */
static int ask_limit(evb_pub *self, evb_error *err) {
    msgpack_packer packer;
    if (self->max_payload)
        return 0;
    evb_call *call = self->asking ? NULL : evb_call_new(self->bus, "status", 0, &packer, told_limit, self);
    if (!self->asking && !call)
        evb_fail(&self->failed, EVB_ENOMEM, "publisher: out of memory");
    if (call) {
        self->asking = true;
        evb_call_send(self->bus, call);
    }
    return self->failed.code ? failure(self, err)
                             : evb_fail(err, EVB_EAGAIN, "publisher: the hub is asked how large a payload may be");
}

static int check_payload(evb_pub *self, const evb_event *event, evb_error *err) {
    if (event->size <= EVB_PAYLOAD_ASK)
        return 0;
    int rc = ask_limit(self, err);
    if (rc)
        return rc;
    if (event->size <= self->max_payload)
        return 0;
    return evb_fail(err, EVB_EDATA, "a payload of %zu bytes: over the hub's limit of %llu (evbusd --max-payload)",
                    event->size, (unsigned long long)self->max_payload);
}

/* Whether an event of `size` bytes goes into the atomic batch that is open. */
static int check_atomic(evb_pub *self, const evb_event *event, size_t size, evb_error *err) {
    if (!self->options.atomic || !self->open || !self->open->buf.size)
        return 0;
    if (!same_topic(self, event))
        return evb_fail(err, EVB_EDATA, "an atomic batch has one topic");
    if (self->open->buf.size + size <= EVB_BATCH_SOFT)
        return 0;
    int rc = ask_limit(self, err);
    if (rc || self->open->buf.size + size <= self->max_payload)
        return rc;
    return evb_fail(err, EVB_EDATA, "an atomic batch over the hub's limit of %llu bytes (evbusd --max-payload)",
                    (unsigned long long)self->max_payload);
}

static int check_event(evb_pub *self, const evb_event *event, size_t *size, evb_error *err) {
    *size = event->size + 5;
    int rc = event->topic_size > EVB_TOPIC_MAX || !same_topic(self, event)
                 ? evb_topic_check(event->topic, event->topic_size, err)
                 : 0;
    if (rc == 0 && (event->header_count || event->id))
        rc = evb_headers_check(event, size, err);
    rc = rc ? rc : check_payload(self, event, err);
    return rc ? rc : check_atomic(self, event, *size, err);
}

/* ---- the API ---- */

static int add_checked(evb_pub *self, const evb_event *event) {
    evb_buf *buf = &self->open->buf;
    size_t before = buf->size;
    bool begun = !same_topic(self, event);
    if (begun) {
        self->record = buf->size;
        if (!evb_record_begin(buf, event->topic, event->topic_size, self->options.live ? EVB_FLAG_LIVE : 0,
                              self->producer, self->batches + 1))
            return EVB_ENOMEM;
    }
    if (!evb_record_add(buf, self->record, event)) {
        buf->size = before;
        return EVB_ENOMEM;
    }
    self->batches += begun;
    self->added++;
    return 0;
}

int evb_pub_add(evb_pub *self, const evb_event *event, evb_error *err) {
    size_t size;
    if (self->failed.code)
        return failure(self, err);
    if (self->options.atomic && self->wanted)
        return evb_fail(err, EVB_EAGAIN, "publisher: the batch before is still on its way");
    int rc = check_event(self, event, &size, err);
    if (rc)
        return rc;
    rc = make_room(self, size + EVB_RECORD_HEADER + event->topic_size + 1 + EVB_BATCH_HEADER);
    if (rc == EVB_EAGAIN)
        return evb_fail(err, EVB_EAGAIN, "publisher: the window is full");
    if (rc == 0 && add_checked(self, event))
        evb_fail(&self->failed, EVB_ENOMEM, "publisher: out of memory");
    return failure(self, err);
}

void evb_pub_resume(evb_pub *self, const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t last) {
    memcpy(self->producer, producer, EVB_PRODUCER_SIZE);
    self->batches = self->acked = last;
}

/* What the hub would refuse of a record, for a reason that lies in the hub. */
static int check_record(evb_pub *self, const evb_record *rec, evb_error *err) {
    evb_header room[EVB_HEADER_ROOM];
    evb_event event;
    evb_mp cursor = rec->events;
    int rc = evb_topic_check(rec->topic, rec->topic_size, err);
    if (rc || rec->size <= EVB_PAYLOAD_ASK)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < rec->count && evb_record_next(&cursor, &event, room); i++)
        rc = check_payload(self, &event, err);
    if (rc || (rc = ask_limit(self, err)) || rec->size <= self->max_payload + EVB_RECORD_OVERHEAD)
        return rc;
    return evb_fail(err, EVB_EDATA, "a batch of %zu bytes: over the hub's limit of %llu (evbusd --max-payload)",
                    rec->size, (unsigned long long)self->max_payload);
}

int evb_pub_add_record(evb_pub *self, const evb_record *rec, evb_error *err) {
    int rc = self->failed.code ? failure(self, err) : check_record(self, rec, err);
    if (rc)
        return rc;
    rc = make_room(self, rec->size);
    if (rc == EVB_EAGAIN)
        return evb_fail(err, EVB_EAGAIN, "publisher: the window is full");
    if (rc)
        return failure(self, err);
    self->record = self->open->buf.size;
    if (!evb_record_copy(&self->open->buf, rec, self->options.live ? EVB_FLAG_LIVE : 0, self->producer,
                         self->batches + 1))
        evb_fail(&self->failed, EVB_ENOMEM, "publisher: out of memory");
    self->batches++;
    self->added += rec->count;
    return failure(self, err);
}

static int each_record(evb_frame *frame, evb_record_fn *fn, void *context, evb_error *err) {
    evb_record rec;
    int rc = 0;
    for (size_t at = 0; rc == 0 && frame && at < frame->buf.size; at += rec.size) {
        if (evb_record_parse(frame->buf.data + at, frame->buf.size - at, &rec))
            return evb_fail(err, EVB_EINVAL, "publisher: a batch of its own is malformed");
        rc = fn(context, &rec, frame->begun_ns, err);
    }
    return rc;
}

int evb_pub_each_pending(const evb_pub *self, evb_record_fn *fn, void *context, evb_error *err) {
    int rc = 0;
    for (evb_frame *frame = self->left; rc == 0 && frame; frame = frame->next)
        rc = each_record(frame, fn, context, err);
    for (evb_call *call = self->bus->first; rc == 0 && call; call = call->next)
        if (call->context == self && call->done == published)
            rc = each_record(call->frame, fn, context, err);
    return rc ? rc : each_record(self->open, fn, context, err);
}

uint64_t evb_pub_acked(const evb_pub *self) { return self->acked; }

int evb_pub_send(evb_pub *self, evb_error *err) {
    if (self->failed.code)
        return failure(self, err);
    self->wanted = self->open != NULL;
    if (self->wanted && eager(self))
        send_open(self);
    return failure(self, err);
}

int evb_pub_drain(evb_pub *self, evb_error *err) {
    while (!self->failed.code && evb_pub_pending(self)) {
        if (self->open && window_open(self))
            send_open(self);
        else if (evb_bus_wait(self->bus, NULL, 0, -1, err) < 0)
            return EVB_EIO;
    }
    return failure(self, err);
}

uint64_t evb_pub_pending(const evb_pub *self) { return self->added - self->stored; }

uint64_t evb_pub_stored(const evb_pub *self) { return self->stored; }

static void keep_seq(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    (void)version;
    (void)count;
    *(uint64_t *)context = seq;
}

int evb_publish(evb_bus *bus, const evb_event *event, uint64_t *seq, evb_error *err) {
    uint64_t stored = 0;
    if (bus->own && bus->own->failed.code)
        evb_pub_destroy(&bus->own);
    if (!bus->own && !(bus->own = evb_pub_new(bus, NULL, err)))
        return EVB_ENOMEM;
    bus->own->options = (evb_pub_options){.stored = keep_seq, .context = &stored, .live = event->live};
    int rc;
    while ((rc = evb_pub_add(bus->own, event, err)) == EVB_EAGAIN)
        if (evb_bus_wait(bus, NULL, 0, -1, err) < 0)
            return EVB_EIO;
    rc = rc ? rc : evb_pub_drain(bus->own, err);
    bus->own->options.stored = NULL;
    if (seq)
        *seq = stored;
    return rc;
}
