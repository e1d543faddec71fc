/* test_groups.c: what the hub does with groups, by its own clock: requests in, actions out, and groups.log cut and
 * damaged at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "hub/groups.h"
#include "hub/hub_private.h"
#include "journal/journal_private.h"

#define MS EVB_MILLISECOND_NS
enum { EVENTS_MAX = 256 };

/* What a take brought: the first keys of its rows, with their counts and deliveries. */
typedef struct {
    uint64_t key, count, deliveries;
} row;

typedef struct {
    char dir[64];
    int lock_free;
    evb_journal *journal;
    evb_hub *hub;
    int64_t now;
    uint64_t published;
    row rows[EVENTS_MAX];
    size_t row_count;
    bool more;
    uint64_t floor;
    size_t pokes;
    char error[16];
    int said;
} fixture;

static void count_line(void *context, const char *text) {
    (void)text;
    ++((fixture *)context)->said;
}

static void open_hub(fixture *f) {
    char path[96];
    evb_error err = {0};
    evb_journal_options options = {.segment_bytes = 1 << 20};
    snprintf(path, sizeof path, "%s/catalog.mdb", f->dir);
    evb_io *io = evb_io_disk_new(f->dir, &err);
    assert_non_null(io);
    f->journal = evb_journal_new(io, path, &options, (evb_log){0}, &err);
    assert_non_null(f->journal);
    evb_hub_options how = {.max_payload = 1000, .sync = EVB_SYNC_NONE, .log = {count_line, f}};
    f->hub = evb_hub_new(f->journal, &how, f->now, &err);
    if (!f->hub)
        fail_msg("%s", err.text);
}

static void close_hub(fixture *f) {
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/evb-groups-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->now = 1000 * EVB_SECOND_NS;
    open_hub(f);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[96];
    close_hub(f);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

/* ---- rounds ---- */

/* Takes a reply apart as far as its results. */
static evb_mp results(fixture *f, const evb_buf *reply) {
    evb_mp mp = {reply->data, reply->data + reply->size};
    const char *word;
    size_t size;
    uint64_t id;
    uint32_t n;
    assert_true(evb_mp_array(&mp, &n) && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, &id));
    *f->error = 0;
    if (size == 5) {
        assert_true(evb_mp_str(&mp, &word, &size));
        snprintf(f->error, sizeof f->error, "%.*s", (int)size, word);
    }
    return mp;
}

static void read_take(fixture *f, evb_mp mp) {
    uint64_t head, lost, index;
    uint32_t n, four;
    f->row_count = 0;
    if (*f->error)
        return;
    assert_true(evb_mp_bool(&mp, &f->more) && evb_mp_uint(&mp, &f->floor) && evb_mp_uint(&mp, &head) &&
                evb_mp_uint(&mp, &lost) && evb_mp_array(&mp, &n));
    while (n--) {
        row *r = &f->rows[f->row_count++];
        assert_true(evb_mp_array(&mp, &four) && evb_mp_uint(&mp, &r->key) && evb_mp_uint(&mp, &r->count) &&
                    evb_mp_uint(&mp, &r->deliveries) && evb_mp_uint(&mp, &index));
    }
}

/* Ends the round. take: its last reply is that of a take. */
static void end_round(fixture *f, bool take) {
    evb_action *actions;
    size_t count;
    evb_error err = {0};
    f->pokes = 0;
    assert_int_equal(evb_hub_commit(f->hub, f->now, &actions, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == EVB_ACTION_REPLY) {
            evb_mp mp = results(f, &actions[i].head);
            if (take)
                read_take(f, mp);
        }
        f->pokes += actions[i].kind == EVB_ACTION_POKE;
        evb_buf_free(&actions[i].head);
        evb_buf_free(&actions[i].body);
    }
}

static void tick(fixture *f, int64_t later) {
    evb_error err = {0};
    f->now += later;
    if (evb_hub_deadline(f->hub) <= f->now)
        assert_int_equal(evb_hub_tick(f->hub, f->now, &err), 0);
    end_round(f, false);
}

static void send_request(fixture *f, evb_buf *head, bool take) {
    evb_error err = {0};
    static int peer;
    assert_int_equal(evb_hub_request(f->hub, &peer, (evb_origin){-1, -1}, head->data, head->size, NULL, 0,
                                     evb_clock_wall_ns(), f->now, &err),
                     0);
    evb_buf_free(head);
    end_round(f, take);
}

static msgpack_packer begin(evb_buf *head, const char *op, uint32_t args, const char *token) {
    msgpack_packer p;
    evb_mp_packer(&p, head);
    msgpack_pack_array(&p, args + 2);
    evb_mp_pack_str(&p, op, strlen(op));
    msgpack_pack_uint64(&p, 1);
    evb_mp_pack_str(&p, "g", 1);
    if (token)
        evb_mp_pack_str(&p, token, strlen(token));
    return p;
}

/* settings: msgpack of a map, or "\xc0". */
static void join_on(fixture *f, const char *token, const char *pattern, const char *settings, size_t size) {
    evb_buf head = {0};
    evb_hub_came(f->hub, token, strlen(token), (evb_origin){-1, -1}, 0);
    msgpack_packer p = begin(&head, "group.join", 5, token);
    if (pattern) {
        msgpack_pack_array(&p, 1);
        evb_mp_pack_str(&p, pattern, strlen(pattern));
    } else {
        msgpack_pack_nil(&p);
    }
    evb_buf_add(&head, settings, size);
    msgpack_pack_uint64(&p, 1);
    send_request(f, &head, false);
    assert_string_equal(f->error, "");
}

static void join(fixture *f, const char *token, bool patterns, const char *settings, size_t size) {
    join_on(f, token, patterns ? "t.#" : NULL, settings, size);
}

#define JOIN(F, TOKEN, SETTINGS) join(F, TOKEN, true, SETTINGS, sizeof SETTINGS - 1)

static void pack_range(msgpack_packer *p, uint64_t first, uint64_t last) {
    msgpack_pack_array(p, first ? 1 : 0);
    if (!first)
        return;
    msgpack_pack_array(p, 2);
    msgpack_pack_uint64(p, first);
    msgpack_pack_uint64(p, last);
}

/* Acknowledges first..last (0: nothing) and takes up to `want`. */
static void take(fixture *f, const char *token, uint64_t first, uint64_t last, uint64_t want) {
    evb_buf head = {0};
    msgpack_packer p = begin(&head, "group", 6, token);
    pack_range(&p, first, last);
    msgpack_pack_array(&p, 0);
    msgpack_pack_uint64(&p, want);
    msgpack_pack_uint64(&p, 1 << 20);
    send_request(f, &head, true);
}

/* Fails an event and takes up to `want`. */
static void nack_and_take(fixture *f, const char *token, uint64_t key, bool final, uint64_t want) {
    evb_buf head = {0};
    msgpack_packer p = begin(&head, "group", 6, token);
    msgpack_pack_array(&p, 0);
    msgpack_pack_array(&p, 1);
    msgpack_pack_array(&p, 4);
    msgpack_pack_uint64(&p, key);
    msgpack_pack_nil(&p);
    evb_mp_pack_str(&p, "bad", 3);
    final ? msgpack_pack_true(&p) : msgpack_pack_false(&p);
    msgpack_pack_uint64(&p, want);
    msgpack_pack_uint64(&p, 1 << 20);
    send_request(f, &head, true);
    assert_string_equal(f->error, "");
    f->now++;
}

static void nack(fixture *f, const char *token, uint64_t key, bool final) { nack_and_take(f, token, key, final, 0); }

/* Fails an event with an attempt that said `size` bytes. */
static void fail_attempt(fixture *f, uint64_t key, bool final, size_t size) {
    evb_buf head = {0};
    msgpack_packer p = begin(&head, "group", 6, "a");
    msgpack_pack_array(&p, 0);
    msgpack_pack_array(&p, 1);
    msgpack_pack_array(&p, 5);
    msgpack_pack_uint64(&p, key);
    msgpack_pack_nil(&p);
    evb_mp_pack_str(&p, "bad", 3);
    final ? msgpack_pack_true(&p) : msgpack_pack_false(&p);
    msgpack_pack_map(&p, 4);
    evb_mp_pack_str(&p, "begun_ns", 8);
    msgpack_pack_uint64(&p, 1700000000 * (uint64_t)EVB_SECOND_NS);
    evb_mp_pack_str(&p, "took_ns", 7);
    msgpack_pack_uint64(&p, (uint64_t)(1500 * MS));
    evb_mp_pack_str(&p, final ? "signal" : "exit", final ? 6 : 4);
    msgpack_pack_uint64(&p, 9);
    evb_mp_pack_str(&p, "output", 6);
    char *output = malloc(size + 1);
    assert_non_null(output);
    memset(output, 'a', size);
    output[size - 1] = 'z';
    msgpack_pack_bin(&p, size);
    msgpack_pack_bin_body(&p, output, size);
    free(output);
    msgpack_pack_uint64(&p, 0);
    msgpack_pack_uint64(&p, 0);
    send_request(f, &head, true);
    f->now++;
}

/* Publishes one batch of so many events. */
static void publish(fixture *f, const char *topic, unsigned events) {
    static int peer;
    uint8_t id[EVB_PRODUCER_SIZE] = {1};
    evb_buf head = {0}, body = {0};
    evb_error err = {0};
    msgpack_packer p;
    f->published++;
    assert_true(evb_record_begin(&body, topic, strlen(topic), 0, id, f->published));
    for (unsigned i = 0; i < events; i++)
        assert_true(evb_record_add(&body, 0, &(evb_event){.payload = "x", .size = 1}));
    evb_mp_packer(&p, &head);
    msgpack_pack_array(&p, 3);
    evb_mp_pack_str(&p, "pub", 3);
    msgpack_pack_uint64(&p, 1);
    msgpack_pack_uint64(&p, f->published - 1);
    assert_int_equal(evb_hub_request(f->hub, &peer, (evb_origin){-1, -1}, head.data, head.size, body.data, body.size,
                                     evb_clock_wall_ns(), f->now, &err),
                     0);
    end_round(f, false);
    assert_string_equal(f->error, "");
    evb_buf_free(&head);
    evb_buf_free(&body);
}

static void assert_row(const fixture *f, size_t i, uint64_t key, uint64_t count, uint64_t deliveries) {
    assert_true(i < f->row_count);
    assert_int_equal(f->rows[i].key, key);
    assert_int_equal(f->rows[i].count, count);
    assert_int_equal(f->rows[i].deliveries, deliveries);
}

/* The event of this seq as one text: topic, headers, bytes of the payload and its last one. */
static const char *stored(fixture *f, uint64_t seq, char out[1024]) {
    evb_header headers[EVB_HEADER_ROOM];
    evb_event event = {0};
    evb_record rec;
    evb_error err = {0};
    assert_int_equal(evb_journal_find(f->journal, seq, &rec, &err), 1);
    evb_mp cursor = rec.events;
    assert_true(evb_record_next(&cursor, &event, headers));
    size_t at = (size_t)snprintf(out, 1024, "%.*s", (int)rec.topic_size, rec.topic);
    for (size_t i = 0; i < event.header_count; i++)
        at += (size_t)snprintf(out + at, 1024 - at, " %.*s=%.*s", (int)headers[i].name_size, headers[i].name,
                               (int)headers[i].value_size, headers[i].value);
    snprintf(out + at, 1024 - at, " %zu%c", event.size,
             event.size ? ((const char *)event.payload)[event.size - 1] : '-');
    return out;
}

/* ---- handing out ---- */

static void each_event_goes_to_one(void **state) {
    fixture *f = *state;
    publish(f, "t.a", 10);
    publish(f, "other", 5);
    publish(f, "t.b", 10);
    JOIN(f, "one", "\xc0");
    JOIN(f, "two", "\xc0");
    take(f, "one", 0, 0, 3);
    assert_row(f, 0, 1, 3, 1);
    assert_int_equal(f->row_count, 1);
    take(f, "two", 0, 0, 100);
    assert_row(f, 0, 4, 7, 1);
    assert_row(f, 1, 16, 10, 1);
    take(f, "one", 1, 3, 100);
    assert_int_equal(f->row_count, 0);
    assert_int_equal(f->floor, 3);
    take(f, "two", 4, 25, 100);
    assert_int_equal(f->floor, 25);
}

static void who_had_nothing_is_told(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\xc0");
    JOIN(f, "two", "\xc0");
    take(f, "one", 0, 0, 5);
    take(f, "two", 0, 0, 5);
    publish(f, "other", 1);
    assert_int_equal(f->pokes, 0);
    publish(f, "t.a", 1);
    assert_int_equal(f->pokes, 1);
    publish(f, "t.a", 1);
    assert_int_equal(f->pokes, 1);
    publish(f, "t.a", 1); /* both know by now */
    assert_int_equal(f->pokes, 0);
}

static void who_only_acknowledges_stays_hungry(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\xc0");
    publish(f, "t.a", 1);
    take(f, "one", 0, 0, 1);
    take(f, "one", 0, 0, 5);
    take(f, "one", 1, 1, 0);
    publish(f, "t.a", 1);
    assert_int_equal(f->pokes, 1);
}

static void max_pending_holds(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\x81\xabmax_pending\x04");
    publish(f, "t.a", 10);
    take(f, "one", 0, 0, 100);
    assert_row(f, 0, 1, 4, 1);
    take(f, "one", 2, 3, 100);
    assert_row(f, 0, 5, 2, 1);
}

/* ---- time ---- */

#define ACK_WAIT_1S                                                                                                  \
    "\x82\xa8"                                                                                                       \
    "ack_wait\xce\x3b\x9a\xca\x00\xa7"                                                                               \
    "backoff\x92\xce\x05\xf5\xe1\x00\xce\x0b\xeb\xc2\x00"

static void an_event_in_hand_for_too_long_comes_back(void **state) {
    fixture *f = *state;
    JOIN(f, "one", ACK_WAIT_1S); /* backoff 100 ms, 200 ms */
    JOIN(f, "two", ACK_WAIT_1S);
    publish(f, "t.a", 3);
    take(f, "one", 0, 0, 3);
    take(f, "two", 0, 0, 3);
    tick(f, 999 * MS);
    assert_int_equal(f->pokes, 0);
    tick(f, MS); /* the lowest is suspect and waits; what was behind it was not begun */
    assert_true(f->pokes >= 1);
    take(f, "two", 0, 0, 3);
    assert_row(f, 0, 2, 2, 1);
    assert_int_equal(f->row_count, 1);
    take(f, "two", 2, 3, 3);
    tick(f, 99 * MS);
    assert_int_equal(f->pokes, 0);
    tick(f, MS);
    assert_int_equal(f->pokes, 1);
    take(f, "two", 0, 0, 3);
    assert_row(f, 0, 1, 1, 2);
}

static void progress_gives_more_time(void **state) {
    fixture *f = *state;
    JOIN(f, "one", ACK_WAIT_1S);
    publish(f, "t.a", 3);
    take(f, "one", 0, 0, 3);
    tick(f, 900 * MS);
    take(f, "one", 1, 1, 0);
    tick(f, 900 * MS);
    take(f, "one", 2, 2, 0);
    tick(f, 900 * MS);
    take(f, "one", 3, 3, 10);
    assert_int_equal(f->row_count, 0);
    assert_int_equal(f->floor, 3);
}

static void a_late_acknowledgement_is_heard(void **state) {
    fixture *f = *state;
    JOIN(f, "one", ACK_WAIT_1S);
    publish(f, "t.a", 2);
    take(f, "one", 0, 0, 2);
    tick(f, 1000 * MS);
    take(f, "one", 1, 2, 10);
    assert_int_equal(f->row_count, 0);
    assert_int_equal(f->floor, 2);
    tick(f, 1000 * MS);
    take(f, "one", 0, 0, 10);
    assert_int_equal(f->row_count, 0);
}

static void a_nack_waits_as_backoff_says(void **state) {
    fixture *f = *state;
    JOIN(f, "one", ACK_WAIT_1S);
    publish(f, "t.a", 1);
    static const int64_t WAITS[] = {100, 200, 200};
    for (size_t i = 0; i < 3; i++) {
        take(f, "one", 0, 0, 1);
        assert_row(f, 0, 1, 1, i + 1);
        nack(f, "one", 1, false);
        take(f, "one", 0, 0, 1);
        assert_int_equal(f->row_count, 0);
        tick(f, (WAITS[i] - 1) * MS);
        assert_int_equal(f->pokes, 0);
        tick(f, MS);
        assert_int_equal(f->pokes, 1);
    }
}

static void a_member_that_goes_leaves_its_work_at_once(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\xc0");
    JOIN(f, "two", "\xc0");
    publish(f, "t.a", 4);
    take(f, "one", 0, 0, 4);
    take(f, "two", 0, 0, 4);
    take(f, "one", 1, 1, 0);
    evb_hub_left(f->hub, "one", 3);
    assert_true(evb_hub_deadline(f->hub) <= f->now);
    tick(f, 0);
    assert_int_equal(f->pokes, 1);
    take(f, "two", 0, 0, 10);
    assert_row(f, 0, 2, 1, 2);
    assert_row(f, 1, 3, 2, 1);
    take(f, "one", 0, 0, 10);
    assert_string_equal(f->error, "member");
}

static void who_goes_goes_from_all_its_groups(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    JOIN(f, "one", "\xc0");
    evb_buf head = {0};
    msgpack_packer p;
    evb_mp_packer(&p, &head);
    msgpack_pack_array(&p, 7);
    evb_mp_pack_str(&p, "group.join", 10);
    msgpack_pack_uint64(&p, 1);
    evb_mp_pack_str(&p, "other", 5);
    evb_mp_pack_str(&p, "one", 3);
    msgpack_pack_array(&p, 1);
    evb_mp_pack_str(&p, "#", 1);
    msgpack_pack_nil(&p);
    msgpack_pack_uint64(&p, 1);
    send_request(f, &head, false);
    assert_string_equal(f->error, "");
    size_t members = 0;
    evb_group *group;
    evb_hub_left(f->hub, "one", 3);
    assert_int_equal(evb_hub_tick(f->hub, f->now, &err), 0);
    end_round(f, false);
    TAILQ_FOREACH (group, &f->hub->groups, link) {
        members += TAILQ_EMPTY(&group->members) ? 0 : 1;
    }
    assert_int_equal(members, 0);
}

static int slow_sync(evb_io *io, int fd) {
    (void)io;
    (void)fd;
    usleep(50000);
    return 0;
}

/* Whose ack wait would be over by the time at which they hear of their events. */
static void a_slow_sync_is_no_part_of_the_ack_wait(void **state) {
    fixture *f = *state;
    JOIN(f, "a",
         "\x81\xa8"
         "ack_wait\xce\x00\x98\x96\x80"); /* 10 ms */
    publish(f, "t.a", 1);
    f->hub->options.sync = EVB_SYNC_ALWAYS;
    f->journal->io->datasync = slow_sync;
    f->hub->appended = true;
    take(f, "a", 0, 0, 1);
    assert_int_equal(f->row_count, 1);
    assert_true(evb_groups_deadline(f->hub) >= f->now + 60 * MS);
    take(f, "a", 1, 1, 0);
    assert_string_equal(f->error, "");
}

/* A dead letter is not to be lost while it is noted that its event is done. */
static void what_is_done_is_not_safe_before_its_dead_letter(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    JOIN(f, "a", "\xc0");
    publish(f, "t.a", 1);
    take(f, "a", 0, 0, 1);
    f->hub->options.sync = EVB_SYNC_LATER;
    f->hub->options.sync_ns = 3600 * EVB_SECOND_NS;
    nack(f, "a", 1, true);
    assert_int_equal(evb_journal_appended(f->journal), 2);
    assert_true(f->journal->synced <= 2);
    assert_int_equal(evb_groups_sync(f->hub, &err), 0);
    assert_int_equal(f->journal->synced, 3);
}

/* Takes all that a replay at this rate has after so long. */
static size_t replayed(fixture *f, uint64_t rate, int64_t after_ns) {
    evb_buf head = {0};
    JOIN(f, "a", "\xc0");
    publish(f, "t.a", 100);
    take(f, "a", 0, 0, 200);
    take(f, "a", 1, 100, 0);
    msgpack_packer p = begin(&head, "group.replay", 5, NULL);
    msgpack_pack_uint64(&p, 1);
    msgpack_pack_uint64(&p, 100);
    msgpack_pack_uint64(&p, rate);
    msgpack_pack_false(&p);
    send_request(f, &head, false);
    assert_string_equal(f->error, "");
    f->now += after_ns;
    take(f, "a", 0, 0, 200);
    size_t events = 0;
    for (size_t i = 0; i < f->row_count; i++)
        events += f->rows[i].count;
    return events;
}

static void a_replay_at_a_rate_makes_up_for_a_second_at_most(void **state) {
    assert_in_range(replayed(*state, 5, 10 * EVB_SECOND_NS), 1, 6);
}

static void a_replay_may_have_any_rate(void **state) {
    assert_int_equal(replayed(*state, UINT64_MAX, EVB_SECOND_NS / 2), 100);
}

static void all_connections_gone_is_every_member_gone(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\xc0");
    JOIN(f, "two", "\xc0");
    publish(f, "t.a", 4);
    take(f, "one", 0, 0, 2);
    take(f, "two", 0, 0, 2);
    evb_hub_left_all(f->hub);
    tick(f, 0);
    take(f, "one", 0, 0, 1);
    assert_string_equal(f->error, "member");
    JOIN(f, "three", "\xc0");
    take(f, "three", 0, 0, 10);
    assert_int_equal(f->row_count, 4);
}

static void nobody_joins_without_a_connection(void **state) {
    fixture *f = *state;
    evb_buf head = {0};
    msgpack_packer p = begin(&head, "group.join", 5, "ghost");
    msgpack_pack_array(&p, 0);
    msgpack_pack_nil(&p);
    msgpack_pack_nil(&p);
    send_request(f, &head, false);
    assert_string_equal(f->error, "member");
}

/* A waiting hub sleeps: whatever waits, no deadline lies in the past once it was met. */
static void no_deadline_stays_in_the_past(void **state) {
    fixture *f = *state;
    JOIN(f, "one", ACK_WAIT_1S);
    publish(f, "t.a", 5);
    take(f, "one", 0, 0, 3);
    nack(f, "one", 1, false);
    for (int i = 0; i < 50; i++) {
        tick(f, 100 * MS);
        assert_true(evb_hub_deadline(f->hub) > f->now);
    }
    evb_hub_left(f->hub, "one", 3);
    tick(f, 0);
    assert_true(evb_hub_deadline(f->hub) > f->now);
    tick(f, 2000 * MS);
    assert_int_equal(evb_hub_deadline(f->hub), INT64_MAX);
}

/* ---- order ---- */

static void ordered_hands_one_of_a_topic(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\x81\xa7ordered\xc3");
    JOIN(f, "two", "\xc0");
    publish(f, "t.a", 3);
    publish(f, "t.b", 2);
    take(f, "one", 0, 0, 10);
    assert_int_equal(f->row_count, 2);
    assert_row(f, 0, 1, 1, 1);
    assert_row(f, 1, 4, 1, 1);
    take(f, "two", 0, 0, 10);
    assert_int_equal(f->row_count, 0);
    take(f, "one", 1, 1, 0);
    assert_int_equal(f->pokes, 1);
    take(f, "two", 0, 0, 10);
    assert_row(f, 0, 2, 1, 1);
    evb_hub_left(f->hub, "two", 3);
    tick(f, 0);
    take(f, "one", 0, 0, 10);
    assert_row(f, 0, 2, 1, 2);
    take(f, "one", 2, 2, 10);
    assert_row(f, 0, 3, 1, 1);
    take(f, "one", 3, 4, 10);
    assert_row(f, 0, 5, 1, 1);
    take(f, "one", 5, 5, 10);
    assert_int_equal(f->floor, 5);
}

static void ordered_over_a_restart(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\x81\xa7ordered\xc3");
    publish(f, "t.a", 3);
    take(f, "one", 0, 0, 10);
    close_hub(f);
    open_hub(f);
    f->now += 3 * EVB_SECOND_NS;
    join(f, "one", false, "\xc0", 1);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        take(f, "one", seq - 1, seq - 1, 10);
        assert_int_equal(f->row_count, 1);
        assert_row(f, 0, seq, 1, 1);
    }
}

/* Joins what is there, with a claim to an event. */
static void join_with_claim(fixture *f, const char *token, uint64_t key) {
    evb_buf head = {0};
    evb_hub_came(f->hub, token, strlen(token), (evb_origin){-1, -1}, 0);
    msgpack_packer p = begin(&head, "group.join", 6, token);
    msgpack_pack_nil(&p);
    msgpack_pack_nil(&p);
    msgpack_pack_nil(&p);
    pack_range(&p, key, key);
    send_request(f, &head, false);
    assert_string_equal(f->error, "");
}

/* A failure that was heard of waits on after the hub's restart, and is not its member's by a claim. */
static void a_failure_over_a_restart(fixture *f, const char *token, const char *settings, size_t size) {
    join_on(f, token, "t.#", settings, size);
    publish(f, "t.a", 1);
    take(f, token, 0, 0, 1);
    assert_int_equal(f->row_count, 1);
    nack(f, token, 1, false);
    for (int i = 0; i < 2; i++) { /* the second time from a snapshot */
        close_hub(f);
        open_hub(f);
        join_with_claim(f, token, 1);
        tick(f, 10 * EVB_SECOND_NS);
        take(f, token, 0, 0, 1);
        assert_int_equal(f->row_count, 0);
    }
    tick(f, 60 * EVB_SECOND_NS);
    take(f, token, 0, 0, 1);
    assert_row(f, 0, 1, 1, 2);
}

static void a_failure_waits_on_over_a_restart(void **state) {
    static const char settings[] = "\x81\xa7"
                                   "backoff\x91\xcf\x00\x00\x00\x0d\xf8\x47\x58\x00";
    a_failure_over_a_restart(*state, "one", settings, sizeof settings - 1);
}

static void a_failure_in_an_ordered_group_waits_on_over_a_restart(void **state) {
    static const char settings[] = "\x82\xa7"
                                   "ordered\xc3\xa7"
                                   "backoff\x91\xcf\x00\x00\x00\x0d\xf8\x47\x58\x00";
    a_failure_over_a_restart(*state, "one", settings, sizeof settings - 1);
}

/* ---- described whole ---- */

static const char WHOLE[] = "\x81\xa5whole\xc3", WHOLE_ORDERED[] = "\x82\xa5whole\xc3\xa7ordered\xc3";

static void whole_settings_replace_what_the_group_had(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\x81\xabmax_deliver\x01");
    publish(f, "t.a", 2);
    take(f, "one", 0, 0, 1);
    join_on(f, "two", "u.#", WHOLE, sizeof WHOLE - 1);
    nack(f, "one", 1, false); /* not its last delivery any more */
    publish(f, "u.a", 1);
    take(f, "two", 0, 0, 10);
    assert_int_equal(f->row_count, 1);
    assert_row(f, 0, 3, 1, 1); /* seq 2 was not looked at, and is not wanted now */
    tick(f, 2 * EVB_SECOND_NS);
    take(f, "two", 3, 3, 10);
    assert_row(f, 0, 1, 1, 2); /* what was pending stays */
    close_hub(f);
    open_hub(f);
    f->now += 3 * EVB_SECOND_NS;
    join_on(f, "two", "u.#", "\xc0", 1); /* they are its patterns */
    publish(f, "t.a", 1);
    publish(f, "u.a", 1);
    take(f, "two", 1, 1, 10);
    assert_int_equal(f->row_count, 1);
    assert_row(f, 0, 5, 1, 1);
}

static void a_group_with_events_pending_becomes_ordered_and_ceases_to_be(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\xc0");
    publish(f, "t.a", 2);
    publish(f, "t.b", 2);
    take(f, "one", 0, 0, 10);
    assert_int_equal(f->row_count, 2);
    JOIN(f, "one", WHOLE_ORDERED);
    take(f, "one", 0, 0, 10);
    assert_int_equal(f->row_count, 2);
    assert_row(f, 0, 1, 1, 1);
    assert_row(f, 1, 3, 1, 1);
    take(f, "one", 1, 1, 10);
    assert_row(f, 0, 2, 1, 1);
    JOIN(f, "two", WHOLE);
    take(f, "two", 0, 0, 10); /* what was in hand, and what was held back */
    assert_int_equal(f->row_count, 3);
    take(f, "two", 2, 4, 10);
    assert_int_equal(f->floor, 4);
    publish(f, "t.a", 2);
    take(f, "two", 0, 0, 10);
    assert_row(f, 0, 5, 2, 1);
}

/* ---- dead letters ---- */

static void a_last_delivery_in_vain_is_a_dead_letter(void **state) {
    fixture *f = *state;
    JOIN(f, "one",
         "\x82\xabmax_deliver\x02\xa7"
         "backoff\x90");
    publish(f, "t.a", 2);
    take(f, "one", 0, 0, 2);
    nack(f, "one", 1, false);
    take(f, "one", 2, 2, 2);
    assert_row(f, 0, 1, 1, 2);
    nack(f, "one", 1, false);
    assert_int_equal(evb_journal_head(f->journal), 3);
    take(f, "one", 0, 0, 2);
    assert_int_equal(f->row_count, 0);
    assert_int_equal(f->floor, 3); /* the letter is of no group that does not name it */
}

static void a_letter_is_in_the_journal_before_its_event_is_done(void **state) {
    fixture *f = *state;
    JOIN(f, "one", "\xc0");
    publish(f, "t.a", 1);
    take(f, "one", 0, 0, 1);
    nack(f, "one", 1, true);
    assert_int_equal(evb_journal_head(f->journal), 2);
    evb_buf out = {0};
    uint64_t next;
    evb_record rec;
    evb_error err;
    evb_event event;
    evb_header headers[EVB_HEADER_ROOM];
    assert_int_equal(evb_journal_read(f->journal, 2, 2, 1, NULL, &out, &next, &err), 0);
    assert_null(evb_record_parse(out.data, out.size, &rec));
    assert_memory_equal(rec.topic, "$dead.g", 7);
    assert_true(evb_record_next(&rec.events, &event, headers));
    assert_int_equal(event.header_count, 4);
    assert_memory_equal(event.headers[3].value, "bad", 3);
    evb_buf_free(&out);
}

/* ---- groups.log ---- */

static size_t read_log(const fixture *f, uint8_t *out, size_t room) {
    char path[96];
    snprintf(path, sizeof path, "%s/groups.log", f->dir);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, out, room);
    close(fd);
    assert_true(n > 0 && (size_t)n < room);
    return (size_t)n;
}

/* ---- what went wrong ---- */

/* The answer to a request may be lost: it is sent again, and says then what it said. */
static void a_failure_that_is_said_twice_is_one(void **state) {
    fixture *f = *state;
    JOIN(f, "one",
         "\x82\xabmax_deliver\x02\xa7"
         "backoff\x90");
    publish(f, "t.a", 1);
    take(f, "one", 0, 0, 1);
    nack_and_take(f, "one", 1, false, 1);
    nack_and_take(f, "one", 1, false, 1);
    assert_row(f, 0, 1, 1, 2);
    assert_int_equal(evb_journal_head(f->journal), 1); /* no dead letter */
}

static void an_attempt_is_kept(void **state) {
    fixture *f = *state;
    char text[1024];
    publish(f, "t.a", 2);
    JOIN(f, "a",
         "\x81\xa7"
         "backoff\x91\x00");
    take(f, "a", 0, 0, 10);
    fail_attempt(f, 1, false, 20000);
    assert_string_equal(stored(f, 3, text), "$failed.g.1 failed-topic=t.a failed-seq=1 attempt=1 reason=bad "
                                            "began=2023-11-14T22:13:20.000000000Z seconds=1.500 exit=9 16384z");
    take(f, "a", 0, 0, 10);
    assert_row(f, 0, 1, 1, 2);
    fail_attempt(f, 1, true, 3);
    assert_string_equal(stored(f, 4, text), "$failed.g.1 failed-topic=t.a failed-seq=1 attempt=2 reason=bad "
                                            "began=2023-11-14T22:13:20.000000000Z seconds=1.500 signal=9 3z");
    assert_string_equal(stored(f, 5, text), "$dead.g dead-topic=t.a dead-seq=1 dead-deliveries=2 dead-reason=bad 1x");
    fail_attempt(f, 1, false, 3); /* it is not in anybody's hand any more */
    assert_int_equal(evb_journal_appended(f->journal), 5);
    take(f, "a", 2, 2, 10);
    assert_int_equal(f->row_count, 0); /* and none of these is for the group */
}

static void a_full_disk_costs_an_attempt_only(void **state) {
    fixture *f = *state;
    evb_journal_options full = {.segment_bytes = 1 << 20, .reserve_percent = 101}, room = {.segment_bytes = 1 << 20};
    publish(f, "t.a", 2);
    JOIN(f, "a",
         "\x81\xa7"
         "backoff\x91\x00");
    take(f, "a", 0, 0, 10);
    evb_journal_configure(f->journal, &full);
    evb_journal_tend(f->journal, f->now);
    fail_attempt(f, 1, false, 3);
    fail_attempt(f, 2, false, 3);
    assert_string_equal(f->error, "");
    assert_int_equal(f->said, 1);
    assert_int_equal(evb_journal_appended(f->journal), 2);
    take(f, "a", 0, 0, 10);
    assert_row(f, 0, 1, 1, 2);
    evb_journal_configure(f->journal, &room);
    evb_journal_tend(f->journal, f->now);
    fail_attempt(f, 1, false, 3);
    assert_int_equal(evb_journal_appended(f->journal), 3);
}

static void a_bad_attempt_is_refused(void **state) {
    fixture *f = *state;
    evb_buf head = {0};
    publish(f, "t.a", 1);
    JOIN(f, "a", "\xc0");
    take(f, "a", 0, 0, 10);
    msgpack_packer p = begin(&head, "group", 6, "a");
    msgpack_pack_array(&p, 0);
    msgpack_pack_array(&p, 1);
    msgpack_pack_array(&p, 5);
    msgpack_pack_uint64(&p, 1);
    msgpack_pack_nil(&p);
    evb_mp_pack_str(&p, "bad", 3);
    msgpack_pack_true(&p);
    msgpack_pack_uint64(&p, 7);
    msgpack_pack_uint64(&p, 0);
    msgpack_pack_uint64(&p, 0);
    send_request(f, &head, true);
    assert_string_equal(f->error, "usage");
    assert_int_equal(evb_journal_appended(f->journal), 1);
}

/* Sends the letter of this seq back with another payload. */
static void edit(fixture *f, uint64_t letter, const char *payload) {
    static int peer;
    evb_buf head = {0};
    evb_error err = {0};
    msgpack_packer p = begin(&head, "dead.edit", 2, NULL);
    msgpack_pack_uint64(&p, letter);
    char *body = strdup(payload);
    assert_int_equal(evb_hub_request(f->hub, &peer, (evb_origin){-1, -1}, head.data, head.size, (uint8_t *)body,
                                     strlen(body), evb_clock_wall_ns(), f->now, &err),
                     0);
    end_round(f, false);
    evb_buf_free(&head);
    free(body);
}

static void an_edited_letter_is_for_its_group(void **state) {
    fixture *f = *state;
    char text[1024];
    publish(f, "t.a", 1);
    JOIN(f, "a", "\x81\xa7ordered\xc3");
    take(f, "a", 0, 0, 10);
    nack(f, "a", 1, true); /* letter: 2 */
    publish(f, "t.b", 2);  /* 3, 4: not yet read when the letter is edited */
    edit(f, 2, "better");  /* 5 */
    assert_string_equal(f->error, "");
    assert_string_equal(stored(f, 5, text), "$retry.g retry-topic=t.a retry-of=2 cause=1 correlation=1 depth=1 6r");
    edit(f, 2, "again");
    assert_string_equal(f->error, "gone");
    edit(f, 2, "");
    assert_string_equal(f->error, "usage");
    close_hub(f);
    open_hub(f);
    JOIN(f, "a", "\xc0");
    take(f, "a", 0, 0, 1);
    assert_row(f, 0, 5, 1, 1); /* what waits comes first, what lies before it is not passed over */
    take(f, "a", 0, 0, 10);
    assert_row(f, 0, 3, 1, 1);
    assert_int_equal(f->floor, 2);
    nack(f, "a", 5, true);
    assert_string_equal(stored(f, 6, text),
                        "$dead.g retry-topic=t.a retry-of=2 cause=1 correlation=1 depth=1 dead-topic=t.a dead-seq=5 "
                        "dead-deliveries=1 dead-reason=bad 6r");
    edit(f, 6, "best");
    assert_string_equal(stored(f, 7, text), "$retry.g retry-topic=t.a retry-of=6 cause=5 correlation=1 depth=2 4t");
    take(f, "a", 3, 3, 10);
    take(f, "a", 4, 4, 10);
    take(f, "a", 7, 7, 10);
    take(f, "a", 0, 0, 10);
    assert_int_equal(f->row_count, 0);
    assert_int_equal(f->floor, 7);
}

static void write_log(const fixture *f, const uint8_t *data, size_t size) {
    char path[96];
    snprintf(path, sizeof path, "%s/groups.log", f->dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

/* Does what groups do; done[seq] says that the event was acknowledged. 20 events; the letter of 6 is 21. */
static void work(fixture *f, bool *done) {
    JOIN(f, "one", "\xc0");
    for (int i = 0; i < 10; i++)
        publish(f, i % 2 ? "t.a" : "t.b", 2);
    take(f, "one", 0, 0, 4);
    take(f, "one", 1, 2, 4);
    nack(f, "one", 6, true);
    nack(f, "one", 7, false);
    take(f, "one", 4, 4, 5);
    take(f, "one", 9, 10, 1);
    for (uint64_t seq = 1; seq <= 20; seq++)
        done[seq] = seq == 1 || seq == 2 || seq == 4 || seq == 6 || seq == 9 || seq == 10;
}

/* All that the group still hands out, acknowledged. */
static void drain(fixture *f, bool *got) {
    memset(got, 0, EVENTS_MAX * sizeof *got);
    join(f, "new", true, "\xc0", 1);
    f->now += 60 * EVB_SECOND_NS;
    for (int idle = 0; idle < 3;) {
        take(f, "new", 0, 0, 100);
        assert_string_equal(f->error, "");
        idle = f->row_count || f->more ? 0 : idle + 1;
        for (size_t i = 0, n = f->row_count; i < n; i++) {
            row r = f->rows[i];
            for (uint64_t k = 0; k < r.count; k++)
                got[r.key + k] = true;
        }
        row rows[EVENTS_MAX];
        size_t n = f->row_count;
        memcpy(rows, f->rows, sizeof rows);
        for (size_t i = 0; i < n; i++)
            take(f, "new", rows[i].key, rows[i].key + rows[i].count - 1, 0);
        f->now += 2 * EVB_SECOND_NS;
    }
}

static void after_a_restart_what_is_not_done_comes(void **state) {
    fixture *f = *state;
    bool done[EVENTS_MAX] = {0}, got[EVENTS_MAX];
    work(f, done);
    close_hub(f);
    open_hub(f);
    drain(f, got);
    for (uint64_t seq = 1; seq <= 20; seq++)
        assert_int_equal(got[seq], !done[seq]);
    assert_int_equal(f->floor, evb_journal_head(f->journal));
}

/* Opens the hub on each variant of groups.log: it never crashes, and skips nothing that was not acknowledged. */
static void with_log(fixture *f, const uint8_t *log, size_t size, const bool *done) {
    bool got[EVENTS_MAX];
    write_log(f, log, size);
    open_hub(f);
    drain(f, got);
    for (uint64_t seq = 1; seq <= 20; seq++)
        assert_true(got[seq] || done[seq]);
    close_hub(f);
}

static void a_cut_log_skips_nothing(void **state) {
    fixture *f = *state;
    static uint8_t log[65536];
    bool done[EVENTS_MAX] = {0};
    work(f, done);
    close_hub(f);
    size_t size = read_log(f, log, sizeof log);
    for (size_t cut = 0; cut < size; cut += 1 + cut % 3)
        with_log(f, log, cut, done);
    with_log(f, log, size, done);
    open_hub(f);
}

static void a_damaged_log_skips_nothing(void **state) {
    fixture *f = *state;
    static uint8_t log[65536];
    bool done[EVENTS_MAX] = {0};
    work(f, done);
    close_hub(f);
    size_t size = read_log(f, log, sizeof log);
    for (size_t i = 0; i < size; i += 1 + i % 3) {
        log[i] ^= 0x41;
        with_log(f, log, size, done);
        log[i] ^= 0x41;
    }
    open_hub(f);
}

static void a_journal_shorter_than_the_log(void **state) {
    fixture *f = *state;
    char path[96];
    bool got[EVENTS_MAX];
    JOIN(f, "one", "\xc0");
    publish(f, "t.a", 5);
    take(f, "one", 0, 0, 3);
    take(f, "one", 1, 3, 5);
    evb_buf head = {0};
    msgpack_packer p = begin(&head, "group.replay", 5, NULL);
    msgpack_pack_uint64(&p, 1);
    msgpack_pack_uint64(&p, 5);
    msgpack_pack_uint64(&p, 1);
    msgpack_pack_false(&p);
    send_request(f, &head, false);
    assert_string_equal(f->error, "");
    close_hub(f);
    snprintf(path, sizeof path, "%s/00000000000000000001.evj", f->dir);
    assert_int_equal(truncate(path, 0), 0);
    snprintf(path, sizeof path, "%s/catalog.mdb", f->dir);
    unlink(path);
    open_hub(f);
    assert_int_equal(evb_journal_head(f->journal), 0);
    f->published = 0;
    publish(f, "t.a", 2);
    drain(f, got);
    assert_true(got[1] && got[2]);
}

static void a_snapshot_says_the_same(void **state) {
    fixture *f = *state;
    bool done[EVENTS_MAX] = {0}, got[EVENTS_MAX];
    static uint8_t log[4 << 20];
    work(f, done);
    /* so much is said that the log is written anew */
    for (int i = 0; i < 30000; i++) {
        join(f, "other", false, "\xc0", 1);
        if (i % 1000 == 0)
            tick(f, 2000 * MS);
    }
    tick(f, 2000 * MS);
    assert_true(read_log(f, log, sizeof log) < 1 << 20);
    close_hub(f);
    open_hub(f);
    drain(f, got);
    for (uint64_t seq = 1; seq <= 20; seq++)
        assert_true(got[seq] || done[seq]);
}

int main(void) {
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(each_event_goes_to_one),
        T(who_had_nothing_is_told),
        T(who_only_acknowledges_stays_hungry),
        T(max_pending_holds),
        T(an_event_in_hand_for_too_long_comes_back),
        T(progress_gives_more_time),
        T(a_late_acknowledgement_is_heard),
        T(a_nack_waits_as_backoff_says),
        T(a_member_that_goes_leaves_its_work_at_once),
        T(all_connections_gone_is_every_member_gone),
        T(nobody_joins_without_a_connection),
        T(no_deadline_stays_in_the_past),
        T(ordered_hands_one_of_a_topic),
        T(ordered_over_a_restart),
        T(a_failure_waits_on_over_a_restart),
        T(a_failure_in_an_ordered_group_waits_on_over_a_restart),
        T(whole_settings_replace_what_the_group_had),
        T(a_group_with_events_pending_becomes_ordered_and_ceases_to_be),
        T(a_last_delivery_in_vain_is_a_dead_letter),
        T(a_letter_is_in_the_journal_before_its_event_is_done),
        T(a_failure_that_is_said_twice_is_one),
        T(an_attempt_is_kept),
        T(a_full_disk_costs_an_attempt_only),
        T(a_bad_attempt_is_refused),
        T(an_edited_letter_is_for_its_group),
        T(after_a_restart_what_is_not_done_comes),
        T(a_cut_log_skips_nothing),
        T(a_damaged_log_skips_nothing),
        T(a_journal_shorter_than_the_log),
        T(a_snapshot_says_the_same),
        T(who_goes_goes_from_all_its_groups),
        T(what_is_done_is_not_safe_before_its_dead_letter),
        T(a_slow_sync_is_no_part_of_the_ack_wait),
        T(a_replay_at_a_rate_makes_up_for_a_second_at_most),
        T(a_replay_may_have_any_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
