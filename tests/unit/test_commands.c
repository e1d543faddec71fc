/* test_commands.c: what the hub does with commands, by its own clock: who is answered when, and what is stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "event/limits.h"
#include "event/mp.h"
#include "event/record.h"
#include "hub/hub.h"

#define MS EVB_MILLISECOND_NS
enum { PEERS = 16, FED_MAX = 32 };
static const char TOKEN_A[] = "0123456789abcdef0123456789abcd00", TOKEN_B[] = "fedcba9876543210fedcba98765432ff";

/* The reply that a peer got last: its word, or its error's, and what follows. */
typedef struct {
    bool there;
    char word[16], text[80];
    uint8_t results[256], body[256];
    size_t result_size, body_size;
} reply;

typedef struct {
    evb_journal *journal;
    evb_hub *hub;
    int64_t now;
    reply replies[PEERS];
    char fed[FED_MAX][64]; /* topics on the feed */
    size_t fed_count;
    size_t dropped;
} fixture;

static size_t dropped; /* of the hub that is destroyed */
static void drop(void *peer) {
    (void)peer;
    dropped++;
}

static void open_hub(fixture *f) {
    evb_error err = {0};
    const evb_hub_options how = {.max_payload = 1000, .sync = EVB_SYNC_ALWAYS, .pid = 1};
    f->hub = evb_hub_new(f->journal, &how, f->now, &err);
    assert_non_null(f->hub);
    evb_hub_on_drop(f->hub, drop);
    evb_hub_came(f->hub, TOKEN_A, 32, (evb_origin){-1, -1}, 1);
    evb_hub_came(f->hub, TOKEN_B, 32, (evb_origin){-1, -1}, 1);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    evb_error err = {0};
    const evb_journal_options options = {
        .segment_bytes = 1 << 20, .id_window_ns = 600 * EVB_SECOND_NS, .id_most = 1000};
    char path[] = "/tmp/evb-commands-XXXXXX";
    assert_non_null(mkdtemp(path));
    f->now = 1000 * EVB_SECOND_NS;
    char catalog[96];
    snprintf(catalog, sizeof catalog, "%s/catalog.mdb", path);
    f->journal = evb_journal_new(evb_io_memory_new(&err), catalog, &options, (evb_log){0}, &err);
    if (!f->journal)
        fail_msg("%s", err.text);
    snprintf(catalog, sizeof catalog, "rm -rf %s", path); /* the catalog stays open without its name */
    assert_int_equal(system(catalog), 0);
    open_hub(f);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
    free(f);
    return 0;
}

/* ---- rounds ---- */

static void read_reply(fixture *f, const evb_action *action) {
    reply *r = &f->replies[(uintptr_t)action->peer];
    evb_mp mp = {action->head.data, action->head.data + action->head.size};
    const char *word;
    size_t size;
    uint64_t id;
    uint32_t n;
    assert_false(r->there); /* one for each */
    *r = (reply){.there = true};
    assert_true(evb_mp_array(&mp, &n) && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, &id));
    if (size == 5) {
        assert_true(evb_mp_str(&mp, &word, &size));
        snprintf(r->word, sizeof r->word, "%.*s", (int)size, word);
        assert_true(evb_mp_str(&mp, &word, &size));
        snprintf(r->text, sizeof r->text, "%.*s", (int)size, word);
        return;
    }
    strcpy(r->word, "ok");
    r->result_size = (size_t)(mp.end - mp.at);
    memcpy(r->results, mp.at, r->result_size);
    r->body_size = action->body.size;
    if (action->body.size)
        memcpy(r->body, action->body.data, action->body.size);
}

static void end_round(fixture *f) {
    evb_action *actions;
    size_t count;
    evb_error err = {0};
    assert_int_equal(evb_hub_commit(f->hub, f->now, &actions, &count, &err), 0);
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == EVB_ACTION_REPLY)
            read_reply(f, &actions[i]);
        else if (actions[i].kind == EVB_ACTION_FEED)
            snprintf(f->fed[f->fed_count++], 64, "%s", (const char *)actions[i].frame);
        evb_buf_free(&actions[i].head);
        evb_buf_free(&actions[i].body);
    }
}

static void request(fixture *f, size_t peer, const evb_buf *head, evb_buf *body) {
    evb_error err = {0};
    f->replies[peer].there = false;
    int rc = evb_hub_request(f->hub, (void *)(uintptr_t)peer, (evb_origin){100 + (int64_t)peer, 0}, head->data,
                             head->size, body ? body->data : NULL, body ? body->size : 0, 1, f->now, &err);
    assert_int_equal(rc, 0);
    end_round(f);
}

static void tick(fixture *f, int64_t by_ns) {
    evb_error err = {0};
    f->now += by_ns;
    if (f->now < evb_hub_deadline(f->hub))
        return;
    assert_int_equal(evb_hub_tick(f->hub, f->now, &err), 0);
    end_round(f);
}

/* ---- requests ---- */

static void begin(evb_buf *head, msgpack_packer *p, const char *op, uint32_t args) {
    evb_mp_packer(p, head);
    msgpack_pack_array(p, args + 2);
    evb_mp_pack_str(p, op, strlen(op));
    msgpack_pack_uint64(p, 7);
}

static void call(fixture *f, size_t peer, const char *payload, const char *id, int64_t timeout_ns, bool quiet) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    evb_buf head = {0}, body = {0};
    msgpack_packer p;
    begin(&head, &p, "call", 2);
    msgpack_pack_uint64(&p, (uint64_t)timeout_ns);
    quiet ? msgpack_pack_true(&p) : msgpack_pack_false(&p);
    const evb_event event = {.payload = payload, .size = strlen(payload), .id = id, .id_size = id ? strlen(id) : 0};
    assert_true(evb_record_begin(&body, "t", 1, 0, nobody, 0) && evb_record_add(&body, 0, &event));
    request(f, peer, &head, &body);
    evb_buf_free(&head);
    evb_buf_free(&body);
}

static void serve(fixture *f, size_t peer, const char *token, bool standby, const char *before, uint64_t claim) {
    evb_buf head = {0};
    msgpack_packer p;
    begin(&head, &p, "serve", 7);
    evb_mp_pack_str(&p, token, 32);
    evb_mp_pack_str(&p, "t", 1);
    standby ? msgpack_pack_true(&p) : msgpack_pack_false(&p);
    msgpack_pack_uint64(&p, 1);
    msgpack_pack_uint64(&p, 2);
    before ? evb_mp_pack_str(&p, before, 32) : msgpack_pack_nil(&p);
    msgpack_pack_array(&p, claim ? 1 : 0);
    if (claim) {
        msgpack_pack_array(&p, 2);
        msgpack_pack_uint64(&p, 0);
        msgpack_pack_uint64(&p, claim);
    }
    request(f, peer, &head, NULL);
    evb_buf_free(&head);
}

static void take_answer(fixture *f, size_t peer, const char *token, uint64_t slot, uint64_t number,
                        const char *outcome, const char *answer) {
    evb_buf head = {0}, body = {0};
    msgpack_packer p;
    begin(&head, &p, "serve.take", 7);
    evb_mp_pack_str(&p, token, 32);
    msgpack_pack_uint64(&p, slot);
    msgpack_pack_uint64(&p, number);
    msgpack_pack_true(&p);
    evb_mp_pack_str(&p, outcome, strlen(outcome));
    msgpack_pack_uint64(&p, number ? strlen(answer) : 0);
    evb_mp_pack_str(&p, "why", 3);
    assert_true(evb_buf_text(&body, answer) && evb_buf_text(&body, "err"));
    request(f, peer, &head, number ? &body : NULL);
    evb_buf_free(&head);
    evb_buf_free(&body);
}

static void take(fixture *f, size_t peer, const char *token, uint64_t slot, uint64_t number, const char *outcome) {
    take_answer(f, peer, token, slot, number, outcome, "ANS");
}

/* ---- what is expected ---- */

/* The peer was given a command; its number. */
static uint64_t given(const fixture *f, size_t peer) {
    const reply *r = &f->replies[peer];
    evb_mp mp = {r->results, r->results + r->result_size};
    uint64_t number = 0;
    assert_true(r->there);
    assert_string_equal(r->word, "ok");
    assert_true(evb_mp_uint(&mp, &number));
    assert_true(r->body_size > 0);
    return number;
}

static void assert_outcome(const fixture *f, size_t peer, const char *outcome) {
    const reply *r = &f->replies[peer];
    evb_mp mp = {r->results, r->results + r->result_size};
    const char *word;
    size_t size;
    assert_true(r->there);
    assert_string_equal(r->word, "ok");
    assert_true(evb_mp_str(&mp, &word, &size));
    assert_int_equal(size, strlen(outcome));
    assert_memory_equal(word, outcome, size);
    assert_memory_equal(r->body, "ANS", 3);
}

static void assert_refused(const fixture *f, size_t peer, const char *code) {
    assert_true(f->replies[peer].there);
    assert_string_equal(f->replies[peer].word, code);
}

/* ---- the tests ---- */

static void asks_and_answers(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    assert_false(f->replies[2].there);
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_int_equal(given(f, 2), 1);
    assert_false(f->replies[3].there);
    assert_int_equal(f->fed_count, 0); /* it is not safe yet */
    take(f, 2, TOKEN_A, 0, 1, "done");
    assert_outcome(f, 3, "done");
    assert_int_equal(f->replies[3].body_size, 6);
    assert_int_equal(f->fed_count, 2);
    assert_string_equal(f->fed[0], "$cmd.t.asked");
    assert_string_equal(f->fed[1], "$cmd.t.done");
}

static void asked_is_safe_soon(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_int_equal(evb_journal_head(f->journal), 0);
    tick(f, 10 * MS);
    assert_int_equal(evb_journal_head(f->journal), 1);
    assert_int_equal(f->fed_count, 1);
    call(f, 4, "do it", "id", 1000 * MS, false);
    assert_int_equal(evb_journal_head(f->journal), 2); /* before it is handed on */
}

/* Also where another reason has made it safe before: a subscriber drops what is below the seq of a beat or a welcome. */
static void a_beat_names_nothing_that_is_not_on_the_feed(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    evb_buf beat = {0};
    evb_record rec;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_int_equal(evb_journal_settle(f->journal, &err), 0);
    assert_int_equal(evb_journal_head(f->journal), 1);
    for (uint64_t fed = 0; fed < 2; fed++) {
        assert_int_equal(f->fed_count, fed);
        assert_true(evb_hub_beat(f->hub, "$hub.beat", 9, 0, 1, &beat));
        assert_null(evb_frame_parse(beat.data, beat.size, &rec));
        assert_int_equal(rec.seq, fed + 1);
        beat.size = 0;
        tick(f, 10 * MS);
    }
    evb_buf_free(&beat);
}

/* Nor does any other answer: a subscriber that is told less by its welcome takes the journal for another. */
static void no_head_is_told_that_is_not_on_the_feed(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    serve(f, 1, TOKEN_A, false, NULL, 0);
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_int_equal(evb_journal_settle(f->journal, &err), 0);
    assert_int_equal(f->fed_count, 0);
    end_round(f);
    assert_int_equal(f->fed_count, 1);
}

/* The clock has not been looked at since its time was over. */
static void a_late_one_is_not_handed_out(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    call(f, 3, "do it", NULL, 100 * MS, false);
    f->now += 200 * MS;
    take(f, 2, TOKEN_A, 0, 0, "");
    assert_false(f->replies[2].there);
    assert_refused(f, 3, "timeout");
}

static void no_handler(void **state) {
    fixture *f = *state;
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_refused(f, 3, "nohandler");
    assert_int_equal(evb_journal_appended(f->journal), 0);
}

static void quiet_is_not_stored(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "do it", NULL, 1000 * MS, true);
    uint64_t number = given(f, 2);
    assert_true(number >> 63);
    take(f, 2, TOKEN_A, 0, number, "refused");
    assert_outcome(f, 3, "refused");
    assert_int_equal(evb_journal_appended(f->journal), 0);
}

static void times_end(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "taken", NULL, 100 * MS, false);
    call(f, 4, "not taken", NULL, 100 * MS, false);
    tick(f, 99 * MS);
    assert_false(f->replies[3].there || f->replies[4].there);
    tick(f, MS);
    assert_refused(f, 3, "unknown");
    assert_refused(f, 4, "timeout");
    take(f, 2, TOKEN_A, 0, 1, "done"); /* late, and recorded */
    assert_false(f->replies[2].there); /* the other was withdrawn */
    assert_string_equal(f->fed[f->fed_count - 1], "$cmd.t.done");
    assert_string_equal(f->fed[f->fed_count - 2], "$cmd.t.lost");
}

static void a_take_may_be_sent_twice(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_int_equal(given(f, 2), 1);
    take(f, 5, TOKEN_A, 0, 0, ""); /* the answer was lost */
    assert_int_equal(given(f, 5), 1);
    take(f, 5, TOKEN_A, 0, 1, "done");
    assert_outcome(f, 3, "done");
    f->replies[3].there = false;
    take(f, 6, TOKEN_A, 0, 1, "done"); /* and so was this one's: peer 5 is let go */
    assert_true(f->replies[5].there);
    assert_false(f->replies[3].there);
    assert_int_equal(evb_journal_appended(f->journal), 2);
}

static void a_handler_goes(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "taken", NULL, 1000 * MS, false);
    call(f, 4, "not taken", NULL, 1000 * MS, false);
    evb_hub_left(f->hub, TOKEN_A, 32);
    tick(f, 0);
    assert_refused(f, 3, "unknown");
    assert_refused(f, 4, "nohandler");
}

static void a_standby_takes_over(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    serve(f, 2, TOKEN_B, false, NULL, 0);
    assert_refused(f, 2, "busy");
    assert_string_equal(f->replies[2].text, "t is served by process 101");
    serve(f, 2, TOKEN_B, true, NULL, 0);
    take(f, 5, TOKEN_B, 0, 0, "");
    call(f, 3, "do it", NULL, 1000 * MS, false);
    assert_false(f->replies[5].there || f->replies[3].there);
    evb_hub_left(f->hub, TOKEN_A, 32);
    tick(f, 0);
    assert_int_equal(given(f, 5), 1);
}

static void ids_are_done_once(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "do it", "id", 1000 * MS, false);
    call(f, 4, "do it", "id", 1000 * MS, false);
    take(f, 2, TOKEN_A, 0, given(f, 2), "done");
    assert_outcome(f, 3, "done");
    assert_outcome(f, 4, "done");
    evb_hub_destroy(&f->hub);
    open_hub(f);
    call(f, 5, "do it", "id", 1000 * MS, false);
    assert_outcome(f, 5, "done");
    assert_int_equal(evb_journal_appended(f->journal), 2);
}

static void what_was_lost_is_not_done_again(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    call(f, 3, "not taken", "id", 100 * MS, false);
    tick(f, 100 * MS);
    assert_refused(f, 3, "timeout");
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "again", "id", 100 * MS, false);
    assert_int_equal(given(f, 2), 3);
    evb_hub_left(f->hub, TOKEN_A, 32);
    tick(f, 0);
    assert_refused(f, 3, "unknown");
    serve(f, 1, TOKEN_B, false, NULL, 0);
    call(f, 3, "again", "id", 100 * MS, false);
    assert_refused(f, 3, "unknown");
}

static void a_handler_brings_it_to_the_next_hub(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "do it", "id", 1000 * MS, false);
    assert_int_equal(given(f, 2), 1);
    size_t before = dropped;
    evb_hub_destroy(&f->hub);
    assert_int_equal(dropped, before + 1); /* the caller */
    open_hub(f);
    call(f, 4, "do it", "id", 1000 * MS, false);
    assert_false(f->replies[4].there); /* its handler may come back */
    serve(f, 1, TOKEN_A, false, NULL, 1);
    take(f, 2, TOKEN_A, 0, 1, "done");
    assert_outcome(f, 4, "done");
    serve(f, 1, TOKEN_A, false, TOKEN_A, 1); /* the same claim once more: it is known */
    take(f, 5, TOKEN_A, 0, 1, "done");
    assert_int_equal(evb_journal_appended(f->journal), 2);
}

/* Its outcome is stored already, behind more answers of others than one read of the journal takes. */
static void what_was_stored_far_behind_is_not_stored_again(void **state) {
    enum { ANSWER = 1000, OTHERS = EVB_FETCH_MOST / ANSWER + 1 };
    fixture *f = *state;
    char answer[ANSWER + 1];
    memset(answer, 'a', ANSWER);
    answer[ANSWER] = '\0';
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "takes long", NULL, 1000 * MS, false);
    assert_int_equal(given(f, 2), 1);
    take(f, 4, TOKEN_A, 1, 0, "");
    for (size_t i = 0; i < OTHERS; i++) {
        call(f, 5, "quick", NULL, 1000 * MS, false);
        take_answer(f, 4, TOKEN_A, 1, given(f, 4), "done", answer);
        f->fed_count = 0;
    }
    take(f, 2, TOKEN_A, 0, 1, "done");
    uint64_t appended = evb_journal_appended(f->journal);
    evb_hub_destroy(&f->hub);
    open_hub(f);
    serve(f, 1, TOKEN_A, false, TOKEN_A, 1);
    take(f, 2, TOKEN_A, 0, 1, "done");
    assert_int_equal(evb_journal_appended(f->journal), appended);
}

/* Orphans of the hub before: one that stands by comes back first, then the one that has it in hand, or nobody does. */
static void a_handler_that_comes_back_second(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "do it", "id", 9000 * MS, false);
    for (int comes = 1; comes >= 0; comes--) {
        evb_hub_destroy(&f->hub);
        open_hub(f);
        serve(f, 1, TOKEN_B, true, TOKEN_B, 0);
        call(f, 4, "do it", "id", 9000 * MS, false);
        assert_false(f->replies[4].there);
        tick(f, 2000 * MS);
        assert_false(f->replies[4].there);
        if (comes)
            serve(f, 5, TOKEN_A, true, TOKEN_A, 1);
    }
    tick(f, 1000 * MS);
    assert_refused(f, 4, "unknown");
    call(f, 4, "do it", "id", 9000 * MS, false);
    assert_refused(f, 4, "unknown");
}

static void another_handler_knows_nothing_of_it(void **state) {
    fixture *f = *state;
    serve(f, 1, TOKEN_A, false, NULL, 0);
    take(f, 2, TOKEN_A, 0, 0, "");
    call(f, 3, "do it", "id", 1000 * MS, false);
    evb_hub_destroy(&f->hub);
    open_hub(f);
    call(f, 4, "do it", "id", 1000 * MS, false);
    serve(f, 1, TOKEN_B, false, NULL, 0);
    assert_refused(f, 4, "unknown");
}

static void nonsense_is_refused(void **state) {
    fixture *f = *state;
    static const char *const OPS[] = {"call", "serve", "serve.take", "serve.stop"};
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
        for (uint32_t args = 0; args < 9; args++) {
            evb_buf head = {0}, body = {0};
            msgpack_packer p;
            begin(&head, &p, OPS[i], args);
            for (uint32_t k = 0; k < args; k++)
                k % 2 ? msgpack_pack_uint64(&p, UINT64_MAX) : evb_mp_pack_str(&p, "x", 1);
            evb_buf_add(&body, "nonsense", 8);
            request(f, 1, &head, &body);
            assert_true(f->replies[1].there && strcmp(f->replies[1].word, "ok") != 0);
            evb_buf_free(&head);
            evb_buf_free(&body);
        }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(asks_and_answers),
                                       TEST(asked_is_safe_soon),
                                       TEST(a_beat_names_nothing_that_is_not_on_the_feed),
                                       TEST(no_head_is_told_that_is_not_on_the_feed),
                                       TEST(a_late_one_is_not_handed_out),
                                       TEST(no_handler),
                                       TEST(quiet_is_not_stored),
                                       TEST(times_end),
                                       TEST(a_take_may_be_sent_twice),
                                       TEST(a_handler_goes),
                                       TEST(a_standby_takes_over),
                                       TEST(ids_are_done_once),
                                       TEST(what_was_lost_is_not_done_again),
                                       TEST(a_handler_brings_it_to_the_next_hub),
                                       TEST(what_was_stored_far_behind_is_not_stored_again),
                                       TEST(a_handler_that_comes_back_second),
                                       TEST(another_handler_knows_nothing_of_it),
                                       TEST(nonsense_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
