/* test_topic.c: which topics and patterns are well formed, and what matches what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <cmocka.h>

#include "event/topic.h"

static void well_formed_topics(void **state) {
    (void)state;
    static const char *const good[] = {"a", "a.b", "caf\xc3\xa9.x", "$hub.x",
                                       "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16"};
    static const char *const bad[] = {"",         ".",          "a.",
                                      ".a",       "a..b",       "a b",
                                      "a\tb",     "a*",         "*",
                                      "#",        "a.#",        "\x7f",
                                      "\xff",     "\xc0\x80",   "\xed\xa0\x80",
                                      "\xc2\x85", "a.\xe2\x82", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_null(evb_topic_fault(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(evb_topic_fault(bad[i], strlen(bad[i])));
    assert_non_null(evb_topic_fault("a\0b", 3));
    char longest[256];
    memset(longest, 'x', sizeof longest);
    assert_null(evb_topic_fault(longest, 255));
    assert_non_null(evb_topic_fault(longest, 256));
}

static void patterns_match_token_by_token(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *topic;
        bool match;
    } rows[] = {
        {"#", "a", true},         {"#", "a.b.c", true},    {"#", "$hub.x", true},   {"*", "a", true},
        {"*", "a.b", false},      {"a", "a", true},        {"a", "ab", false},      {"ab", "a", false},
        {"a.*", "a.b", true},     {"a.*", "a", false},     {"a.*", "a.b.c", false}, {"a.#", "a.b.c", true},
        {"a.#", "a", false},      {"a.#", "ab.c", false},  {"*.b", "a.b", true},    {"*.b", "a.c", false},
        {"a.*.c", "a.b.c", true}, {"a.*.c", "a.b", false}, {"*.*.#", "a.b", false}, {"*.*.#", "a.b.c.d", true},
        {"a.b", "a.b.c", false},  {"a.b.c", "a.b", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (evb_pattern_match(rows[i].pattern, strlen(rows[i].pattern), rows[i].topic, strlen(rows[i].topic)) !=
            rows[i].match)
            fail_msg("%s %s", rows[i].pattern, rows[i].topic);
    assert_non_null(evb_pattern_fault("#.a", 3));
    assert_non_null(evb_pattern_fault("a*.b", 4));
    assert_null(evb_pattern_fault("*.a.#", 5));
}

/* Every topic that a pattern matches begins with its prefix: what the feed is asked for loses nothing. */
static void prefixes_cover_what_matches(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        size_t size;
        bool exact;
    } rows[] = {{"#", 0, false},   {"*", 0, false},      {"a", 1, true},   {"a.b", 3, true},
                {"a.#", 2, false}, {"ab.*.c", 3, false}, {"*.b", 0, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool exact;
        assert_int_equal(evb_pattern_prefix(rows[i].pattern, strlen(rows[i].pattern), &exact), rows[i].size);
        assert_int_equal(exact, rows[i].exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_topics),
        cmocka_unit_test(patterns_match_token_by_token),
        cmocka_unit_test(prefixes_cover_what_matches),
    };
    return cmocka_run_group_tests_name("topic", tests, NULL, NULL);
}
