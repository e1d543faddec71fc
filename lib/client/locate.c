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

static void looked_back(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_record rec;
    (void)call;
    if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
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

/* Fetches the batch that holds the newest seq not yet counted. */
static void look_back(evb_sub *self) {
    msgpack_packer packer;
    while (self->tops.count && self->tops.seqs[0] < self->hub_first)
        pop(&self->tops);
    if (!self->tops.count) {
        evb_sub_start(self, self->hub_first - 1);
        return;
    }
    self->looking = pop(&self->tops);
    evb_call *call = evb_call_new(self->bus, "fetch", 4, &packer, looked_back, self);
    if (!call || msgpack_pack_uint64(&packer, self->looking) || msgpack_pack_uint64(&packer, self->looking) ||
        msgpack_pack_uint64(&packer, 1) || msgpack_pack_array(&packer, 0))
        out_of_memory(self);
    else
        evb_call_send(self->bus, call);
}

/* ---- the list of topics ---- */

static void ask_topics(evb_sub *self, size_t after_size);

/* All topics are known: only the newest `want` of them can matter to BACK. */
static void listed(evb_sub *self) {
    seq_list *tops = &self->tops;
    if (self->options.from == EVB_FROM_LAST_PER_TOPIC) {
        if (tops->count)
            qsort(tops->seqs, tops->count, sizeof *tops->seqs, ascending);
        evb_sub_set(self, SUB_PICK);
        if (!evb_sub_fetch_pick(self))
            self->fetched_all = true;
        return;
    }
    if (tops->count)
        qsort(tops->seqs, tops->count, sizeof *tops->seqs, descending); /* a sorted list is a heap */
    if (tops->count > self->want)
        tops->count = (size_t)self->want;
    look_back(self);
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
        /* What has come since the head was asked for is read behind it: nothing of it is picked, nothing missed. */
        if (last >= self->hub_first && last <= self->head && !add_seq(&self->tops, last))
            return false;
    }
    return true;
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
    if ((!evb_mp_nil(&mp) && !evb_mp_str(&mp, &next, &size)) || size > EVB_TOPIC_MAX || !evb_mp_array(&mp, &count) ||
        !take_topics(self, mp, count)) {
        nonsense(self);
        return;
    }
    if (!next) {
        listed(self);
        return;
    }
    memcpy(self->after, next, size);
    ask_topics(self, size);
}

static void ask_topics(evb_sub *self, size_t after_size) {
    msgpack_packer packer;
    evb_call *call = evb_call_new(self->bus, "topics", 3, &packer, got_topics, self);
    size_t count = evb_patterns_count(self->patterns), size;
    int rc = !call || evb_mp_pack_str(&packer, self->after, after_size) ||
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
    else if (evb_patterns_all(self->patterns))
        evb_sub_start(self, self->head - (want < kept ? want : kept));
    else
        ask_topics(self, 0);
}

/* The hub's first and head are known. */
static void from_status(evb_sub *self) {
    switch (self->options.from) {
    case EVB_FROM_NOW: /* with until_head: nothing to read */
        self->done = self->head;
        evb_sub_set(self, SUB_ENDED);
        break;
    case EVB_FROM_FIRST: evb_sub_start(self, self->hub_first - 1); break;
    case EVB_FROM_SEQ: evb_sub_start(self, self->options.value ? self->options.value - 1 : 0); break;
    case EVB_FROM_TIME: seek(self); break;
    case EVB_FROM_LAST: count_back(self, 1); break;
    case EVB_FROM_BACK: count_back(self, self->options.value); break;
    case EVB_FROM_LAST_PER_TOPIC: ask_topics(self, 0); break;
    }
}

static void got_status(void *context, evb_call *call, const evb_reply *reply) {
    evb_sub *self = context;
    evb_mp mp = reply->results;
    const char *name;
    size_t size;
    uint32_t rows = 0;
    uint64_t value;
    (void)call;
    if (reply->code) {
        evb_sub_fail(self, reply->code, reply->text);
        return;
    }
    if (!evb_mp_map(&mp, &rows)) {
        nonsense(self);
        return;
    }
    for (; rows-- && evb_mp_str(&mp, &name, &size) && evb_mp_uint(&mp, &value);) {
        if (size == 5 && memcmp(name, "first", 5) == 0)
            self->hub_first = value ? value : 1;
        else if (size == 4 && memcmp(name, "head", 4) == 0)
            self->head = value;
    }
    self->then(self);
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

void evb_sub_locate(evb_sub *self) {
    evb_sub_set(self, SUB_LOCATE);
    if (self->options.from == EVB_FROM_NOW && !self->options.until_head)
        evb_sub_start(self, 0);
    else
        evb_sub_ask_status(self, from_status);
}
