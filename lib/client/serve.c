/* serve.c: a handler: takes commands of one topic, and brings their outcomes.
 *
 * The hub knows by its feed connection that a handler is there: a subscription without events keeps that, and tells when it
 * was welcomed, which is when we say what we serve, and when it is gone. Each slot has one request at the hub
 * at a time, "serve.take", which brings the outcome of its last command and is held until there is another.
 * Invariants: a slot is idle, asked, ready (a command is here, nobody has it), busy (the user has it) or answered (its
 * outcome is on its way). Ready, busy and answered ones are claimed again when we are welcomed anew, so that what was done
 * while the hub was away is not lost. A take may be sent twice: the hub knows the slot.
 * Leaves to others: the feed (subscription.c), which calls are sent again (bus.c), what is done (the user). */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/utf8.h"
#include "client/subscription_private.h"
#include "event/record.h"

enum { SLOTS_MAX = 1024 };

typedef enum { SLOT_IDLE, SLOT_READY, SLOT_BUSY, SLOT_ANSWERED } slot_state;

typedef struct {
    slot_state state;
    bool asked; /* a take is at the hub */
    uint64_t number;
    evb_message record;
    evb_frame *body; /* of the outcome: the answer, then what was said beside it */
    size_t answer_size;
    bool refused;
    char reason[EVB_REASON_MAX + 1];
} slot;

struct evb_serve {
    evb_bus *bus;
    evb_sub *sub;
    slot *slots;
    size_t slot_count, ready;
    char *topic;
    size_t topic_size;
    bool standby, joined, joining, ever;
    bool stopping, stop_sent, stopped;
    char token[40], was[40];
    uint64_t max_payload;
    evb_header headers[EVB_HEADER_ROOM];
};

static void fail_memory(evb_serve *self) { evb_sub_fail(self->sub, EVB_ENOMEM, "handler: out of memory"); }

static void nonsense(evb_serve *self) {
    evb_sub_fail(self->sub, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
}

/* ---- taking ---- */

static void free_outcome(slot *s) {
    evb_frame_release(s->body);
    s->body = NULL;
    s->state = SLOT_IDLE;
    s->number = 0;
}

/* The hub has taken the outcome, and may have brought a command. */
static void take_in(evb_serve *self, slot *s, const evb_reply *reply) {
    evb_mp mp = reply->results;
    if (s->state == SLOT_ANSWERED)
        free_outcome(s);
    if (s->state != SLOT_IDLE || evb_mp_nil(&mp))
        return;
    if (!evb_mp_uint(&mp, &s->number) || !reply->body->size) {
        nonsense(self);
        return;
    }
    s->record = *reply->body;
    *reply->body = (evb_message){0};
    s->state = SLOT_READY;
    self->ready++;
}

static void ask_all(evb_serve *self);

static void taken(void *context, evb_call *call, const evb_reply *reply) {
    evb_serve *self = context;
    slot *s = &self->slots[call->tag];
    s->asked = false;
    if (reply->code == EVB_EAGAIN && self->stopped && self->joined && s->state == SLOT_ANSWERED)
        free_outcome(s); /* it had let us go, so it had no such command */
    if (reply->code == EVB_EAGAIN || reply->code == EVB_EUNKNOWN || reply->code == EVB_ENOHUB)
        return; /* the hub does not know us any more: the next welcome goes on */
    if (reply->code)
        evb_sub_fail(self->sub, reply->code, reply->text);
    else
        take_in(self, s, reply);
    if (self->joined)
        ask_all(self);
}

/* serve.take [token, slot, number, want, outcome, bytes of the answer, reason] */
static bool pack_take(evb_serve *self, msgpack_packer *p, const slot *s) {
    bool answered = s->state == SLOT_ANSWERED;
    const char *word = !answered ? "" : s->refused ? "refused" : "done", *reason = answered ? s->reason : "";
    return !evb_mp_pack_str(p, self->token, strlen(self->token)) &&
           !msgpack_pack_uint64(p, (uint64_t)(s - self->slots)) && !msgpack_pack_uint64(p, s->number) &&
           !(self->stopping ? msgpack_pack_false(p) : msgpack_pack_true(p)) &&
           !evb_mp_pack_str(p, word, strlen(word)) && !msgpack_pack_uint64(p, answered ? s->answer_size : 0) &&
           !evb_mp_pack_str(p, reason, strlen(reason));
}

static void ask(evb_serve *self, slot *s) {
    msgpack_packer p;
    evb_call *call = evb_call_new(self->bus, "serve.take", 7, &p, taken, self);
    if (!call || !pack_take(self, &p, s)) {
        if (call)
            evb_call_discard(&call);
        fail_memory(self);
        return;
    }
    call->held = call->again = true;
    call->tag = (size_t)(s - self->slots);
    if (s->state == SLOT_ANSWERED && s->body->buf.size) {
        call->frame = s->body;
        atomic_fetch_add(&s->body->uses, 1);
    }
    s->asked = true;
    evb_call_send(self->bus, call);
}

/* Asks for every slot that is idle or has an outcome to bring. */
static void ask_all(evb_serve *self) {
    for (size_t i = 0; self->joined && i < self->slot_count; i++) {
        slot *s = &self->slots[i];
        if (!s->asked && (s->state == SLOT_ANSWERED || (s->state == SLOT_IDLE && !self->stopping)))
            ask(self, s);
    }
}

/* ---- coming and going ---- */

static void send_serve(evb_serve *self);
static void send_stop(evb_serve *self);

static void served(void *context, evb_call *call, const evb_reply *reply) {
    evb_serve *self = context;
    evb_mp mp = reply->results;
    bool active;
    (void)call;
    self->joining = false;
    if (self->sub->state != SUB_GROUP)
        return;                                       /* the feed is gone again: the next welcome joins */
    if (strcmp(self->token, self->sub->token) != 0) { /* it was gone, and there was a welcome meanwhile */
        evb_serving_join(self, self->sub->token);
        return;
    }
    if (reply->code == EVB_EAGAIN)
        return;
    if (reply->code) {
        evb_sub_fail(self->sub, reply->code, reply->text);
        return;
    }
    if (!evb_mp_bool(&mp, &active) || !evb_mp_uint(&mp, &self->max_payload)) {
        nonsense(self);
        return;
    }
    self->joined = true;
    snprintf(self->was, sizeof self->was, "%s", self->token);
    evb_sub_joined(self->sub, !self->ever, 0);
    self->ever = true;
    ask_all(self); /* outcomes first: who has stopped and has nothing in hand is forgotten */
    if (self->stopping)
        send_stop(self);
}

static size_t in_hand(const evb_serve *self) {
    size_t count = 0;
    for (size_t i = 0; i < self->slot_count; i++)
        count += self->slots[i].state != SLOT_IDLE;
    return count;
}

/* serve [token, topic, standby, pid, slots, token before or nil, claims]. Who has served before is not turned away where
 * another was quicker after the hub's restart: what it has in hand is to come to its end. */
static bool pack_serve(evb_serve *self, msgpack_packer *p) {
    bool ok = !evb_mp_pack_str(p, self->token, strlen(self->token)) &&
              !evb_mp_pack_str(p, self->topic, self->topic_size) &&
              !(self->standby || self->ever ? msgpack_pack_true(p) : msgpack_pack_false(p)) &&
              !msgpack_pack_uint64(p, (uint64_t)getpid()) && !msgpack_pack_uint64(p, self->slot_count) &&
              !(*self->was ? evb_mp_pack_str(p, self->was, strlen(self->was)) : msgpack_pack_nil(p)) &&
              !msgpack_pack_array(p, in_hand(self));
    for (size_t i = 0; ok && i < self->slot_count; i++)
        if (self->slots[i].state != SLOT_IDLE)
            ok = !msgpack_pack_array(p, 2) && !msgpack_pack_uint64(p, i) &&
                 !msgpack_pack_uint64(p, self->slots[i].number);
    return ok;
}

static void send_serve(evb_serve *self) {
    msgpack_packer p;
    evb_call *call = evb_call_new(self->bus, "serve", 7, &p, served, self);
    if (!call || !pack_serve(self, &p)) {
        if (call)
            evb_call_discard(&call);
        fail_memory(self);
        return;
    }
    self->joining = true;
    evb_call_send(self->bus, call);
}

void evb_serving_join(evb_serving *self, const char *token) {
    self->joined = false;
    if (self->joining)
        return; /* served() sees the other token */
    snprintf(self->token, sizeof self->token, "%s", token);
    evb_call_forget(self->bus, self); /* takes under the token before */
    for (size_t i = 0; i < self->slot_count; i++)
        self->slots[i].asked = false;
    send_serve(self);
}

/* Who stops with nothing in hand has nothing to tell a hub that comes back. */
static void stop_alone(evb_serve *self) { self->stopped |= self->stopping && in_hand(self) == 0; }

void evb_serving_part(evb_serving *self) {
    self->joined = self->stop_sent = false;
    stop_alone(self);
}

/* ---- making and unmaking ---- */

static evb_sub *open_sub(evb_bus *bus, evb_serve *self, const evb_serve_options *options, evb_error *err) {
    const char *pattern = self->topic;
    const evb_sub_options how = {
        .patterns = &pattern, .pattern_count = 1, .kind = options->kind ? options->kind : "handler"};
    evb_sub *sub = evb_sub_new(bus, &how, options->note, options->note_context, err);
    if (sub)
        sub->serving = self;
    return sub;
}

evb_serve *evb_serve_new(evb_bus *bus, const evb_serve_options *options, evb_error *err) {
    evb_error why = {.code = EVB_ENOMEM, .text = "handler: out of memory"};
    size_t slots = options->jobs ? options->jobs : 1;
    if (slots > SLOTS_MAX) {
        evb_fail(err, EVB_EINVAL, "handler: at most %d commands at once", SLOTS_MAX);
        return NULL;
    }
    if (evb_topic_check(options->topic, strlen(options->topic), err))
        return NULL;
    evb_serve *self = calloc(1, sizeof *self);
    if (self) {
        self->bus = bus;
        self->standby = options->standby;
        self->topic = strdup(options->topic);
        self->topic_size = strlen(options->topic);
        self->slots = calloc(slots, sizeof *self->slots);
        self->slot_count = slots;
        self->sub = self->topic && self->slots ? open_sub(bus, self, options, &why) : NULL;
    }
    if (self && self->sub)
        return self;
    evb_fail(err, why.code, "%s", why.text);
    evb_serve_destroy(&self);
    return NULL;
}

void evb_serve_destroy(evb_serve **self) {
    evb_serve *s = *self;
    if (!s)
        return;
    evb_call_forget(s->bus, s);
    evb_sub_destroy(&s->sub);
    for (size_t i = 0; s->slots && i < s->slot_count; i++) {
        evb_message_free(&s->slots[i].record);
        evb_frame_release(s->slots[i].body);
    }
    free(s->slots);
    free(s->topic);
    free(s);
    *self = NULL;
}

/* ---- the user's side ---- */

/* Takes the slot's record apart. */
static bool read_command(evb_serve *self, const slot *s, evb_event *event) {
    evb_record rec;
    if (evb_record_parse(s->record.data, s->record.size, &rec) || rec.count != 1)
        return false;
    evb_mp cursor = rec.events;
    *event = (evb_event){0};
    if (!evb_record_next(&cursor, event, self->headers))
        return false;
    event->topic = self->topic;
    event->topic_size = self->topic_size;
    event->seq = rec.seq;
    event->version = rec.version;
    event->time_ns = rec.time_ns;
    event->producer = rec.producer;
    event->producer_seq = rec.producer_seq;
    return true;
}

/* Whether nothing is in hand, and the hub has taken every outcome. */
static bool is_done(const evb_serve *self) { return self->stopped && in_hand(self) == 0; }

bool evb_serving_ready(const evb_serving *self) { return self->ready > 0 || is_done(self); }

int evb_serve_next(evb_serve *self, evb_event *command, uint64_t *number, evb_error *err) {
    evb_event none;
    evb_bus_step(self->bus);
    for (size_t i = 0; self->ready && i < self->slot_count; i++) {
        slot *s = &self->slots[i];
        if (s->state != SLOT_READY)
            continue;
        self->ready--;
        if (!read_command(self, s, command))
            return evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
        s->state = SLOT_BUSY;
        *number = s->number;
        return EVB_EVENT;
    }
    if (is_done(self))
        return EVB_END;
    return evb_sub_next(self->sub, &none, err);
}

static slot *find_busy(evb_serve *self, uint64_t number) {
    for (size_t i = 0; i < self->slot_count; i++)
        if (self->slots[i].state == SLOT_BUSY && self->slots[i].number == number)
            return &self->slots[i];
    return NULL;
}

int evb_serve_answer(evb_serve *self, uint64_t number, const evb_answer *answer, evb_error *err) {
    slot *s = find_busy(self, number);
    if (!s)
        return evb_fail(err, EVB_EINVAL, "handler: no such command in hand");
    if (answer->size > self->max_payload)
        return evb_fail(err, EVB_EDATA, "an answer of %zu bytes is larger than the hub takes (%llu)", answer->size,
                        (unsigned long long)self->max_payload);
    size_t errors = answer->errors_size < EVB_ERRORS_SENT_MAX ? answer->errors_size : EVB_ERRORS_SENT_MAX;
    const char *from = errors ? (const char *)answer->errors + answer->errors_size - errors : NULL;
    s->body = evb_frame_new();
    if (!s->body || (answer->size && !evb_buf_add(&s->body->buf, answer->data, answer->size)) ||
        (errors && !evb_buf_add(&s->body->buf, from, errors))) {
        evb_frame_release(s->body);
        s->body = NULL;
        return evb_fail(err, EVB_ENOMEM, "handler: out of memory");
    }
    s->answer_size = answer->size;
    s->refused = answer->refused;
    const char *reason = answer->reason ? answer->reason : "";
    evb_utf8_copy(s->reason, sizeof s->reason, reason, strlen(reason), false);
    evb_message_free(&s->record);
    s->state = SLOT_ANSWERED;
    if (self->joined)
        ask(self, s);
    return 0;
}

/* ---- stopping ---- */

static void stop_heard(void *context, evb_call *call, const evb_reply *reply) {
    evb_serve *self = context;
    (void)call;
    self->stopped |= !reply->code || reply->code == EVB_EAGAIN;
    ask_all(self);
}

static void send_stop(evb_serve *self) {
    msgpack_packer p;
    evb_call *call = self->stop_sent ? NULL : evb_call_new(self->bus, "serve.stop", 1, &p, stop_heard, self);
    if (self->stop_sent)
        return;
    if (!call || evb_mp_pack_str(&p, self->token, strlen(self->token))) {
        if (call)
            evb_call_discard(&call);
        fail_memory(self);
        return;
    }
    self->stop_sent = true;
    evb_call_send(self->bus, call);
}

void evb_serve_stop(evb_serve *self) {
    self->stopping = true;
    if (self->joined)
        send_stop(self);
    else
        stop_alone(self);
}
