/* test_format.c: formats, field by field, and what is wrong with one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "event/format.h"

static const evb_header headers[] = {{"k", 1, "v", 1}, {"long name", 9, "w\0w", 3}};
static const uint8_t producer[16];
static const evb_event event = {.topic = "a.b",
                                .topic_size = 3,
                                .payload = "p\0q",
                                .size = 3,
                                .headers = headers,
                                .header_count = 2,
                                .id = "id",
                                .id_size = 2,
                                .seq = 7,
                                .version = 2,
                                .time_ns = 1,
                                .producer = producer};

static void expect(const char *format, const char *wanted, size_t size) {
    evb_buf out = {0};
    evb_format *f = evb_format_new(format, NULL);
    assert_non_null(f);
    assert_true(evb_format_add(f, &out, &event));
    assert_int_equal(out.size, size);
    if (size)
        assert_memory_equal(out.data, wanted, size);
    evb_buf_free(&out);
    evb_format_destroy(&f);
    assert_null(f);
}

static void every_field(void **state) {
    expect("", "", 0);
    expect("plain", "plain", 5);
    expect("%t %s %v %i", "a.b 7 2 id", 10);
    expect("%T", "1970-01-01T00:00:00.000000001Z", 30);
    expect("<%p>%n", "<p\0q>\n", 6);
    expect("%h{k}%h{none}%h{long name}", "vw\0w", 4);
    expect("%%\\n\\t\\0\\\\", "%\n\t\0\\", 5);
    expect("100%% é", "100% é", 7);
}

static void what_is_wrong(void **state) {
    static const char *const bad[] = {"%", "%x", "a%", "%h", "%h{", "%h{}", "%h{k", "%hk}", "\\", "\\x", "%t\\"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        evb_error err = {0, ""};
        assert_null(evb_format_new(bad[i], &err));
        assert_int_equal(err.code, EVB_EINVAL);
        assert_non_null(strstr(err.text, bad[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_field), cmocka_unit_test(what_is_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
