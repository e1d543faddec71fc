/* test_opts.c: one table, three ways to use it: argv, configuration, help and completion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/opts.h"

typedef struct {
    evb_opts_standard standard;
    const char *url;
    uint64_t segment, count;
    int64_t timeout_ns;
    bool memory;
    evb_opt_list live;
    int calls;
} options;

static int on_call(void *target, const char *value, evb_error *err) {
    options *o = target;
    o->calls++;
    return strcmp(value, "bad") == 0 ? evb_fail(err, EVB_EINVAL, "'bad': not good") : 0;
}

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address", NULL},
    {0, "segment", EVB_OPT_SIZE, offsetof(options, segment), NULL, "SIZE", "size of a [segment]: it's large", NULL},
    {'n', "count", EVB_OPT_NUMBER, offsetof(options, count), NULL, "COUNT", "how many", "1 2 3"},
    {0, "timeout", EVB_OPT_DURATION, offsetof(options, timeout_ns), NULL, "SEC", "wait", NULL},
    {'m', "memory", EVB_OPT_FLAG, offsetof(options, memory), NULL, NULL, "keep no journal", NULL},
    {'l', "live", EVB_OPT_LIST, offsetof(options, live), NULL, "PATTERN", "never stored", NULL},
    {0, "call", EVB_OPT_CALL, 0, on_call, "WORD", "calls", "@file"},
    EVB_OPTS_STANDARD(options, standard),
};
static const evb_opts OPTS = {"prog", "[OPTION]... A\n[OPTION]... B", "Does it.",
                              ROWS,   sizeof ROWS / sizeof *ROWS,     NULL};

/* Splits at blanks and parses; *first is the index of the first operand. */
static int parse(const char *line, options *o, char **argv, int *first, evb_error *err) {
    static char room[256];
    int argc = 1;
    argv[0] = (char *)"prog";
    strcpy(room, line);
    for (char *word = strtok(room, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    memset(o, 0, sizeof *o);
    memset(err, 0, sizeof *err);
    return evb_opts_parse(&OPTS, o, argc, argv, first, err);
}

static void every_kind_is_read(void **state) {
    options o;
    char *argv[20];
    int first;
    evb_error err;
    assert_int_equal(
        parse("a -u x --segment 64K b -n5 --timeout=2.5 -ml p --live=q --call ok", &o, argv, &first, &err), 0);
    assert_string_equal(o.url, "x");
    assert_int_equal(o.segment, 65536);
    assert_int_equal(o.count, 5);
    assert_int_equal(o.timeout_ns, 2500000000);
    assert_true(o.memory);
    assert_int_equal(o.live.count, 2);
    assert_string_equal(o.live.items[0], "p");
    assert_string_equal(o.live.items[1], "q");
    assert_int_equal(o.calls, 1);
    assert_string_equal(argv[first], "a");
    assert_string_equal(argv[first + 1], "b");
    assert_null(argv[first + 2]);
    evb_opt_list_free(&o.live);
    assert_null(o.live.items);
}

static void after_dashes_nothing_is_an_option(void **state) {
    options o;
    char *argv[20];
    int first;
    evb_error err;
    assert_int_equal(parse("-m -- -u --live x", &o, argv, &first, &err), 0);
    assert_null(o.url);
    assert_string_equal(argv[first], "-u");
    assert_string_equal(argv[first + 1], "--live");
    assert_string_equal(argv[first + 2], "x");
}

static void faults_are_named(void **state) {
    static const char *const cases[][2] = {
        {"--bogus", "--bogus: no such option; try 'prog --help'"},
        {"-x", "-x: no such option; try 'prog --help'"},
        {"--url", "--url: an argument is missing; try 'prog --help'"},
        {"-u", "--url: an argument is missing; try 'prog --help'"},
        {"--memory=1", "--memory: it takes no argument; try 'prog --help'"},
        {"-n x", "--count: 'x': not a whole number of 0 or more"},
        {"-n -5", "--count: '-5': not a whole number of 0 or more"},
        {"--segment 1X", "--segment: '1X': not a size, such as 64K, 1M or 10G"},
        {"--call bad", "--call: 'bad': not good"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options o;
        char *argv[20];
        int first;
        evb_error err;
        assert_int_equal(parse(cases[i][0], &o, argv, &first, &err), EVB_EINVAL);
        assert_string_equal(err.text, cases[i][1]);
    }
}

static void a_name_can_be_set(void **state) {
    options o = {0};
    evb_error err;
    assert_int_equal(evb_opts_set(&OPTS, &o, "memory", "yes", &err), 0);
    assert_true(o.memory);
    assert_int_equal(evb_opts_set(&OPTS, &o, "memory", "off", &err), 0);
    assert_false(o.memory);
    assert_int_equal(evb_opts_set(&OPTS, &o, "memory", "perhaps", &err), EVB_EINVAL);
    assert_string_equal(err.text, "memory: 'perhaps': neither yes nor no");
    assert_int_equal(evb_opts_set(&OPTS, &o, "segment", "1M", &err), 0);
    assert_int_equal(o.segment, 1 << 20);
    assert_int_equal(evb_opts_set(&OPTS, &o, "colour", "red", &err), EVB_EINVAL);
    assert_string_equal(err.text, "colour: no such option");
}

static void usage_names_what_is_not_hidden(void **state) {
    evb_buf out = {0};
    assert_true(evb_opts_usage(&OPTS, &out));
    assert_true(evb_buf_add(&out, "", 1));
    const char *text = (const char *)out.data;
    assert_ptr_equal(strstr(text, "Usage: prog [OPTION]... A\n       prog [OPTION]... B\nDoes it.\n\n"), text);
    assert_non_null(strstr(text, "\n  -u, --url=URL               the hub's address\n"));
    assert_non_null(strstr(text, "\n      --segment=SIZE          size of"));
    assert_null(strstr(text, "print-completion"));
    evb_buf_free(&out);
}

/* Runs a completion script through a shell that only reads it. */
static void check_syntax(const char *shell, const char *command) {
    evb_buf out = {0};
    assert_int_equal(evb_opts_completion(&OPTS, shell, &out, NULL), 0);
    FILE *pipe = popen(command, "w");
    assert_non_null(pipe);
    fwrite(out.data, 1, out.size, pipe);
    assert_int_equal(pclose(pipe), 0);
    evb_buf_free(&out);
}

static void completions_are_scripts(void **state) {
    evb_error err;
    evb_buf out = {0};
    check_syntax("bash", "bash -n");
    check_syntax("zsh", "if command -v zsh >/dev/null; then zsh -n; else cat >/dev/null; fi");
    assert_int_equal(evb_opts_completion(&OPTS, "fish", &out, &err), EVB_EINVAL);
    evb_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(after_dashes_nothing_is_an_option),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(a_name_can_be_set),
        cmocka_unit_test(usage_names_what_is_not_hidden),
        cmocka_unit_test(completions_are_scripts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
