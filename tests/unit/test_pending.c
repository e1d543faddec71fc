/* test_pending.c: the set of pending events against a plain array of one cell for each key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hub/pending.h"

enum { KEYS = 200, HOLDERS = 3, TOPICS = 4, STEPS = 60000 };

typedef enum { ABSENT, WAITS, HAND, BACK } cell_state;

typedef struct {
    cell_state state;
    int64_t due;
    int holder, topic;
} cell;

typedef struct {
    evb_pending set;
    evb_holder holders[HOLDERS];
    cell cells[KEYS];
    bool ordered;
} model;

/* The topic of a key, the same for a run of ten, as a record's events have one. */
static int topic_of(uint64_t key) { return (int)(key / 10 % TOPICS); }

static evb_entry *pick(model *m) { return evb_pending_from(&m->set, (uint64_t)(rand() % KEYS)); }

static void mark(model *m, const evb_entry *e, cell_state state, int64_t due, int holder) {
    for (uint64_t key = e->first; key <= e->last; key++)
        m->cells[key] = (cell){state, due, holder, topic_of(key)};
}

/* In a lane the first entry may go once what was before it is gone. */
static void release_lane(model *m, int topic) {
    if (!m->ordered)
        return;
    for (evb_entry *e = evb_pending_from(&m->set, 0); e; e = evb_pending_next(e)) {
        if (topic_of(e->first) != topic)
            continue;
        if (m->cells[e->first].state == BACK)
            mark(m, e, WAITS, 0, 0);
        return;
    }
}

static void add(model *m) {
    char topic[8];
    uint64_t first = (uint64_t)(rand() % KEYS), last = first;
    while (last + 1 < KEYS && (last + 1) / 10 == first / 10 && rand() % 4)
        last++;
    for (uint64_t key = first; key <= last; key++)
        if (m->cells[key].state != ABSENT)
            return;
    /* a lane is added to at its end, as the journal is read; or at its head, when nothing of it is out */
    for (evb_entry *e = evb_pending_from(&m->set, last); m->ordered && e; e = evb_pending_next(e))
        if (topic_of(e->first) == topic_of(first))
            return;
    int n = snprintf(topic, sizeof topic, "t%d", topic_of(first));
    int64_t due = rand() % 50;
    evb_entry *e = evb_pending_add(&m->set, first, last, due, m->ordered ? topic : NULL, (size_t)n);
    assert_non_null(e);
    mark(m, e, e->state == EVB_HELD ? BACK : WAITS, due, 0);
}

static void split(model *m, evb_entry *e) {
    uint64_t count = evb_entry_count(e);
    if (count < 2)
        return;
    evb_entry *rest = evb_pending_split(&m->set, e, 1 + (uint64_t)rand() % (count - 1));
    assert_non_null(rest);
    if (m->ordered)
        mark(m, rest, BACK, 0, 0);
}

static void change(model *m, evb_entry *e) {
    int holder = rand() % HOLDERS, topic = topic_of(e->first);
    int64_t due = rand() % 50;
    switch (rand() % 4) {
    case 0:
        if (e->state != EVB_WAITING)
            return;
        evb_pending_hand(&m->set, e, &m->holders[holder]);
        mark(m, e, HAND, 0, holder);
        return;
    case 1:
        if (e->state == EVB_HELD)
            return;
        evb_pending_wait(&m->set, e, due);
        mark(m, e, WAITS, due, 0);
        return;
    case 2: split(m, e); return;
    default:
        mark(m, e, ABSENT, 0, 0);
        evb_pending_remove(&m->set, &e);
        assert_null(e);
        release_lane(m, topic);
    }
}

static void check_states(const model *m) {
    uint64_t counts[4] = {0}, hands[HOLDERS] = {0};
    for (int key = 0; key < KEYS; key++) {
        const cell *c = &m->cells[key];
        const evb_entry *e = evb_pending_from(&m->set, (uint64_t)key);
        bool there = e && e->first <= (uint64_t)key;
        counts[c->state]++;
        assert_int_equal(there, c->state != ABSENT);
        if (!there)
            continue;
        assert_int_equal(e->state, c->state == WAITS ? EVB_WAITING : c->state == HAND ? EVB_IN_HAND : EVB_HELD);
        if (c->state == HAND) {
            assert_ptr_equal(e->holder, &m->holders[c->holder]);
            hands[c->holder]++;
        }
    }
    assert_int_equal(m->set.events, KEYS - counts[ABSENT]);
    assert_int_equal(m->set.waiting_events, counts[WAITS]);
    assert_int_equal(m->set.in_hand_events, counts[HAND]);
    assert_int_equal(m->set.held_events, counts[BACK]);
    for (int i = 0; i < HOLDERS; i++)
        assert_int_equal(m->holders[i].events, hands[i]);
}

/* Of what waits the one that is due first, the lowest of those, is given; a holder's lowest is its first. */
static void check_firsts(const model *m) {
    int best = -1, lowest[HOLDERS] = {-1, -1, -1};
    for (int key = KEYS - 1; key >= 0; key--) {
        const cell *c = &m->cells[key];
        if (c->state == WAITS && (best < 0 || c->due <= m->cells[best].due))
            best = key;
        if (c->state == HAND)
            lowest[c->holder] = key;
    }
    const evb_entry *e = evb_pending_first_due(&m->set);
    assert_int_equal(e ? (int)e->first : -1, best);
    for (int i = 0; i < HOLDERS; i++) {
        e = evb_holder_first(&m->holders[i]);
        assert_int_equal(e ? (int)e->first : -1, lowest[i]);
    }
}

static void run_model(bool ordered, unsigned seed) {
    model m = {.ordered = ordered};
    srand(seed);
    for (int i = 0; i < STEPS; i++) {
        evb_entry *e = pick(&m);
        if (!e || rand() % 3 == 0)
            add(&m);
        else
            change(&m, e);
        if (i % 16 == 0) {
            check_states(&m);
            check_firsts(&m);
        }
    }
    evb_pending_clear(&m.set);
    assert_int_equal(m.set.events + m.set.count + m.holders[0].events, 0);
}

static void as_a_plain_array(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 3; seed++)
        run_model(false, seed);
}

static void as_a_plain_array_with_lanes(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= 3; seed++)
        run_model(true, seed);
}

static void a_replay_is_another_key(void **state) {
    evb_pending set = {0};
    (void)state;
    assert_non_null(evb_pending_add(&set, 5, 6, 0, NULL, 0));
    assert_non_null(evb_pending_add(&set, 5 | EVB_KEY_REPLAY, 6 | EVB_KEY_REPLAY, 0, NULL, 0));
    assert_int_equal(evb_pending_from(&set, 0)->first, 5);
    assert_int_equal(evb_key_seq(evb_pending_from(&set, 7)->first), 5);
    assert_int_equal(set.events, 4);
    evb_pending_clear(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_plain_array),
        cmocka_unit_test(as_a_plain_array_with_lanes),
        cmocka_unit_test(a_replay_is_another_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
