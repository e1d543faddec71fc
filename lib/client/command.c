/* command.c: asking: a command, and the wait for its outcome.
 *
 * The call is one that the hub holds. With an id it is sent again on a new connection: the hub knows the id. Without one a
 * connection that is lost leaves the outcome unknown, since the handler may have it in hand.
 * Leaves to others: who answers (the hub), lost connections (bus.c). */
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/client_private.h"
#include "event/check.h"
#include "event/record.h"

static const int64_t TIMEOUT_DEFAULT_NS = 5 * EVB_SECOND_NS;
static const int64_t TIMEOUT_MOST_NS = INT64_MAX / 8;
static const int64_t SLACK_NS = EVB_SECOND_NS; /* the hub says it first */

/* Who waits for an outcome: freed with it. */
typedef struct {
    evb_answer_fn *done;
    void *context;
} asking;

/* [outcome, bytes of the answer, reason, seq, again, pid], and the answer with what was said beside it. */
static bool read_answer(evb_answer *a, evb_mp mp, const evb_message *body) {
    const char *word, *reason;
    size_t word_size, reason_size;
    uint64_t size;
    if (!evb_mp_str(&mp, &word, &word_size) || !evb_mp_uint(&mp, &size) || size > body->size ||
        !evb_mp_str(&mp, &reason, &reason_size) || !evb_mp_uint(&mp, &a->seq) || !evb_mp_bool(&mp, &a->again))
        return false;
    char *own = malloc(body->size + reason_size + 1);
    if (!own)
        return false;
    if (body->size)
        memcpy(own, body->data, body->size);
    memcpy(own + body->size, reason, reason_size);
    own[body->size + reason_size] = 0;
    a->refused = word_size != 4 || memcmp(word, "done", 4) != 0;
    a->own = own;
    a->data = own;
    a->size = size;
    a->errors = own + size;
    a->errors_size = body->size - size;
    a->reason = own + body->size;
    return true;
}

static void answered(void *context, evb_call *call, const evb_reply *reply) {
    asking *a = context;
    evb_answer answer = {0};
    evb_error why = {0};
    (void)call;
    if (reply->code)
        evb_fail(&why, reply->code, "%s", reply->text);
    else if (!read_answer(&answer, reply->results, reply->body))
        evb_fail(&why, EVB_EUNKNOWN, "the hub's answer cannot be read: out of memory, or not of evbus-protocol(7)");
    a->done(a->context, why.code, &answer, &why);
    evb_answer_free(&answer);
    free(a);
}

/* The command as a batch of one event. */
static evb_frame *make_frame(const evb_event *command) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    evb_frame *frame = evb_frame_new();
    if (frame && evb_record_begin(&frame->buf, command->topic, command->topic_size, 0, nobody, 0) &&
        evb_record_add(&frame->buf, 0, command))
        return frame;
    evb_frame_release(frame);
    return NULL;
}

static int check(evb_bus *bus, const evb_event *command, evb_error *err) {
    evb_status status;
    int rc = evb_topic_check(command->topic, command->topic_size, err);
    size_t size = 0;
    rc = rc ? rc : evb_headers_check(command, &size, err);
    if (rc || command->size <= EVB_PAYLOAD_ASK)
        return rc;
    rc = evb_bus_status(bus, &status, err);
    if (rc == 0 && command->size > status.max_payload)
        rc = evb_fail(err, EVB_EDATA, "a command of %zu bytes is larger than the hub takes (%llu)", command->size,
                      (unsigned long long)status.max_payload);
    return rc;
}

static evb_call *make_call(evb_bus *bus, const evb_event *command, const evb_command_options *options, asking *a) {
    msgpack_packer p;
    int64_t timeout = options && options->timeout_ns > 0 ? options->timeout_ns : TIMEOUT_DEFAULT_NS;
    timeout = timeout < TIMEOUT_MOST_NS ? timeout : TIMEOUT_MOST_NS;
    evb_call *call = evb_call_new(bus, "call", 2, &p, answered, a);
    if (!call)
        return NULL;
    call->held = true;
    call->again = command->id != NULL;
    call->drop = free;
    call->due_ns = evb_clock_monotonic_ns() + timeout + SLACK_NS;
    call->frame = make_frame(command);
    bool ok = call->frame && !msgpack_pack_uint64(&p, (uint64_t)timeout) &&
              !(options && options->quiet ? msgpack_pack_true(&p) : msgpack_pack_false(&p));
    if (ok)
        return call;
    call->drop = NULL;
    evb_call_discard(&call);
    return NULL;
}

/* Sends the command; NULL and *err. What is returned lives until done was called. */
static asking *begin(evb_bus *bus, const evb_event *command, const evb_command_options *options, evb_answer_fn *done,
                     void *context, evb_error *err) {
    if (check(bus, command, err))
        return NULL;
    asking *a = malloc(sizeof *a);
    evb_call *call = NULL;
    if (a) {
        *a = (asking){done, context};
        call = make_call(bus, command, options, a);
    }
    if (!call) {
        free(a);
        evb_fail(err, EVB_ENOMEM, "command: out of memory");
        return NULL;
    }
    evb_call_send(bus, call);
    return a;
}

int evb_bus_ask(evb_bus *bus, const evb_event *command, const evb_command_options *options, evb_answer_fn *done,
                void *context, evb_error *err) {
    evb_error why = {0};
    if (begin(bus, command, options, done, context, &why))
        return 0;
    return evb_fail(err, why.code, "%s", why.text);
}

/* ---- waiting ---- */

typedef struct {
    bool done;
    int code;
    evb_answer *out;
    evb_error why;
} waiting;

static void came(void *context, int code, evb_answer *answer, const evb_error *why) {
    waiting *w = context;
    w->done = true;
    w->code = code;
    w->why = *why;
    *w->out = *answer;
    *answer = (evb_answer){0};
}

static void pass_over(void *context, int code, evb_answer *answer, const evb_error *why) {
    (void)context;
    (void)code;
    (void)answer;
    (void)why;
}

int evb_bus_call(evb_bus *bus, const evb_event *command, const evb_command_options *options, evb_answer *out,
                 evb_error *err) {
    waiting w = {.out = out};
    *out = (evb_answer){0};
    asking *a = begin(bus, command, options, came, &w, &w.why);
    if (!a)
        return evb_fail(err, w.why.code, "%s", w.why.text);
    int rc = evb_bus_until(bus, &w.done, err);
    if (!w.done)
        a->done = pass_over;
    return rc || !w.code ? rc : evb_fail(err, w.code, "%s", w.why.text);
}

void evb_answer_free(evb_answer *answer) {
    free(answer->own);
    *answer = (evb_answer){0};
}
