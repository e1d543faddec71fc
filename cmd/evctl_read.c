/* evctl_read.c: stored events, by "fetch", for commands that look at some of them.
 *
 * The hub sends records, whole batches; what of them lies outside of the seqs that are wanted is passed over here. What
 * retention has removed is passed over, too: who needs to know sees which seqs come.
 * Leaves to others: what the events say (evctl_letter.c, evctl_trace.c). */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "client/ask.h"
#include "evctl.h"
#include "event/record.h"

typedef struct {
    evctl *self;
    const char *const *patterns;
    size_t count;
    uint64_t from, to; /* to 0: the head, until the first answer says which */
    evctl_event_fn *each;
    void *context;
} reading;

/* [from, to, bytes, patterns, flags] */
static bool pack(const reading *r, evb_buf *args) {
    msgpack_packer p;
    evb_mp_packer(&p, args);
    bool ok = !msgpack_pack_uint64(&p, r->from) && !msgpack_pack_uint64(&p, r->to) &&
              !msgpack_pack_uint64(&p, EVB_FETCH_DEFAULT) && !msgpack_pack_array(&p, r->count);
    for (size_t i = 0; ok && i < r->count; i++)
        ok = !evb_mp_pack_str(&p, r->patterns[i], strlen(r->patterns[i]));
    return ok && !msgpack_pack_uint64(&p, EVB_FETCH_LENIENT);
}

/* Hands on the events of one record that are wanted. */
static int hand_on(const reading *r, const evb_record *rec, evb_error *err) {
    evb_header headers[EVB_HEADER_ROOM];
    evb_mp cursor = rec->events;
    evb_event event;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && evb_record_next(&cursor, &event, headers); i++) {
        event.topic = rec->topic;
        event.topic_size = rec->topic_size;
        event.live = event.replayed = false;
        event.deliveries = 0;
        event.seq = rec->seq + i;
        event.version = rec->version + i;
        event.time_ns = rec->time_ns;
        event.producer = rec->producer;
        event.producer_seq = rec->producer_seq;
        if (event.seq >= r->from && event.seq <= r->to)
            rc = r->each(r->context, &event, err);
    }
    return rc;
}

static int hand_all(const reading *r, evb_buf *body, evb_error *err) {
    evb_record rec;
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < body->size; at += rec.size) {
        if (evb_record_parse(body->data + at, body->size - at, &rec) || !evb_record_intact(body->data + at, rec.size))
            return evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
        rc = hand_on(r, &rec, err);
    }
    return rc;
}

/* Retention was faster: goes on with what is left. */
static int go_to_first(reading *r, evb_error *err) {
    evb_status status;
    int rc = evb_bus_status(r->self->bus, &status, err);
    if (rc == 0 && status.first <= r->from)
        return evb_fail(err, EVB_EGONE, "seq %" PRIu64 " is gone", r->from);
    r->from = rc ? r->from : status.first;
    return rc;
}

/* Fetches one piece and hands it on; moves r->from. */
static int read_piece(reading *r, evb_buf *body, evb_error *err) {
    evb_buf args = {0}, results = {0};
    uint64_t next = 0, head = 0;
    int rc = pack(r, &args) ? evb_ask(r->self->bus, "fetch", 5, &args, &results, body, err)
                            : evb_fail(err, EVB_ENOMEM, "out of memory");
    evb_mp mp = evb_mp_of(&results);
    if (rc == 0 && (!evb_mp_uint(&mp, &next) || !evb_mp_uint(&mp, &head) || (next <= r->from && r->from <= head)))
        rc = evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    evb_buf_free(&args);
    evb_buf_free(&results);
    if (rc == EVB_EGONE)
        return go_to_first(r, err);
    if (rc)
        return rc;
    r->to = r->to && r->to < head ? r->to : head;
    rc = hand_all(r, body, err);
    r->from = next;
    return rc;
}

int evctl_read(evctl *self, const char *const *patterns, size_t count, uint64_t from, uint64_t to,
               evctl_event_fn *each, void *context, evb_error *err) {
    reading r = {self, patterns, count, from ? from : 1, to, each, context};
    evb_buf body = {0};
    bool begun = false;
    int rc = evctl_bus(self, err) ? 0 : err->code;
    for (; rc == 0 && (!begun || r.from <= r.to); begun = true)
        rc = read_piece(&r, &body, err);
    evb_buf_free(&body);
    return rc == EVCTL_STOP ? 0 : rc;
}

const evb_header *evctl_header(const evb_event *event, const char *name) {
    for (size_t i = event->header_count; i-- > 0;)
        if (event->headers[i].name_size == strlen(name) &&
            memcmp(event->headers[i].name, name, event->headers[i].name_size) == 0)
            return &event->headers[i];
    return NULL;
}

uint64_t evctl_header_number(const evb_event *event, const char *name) {
    const evb_header *h = evctl_header(event, name);
    char text[24];
    uint64_t number = 0;
    if (!h || h->value_size >= sizeof text)
        return 0;
    memcpy(text, h->value, h->value_size);
    text[h->value_size] = 0;
    return evb_number_parse(text, &number) ? 0 : number;
}
