/* test_position.c: every form of --from, and what is none. Time zone of the tests: 1 hour east, 2 in summer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "event/position.h"

#define S INT64_C(1000000000)
enum { NOON = 1795431600 }; /* 2026-11-23 12:00 local, 11:00 UTC */

static const struct {
    const char *text;
    evb_from from;
    int64_t value; /* of EVB_FROM_TIME: seconds */
} good[] = {
    {"first", EVB_FROM_FIRST, 0},
    {"last", EVB_FROM_LAST, 0},
    {"now", EVB_FROM_NOW, 0},
    {"1", EVB_FROM_SEQ, 1},
    {"20261123", EVB_FROM_SEQ, 20261123},
    {"-10", EVB_FROM_BACK, 10},
    {"-0", EVB_FROM_NOW, 0},
    {"10m", EVB_FROM_TIME, NOON - 600},
    {"10m ago", EVB_FROM_TIME, NOON - 600},
    {"1h30m", EVB_FROM_TIME, NOON - 5400},
    {"2d", EVB_FROM_TIME, NOON - 2 * 86400},
    {"@1795431600", EVB_FROM_TIME, NOON},
    {"today", EVB_FROM_TIME, NOON - 12 * 3600},
    {"today 10:30", EVB_FROM_TIME, NOON - 5400},
    {"10:30", EVB_FROM_TIME, NOON - 5400},
    {"9:00", EVB_FROM_TIME, NOON - 3 * 3600},
    {"tomorrow 9:00:30", EVB_FROM_TIME, NOON + 21 * 3600 + 30},
    {"2026-11-23T9:00Z", EVB_FROM_TIME, NOON - 2 * 3600},
    {"10:30:30", EVB_FROM_TIME, NOON - 5400 + 30},
    {"yesterday", EVB_FROM_TIME, NOON - 36 * 3600},
    {"tomorrow", EVB_FROM_TIME, NOON + 12 * 3600},
    {"tomorrow 10:30", EVB_FROM_TIME, NOON + 24 * 3600 - 5400},
    {"yesterday 10:30", EVB_FROM_TIME, NOON - 24 * 3600 - 5400},
    {"2026-11-23", EVB_FROM_TIME, NOON - 12 * 3600},
    {"2026-11-23T11:00:00Z", EVB_FROM_TIME, NOON},
    {"2026-11-23T12:00:00", EVB_FROM_TIME, NOON},
    {"2026-11-23 12:00", EVB_FROM_TIME, NOON},
    {"2026-11-23T13:00:00+02:00", EVB_FROM_TIME, NOON},
    {"2026-11-23T13:00+0200", EVB_FROM_TIME, NOON},
    {"2026-11-23T03:00-08", EVB_FROM_TIME, NOON},
    {"2026-07-01T12:00", EVB_FROM_TIME, 1782900000},
};

static const char *const bad[] = {"",
                                  "frist",
                                  "First",
                                  "0",
                                  "1.5",
                                  "--1",
                                  "2026-13-01",
                                  "2026-02-30",
                                  "2026-11-23T25:00",
                                  "2026-11-23T",
                                  "24:00",
                                  "10:3",
                                  ":30",
                                  "9:0",
                                  "100:30",
                                  "@",
                                  "@x",
                                  "@1x",
                                  "10x",
                                  "10m agoo",
                                  "ago",
                                  "yesterdays",
                                  "today10:30",
                                  "2026-11-23T10:00X",
                                  "2026-11-23T10:00:00.",
                                  "1 2",
                                  " 1",
                                  "99999999999999999999",
                                  "2026-11-23Z",
                                  "@99999999999999",
                                  "2026-11-23T10:00Z "};

static void set_zone(void) {
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
}

static void every_form(void **state) {
    set_zone();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        evb_from from;
        uint64_t value;
        evb_error err = {0, ""};
        int rc = evb_position_parse(good[i].text, NOON * S, &from, &value, &err);
        bool time = good[i].from == EVB_FROM_TIME;
        if (rc || from != good[i].from || (int64_t)value != good[i].value * (time ? S : 1))
            fail_msg("%s: %d %s, %lld", good[i].text, rc, err.text, (long long)value);
    }
}

static void fractions(void **state) {
    evb_from from;
    uint64_t value;
    assert_int_equal(evb_position_parse("2026-11-23T11:00:00.25Z", 0, &from, &value, NULL), 0);
    assert_true((int64_t)value == NOON * S + S / 4);
    assert_int_equal(evb_position_parse("@1795431600.000000001", 0, &from, &value, NULL), 0);
    assert_true((int64_t)value == NOON * S + 1);
}

static void what_is_none(void **state) {
    set_zone();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        evb_from from;
        uint64_t value;
        evb_error err = {0, ""};
        if (evb_position_parse(bad[i], NOON * S, &from, &value, &err) != EVB_EINVAL || !strstr(err.text, bad[i]))
            fail_msg("'%s' was taken: %s", bad[i], err.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form), cmocka_unit_test(fractions),
                                       cmocka_unit_test(what_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
