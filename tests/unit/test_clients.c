/* test_clients.c: the hub's list of clients, by the hub's own clock: who is on it, and how far behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <inttypes.h>
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
    evb_buf body;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    evb_error err = {0};
    evb_journal_options options = {.segment_bytes = 1 << 20};
    strcpy(f->catalog, "/tmp/evb-catalog-XXXXXX");
    close(mkstemp(f->catalog));
    unlink(f->catalog);
    f->now_ns = EVB_SECOND_NS;
    f->journal = evb_journal_new(evb_io_memory_new(NULL), f->catalog, &options, (evb_log){0}, &err);
    f->hub = evb_hub_new(f->journal, &(evb_hub_options){.max_payload = 1000}, f->now_ns, &err);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
    evb_buf_free(&f->body);
    unlink(f->catalog);
    free(f);
    return 0;
}

/* Plays one request; its reply's results go to *results (the caller's). */
static void play(fixture *f, const evb_buf *head, evb_buf *results) {
    evb_error err = {0};
    evb_action *actions;
    size_t count, size;
    const char *word;
    uint64_t id;
    uint32_t n;
    assert_int_equal(evb_hub_request(f->hub, &a_peer, (evb_origin){-1, -1}, head->data, head->size, f->body.data,
                                     f->body.size, f->now_ns, f->now_ns, &err),
                     0);
    assert_int_equal(evb_hub_commit(f->hub, f->now_ns, &actions, &count, &err), 0);
    assert_true(count > 0);
    evb_buf *reply = &actions[count - 1].head;
    evb_mp mp = {reply->data, reply->data + reply->size};
    assert_true(evb_mp_array(&mp, &n) && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, &id));
    assert_true(size == 2);
    if (mp.at < mp.end)
        evb_buf_add(results, mp.at, (size_t)(mp.end - mp.at));
    for (size_t i = 0; i < count; i++) {
        evb_buf_free(&actions[i].head);
        evb_buf_free(&actions[i].body);
    }
    f->body.size = 0;
}

static void begin(evb_buf *head, msgpack_packer *p, const char *op, uint32_t args) {
    evb_mp_packer(p, head);
    msgpack_pack_array(p, args + 2);
    evb_mp_pack_str(p, op, strlen(op));
    msgpack_pack_uint64(p, 5);
}

static void store(fixture *f, unsigned events) {
    uint8_t producer[EVB_PRODUCER_SIZE] = {1};
    evb_buf head = {0}, results = {0};
    msgpack_packer p;
    assert_true(evb_record_begin(&f->body, "t", 1, 0, producer, ++f->batches));
    for (unsigned i = 0; i < events; i++)
        assert_true(evb_record_add(&f->body, 0, &(evb_event){.payload = "x", .size = 1}));
    begin(&head, &p, "pub", 1);
    msgpack_pack_uint64(&p, 0);
    play(f, &head, &results);
    evb_buf_free(&head);
    evb_buf_free(&results);
}

static void hello(fixture *f, const char *id, const char *token, uint64_t position, uint64_t handed) {
    evb_buf head = {0}, results = {0};
    msgpack_packer p;
    begin(&head, &p, "hello", 3);
    evb_mp_pack_str(&p, id, strlen(id));
    evb_mp_pack_str(&p, token, strlen(token));
    msgpack_pack_map(&p, 3);
    evb_mp_pack_str(&p, "kind", 4);
    evb_mp_pack_str(&p, "test", 4);
    evb_mp_pack_str(&p, "position", 8);
    msgpack_pack_uint64(&p, position);
    evb_mp_pack_str(&p, "handed", 6);
    msgpack_pack_uint64(&p, handed);
    play(f, &head, &results);
    assert_int_equal(results.size, 0);
    evb_buf_free(&head);
}

static void came(fixture *f, const char *token, int64_t pid) {
    evb_hub_came(f->hub, token, strlen(token), (evb_origin){pid, 0}, f->now_ns);
}

static void left(fixture *f, const char *token) { evb_hub_left(f->hub, token, strlen(token)); }

static bool is(const char *name, size_t size, const char *wanted) {
    return size == strlen(wanted) && memcmp(name, wanted, size) == 0;
}

/* The list as "KIND PID LAG RATE;" for each. */
static const char *list(fixture *f) {
    static char text[1000];
    evb_buf head = {0}, results = {0};
    msgpack_packer p;
    uint32_t rows, members;
    char *at = text;
    *at = 0;
    begin(&head, &p, "clients", 0);
    play(f, &head, &results);
    evb_mp mp = {results.data, results.data + results.size};
    assert_true(evb_mp_array(&mp, &rows));
    while (rows--) {
        char kind[20] = "-";
        uint64_t pid = 0, lag = 0, rate = 0, value;
        assert_true(evb_mp_map(&mp, &members));
        while (members--) {
            const char *name, *word;
            size_t size, word_size;
            assert_true(evb_mp_str(&mp, &name, &size));
            if (evb_mp_uint(&mp, &value)) {
                pid = is(name, size, "pid") ? value : pid;
                lag = is(name, size, "lag") ? value : lag;
                rate = is(name, size, "rate") ? value : rate;
            } else if (is(name, size, "kind") && evb_mp_str(&mp, &word, &word_size)) {
                snprintf(kind, sizeof kind, "%.*s", (int)word_size, word);
            } else {
                assert_true(evb_mp_skip(&mp));
            }
        }
        at += sprintf(at, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 ";", kind, pid, lag, rate);
    }
    evb_buf_free(&head);
    evb_buf_free(&results);
    return text;
}

static void who_is_connected_is_listed(void **state) {
    fixture *f = *state;
    assert_string_equal(list(f), "");
    came(f, ONE, 10);
    came(f, "short", 11);
    assert_string_equal(list(f), "- 10 0 0;- 11 0 0;");
    hello(f, "a", ONE, 1, 0);
    assert_string_equal(list(f), "test 10 0 0;- 11 0 0;");
    left(f, "shor");
    left(f, "short");
    assert_string_equal(list(f), "test 10 0 0;");
    left(f, ONE);
    assert_string_equal(list(f), "");
    left(f, ONE);
}

static void a_hello_alone_lists_nobody(void **state) {
    fixture *f = *state;
    hello(f, "a", ONE, 1, 0);
    assert_string_equal(list(f), "");
    came(f, ONE, 10);
    left(f, ONE);
    hello(f, "a", ONE, 1, 0); /* sent again, by a client whose feed is gone */
    assert_string_equal(list(f), "");
}

/* A welcome that is asked for again has another end. */
static void a_connection_is_listed_once(void **state) {
    fixture *f = *state;
    char again[sizeof ONE];
    memcpy(again, ONE, sizeof ONE);
    again[31] = '1';
    came(f, ONE, 10);
    came(f, again, 10);
    hello(f, "a", again, 1, 0);
    assert_string_equal(list(f), "test 10 0 0;");
    left(f, ONE);
    left(f, again);
    assert_string_equal(list(f), "");
}

/* We may hear of the new connection before the end of the old. */
static void a_client_that_is_back_is_listed_once(void **state) {
    fixture *f = *state;
    came(f, ONE, 10);
    hello(f, "a", ONE, 1, 0);
    came(f, TWO, 10);
    hello(f, "a", TWO, 1, 0);
    assert_string_equal(list(f), "test 10 0 0;");
    left(f, ONE);
    assert_string_equal(list(f), "test 10 0 0;");
    left(f, TWO);
    assert_string_equal(list(f), "");
}

static void when_all_are_gone_none_is_listed(void **state) {
    fixture *f = *state;
    came(f, ONE, 10);
    came(f, TWO, 11);
    evb_hub_left_all(f->hub);
    assert_string_equal(list(f), "");
}

/* Between two hellos of a client that reads, events come that say nothing of it; one that is silent falls behind. */
static void lag_is_that_of_the_hello_while_it_is_fresh(void **state) {
    fixture *f = *state;
    store(f, 10);
    came(f, ONE, 10);
    hello(f, "a", ONE, 8, 0);
    assert_string_equal(list(f), "test 10 3 0;");
    store(f, 100);
    assert_string_equal(list(f), "test 10 3 0;");
    f->now_ns += 5 * EVB_SECOND_NS;
    hello(f, "a", ONE, 111, 50);
    assert_string_equal(list(f), "test 10 0 10;");
    store(f, 100);
    f->now_ns += 20 * EVB_SECOND_NS;
    assert_string_equal(list(f), "test 10 100 0;");
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(who_is_connected_is_listed),       T(a_hello_alone_lists_nobody),
        T(a_connection_is_listed_once),      T(a_client_that_is_back_is_listed_once),
        T(when_all_are_gone_none_is_listed), T(lag_is_that_of_the_hello_while_it_is_fresh),
    };
    return cmocka_run_group_tests_name("clients", tests, NULL, NULL);
}
