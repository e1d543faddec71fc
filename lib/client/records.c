/* records.c: the requests "fetch" and "producer", each asked and waited for.
 *
 * Leaves to others: sending records (publisher.c), what is made of them. */
#include "client/records.h"

#include "base/error.h"
#include "client/client_private.h"

typedef struct {
    evb_buf *out; /* where a reply's body goes, or NULL */
    uint64_t value;
    bool done;
    int code;
    evb_error *err;
} waiting;

static void answered(void *context, evb_call *call, const evb_reply *reply) {
    waiting *w = context;
    evb_mp mp = reply->results;
    (void)call;
    w->done = true;
    if (reply->code)
        w->code = evb_fail(w->err, reply->code, "%s", reply->text);
    else if (!evb_mp_uint(&mp, &w->value))
        w->code = evb_fail(w->err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    else if (w->out && !evb_buf_add(w->out, reply->body->data, reply->body->size))
        w->code = evb_fail(w->err, EVB_ENOMEM, "records: out of memory");
}

/* Sends a call whose done is answered, and waits. call NULL: out of memory. */
static int ask(evb_bus *bus, evb_call *call, waiting *w) {
    if (!call)
        return evb_fail(w->err, EVB_ENOMEM, "records: out of memory");
    evb_call_send(bus, call);
    int rc = evb_bus_until(bus, &w->done, w->err);
    if (!w->done)
        evb_call_forget(bus, w);
    return rc ? rc : w->code;
}

static int pack_patterns(msgpack_packer *packer, const evb_patterns *patterns) {
    size_t count = patterns ? evb_patterns_count(patterns) : 0, size;
    int rc = msgpack_pack_array(packer, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *pattern = evb_patterns_get(patterns, i, &size);
        rc = evb_mp_pack_str(packer, pattern, size);
    }
    return rc;
}

int evb_records_fetch(evb_bus *bus, uint64_t from, uint64_t to, const evb_patterns *patterns, bool lenient,
                      evb_buf *out, uint64_t *next, evb_error *err) {
    waiting w = {.out = out, .err = err};
    msgpack_packer packer;
    evb_call *call = evb_call_new(bus, "fetch", 5, &packer, answered, &w);
    if (call && (msgpack_pack_uint64(&packer, from) || msgpack_pack_uint64(&packer, to) ||
                 msgpack_pack_uint64(&packer, EVB_FETCH_MOST) || pack_patterns(&packer, patterns) ||
                 msgpack_pack_uint64(&packer, lenient ? EVB_FETCH_LENIENT : 0)))
        evb_call_discard(&call);
    int rc = ask(bus, call, &w);
    *next = w.value;
    if (rc == 0 && w.value <= from)
        rc = evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    return rc;
}

int evb_records_producer(evb_bus *bus, const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t *last, evb_error *err) {
    waiting w = {.err = err};
    msgpack_packer packer;
    evb_call *call = evb_call_new(bus, "producer", 1, &packer, answered, &w);
    if (call &&
        (msgpack_pack_bin(&packer, EVB_PRODUCER_SIZE) || msgpack_pack_bin_body(&packer, producer, EVB_PRODUCER_SIZE)))
        evb_call_discard(&call);
    int rc = ask(bus, call, &w);
    *last = w.value;
    return rc;
}
