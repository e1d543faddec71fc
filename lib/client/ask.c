/* ask.c: a call that is waited for.
 *
 * Leaves to others: the call's way to the hub and back (bus.c), what op and results mean (the caller); where a position is
 * (locate.c): its place is that of a subscription which is dropped when it has found its start. */
#include "client/ask.h"

#include "base/error.h"
#include "client/subscription_private.h"

typedef struct {
    bool done;
    int code;
    evb_buf *results, *body;
    evb_error *err;
} waiting;

static void answered(void *context, evb_call *call, const evb_reply *reply) {
    waiting *w = context;
    (void)call;
    w->done = true;
    if (reply->code) {
        w->code = evb_fail(w->err, reply->code, "%s", reply->text);
        return;
    }
    bool ok = evb_buf_add(w->results, reply->results.at, (size_t)(reply->results.end - reply->results.at));
    if (ok && w->body && reply->body->size)
        ok = evb_buf_add(w->body, reply->body->data, reply->body->size);
    if (!ok)
        w->code = evb_fail(w->err, EVB_ENOMEM, "bus: out of memory");
}

/* Makes the call; data of size 0: it has no body. NULL: out of memory. */
static evb_call *make_call(evb_bus *bus, const char *op, uint32_t count, const evb_buf *args, const void *data,
                           size_t size, waiting *w) {
    msgpack_packer packer;
    evb_call *call = evb_call_new(bus, op, count, &packer, answered, w);
    bool ok = call && (!args || !args->size || evb_buf_add(&call->head, args->data, args->size));
    if (ok && size)
        ok = (call->frame = evb_frame_new()) && evb_buf_add(&call->frame->buf, data, size);
    if (call && !ok)
        evb_call_discard(&call);
    return call;
}

/* Sends the call (NULL: memory was short) and waits for its answer. */
static int wait_for(evb_bus *bus, evb_call *call, waiting *w, evb_error *err) {
    if (!call)
        return evb_fail(err, EVB_ENOMEM, "bus: out of memory");
    evb_call_send(bus, call);
    int rc = evb_bus_until(bus, &w->done, err);
    if (!w->done)
        evb_call_forget(bus, w);
    return rc ? rc : w->code;
}

int evb_ask(evb_bus *bus, const char *op, uint32_t count, const evb_buf *args, evb_buf *results, evb_buf *body,
            evb_error *err) {
    waiting w = {.results = results, .body = body, .err = err};
    results->size = 0;
    if (body)
        body->size = 0;
    return wait_for(bus, make_call(bus, op, count, args, NULL, 0, &w), &w, err);
}

int evb_ask_with(evb_bus *bus, const char *op, uint32_t count, const evb_buf *args, const void *data, size_t size,
                 evb_buf *results, evb_error *err) {
    waiting w = {.results = results, .err = err};
    results->size = 0;
    return wait_for(bus, make_call(bus, op, count, args, data, size, &w), &w, err);
}

int evb_ask_place(evb_bus *bus, evb_from from, uint64_t value, const char *const *patterns, size_t count,
                  uint64_t *seq, evb_error *err) {
    const evb_sub_options how = {
        .patterns = patterns, .pattern_count = count, .from = from, .value = value, .until_head = true};
    if (from == EVB_FROM_LAST_PER_TOPIC)
        return evb_fail(err, EVB_EINVAL, "each topic's last event is no one place");
    evb_sub *sub = evb_sub_new(bus, &how, NULL, NULL, err);
    int rc = sub ? 0 : err->code;
    while (rc == 0 && sub->state == SUB_LOCATE)
        rc = evb_bus_wait(bus, NULL, 0, -1, err) < 0 ? EVB_EIO : 0;
    if (rc == 0 && sub->state == SUB_FAILED)
        rc = evb_fail(err, sub->failed.code, "%s", sub->failed.text);
    if (rc == 0)
        *seq = (sub->done < sub->head ? sub->done : sub->head) + 1;
    evb_sub_destroy(&sub);
    return rc;
}
