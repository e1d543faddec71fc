/* subscription.c: a reader's way: replay from the journal, then the feed, then whatever gaps the feed has.
 *
 * Invariants: `done` says that every matching event up to it was handed on or is known not to exist, and only grows;
 * an event at or below it is never handed on. The feed is believed only after its welcome, and a frame only if nothing
 * can be missing before it: `prev` proves a loss, `mark` raises a doubt (evbus-protocol(7)); either makes us fetch
 * what lies between, with the frame held, before going on. So replay, seam, gap and reconnect are one mechanism.
 * At most two pieces of a replay, or SUB_PICKS batches, and one frame are in hand; the feed's queue is libzmq's, and bounded.
 * Leaves to others: where to start (locate.c), asking for pieces (fetch.c), requests and their timeout (bus.c). */
#include "client/subscription.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/fetch.h"
#include "client/subscription_private.h"

static const int64_t SILENCE_LEAST_NS = 3 * EVB_SECOND_NS;
static const int64_t WELCOME_NS = EVB_SECOND_NS; /* after that a welcome is asked for again */
static const int64_t LEAVE_NS = 5 * EVB_SECOND_NS;
static const char HUB_PREFIX[] = "$hub.";

void evb_sub_set(evb_sub *self, sub_state state) {
    self->state = state;
    if (state == SUB_ENDED || state == SUB_FAILED)
        evb_channel_listen(self->feed, false); /* nobody reads it any more: it would end every wait */
}

void evb_sub_say(evb_sub *self, evb_note note, uint64_t value) {
    if (note == EVB_NOTE_LOST || note == EVB_NOTE_GAP)
        self->losses += value;
    if (self->note)
        self->note(self->note_context, note, value);
}

void evb_sub_fail(evb_sub *self, int code, const char *text) {
    if (self->state == SUB_FAILED)
        return;
    evb_fail(&self->failed, code, "%s", text);
    evb_sub_set(self, SUB_FAILED);
}

bool evb_sub_wants(const evb_sub *self, const char *topic, size_t size) {
    return evb_patterns_match(self->patterns, topic, size) &&
           !(self->excludes && evb_patterns_match(self->excludes, topic, size));
}

static void another_journal(evb_sub *self, uint64_t head) {
    char text[200];
    snprintf(text, sizeof text, "the hub has another journal now: its head is %" PRIu64 ", and was %" PRIu64, head,
             self->most);
    evb_sub_fail(self, EVB_EGONE, text);
}

bool evb_sub_told(evb_sub *self, uint64_t head) {
    if (head < self->most)
        another_journal(self, head);
    else
        self->most = head;
    return head >= self->most;
}

/* ---- the feed ---- */

static void hear(evb_sub *self) {
    self->heard_ns = evb_clock_monotonic_ns();
    self->grace_ns = 0;
}

static void join(evb_sub *self) {
    evb_sub_set(self, SUB_JOIN);
    hear(self);
    evb_sub_open_feed(self);
}

void evb_sub_start(evb_sub *self, uint64_t done) {
    self->done = done;
    if ((self->options.from == EVB_FROM_NOW && !self->options.until_head) || self->group) {
        join(self);
        return;
    }
    uint64_t end = self->options.until_head ? self->head : 0; /* 0: wherever the head is by then */
    if (self->to <= self->head)
        end = end && end < self->to ? end : self->to;
    evb_sub_set(self, SUB_REPLAY);
    if (self->done >= self->to || (self->options.until_head && self->done >= end))
        self->fetched_all = true;
    else
        evb_sub_fetch(self, self->done + 1, end);
}

/* The feed's connection is gone. */
static void lose_feed(evb_sub *self, int64_t now) {
    evb_error err;
    bool hopeless;
    if (!self->lost && self->subscribed) {
        evb_sub_say(self, EVB_NOTE_DISCONNECTED, 0);
        self->lost = true;
    }
    evb_channel_close(self->feed);
    int code = evb_link_explain(self->bus->link, &hopeless, &err);
    if (hopeless && (!self->subscribed || code == EVB_EPERM))
        evb_sub_fail(self, err.code, err.text);
    if (self->group)
        evb_membership_part(self->group);
    if (self->serving)
        evb_serving_part(self->serving);
    if (self->state == SUB_LIVE || self->state == SUB_GROUP) { /* what came before the loss has been read */
        hear(self);
        evb_sub_set(self, SUB_JOIN);
    }
    self->retry_ns = now + evb_bus_backoff(&self->backoff_ns);
}

/* Whether the feed is what we wait for. */
static bool listens(const evb_sub *self) {
    return self->state == SUB_JOIN || self->state == SUB_LIVE || self->state == SUB_GROUP;
}

/* Held, and not in a group: the feed is left alone. */
static bool is_deaf(const evb_sub *self) { return self->held && !self->group; }

/* When the feed will have been silent for longer than the timeout allows, while we listen. */
static int64_t silence_ends(const evb_sub *self) {
    int64_t patience = self->bus->timeout_ns;
    if (patience < 0 || !listens(self) || is_deaf(self))
        return INT64_MAX;
    if (self->state != SUB_JOIN && patience < SILENCE_LEAST_NS)
        patience = SILENCE_LEAST_NS;
    return self->heard_ns + patience;
}

static void give_up_feed(evb_sub *self) {
    evb_error err;
    evb_bus_explain(self->bus, self->feed, self->subscribed, &err);
    evb_sub_fail(self, err.code, err.text);
}

/* When the hub has sent no welcome for so long that it must have been dropped: on a busy feed the queue may be full. */
static int64_t welcome_due(const evb_sub *self, evb_channel_state feed) {
    return self->state == SUB_JOIN && feed == EVB_CHANNEL_UP ? self->asked_ns + WELCOME_NS : INT64_MAX;
}

static bool next_frame(evb_sub *self);

/* Whether what ends the silence is here, and nobody has asked for it yet. */
static bool is_unheard(const evb_sub *self) { return self->state == SUB_LIVE && evb_channel_has(self->feed); }

static void step(void *context) {
    evb_sub *self = context;
    evb_channel_state feed = evb_channel_look(self->feed); /* in any state, or evb_link_wait wakes for it again */
    if (!listens(self) || is_deaf(self))
        return;
    while (self->group && self->state != SUB_FAILED && next_frame(self))
        continue; /* beats, calls, the welcome: who has enough to do with a piece in hand does not ask for them */
    if (self->group)
        evb_membership_step(self->group);
    while (self->serving && self->state != SUB_FAILED && next_frame(self))
        continue; /* beats and the welcome: nobody asks for events */
    feed = evb_channel_look(self->feed);
    int64_t now = evb_clock_monotonic_ns();
    if (feed == EVB_CHANNEL_UP)
        evb_sub_hello(self, now);
    if (feed == EVB_CHANNEL_CLOSED && now >= self->retry_ns)
        evb_sub_open_feed(self);
    if (now >= welcome_due(self, feed))
        evb_sub_ask_welcome(self);
    /* LIVE: frames that came before the loss may still be queued; next_frame sees the loss when they are read */
    if (feed == EVB_CHANNEL_DOWN && self->state == SUB_JOIN)
        lose_feed(self, now);
    if (self->state != SUB_FAILED && feed != EVB_CHANNEL_DOWN &&
        evb_bus_expired(now, silence_ends(self), &self->grace_ns) && !is_unheard(self))
        give_up_feed(self);
}

static int64_t deadline(const void *context) {
    const evb_sub *self = context;
    if (!listens(self) || is_deaf(self))
        return INT64_MAX;
    int64_t at = self->grace_ns ? self->grace_ns : silence_ends(self);
    evb_channel_state feed = evb_channel_look(self->feed);
    if (feed == EVB_CHANNEL_DOWN)
        return 0; /* this look may have taken the one event that would end the wait */
    if (feed == EVB_CHANNEL_CLOSED && self->retry_ns < at)
        at = self->retry_ns;
    if (feed == EVB_CHANNEL_UP && self->hello_ns && self->hello_ns < at)
        at = self->hello_ns;
    int64_t group = self->group ? evb_membership_deadline(self->group) : INT64_MAX;
    at = group < at ? group : at;
    return welcome_due(self, feed) < at ? welcome_due(self, feed) : at;
}

/* Whether an answer that somebody else's step has taken in lets it go on. */
static bool has_fetched(const evb_sub *self) {
    if (self->state == SUB_PICK)
        return self->read_picks != self->got_picks || self->read_picks == self->tops.count;
    return (self->state == SUB_REPLAY || self->state == SUB_REPAIR) && !self->fetching && self->fetched_all;
}

static bool is_group_ready(const evb_sub *self) {
    if (evb_membership_is_leaving(self->group))
        return evb_membership_left(self->group);
    return evb_membership_ready(self->group) ||
           (self->state == SUB_GROUP && self->options.until_head && evb_membership_is_done(self->group));
}

static bool ready(const void *context) {
    const evb_sub *self = context;
    if (self->held)
        return false;
    return self->in_batch || has_fetched(self) || self->piece.handle || self->state == SUB_FAILED ||
           self->state == SUB_ENDED || (self->group && is_group_ready(self)) ||
           (self->serving && evb_serving_ready(self->serving)) ||
           ((self->state == SUB_LIVE || self->state == SUB_GROUP) &&
            evb_channel_look(self->feed) == EVB_CHANNEL_DOWN);
}

/* ---- frames ---- */

static bool is_hubs(const evb_record *rec) {
    return rec->topic_size >= sizeof HUB_PREFIX - 1 && memcmp(rec->topic, HUB_PREFIX, sizeof HUB_PREFIX - 1) == 0 &&
           !rec->count;
}

/* Ends the subscription if the record lies behind what is wanted. */
static bool is_beyond(evb_sub *self, const evb_record *rec) {
    bool to_time = self->options.has_to && !self->options.to;
    if (rec->seq <= self->to && !(to_time && rec->time_ns > self->options.to_ns))
        return false;
    evb_sub_set(self, SUB_ENDED);
    return true;
}

static void begin_batch(evb_sub *self, const evb_record *rec) {
    self->batch = *rec;
    self->cursor = rec->events;
    self->index = 0;
    self->in_batch = true;
}

static void catch_up(evb_sub *self) {
    if (!self->caught_up)
        evb_sub_say(self, EVB_NOTE_CAUGHT_UP, self->head);
    self->caught_up = true;
}

/* The feed goes on where we are: nothing is missing before it. */
static void arrive(evb_sub *self) {
    evb_sub_set(self, SUB_LIVE);
    if (self->lost)
        evb_sub_say(self, EVB_NOTE_RECONNECTED, self->head);
    catch_up(self);
    self->lost = false;
}

/* The hub's head after a welcome: what lies between it and us is fetched, then the feed goes on. */
static void welcome(evb_sub *self, uint64_t head) {
    if (!evb_sub_told(self, head))
        return;
    self->backoff_ns = 0;
    self->head = head;
    self->hello_ns = evb_clock_monotonic_ns();
    if (self->serving) {
        evb_sub_set(self, SUB_GROUP);
        evb_serving_join(self->serving, self->token);
        return;
    }
    if (self->group) {
        evb_sub_set(self, SUB_GROUP);
        evb_membership_join(self->group, self->token, self->options.from == EVB_FROM_NOW ? 0 : self->done + 1);
        return;
    }
    if (!self->subscribed && self->options.from == EVB_FROM_NOW) {
        self->done = head;
        self->caught_up = true; /* there is no replay */
    }
    if (!self->subscribed)
        evb_sub_say(self, EVB_NOTE_SUBSCRIBED, head);
    self->subscribed = true;
    self->doubt = false;
    self->repaired_from = 0;
    if (self->done < head) {
        evb_sub_set(self, SUB_REPAIR);
        evb_channel_listen(self->feed, false);
        evb_sub_fetch(self, self->done + 1, head);
        return;
    }
    arrive(self);
}

void evb_sub_joined(evb_sub *self, bool first, uint64_t head) {
    self->subscribed = true;
    if (first)
        evb_sub_say(self, EVB_NOTE_SUBSCRIBED, head);
    else if (self->lost)
        evb_sub_say(self, EVB_NOTE_RECONNECTED, head);
    self->lost = false;
}

/* Holds the frame and fetches what may be missing before it. */
static void repair(evb_sub *self, uint64_t before) {
    self->frame_held = true;
    self->doubt = false;
    self->repaired_from = self->done + 1;
    evb_sub_set(self, SUB_REPAIR);
    evb_channel_listen(self->feed, false);
    evb_sub_fetch(self, self->done + 1, before - 1);
}

/* What to do with a frame from the feed, in SUB_LIVE. */
static void take_frame(evb_sub *self, const evb_record *rec) {
    uint64_t end = rec->seq + rec->count; /* of a beat: its seq, which is the head's + 1 */
    if (rec->flags & EVB_FLAG_LIVE) {
        if (evb_sub_wants(self, rec->topic, rec->topic_size)) {
            evb_sub_count_live(self, rec);
            begin_batch(self, rec);
        }
        return;
    }
    if (end > self->most + 1)
        self->most = end - 1;
    if (end <= self->done + 1) {
        if (end == self->done + 1)
            is_beyond(self, rec); /* a beat's time may be behind the end */
        return;
    }
    bool missing = rec->prev > self->done || rec->mark > self->done || self->doubt;
    if (missing && rec->seq > self->done + 1 && !self->frame_held) {
        repair(self, rec->seq);
        return;
    }
    self->doubt = false;
    if (is_beyond(self, rec))
        return;
    if (!is_hubs(rec) && evb_sub_wants(self, rec->topic, rec->topic_size))
        begin_batch(self, rec);
    else
        self->done = end - 1;
}

/* Receives from the feed until a frame is worth something. False: nothing there. */
static bool next_frame(evb_sub *self) {
    evb_record rec;
    evb_message extra;
    evb_message_free(&self->frame);
    if (!evb_channel_receive(self->feed, &self->frame, &extra)) {
        if (evb_channel_look(self->feed) == EVB_CHANNEL_DOWN)
            lose_feed(self, evb_clock_monotonic_ns());
        return false;
    }
    evb_message_free(&extra);
    bool readable = !evb_frame_parse(self->frame.data, self->frame.size, &rec);
    if (self->state == SUB_JOIN && !(readable && rec.seq && evb_sub_is_my_welcome(self, &rec)))
        return true; /* and the wait for the welcome goes on: a feed that never gives one is no progress */
    hear(self);
    if (readable)
        self->frame_ns = rec.time_ns;
    if (self->state == SUB_JOIN)
        welcome(self, rec.seq - 1);
    else if (self->group)
        evb_membership_poke(self->group); /* a beat, or a call */
    else if (self->serving)
        return true; /* a beat */
    else if (readable)
        take_frame(self, &rec);
    else
        self->doubt = true;
    return true;
}

/* The repair is done: on with the frame that was held, or with the feed. */
static void end_repair(evb_sub *self) {
    evb_record rec;
    evb_channel_listen(self->feed, true);
    hear(self);
    if (self->repaired_from) {
        evb_sub_set(self, SUB_LIVE);
        evb_sub_say(self, EVB_NOTE_REPAIRED, self->done + 1 - self->repaired_from);
    } else {
        arrive(self);
    }
    self->repaired_from = 0;
    if (!self->frame_held)
        return;
    if (!evb_frame_parse(self->frame.data, self->frame.size, &rec))
        take_frame(self, &rec);
    self->frame_held = false;
}

/* ---- pieces of the journal ---- */

static void damaged(evb_sub *self, const char *fault) {
    char text[120];
    snprintf(text, sizeof text, "a record behind seq %" PRIu64 " is damaged: %s", self->done, fault);
    evb_sub_fail(self, EVB_EDAMAGED, text);
}

/* The next record of the piece in hand. False: it is read to its end. */
static bool next_record(evb_sub *self) {
    evb_record rec;
    while (self->piece_at < self->piece.size) {
        uint8_t *at = self->piece.data + self->piece_at;
        const char *fault = evb_record_parse(at, self->piece.size - self->piece_at, &rec);
        if (!fault && !evb_record_intact(at, rec.size))
            fault = "its checksum does not hold";
        if (fault) {
            damaged(self, fault);
            return true;
        }
        self->piece_at += rec.size;
        if (!self->only && is_beyond(self, &rec))
            return true;
        if (!evb_sub_wants(self, rec.topic, rec.topic_size))
            continue;
        if (self->only || rec.seq + rec.count > self->done + 1) {
            begin_batch(self, &rec);
            return true;
        }
    }
    return false;
}

/* The piece is read: `done` moves to its end. */
static void end_piece(evb_sub *self) {
    if (!self->only && self->piece_next > self->done + 1)
        self->done = self->piece_next - 1;
    evb_sub_next_piece(self);
}

/* Everything asked for has been read. False: nothing to go on with for now. */
static bool end_of_fetch(evb_sub *self) {
    switch (self->state) {
    case SUB_PICK:
        if (evb_sub_take_pick(self))
            return true;
        if (self->read_picks < self->tops.count)
            return false;
        self->only = 0;
        evb_sub_start(self, self->head);
        return true;
    case SUB_REPLAY:
        if (self->done < self->to && !self->options.until_head) {
            join(self);
            return true;
        }
        if (self->done < self->to)
            catch_up(self);
        evb_sub_set(self, SUB_ENDED);
        return true;
    case SUB_REPAIR:
        if (self->fetch_to > self->done)
            self->done = self->fetch_to;
        end_repair(self);
        return true;
    case SUB_LOCATE:
    case SUB_JOIN:
    case SUB_LIVE:
    case SUB_GROUP:
    case SUB_ENDED:
    case SUB_FAILED: break;
    }
    return false;
}

/* ---- the API ---- */

/* The batch in hand cannot be read to its end. What the journal holds of it is then the truth; if it is from there, it is
 * damaged. */
static void leave_batch(evb_sub *self) {
    if (self->batch.record)
        damaged(self, "an event of it is malformed");
    else if (self->batch.flags & EVB_FLAG_LIVE)
        evb_sub_say(self, EVB_NOTE_LOST, self->batch.count - self->index);
    else
        self->doubt = true;
}

/* The next event of the batch in hand that is wanted. False: there are none left in it. */
static bool next_of_batch(evb_sub *self, evb_event *event) {
    const evb_record *b = &self->batch;
    bool live = b->flags & EVB_FLAG_LIVE;
    while (self->index < b->count && evb_record_next(&self->cursor, event, self->headers)) {
        uint64_t seq = live ? 0 : b->seq + self->index;
        uint32_t index = self->index++;
        if (!live && (self->only ? seq != self->only : seq <= self->done))
            continue;
        if (!live && !self->only &&
            (seq > self->to || (self->fetch_to && self->state != SUB_LIVE && seq > self->fetch_to)))
            continue;
        event->topic = b->topic;
        event->topic_size = b->topic_size;
        event->live = live;
        event->seq = seq;
        event->version = b->version + index;
        event->time_ns = b->time_ns;
        event->producer = b->producer;
        event->producer_seq = b->producer_seq;
        event->index = index;
        event->deliveries = 0;
        event->replayed = false;
        if (!live && !self->only)
            self->done = seq;
        return true;
    }
    self->in_batch = false;
    if (self->index < b->count)
        leave_batch(self);
    return false;
}

/* Goes on to the next batch, or to the next state. False: nothing to go on with for now. */
static bool advance(evb_sub *self) {
    if (self->done >= self->to && (self->state == SUB_REPLAY || self->state == SUB_LIVE)) {
        evb_sub_set(self, SUB_ENDED);
        return true;
    }
    if (self->piece.handle) {
        if (!next_record(self))
            end_piece(self);
        return true;
    }
    if (self->state == SUB_PICK || self->state == SUB_REPLAY || self->state == SUB_REPAIR)
        return !self->fetching && self->fetched_all ? end_of_fetch(self) : false;
    if (self->state == SUB_GROUP && self->options.until_head && evb_membership_is_done(self->group)) {
        evb_sub_set(self, SUB_ENDED);
        return true;
    }
    return listens(self) ? next_frame(self) : false;
}

/* While it leaves: only what the hub says about that matters. */
static int next_of_leaving(evb_sub *self, evb_error *err) {
    while (self->state != SUB_FAILED && listens(self) && next_frame(self))
        continue;
    if (self->state == SUB_FAILED)
        return evb_fail(err, self->failed.code, "%s", self->failed.text);
    if (!evb_membership_left(self->group))
        return EVB_NOTHING;
    evb_sub_set(self, SUB_ENDED);
    return EVB_END;
}

int evb_sub_next(evb_sub *self, evb_event *event, evb_error *err) {
    if (self->group && evb_membership_is_leaving(self->group))
        return next_of_leaving(self, err);
    for (bool stepped = false;;) {
        if ((self->in_batch && next_of_batch(self, event)) ||
            (self->group && evb_membership_next(self->group, event))) {
            self->handed++;
            return EVB_EVENT;
        }
        if (self->state == SUB_FAILED)
            return evb_fail(err, self->failed.code, "%s", self->failed.text);
        if (self->state == SUB_ENDED)
            return EVB_END;
        if (advance(self))
            continue;
        if (stepped)
            return EVB_NOTHING;
        evb_bus_step(self->bus); /* an answer may be there already: a replay then goes on without a wait */
        stepped = true;
    }
}

void evb_sub_hold(evb_sub *self, bool held) {
    if (held == self->held)
        return;
    self->held = held;
    if (self->group || !listens(self))
        return;
    evb_channel_listen(self->feed, !held);
    hear(self); /* what was not listened to is no silence */
}

uint64_t evb_sub_position(const evb_sub *self) { return self->done + 1; }

int64_t evb_sub_complete_ns(const evb_sub *self) {
    return self->state == SUB_LIVE && !self->in_batch ? self->frame_ns : 0;
}

/* ---- in a group ---- */

int evb_sub_leave_start(evb_sub *self, evb_error *err) {
    if (!self->group)
        return evb_fail(err, EVB_EINVAL, "subscription: not in a group");
    if (self->state == SUB_ENDED && !evb_membership_left(self->group)) {
        evb_sub_set(self, SUB_GROUP);
        evb_channel_listen(self->feed, true);
    }
    evb_sub_hold(self, false);
    evb_sub_hello_last(self);
    evb_membership_leave(self->group);
    return 0;
}

static int not_told(int64_t patience_ns, evb_error *err) {
    return evb_fail(err, EVB_ETIMEDOUT,
                    "leaving: the hub took nothing for %.3g s: what was done last may be handed out again",
                    (double)patience_ns / 1e9);
}

/* Waits until it has left. A hub that answers, but turns us away again and again, keeps no bus waiting: what is bounded here
 * is the time in which it takes nothing of what is to be told. */
static int wait_left(evb_sub *self, evb_error *err) {
    int64_t patience = LEAVE_NS + (self->bus->timeout_ns > 0 ? self->bus->timeout_ns : 0);
    int64_t now = evb_clock_monotonic_ns(), due = now + patience, grace = 0;
    uint64_t least = evb_membership_untold(self->group);
    int rc;
    while ((rc = next_of_leaving(self, err)) == EVB_NOTHING) {
        uint64_t untold = evb_membership_untold(self->group);
        if (!untold && evb_channel_look(self->feed) != EVB_CHANNEL_UP)
            return EVB_END; /* there is nothing to tell, and nobody */
        now = evb_clock_monotonic_ns();
        if (untold < least) {
            due = now + patience;
            grace = 0;
        }
        least = untold < least ? untold : least;
        if (evb_bus_expired(now, due, &grace))
            return untold ? not_told(patience, err) : EVB_END;
        if (evb_bus_wait(self->bus, NULL, 0, (grace ? grace : due) - now, err) < 0)
            return EVB_EIO;
    }
    return rc;
}

int evb_sub_leave(evb_sub *self, evb_error *err) {
    int rc = evb_sub_leave_start(self, err);
    rc = rc ? rc : wait_left(self, err);
    return rc < 0 ? rc : 0;
}

/* ---- making and unmaking ---- */

static const char *conflict(const evb_sub_options *options) {
    if (options->group && options->from == EVB_FROM_LAST_PER_TOPIC)
        return "a group reads on from one place: not from each topic's last event";
    if (options->has_to && options->from == EVB_FROM_LAST_PER_TOPIC)
        return "each topic's last event is that of now: it goes with no end";
    if (options->group && (options->has_to || options->exclude_count))
        return "a group has no end, and leaves out no topics";
    return NULL;
}

evb_sub *evb_sub_new(evb_bus *bus, const evb_sub_options *options, evb_note_fn *note, void *context, evb_error *err) {
    const char *fault = conflict(options);
    evb_sub *self = fault ? NULL : calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, fault ? EVB_EINVAL : EVB_ENOMEM, "%s", fault ? fault : "subscription: out of memory");
        return NULL;
    }
    evb_error why = {.code = EVB_ENOMEM, .text = "subscription: out of memory"};
    self->bus = bus;
    self->options = *options;
    self->options.patterns = NULL; /* copied */
    self->options.group = NULL;
    snprintf(self->kind, sizeof self->kind, "%s", options->kind ? options->kind : "library");
    if (options->group && options->group->name)
        snprintf(self->group_name, sizeof self->group_name, "%s", options->group->name);
    self->options.excludes = NULL;
    self->to = options->has_to && options->to ? options->to : UINT64_MAX;
    self->note = note;
    self->note_context = context;
    self->driven = (evb_driven){NULL, step, deadline, ready, self};
    evb_bus_drive(bus, &self->driven);
    self->patterns = evb_patterns_new(options->patterns, options->pattern_count, &why);
    self->live = evb_table_new();
    self->feed = evb_channel_new(bus->link, EVB_CHANNEL_FEED);
    if (self->patterns && options->exclude_count)
        self->excludes = evb_patterns_new(options->excludes, options->exclude_count, &why);
    if (self->patterns && options->group)
        self->group = evb_membership_new(self, options->group, self->patterns, &why);
    if (!self->patterns || !self->live || !self->feed || (options->group && !self->group) ||
        (options->exclude_count && !self->excludes)) {
        evb_fail(err, why.code, "%s", why.text);
        evb_sub_destroy(&self);
        return NULL;
    }
    evb_sub_locate(self);
    return self;
}

void evb_sub_destroy(evb_sub **self) {
    evb_sub *s = *self;
    if (!s)
        return;
    evb_call_forget(s->bus, s);
    evb_bus_undrive(s->bus, &s->driven);
    evb_membership_destroy(&s->group);
    evb_message_free(&s->piece);
    evb_message_free(&s->ready);
    evb_message_free(&s->frame);
    for (size_t i = 0; i < SUB_PICKS; i++)
        evb_message_free(&s->picks[i]);
    evb_channel_destroy(&s->feed);
    evb_table_destroy(&s->live, free);
    evb_patterns_destroy(&s->patterns);
    evb_patterns_destroy(&s->excludes);
    free(s->tops.seqs);
    free(s);
    *self = NULL;
}
