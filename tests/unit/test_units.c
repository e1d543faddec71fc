/* test_units.c: sizes, durations, numbers, times; and the default paths, which are as small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/paths.h"
#include "base/units.h"

static void sizes(void **state) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"512", 512},
                {"64K", 65536},
                {"64k", 65536},
                {"1M", 1 << 20},
                {"1MiB", 1 << 20},
                {"10GB", UINT64_C(10) << 30},
                {"2T", UINT64_C(2) << 40},
                {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {
        "", "K", "-1", " 1", "1 K", "1m", "1KK", "0x10", "1.5M", "18446744073709551616", "99999999999T"};
    uint64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(evb_size_parse(good[i].text, &v));
        assert_true(v == good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(evb_size_parse(bad[i], &v));
}

static void durations(void **state) {
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},
                {"10", 10000},
                {"2.5", 2500},
                {"0.1", 100},
                {"10m", 600000},
                {"250ms", 250},
                {"1h30m", 5400000},
                {"1.5d", 129600000},
                {"1w", 604800000},
                {"1m30s", 90000},
                {"36500d", INT64_C(3153600000000)}};
    static const char *const bad[] = {"",         "m",
                                      "-1",       "1.",
                                      ".5",       "10x",
                                      "1h30",     "1 h",
                                      "1e3",      "9999999999999",
                                      "1.5.5",    "36501d",
                                      "36500d1s", "99999999999999999999"};
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(evb_duration_parse(good[i].text, &v));
        assert_true(v == good[i].ms * 1000000);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(evb_duration_parse(bad[i], &v));
    assert_non_null(evb_age_parse("10", &v));
    assert_null(evb_age_parse("10s", &v));
}

static void times_agree_with_gmtime(void **state) {
    char ours[EVB_TIME_TEXT], theirs[64];
    for (int64_t t = INT64_C(-9000000000); t < INT64_C(9000000000); t += 86399 * 7) {
        time_t seconds = (time_t)t;
        struct tm tm;
        strftime(theirs, sizeof theirs, "%Y-%m-%dT%H:%M:%S.000000007Z", gmtime_r(&seconds, &tm));
        assert_int_equal(evb_time_text(t * 1000000000 + 7, ours), 30);
        assert_string_equal(ours, theirs);
    }
    evb_time_text(-1, ours);
    assert_string_equal(ours, "1969-12-31T23:59:59.999999999Z");
}

static void numbers(void **state) {
    char room[21] = {0};
    uint64_t v;
    assert_int_equal(evb_number_text(0, room), 1);
    assert_int_equal(evb_number_text(UINT64_MAX, room), 20);
    assert_string_equal(room, "18446744073709551615");
    assert_null(evb_number_parse(room, &v));
    assert_true(v == UINT64_MAX);
    assert_non_null(evb_number_parse("", &v));
    assert_non_null(evb_number_parse("+1", &v));
    assert_non_null(evb_number_parse("1 ", &v));
}

static void expect_text(char *text, const char *wanted) {
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static void paths(void **state) {
    const evb_environment root = {NULL, "/run/user/0", "/s", "/root", 0, NULL},
                          cron = {"", NULL, "relative", "/home/a", 7, NULL};
    const evb_environment user = {NULL, "/run/user/7", "/s", "/home/a", 7, NULL},
                          named = {"tcp://h:1", "/r", "/s", "/h", 7, "/spools"};
    const evb_environment bare = {NULL, NULL, NULL, NULL, 7, "relative"};
    evb_error err;
    expect_text(evb_paths_url(&root, &err), "ipc:///run/evbus");
    expect_text(evb_paths_url(&user, &err), "ipc:///run/user/7/evbus");
    expect_text(evb_paths_url(&cron, &err), "ipc:///run/user/7/evbus");
    expect_text(evb_paths_url(&named, &err), "tcp://h:1");
    expect_text(evb_paths_state(&root, &err), "/var/lib/evbus");
    expect_text(evb_paths_state(&user, &err), "/s/evbus");
    expect_text(evb_paths_state(&cron, &err), "/home/a/.local/state/evbus");
    assert_null(evb_paths_state(&bare, &err));
    expect_text(evb_paths_cursor(&user, "x", &err), "/s/evbus/cursors/x");
    expect_text(evb_paths_cursor(&user, "./x", &err), "./x");
    assert_null(evb_paths_cursor(&user, "..", &err));
    assert_null(evb_paths_cursor(&user, "", &err));
}

static void cursors(void **state) {
    char dir[] = "/tmp/evbus-units-XXXXXX", path[64], command[96];
    uint64_t seq = 0;
    bool found;
    evb_error err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a/b/c", dir);
    assert_int_equal(evb_cursor_read(path, &seq, &found, &err), 0);
    assert_false(found);
    assert_int_equal(evb_cursor_write(path, 42, &err), 0);
    assert_int_equal(evb_cursor_write(path, UINT64_MAX, &err), 0);
    assert_int_equal(evb_cursor_read(path, &seq, &found, &err), 0);
    assert_true(found && seq == UINT64_MAX);
    static const char *const bad[] = {
        "", "\n", "0\n", "x\n", "1\n2\n", "1 \n", "99999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FILE *f = fopen(path, "w");
        fputs(bad[i], f);
        fclose(f);
        assert_int_equal(evb_cursor_read(path, &seq, &found, &err), EVB_EDATA);
    }
    snprintf(command, sizeof command, "test $(find %s -type f | wc -l) = 1 && rm -r %s", dir, dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(evb_cursor_write("/proc/nowhere/c", 1, &err) < 0, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),   cmocka_unit_test(durations), cmocka_unit_test(times_agree_with_gmtime),
        cmocka_unit_test(numbers), cmocka_unit_test(paths),     cmocka_unit_test(cursors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
