/* test_json.c: events to JSON and back, to the byte; and lines that are no events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event/json.h"
#include "event/limits.h"

static const uint8_t producer[16] = {1, 2, 3};

static evb_event event_of(const void *payload, size_t size) {
    return (evb_event){.topic = "a.b",
                       .topic_size = 3,
                       .payload = payload,
                       .size = size,
                       .id = "i\"1",
                       .id_size = 3,
                       .seq = 7,
                       .version = 2,
                       .time_ns = 1,
                       .producer = producer,
                       .producer_seq = 1};
}

static void expect_line(const evb_event *event, const char *wanted) {
    evb_buf out = {0};
    assert_true(evb_json_add_event(&out, event));
    assert_int_equal(out.size, strlen(wanted));
    assert_memory_equal(out.data, wanted, out.size);
    evb_buf_free(&out);
}

#define HEAD                                                                                                         \
    "{\"seq\":7,\"version\":2,\"time\":\"1970-01-01T00:00:00.000000001Z\",\"topic\":\"a.b\",\"id\":\"i\\\"1\""

static void the_line_is_as_documented(void **state) {
    const evb_header headers[] = {{"k", 1, "v\n", 2}, {"l", 1, "", 0}};
    evb_event event = event_of("h\"\\\t\x01\0\x7fé", 9);
    expect_line(&event, HEAD ",\"headers\":{},\"payload\":\"h\\\"\\\\\\t\\u0001\\u0000\x7fé\"}");
    event = event_of("\xff\xfe", 2);
    event.headers = headers;
    event.header_count = 2;
    expect_line(&event, HEAD ",\"headers\":{\"k\":\"v\\n\",\"l\":\"\"},\"payload_base64\":\"//4=\"}");
    event = event_of(NULL, 0);
    expect_line(&event, HEAD ",\"headers\":{},\"payload\":\"\"}");
    event.live = true;
    event.seq = 0;
    expect_line(&event, "{\"seq\":0,\"version\":2,\"time\":\"1970-01-01T00:00:00.000000001Z\",\"live\":true,"
                        "\"topic\":\"a.b\",\"id\":\"i\\\"1\",\"headers\":{},\"payload\":\"\"}");
}

/* Prints, reads back, compares. */
static void round_trip(evb_json *json, const evb_event *event) {
    evb_buf out = {0};
    evb_event back;
    evb_error err = {0, ""};
    assert_true(evb_json_add_event(&out, event));
    if (evb_json_read(json, (const char *)out.data, out.size, &back, &err))
        fail_msg("%s in %.*s", err.text, (int)out.size, out.data);
    assert_int_equal(back.size, event->size);
    if (event->size)
        assert_memory_equal(back.payload, event->payload, event->size);
    assert_int_equal(back.topic_size, event->topic_size);
    assert_memory_equal(back.topic, event->topic, event->topic_size);
    assert_int_equal(back.id_size, event->id_size);
    assert_memory_equal(back.id, event->id, event->id_size);
    assert_int_equal(back.header_count, event->header_count);
    for (size_t i = 0; i < back.header_count; i++) {
        assert_string_equal(back.headers[i].name, event->headers[i].name);
        assert_int_equal(back.headers[i].value_size, event->headers[i].value_size);
        assert_memory_equal(back.headers[i].value, event->headers[i].value, back.headers[i].value_size);
    }
    evb_buf_free(&out);
}

static void every_byte_comes_back(void **state) {
    evb_json *json = evb_json_new();
    uint8_t bytes[256 + 8];
    const evb_header headers[] = {{"a", 1, "nul\0in", 6}, {"b b", 3, "\"é", 3}};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t start = 0; start < 256; start++)
        for (size_t size = 0; size <= 8; size++) {
            evb_event event = event_of(bytes + start, size);
            round_trip(json, &event);
        }
    evb_event event = event_of(bytes, 256);
    event.headers = headers;
    event.header_count = 2;
    round_trip(json, &event);
    evb_json_destroy(&json);
    assert_null(json);
    evb_json_destroy(&json);
}

static void random_bytes_come_back(void **state) {
    static const char *const pieces[] = {
        "a",        "plain text of some length", "\n",   "\"",   "\\",  "é", "€", "😀", "\xed\xa0\x80",
        "\xc0\x80", "\xf4\x90\x80\x80",          "\xff", "\x7f", "\xc3"};
    evb_json *json = evb_json_new();
    char text[20000];
    srand(1);
    for (int round = 0; round < 2000; round++) {
        size_t size = 0, few = round % 2 ? 8 : 14, most = (size_t)rand() % (round % 100 ? 100 : 19000);
        while (size < most) {
            const char *piece = pieces[(size_t)rand() % few];
            size_t n = strlen(piece);
            memcpy(text + size, piece, n);
            size += n;
        }
        evb_event event = event_of(text, size);
        round_trip(json, &event);
    }
    evb_json_destroy(&json);
}

static void lines_that_are_none_are_refused(void **state) {
    static const char *const cases[][2] = {
        {"", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"7", "not a JSON object"},
        {"{\"topic\":\"a\"} x", "not a JSON object"},
        {"{\"topic\":\"a\",\"topic\":\"b\"}", "duplicate"},
        {"{\"topic\":\"a\",\"payload\":\"\xff\"}", "UTF-8"},
        {"{\"payload\":\"x\"}", "no \"topic\""},
        {"{\"topic\":7}", "\"topic\" is not a string"},
        {"{\"topic\":\"a\",\"payload\":{}}", "\"payload\" is not a string"},
        {"{\"topic\":\"a\",\"payload_base64\":1}", "\"payload_base64\" is not a string"},
        {"{\"topic\":\"a\",\"payload_base64\":\"a\"}", "not base64"},
        {"{\"topic\":\"a\",\"payload_base64\":\"a===\"}", "not base64"},
        {"{\"topic\":\"a\",\"payload_base64\":\"aa=a\"}", "not base64"},
        {"{\"topic\":\"a\",\"payload_base64\":\"YQ==YQ==\"}", "not base64"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"payload_base64\":\"\"}", "both"},
        {"{\"topic\":\"a\",\"headers\":[]}", "\"headers\" is not an object"},
        {"{\"topic\":\"a\",\"headers\":{\"k\":1}}", "header \"k\" is not a string"},
        {"{\"topic\":\"a\",\"id\":1}", "\"id\" is not a string"},
    };
    evb_json *json = evb_json_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        evb_event event;
        evb_error err = {0, ""};
        assert_int_equal(evb_json_read(json, cases[i][0], strlen(cases[i][0]), &event, &err), EVB_EDATA);
        if (!strstr(err.text, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], err.text);
    }
    evb_json_destroy(&json);
}

static void limits_hold(void **state) {
    evb_json *json = evb_json_new();
    evb_buf line = {0};
    evb_event event;
    evb_error err;
    evb_buf_text(&line, "{\"topic\":\"a\",\"headers\":{");
    for (int i = 0; i <= EVB_HEADER_COUNT_MAX; i++)
        evb_buf_printf(&line, "%s\"%d\":\"\"", i ? "," : "", i);
    evb_buf_text(&line, "}}");
    assert_int_equal(evb_json_read(json, (char *)line.data, line.size, &event, &err), EVB_EDATA);
    line.size = 0;
    evb_buf_printf(&line, "{\"topic\":\"a\",\"id\":\"%0*d\"}", EVB_ID_MAX, 0);
    assert_int_equal(evb_json_read(json, (char *)line.data, line.size, &event, &err), EVB_EDATA);
    static const char known[] =
        "{\"topic\":\"a\",\"seq\":5,\"version\":1,\"time\":\"x\",\"live\":true,\"other\":[1]}";
    assert_int_equal(evb_json_read(json, known, strlen(known), &event, &err), 0);
    assert_int_equal(event.size, 0);
    assert_int_equal(event.seq, 0);
    assert_false(event.live);
    assert_null(event.id);
    evb_buf_free(&line);
    evb_json_destroy(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_is_as_documented),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(random_bytes_come_back),
        cmocka_unit_test(lines_that_are_none_are_refused),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
