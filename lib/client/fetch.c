/* fetch.c: the pieces of the journal that a subscription reads, asked for one after the other.
 *
 * Invariants: at most one request is under way, and at most two pieces are in hand, `piece` and behind it `ready`;
 * fetch_next is the first seq of what was not asked for yet, and only grows within a fetch; fetched_all says that nothing
 * more is to be asked for. What is gone from the journal is passed over only where that is wanted, and said once.
 * Leaves to others: what is read in a piece (subscription.c), requests and their timeout (bus.c). */
#include "client/fetch.h"

#include "base/clock.h"
#include "base/error.h"

static const int64_t LONG_NS = 10 * EVB_MILLISECOND_NS;

static void fetch_more(evb_sub *self);

/* The journal begins behind what was asked for, whatever is left of it otherwise. */
static void skip_gap(evb_sub *self) {
    self->fetching = false;
    if (self->hub_first <= self->fetch_next) {
        evb_sub_fail(self, EVB_EGONE, "the hub says that it has what it says is gone");
        return;
    }
    uint64_t said = self->told_gone > self->fetch_next ? self->told_gone : self->fetch_next;
    if (said < self->hub_first) {
        evb_sub_say(self, EVB_NOTE_GAP, self->hub_first - said);
        self->told_gone = self->hub_first;
    }
    self->fetch_next = self->hub_first;
    fetch_more(self);
}

/* Whether what is gone is passed over: positions that stand for what is left have nothing to miss. */
static bool is_lenient(const evb_sub *self) {
    evb_from from = self->options.from;
    return self->fetch_next < self->told_gone || (from != EVB_FROM_NOW && from != EVB_FROM_SEQ);
}

/* Some of what was asked for is gone: go on with what is left, if that was wanted. Said once for all up to `first`. */
static void skip_gone(evb_sub *self, const evb_reply *reply) {
    evb_mp mp = reply->results;
    uint64_t first;
    if (!self->options.allow_gap && !is_lenient(self)) {
        evb_sub_fail(self, EVB_EGONE, reply->text);
    } else if (is_lenient(self) || !evb_mp_uint(&mp, &first) || first <= self->fetch_next) {
        self->fetching = true; /* until the status is there */
        evb_sub_ask_status(self, skip_gap);
    } else {
        evb_sub_say(self, EVB_NOTE_GAP, first - self->fetch_next);
        self->told_gone = first;
        fetch_more(self);
    }
}

/* How much is asked for next. A hub whose syncs are slow answers seldom, once a sync: a reader that had to wait asks for
 * twice as much, so that it gets on faster than a publisher can write. */
static void judge_size(evb_sub *self) {
    bool waited = !self->piece.handle && evb_clock_monotonic_ns() - self->fetch_asked_ns >= LONG_NS;
    if (!waited)
        self->fetch_bytes = EVB_FETCH_DEFAULT;
    else if (self->fetch_bytes < EVB_FETCH_MOST)
        self->fetch_bytes *= 2;
}

static void take_piece(evb_sub *self, const evb_reply *reply, uint64_t next) {
    bool second = self->piece.handle != NULL;
    if (self->fetch_to && next > self->fetch_to + 1)
        next = self->fetch_to + 1; /* the last record reaches further than what was asked for */
    *(second ? &self->ready : &self->piece) = *reply->body;
    *(second ? &self->ready_next : &self->piece_next) = next;
    if (!second)
        self->piece_at = 0;
    *reply->body = (evb_message){0};
}

/* Reads next and head. A next beyond head + 1 is what was asked for, and there is nothing yet. */
static bool read_fetched(const evb_sub *self, evb_mp mp, uint64_t *next, uint64_t *head) {
    uint64_t first;
    return evb_mp_uint(&mp, next) && evb_mp_uint(&mp, head) && evb_mp_uint(&mp, &first) &&
           *next >= self->fetch_next && (*next == self->fetch_next || *next - 1 <= *head);
}

static void fetched(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    uint64_t next, head;
    (void)call;
    self->fetching = false;
    judge_size(self);
    if (reply->code == EVB_EGONE) {
        skip_gone(self, reply);
    } else if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
    } else if (!read_fetched(self, reply->results, &next, &head) || !reply->body->handle) {
        evb_sub_fail(self, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    } else if (evb_sub_told(self, head)) {
        uint64_t to = self->fetch_to && self->fetch_to < head ? self->fetch_to : head;
        self->fetched_all = next > to;
        self->fetch_next = next;
        if (next <= to && !reply->body->size && !self->piece.handle)
            fetch_more(self); /* nothing that matches yet: go on at once */
        else
            take_piece(self, reply, next);
        fetch_more(self);
    }
}

/* Asks for the next piece, unless one is asked for or two are in hand. */
static void fetch_more(evb_sub *self) {
    msgpack_packer packer;
    if (self->fetching || self->fetched_all || self->ready.handle)
        return;
    evb_call *call = evb_call_new(self->bus, "fetch", 5, &packer, fetched, self);
    size_t count = evb_patterns_count(self->patterns), size;
    int rc = !call || msgpack_pack_uint64(&packer, self->fetch_next) ||
             msgpack_pack_uint64(&packer, self->fetch_to) || msgpack_pack_uint64(&packer, self->fetch_bytes) ||
             msgpack_pack_array(&packer, count);
    for (size_t i = 0; !rc && i < count; i++) {
        const char *text = evb_patterns_get(self->patterns, i, &size);
        rc = evb_mp_pack_str(&packer, text, size);
    }
    rc = rc || msgpack_pack_uint8(&packer, is_lenient(self));
    if (rc) {
        evb_sub_fail(self, EVB_ENOMEM, "subscription: out of memory");
        return;
    }
    self->fetching = true;
    self->fetch_asked_ns = evb_clock_monotonic_ns();
    evb_call_send(self->bus, call);
}

void evb_sub_fetch(evb_sub *self, uint64_t from, uint64_t to) {
    self->fetch_next = from;
    self->fetch_to = to;
    self->fetched_all = false;
    if (!self->fetch_bytes)
        self->fetch_bytes = EVB_FETCH_DEFAULT;
    fetch_more(self);
}

void evb_sub_next_piece(evb_sub *self) {
    evb_message_free(&self->piece);
    self->piece = self->ready;
    self->piece_next = self->ready_next;
    self->piece_at = 0;
    self->ready = (evb_message){0};
    fetch_more(self);
}
