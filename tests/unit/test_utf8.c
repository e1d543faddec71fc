/* test_utf8.c: copying text into a bounded room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"

static void assert_copy(const char *text, size_t size, size_t room, bool tame, const char *wanted) {
    char out[32];
    memset(out, 'x', sizeof out);
    evb_utf8_copy(out, room, text, size, tame);
    assert_string_equal(out, wanted);
}

static void whole_characters(void **state) {
    static const char text[] = "aäö\xe2\x82\xac"; /* 1, 2, 2 and 3 bytes */
    static const char *const by_room[] = {"", "a", "a", "aä", "aä", "aäö", "aäö", "aäö", text};
    for (size_t room = 1; room <= 9; room++)
        assert_copy(text, strlen(text), room, false, by_room[room - 1]);
}

static void what_is_no_text(void **state) {
    assert_copy("a\xff\xc3.ä", 6, 32, false, "a?\?.ä");
    assert_copy("a\xe2\x82", 3, 32, false, "a?\?");
    assert_copy("a\0b", 3, 32, false, "a?b");
    assert_copy("", 0, 1, false, "");
}

static void controls(void **state) {
    assert_copy("a\tb\x1b[1m\xc2\x9b\x7f", 10, 32, true, "a?b?[1m??");
    assert_copy("a\tb", 3, 32, false, "a\tb");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_characters), cmocka_unit_test(what_is_no_text),
                                       cmocka_unit_test(controls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
