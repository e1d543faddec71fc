/* fuzz_client.c: what a hub answers and sends on its feed, as the library takes it: a subscription, a member of a group, a
 * publisher, a handler, a caller, a watch. The first bytes say which; the rest is the hub (fake_link.c). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/ask.h"
#include "client/client_private.h"
#include "client/records.h"
#include "client/watch.h"
#include "input.h"

enum { TURNS_MAX = 400, IDLE_MAX = 3 };

static void note(void *context, evb_note what, uint64_t value) {
    (void)value;
    MUST(what >= EVB_NOTE_SUBSCRIBED && what <= EVB_NOTE_GAP);
    ++*(unsigned *)context;
}

/* One more turn of the loop that every user has: false when nothing is left to come. A byte that nobody waits for is passed
 * over. */
static bool turn(evb_bus *bus, fuzz_input *in, const uint8_t **before, int *idle) {
    evb_error err = {0};
    if (evb_bus_wait(bus, NULL, 0, 10 * EVB_MILLISECOND_NS, &err) < 0)
        return false;
    *idle = in->at == *before ? *idle + 1 : 0;
    if (*idle > IDLE_MAX && fuzz_left(in)) {
        in->at++;
        *idle = 0;
    }
    *before = in->at;
    return fuzz_left(in) || *idle <= IDLE_MAX;
}

/* ---- subscriptions ---- */

static void check_event(const evb_event *e, uint64_t *last, bool ordered) {
    MUST(e->topic_size && e->topic_size <= EVB_TOPIC_MAX && e->header_count <= 76);
    uint64_t bytes = 0;
    for (size_t i = 0; i < e->size; i++) /* the sanitizers look at each */
        bytes += ((const uint8_t *)e->payload)[i];
    for (size_t i = 0; i < e->header_count; i++)
        bytes += e->headers[i].name_size + e->headers[i].value_size;
    MUST(bytes < UINT64_MAX);
    if (e->live || !ordered)
        return;
    MUST(e->seq > *last); /* no event comes again, none out of order */
    *last = e->seq;
}

static void settle(evb_sub *sub, const evb_event *e, unsigned how) {
    const evb_attempt attempt = {"why", 1, 2, 3, "output", 6};
    if (how % 4 == 0)
        evb_sub_nack(sub, e, -1, "why");
    else if (how % 4 == 1)
        evb_sub_reject(sub, e, "why");
    else if (how % 4 == 2)
        evb_sub_fail_attempt(sub, e, 5, false, &attempt);
    else
        evb_sub_ack(sub, e);
}

static void run_sub(evb_bus *bus, fuzz_input *in, const evb_sub_options *options) {
    evb_error err = {0};
    evb_event e;
    unsigned notes = 0, how = 0;
    uint64_t last = 0;
    const uint8_t *before = in->at;
    int rc = 0, idle = 0;
    evb_sub *sub = evb_sub_new(bus, options, note, &notes, &err);
    MUST(sub);
    for (int i = 0; i < TURNS_MAX && rc >= 0 && rc != EVB_END && turn(bus, in, &before, &idle); i++)
        for (int most = 100; most-- && (rc = evb_sub_next(sub, &e, &err)) == EVB_EVENT;) {
            check_event(&e, &last, !options->group && options->from != EVB_FROM_LAST_PER_TOPIC);
            if (options->group)
                settle(sub, &e, how++);
        }
    MUST(rc >= 0 || *err.text);
    evb_sub_position(sub);
    if (options->group && fuzz_left(in))
        evb_sub_leave(sub, &err);
    evb_sub_destroy(&sub);
}

static void subscribe(evb_bus *bus, fuzz_input *in) {
    static const char *const PATTERNS[] = {"a.#", "b"};
    const evb_group_options group = {.name = "g", .max_pending = 5};
    unsigned how = (unsigned)fuzz_number(in, 1);
    const evb_sub_options options = {.patterns = PATTERNS,
                                     .pattern_count = how & 3 & 2,
                                     .from = (evb_from)(fuzz_number(in, 1) % (EVB_FROM_LAST_PER_TOPIC + 1)),
                                     .value = fuzz_seq(in),
                                     .until_head = how & 4,
                                     .has_to = how & 8,
                                     .to = how & 8 ? fuzz_seq(in) : 0,
                                     .excludes = PATTERNS + 1,
                                     .exclude_count = how & 16 && !(how & 64) ? 1 : 0,
                                     .allow_gap = how & 32,
                                     .group = how & 64 ? &group : NULL};
    evb_sub_options fixed = options;
    if (fixed.group) {
        fixed.has_to = false;
        fixed.to = 0;
    }
    if ((fixed.group || fixed.has_to) && fixed.from == EVB_FROM_LAST_PER_TOPIC) /* evb_sub_new refuses these */
        fixed.from = EVB_FROM_FIRST;
    run_sub(bus, in, &fixed);
}

/* ---- publishers and commands ---- */

static void stored(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    (void)seq, (void)version;
    *(uint64_t *)context += count;
}

static void publish(evb_bus *bus, fuzz_input *in) {
    uint64_t told = 0, added = 0;
    unsigned how = (unsigned)fuzz_number(in, 1);
    const evb_pub_options options = {.stored = stored,
                                     .context = &told,
                                     .live = how & 1,
                                     .atomic = how & 2,
                                     .expects = (how & 2) && (how & 4),
                                     .due_ns = how & 7   ? 0
                                               : how & 8 ? 5
                                                         : 0};
    evb_error err = {0};
    evb_pub *pub = evb_pub_new(bus, &options, &err);
    const uint8_t *before = in->at;
    int idle = 0;
    MUST(pub);
    for (int i = 0; i < TURNS_MAX && turn(bus, in, &before, &idle); i++) {
        const evb_event event = {.topic = i % 3 && !(how & 2) ? "a.1" : "b", .payload = "xyz", .size = 3};
        evb_event full = event;
        full.topic_size = strlen(event.topic);
        full.id = i % 5 ? NULL : "id";
        full.id_size = full.id ? 2 : 0;
        added += evb_pub_add(pub, &full, &err) == 0;
        if (i % 2)
            evb_pub_send(pub, &err);
    }
    MUST(told <= added && evb_pub_stored(pub) <= added && evb_pub_pending(pub) <= added);
    evb_pub_drain(pub, &err);
    MUST(told <= added);
    evb_pub_destroy(&pub);
}

static void answered(void *context, int code, evb_answer *answer, const evb_error *why) {
    ++*(unsigned *)context;
    MUST(code ? code == why->code && *why->text : answer != NULL);
}

static void call(evb_bus *bus, fuzz_input *in) {
    const evb_event command = {.topic = "do.it", .topic_size = 5, .payload = "x", .size = 1, .id = "i", .id_size = 1};
    evb_answer answer = {0};
    evb_error err = {0};
    unsigned done = 0, asked = 0;
    const uint8_t *before = in->at;
    int idle = 0;
    for (int i = 0; i < 3; i++)
        asked += evb_bus_ask(bus, &command, NULL, answered, &done, &err) == 0;
    for (int i = 0; i < TURNS_MAX && turn(bus, in, &before, &idle); i++)
        MUST(done <= asked);
    if (fuzz_left(in) && evb_bus_call(bus, &command, NULL, &answer, &err) == 0)
        evb_answer_free(&answer);
}

static void serve(evb_bus *bus, fuzz_input *in) {
    unsigned notes = 0, how = (unsigned)fuzz_number(in, 1);
    const evb_serve_options options = {"do.it", 4, how & 1, NULL, note, &notes};
    const evb_answer answers[] = {{.data = "yes", .size = 3}, {.refused = true, .reason = "no"}};
    evb_error err = {0};
    evb_event command;
    uint64_t number, last = 0;
    const uint8_t *before = in->at;
    int rc = 0, idle = 0;
    evb_serve *self = evb_serve_new(bus, &options, &err);
    MUST(self);
    for (int i = 0; i < TURNS_MAX && rc >= 0 && rc != EVB_END && turn(bus, in, &before, &idle); i++)
        while ((rc = evb_serve_next(self, &command, &number, &err)) == EVB_EVENT) {
            check_event(&command, &last, false);
            MUST(evb_serve_answer(self, number, &answers[number & 1], &err) == 0);
            MUST(evb_serve_answer(self, number, &answers[0], &err) == EVB_EINVAL);
        }
    evb_serve_stop(self);
    evb_serve_destroy(&self);
}

/* ---- who looks after a hub ---- */

static void watch(evb_bus *bus, fuzz_input *in) {
    evb_error err = {0};
    evb_watch *self = evb_watch_new(bus, NULL, &err);
    const uint8_t *before = in->at;
    int idle = 0;
    size_t count;
    MUST(self);
    for (int i = 0; i < TURNS_MAX && turn(bus, in, &before, &idle); i++) {
        MUST(evb_watch_tick(self) && evb_watch_hub(self));
        evb_watch_topic *const *topics = evb_watch_topics(self, &count);
        for (size_t k = 0; k < count; k++)
            MUST(strlen(topics[k]->name) <= topics[k]->size);
        evb_watch_groups(self, &count);
        evb_watch_clients(self, &count);
    }
    evb_watch_destroy(&self);
}

static void ask(evb_bus *bus, fuzz_input *in) {
    evb_buf out = {0};
    evb_error err = {0};
    evb_status status;
    uint64_t value, from = 1;
    while (fuzz_left(in)) {
        const uint8_t *before = in->at;
        evb_bus_status(bus, &status, &err);
        evb_records_producer(bus, (const uint8_t *)"0123456789abcdef", &value, &err);
        if (evb_records_fetch(bus, from, 0, NULL, true, &out, &value, &err) == 0) {
            MUST(value > from);
            from = value < UINT64_MAX ? value : 1;
        }
        evb_ask(bus, "groups", 0, NULL, &out, NULL, &err);
        evb_ask_place(bus, (evb_from)(from % EVB_FROM_LAST_PER_TOPIC), 5, NULL, 0, &value, &err);
        in->at += in->at == before;
    }
    evb_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const USES[])(evb_bus *, fuzz_input *) = {subscribe, publish, call, serve, watch, ask};
    fuzz_input in = {data, data + size};
    evb_error err = {0};
    fuzz_now_ns = INT64_C(1795341600) * EVB_SECOND_NS;
    unsigned which = (unsigned)fuzz_number(&in, 1);
    fuzz_link_feed(&in);
    evb_bus *bus = evb_bus_new("ipc:///nowhere", EVB_SECOND_NS, &err);
    MUST(bus);
    USES[which % (sizeof USES / sizeof *USES)](bus, &in);
    evb_bus_destroy(&bus);
    return 0;
}
