/* test_pool.c: a kept command that ends after an answer, while the next event lies in its pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/pool.h"

/* A pool in a directory of its own that has a fifo, `gate`; `log` says what became of each event. */
typedef struct {
    char dir[32], gate[40], log[256];
    const char *argv[4];
    evb_pool *pool;
} fixture;

extern char **environ;

static void note(void *context, const evb_event *event, uint64_t tag, const evb_outcome *outcome) {
    fixture *f = context;
    size_t at = strlen(f->log);
    const char *what = outcome->result == EVB_RUN_DONE ? "done" : outcome->reason ? outcome->reason : "undone";
    snprintf(f->log + at, sizeof f->log - at, "%d: %s\n", (int)tag, what);
}

/* Adds `count` events, numbered from 1, for a kept command that is this line of the shell. */
static void begin(fixture *f, const char *line, int64_t timeout_ns, int count) {
    const evb_event event = {.topic = "t", .topic_size = 1, .payload = "x", .size = 1};
    strcpy(f->dir, "/tmp/evb-pool-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->gate, sizeof f->gate, "%s/gate", f->dir);
    assert_int_equal(mkfifo(f->gate, 0600), 0);
    memcpy(f->argv, (const char *[]){"/bin/sh", "-c", line, NULL}, sizeof f->argv);
    const evb_pool_options how = {.argv = f->argv,
                                  .environment = (const char *const *)environ,
                                  .cwd = f->dir,
                                  .keep = true,
                                  .timeout_ns = timeout_ns};
    f->pool = evb_pool_new(&how, note, f);
    assert_non_null(f->pool);
    for (int i = 1; i <= count; i++)
        assert_true(evb_pool_add(f->pool, &event, (uint64_t)i));
}

static void step_until_left(fixture *f, size_t left) {
    evb_pool_step(f->pool);
    while (evb_pool_events(f->pool) > left) {
        int64_t due = evb_pool_deadline(f->pool), now = evb_clock_monotonic_ns();
        poll(&(struct pollfd){evb_pool_fd(f->pool), POLLIN, 0}, 1,
             due == INT64_MAX ? -1 : evb_clock_poll_ms(due > now ? due - now : 0));
        evb_pool_step(f->pool);
    }
}

/* Lets the command go on, which waits for it. */
static void open_gate(const fixture *f) {
    int fd = open(f->gate, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "\n", 1), 1);
    close(fd);
}

static void end(fixture *f) {
    char command[64];
    evb_pool_destroy(&f->pool);
    snprintf(command, sizeof command, "rm -r %s", f->dir);
    assert_int_equal(system(command), 0);
}

static void an_event_that_it_has_not_read_goes_to_a_new_one(void **state) {
    fixture f = {0};
    begin(&f, "read -r line; echo ok; read -r _ <gate; exit 3", 0, 3);
    for (size_t left = 2; left > 0; left--) {
        step_until_left(&f, left);
        assert_int_equal(evb_pool_running(f.pool), 1);
        open_gate(&f);
    }
    step_until_left(&f, 0);
    assert_string_equal(f.log, "1: done\n2: done\n3: done\n");
    end(&f);
}

static void an_event_for_which_it_has_no_stdin_goes_to_a_new_one(void **state) {
    fixture f = {0};
    begin(&f, "read -r line; exec <&-; echo ok; read -r _ <gate", 0, 2);
    step_until_left(&f, 0);
    assert_string_equal(f.log, "1: done\n2: done\n");
    end(&f);
}

static void an_event_that_it_has_begun_to_read_has_failed(void **state) {
    fixture f = {0};
    begin(&f, "read -r line; echo ok; head -c 1 >/dev/null; exit 3", 0, 3);
    step_until_left(&f, 0);
    assert_string_equal(f.log, "1: done\n2: exit 3\n3: done\n");
    end(&f);
}

static void a_new_one_that_does_not_read_it_has_failed(void **state) {
    fixture f = {0};
    begin(&f, "[ -e once ] && exit 3; : >once; read -r line; echo ok; read -r _ <gate", 0, 2);
    step_until_left(&f, 1);
    open_gate(&f);
    step_until_left(&f, 0);
    assert_string_equal(f.log, "1: done\n2: exit 3\n");
    end(&f);
}

static void an_event_whose_time_is_over_has_failed(void **state) {
    fixture f = {0};
    begin(&f, "[ -e once ] || { : >once; read -r line; echo ok; }; read -r _ <gate", 2 * EVB_SECOND_NS, 2);
    step_until_left(&f, 0);
    assert_string_equal(f.log, "1: done\n2: timed out after 2 s\n");
    end(&f);
}

static void when_nothing_more_is_begun_it_is_given_back_undone(void **state) {
    fixture f = {0};
    begin(&f, "read -r line; echo ok; read -r _ <gate; exit 3", 0, 3);
    step_until_left(&f, 2);
    evb_pool_drain(f.pool);
    open_gate(&f);
    step_until_left(&f, 0);
    assert_string_equal(f.log, "1: done\n2: undone\n3: undone\n");
    end(&f);
}

#define T(f) cmocka_unit_test(f)

int main(void) {
    static const struct CMUnitTest tests[] = {
        T(an_event_that_it_has_not_read_goes_to_a_new_one), T(an_event_for_which_it_has_no_stdin_goes_to_a_new_one),
        T(an_event_that_it_has_begun_to_read_has_failed),   T(a_new_one_that_does_not_read_it_has_failed),
        T(an_event_whose_time_is_over_has_failed),          T(when_nothing_more_is_begun_it_is_given_back_undone),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
