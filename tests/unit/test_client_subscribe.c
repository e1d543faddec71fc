/* test_client_subscribe.c: a subscription against a fake hub: positions, the seam to the feed, gaps, lost connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "base/clock.h"
#include "client/subscription.h"
#include "client/subscription_private.h"
#include "fake_hub.h"

enum { ROUNDS = 20000, EVENTS_MAX = 20000, NOTES_MAX = 256 };
static const int64_t SHORT_NS = 300 * EVB_MILLISECOND_NS;
static const int64_t TURN_NS = 2 * EVB_MILLISECOND_NS;
static const int64_t PATIENCE_NS = 20 * EVB_SECOND_NS; /* what did not end by then hangs */

typedef struct {
    fake_hub *hub;
    evb_bus *bus;
    evb_sub *sub;
    uint64_t seqs[EVENTS_MAX];
    size_t count;
    evb_note notes[NOTES_MAX];
    uint64_t values[NOTES_MAX];
    size_t note_count;
    int rc; /* of the last evb_sub_next */
    evb_error err;
} fixture;

static void on_note(void *context, evb_note note, uint64_t value) {
    fixture *f = context;
    assert_true(f->note_count < NOTES_MAX);
    f->notes[f->note_count] = note;
    f->values[f->note_count++] = value;
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->hub = fake_new();
    fake_up(f->hub);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    evb_sub_destroy(&f->sub);
    evb_bus_destroy(&f->bus);
    fake_destroy(&f->hub);
    free(f);
    return 0;
}

static void subscribe(fixture *f, const char *pattern, evb_sub_options options, int64_t timeout_ns) {
    if (pattern) {
        options.patterns = &pattern;
        options.pattern_count = 1;
    }
    f->bus = evb_bus_new(f->hub->url, timeout_ns, &f->err);
    f->sub = evb_sub_new(f->bus, &options, on_note, f, &f->err);
    assert_non_null(f->sub);
}

/* Reads what is there. Stored events' payloads are their seqs. */
static void drain(fixture *f) {
    evb_event e;
    char text[24];
    while ((f->rc = evb_sub_next(f->sub, &e, &f->err)) == EVB_EVENT) {
        assert_true(f->count < EVENTS_MAX);
        f->seqs[f->count++] = e.seq;
        if (e.live)
            continue;
        int n = snprintf(text, sizeof text, "%llu", (unsigned long long)e.seq);
        assert_int_equal(e.size, n);
        assert_memory_equal(e.payload, text, n);
        assert_int_equal(e.time_ns > 0, 1);
    }
}

static void turn(fixture *f) {
    fake_serve(f->hub, 0);
    drain(f);
    if (f->rc == EVB_NOTHING)
        assert_true(evb_bus_wait(f->bus, NULL, 0, TURN_NS, &f->err) >= 0);
}

static size_t noted(const fixture *f, evb_note note) {
    size_t n = 0;
    for (size_t i = 0; i < f->note_count; i++)
        n += f->notes[i] == note;
    return n;
}

static void until_noted(fixture *f, evb_note note, size_t times) {
    for (int i = 0; i < ROUNDS && noted(f, note) < times && f->rc >= 0; i++)
        turn(f);
    assert_int_equal(noted(f, note), times);
}

static void until_count(fixture *f, size_t count) {
    for (int i = 0; i < ROUNDS && f->count < count && f->rc >= 0; i++)
        turn(f);
    assert_int_equal(f->count, count);
}

static void until_end(fixture *f, int rc) {
    for (int i = 0; i < ROUNDS && f->rc == EVB_NOTHING; i++)
        turn(f);
    assert_int_equal(f->rc, rc);
}

static void until_mute(fixture *f) {
    for (int i = 0; i < ROUNDS && !f->hub->mute; i++)
        turn(f);
    assert_true(f->hub->mute);
}

/* A few turns in which nothing more may come. */
static void assert_quiet(fixture *f) {
    size_t count = f->count;
    for (int i = 0; i < 20; i++)
        turn(f);
    assert_int_equal(f->count, count);
}

static void assert_seqs(const fixture *f, size_t from, uint64_t first, uint64_t last) {
    assert_int_equal(f->count - from, last - first + 1);
    for (size_t i = from; i < f->count; i++)
        assert_int_equal(f->seqs[i], first + i - from);
}

/* Stores 30 events: a.1 and b.2 in turn, batches of 3. */
static void fill(fixture *f) {
    for (int i = 0; i < 10; i++)
        fake_store(f->hub, i % 2 ? "b.2" : "a.1", 3);
}

/* ---- positions ---- */

static void now_begins_at_the_welcome(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_store(f->hub, "a.1", 2);
    until_count(f, 2);
    assert_seqs(f, 0, 31, 32);
    assert_int_equal(evb_sub_position(f->sub), 33);
    assert_int_equal(f->hub->fetches, 0);
    assert_int_equal(noted(f, EVB_NOTE_CAUGHT_UP), 0);
}

static void first_then_live(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_FIRST}, 0);
    until_noted(f, EVB_NOTE_CAUGHT_UP, 1);
    assert_seqs(f, 0, 1, 30);
    fake_store(f->hub, "c", 5);
    until_count(f, 35);
    assert_seqs(f, 0, 1, 35);
    assert_int_equal(noted(f, EVB_NOTE_REPAIRED), 0);
}

static void each_position_until_the_head(void **state) {
    fixture *f = *state;
    static const struct {
        const char *pattern;
        evb_from from;
        uint64_t value;
        size_t count;
        uint64_t first;
    } ROWS[] = {
        {NULL, EVB_FROM_FIRST, 0, 30, 1},
        {NULL, EVB_FROM_LAST, 0, 1, 30},
        {NULL, EVB_FROM_SEQ, 8, 23, 8},
        {NULL, EVB_FROM_SEQ, 31, 0, 0},
        {NULL, EVB_FROM_SEQ, 99, 0, 0},
        {NULL, EVB_FROM_TIME, 1000, 30, 1},
        {NULL, EVB_FROM_TIME, 9999, 0, 0},
        {NULL, EVB_FROM_BACK, 7, 7, 24},
        {NULL, EVB_FROM_BACK, 99, 30, 1},
        {NULL, EVB_FROM_BACK, 0, 0, 0},
        {"a.*", EVB_FROM_BACK, 1, 1, 27},
        {"a.*", EVB_FROM_LAST, 0, 1, 27},
        {"a.*", EVB_FROM_BACK, 4, 4, 21},
        {"*.*", EVB_FROM_BACK, 5, 5, 26},
        {"a.*", EVB_FROM_BACK, 99, 15, 1},
        {"none", EVB_FROM_BACK, 3, 0, 0},
        {"none", EVB_FROM_FIRST, 0, 0, 0},
        {"b.#", EVB_FROM_FIRST, 0, 15, 4},
        {NULL, EVB_FROM_NOW, 0, 0, 0},
        {NULL, EVB_FROM_LAST_PER_TOPIC, 0, 2, 27},
        {"b.2", EVB_FROM_LAST_PER_TOPIC, 0, 1, 30},
    };
    fill(f);
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        f->rc = 0;
        f->count = 0;
        subscribe(f, ROWS[i].pattern,
                  (evb_sub_options){.from = ROWS[i].from, .value = ROWS[i].value, .until_head = true}, 0);
        until_end(f, EVB_END);
        if (f->count != ROWS[i].count || (f->count && f->seqs[0] != ROWS[i].first))
            fail_msg("row %zu: %zu events from %llu", i, f->count, (unsigned long long)f->seqs[0]);
        evb_sub_destroy(&f->sub);
        evb_bus_destroy(&f->bus);
    }
    assert_int_equal(f->hub->welcomes, 0);
}

static void a_further_key_in_the_status(void **state) {
    fixture *f = *state;
    f->hub->status_further = true;
    fill(f);
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_BACK, .value = 2, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_seqs(f, 0, 29, 30);
}

/* Stores another event while the topics are being listed. */
static void store_meanwhile(void *hub, const char *op) {
    fake_hub *self = hub;
    if (strcmp(op, "topics") == 0 && self->head < 40)
        fake_store(self, "a.1", 1);
}

static void the_last_of_a_busy_topic(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = store_meanwhile;
    subscribe(f, "a.1", (evb_sub_options){.from = EVB_FROM_LAST}, 0);
    until_noted(f, EVB_NOTE_CAUGHT_UP, 1);
    assert_seqs(f, 0, 31, 31);
}

static void the_last_of_a_busy_topic_until_the_head(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = store_meanwhile;
    subscribe(f, "a.1", (evb_sub_options){.from = EVB_FROM_LAST, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_seqs(f, 0, 31, 31);
}

static void each_busy_topic_has_its_last(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = store_meanwhile;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_LAST_PER_TOPIC, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_int_equal(f->count, 2);
    assert_int_equal(f->seqs[0], 30);
    assert_int_equal(f->seqs[1], 31);
}

static void each_busy_topic_then_live(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = store_meanwhile;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_LAST_PER_TOPIC}, 0);
    until_noted(f, EVB_NOTE_CAUGHT_UP, 1);
    assert_int_equal(f->count, 2);
    assert_int_equal(f->seqs[0], 30);
    assert_int_equal(f->seqs[1], 31);
}

static void many_topics_each_with_its_last(void **state) {
    fixture *f = *state;
    for (int i = 0; i < 200; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t.%03d", i);
        fake_store(f->hub, topic, 2);
    }
    subscribe(f, "t.*", (evb_sub_options){.from = EVB_FROM_LAST_PER_TOPIC, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_int_equal(f->count, 200);
    for (size_t i = 0; i < f->count; i++)
        assert_int_equal(f->seqs[i], 2 * (i + 1));
}

/* ---- retention ---- */

static void gone_is_said(void **state) {
    fixture *f = *state;
    fill(f);
    fake_retain(f->hub, 13);
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_SEQ, .value = 5}, 0);
    until_end(f, EVB_EGONE);
}

static void a_gap_may_be_allowed(void **state) {
    fixture *f = *state;
    fill(f);
    fake_retain(f->hub, 13);
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_SEQ, .value = 5, .allow_gap = true, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_seqs(f, 0, 13, 30);
    assert_int_equal(noted(f, EVB_NOTE_GAP), 1);
    assert_int_equal(f->values[0], 8);
}

static void back_stops_at_what_is_left(void **state) {
    fixture *f = *state;
    fill(f);
    fake_retain(f->hub, 19);
    subscribe(f, "a.1", (evb_sub_options){.from = EVB_FROM_BACK, .value = 12, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_int_equal(f->count, 6);
    assert_int_equal(f->seqs[0], 19);
}

/* Retention runs between the list of topics and the walk back. */
static void retain_meanwhile(void *hub, const char *op) {
    fake_hub *self = hub;
    if (strcmp(op, "fetch") == 0 && self->fetches == 1)
        fake_retain(self, 25);
}

static void back_while_retention_runs(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = retain_meanwhile;
    subscribe(f, "a.1", (evb_sub_options){.from = EVB_FROM_BACK, .value = 12, .until_head = true}, 0);
    until_end(f, EVB_END);
    assert_int_equal(f->count, 3);
    assert_int_equal(f->seqs[0], 25);
}

/* A hub that says "gone" of what its status says is there must not turn us in a circle. */
static void refuse_all_fetches(void *hub, const char *op) {
    fake_hub *self = hub;
    self->error = strcmp(op, "fetch") == 0 ? "gone" : NULL;
    self->text = "gone";
}

static void gone_for_ever_ends(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = refuse_all_fetches;
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_FIRST}, 0);
    until_end(f, EVB_EGONE);
    assert_true(f->hub->statuses < 5);
}

/* ---- the seam and gaps ---- */

/* What is stored between the last fetch and the welcome comes from the journal, once. */
static void store_at_welcome(void *hub, const char *op) {
    fake_hub *self = hub;
    (void)op;
    if (self->fetches == 1 && self->head == 30)
        fake_store(self, "a.1", 4);
}

static void the_seam_has_no_gap_and_no_double(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_FIRST}, 0);
    f->hub->before = store_at_welcome;
    for (int i = 0; i < ROUNDS && f->count < 30; i++)
        turn(f);
    fake_store(f->hub, "b.2", 3); /* the feed is not open yet, or not welcomed */
    until_noted(f, EVB_NOTE_CAUGHT_UP, 1);
    fake_store(f->hub, "a.1", 1);
    until_count(f, 34);
    assert_seqs(f, 0, 1, 34);
}

/* A feed that is never silent, of which nothing is new. */
static void chatter(fixture *f) {
    fake_feed_record(f->hub, 0);
    fake_serve(f->hub, 1);
    turn(f);
}

static void a_welcome_may_be_lost(void **state) {
    fixture *f = *state;
    fake_store(f->hub, "a.1", 1);
    f->hub->drop_welcomes = 1;
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    int64_t end = evb_clock_monotonic_ns() + PATIENCE_NS;
    while (!noted(f, EVB_NOTE_SUBSCRIBED) && evb_clock_monotonic_ns() < end)
        chatter(f);
    assert_int_equal(noted(f, EVB_NOTE_SUBSCRIBED), 1);
}

static void no_welcome_ends(void **state) {
    fixture *f = *state;
    fake_store(f->hub, "a.1", 1);
    f->hub->drop_welcomes = UINT32_MAX;
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_NOW}, SHORT_NS);
    int64_t end = evb_clock_monotonic_ns() + PATIENCE_NS;
    while (f->rc == EVB_NOTHING && evb_clock_monotonic_ns() < end)
        chatter(f);
    assert_int_equal(f->rc, EVB_ETIMEDOUT);
}

static void prev_proves_a_loss(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, "a.1", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a.1", 2);
    fake_store(f->hub, "b.2", 2);
    fake_store(f->hub, "a.1", 2);
    fake_store(f->hub, "a.1", 1);
    until_count(f, 5);
    assert_int_equal(f->seqs[0], 31);
    assert_int_equal(f->seqs[2], 35);
    assert_int_equal(f->seqs[4], 37);
    assert_int_equal(noted(f, EVB_NOTE_REPAIRED), 1);
    assert_int_equal(f->hub->fetches, 1);
}

static void a_mark_raises_a_doubt(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    f->hub->drop_frames = 2;
    fake_store(f->hub, "a", 2);
    fake_store(f->hub, "b", 2);
    f->hub->mark = 4;
    fake_store(f->hub, "c", 1);
    until_count(f, 5);
    assert_seqs(f, 0, 1, 5);
    fake_store(f->hub, "d", 1);
    until_count(f, 6);
    assert_int_equal(f->hub->fetches, 1);
}

static void a_beat_tells_of_the_last(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a", 2);
    assert_quiet(f);
    f->hub->mark = 2;
    fake_beat(f->hub);
    until_count(f, 2);
    assert_quiet(f);
    assert_int_equal(noted(f, EVB_NOTE_REPAIRED), 1);
}

static fixture *watched; /* by this function */

static void nobody_can_tell(void *hub, const char *op) {
    assert_string_equal(op, "fetch");
    assert_int_equal(evb_sub_complete_ns(watched->sub), 0);
}

static void until_complete(fixture *f, int64_t time_ns) {
    for (int i = 0; i < ROUNDS && evb_sub_complete_ns(f->sub) != time_ns; i++)
        turn(f);
    assert_int_equal(evb_sub_complete_ns(f->sub), time_ns);
}

/* By the hub's clock; where a beat shows that something is missing, only when that has been handed on. */
static void a_beat_tells_up_to_when_all_is_here(void **state) {
    fixture *f = *state;
    f->hub->time_ns = 5000;
    subscribe(f, "a", (evb_sub_options){.from = EVB_FROM_LAST}, 0);
    assert_int_equal(evb_sub_complete_ns(f->sub), 0);
    until_complete(f, 5000); /* the welcome */
    f->hub->time_ns = 6000;
    fake_beat(f->hub);
    until_complete(f, 6000);
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a", 3);
    f->hub->mark = 3;
    f->hub->time_ns = 7000;
    fake_beat(f->hub);
    watched = f;
    f->hub->before = nobody_can_tell;
    until_count(f, 3);
    until_complete(f, 7000);
    assert_int_equal(noted(f, EVB_NOTE_REPAIRED), 1);
    f->hub->before = NULL;
    fake_down(f->hub);
    until_noted(f, EVB_NOTE_DISCONNECTED, 1);
    assert_int_equal(evb_sub_complete_ns(f->sub), 0);
}

static void stale_frames_are_passed_over(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_feed_record(f->hub, 3);
    fake_store(f->hub, "a.1", 2);
    fake_feed_record(f->hub, 10);
    fake_store(f->hub, "a.1", 1);
    until_count(f, 3);
    assert_quiet(f);
    assert_seqs(f, 0, 31, 33);
}

static void other_topics_cost_nothing(void **state) {
    fixture *f = *state;
    subscribe(f, "a.*.c", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_store(f->hub, "a.b.d", 1);
    fake_store(f->hub, "b", 5);
    fake_store(f->hub, "a.b.c", 1);
    until_count(f, 1);
    assert_int_equal(f->seqs[0], 7);
    assert_int_equal(f->hub->fetches, 0);
}

/* A frame that cannot be read may have been anything: what follows must not step over it. */
static void a_broken_frame_raises_a_doubt(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a", 2);
    fake_feed(f->hub, "a\0garbage", 9);
    fake_store(f->hub, "b", 1);
    until_count(f, 3);
    assert_seqs(f, 0, 1, 3);
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a", 2);
    fake_feed(f->hub, "", 0);
    fake_beat(f->hub);
    until_count(f, 5);
    assert_seqs(f, 0, 1, 5);
}

/* The batch's form is right, an event in it is not. */
static void a_broken_event_raises_a_doubt(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a", 2);
    evb_buf frame = {0};
    evb_buf_add(&frame, f->hub->records[0].data + EVB_RECORD_HEADER, f->hub->records[0].size - EVB_RECORD_HEADER);
    frame.data[frame.size - 3] = 0xc1; /* the second event's type: a byte that msgpack never uses */
    fake_feed(f->hub, frame.data, frame.size);
    evb_buf_free(&frame);
    fake_store(f->hub, "b", 1);
    until_count(f, 3);
    assert_seqs(f, 0, 1, 3);
}

static void damage_is_said(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->corrupt = true;
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_FIRST}, 0);
    until_end(f, EVB_EDAMAGED);
    assert_non_null(strstr(f->err.text, "seq"));
}

/* Answers to "fetch" that make no sense: ["ok", id, BYTES. */
static void nonsense_is_not_believed(void **state) {
    fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } ANSWERS[] = {
        {"\xc0", 1}, /* nil for a status, too */
        {"\x80", 1}, /* a status without a head */
        {"\x82\xa5"
         "first\x09\xa4"
         "head\x03",
         14}, /* a first beyond head + 1 */
    };
    fill(f);
    for (size_t i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++) {
        evb_buf bytes = {0};
        evb_buf_add(&bytes, ANSWERS[i].bytes, ANSWERS[i].size);
        f->hub->answer = &bytes;
        f->rc = 0;
        subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_FIRST, .until_head = true}, 0);
        until_end(f, EVB_ENOHUB);
        evb_sub_destroy(&f->sub);
        evb_bus_destroy(&f->bus);
        evb_buf_free(&bytes);
    }
}

static void answer_far_ahead(void *hub, const char *op) {
    static const evb_buf FAR = {(uint8_t *)"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff\x1e\x01", 11, 11};
    fake_hub *self = hub;
    self->answer = strcmp(op, "fetch") == 0 ? &FAR : NULL;
}

static void a_next_beyond_the_head(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = answer_far_ahead;
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_FIRST, .until_head = true}, 0);
    until_end(f, EVB_ENOHUB);
}

/* ---- connections ---- */

static void a_lost_hub_that_comes_back(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_store(f->hub, "a", 2);
    until_count(f, 2);
    fake_down(f->hub);
    until_noted(f, EVB_NOTE_DISCONNECTED, 1);
    fake_store(f->hub, "a", 3);
    fake_up(f->hub);
    until_noted(f, EVB_NOTE_RECONNECTED, 1);
    assert_seqs(f, 0, 1, 5); /* told only when nothing is missing any more */
    fake_store(f->hub, "b", 1);
    until_count(f, 6);
    assert_seqs(f, 0, 1, 6);
    assert_int_equal(noted(f, EVB_NOTE_SUBSCRIBED), 1);
    assert_int_equal(noted(f, EVB_NOTE_CAUGHT_UP), 0);
}

static void caught_up_is_said_once(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_FIRST}, 0);
    until_noted(f, EVB_NOTE_CAUGHT_UP, 1);
    fake_down(f->hub);
    until_noted(f, EVB_NOTE_DISCONNECTED, 1);
    fake_store(f->hub, "a.1", 3);
    fake_up(f->hub);
    until_noted(f, EVB_NOTE_RECONNECTED, 1);
    assert_quiet(f);
    assert_seqs(f, 0, 1, 33);
    assert_int_equal(noted(f, EVB_NOTE_CAUGHT_UP), 1);
}

static void another_journal_is_said(void **state) {
    fixture *f = *state;
    fill(f);
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_down(f->hub);
    fake_forget(f->hub);
    fake_store(f->hub, "a", 2);
    fake_up(f->hub);
    until_end(f, EVB_EGONE);
    assert_non_null(strstr(f->err.text, "another journal"));
}

static void go_mute(void *hub, const char *op) {
    fake_hub *self = hub;
    self->mute = self->mute || strcmp(op, "fetch") == 0;
}

static void another_journal_during_the_replay(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = go_mute;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_SEQ, .value = 20}, 0);
    until_mute(f);
    fake_down(f->hub);
    fake_forget(f->hub);
    fake_store(f->hub, "a", 2);
    f->hub->before = NULL;
    f->hub->mute = false;
    fake_up(f->hub);
    until_end(f, EVB_EGONE);
}

static void a_replay_outlives_the_connection(void **state) {
    fixture *f = *state;
    fill(f);
    f->hub->before = go_mute;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_FIRST}, 0);
    until_mute(f);
    fake_down(f->hub);
    f->hub->before = NULL;
    f->hub->mute = false;
    fake_up(f->hub);
    until_noted(f, EVB_NOTE_CAUGHT_UP, 1);
    assert_seqs(f, 0, 1, 30);
}

static void a_silent_feed_ends(void **state) {
    fixture *f = *state;
    int64_t start = evb_clock_monotonic_ns();
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, SHORT_NS);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    until_end(f, EVB_ETIMEDOUT);
    assert_in_range(evb_clock_monotonic_ns() - start, 2500 * EVB_MILLISECOND_NS, PATIENCE_NS);
}

/* Whoever does not look for long, because their own work took so long, must not take the hub to be silent. */
static void a_slow_reader_is_not_a_silent_hub(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, SHORT_NS);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    int64_t end = evb_clock_monotonic_ns() + 3300 * EVB_MILLISECOND_NS;
    while (evb_clock_monotonic_ns() < end) { /* the reader is at its own work; the hub is not */
        fake_serve(f->hub, 100);
        fake_beat(f->hub);
    }
    assert_true(evb_bus_wait(f->bus, NULL, 0, TURN_NS, &f->err) >= 0);
    fake_serve(f->hub, 300); /* and at its own work again, before it has read what it was woken for */
    assert_true(evb_bus_wait(f->bus, NULL, 0, TURN_NS, &f->err) >= 0);
    drain(f);
    assert_int_equal(f->rc, EVB_NOTHING);
}

/* Whoever is at work still on what came before the end waits for that: the hub's beats do not wake them. */
static void an_end_is_no_work(void **state) {
    fixture *f = *state;
    subscribe(f, NULL, (evb_sub_options){.from = EVB_FROM_NOW, .has_to = true, .to = 2}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_store(f->hub, "a", 2);
    until_end(f, EVB_END);
    evb_sub_hold(f->sub, true);
    fake_beat(f->hub);
    fake_serve(f->hub, 100);
    int64_t start = evb_clock_monotonic_ns();
    for (int i = 0; i < 5; i++)
        assert_int_equal(evb_bus_wait(f->bus, NULL, 0, 50 * EVB_MILLISECOND_NS, &f->err), 0);
    assert_true(evb_clock_monotonic_ns() - start >= 200 * EVB_MILLISECOND_NS);
}

static void no_hub_was_ever_there(void **state) {
    fixture *f = *state;
    char lock[96], *const PATHS[] = {"hub", "feed", "lock"};
    fake_down(f->hub);
    for (size_t i = 0; i < 3; i++) {
        snprintf(lock, sizeof lock, "%s/%s", f->hub->dir, PATHS[i]);
        remove(lock);
    }
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    int64_t start = evb_clock_monotonic_ns();
    until_end(f, EVB_ENOHUB);
    assert_true(evb_clock_monotonic_ns() - start < PATIENCE_NS);
}

static int64_t cpu_ns(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * EVB_SECOND_NS + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

/* The hub goes while a gap is repaired: we wait for it, and do not spin. */
static void waiting_costs_nothing_during_a_repair(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 5 * EVB_SECOND_NS);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    f->hub->before = go_mute;
    f->hub->drop_frames = 1;
    fake_store(f->hub, "a", 1);
    fake_store(f->hub, "a", 1);
    until_mute(f);
    fake_down(f->hub);
    int64_t cpu = cpu_ns(), end = evb_clock_monotonic_ns() + 600 * EVB_MILLISECOND_NS;
    while (evb_clock_monotonic_ns() < end) {
        drain(f);
        assert_true(evb_bus_wait(f->bus, NULL, 0, 100 * EVB_MILLISECOND_NS, &f->err) >= 0);
    }
    assert_true(cpu_ns() - cpu < 200 * EVB_MILLISECOND_NS);
    f->hub->before = NULL;
    f->hub->mute = false;
    fake_up(f->hub);
    until_count(f, 2);
    assert_seqs(f, 0, 1, 2);
}

/* ---- live events ---- */

static void lost_live_events_are_counted(void **state) {
    fixture *f = *state;
    subscribe(f, "#", (evb_sub_options){.from = EVB_FROM_NOW}, 0);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    fake_live(f->hub, "a", 2, false);
    fake_live(f->hub, "a", 5, true);
    fake_live(f->hub, "b", 5, true); /* nothing of b was seen before: not known to be lost */
    fake_live(f->hub, "b", 1, false);
    fake_live(f->hub, "a", 1, false);
    until_count(f, 4);
    until_noted(f, EVB_NOTE_LOST, 1);
    assert_int_equal(f->values[f->note_count - 1], 5);
    f->hub->topics[0].live = 0; /* the hub began anew */
    fake_live(f->hub, "a", 1, false);
    until_count(f, 5);
    assert_int_equal(noted(f, EVB_NOTE_LOST), 1);
}

/* ---- a loss that is noticed between a step and a wait ---- */

/* Takes the hub away in the middle of a turn, and takes in what the connection says of that: once, and nothing is left of
 * it to wake a wait. */
typedef struct {
    evb_driven driven; /* first */
    fixture *f;
    evb_channel *channel;
} thief;

static void look_until(evb_channel *channel, evb_channel_state state) {
    int64_t due = evb_clock_monotonic_ns() + 10 * EVB_SECOND_NS;
    while (evb_channel_look(channel) != state)
        assert_in_range(evb_clock_monotonic_ns(), 0, due);
}

static void steal(const thief *t) {
    if (!t->f->hub->router)
        return;
    fake_down(t->f->hub);
    look_until(t->channel, EVB_CHANNEL_DOWN);
}

static void step_nothing(void *context) { (void)context; }
static void step_stealing(void *context) { steal(context); }
static bool never_ready(const void *context) {
    (void)context;
    return false;
}
static int64_t never_due(const void *context) {
    (void)context;
    return INT64_MAX;
}
static int64_t due_stealing(const void *context) {
    steal(context);
    return INT64_MAX;
}

/* The turn in which it happens ends at once, and the hub is found again when it is back. */
static void lose_in_turn(fixture *f, evb_channel *channel, void (*step)(void *), int64_t (*due)(const void *)) {
    thief t = {.driven = {.step = step, .ready = never_ready, .deadline = due}, .f = f, .channel = channel};
    t.driven.context = &t;
    evb_bus_drive(f->bus, &t.driven); /* before those that are there: between their step and their deadline */
    int64_t begun = evb_clock_monotonic_ns();
    int rc = evb_bus_wait(f->bus, NULL, 0, 10 * EVB_SECOND_NS, &f->err);
    int64_t took = evb_clock_monotonic_ns() - begun;
    evb_bus_undrive(f->bus, &t.driven);
    assert_int_equal(rc, 0);
    assert_null(f->hub->router);
    assert_in_range(took, 0, 5 * EVB_SECOND_NS);
    f->hub->mute = false;
    f->hub->drop_welcomes = 0;
    fake_up(f->hub);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
}

static void a_feed_lost_between_step_and_wait(void **state) {
    fixture *f = *state;
    f->hub->drop_welcomes = 1000;
    subscribe(f, "a", (evb_sub_options){.from = EVB_FROM_NOW}, -1);
    for (int i = 0; i < ROUNDS && (f->sub->state != SUB_JOIN || evb_channel_look(f->sub->feed) != EVB_CHANNEL_UP);
         i++)
        turn(f);
    lose_in_turn(f, f->sub->feed, step_nothing, due_stealing);
}

static void a_hub_lost_between_step_and_wait(void **state) {
    fixture *f = *state;
    f->hub->mute = true;
    subscribe(f, "a", (evb_sub_options){.from = EVB_FROM_FIRST}, -1);
    for (int i = 0; i < ROUNDS && evb_channel_look(f->bus->requests) != EVB_CHANNEL_UP; i++)
        turn(f);
    lose_in_turn(f, f->bus->requests, step_stealing, never_due);
}

/* ---- groups ---- */

/* Lets members join, and knows of none when it is asked for more. */
static void turn_away(void *hub, const char *op) {
    static uint8_t bytes[] = "\xc2\x01\x00\x00\x01"; /* not created, next, head, floor, ack wait */
    static const evb_buf JOINED = {bytes, sizeof bytes - 1, 0};
    fake_hub *self = hub;
    bool join = strcmp(op, "group.join") == 0;
    self->answer = join ? &JOINED : NULL;
    self->error = join ? NULL : "member";
    self->text = "not a member";
}

/* Also where a bus has no timeout, leaving has: of a hub that says nothing, and of one that never says what we wait for.
 * Since there is nothing to tell, it is well then. */
static void leaving_ends(void **state) {
    static const evb_group_options GROUP = {.name = "g"};
    fixture *f = *state;
    f->hub->before = turn_away;
    subscribe(f, "a", (evb_sub_options){.from = EVB_FROM_NOW, .group = &GROUP}, -1);
    until_noted(f, EVB_NOTE_SUBSCRIBED, 1);
    for (int mute = 0; mute < 2; mute++) {
        int64_t begun = evb_clock_monotonic_ns();
        f->hub->mute = mute;
        fake_start_thread(f->hub);
        assert_int_equal(evb_sub_leave(f->sub, &f->err), 0);
        fake_stop_thread(f->hub);
        assert_in_range(evb_clock_monotonic_ns() - begun, 4 * EVB_SECOND_NS, 20 * EVB_SECOND_NS);
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(now_begins_at_the_welcome),
        T(first_then_live),
        T(each_position_until_the_head),
        T(a_further_key_in_the_status),
        T(the_last_of_a_busy_topic),
        T(the_last_of_a_busy_topic_until_the_head),
        T(each_busy_topic_has_its_last),
        T(each_busy_topic_then_live),
        T(many_topics_each_with_its_last),
        T(gone_is_said),
        T(a_gap_may_be_allowed),
        T(back_stops_at_what_is_left),
        T(back_while_retention_runs),
        T(gone_for_ever_ends),
        T(a_feed_lost_between_step_and_wait),
        T(a_hub_lost_between_step_and_wait),
        T(leaving_ends),
        T(the_seam_has_no_gap_and_no_double),
        T(a_welcome_may_be_lost),
        T(no_welcome_ends),
        T(prev_proves_a_loss),
        T(a_mark_raises_a_doubt),
        T(a_beat_tells_of_the_last),
        T(a_beat_tells_up_to_when_all_is_here),
        T(stale_frames_are_passed_over),
        T(other_topics_cost_nothing),
        T(a_broken_frame_raises_a_doubt),
        T(a_broken_event_raises_a_doubt),
        T(damage_is_said),
        T(nonsense_is_not_believed),
        T(a_next_beyond_the_head),
        T(a_lost_hub_that_comes_back),
        T(caught_up_is_said_once),
        T(another_journal_is_said),
        T(another_journal_during_the_replay),
        T(a_replay_outlives_the_connection),
        T(a_silent_feed_ends),
        T(a_slow_reader_is_not_a_silent_hub),
        T(an_end_is_no_work),
        T(no_hub_was_ever_there),
        T(waiting_costs_nothing_during_a_repair),
        T(lost_live_events_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
