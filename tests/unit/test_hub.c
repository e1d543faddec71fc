/* test_hub.c: what the hub decides, with no socket and no disk: requests in, actions out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "hub/hub.h"

static int a_peer;

typedef struct {
    evb_journal *journal;
    evb_hub *hub;
    evb_patterns *live;
    char catalog[64];
    evb_buf body;              /* of the request under way */
    int64_t now_ns, steady_ns; /* the wall clock and the monotonic one */
    evb_action *actions;
    size_t count;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    evb_error err = {0};
    strcpy(f->catalog, "/tmp/evb-catalog-XXXXXX");
    close(mkstemp(f->catalog));
    unlink(f->catalog);
    evb_journal_options options = {.segment_bytes = 1 << 20, .id_window_ns = 100, .id_most = 5};
    f->now_ns = 99;
    f->journal = evb_journal_new(evb_io_memory_new(NULL), f->catalog, &options, (evb_log){0}, &err);
    f->live = evb_patterns_new((const char *const[]){"trace.#"}, 1, &err);
    f->hub = evb_hub_new(f->journal, &(evb_hub_options){.max_payload = 1000, .live = f->live, .pid = 7}, 0, &err);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
    evb_patterns_destroy(&f->live);
    evb_buf_free(&f->body);
    unlink(f->catalog);
    free(f);
    return 0;
}

static void add_batch(fixture *f, uint8_t producer, uint64_t number, const char *topic, unsigned events) {
    uint8_t id[EVB_PRODUCER_SIZE] = {producer};
    size_t start = f->body.size;
    assert_true(evb_record_begin(&f->body, topic, strlen(topic), 0, id, number));
    for (unsigned i = 0; i < events; i++)
        assert_true(evb_record_add(&f->body, start, &(evb_event){.payload = "x", .size = 1}));
}

/* A batch of events with the ids given, one letter each; '-': without one. */
static void add_ids(fixture *f, uint8_t producer, uint64_t number, const char *topic, const char *ids) {
    uint8_t id[EVB_PRODUCER_SIZE] = {producer};
    size_t start = f->body.size;
    assert_true(evb_record_begin(&f->body, topic, strlen(topic), 0, id, number));
    for (; *ids; ids++) {
        evb_event event = {.payload = "x", .size = 1, .id = *ids == '-' ? NULL : ids, .id_size = *ids != '-'};
        assert_true(evb_record_add(&f->body, start, &event));
    }
}

/* Sends the request and ends the round. */
static void play(fixture *f, evb_buf *head) {
    evb_error err = {0};
    assert_int_equal(evb_hub_request(f->hub, &a_peer, (evb_origin){-1, -1}, head->data, head->size, f->body.data,
                                     f->body.size, f->now_ns, f->steady_ns, &err),
                     0);
    assert_int_equal(evb_hub_commit(f->hub, f->steady_ns, &f->actions, &f->count, &err), 0);
    assert_true(f->count > 0);
    assert_int_equal(f->actions[f->count - 1].kind, EVB_ACTION_REPLY);
    assert_ptr_equal(f->actions[f->count - 1].peer, &a_peer);
    evb_buf_free(head);
    f->body.size = 0;
}

static void free_replies(fixture *f) {
    for (size_t i = 0; i < f->count; i++) {
        evb_buf_free(&f->actions[i].head);
        evb_buf_free(&f->actions[i].body);
    }
}

/* The events of a row that were known: "[index=seq …]". */
static int show_again(char *text, evb_mp *mp) {
    uint64_t v[2];
    uint32_t n, fields;
    char *at = text;
    assert_true(evb_mp_uint(mp, v) && evb_mp_array(mp, &n));
    for (uint32_t i = 0; i < n; i++) {
        assert_true(evb_mp_array(mp, &fields) && fields == 2 && evb_mp_uint(mp, v) && evb_mp_uint(mp, v + 1));
        at += sprintf(at, "%s%d=%d", i ? " " : "[", (int)v[0], (int)v[1]);
    }
    return (int)(at - text) + sprintf(at, "]");
}

/* Publishes what was added; the reply as "ok n.b.s n.b.s" or "error CODE" into text. */
static void publish(fixture *f, uint64_t acked, char *text) {
    evb_buf head = {0};
    msgpack_packer pk;
    evb_mp_packer(&pk, &head);
    msgpack_pack_array(&pk, 3);
    evb_mp_pack_str(&pk, "pub", 3);
    msgpack_pack_uint64(&pk, 5);
    msgpack_pack_uint64(&pk, acked);
    play(f, &head);
    evb_buf *reply = &f->actions[f->count - 1].head;
    evb_mp mp = {reply->data, reply->data + reply->size};
    const char *word;
    size_t size;
    uint64_t v[3];
    uint32_t n;
    assert_true(evb_mp_array(&mp, &n) && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, v));
    assert_int_equal(v[0], 5);
    text += sprintf(text, "%.*s", (int)size, word);
    if (size == 5) {
        assert_true(evb_mp_str(&mp, &word, &size));
        sprintf(text, " %.*s", (int)size, word);
    } else {
        assert_true(evb_mp_array(&mp, &n));
        for (uint32_t fields; n--;) {
            assert_true(evb_mp_array(&mp, &fields) && evb_mp_uint(&mp, v) && evb_mp_uint(&mp, v + 1) &&
                        evb_mp_uint(&mp, v + 2));
            text += sprintf(text, " %d.%d.%d", (int)v[0], (int)v[1], (int)v[2]);
            if (fields > 4)
                text += show_again(text, &mp);
        }
    }
    free_replies(f);
}

static void stores_in_order_and_fans_out_before_the_ack(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "a", 3);
    add_batch(f, 1, 2, "b", 2);
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.2.1");
    assert_int_equal(f->count, 3);
    assert_int_equal(f->actions[0].kind, EVB_ACTION_FEED);
    assert_int_equal(f->actions[0].last, 3);
    assert_int_equal(f->actions[1].last, 5);
}

static void what_comes_again_is_answered_and_not_stored(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "a", 3);
    publish(f, 0, text);
    add_batch(f, 2, 1, "a", 1);
    publish(f, 0, text);
    add_batch(f, 1, 2, "a", 2);
    publish(f, 0, text);
    assert_string_equal(text, "ok 2.1.5");
    add_batch(f, 1, 1, "a", 3);
    add_batch(f, 1, 2, "a", 2);
    add_batch(f, 1, 3, "a", 1);
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.1.1 2.2.5");
    assert_int_equal(evb_journal_head(f->journal), 7);
    assert_int_equal(f->count, 2);
}

static void the_middle_of_a_long_run_is_found(void **state) {
    fixture *f = *state;
    char text[200];
    for (uint64_t i = 1; i <= 50; i++) {
        add_batch(f, 1, i, "a", (unsigned)i);
        publish(f, 0, text);
    }
    add_batch(f, 1, 49, "a", 49);
    add_batch(f, 1, 50, "a", 50);
    publish(f, 48, text);
    assert_string_equal(text, "ok 49.2.1177");
}

static void a_hole_in_the_numbers_is_refused(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 2, "a", 1);
    publish(f, 0, text);
    assert_string_equal(text, "error data");
    add_batch(f, 1, 2, "a", 1);
    publish(f, 1, text); /* forgotten by the hub, acknowledged before: it goes on */
    assert_string_equal(text, "ok 2.1.1");
    add_batch(f, 1, 4, "a", 1);
    publish(f, 1, text);
    assert_string_equal(text, "error data");
    assert_int_equal(evb_journal_head(f->journal), 1);
}

static void live_topics_are_passed_on_and_not_stored(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "trace.x", 2);
    add_batch(f, 1, 2, "a", 1);
    add_batch(f, 1, 3, "trace.x", 1);
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.1.0 2.1.1 3.1.0");
    assert_int_equal(evb_journal_head(f->journal), 1);
    assert_int_equal(f->count, 4);
    add_batch(f, 1, 3, "trace.x", 1);
    publish(f, 0, text);
    assert_string_equal(text, "ok 3.1.0");
    assert_int_equal(f->count, 1);
}

static void frames_of_both_kinds_are_remembered(void **state) {
    fixture *f = *state;
    char text[4000], again[4000];
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 64; i++) {
            for (uint64_t k = 1; k <= 8; k++)
                add_batch(f, 1, i * 8 + k, k % 2 ? "a" : "trace.x", 1);
            publish(f, 0, i ? again : text);
        }
        if (round == 0)
            assert_int_equal(evb_journal_head(f->journal), 256);
    }
    assert_int_equal(evb_journal_head(f->journal), 256);
    assert_string_equal(text, "ok 1.1.1 2.1.0 3.1.2 4.1.0 5.1.3 6.1.0 7.1.4 8.1.0");
    assert_string_equal(again, "ok 505.1.253 506.1.0 507.1.254 508.1.0 509.1.255 510.1.0 511.1.256 512.1.0");
}

static void an_id_is_stored_once_on_its_topic(void **state) {
    fixture *f = *state;
    char text[200];
    add_ids(f, 1, 1, "a", "x-y");
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.1.1");
    add_ids(f, 2, 1, "a", "x");
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.1.1[0=1]");
    assert_int_equal(f->count, 1); /* nothing is fanned out */
    add_ids(f, 2, 2, "b", "x");
    add_ids(f, 2, 3, "a", "zyz-");
    add_ids(f, 2, 4, "a", "xy");
    add_ids(f, 2, 5, "a", "-");
    publish(f, 1, text);
    assert_string_equal(text, "ok 2.1.4 3.1.5[1=3 2=5] 4.1.1[0=1 1=3] 5.1.7");
    assert_int_equal(f->count, 4);
    assert_int_equal(evb_journal_head(f->journal), 7);
}

static void batches_with_known_ids_are_known_when_sent_again(void **state) {
    fixture *f = *state;
    char text[200], again[200];
    add_ids(f, 1, 1, "a", "x");
    publish(f, 0, text);
    for (int i = 0; i < 2; i++) {
        add_ids(f, 2, 1, "a", "-x-");
        add_ids(f, 2, 2, "a", "x");
        add_ids(f, 2, 3, "a", "-y-");
        add_ids(f, 2, 4, "a", "yy");
        publish(f, 0, i ? again : text);
        assert_int_equal(evb_journal_head(f->journal), 6);
    }
    assert_string_equal(text, "ok 1.1.2[1=1] 2.1.1[0=1] 3.1.4 4.1.5[0=5 1=5]");
    assert_string_equal(again, text);
}

static void ids_are_forgotten(void **state) {
    fixture *f = *state;
    char text[200];
    add_ids(f, 1, 1, "a", "x");
    publish(f, 0, text);
    f->now_ns += 100;
    add_ids(f, 1, 2, "a", "x");
    publish(f, 1, text);
    assert_string_equal(text, "ok 2.1.1[0=1]");
    f->now_ns += 1; /* older than the window */
    add_ids(f, 1, 3, "a", "x");
    publish(f, 2, text);
    assert_string_equal(text, "ok 3.1.2");
    add_ids(f, 1, 4, "a", "1234x");
    publish(f, 3, text);
    assert_string_equal(text, "ok 4.1.3[4=2]");
    add_ids(f, 1, 5, "a", "5"); /* the fifth newer one */
    add_ids(f, 1, 6, "a", "x");
    publish(f, 4, text);
    assert_string_equal(text, "ok 5.1.7 6.1.2[0=2]"); /* looked up before the frame was stored */
    add_ids(f, 1, 7, "a", "x");
    publish(f, 6, text);
    assert_string_equal(text, "ok 7.1.8");
}

static void the_age_of_an_id_does_not_jump_with_the_clock(void **state) {
    fixture *f = *state;
    char text[200];
    const int64_t second = 1000000000, day = 86400 * second;
    evb_journal_options options = {.segment_bytes = 1 << 20, .id_window_ns = 600 * second, .id_most = 100};
    evb_journal_configure(f->journal, &options);
    f->now_ns = 2 * day;
    add_ids(f, 1, 1, "a", "x");
    publish(f, 0, text);
    static const int days[] = {1, -1, -1, 1};
    for (uint64_t i = 0; i < 4; i++) {
        f->now_ns += days[i] * day + second;
        f->steady_ns += second;
        add_ids(f, 1, i + 2, "a", "x");
        publish(f, i + 1, text);
        assert_non_null(strstr(text, "[0=1]"));
    }
    f->now_ns += 600 * second;
    f->steady_ns += 600 * second;
    add_ids(f, 1, 6, "a", "x");
    publish(f, 5, text);
    assert_string_equal(text, "ok 6.1.2");
}

static void publishers_are_known_as_long_where_the_clock_is_set(void **state) {
    fixture *f = *state;
    char text[200];
    f->now_ns = 86400 * EVB_SECOND_NS;
    add_ids(f, 1, 1, "a", "-");
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.1.1");
    for (uint64_t i = 1; i <= 3; i++) {
        f->now_ns += 3600 * EVB_SECOND_NS;
        f->steady_ns += EVB_SECOND_NS;
        add_ids(f, 2, i, "a", "-");
        publish(f, i - 1, text);
    }
    add_ids(f, 1, 1, "a", "-"); /* its answer was lost */
    publish(f, 0, text);
    assert_string_equal(text, "ok 1.1.1");
}

/* Asks for what stands in args (msgpack); the reply's elements behind the id, as far as they are texts and numbers. */
static void ask(fixture *f, const char *op, const void *args, size_t size, uint32_t count, char *text) {
    evb_buf head = {0};
    msgpack_packer pk;
    evb_mp_packer(&pk, &head);
    msgpack_pack_array(&pk, 2 + count);
    evb_mp_pack_str(&pk, op, strlen(op));
    msgpack_pack_uint64(&pk, 5);
    evb_buf_add(&head, args, size);
    play(f, &head);
    evb_buf *reply = &f->actions[f->count - 1].head;
    evb_mp mp = {reply->data, reply->data + reply->size};
    const char *word;
    uint64_t number;
    uint32_t n;
    assert_true(evb_mp_array(&mp, &n));
    for (*text = 0; n--;) {
        if (evb_mp_uint(&mp, &number))
            text += sprintf(text, "%d ", (int)number);
        else if (evb_mp_str(&mp, &word, &size))
            text += sprintf(text, "%.*s ", (int)size, word);
        else
            evb_mp_skip(&mp);
    }
    free_replies(f);
}

/* Fetches from the first event; the bytes of events that come. */
static size_t fetch_bytes(fixture *f, const char *bytes) {
    static const char ARGS[] = "\x96\xa5"
                               "fetch\x05\x01\x00";
    evb_buf head = {0};
    assert_true(evb_buf_add(&head, "\x97", 1) && evb_buf_add(&head, ARGS + 1, sizeof ARGS - 2) &&
                evb_buf_add(&head, bytes, 5) && evb_buf_add(&head, "\x90\x00", 2));
    play(f, &head);
    size_t size = f->actions[f->count - 1].body.size;
    free_replies(f);
    return size;
}

static void large_pieces_take_what_is_spare(void **state) {
    static const char FOUR_MIB[] = "\xce\x00\x40\x00\x00";
    fixture *f = *state;
    char text[200];
    for (uint64_t n = 1; n <= 150; n++) {
        add_batch(f, 1, n, "a", 5000);
        publish(f, n - 1, text);
    }
    size_t all = fetch_bytes(f, FOUR_MIB);
    assert_true(all > 2 * EVB_FETCH_DEFAULT);
    evb_hub_set_spare(f->hub, EVB_FETCH_DEFAULT / 2);
    size_t some = fetch_bytes(f, FOUR_MIB);
    assert_in_range(some, EVB_FETCH_DEFAULT, EVB_FETCH_DEFAULT * 3 / 2);
    assert_in_range(fetch_bytes(f, FOUR_MIB), EVB_FETCH_DEFAULT / 2, EVB_FETCH_DEFAULT + EVB_FETCH_DEFAULT / 8);
    assert_int_equal(evb_hub_answered(f->hub), 0); /* the round is over */
}

static void a_fetch_says_from_where_all_is_left(void **state) {
    fixture *f = *state;
    char text[1000];
    add_batch(f, 1, 1, "a", 3);
    add_batch(f, 1, 2, "b", 2);
    add_batch(f, 1, 3, "a", 1);
    publish(f, 0, text);
    ask(f, "purge",
        "\x91\xa1"
        "a",
        3, 1, text);
    assert_string_equal(text, "ok 5 4 6 ");
    ask(f, "fetch", "\x01\x00\xcd\x10\x00\x91\xa1#", 8, 4, text);
    assert_string_equal(text, "error 5 gone events before seq 7 are gone: trimmed, purged or expired 7 ");
    ask(f, "fetch", "\x01\x00\xcd\x10\x00\x91\xa1#\x01", 9, 5, text);
    assert_string_equal(text, "ok 5 7 6 1 ");
    ask(f, "fetch",
        "\x01\x00\xcd\x10\x00\x91\xa1"
        "b",
        8, 4, text);
    assert_string_equal(text, "ok 5 7 6 1 ");
    ask(f, "fetch", "\x04\x04\xcd\x10\x00\x90", 6, 4, text);
    assert_string_equal(text, "ok 5 5 6 1 ");
    ask(f, "fetch", "\x07\x00\xcd\x10\x00\x90", 6, 4, text);
    assert_string_equal(text, "ok 5 7 6 1 ");
    ask(f, "trim", "\x05", 1, 1, text);
    assert_string_equal(text, "ok 5 5 ");
    ask(f, "fetch",
        "\x04\x00\xcd\x10\x00\x91\xa1"
        "b\x01",
        9, 5, text);
    assert_string_equal(text, "error 5 gone events before seq 5 are gone: trimmed, purged or expired 5 ");
}

static void bad_frames_are_refused_whole(void **state) {
    fixture *f = *state;
    char text[200];
    static const char *const bad[] = {"a b", "a..b", "$hub.x", "a.$x", "a.*", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        add_batch(f, 1, 1, "good", 1);
        add_batch(f, 1, 2, bad[i], 1);
        publish(f, 0, text);
        assert_string_equal(text, "error data");
    }
    add_batch(f, 1, 1, "a", 1);
    add_batch(f, 2, 2, "a", 1);
    publish(f, 0, text);
    assert_string_equal(text, "error data");
    add_batch(f, 1, 1, "a", 0);
    publish(f, 0, text);
    assert_string_equal(text, "error data");
    publish(f, 0, text);
    assert_string_equal(text, "error data");
    assert_int_equal(evb_journal_head(f->journal), 0);
}

/* Every prefix and every changed byte of a good request is answered, and nothing but whole batches is stored. */
static void mangled_requests_are_answered(void **state) {
    fixture *f = *state;
    static const uint8_t head[] = {0x93, 0xa3, 'p', 'u', 'b', 5, 0};
    add_batch(f, 1, 1, "abc", 2);
    size_t size = f->body.size;
    uint8_t *good = malloc(size);
    memcpy(good, f->body.data, size);
    for (size_t at = 0; at < size; at++)
        for (int kind = 0; kind < 3; kind++) {
            evb_buf h = {0};
            f->body.size = 0;
            evb_buf_add(&f->body, good, kind == 2 ? at : size);
            if (kind < 2)
                f->body.data[at] = (uint8_t)(kind ? 0xff : good[at] ^ 0x41);
            evb_buf_add(&h, head, sizeof head);
            play(f, &h);
            free_replies(f);
        }
    for (size_t n = 0; n < sizeof head; n++) {
        evb_buf h = {0};
        f->body.size = 0;
        evb_buf_add(&h, head, n);
        play(f, &h);
        free_replies(f);
    }
    free(good);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(stores_in_order_and_fans_out_before_the_ack),
        T(what_comes_again_is_answered_and_not_stored),
        T(the_middle_of_a_long_run_is_found),
        T(a_hole_in_the_numbers_is_refused),
        T(live_topics_are_passed_on_and_not_stored),
        T(frames_of_both_kinds_are_remembered),
        T(an_id_is_stored_once_on_its_topic),
        T(batches_with_known_ids_are_known_when_sent_again),
        T(ids_are_forgotten),
        T(the_age_of_an_id_does_not_jump_with_the_clock),
        T(publishers_are_known_as_long_where_the_clock_is_set),
        T(large_pieces_take_what_is_spare),
        T(a_fetch_says_from_where_all_is_left),
        T(bad_frames_are_refused_whole),
        T(mangled_requests_are_answered),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
