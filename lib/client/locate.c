/* locate.c: from a position, as its owner names it, to the seq where the reading starts.
 *
 * FIRST, and the end for until_head, are in the hub's status; a time is a "seek"; the newest N of everything are
 * counted from the head. The newest N of some topics, and each topic's last, start from the list of topics: a topic
 * names its last seq, and each batch its topic's seq before it, so that the walk back touches only what matches.
 * Invariant: nothing here hands on an event; it ends by setting `done` and the next state. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "client/subscription_private.h"

static void out_of_memory(evb_sub *self) { evb_sub_fail(self, EVB_ENOMEM, "subscription: out of memory"); }

static void nonsense(evb_sub *self) {
    evb_sub_fail(self, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
}

/* ---- the heap of topics' last seqs, for BACK: the largest at its root ---- */

static void sift_up(seq_list *heap, size_t i) {
    while (i && heap->seqs[(i - 1) / 2] < heap->seqs[i]) {
        uint64_t swap = heap->seqs[i];
        heap->seqs[i] = heap->seqs[(i - 1) / 2];
        heap->seqs[(i - 1) / 2] = swap;
        i = (i - 1) / 2;
    }
}

static void sift_down(seq_list *heap) {
    for (size_t i = 0;;) {
        size_t child = 2 * i + 1;
        if (child >= heap->count)
            return;
        if (child + 1 < heap->count && heap->seqs[child + 1] > heap->seqs[child])
            child++;
        if (heap->seqs[i] >= heap->seqs[child])
            return;
        uint64_t swap = heap->seqs[i];
        heap->seqs[i] = heap->seqs[child];
        heap->seqs[child] = swap;
        i = child;
    }
}

static bool add_seq(seq_list *list, uint64_t seq) {
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        uint64_t *seqs = realloc(list->seqs, room * sizeof *seqs);
        if (!seqs)
            return false;
        list->seqs = seqs;
        list->room = room;
    }
    list->seqs[list->count++] = seq;
    return true;
}

static bool push(seq_list *heap, uint64_t seq) {
    if (!add_seq(heap, seq))
        return false;
    sift_up(heap, heap->count - 1);
    return true;
}

static uint64_t pop(seq_list *heap) {
    uint64_t top = heap->seqs[0];
    heap->seqs[0] = heap->seqs[--heap->count];
    sift_down(heap);
    return top;
}

static int descending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

static int ascending(const void *a, const void *b) { return descending(b, a); }

/* ---- walking back ---- */

static void look_back(evb_sub *self);

static void from_first(evb_sub *self) { evb_sub_start(self, self->hub_first - 1); }

static void looked_back(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_record rec;
    (void)call;
    if (reply->code == EVB_EGONE && self->tops.count) { /* of that topic nothing older is left */
        look_back(self);
    } else if (reply->code == EVB_EGONE) {
        evb_sub_ask_status(self, from_first);
    } else if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
    } else if (!reply->body->size) { /* purged, and with it what was before it of the topic */
        look_back(self);
    } else if (evb_record_parse(reply->body->data, reply->body->size, &rec) || rec.seq > self->looking ||
               rec.seq + rec.count <= self->looking) {
        nonsense(self);
    } else {
        uint64_t found = self->looking - rec.seq + 1;
        if (found >= self->want) {
            evb_sub_start(self, self->looking - self->want);
            return;
        }
        self->want -= found;
        if (rec.prev >= self->hub_first && !push(&self->tops, rec.prev))
            out_of_memory(self);
        else
            look_back(self);
    }
}

/* Fetches the batch that holds seq. */
static void fetch_one(evb_sub *self, uint64_t seq, evb_done_fn *done) {
    msgpack_packer packer;
    evb_call *call = evb_call_new(self->bus, "fetch", 5, &packer, done, self);
    if (!call || msgpack_pack_uint64(&packer, seq) || msgpack_pack_uint64(&packer, seq) ||
        msgpack_pack_uint64(&packer, 1) || msgpack_pack_array(&packer, 0) ||
        msgpack_pack_uint64(&packer, EVB_FETCH_LENIENT))
        out_of_memory(self);
    else
        evb_call_send(self->bus, call);
}

/* Goes back to the newest seq not yet counted. */
static void look_back(evb_sub *self) {
    while (self->tops.count && self->tops.seqs[0] < self->hub_first)
        pop(&self->tops);
    if (!self->tops.count) {
        from_first(self);
        return;
    }
    self->looking = pop(&self->tops);
    fetch_one(self, self->looking, looked_back);
}

/* ---- picks: each topic's newest event ---- */

static void picked(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_mp mp = reply->results;
    uint64_t next, head;
    (void)call;
    if (reply->code == EVB_EGONE) { /* since the topics were listed: the topic has nothing left */
        self->got_picks++;
    } else if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
    } else if (!evb_mp_uint(&mp, &next) || !evb_mp_uint(&mp, &head)) {
        nonsense(self);
    } else if (evb_sub_told(self, head)) {
        self->picks[self->got_picks++ % SUB_PICKS] = *reply->body;
        *reply->body = (evb_message){0};
    }
}

void evb_sub_ask_picks(evb_sub *self) {
    while (self->asked_picks < self->tops.count && self->asked_picks - self->read_picks < SUB_PICKS)
        fetch_one(self, self->tops.seqs[self->asked_picks++], picked);
}

bool evb_sub_take_pick(evb_sub *self) {
    if (self->read_picks == self->got_picks)
        return false;
    evb_message *pick = &self->picks[self->read_picks % SUB_PICKS];
    self->piece = *pick;
    self->piece_at = 0;
    *pick = (evb_message){0};
    self->only = self->tops.seqs[self->read_picks++];
    evb_sub_ask_picks(self);
    return true;
}

/* ---- the list of topics ---- */

static void ask_topics(evb_sub *self);

/* All topics are known: only the newest `want` of them can matter to BACK. */
static void listed(evb_sub *self) {
    seq_list *tops = &self->tops;
    if (self->options.from == EVB_FROM_LAST_PER_TOPIC) {
        if (tops->count)
            qsort(tops->seqs, tops->count, sizeof *tops->seqs, ascending);
        evb_sub_set(self, SUB_PICK);
        self->fetched_all = true; /* of the replay, which begins behind the picks */
        evb_sub_ask_picks(self);
        return;
    }
    if (tops->count)
        qsort(tops->seqs, tops->count, sizeof *tops->seqs, descending); /* a sorted list is a heap */
    if (tops->count > self->want)
        tops->count = (size_t)self->want;
    look_back(self);
}

/* A topic's last seq. It may lie behind the head that was told before the topics were listed: the newest N are those of
 * now, and until_head each topic has its newest. But where each topic's last is followed by the feed, such a seq comes
 * with what follows that head, and is no pick: of its topic, what follows is newer than what would be picked. */
static bool take_last(evb_sub *self, uint64_t last) {
    bool each = self->options.from == EVB_FROM_LAST_PER_TOPIC;
    if (last < self->hub_first || (each && !self->options.until_head && last > self->head))
        return true;
    if (!each && last > self->head)
        self->head = last;
    return add_seq(&self->tops, last);
}

static bool take_topics(evb_sub *self, evb_mp mp, uint32_t count) {
    const char *topic;
    size_t size;
    uint64_t last, version;
    uint32_t fields;
    while (count--) {
        if (!evb_mp_array(&mp, &fields) || fields < 3 || !evb_mp_str(&mp, &topic, &size) ||
            !evb_mp_uint(&mp, &last) || !evb_mp_uint(&mp, &version))
            return false;
        while (fields-- > 3)
            if (!evb_mp_skip(&mp))
                return false;
        if (self->excludes && evb_patterns_match(self->excludes, topic, size))
            continue;
        if (!take_last(self, last))
            return false;
    }
    return true;
}

/* Whether the page that is offered lies behind the one we have, so that paging ends. */
static bool goes_on(const evb_sub *self, const char *next, size_t size) {
    size_t least = size < self->after_size ? size : self->after_size;
    int order = memcmp(next, self->after, least);
    return order > 0 || (order == 0 && size > self->after_size);
}

static void got_topics(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_mp mp = reply->results;
    const char *next = NULL;
    size_t size = 0;
    uint32_t count;
    (void)call;
    if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
        return;
    }
    if ((!evb_mp_nil(&mp) && !evb_mp_str(&mp, &next, &size)) || size > EVB_TOPIC_MAX ||
        (next && !goes_on(self, next, size)) || !evb_mp_array(&mp, &count) || !take_topics(self, mp, count)) {
        nonsense(self);
        return;
    }
    if (!next) {
        listed(self);
        return;
    }
    memcpy(self->after, next, size);
    self->after_size = size;
    ask_topics(self);
}

static void ask_topics(evb_sub *self) {
    msgpack_packer packer;
    evb_call *call = evb_call_new(self->bus, "topics", 3, &packer, got_topics, self);
    size_t count = evb_patterns_count(self->patterns), size;
    int rc = !call || evb_mp_pack_str(&packer, self->after, self->after_size) ||
             msgpack_pack_uint64(&packer, EVB_TOPICS_PAGE_MAX) || msgpack_pack_array(&packer, count);
    for (size_t i = 0; !rc && i < count; i++) {
        const char *text = evb_patterns_get(self->patterns, i, &size);
        rc = evb_mp_pack_str(&packer, text, size);
    }
    if (rc)
        out_of_memory(self);
    else
        evb_call_send(self->bus, call);
}

/* ---- the positions ---- */

static void sought(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_mp mp = reply->results;
    uint64_t seq;
    (void)call;
    if (reply->code)
        evb_sub_fail(self, reply->code, reply->text);
    else if (!evb_mp_uint(&mp, &seq) || !seq)
        nonsense(self);
    else
        evb_sub_start(self, seq - 1);
}

static void seek(evb_sub *self) {
    msgpack_packer packer;
    evb_call *call = evb_call_new(self->bus, "seek", 1, &packer, sought, self);
    if (!call || msgpack_pack_uint64(&packer, self->options.value))
        out_of_memory(self);
    else
        evb_call_send(self->bus, call);
}

/* The newest `want` events that match. */
static void count_back(evb_sub *self, uint64_t want) {
    uint64_t kept = self->head + 1 - self->hub_first;
    self->want = want;
    if (!want)
        evb_sub_start(self, self->head);
    else if (evb_patterns_all(self->patterns) && !self->excludes)
        evb_sub_start(self, self->head - (want < kept ? want : kept));
    else
        ask_topics(self);
}

/* The hub's first and head are known. */
static void from_status(evb_sub *self) {
    switch (self->options.from) {
    case EVB_FROM_NOW: evb_sub_start(self, self->group ? 0 : self->head); break; /* until_head: nothing to read */
    case EVB_FROM_FIRST: from_first(self); break;
    case EVB_FROM_SEQ: evb_sub_start(self, self->options.value ? self->options.value - 1 : 0); break;
    case EVB_FROM_TIME: seek(self); break;
    case EVB_FROM_LAST: count_back(self, 1); break;
    case EVB_FROM_BACK: count_back(self, self->options.value); break;
    case EVB_FROM_LAST_PER_TOPIC: ask_topics(self); break;
    }
}

static void got_status(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_status status;
    (void)call;
    if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
    } else if (!evb_status_read(reply->results, &status)) {
        nonsense(self);
    } else if (evb_sub_told(self, status.head)) {
        self->hub_first = status.first;
        self->head = status.head;
        self->hub_time_ns = status.time_ns;
        self->then(self);
    }
}

void evb_sub_ask_status(evb_sub *self, void (*then)(evb_sub *self)) {
    msgpack_packer packer;
    self->then = then;
    evb_call *call = evb_call_new(self->bus, "status", 0, &packer, got_status, self);
    if (call)
        evb_call_send(self->bus, call);
    else
        out_of_memory(self);
}

/* ---- the end ---- */

static void locate_start(evb_sub *self) {
    if (self->options.from == EVB_FROM_NOW && !self->options.until_head)
        evb_sub_start(self, 0);
    else
        evb_sub_ask_status(self, from_status);
}

static void sought_end(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_mp mp = reply->results;
    uint64_t seq;
    (void)call;
    if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
    } else if (!evb_mp_uint(&mp, &seq) || !seq) {
        nonsense(self);
    } else {
        self->to = seq - 1;
        locate_start(self);
    }
}

/* An end in the past is a seq that can be asked for; one to come is seen when it comes. */
static void locate_end(evb_sub *self) {
    msgpack_packer packer;
    if (self->options.to_ns >= self->hub_time_ns) {
        locate_start(self);
        return;
    }
    evb_call *call = evb_call_new(self->bus, "seek", 1, &packer, sought_end, self);
    if (!call || msgpack_pack_uint64(&packer, (uint64_t)self->options.to_ns + 1))
        out_of_memory(self);
    else
        evb_call_send(self->bus, call);
}

void evb_sub_locate(evb_sub *self) {
    evb_sub_set(self, SUB_LOCATE);
    if (self->options.has_to && !self->options.to)
        evb_sub_ask_status(self, locate_end);
    else
        locate_start(self);
}
