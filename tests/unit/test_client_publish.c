/* test_client_publish.c: the bus and its publishers against a fake hub: windows, answers, lost connections, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "fake_hub.h"

enum { ROUNDS = 20000 };
static const int64_t SHORT_NS = 300 * EVB_MILLISECOND_NS;
static const int64_t TURN_NS = 2 * EVB_MILLISECOND_NS;
static const int64_t PATIENCE_NS = 20 * EVB_SECOND_NS; /* what did not end by then hangs */

typedef struct {
    fake_hub *hub;
    evb_bus *bus;
    evb_pub *pub;
    struct {
        uint64_t seq, count;
    } runs[4096];
    size_t run_count;
    evb_error err;
} fixture;

static void on_stored(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    (void)version;
    fixture *f = context;
    assert_true(f->run_count < 4096);
    f->runs[f->run_count].seq = seq;
    f->runs[f->run_count++].count = count;
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->hub = fake_new();
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    fake_stop_thread(f->hub);
    evb_pub_destroy(&f->pub);
    evb_bus_destroy(&f->bus);
    fake_destroy(&f->hub);
    free(f);
    return 0;
}

static void open_bus(fixture *f, int64_t timeout_ns) {
    f->bus = evb_bus_new(f->hub->url, timeout_ns, &f->err);
    f->pub = evb_pub_new(f->bus, &(evb_pub_options){.stored = on_stored, .context = f}, &f->err);
    assert_non_null(f->pub);
}

static void turn(fixture *f) {
    fake_serve(f->hub, 0);
    assert_true(evb_bus_wait(f->bus, NULL, 0, TURN_NS, &f->err) >= 0);
}

static int add(fixture *f, const char *topic, const void *payload, size_t size) {
    evb_event e = {.topic = topic, .topic_size = strlen(topic), .payload = payload, .size = size};
    return evb_pub_add(f->pub, &e, &f->err);
}

/* Turns until the hub has had `count` pubs, and a few times more, in which further ones would come. */
static void until_pubs(fixture *f, size_t count) {
    for (int i = 0; i < ROUNDS && f->hub->pub_count < count; i++)
        turn(f);
    for (int i = 0; i < 20; i++)
        turn(f);
}

/* Turns until all is stored. */
static void settle(fixture *f) {
    for (int i = 0; i < ROUNDS && evb_pub_pending(f->pub); i++) {
        assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
        turn(f);
    }
    assert_int_equal(evb_pub_pending(f->pub), 0);
}

/* Checks that the callback told of each event once, in order, from seq 1. */
static void assert_runs(const fixture *f, uint64_t events) {
    uint64_t next = 1;
    for (size_t i = 0; i < f->run_count; i++) {
        assert_int_equal(f->runs[i].seq, next);
        next += f->runs[i].count;
    }
    assert_int_equal(next - 1, events);
    assert_int_equal(evb_pub_stored(f->pub), events);
}

static void topics_share_a_frame_in_order(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    open_bus(f, 0);
    static const char *const TOPICS[] = {"a", "a", "b", "a"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(add(f, TOPICS[i], "x", 1), 0);
    settle(f);
    assert_int_equal(f->hub->pub_count, 1);
    assert_int_equal(f->hub->pubs[0].records, 3);
    assert_int_equal(f->hub->head, 4);
    assert_runs(f, 4);
}

static void a_run_for_each_batch_is_counted_once(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    f->hub->split_runs = true;
    open_bus(f, 0);
    for (int i = 0; i < 300; i++)
        assert_int_equal(add(f, i % 2 ? "odd" : "even", "x", 1), 0);
    settle(f);
    assert_int_equal(f->run_count, 300);
    assert_runs(f, 300);
}

static void the_window_is_bounded(void **state) {
    fixture *f = *state;
    static char payload[60 * 1024];
    fake_up(f->hub);
    f->hub->mute = true;
    open_bus(f, 0);
    int added = 0;
    for (int rc = 0; rc == 0; added += rc == 0)
        rc = add(f, "t", payload, sizeof payload);
    assert_in_range(added, 60, 66);
    until_pubs(f, 60);
    assert_in_range(f->hub->pub_count, 60, 64);
    assert_int_equal(add(f, "t", payload, sizeof payload), EVB_EAGAIN);
}

static void few_frames_fly_while_answers_are_owed(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    f->hub->mute = true;
    open_bus(f, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(add(f, "t", "x", 1), 0);
        assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
    }
    until_pubs(f, 4);
    assert_int_equal(f->hub->pub_count, 4);
}

static void what_was_not_answered_is_sent_again(void **state) {
    fixture *f = *state;
    static char payload[40 * 1024];
    fake_up(f->hub);
    open_bus(f, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(add(f, "t", payload, sizeof payload), 0);
    settle(f);
    f->hub->mute = true;
    for (int i = 0; i < 10; i++)
        assert_int_equal(add(f, i % 3 ? "t" : "u", payload, sizeof payload), 0);
    for (int i = 0; i < 20; i++)
        turn(f);
    size_t before = f->hub->pub_count;
    fake_down(f->hub);
    for (int i = 0; i < 20; i++)
        turn(f);
    f->hub->mute = false;
    fake_up(f->hub);
    settle(f);
    const fake_pub *once = &f->hub->pubs[3], *again = &f->hub->pubs[before];
    for (size_t i = 3; i < before; i++, once++, again++) {
        assert_int_equal(once->first, again->first);
        assert_int_equal(once->digest, again->digest);
    }
    assert_int_equal(f->hub->head, 13);
    assert_runs(f, 13);
}

/* A hub that stored the frame and died before it answered gives the same seqs. */
static bool forget_answer;
static void die_after_pub(void *hub, const char *op) {
    fake_hub *self = hub;
    (void)self;
    forget_answer = strcmp(op, "pub") == 0;
}

static void stored_before_the_connection_was_lost(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    f->hub->before = die_after_pub;
    open_bus(f, 0);
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
    for (forget_answer = false; !forget_answer;) /* answered, but the answer dies with the socket */
        fake_serve(f->hub, 5);
    fake_down(f->hub);
    fake_up(f->hub);
    settle(f);
    assert_int_equal(f->hub->head, 1);
    assert_runs(f, 1);
}

static void answer_two(void *hub, const char *op) {
    fake_hub *self = hub;
    (void)op;
    self->mute = self->pub_count >= 2;
}

static void what_is_sent_again_says_what_was_answered_since(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    f->hub->before = answer_two;
    open_bus(f, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(add(f, "t", "x", 1), 0);
        assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
    }
    while (f->hub->pub_count < 4)
        fake_serve(f->hub, 5);
    for (int i = 0; i < ROUNDS && evb_pub_stored(f->pub) < 2; i++)
        turn(f);
    uint64_t stored = evb_pub_stored(f->pub);
    assert_int_equal(stored, 2);
    fake_down(f->hub);
    f->hub->before = NULL;
    f->hub->mute = false;
    fake_up(f->hub);
    size_t before = f->hub->pub_count;
    settle(f);
    assert_int_equal(f->hub->pubs[before].first, stored + 1);
    assert_int_equal(f->hub->pubs[before].acked, stored);
}

static void refusals_are_final(void **state) {
    fixture *f = *state;
    static const struct {
        const char *word;
        int code;
    } WORDS[] = {{"store", EVB_ESTORE}, {"perm", EVB_EPERM}, {"data", EVB_EDATA}, {"order", EVB_EDATA}};
    fake_up(f->hub);
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
        open_bus(f, 0);
        f->hub->error = WORDS[i].word;
        f->hub->text = "the disk is full";
        assert_int_equal(add(f, "t", "x", 1), 0);
        assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
        for (int k = 0; k < ROUNDS && add(f, "t", "x", 1) == 0; k++)
            turn(f);
        assert_int_equal(add(f, "t", "x", 1), WORDS[i].code);
        assert_int_equal(evb_pub_send(f->pub, &f->err), WORDS[i].code);
        assert_int_equal(evb_pub_drain(f->pub, &f->err), WORDS[i].code);
        assert_string_equal(f->err.text, "the disk is full");
        evb_pub_destroy(&f->pub);
        evb_bus_destroy(&f->bus);
    }
}

/* Answers of a hub that lies: ["ok", id, RUNS] for a frame of two batches, each of one event. */
static void nonsense_is_not_believed(void **state) {
    fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } ANSWERS[] = {
        {"\xc0", 1},                                                  /* nil */
        {"\x90", 1},                                                  /* no runs */
        {"\x91\x93\x01\x01\x01", 5},                                  /* half of it */
        {"\x91\x93\x02\x02\x01", 5},                                  /* not from the first on */
        {"\x91\x93\x01\x03\x01", 5},                                  /* more than there is */
        {"\x92\x93\x01\x02\x01\x93\x03\x01\x03", 9},                  /* the same */
        {"\x91\x93\x01\xcf\x80\x00\x00\x00\x00\x00\x00\x00\x01", 13}, /* 2^63 batches */
        {"\x91\x93\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13}, /* 2^64 - 1 */
        {"\xdd\xff\xff\xff\xff", 5},                                  /* 2^32 - 1 runs */
        {"\x92\x93\x01\x00\x01\x93\x01\x02\x01", 9},                  /* an empty run */
    };
    fake_up(f->hub);
    for (size_t i = 0; i < sizeof ANSWERS / sizeof *ANSWERS; i++) {
        evb_buf bytes = {0};
        evb_buf_add(&bytes, ANSWERS[i].bytes, ANSWERS[i].size);
        open_bus(f, 0);
        f->hub->answer = &bytes;
        assert_int_equal(add(f, "a", "x", 1), 0);
        assert_int_equal(add(f, "b", "x", 1), 0);
        assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
        int rc = 0;
        for (int k = 0; k < ROUNDS && rc == 0; k++) {
            turn(f);
            rc = evb_pub_send(f->pub, &f->err);
        }
        assert_int_equal(rc, EVB_ENOHUB);
        assert_non_null(strstr(f->err.text, "evbus-protocol"));
        evb_pub_destroy(&f->pub);
        evb_bus_destroy(&f->bus);
        evb_buf_free(&bytes);
    }
}

static void a_wrong_id_does_not_keep_us_waiting(void **state) {
    fixture *f = *state;
    evb_status status;
    fake_up(f->hub);
    f->hub->wrong_id = true;
    open_bus(f, SHORT_NS);
    fake_start_thread(f->hub);
    int64_t start = evb_clock_monotonic_ns();
    assert_true(evb_bus_status(f->bus, &status, &f->err) < 0);
    assert_true(evb_clock_monotonic_ns() - start < PATIENCE_NS);
    fake_stop_thread(f->hub);
}

static void a_status_is_read_or_refused(void **state) {
    fixture *f = *state;
    evb_status status;
    evb_buf nil = {0};
    evb_buf_add(&nil, "\xc0", 1);
    fake_up(f->hub);
    fake_store(f->hub, "t", 3);
    f->hub->status_further = true;
    open_bus(f, 0);
    fake_start_thread(f->hub);
    assert_int_equal(evb_bus_status(f->bus, &status, &f->err), 0);
    assert_int_equal(status.head, 3);
    assert_int_equal(status.max_payload, 100000);
    fake_stop_thread(f->hub);
    f->hub->answer = &nil;
    fake_start_thread(f->hub);
    assert_int_equal(evb_bus_status(f->bus, &status, &f->err), EVB_ENOHUB);
    fake_stop_thread(f->hub);
    evb_buf_free(&nil);
}

static void without_a_url_it_is_this_users_hub(void **state) {
    fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        f->bus = evb_bus_new(i ? "" : NULL, SHORT_NS, &f->err);
        assert_non_null(f->bus);
        evb_bus_destroy(&f->bus);
    }
}

static void no_hub_was_ever_there(void **state) {
    fixture *f = *state;
    open_bus(f, 3 * PATIENCE_NS);
    int64_t start = evb_clock_monotonic_ns();
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_drain(f->pub, &f->err), EVB_ENOHUB);
    assert_true(evb_clock_monotonic_ns() - start < PATIENCE_NS);
    assert_non_null(strstr(f->err.text, "start one with evbusd"));
}

static void a_hub_that_was_there_is_waited_for(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    fake_down(f->hub);
    open_bus(f, SHORT_NS);
    int64_t start = evb_clock_monotonic_ns();
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_drain(f->pub, &f->err), EVB_ENOHUB);
    assert_true(evb_clock_monotonic_ns() - start >= SHORT_NS);
}

static void a_silent_hub_ends_the_wait(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    open_bus(f, SHORT_NS);
    int64_t start = evb_clock_monotonic_ns();
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_drain(f->pub, &f->err), EVB_ETIMEDOUT);
    assert_in_range(evb_clock_monotonic_ns() - start, SHORT_NS, PATIENCE_NS);
    assert_int_equal(evb_pub_add(f->pub, &(evb_event){.topic = "t", .topic_size = 1}, &f->err), EVB_ETIMEDOUT);
}

static void note_code(void *context, int code, evb_answer *answer, const evb_error *why) {
    (void)answer;
    (void)why;
    *(int *)context = code;
}

static void count_asked(void *hub, const char *op) { ((fake_hub *)hub)->statuses += strcmp(op, "call") == 0; }

/* It is given up with the others, before its own time is over; a hub may have handed it on. */
static void a_silent_hub_leaves_a_command_unknown(void **state) {
    fixture *f = *state;
    int code = 0;
    f->hub->mute = true;
    f->hub->before = count_asked;
    fake_up(f->hub);
    open_bus(f, SHORT_NS);
    const evb_event command = {.topic = "t", .topic_size = 1};
    const evb_command_options options = {.timeout_ns = 60 * EVB_SECOND_NS};
    assert_int_equal(evb_bus_ask(f->bus, &command, &options, note_code, &code, &f->err), 0);
    for (int i = 0; i < ROUNDS && !f->hub->statuses; i++)
        turn(f);
    assert_int_equal(code, 0);
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_drain(f->pub, &f->err), EVB_ETIMEDOUT);
    assert_int_equal(code, EVB_EUNKNOWN);
}

static void *give_descriptors(void *limit) {
    usleep(30000);
    setrlimit(RLIMIT_NOFILE, limit);
    return NULL;
}

/* A wait without an end tries again by itself. */
static void no_descriptor_is_left_for_a_while(void **state) {
    fixture *f = *state;
    struct rlimit before, none;
    pthread_t giver;
    fake_up(f->hub);
    fake_start_thread(f->hub);
    open_bus(f, -1);
    int next = dup(STDERR_FILENO);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){(rlim_t)next, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(pthread_create(&giver, NULL, give_descriptors, &before), 0);
    assert_int_equal(evb_pub_drain(f->pub, &f->err), 0);
    pthread_join(giver, NULL);
    assert_runs(f, 1);
}

static void a_hub_may_start_later(void **state) {
    fixture *f = *state;
    fake_up(f->hub);
    fake_down(f->hub);
    open_bus(f, 0);
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_send(f->pub, &f->err), 0);
    for (int i = 0; i < 20; i++)
        turn(f);
    fake_up(f->hub);
    settle(f);
    assert_runs(f, 1);
}

static void what_may_not_be_published(void **state) {
    fixture *f = *state;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+_";
    evb_header many[EVB_HEADER_COUNT_MAX + 1];
    char id[EVB_ID_MAX];
    memset(id, 'i', sizeof id);
    for (size_t i = 0; i < EVB_HEADER_COUNT_MAX + 1; i++)
        many[i] = (evb_header){letters + i, 1, "v", 1};
    const evb_header names[] = {{"", 0, "v", 1}, {"a=b", 3, "v", 1}, {"a\nb", 3, "v", 1}, {"\xff", 1, "v", 1}};
    fake_up(f->hub);
    open_bus(f, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(
            evb_pub_add(f->pub, &(evb_event){.topic = "t", .topic_size = 1, .headers = &names[i], .header_count = 1},
                        &f->err),
            EVB_EDATA);
    evb_event e = {.topic = "t", .topic_size = 1, .headers = many, .header_count = EVB_HEADER_COUNT_MAX + 1};
    assert_int_equal(evb_pub_add(f->pub, &e, &f->err), EVB_EDATA);
    many[1] = many[0];
    e.header_count = 2;
    assert_int_equal(evb_pub_add(f->pub, &e, &f->err), EVB_EDATA);
    many[1].name++;
    e = (evb_event){.topic = "t", .topic_size = 1, .id = id, .id_size = EVB_ID_MAX};
    assert_int_equal(evb_pub_add(f->pub, &e, &f->err), EVB_EDATA);
    e.id_size--;
    assert_int_equal(evb_pub_add(f->pub, &e, &f->err), 0);
    assert_int_equal(add(f, "a.*", "x", 1), EVB_EDATA);
    assert_int_equal(add(f, "$hub.beat", "x", 1), EVB_EDATA);
    e = (evb_event){.topic = "t", .topic_size = 1, .headers = many, .header_count = EVB_HEADER_COUNT_MAX};
    assert_int_equal(evb_pub_add(f->pub, &e, &f->err), 0);
    settle(f);
    assert_runs(f, 2);
}

static void large_payloads_ask_once(void **state) {
    fixture *f = *state;
    static char payload[100001];
    int rc;
    fake_up(f->hub);
    open_bus(f, 0);
    fake_start_thread(f->hub);
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(add(f, "t", payload, 100000), EVB_EAGAIN);
    while ((rc = add(f, "t", payload, 100000)) == EVB_EAGAIN)
        assert_true(evb_bus_wait(f->bus, NULL, 0, -1, &f->err) >= 0);
    assert_int_equal(rc, 0);
    assert_int_equal(add(f, "t", payload, 100001), EVB_EDATA);
    assert_non_null(strstr(f->err.text, "100001"));
    assert_non_null(strstr(f->err.text, "100000"));
    assert_int_equal(add(f, "t", "x", 1), 0);
    assert_int_equal(evb_pub_drain(f->pub, &f->err), 0);
    fake_stop_thread(f->hub);
    assert_int_equal(f->hub->statuses, 1);
    assert_runs(f, 3);
}

static void asking_for_the_limit_does_not_block(void **state) {
    fixture *f = *state;
    static char payload[100000];
    open_bus(f, 300 * EVB_MILLISECOND_NS); /* and no hub is there */
    assert_int_equal(add(f, "t", payload, sizeof payload), EVB_EAGAIN);
    assert_int_equal(add(f, "t", payload, sizeof payload), EVB_EAGAIN);
    assert_int_equal(add(f, "t", "x", 1), 0); /* what is small goes on */
    int rc;
    while ((rc = add(f, "t", payload, sizeof payload)) == EVB_EAGAIN)
        assert_true(evb_bus_wait(f->bus, NULL, 0, -1, &f->err) >= 0);
    assert_int_equal(rc, EVB_ENOHUB);
}

static void one_event_and_its_seq(void **state) {
    fixture *f = *state;
    evb_event e = {.topic = "t", .topic_size = 1, .payload = "x", .size = 1};
    uint64_t seq = 0;
    fake_up(f->hub);
    f->bus = evb_bus_new(f->hub->url, 0, &f->err);
    fake_start_thread(f->hub);
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(evb_publish(f->bus, &e, &seq, &f->err), 0);
        assert_int_equal(seq, i);
    }
    e.live = true;
    assert_int_equal(evb_publish(f->bus, &e, &seq, &f->err), 0);
    assert_int_equal(seq, 0);
    fake_stop_thread(f->hub);
}

/* More frames under way than any queue of a fixed length would take. */
static void many_publishers_share_a_bus(void **state) {
    fixture *f = *state;
    enum { PUBLISHERS = 20, EACH = 60 };
    static char payload[60 * 1024];
    evb_pub *pubs[PUBLISHERS];
    fake_up(f->hub);
    fake_down(f->hub);
    f->bus = evb_bus_new(f->hub->url, 0, &f->err);
    for (size_t i = 0; i < PUBLISHERS; i++) {
        pubs[i] = evb_pub_new(f->bus, NULL, &f->err);
        for (int k = 0; k < EACH; k++)
            assert_int_equal(
                evb_pub_add(pubs[i],
                            &(evb_event){.topic = "t", .topic_size = 1, .payload = payload, .size = sizeof payload},
                            &f->err),
                0);
    }
    fake_up(f->hub);
    f->hub->mute = true;
    for (int i = 0; i < ROUNDS && f->hub->pub_count < PUBLISHERS * (EACH - 1); i++)
        turn(f);
    assert_true(f->hub->pub_count >= PUBLISHERS * (EACH - 1));
    for (size_t i = 0; i < PUBLISHERS; i++)
        evb_pub_destroy(&pubs[i]);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(topics_share_a_frame_in_order),
        T(a_run_for_each_batch_is_counted_once),
        T(the_window_is_bounded),
        T(few_frames_fly_while_answers_are_owed),
        T(what_was_not_answered_is_sent_again),
        T(stored_before_the_connection_was_lost),
        T(what_is_sent_again_says_what_was_answered_since),
        T(refusals_are_final),
        T(nonsense_is_not_believed),
        T(a_wrong_id_does_not_keep_us_waiting),
        T(a_status_is_read_or_refused),
        T(without_a_url_it_is_this_users_hub),
        T(no_hub_was_ever_there),
        T(a_hub_that_was_there_is_waited_for),
        T(a_silent_hub_ends_the_wait),
        T(a_silent_hub_leaves_a_command_unknown),
        T(no_descriptor_is_left_for_a_while),
        T(a_hub_may_start_later),
        T(what_may_not_be_published),
        T(large_payloads_ask_once),
        T(asking_for_the_limit_does_not_block),
        T(one_event_and_its_seq),
        T(many_publishers_share_a_bus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
