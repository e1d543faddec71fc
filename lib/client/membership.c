/* membership.c: taking, holding, acknowledging.
 *
 * One "group" request is under way at a time: it brings what was acknowledged since the last and asks for as many events
 * as can be worked on in a tenth of a second or so, while at most one piece waits behind the one in hand: a fast
 * reader's pieces grow, and one whose events take long gets them singly and keeps none from others.
 * Invariants: a key is in one of `pieces` (here, not handed on), `held` (handed on), `acks` or `fails` (to be sent; of the
 * fails the first may be under way), `sent`; all are claimed again when we join anew, up to RANGES_SENT_MAX ranges (the
 * rest is handed out again), so that what becomes of them is heard.
 * Nothing is taken while acknowledgements can't be sent.
 * Leaves to others: the feed and its losses (subscription.c), who gets what (the hub). */
#include "client/membership.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "client/ranges.h"
#include "client/subscription_private.h"

enum { FAILS_SENT_MAX = EVB_REQUEST_MAX / 2 }; /* bytes; what RANGES_SENT_MAX ranges take is less than the rest */
enum { PIECES = 2, RANGES_SENT_MAX = 8192, WINDOW_MOST = 65536, BUSY_PARTS = 4 /* of the ack wait */ };
#define KEY_REPLAY ((uint64_t)1 << 63)
static const int64_t PACE_NS = 100 * EVB_MILLISECOND_NS;

/* What one take brought: rows [key, count, deliveries, index], and a record for each. */
typedef struct {
    evb_message records;
    evb_buf rows; /* msgpack */
    evb_mp row;   /* the next */
    uint32_t left;
    size_t at; /* of the next record */
} piece;

struct evb_membership {
    evb_sub *sub;
    const evb_patterns *patterns;
    evb_buf name, settings; /* settings: msgpack */
    char token[40], was[40];
    uint64_t start;
    bool joined;  /* the hub has said so, of this token */
    bool to_join; /* it is to be asked */
    bool asking;  /* an answer is owed */
    bool more;    /* there may be events to take */
    bool filled;  /* an answer brought none, perhaps for those in hand: there may be some when one of them is done */
    bool leaving, left, ever;
    bool yields; /* the group's patterns and settings are another's affair */
    uint64_t window, at_once;
    bool working;        /* by the options */
    int64_t ack_wait_ns; /* as the group has it */
    int64_t busy_due_ns; /* when to say that we are at work; INT64_MAX: an answer is owed */
    uint64_t floor, end, lost;

    piece pieces[PIECES]; /* [0] is read */
    size_t piece_count;
    evb_record record; /* of pieces[0], being read */
    evb_mp events;
    uint64_t key;
    uint32_t index, offset, record_left, deliveries;
    evb_header headers[EVB_HEADER_ROOM];

    evb_ranges held, acks;
    evb_ranges sent; /* acks of the request that is under way: where it comes to nothing they are to be sent again */
    evb_buf fails;   /* msgpack */
    uint32_t fail_count, fails_sent; /* in fails; those of them, the first, that are in the request under way */
    size_t fails_sent_bytes;
    int64_t busy_since_ns, busy_ns; /* how long events were in the user's hand, and… */
    uint64_t busy_events;           /* …how many were done in that time, since the window was last looked at */
};

/* ---- making ---- */

static bool pack_number(msgpack_packer *p, const char *name, uint64_t value) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !msgpack_pack_uint64(p, value);
}

static bool pack_settings(evb_buf *out, const evb_group_options *o) {
    msgpack_packer p;
    int count = (o->ack_wait_ns > 0) + (o->max_deliver > 0) + (o->max_pending > 0) + (o->backoff_count > 0) +
                o->ordered + o->listener + o->whole;
    evb_mp_packer(&p, out);
    bool ok = !msgpack_pack_map(&p, (size_t)count);
    if (o->whole) /* first */
        ok = ok && !evb_mp_pack_str(&p, "whole", 5) && !msgpack_pack_true(&p);
    if (o->ack_wait_ns > 0)
        ok = ok && pack_number(&p, "ack_wait", (uint64_t)o->ack_wait_ns);
    if (o->max_deliver)
        ok = ok && pack_number(&p, "max_deliver", o->max_deliver);
    if (o->max_pending)
        ok = ok && pack_number(&p, "max_pending", o->max_pending);
    if (o->ordered)
        ok = ok && !evb_mp_pack_str(&p, "ordered", 7) && !msgpack_pack_true(&p);
    if (o->listener)
        ok = ok && !evb_mp_pack_str(&p, "listener", 8) && !msgpack_pack_true(&p);
    if (o->backoff_count)
        ok = ok && !evb_mp_pack_str(&p, "backoff", 7) && !msgpack_pack_array(&p, o->backoff_count);
    for (size_t i = 0; ok && i < o->backoff_count; i++)
        ok = !msgpack_pack_uint64(&p, (uint64_t)o->backoff_ns[i]);
    return ok;
}

static int check(const evb_group_options *o, evb_error *err) {
    const char *name = o->name ? o->name : "";
    if (!evb_group_name_valid(name, strlen(name)))
        return evb_fail(err, EVB_EINVAL,
                        "'%.140s': a group's name is like a topic, of at most 128 bytes and 14 tokens", name);
    if (o->backoff_count > EVB_BACKOFF_MAX)
        return evb_fail(err, EVB_EINVAL, "at most 16 waits between deliveries");
    for (size_t i = 0; i < o->backoff_count; i++)
        if (o->backoff_ns[i] < 0)
            return evb_fail(err, EVB_EINVAL, "a wait between deliveries is not negative");
    return 0;
}

evb_membership *evb_membership_new(evb_sub *sub, const evb_group_options *options, const evb_patterns *patterns,
                                   evb_error *err) {
    if (check(options, err))
        return NULL;
    evb_membership *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "subscription: out of memory");
        return NULL;
    }
    self->sub = sub;
    self->patterns = patterns;
    self->window = 1;
    self->at_once = options->at_once ? options->at_once : 1;
    self->working = options->working;
    if (!evb_buf_text(&self->name, options->name) || !pack_settings(&self->settings, options)) {
        evb_fail(err, EVB_ENOMEM, "subscription: out of memory");
        evb_membership_destroy(&self);
    }
    return self;
}

static void free_piece(piece *p) {
    evb_message_free(&p->records);
    evb_buf_free(&p->rows);
}

void evb_membership_destroy(evb_membership **self) {
    evb_membership *m = *self;
    if (!m)
        return;
    evb_call_forget(m->sub->bus, m);
    for (size_t i = 0; i < m->piece_count; i++)
        free_piece(&m->pieces[i]);
    evb_buf_free(&m->name);
    evb_buf_free(&m->settings);
    evb_buf_free(&m->fails);
    free(m->held.list);
    free(m->acks.list);
    free(m->sent.list);
    free(m);
    *self = NULL;
}

static void out_of_memory(evb_membership *self) {
    evb_sub_fail(self->sub, EVB_ENOMEM, "subscription: out of memory");
}

static void nonsense(evb_membership *self) {
    evb_sub_fail(self->sub, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
}

/* ---- joining ---- */

static void send_join(evb_membership *self);

/* After an answer: joins if that is to be done, else asks for more. */
static void go_on(evb_membership *self) {
    if (!self->to_join)
        evb_membership_step(self);
    else if (self->sub->state == SUB_GROUP && !self->asking)
        send_join(self);
}

static void joined(void *context, evb_call *call, const evb_reply *reply) {
    evb_membership *self = context;
    evb_mp mp = reply->results;
    uint64_t next, head, floor, ack_wait;
    bool created;
    (void)call;
    self->asking = false;
    if (self->to_join) { /* the feed was lost meanwhile */
        go_on(self);
        return;
    }
    if (reply->code == EVB_EAGAIN) { /* the feed is gone again: the next welcome joins, or the next beat */
        self->to_join = true;
        return;
    }
    if (reply->code) {
        evb_sub_fail(self->sub, reply->code, reply->text);
        return;
    }
    if (!evb_mp_bool(&mp, &created) || !evb_mp_uint(&mp, &next) || !evb_mp_uint(&mp, &head) ||
        !evb_mp_uint(&mp, &floor) || !evb_mp_uint(&mp, &ack_wait) || ack_wait > INT64_MAX / 4) {
        nonsense(self);
        return;
    }
    if (!self->ever)
        self->end = head;
    if (next > self->sub->done + 1)
        self->sub->done = next - 1; /* where we stand, for who asks */
    self->floor = floor;
    self->ack_wait_ns = (int64_t)ack_wait;
    self->busy_due_ns = evb_clock_monotonic_ns() + self->ack_wait_ns / BUSY_PARTS;
    self->joined = self->more = true;
    evb_sub_joined(self->sub, !self->ever, head);
    self->ever = true;
    evb_membership_step(self);
}

/* Adds what has failed, and the hub may not have heard of, to the claims. */
static bool claim_fails(const evb_membership *self, evb_ranges *claims) {
    evb_mp mp = evb_mp_of(&self->fails);
    uint32_t fields;
    uint64_t key;
    for (uint32_t i = 0; i < self->fail_count; i++) {
        if (!evb_mp_array(&mp, &fields) || !evb_mp_uint(&mp, &key) || !evb_ranges_add(claims, key, key))
            return false;
        while (--fields)
            if (!evb_mp_skip(&mp))
                return false;
    }
    return true;
}

static bool claim_ranges(const evb_ranges *ranges, evb_ranges *claims) {
    bool ok = true;
    for (size_t i = 0; ok && i < ranges->count; i++)
        ok = evb_ranges_add(claims, ranges->list[i].first, ranges->list[i].last);
    return ok;
}

/* Adds what is here and not handed on to the claims. */
static bool claim_pieces(const evb_membership *self, evb_ranges *claims) {
    bool ok = !self->record_left || evb_ranges_add(claims, self->key, self->key + self->record_left - 1);
    for (size_t i = 0; i < self->piece_count; i++) {
        evb_mp row = self->pieces[i].row;
        for (uint32_t left = self->pieces[i].left; ok && left; left--) {
            uint32_t four;
            uint64_t key, count;
            ok = evb_mp_array(&row, &four) && evb_mp_uint(&row, &key) && evb_mp_uint(&row, &count) &&
                 evb_mp_skip(&row) && evb_mp_skip(&row) && evb_ranges_add(claims, key, key + count - 1);
        }
    }
    return ok;
}

/* group.join [name, token, patterns, settings, start, claims, token before] */
static bool pack_join(evb_membership *self, msgpack_packer *p) {
    bool yields = self->yields && self->ever;
    size_t count = yields ? 0 : evb_patterns_count(self->patterns), size, sent;
    evb_ranges claims = {0};
    bool ok = !evb_mp_pack_str(p, (const char *)self->name.data, self->name.size) &&
              !evb_mp_pack_str(p, self->token, strlen(self->token)) &&
              !(count ? msgpack_pack_array(p, count) : msgpack_pack_nil(p));
    for (size_t i = 0; ok && i < count; i++) {
        const char *text = evb_patterns_get(self->patterns, i, &size);
        ok = !evb_mp_pack_str(p, text, size);
    }
    ok = ok && (yields ? !msgpack_pack_nil(p) : evb_buf_add(p->data, self->settings.data, self->settings.size)) &&
         !(self->start ? msgpack_pack_uint64(p, self->start) : msgpack_pack_nil(p)) && claim_pieces(self, &claims) &&
         claim_ranges(&self->held, &claims) && claim_fails(self, &claims) && claim_ranges(&self->acks, &claims);
    sent = claims.count < RANGES_SENT_MAX ? claims.count : RANGES_SENT_MAX;
    ok = ok && evb_ranges_pack(p, &claims, sent) &&
         !(*self->was ? evb_mp_pack_str(p, self->was, strlen(self->was)) : msgpack_pack_nil(p));
    free(claims.list);
    return ok;
}

static void send_join(evb_membership *self) {
    msgpack_packer packer;
    evb_call *call = evb_call_new(self->sub->bus, "group.join", 7, &packer, joined, self);
    if (!call || !pack_join(self, &packer)) {
        out_of_memory(self);
        return;
    }
    self->asking = true;
    self->to_join = false;
    evb_call_send(self->sub->bus, call);
}

void evb_membership_join(evb_membership *self, const char *token, uint64_t start) {
    snprintf(self->was, sizeof self->was, "%s", self->token);
    snprintf(self->token, sizeof self->token, "%s", token);
    self->start = start;
    self->joined = false;
    self->to_join = true;
    go_on(self);
}

void evb_membership_part(evb_membership *self) { self->joined = false; }

/* ---- taking ---- */

/* Copies the rows of an answer behind the pieces that are here. */
static bool take_piece(evb_membership *self, const evb_reply *reply, evb_mp rows, uint32_t count) {
    piece *p = &self->pieces[self->piece_count];
    if (self->piece_count == PIECES || !reply->body->handle)
        return false;
    *p = (piece){.records = *reply->body, .left = count};
    *reply->body = (evb_message){0};
    self->piece_count++;
    if (!evb_buf_add(&p->rows, rows.at, (size_t)(rows.end - rows.at)))
        return false;
    p->row = evb_mp_of(&p->rows);
    return true;
}

/* Reads [more, floor, head, lost, rows]. */
static bool read_taken(evb_membership *self, const evb_reply *reply) {
    evb_mp mp = reply->results;
    uint64_t head, lost;
    uint32_t count;
    bool more;
    if (!evb_mp_bool(&mp, &more) || !evb_mp_uint(&mp, &self->floor) || !evb_mp_uint(&mp, &head) ||
        !evb_mp_uint(&mp, &lost) || !evb_mp_array(&mp, &count))
        return false;
    if (head > self->sub->most) /* a welcome may have said more since: it was answered at its round's begin */
        self->sub->most = head;
    if (lost > self->lost && self->lost != UINT64_MAX && self->sub->note)
        self->sub->note(self->sub->note_context, EVB_NOTE_GAP, lost - self->lost);
    self->lost = lost;
    self->more |= more || count > 0; /* a call may have come meanwhile */
    self->filled =
        !count && (self->held.events || evb_membership_ready(self) || self->acks.count || self->fail_count);
    return !count || take_piece(self, reply, mp, count);
}

/* What was sent has not been heard, or was: to hear of an event's end twice does no harm. */
static void send_again(evb_membership *self) {
    for (size_t i = 0; i < self->sent.count; i++)
        if (!evb_ranges_add(&self->acks, self->sent.list[i].first, self->sent.list[i].last))
            out_of_memory(self);
    evb_ranges_drop(&self->sent, self->sent.count);
    self->fails_sent = 0;
    self->fails_sent_bytes = 0;
}

/* What was sent has been heard. */
static void forget_sent(evb_membership *self) {
    evb_ranges_drop(&self->sent, self->sent.count);
    evb_buf_drop(&self->fails, self->fails_sent_bytes);
    self->fail_count -= self->fails_sent;
    self->fails_sent = 0;
    self->fails_sent_bytes = 0;
}

/* An answer was lost with its connection, and maybe events that it handed out: joining with what we have in hand tells the
 * hub that we never got them. */
static void claim_again(evb_membership *self) {
    self->joined = false;
    self->to_join = true;
}

static void lose_membership(evb_membership *self) {
    send_again(self);
    claim_again(self);
}

static void taken(void *context, evb_call *call, const evb_reply *reply) {
    evb_membership *self = context;
    self->asking = false;
    if (reply->code == EVB_EAGAIN) /* the hub has begun anew, or missed us for too long */
        lose_membership(self);
    else if (reply->code)
        evb_sub_fail(self->sub, reply->code, reply->text);
    else if (!read_taken(self, reply))
        nonsense(self);
    else
        forget_sent(self);
    if (!reply->code && call->was_sent && call->tag)
        claim_again(self);
    go_on(self);
}

static void gone(void *context, evb_call *call, const evb_reply *reply) {
    evb_membership *self = context;
    (void)call;
    self->asking = false;
    if (reply->code == EVB_EAGAIN)
        lose_membership(self);
    else if (reply->code)
        evb_sub_fail(self->sub, reply->code, reply->text);
    else {
        forget_sent(self);
        self->left = true;
    }
    go_on(self);
}

/* Whether all up to the end is done, where there is one: more would never end while others publish. */
static bool is_past_end(const evb_membership *self) {
    return self->sub->options.until_head && self->floor >= self->end;
}

/* How many more events are wanted now. */
static uint64_t wanted(const evb_membership *self) {
    bool here = self->record_left || self->piece_count, busy = self->held.events || here;
    if (self->sub->held && !busy) /* who is not at work and wants nothing now keeps nothing from others */
        return 0;
    if (self->leaving || !self->more || is_past_end(self) || self->piece_count == PIECES ||
        (busy && self->piece_count > 1))
        return 0;
    if (self->window <= self->at_once) /* they take long: none that another member could begin with */
        return here || self->held.events >= self->at_once ? 0 : self->at_once - self->held.events;
    return busy && self->held.events >= 2 * self->window ? 0 : self->window;
}

/* How many of the fails go with one request, and their bytes. */
static uint32_t fails_to_send(const evb_membership *self, size_t *size) {
    evb_mp mp = evb_mp_of(&self->fails);
    uint32_t count = self->fail_count;
    *size = self->fails.size;
    if (*size <= FAILS_SENT_MAX)
        return count;
    count = 0;
    for (*size = 0; evb_mp_skip(&mp) && (size_t)(mp.at - self->fails.data) <= FAILS_SENT_MAX; count++)
        *size = (size_t)(mp.at - self->fails.data);
    return count;
}

/* Sends acknowledgements and, of `op` "group", asks for events. */
static void send_take(evb_membership *self, uint64_t want) {
    msgpack_packer p;
    size_t fail_size;
    uint32_t fails = fails_to_send(self, &fail_size);
    bool leave = self->leaving && self->acks.count <= RANGES_SENT_MAX && fails == self->fail_count;
    size_t acks = self->acks.count < RANGES_SENT_MAX ? self->acks.count : RANGES_SENT_MAX;
    evb_call *call = leave ? evb_call_new(self->sub->bus, "group.leave", 4, &p, gone, self)
                           : evb_call_new(self->sub->bus, "group", 7, &p, taken, self);
    bool ok = call && !evb_mp_pack_str(&p, (const char *)self->name.data, self->name.size) &&
              !evb_mp_pack_str(&p, self->token, strlen(self->token)) && evb_ranges_pack(&p, &self->acks, acks) &&
              !msgpack_pack_array(&p, fails) && (!fails || evb_buf_add(p.data, self->fails.data, fail_size));
    if (ok && !leave)
        ok = !msgpack_pack_uint64(&p, want) && !msgpack_pack_uint64(&p, EVB_FETCH_DEFAULT) &&
             !(self->sub->options.until_head ? msgpack_pack_uint64(&p, self->end) : msgpack_pack_nil(&p));
    for (size_t i = 0; ok && i < acks; i++)
        ok = evb_ranges_add(&self->sent, self->acks.list[i].first, self->acks.list[i].last);
    if (!ok) {
        out_of_memory(self);
        return;
    }
    evb_ranges_drop(&self->acks, acks);
    self->fails_sent = fails;
    self->fails_sent_bytes = fail_size;
    self->more = want ? false : self->more;
    self->asking = true;
    call->tag = want > 0;
    evb_call_send(self->sub->bus, call);
}

static void heard_busy(void *context, evb_call *call, const evb_reply *reply) {
    evb_membership *self = context;
    (void)call;
    (void)reply; /* not a member any more: the next take says so, too */
    self->busy_due_ns = evb_clock_monotonic_ns() + self->ack_wait_ns / BUSY_PARTS;
}

int64_t evb_membership_deadline(const evb_membership *self) {
    return self->working && self->joined && self->held.events ? self->busy_due_ns : INT64_MAX;
}

/* Tells the hub that what is in hand is being worked on, if it is time. */
static void say_busy(evb_membership *self) {
    msgpack_packer p;
    int64_t due = evb_membership_deadline(self);
    if (due == INT64_MAX || evb_clock_monotonic_ns() < due)
        return;
    evb_call *call = evb_call_new(self->sub->bus, "group.busy", 2, &p, heard_busy, self);
    if (!call || evb_mp_pack_str(&p, (const char *)self->name.data, self->name.size) ||
        evb_mp_pack_str(&p, self->token, strlen(self->token))) {
        out_of_memory(self);
        return;
    }
    self->busy_due_ns = INT64_MAX;
    evb_call_send(self->sub->bus, call);
}

void evb_membership_step(evb_membership *self) {
    if (!self->joined || self->left || self->sub->state == SUB_FAILED)
        return;
    say_busy(self);
    if (self->asking)
        return;
    bool done = self->acks.count || self->fail_count;
    self->more |= self->filled && done;
    uint64_t want = wanted(self);
    if (want || done || self->leaving)
        send_take(self, want);
}

void evb_membership_poke(evb_membership *self) {
    self->more = true;
    go_on(self);
}

/* ---- handing on ---- */

static void damaged(evb_membership *self) {
    evb_sub_fail(self->sub, EVB_ENOHUB, "the hub handed out events that cannot be read");
}

/* Begins the next record of pieces[0]. False: there is none. */
static bool next_record(evb_membership *self) {
    uint64_t count, skip, deliveries;
    uint32_t four;
    while (self->piece_count && !self->pieces[0].left) {
        free_piece(&self->pieces[0]);
        self->pieces[0] = self->pieces[1];
        self->pieces[1] = (piece){0};
        self->piece_count--;
        evb_membership_step(self); /* the next may come while this one is worked on */
    }
    if (!self->piece_count)
        return false;
    piece *p = &self->pieces[0];
    if (!evb_mp_array(&p->row, &four) || four < 4 || !evb_mp_uint(&p->row, &self->key) ||
        !evb_mp_uint(&p->row, &count) || !evb_mp_uint(&p->row, &deliveries) || !evb_mp_uint(&p->row, &skip) ||
        p->at >= p->records.size ||
        evb_record_parse(p->records.data + p->at, p->records.size - p->at, &self->record) ||
        !evb_record_intact(p->records.data + p->at, self->record.size) || self->record.count != count || !count) {
        damaged(self);
        return false;
    }
    p->at += self->record.size;
    p->left--;
    self->events = self->record.events;
    self->record_left = (uint32_t)count;
    self->offset = (uint32_t)skip;
    self->index = 0;
    self->deliveries = (uint32_t)deliveries;
    return true;
}

/* An edited dead letter comes under a topic of the group's own: for who handles it, it is of the one it was. */
static void show_retry(evb_event *event) {
    const evb_header *h = NULL;
    if (event->topic_size < sizeof EVB_RETRY_PREFIX ||
        memcmp(event->topic, EVB_RETRY_PREFIX, sizeof EVB_RETRY_PREFIX - 1) != 0)
        return;
    for (size_t i = 0; i < event->header_count; i++)
        if (event->headers[i].name_size == sizeof EVB_RETRY_TOPIC - 1 &&
            memcmp(event->headers[i].name, EVB_RETRY_TOPIC, sizeof EVB_RETRY_TOPIC - 1) == 0)
            h = &event->headers[i];
    if (!h || !h->value_size)
        return;
    event->topic = h->value;
    event->topic_size = h->value_size;
    event->version = 0; /* it has no place among that topic's events */
}

bool evb_membership_next(evb_membership *self, evb_event *event) {
    if (!self->record_left && (self->sub->state == SUB_FAILED || !next_record(self)))
        return false;
    if (!self->held.events)
        self->busy_since_ns = evb_clock_monotonic_ns();
    if (!evb_record_next(&self->events, event, self->headers) || !evb_ranges_add(&self->held, self->key, self->key)) {
        damaged(self);
        self->record_left = 0;
        return false;
    }
    const evb_record *r = &self->record;
    event->topic = r->topic;
    event->topic_size = r->topic_size;
    event->live = false;
    event->seq = self->key & ~KEY_REPLAY;
    event->version = r->version + self->index;
    event->time_ns = r->time_ns;
    event->producer = r->producer;
    event->producer_seq = r->producer_seq;
    event->index = self->offset + self->index;
    event->deliveries = self->deliveries;
    event->replayed = self->key & KEY_REPLAY;
    show_retry(event);
    if (event->seq > self->sub->done)
        self->sub->done = event->seq;
    self->key++;
    self->index++;
    self->record_left--;
    return true;
}

bool evb_membership_ready(const evb_membership *self) { return self->record_left || self->piece_count; }

bool evb_membership_is_done(const evb_membership *self) {
    return self->ever && self->joined && !self->asking && is_past_end(self) && !self->held.events &&
           !self->acks.count && !self->fail_count && !evb_membership_ready(self);
}

/* ---- what became of them ---- */

/* So many events are done: how many would be in a tenth of a second? */
static void count_done(evb_membership *self, uint64_t events) {
    int64_t now = evb_clock_monotonic_ns();
    self->busy_ns += now - self->busy_since_ns;
    self->busy_since_ns = now;
    self->busy_events += events;
    if (self->busy_events < self->window && self->busy_ns < PACE_NS)
        return;
    double pace = (double)self->busy_events * (double)PACE_NS / (double)(self->busy_ns > 1000 ? self->busy_ns : 1000);
    uint64_t most = self->window * 2 < WINDOW_MOST ? self->window * 2 : WINDOW_MOST;
    self->window = pace < 1 ? 1 : pace > (double)most ? most : (uint64_t)pace;
    self->busy_ns = 0;
    self->busy_events = 0;
}

static uint64_t key_of(const evb_event *event) { return event->seq | (event->replayed ? KEY_REPLAY : 0); }

static bool ack_all(evb_membership *self) {
    for (size_t i = 0; i < self->held.count; i++) {
        evb_range r = self->held.list[i];
        if (!evb_ranges_add(&self->acks, r.first, r.last)) {
            evb_ranges_drop(&self->held, i);
            return false;
        }
        count_done(self, r.last - r.first + 1);
    }
    evb_ranges_drop(&self->held, self->held.count);
    return true;
}

bool evb_membership_ack(evb_membership *self, const evb_event *event) {
    if (!event) {
        bool ok = ack_all(self);
        evb_membership_step(self);
        return ok;
    }
    uint64_t key = key_of(event);
    if (!evb_ranges_take(&self->held, key) || !evb_ranges_add(&self->acks, key, key))
        return false;
    count_done(self, 1);
    if (!self->held.events)
        evb_membership_step(self);
    return true;
}

/* {begun_ns, took_ns, exit or signal, output} */
static int pack_attempt(msgpack_packer *p, const evb_attempt *a) {
    size_t size = a->output_size < EVB_OUTPUT_MAX ? a->output_size : EVB_OUTPUT_MAX;
    const char *end = a->status < 0 ? "signal" : "exit", *output = a->output;
    uint64_t status = a->status < 0 ? (uint64_t) - (int64_t)a->status : (uint64_t)a->status;
    return msgpack_pack_map(p, 4) || evb_mp_pack_str(p, "begun_ns", 8) ||
           msgpack_pack_uint64(p, a->begun_ns > 0 ? (uint64_t)a->begun_ns : 0) || evb_mp_pack_str(p, "took_ns", 7) ||
           msgpack_pack_uint64(p, a->took_ns > 0 ? (uint64_t)a->took_ns : 0) ||
           evb_mp_pack_str(p, end, strlen(end)) || msgpack_pack_uint64(p, status) ||
           evb_mp_pack_str(p, "output", 6) || msgpack_pack_bin(p, size) ||
           (size && msgpack_pack_bin_body(p, output + (a->output_size - size), size));
}

bool evb_membership_nack(evb_membership *self, const evb_event *event, int64_t delay_ns, bool final,
                         const char *reason, const evb_attempt *attempt) {
    uint64_t key = key_of(event);
    char text[EVB_REASON_MAX];
    msgpack_packer p;
    size_t before = self->fails.size;
    evb_mp_packer(&p, &self->fails);
    evb_utf8_copy(text, sizeof text, reason, strlen(reason), false);
    if (!evb_ranges_take(&self->held, key))
        return false;
    if (msgpack_pack_array(&p, attempt ? 5 : 4) || msgpack_pack_uint64(&p, key) ||
        (delay_ns < 0 ? msgpack_pack_nil(&p) : msgpack_pack_uint64(&p, (uint64_t)delay_ns)) ||
        evb_mp_pack_str(&p, text, strlen(text)) || (final ? msgpack_pack_true(&p) : msgpack_pack_false(&p)) ||
        (attempt && pack_attempt(&p, attempt))) {
        self->fails.size = before;
        return false;
    }
    self->fail_count++;
    count_done(self, 1);
    evb_membership_step(self);
    return true;
}

/* ---- leaving ---- */

void evb_membership_yield(evb_membership *self) { self->yields = true; }

void evb_membership_leave(evb_membership *self) {
    self->leaving = true;
    evb_membership_step(self);
}

bool evb_membership_is_leaving(const evb_membership *self) { return self->leaving; }
bool evb_membership_left(const evb_membership *self) { return self->left; }

uint64_t evb_membership_untold(const evb_membership *self) {
    return self->acks.events + self->sent.events + self->fail_count;
}

/* ---- the API ---- */

int evb_sub_ack(evb_sub *self, const evb_event *event) {
    return self->group && evb_membership_ack(self->group, event) ? 0 : EVB_EINVAL;
}

void evb_sub_yield(evb_sub *self) {
    if (self->group)
        evb_membership_yield(self->group);
}

int evb_sub_nack(evb_sub *self, const evb_event *event, int64_t delay_ns, const char *reason) {
    return self->group && evb_membership_nack(self->group, event, delay_ns, false, reason, NULL) ? 0 : EVB_EINVAL;
}

int evb_sub_reject(evb_sub *self, const evb_event *event, const char *reason) {
    return self->group && evb_membership_nack(self->group, event, -1, true, reason, NULL) ? 0 : EVB_EINVAL;
}

int evb_sub_fail_attempt(evb_sub *self, const evb_event *event, int64_t delay_ns, bool final,
                         const evb_attempt *attempt) {
    return self->group && evb_membership_nack(self->group, event, delay_ns, final, attempt->reason, attempt)
               ? 0
               : EVB_EINVAL;
}
