/* test_expr: expressions and events as libjq's values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "event/expr.h"
#include "event/json.h"
#include "event/jv_event.h"
#include "event/where.h"

static const char *const EVENT[] = {"event"};

/* ---- helpers ---- */

static jv json(const char *text) {
    jv value = jv_parse(text);
    assert_true(jv_is_valid(value));
    return value;
}

static void assert_value(jv got, const char *wanted) {
    jv text = jv_dump_string(got, 0);
    assert_string_equal(jv_string_value(text), wanted);
    jv_free(text);
}

static int eval(const char *text, const char *input, const char *event, jv *out, evb_error *err) {
    evb_expr *expr = evb_expr_new(text, EVENT, 1, err);
    assert_non_null(expr);
    jv value = json(event);
    int rc = evb_expr_eval(expr, json(input), &value, out, err);
    evb_expr_destroy(&expr);
    return rc;
}

/* EXPRESSION of INPUT, $event null, is OUTPUT. */
static void assert_eval(const char *text, const char *input, const char *output) {
    evb_error err = {0, ""};
    jv out;
    if (eval(text, input, "null", &out, &err))
        fail_msg("%s: %s", text, err.text);
    assert_value(out, output);
}

static void assert_eval_fails(const char *text, const char *input, const char *why) {
    evb_error err;
    jv out;
    assert_int_equal(eval(text, input, "null", &out, &err), EVB_EDATA);
    if (!strstr(err.text, why))
        fail_msg("%s: %s, and not %s", text, err.text, why);
}

/* ---- expressions ---- */

static void test_value(void **state) {
    evb_error err;
    jv out;
    assert_int_equal(eval(". + $event.data", "1", "{\"data\":2}", &out, &err), 0);
    assert_value(out, "3");
    assert_int_equal(eval("$event # a comment", "1", "\"x\"", &out, &err), 0);
    assert_value(out, "\"x\"");
    assert_int_equal(eval("def f: . + 1; f | f", "1", "null", &out, &err), 0);
    assert_value(out, "3");
}

static void test_many_evaluations(void **state) {
    evb_error err;
    evb_expr *expr = evb_expr_new(".[$event.k] += $event.n", EVENT, 1, &err);
    jv sum = jv_null();
    assert_non_null(expr);
    for (int i = 0; i < 1000; i++) {
        jv event = jv_object_set(jv_object(), jv_string("k"), jv_string(i % 2 ? "odd" : "even"));
        event = jv_object_set(event, jv_string("n"), jv_number(i));
        assert_int_equal(evb_expr_eval(expr, sum, &event, &sum, &err), 0);
        assert_int_equal(jv_get_refcnt(sum), 1);
    }
    assert_value(sum, "{\"even\":249500,\"odd\":250000}");
    evb_expr_destroy(&expr);
    evb_expr_destroy(&expr);
}

static void test_faults_of_evaluation(void **state) {
    assert_eval_fails(".a", "1", "Cannot index number with string");
    assert_eval_fails("empty", "1", "gives no value");
    assert_eval_fails("1, 2", "1", "more than one value");
    assert_eval_fails("1, error(\"later\")", "1", "later");
    assert_eval_fails("error({a: 1})", "1", "{\"a\":1}");
    assert_eval_fails("error(null)", "1", "gives no value");
    assert_eval_fails("halt", "1", "halted");
    assert_eval_fails("input", "1", "no input to read");
}

/* A failure leaves nothing behind that the next evaluation sees. */
static void test_after_a_failure(void **state) {
    evb_error err;
    jv out, none = jv_null();
    evb_expr *expr = evb_expr_new(". as [$a, $b] | $a + $b", EVENT, 1, &err);
    assert_int_equal(evb_expr_eval(expr, json("[1, \"x\"]"), &none, &out, &err), EVB_EDATA);
    assert_false(jv_is_valid(out));
    assert_int_equal(evb_expr_eval(expr, json("[1, 2]"), &none, &out, &err), 0);
    assert_value(out, "3");
    evb_expr_destroy(&expr);
}

static void test_faults_of_compiling(void **state) {
    static const char *const texts[] = {".a +", "foo", "$other", "(", ".)"}; /* libjq leaks at an open string */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        evb_error err = {0, ""};
        assert_null(evb_expr_new(texts[i], EVENT, 1, &err));
        assert_int_equal(err.code, EVB_EINVAL);
        assert_ptr_equal(strstr(err.text, "expression: "), err.text);
        assert_null(strstr(err.text, "input as"));
    }
    evb_error err;
    assert_null(evb_expr_new(".) | (.", EVENT, 1, &err));
    assert_null(evb_expr_new(".", EVENT, EVB_EXPR_NAMES_MAX + 1, &err));
    assert_int_equal(err.code, EVB_EINVAL);
    assert_null(evb_expr_new("$event", NULL, 0, &err));
}

static void test_empty_expressions(void **state) {
    static const char *const texts[] = {"", "  ", "# nothing"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t names = 0; names < 2; names++) {
            evb_error err = {0, ""};
            assert_null(evb_expr_new(texts[i], EVENT, names, &err));
            assert_int_equal(err.code, EVB_EINVAL);
            assert_string_equal(err.text, "expression: it is empty");
        }
}

/* What libjq 1.6 aborts or crashes on, if the program has not set it up. */
static void test_modules_and_debug(void **state) {
    static const char *const texts[] = {"include \"a\"; true", "import \"a\" as a; true", "import \"a\" as $a; true"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        evb_error err = {0, ""};
        assert_null(evb_expr_new(texts[i], NULL, 0, &err));
        assert_int_equal(err.code, EVB_EINVAL);
        assert_ptr_equal(strstr(err.text, "expression: module not found: a"), err.text);
    }
    assert_eval("debug", "[1]", "[1]");
    assert_eval_fails("\"a\" | modulemeta", "1", "module not found: a");
}

static void test_variables(void **state) {
    static const char *const names[] = {"a", "b", "c"};
    evb_error err;
    jv out, values[] = {jv_number(1), jv_string("two"), json("[3]")};
    evb_expr *expr = evb_expr_new("[$c, $b, $a, .]", names, 3, &err);
    assert_int_equal(evb_expr_eval(expr, jv_true(), values, &out, &err), 0);
    assert_value(out, "[[3],\"two\",1,true]");
    evb_expr_destroy(&expr);
    expr = evb_expr_new(".x", NULL, 0, &err);
    assert_int_equal(evb_expr_eval(expr, json("{\"x\":5}"), NULL, &out, &err), 0);
    assert_value(out, "5");
    evb_expr_destroy(&expr);
}

static void test_condition(void **state) {
    static const struct {
        const char *text;
        bool holds;
    } cases[] = {{".n > 1", true}, {".n > 3", false}, {".missing", false}, {"empty", false},
                 {"0", true},      {"\"\"", true},    {"null", false},     {"false, true", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        evb_error err;
        bool holds = !cases[i].holds;
        evb_expr *expr = evb_expr_new(cases[i].text, NULL, 0, &err);
        assert_int_equal(evb_expr_test(expr, json("{\"n\":2}"), NULL, &holds, &err), 0);
        assert_int_equal(holds, cases[i].holds);
        evb_expr_destroy(&expr);
    }
    evb_error err;
    bool holds = true;
    evb_expr *expr = evb_expr_new(".n.x", NULL, 0, &err);
    assert_int_equal(evb_expr_test(expr, json("{\"n\":2}"), NULL, &holds, &err), EVB_EDATA);
    assert_false(holds);
    evb_expr_destroy(&expr);
}

/* |= and what stands on it is ours (expr.c): the results are those of jq 1.6. */
static void test_updates(void **state) {
    assert_eval(".a += 1", "null", "{\"a\":1}");
    assert_eval(".a.b.c = 1", "{\"a\":{\"x\":0}}", "{\"a\":{\"x\":0,\"b\":{\"c\":1}}}");
    assert_eval(".a.b.c += 1", "{\"a\":{\"b\":{\"c\":2}}}", "{\"a\":{\"b\":{\"c\":3}}}");
    assert_eval(".[2] = 1", "null", "[null,null,1]");
    assert_eval(".[-1] += 1", "[1,2]", "[1,3]");
    assert_eval(".[1:3] = [9]", "[1,2,3,4]", "[1,9,4]");
    assert_eval(".[1:3] |= map(. * 2)", "[1,2,3,4]", "[1,4,6,4]");
    assert_eval(".[1:][0] = 7", "[1,2,3]", "[1,7,3]");
    assert_eval(".a[1:][0] += 7", "{\"a\":[1,2,3]}", "{\"a\":[1,9,3]}");
    assert_eval(".[] += 1", "[1,2,3]", "[2,3,4]");
    assert_eval(".[] |= (., 9)", "[1,2]", "[1,2]");
    assert_eval(".a |= empty", "{\"a\":1,\"b\":2}", "{\"b\":2}");
    assert_eval("(.a, .b) |= 3", "{}", "{\"a\":3,\"b\":3}");
    assert_eval(".a //= 3 | .a //= 4", "{}", "{\"a\":3}");
    assert_eval(".. |= (numbers |= . + 1)", "[1,[2]]", "[2,[3]]");
    assert_eval("(.[] | select(. > 1)) |= . * 10", "[1,2,3]", "[1,20,30]");
    assert_eval(". as $old | .a.b = 2 | [., $old]", "{\"a\":{\"b\":1}}", "[{\"a\":{\"b\":2}},{\"a\":{\"b\":1}}]");
    assert_eval(".x = .y | .x.z = 1", "{\"y\":{\"z\":0}}", "{\"y\":{\"z\":0},\"x\":{\"z\":1}}");
    assert_eval("setpath([]; 1)", "{}", "1");
    assert_eval("try setpath(\"a\"; 1) catch .", "{}", "\"Path must be specified as an array\"");
    assert_eval_fails(".a.b = 1", "{\"a\":5}", "Cannot index number with string");
    assert_eval_fails(".a[0].b = 1", "{\"a\":{}}", "Cannot index object with number");
    assert_eval_fails(".[-1] = 1", "[]", "Out of bounds negative array index");
    assert_eval_fails(".[1:2] = 1", "[1,2]", "assigned another array");
    assert_eval_fails(".a.b += {}", "{\"a\":{\"b\":1}}", "cannot be added");
}

static void test_members(void **state) {
    uint32_t used;
#define MEMBERS(text) evb_expr_members(text, "event", evb_member_names, EVB_MEMBER_COUNT, &used)
    assert_true(MEMBERS(".a + 1"));
    assert_int_equal(used, 0);
    assert_true(MEMBERS(".[$event.data.by] += $event.seq"));
    assert_int_equal(used, 1 << EVB_MEMBER_DATA | 1 << EVB_MEMBER_SEQ);
    assert_true(MEMBERS("\"\\($event.topic)\" + $events + $x # $event.id"));
    assert_int_equal(used, 1 << EVB_MEMBER_TOPIC | 1 << EVB_MEMBER_ID);
    assert_true(MEMBERS("$event.payload_base64"));
    assert_int_equal(used, 1 << EVB_MEMBER_PAYLOAD_BASE64);
    static const char *const all[] = {"$event",         "$event | .seq", "$event .seq", "$event.[\"seq\"]",
                                      "$event[\"a\"]",  "$event.sequel", "$ event.seq", "$#\nevent.seq",
                                      "$event.\"seq\"", "{$event}",      "$event?.seq", "$event.seq + $event"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_false(MEMBERS(all[i]));
}

/* A member is left out only where nobody can tell. */
static void test_members_of_conditions(void **state) {
    static const struct {
        const char *text;
        uint32_t members;
    } cases[] = {
        {".topic == \"a\"", 1 << EVB_MEMBER_TOPIC},
        {".data.total >= 5 and .headers.kind != \"x\"", 1 << EVB_MEMBER_DATA | 1 << EVB_MEMBER_HEADERS},
        {".topic | ltrimstr(\"a.\") == \"b\"", 1 << EVB_MEMBER_TOPIC},
        {".topic|length > 3", 1 << EVB_MEMBER_TOPIC},
        {".\"d\\u0061ta\" == 1", EVB_MEMBERS_ALL},
        {"ltrimstr(\"z\") == {\"topic\":\"a\"}", EVB_MEMBERS_ALL},
        {"inside({\"topic\":\"a\"})", EVB_MEMBERS_ALL},
        {"(.topic = \"a\") == {\"topic\":\"a\"}", EVB_MEMBERS_ALL},
        {".topic |= \"a\" | length == 1", EVB_MEMBERS_ALL},
        {".seq as $n | $n", EVB_MEMBERS_ALL},
        {".[\"topic\"]", EVB_MEMBERS_ALL},
        {"length > 3", EVB_MEMBERS_ALL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (evb_where_members(cases[i].text) != cases[i].members)
            fail_msg("%s: %#x", cases[i].text, evb_where_members(cases[i].text));
}

static void test_depth(void **state) {
    jv value = jv_number(1);
    assert_true(evb_expr_shallow(value));
    for (int i = 1; i < EVB_EXPR_DEPTH_MAX; i++)
        value = i % 2 ? jv_array_append(jv_array(), value) : jv_object_set(jv_object(), jv_string("a"), value);
    assert_true(evb_expr_shallow(value));
    value = jv_array_append(jv_array(), value);
    assert_false(evb_expr_shallow(value));
    jv_free(value);
}

/* ---- events ---- */

static const uint8_t PRODUCER[16] = {1, 2, 3};

static evb_event event_with(const void *payload, size_t size) {
    return (evb_event){.topic = "a.b",
                       .topic_size = 3,
                       .payload = payload,
                       .size = size,
                       .seq = 7,
                       .version = 2,
                       .time_ns = 1795428000123456789,
                       .producer = PRODUCER,
                       .producer_seq = 9,
                       .index = 1};
}

static jv made(const evb_event *event, uint32_t members) {
    evb_jv_events *maker = evb_jv_events_new(members);
    assert_non_null(maker);
    jv value = evb_jv_events_make(maker, event);
    evb_jv_events_destroy(&maker);
    return value;
}

/* But for "data" the value is that of evb_json_add_event's text. */
static void assert_as_json(const evb_event *event) {
    evb_buf text = {0};
    assert_true(evb_json_add_event(&text, event) && evb_buf_add(&text, "", 1));
    jv wanted = json((const char *)text.data),
       got = jv_object_delete(made(event, EVB_MEMBERS_ALL), jv_string("data"));
    evb_buf_free(&text);
    assert_true(jv_equal(wanted, got));
}

static void test_event_as_json(void **state) {
    static const char every[] = "\x00\x01\x7f\x80\xff";
    const evb_header headers[] = {{"who", 3, "ann", 3}, {"k\xc3\xa9y", 4, "\xe2\x82\xac", 3}, {"bad", 3, "\xff", 1}};
    const char *payloads[] = {"", "text", "{\"a\":1}", "\xe2\x82\xac", "quote\" \\ \n"};
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        evb_event event = event_with(payloads[i], strlen(payloads[i]));
        assert_as_json(&event);
    }
    evb_event event = event_with(every, sizeof every);
    event.headers = headers;
    event.header_count = 3;
    assert_as_json(&event);
    event = event_with(every, 2); /* NUL is UTF-8 */
    event.id = "my-id";
    event.id_size = 5;
    assert_as_json(&event);
    event.live = true;
    event.seq = 0;
    assert_as_json(&event);
    event = event_with(NULL, 0);
    assert_as_json(&event);
}

static void test_event_members(void **state) {
    evb_event event = event_with("[1]", 3);
    assert_value(made(&event, 0), "{}");
    assert_value(made(&event, 1 << EVB_MEMBER_SEQ | 1 << EVB_MEMBER_TOPIC | 1 << EVB_MEMBER_LIVE),
                 "{\"seq\":7,\"topic\":\"a.b\"}");
    assert_value(made(&event, 1 << EVB_MEMBER_DATA | 1 << EVB_MEMBER_PAYLOAD_BASE64), "{\"data\":[1]}");
    assert_value(made(&event, 1 << EVB_MEMBER_TIME), "{\"time\":\"2026-11-23T10:00:00.123456789Z\"}");
    event = event_with("\xff", 1);
    assert_value(made(&event, 1 << EVB_MEMBER_PAYLOAD), "{}");
    assert_value(made(&event, 1 << EVB_MEMBER_PAYLOAD_BASE64), "{\"payload_base64\":\"/w==\"}");
}

/* One maker for all: what is not JSON spoils nothing for what comes behind it. */
static void test_data(void **state) {
    static const struct {
        const char *payload, *data; /* NULL: none */
    } cases[] = {
        {"{\"a\":1}", "{\"a\":1}"},
        {" [1, 2]\n", "[1,2]"},
        {"{\"a\":1} x", NULL},
        {"{\"a\":1}{}", NULL},
        {"{\"a\":", NULL},
        {"[1,2", NULL},
        {"[1,,2]", NULL},
        {"[]", "[]"},
        {"\"text\"", "\"text\""},
        {"\"text", NULL},
        {"\"a\" \"b\"", NULL},
        {"12", "12"},
        {"-1.5e3", "-1500"},
        {"0", "0"},
        {"01", NULL},
        {"1.", NULL},
        {".5", NULL},
        {"-", NULL},
        {"1e", NULL},
        {"1 2", NULL},
        {"7.50 EUR", NULL},
        {"true", "true"},
        {"false ", "false"},
        {"null", "null"},
        {"nan", NULL},
        {"tea", NULL},
        {"", NULL},
        {"  ", NULL},
        {"{'a':1}", NULL},
        {"[\"\xff\"]", NULL},
        {"{\"a\":{\"b\":[null,true]}}", "{\"a\":{\"b\":[null,true]}}"},
    };
    evb_jv_events *maker = evb_jv_events_new(1 << EVB_MEMBER_DATA);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        evb_event event = event_with(cases[i].payload, strlen(cases[i].payload));
        jv got = evb_jv_events_make(maker, &event);
        if (!cases[i].data && jv_object_length(jv_copy(got)))
            fail_msg("%s: is data", cases[i].payload);
        else if (cases[i].data)
            assert_value(jv_object_get(got, jv_string("data")), cases[i].data);
        if (!cases[i].data)
            jv_free(got);
    }
    evb_event event = event_with("[1]\0", 4);
    assert_value(evb_jv_events_make(maker, &event), "{}");
    evb_jv_events_destroy(&maker);
    evb_jv_events_destroy(&maker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value),
        cmocka_unit_test(test_many_evaluations),
        cmocka_unit_test(test_faults_of_evaluation),
        cmocka_unit_test(test_after_a_failure),
        cmocka_unit_test(test_faults_of_compiling),
        cmocka_unit_test(test_empty_expressions),
        cmocka_unit_test(test_modules_and_debug),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_condition),
        cmocka_unit_test(test_updates),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_members_of_conditions),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_event_as_json),
        cmocka_unit_test(test_event_members),
        cmocka_unit_test(test_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
