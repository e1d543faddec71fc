/* test_schedule.c: what the hub does with events for later, by clocks of the test's own: order, what is sent again,
 * cancelling, a disk that refuses, and a process that ends between any two writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "hub/hub_private.h"

enum { S_NONE = -1 };
static int a_peer;

/* ---- a disk that refuses after so many changes ---- */

typedef struct {
    evb_io io;
    evb_io *real; /* outlives this one, as a disk outlives a process */
    int left;     /* changes until all fail; below 0: never */
    bool once;    /* only that one fails */
} disk;

static bool refuses(evb_io *io) {
    disk *d = (disk *)io;
    if (d->left < 0)
        return false;
    if (d->left > 0) {
        d->left--;
        return false;
    }
    if (d->once)
        d->left = S_NONE;
    errno = ENOSPC;
    return true;
}

#define REAL(IO) (((disk *)(IO))->real)
static int d_open(evb_io *io, const char *n, bool c) {
    return c && refuses(io) ? -1 : REAL(io)->open(REAL(io), n, c);
}
static int d_close(evb_io *io, int fd) { return REAL(io)->close(REAL(io), fd); }
static ssize_t d_read(evb_io *io, int fd, void *p, size_t n, off_t at) {
    return REAL(io)->pread(REAL(io), fd, p, n, at);
}
static ssize_t d_write(evb_io *io, int fd, const void *p, size_t n, off_t at) {
    if (!refuses(io))
        return REAL(io)->pwrite(REAL(io), fd, p, n, at);
    REAL(io)->pwrite(REAL(io), fd, p, n / 2, at); /* what a process that is killed leaves */
    errno = ENOSPC;
    return -1;
}
static int d_sync(evb_io *io, int fd) { return refuses(io) ? -1 : REAL(io)->datasync(REAL(io), fd); }
static int d_cut(evb_io *io, int fd, off_t n) { return refuses(io) ? -1 : REAL(io)->truncate(REAL(io), fd, n); }
static off_t d_size(evb_io *io, int fd) { return REAL(io)->size(REAL(io), fd); }
static int d_remove(evb_io *io, const char *n) { return refuses(io) ? -1 : REAL(io)->remove(REAL(io), n); }
static int d_rename(evb_io *io, const char *a, const char *b) {
    return refuses(io) ? -1 : REAL(io)->rename(REAL(io), a, b);
}
static int d_sync_dir(evb_io *io) { return refuses(io) ? -1 : REAL(io)->sync_dir(REAL(io)); }
static int d_list(evb_io *io, void (*each)(void *, const char *), void *c) {
    return REAL(io)->list(REAL(io), each, c);
}
static int d_space(evb_io *io, uint64_t *l, uint64_t *t) { return REAL(io)->space(REAL(io), l, t); }
static void d_destroy(evb_io *io) { free(io); }

/* ---- the hub ---- */

typedef struct {
    evb_io *real;
    disk *disk; /* the journal's, which owns it */
    evb_journal *journal;
    evb_hub *hub;
    char catalog[64];
    char said[1000];
    int64_t wall_ns;
    evb_buf body;
    evb_action *actions;
    size_t count;
} fixture;

static void keep_line(void *context, const char *text) { snprintf(((fixture *)context)->said, 1000, "%s", text); }

static bool open_hub(fixture *f) {
    evb_error err = {0};
    evb_journal_options options = {.segment_bytes = 1 << 20, .id_window_ns = 100 * EVB_SECOND_NS, .id_most = 1000};
    evb_hub_options how = {.max_payload = 100000, .log = {keep_line, f}};
    f->disk = calloc(1, sizeof *f->disk);
    *f->disk = (disk){{d_open, d_close, d_read, d_write, d_sync, d_cut, d_size, d_remove, d_rename, d_sync_dir,
                       d_list, d_space, d_destroy},
                      f->real,
                      S_NONE,
                      false};
    f->journal = evb_journal_new(&f->disk->io, f->catalog, &options, (evb_log){0}, &err);
    assert_non_null(f->journal);
    f->hub = evb_hub_new(f->journal, &how, 0, &err);
    if (!f->hub)
        snprintf(f->said, sizeof f->said, "%s", err.text);
    return f->hub != NULL;
}

static void close_hub(fixture *f) {
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
    unlink(f->catalog); /* built anew: the journal is what counts */
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->real = evb_io_memory_new(NULL);
    strcpy(f->catalog, "/tmp/evb-catalog-XXXXXX");
    close(mkstemp(f->catalog));
    unlink(f->catalog);
    f->wall_ns = evb_clock_wall_ns();
    assert_true(open_hub(f));
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    close_hub(f);
    evb_io_destroy(&f->real);
    evb_buf_free(&f->body);
    free(f);
    return 0;
}

static void drop_actions(fixture *f) {
    for (size_t i = 0; i < f->count; i++) {
        evb_buf_free(&f->actions[i].head);
        evb_buf_free(&f->actions[i].body);
    }
    f->count = 0;
}

/* A batch for the next request: one event for each letter, which is its payload. */
static void add_batch(fixture *f, uint8_t producer, uint64_t number, const char *topic, const char *letters,
                      const char *event_id) {
    uint8_t id[EVB_PRODUCER_SIZE] = {producer};
    size_t start = f->body.size;
    assert_true(evb_record_begin(&f->body, topic, strlen(topic), 0, id, number));
    for (; *letters; letters++)
        assert_true(evb_record_add(
            &f->body, start,
            &(evb_event){.payload = letters, .size = 1, .id = event_id, .id_size = event_id ? strlen(event_id) : 0}));
}

/* Sends a request and ends the round. False: the hub has ended. Its reply into text: "ok 1 4", seqs of rows or of a list,
 * or "error CODE". */
static bool play(fixture *f, evb_buf *head, char *text) {
    evb_error err = {0};
    bool alive = evb_hub_request(f->hub, &a_peer, (evb_origin){-1, -1}, head->data, head->size, f->body.data,
                                 f->body.size, f->wall_ns, f->wall_ns, &err) == 0 &&
                 evb_hub_commit(f->hub, f->wall_ns, &f->actions, &f->count, &err) == 0;
    evb_buf_free(head);
    f->body.size = 0;
    if (!alive)
        return false;
    evb_buf *reply = &f->actions[f->count - 1].head;
    evb_mp mp = {reply->data, reply->data + reply->size};
    const char *word;
    size_t size;
    uint64_t v, n[3];
    uint32_t count, fields;
    assert_true(evb_mp_array(&mp, &count) && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, &v));
    char *at = text + sprintf(text, "%.*s", (int)size, word);
    if (size == 5) {
        assert_true(evb_mp_str(&mp, &word, &size));
        sprintf(at, " %.*s", (int)size, word);
    } else if (evb_mp_array(&mp, &count)) {
        for (; count--; at += sprintf(at, " %" PRIu64, n[0]))
            if (evb_mp_array(&mp, &fields)) {
                assert_true(fields == 3 && evb_mp_uint(&mp, n + 1) && evb_mp_uint(&mp, n + 2) && evb_mp_uint(&mp, n));
            } else if (evb_mp_map(&mp, &fields)) {
                assert_true(evb_mp_skip(&mp) && evb_mp_uint(&mp, n));
                for (fields = 2 * fields - 2; fields--;)
                    assert_true(evb_mp_skip(&mp));
            } else {
                assert_true(evb_mp_uint(&mp, n));
            }
    }
    drop_actions(f);
    return true;
}

static void begin(evb_buf *head, msgpack_packer *pk, const char *op, uint32_t args) {
    evb_mp_packer(pk, head);
    assert_true(!msgpack_pack_array(pk, args + 2) && !evb_mp_pack_str(pk, op, strlen(op)) &&
                !msgpack_pack_uint64(pk, 5));
}

/* Schedules what was added, so many seconds from the fixture's clock. */
static bool schedule(fixture *f, uint64_t acked, int seconds, char *text) {
    evb_buf head = {0};
    msgpack_packer pk;
    begin(&head, &pk, "schedule", 2);
    msgpack_pack_uint64(&pk, (uint64_t)(f->wall_ns + seconds * EVB_SECOND_NS));
    msgpack_pack_uint64(&pk, acked);
    return play(f, &head, text);
}

static bool cancel(fixture *f, const uint64_t *seqs, size_t count, char *text) {
    evb_buf head = {0};
    msgpack_packer pk;
    begin(&head, &pk, "schedule.cancel", 1);
    msgpack_pack_array(&pk, count);
    while (count--)
        msgpack_pack_uint64(&pk, *seqs++);
    return play(f, &head, text);
}

static void list(fixture *f, int64_t due_ns, uint64_t after, uint64_t limit, char *text) {
    evb_buf head = {0};
    msgpack_packer pk;
    begin(&head, &pk, "scheduled", 4);
    msgpack_pack_uint64(&pk, (uint64_t)due_ns);
    msgpack_pack_uint64(&pk, after);
    msgpack_pack_uint64(&pk, limit);
    msgpack_pack_array(&pk, 0);
    assert_true(play(f, &head, text));
}

/* Lets so many seconds pass, then publishes all that is due. False: the hub has ended. */
static bool pass(fixture *f, int seconds) {
    evb_error err = {0};
    f->wall_ns += seconds * EVB_SECOND_NS;
    f->hub->now_ns = f->wall_ns;
    for (int i = 0; i < 20; i++) {
        if (evb_schedule_tick(f->hub, f->wall_ns, &err) ||
            evb_hub_commit(f->hub, f->wall_ns, &f->actions, &f->count, &err))
            return false;
        drop_actions(f);
    }
    return true;
}

/* What the journal has, as "topic:payloads topic:payloads"; with `late`, the header of that name behind each. */
static void journal(fixture *f, char *text, bool with_late) {
    evb_error err;
    evb_record rec;
    evb_event event;
    evb_header room[EVB_HEADER_ROOM];
    *text = 0;
    for (uint64_t seq = 1; seq <= evb_journal_appended(f->journal); seq = rec.seq + rec.count) {
        assert_int_equal(evb_journal_find(f->journal, seq, &rec, &err), 1);
        text += sprintf(text, "%s%.*s:", seq > 1 ? " " : "", (int)rec.topic_size, rec.topic);
        evb_mp cursor = rec.events;
        while (evb_record_next(&cursor, &event, room)) {
            text += sprintf(text, "%.*s", (int)event.size, (const char *)event.payload);
            for (size_t i = 0; with_late && i < event.header_count; i++)
                if (event.headers[i].name_size == 4)
                    text += sprintf(text, "(%.*s)", (int)event.headers[i].value_size, event.headers[i].value);
        }
    }
}

#define ASSERT_JOURNAL(F, WANT)                                                                                      \
    do {                                                                                                             \
        char have[10000];                                                                                            \
        journal(F, have, false);                                                                                     \
        assert_string_equal(have, WANT);                                                                             \
    } while (0)

/* ---- tests ---- */

static void what_is_due_is_published_in_order(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "late", "a", NULL);
    assert_true(schedule(f, 0, 20, text));
    assert_string_equal(text, "ok 1");
    add_batch(f, 1, 2, "x", "bc", NULL);
    add_batch(f, 1, 3, "y", "d", NULL);
    assert_true(schedule(f, 1, 10, text));
    assert_string_equal(text, "ok 2 4");
    add_batch(f, 2, 1, "x", "e", NULL);
    assert_true(schedule(f, 0, 10, text));
    assert_true(pass(f, 9));
    ASSERT_JOURNAL(f, "");
    assert_true(pass(f, 1));
    ASSERT_JOURNAL(f, "x:bc y:d x:e");
    assert_true(pass(f, -3600));
    assert_true(pass(f, 3609));
    ASSERT_JOURNAL(f, "x:bc y:d x:e");
    assert_true(pass(f, 1));
    ASSERT_JOURNAL(f, "x:bc y:d x:e late:a");
    assert_int_equal(evb_hub_deadline(f->hub), INT64_MAX);
}

static void late_ones_are_marked_and_past_ones_are_not(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "x", "ab", NULL);
    assert_true(schedule(f, 0, 10, text));
    close_hub(f);
    assert_true(open_hub(f));
    assert_true(pass(f, 75));
    add_batch(f, 2, 1, "x", "c", NULL);
    assert_true(schedule(f, 0, -1000, text));
    assert_true(pass(f, 0));
    char have[1000];
    journal(f, have, true);
    assert_string_equal(have, "x:a(65)b(65) x:c");
}

static void what_is_sent_again_is_scheduled_once(void **state) {
    fixture *f = *state;
    char text[200];
    for (int again = 0; again < 3; again++) {
        add_batch(f, 1, 1, "x", "ab", NULL);
        add_batch(f, 1, 2, "y", "c", NULL);
        assert_true(schedule(f, 0, 10, text));
        assert_string_equal(text, "ok 1 3");
        if (again == 1) {
            close_hub(f);
            assert_true(open_hub(f));
        }
    }
    add_batch(f, 1, 2, "y", "c", NULL);
    add_batch(f, 1, 3, "z", "d", NULL);
    assert_true(schedule(f, 1, 10, text));
    assert_string_equal(text, "ok 3 4");
    add_batch(f, 1, 5, "z", "e", NULL);
    assert_true(schedule(f, 3, 10, text));
    assert_string_equal(text, "error data");
    add_batch(f, 1, 1, "x", "ab", NULL);
    assert_true(schedule(f, 3, 10, text));
    assert_string_equal(text, "error data");
    assert_true(pass(f, 10));
    ASSERT_JOURNAL(f, "x:ab y:c z:d");
}

/* The log says nothing of forgetting: what it is read to must be what the hub had that wrote it. */
static void a_producer_that_was_forgotten_and_comes_back(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "x", "a", NULL);
    assert_true(schedule(f, 0, 2000, text));
    assert_string_equal(text, "ok 1");
    f->wall_ns += 700 * EVB_SECOND_NS;
    add_batch(f, 2, 5, "x", "z", NULL); /* the first is forgotten for this one, of which nothing is stored */
    assert_true(schedule(f, 0, 2000, text));
    assert_string_equal(text, "error data");
    for (int again = 0; again < 3; again++) {
        add_batch(f, 1, 1, "x", "a", NULL);
        add_batch(f, 1, 2, "x", "b", NULL);
        assert_true(schedule(f, 0, 2000, text));
        assert_string_equal(text, "ok 2 3");
        close_hub(f);
        assert_true(open_hub(f));
    }
    add_batch(f, 1, 3, "x", "c", NULL);
    assert_true(schedule(f, 0, 2000, text));
    assert_string_equal(text, "ok 4");
}

static void cancelled_ones_stay_away_also_after_a_restart(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "x", "abcdefg", NULL);
    add_batch(f, 1, 2, "y", "h", NULL);
    assert_true(schedule(f, 0, 10, text));
    assert_true(cancel(f, (uint64_t[]){1, 4, 5, 8, 9}, 5, text));
    assert_string_equal(text, "ok 1 4 5 8");
    assert_int_equal(f->hub->schedule->events, 4);
    list(f, 0, 0, 100, text);
    assert_string_equal(text, "ok 2 3 6 7");
    close_hub(f);
    assert_true(open_hub(f));
    assert_int_equal(f->hub->schedule->events, 4);
    list(f, 0, 0, 2, text);
    assert_string_equal(text, "ok 2 3");
    list(f, f->wall_ns + 10 * EVB_SECOND_NS, 3, 2, text);
    assert_string_equal(text, "ok 6 7");
    assert_true(cancel(f, (uint64_t[]){7}, 1, text));
    assert_true(cancel(f, (uint64_t[]){7, 6}, 2, text));
    assert_string_equal(text, "error usage");
    assert_true(pass(f, 10));
    ASSERT_JOURNAL(f, "x:bc x:f");
    assert_true(cancel(f, (uint64_t[]){2}, 1, text));
    assert_string_equal(text, "ok");
}

static void ids_are_looked_at_when_it_is_due(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "x", "a", "same");
    add_batch(f, 1, 2, "y", "b", "same");
    add_batch(f, 1, 3, "x", "c", "same");
    assert_true(schedule(f, 0, 10, text));
    assert_string_equal(text, "ok 1 2 3");
    add_batch(f, 2, 1, "x", "d", "same");
    assert_true(schedule(f, 0, 20, text));
    assert_true(pass(f, 20));
    ASSERT_JOURNAL(f, "x:a y:b");
    assert_int_equal(f->hub->schedule->events, 0);
}

static void a_disk_that_refuses_is_tried_again(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "x", "ab", NULL);
    assert_true(schedule(f, 0, 10, text));
    for (int change = 0; change <= 2; change += 2) { /* the note, the journal; between them is the note's sync */
        f->disk->left = change;
        f->disk->once = true;
        evb_error err = {0};
        assert_int_equal(evb_schedule_tick(f->hub, f->wall_ns + 11 * EVB_SECOND_NS, &err), 0);
        assert_int_equal(evb_hub_commit(f->hub, 0, &f->actions, &f->count, &err), 0);
        assert_non_null(strstr(f->said, "cannot be stored yet"));
        ASSERT_JOURNAL(f, "");
    }
    f->disk->left = S_NONE;
    assert_true(pass(f, 11));
    assert_non_null(strstr(f->said, "published again"));
    ASSERT_JOURNAL(f, "x:ab");
    f->disk->left = 0;
    f->disk->once = true;
    add_batch(f, 1, 2, "x", "c", NULL);
    assert_true(schedule(f, 1, 10, text));
    assert_string_equal(text, "error store");
    add_batch(f, 1, 2, "x", "d", NULL);
    assert_true(schedule(f, 1, 10, text));
    assert_string_equal(text, "ok 3");
}

/* The whole life of some events, as far as the disk goes. How many of the 8 were answered, and whether 3 is cancelled. */
static int live(fixture *f, bool *cancelled) {
    char text[200];
    add_batch(f, 1, 1, "x", "abc", NULL);
    if (!schedule(f, 0, 10, text) || strcmp(text, "ok 1") != 0)
        return 0;
    add_batch(f, 1, 2, "y", "d", NULL);
    add_batch(f, 1, 3, "z", "ef", NULL);
    if (!schedule(f, 1, 10, text) || strcmp(text, "ok 4 5") != 0)
        return 3;
    *cancelled = cancel(f, (uint64_t[]){3}, 1, text) && strcmp(text, "ok 3") == 0;
    if (!*cancelled || !pass(f, 10))
        return 6;
    add_batch(f, 1, 4, "w", "gh", NULL);
    if (!schedule(f, 3, 10, text) || strcmp(text, "ok 7") != 0)
        return 6;
    pass(f, 10);
    return 8;
}

static void killed_between_any_two_writes_all_are_published_once(void **state) {
    static const char *const ALL[] = {"x:abc", "x:ab", "y:d", "z:ef", "w:gh"};
    fixture *f = *state;
    bool ended = false;
    for (int writes = 0; !ended; writes++) {
        char have[1000];
        bool cancelled = false;
        int64_t begun = f->wall_ns;
        f->disk->left = writes;
        int answered = live(f, &cancelled);
        ended = f->disk->left > 0;
        close_hub(f);
        assert_true(open_hub(f));
        f->wall_ns = begun;
        assert_true(pass(f, 100));
        journal(f, have, false);
        char *x = strstr(have, "x:ab");
        assert_true(!x || !strstr(x + 1, "x:ab"));
        assert_true(answered < 3 || x);
        assert_false(cancelled && strstr(have, ALL[0]));
        for (int i = 2; i < 5; i++) {
            char *one = strstr(have, ALL[i]);
            assert_true(!one || !strstr(one + 1, ALL[i]));
            assert_true(one || answered < (i < 4 ? 6 : 8));
        }
        assert_int_equal(f->hub->schedule->events, 0);
        assert_true(writes < 1000);
        close_hub(f);
        evb_io_destroy(&f->real);
        f->real = evb_io_memory_new(NULL);
        f->said[0] = 0;
        assert_true(open_hub(f));
    }
}

static void a_long_file_is_written_anew(void **state) {
    fixture *f = *state;
    char text[200], payload[60000];
    uint8_t id[EVB_PRODUCER_SIZE] = {9};
    memset(payload, 'p', sizeof payload);
    add_batch(f, 1, 1, "keep", "abc", NULL);
    assert_true(schedule(f, 0, 1000, text));
    assert_true(cancel(f, (uint64_t[]){2}, 1, text));
    for (uint64_t i = 1; i <= 200; i++) {
        assert_true(evb_record_begin(&f->body, "x", 1, 0, id, i) &&
                    evb_record_add(&f->body, 0, &(evb_event){.payload = payload, .size = sizeof payload}));
        assert_true(schedule(f, i - 1, 1, text));
    }
    uint64_t before = evb_schedule_log_size(f->hub->schedule->log);
    assert_true(before > 200 * sizeof payload);
    assert_true(pass(f, 2));
    assert_true(evb_schedule_log_size(f->hub->schedule->log) < 10000);
    assert_int_equal(f->hub->schedule->events, 2);
    close_hub(f);
    assert_true(open_hub(f));
    list(f, 0, 0, 10, text);
    assert_string_equal(text, "ok 1 3");
    add_batch(f, 1, 1, "keep", "abc", NULL); /* the answer got lost */
    assert_true(schedule(f, 0, 1000, text));
    assert_string_equal(text, "ok 1");
    assert_int_equal(f->hub->schedule->next, 204);
}

static void damage_is_not_passed_over(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "x", "a", NULL);
    assert_true(schedule(f, 0, 1000, text));
    add_batch(f, 1, 2, "x", "b", NULL);
    assert_true(schedule(f, 0, 1000, text));
    close_hub(f);
    int fd = f->real->open(f->real, "scheduled.log", false);
    f->real->pwrite(f->real, fd, "????", 4, 100);
    f->real->close(f->real, fd);
    assert_false(open_hub(f));
    assert_non_null(strstr(f->said, "scheduled.log: damaged at byte 49"));
}

static void what_cannot_be_scheduled_is_refused(void **state) {
    fixture *f = *state;
    char text[200];
    add_batch(f, 1, 1, "$x", "a", NULL);
    assert_true(schedule(f, 0, 10, text));
    assert_string_equal(text, "error data");
    assert_true(schedule(f, 0, 10, text));
    assert_string_equal(text, "error data");
    evb_patterns *live_topics = evb_patterns_new((const char *const[]){"trace.#"}, 1, NULL);
    f->hub->options.live = live_topics;
    add_batch(f, 1, 1, "trace.x", "a", NULL);
    assert_true(schedule(f, 0, 10, text));
    assert_string_equal(text, "error data");
    f->hub->options.live = NULL;
    evb_patterns_destroy(&live_topics);
    assert_true(evb_schedule_log_is_new(f->hub->schedule->log));
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(what_is_due_is_published_in_order),
                                       TEST(late_ones_are_marked_and_past_ones_are_not),
                                       TEST(what_is_sent_again_is_scheduled_once),
                                       TEST(a_producer_that_was_forgotten_and_comes_back),
                                       TEST(cancelled_ones_stay_away_also_after_a_restart),
                                       TEST(ids_are_looked_at_when_it_is_due),
                                       TEST(a_disk_that_refuses_is_tried_again),
                                       TEST(killed_between_any_two_writes_all_are_published_once),
                                       TEST(a_long_file_is_written_anew),
                                       TEST(damage_is_not_passed_over),
                                       TEST(what_cannot_be_scheduled_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
