/* test_listeners.c: paused groups, and what members report of their runs, by the hub's own clock: requests in, answers
 * and calls out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "hub/hub.h"

static int a_peer;
static const char ONE[] = "11111111111111111111111111111100", TWO[] = "22222222222222222222222222222200";

typedef struct {
    evb_journal *journal;
    evb_hub *hub;
    char catalog[64];
    int64_t now_ns; /* monotonic */
    uint64_t batches;
    evb_buf head, body, results; /* of the request being made; of the last answer */
    msgpack_packer p;
    size_t pokes;
    char error[16];
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    evb_error err = {0};
    evb_journal_options options = {.segment_bytes = 1 << 20};
    strcpy(f->catalog, "/tmp/evb-catalog-XXXXXX");
    close(mkstemp(f->catalog));
    unlink(f->catalog);
    f->now_ns = 1000 * EVB_SECOND_NS;
    f->journal = evb_journal_new(evb_io_memory_new(NULL), f->catalog, &options, (evb_log){0}, &err);
    f->hub = evb_hub_new(f->journal, &(evb_hub_options){.max_payload = 1000}, f->now_ns, &err);
    assert_non_null(f->hub);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
    evb_buf_free(&f->body);
    evb_buf_free(&f->results);
    unlink(f->catalog);
    free(f);
    return 0;
}

/* ---- requests ---- */

static void begin(fixture *f, const char *op, uint32_t args) {
    evb_mp_packer(&f->p, &f->head);
    msgpack_pack_array(&f->p, args + 2);
    evb_mp_pack_str(&f->p, op, strlen(op));
    msgpack_pack_uint64(&f->p, 5);
}

static void text(fixture *f, const char *s) { evb_mp_pack_str(&f->p, s, strlen(s)); }

static void named_number(fixture *f, const char *name, uint64_t value) {
    text(f, name);
    msgpack_pack_uint64(&f->p, value);
}

/* Keeps the results of the last answer, or its error's word. */
static void read_answer(fixture *f, const evb_buf *reply) {
    evb_mp mp = {reply->data, reply->data + reply->size};
    const char *word;
    uint64_t id;
    size_t size;
    uint32_t n;
    f->results.size = 0;
    *f->error = 0;
    assert_true(evb_mp_array(&mp, &n) && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, &id));
    if (size == 5) {
        assert_true(evb_mp_str(&mp, &word, &size));
        snprintf(f->error, sizeof f->error, "%.*s", (int)size, word);
    } else if (mp.at < mp.end) {
        assert_true(evb_buf_add(&f->results, mp.at, (size_t)(mp.end - mp.at)));
    }
}

static void end_round(fixture *f) {
    evb_error err = {0};
    evb_action *actions;
    size_t count;
    f->pokes = 0;
    assert_int_equal(evb_hub_commit(f->hub, f->now_ns, &actions, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        f->pokes += actions[i].kind == EVB_ACTION_POKE;
        if (actions[i].kind == EVB_ACTION_REPLY)
            read_answer(f, &actions[i].head);
        evb_buf_free(&actions[i].head);
        evb_buf_free(&actions[i].body);
    }
}

static void play(fixture *f) {
    evb_error err = {0};
    assert_int_equal(evb_hub_request(f->hub, &a_peer, (evb_origin){-1, -1}, f->head.data, f->head.size, f->body.data,
                                     f->body.size, f->now_ns, f->now_ns, &err),
                     0);
    evb_buf_free(&f->head);
    f->body.size = 0;
    end_round(f);
}

static void store(fixture *f, unsigned events) {
    uint8_t producer[EVB_PRODUCER_SIZE] = {1};
    assert_true(evb_record_begin(&f->body, "t", 1, 0, producer, ++f->batches));
    for (unsigned i = 0; i < events; i++)
        assert_true(evb_record_add(&f->body, 0, &(evb_event){.payload = "x", .size = 1}));
    begin(f, "pub", 1);
    msgpack_pack_uint64(&f->p, f->batches - 1);
    play(f);
    assert_string_equal(f->error, "");
}

/* Joins group g of topic t, from the first event on, as a listener. */
static void join(fixture *f, const char *token) {
    evb_hub_came(f->hub, token, strlen(token), (evb_origin){-1, -1}, 0);
    begin(f, "group.join", 5);
    text(f, "g");
    text(f, token);
    msgpack_pack_array(&f->p, 1);
    text(f, "t");
    msgpack_pack_map(&f->p, 1);
    text(f, "listener");
    msgpack_pack_true(&f->p);
    msgpack_pack_uint64(&f->p, 1);
    play(f);
    assert_string_equal(f->error, "");
}

/* Acknowledges first..last (0: nothing), asks for `want` events and returns how many records came; until: or 0. */
static uint32_t take(fixture *f, const char *token, uint64_t first, uint64_t last, uint64_t want, uint64_t until) {
    uint64_t number;
    uint32_t rows = 0;
    bool more;
    begin(f, "group", until ? 7 : 6);
    text(f, "g");
    text(f, token);
    msgpack_pack_array(&f->p, first ? 1 : 0);
    if (first) {
        msgpack_pack_array(&f->p, 2);
        msgpack_pack_uint64(&f->p, first);
        msgpack_pack_uint64(&f->p, last);
    }
    msgpack_pack_array(&f->p, 0);
    msgpack_pack_uint64(&f->p, want);
    msgpack_pack_uint64(&f->p, 1 << 20);
    if (until)
        msgpack_pack_uint64(&f->p, until);
    play(f);
    evb_mp mp = {f->results.data, f->results.data + f->results.size};
    if (!*f->error)
        assert_true(evb_mp_bool(&mp, &more) && evb_mp_uint(&mp, &number) && evb_mp_uint(&mp, &number) &&
                    evb_mp_uint(&mp, &number) && evb_mp_array(&mp, &rows));
    return rows;
}

static void pause_group(fixture *f, bool paused) {
    begin(f, "group.pause", 2);
    text(f, "g");
    paused ? msgpack_pack_true(&f->p) : msgpack_pack_false(&f->p);
    play(f);
    assert_string_equal(f->error, "");
}

static void report(fixture *f, const char *id, const char *token, uint64_t runs, uint64_t failures,
                   const char *last_error, uint64_t at_ns) {
    begin(f, "hello", 3);
    text(f, id);
    text(f, token);
    msgpack_pack_map(&f->p, 5);
    text(f, "group");
    text(f, "g");
    named_number(f, "runs", runs);
    named_number(f, "failures", failures);
    text(f, "last_error");
    text(f, last_error);
    named_number(f, "last_error_ns", at_ns);
    play(f);
    assert_string_equal(f->error, "");
}

static bool is(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && memcmp(name, wanted, size) == 0;
}

/* The first row of "groups" or "clients": "RUNS FAILURES ERROR AT". */
static const char *told(fixture *f, const char *op) {
    static char out[400];
    char error[300] = "-";
    uint64_t runs = 0, failures = 0, at = 0, value;
    uint32_t rows, members;
    begin(f, op, 0);
    play(f);
    evb_mp mp = {f->results.data, f->results.data + f->results.size};
    assert_true(evb_mp_array(&mp, &rows) && rows && evb_mp_map(&mp, &members));
    while (members--) {
        const char *name, *word;
        size_t size, word_size;
        assert_true(evb_mp_str(&mp, &name, &size));
        if (evb_mp_uint(&mp, &value)) {
            runs = is(name, size, "runs") ? value : runs;
            failures = is(name, size, "failures") ? value : failures;
            at = is(name, size, "last_error_ns") ? value : at;
        } else if (is(name, size, "last_error") && evb_mp_str(&mp, &word, &word_size)) {
            snprintf(error, sizeof error, "%.*s", (int)word_size, word);
        } else {
            assert_true(evb_mp_skip(&mp));
        }
    }
    snprintf(out, sizeof out, "%" PRIu64 " %" PRIu64 " %s %" PRIu64, runs, failures, error, at);
    return out;
}

static void left(fixture *f, const char *token) { evb_hub_left(f->hub, token, strlen(token)); }

/* ---- pausing ---- */

static void paused_hands_out_nothing_and_calls_nobody(void **state) {
    fixture *f = *state;
    store(f, 4);
    join(f, ONE);
    join(f, TWO);
    assert_int_equal(take(f, ONE, 0, 0, 2, 0), 1);
    pause_group(f, true);
    assert_int_equal(take(f, ONE, 1, 2, 10, 0), 0);
    assert_int_equal(take(f, TWO, 0, 0, 10, 0), 0);
    store(f, 1);
    assert_int_equal(f->pokes, 0);
    assert_true(evb_hub_deadline(f->hub) > f->now_ns); /* nor is anything due, over and over */
    pause_group(f, false);
    assert_int_equal(f->pokes, 2);
    assert_int_equal(take(f, ONE, 0, 0, 10, 0), 2);
}

static void what_comes_back_while_paused_waits(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    store(f, 1);
    join(f, ONE);
    join(f, TWO);
    assert_int_equal(take(f, ONE, 0, 0, 1, 0), 1);
    assert_int_equal(take(f, TWO, 0, 0, 1, 0), 0);
    pause_group(f, true);
    left(f, ONE);
    f->now_ns += 60 * EVB_SECOND_NS;
    assert_int_equal(evb_hub_tick(f->hub, f->now_ns, &err), 0);
    end_round(f);
    assert_int_equal(f->pokes, 0);
    assert_int_equal(take(f, TWO, 0, 0, 1, 0), 0);
    assert_true(evb_hub_deadline(f->hub) > f->now_ns);
    pause_group(f, false);
    assert_int_equal(take(f, TWO, 0, 0, 1, 0), 1);
}

static void who_waits_for_the_end_is_told(void **state) {
    fixture *f = *state;
    store(f, 2);
    join(f, ONE);
    assert_int_equal(take(f, ONE, 0, 0, 1, 2), 1);
    pause_group(f, true);
    assert_int_equal(take(f, ONE, 0, 0, 5, 2), 0); /* it has something to finish */
    assert_string_equal(f->error, "");
    take(f, ONE, 1, 1, 0, 2); /* and has finished it: it is called, to ask again */
    assert_string_equal(f->error, "");
    assert_int_equal(f->pokes, 1);
    take(f, ONE, 0, 0, 5, 2);
    assert_string_equal(f->error, "busy");
    take(f, ONE, 0, 0, 5, 1); /* the end that it wants to see is there */
    assert_string_equal(f->error, "");
}

static void a_replay_keeps_its_rate_after_a_pause(void **state) {
    fixture *f = *state;
    store(f, 100);
    join(f, ONE);
    assert_int_equal(take(f, ONE, 0, 0, 100, 0), 1);
    take(f, ONE, 1, 100, 0, 0);
    begin(f, "group.replay", 5);
    text(f, "g");
    msgpack_pack_uint64(&f->p, 1);
    msgpack_pack_uint64(&f->p, 0);
    msgpack_pack_uint64(&f->p, 10);
    msgpack_pack_false(&f->p);
    play(f);
    pause_group(f, true);
    f->now_ns += 5 * EVB_SECOND_NS;
    pause_group(f, false);
    assert_int_equal(take(f, ONE, 0, 0, 100, 0), 1);
    evb_mp mp = {f->results.data, f->results.data + f->results.size};
    uint64_t number;
    uint32_t n;
    bool more;
    assert_true(evb_mp_bool(&mp, &more) && evb_mp_uint(&mp, &number) && evb_mp_uint(&mp, &number) &&
                evb_mp_uint(&mp, &number) && evb_mp_array(&mp, &n) && evb_mp_array(&mp, &n) &&
                evb_mp_uint(&mp, &number) && evb_mp_uint(&mp, &number));
    assert_int_equal(number, 1); /* not those of the five seconds */
}

/* ---- reports ---- */

static void members_are_summed_and_the_newest_error_told(void **state) {
    fixture *f = *state;
    join(f, ONE);
    join(f, TWO);
    assert_string_equal(told(f, "groups"), "0 0 - 0");
    report(f, "a", ONE, 5, 2, "newer", 20);
    report(f, "b", TWO, 3, 1, "older", 10);
    assert_string_equal(told(f, "groups"), "8 3 newer 20");
    assert_string_equal(told(f, "clients"), "5 2 newer 20");
    left(f, ONE);
    assert_string_equal(told(f, "groups"), "8 3 newer 20");
}

static void who_comes_back_is_not_counted_twice(void **state) {
    fixture *f = *state;
    join(f, ONE);
    report(f, "a", ONE, 5, 2, "e", 10);
    left(f, ONE);
    assert_string_equal(told(f, "groups"), "5 2 e 10");
    join(f, TWO); /* the same program, on a new connection */
    assert_string_equal(told(f, "groups"), "5 2 e 10");
    report(f, "a", TWO, 6, 3, "f", 11);
    assert_string_equal(told(f, "groups"), "6 3 f 11");
    join(f, ONE); /* once more, and the old connection's end comes late */
    report(f, "a", ONE, 7, 3, "f", 11);
    left(f, TWO);
    assert_string_equal(told(f, "groups"), "7 3 f 11");
    evb_hub_left_all(f->hub);
    assert_string_equal(told(f, "groups"), "7 3 f 11");
}

static void of_very_many_who_went_nothing_is_lost(void **state) {
    fixture *f = *state;
    char token[33], id[8];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(token, sizeof token, "%030u00", i);
        snprintf(id, sizeof id, "%u", i);
        join(f, token);
        report(f, id, token, 2, 1, "e", i + 1);
        left(f, token);
    }
    assert_string_equal(told(f, "groups"), "400 200 e 200");
}

int main(void) {
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(paused_hands_out_nothing_and_calls_nobody),
        T(what_comes_back_while_paused_waits),
        T(who_waits_for_the_end_is_told),
        T(a_replay_keeps_its_rate_after_a_pause),
        T(members_are_summed_and_the_newest_error_told),
        T(who_comes_back_is_not_counted_twice),
        T(of_very_many_who_went_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
