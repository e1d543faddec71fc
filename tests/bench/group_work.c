/* group_work.c: a member of a group whose work takes its time, through libevbus.
 *
 *   group_work URL GROUP PATTERN US
 *
 * Takes events one by one, sleeps US microseconds over each, prints its payload as a line and acknowledges it. Says
 * `ready` on stderr when it has joined; until it is killed. */
#include "evbus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static const int64_t SECOND_NS = 1000000000;

static _Noreturn void die(const char *what, const evb_error *err) {
    fprintf(stderr, "group_work: %s: %s\n", what, err->text);
    exit(1);
}

static void on_note(void *context, evb_note note, uint64_t value) {
    (void)context;
    (void)value;
    if (note == EVB_NOTE_SUBSCRIBED)
        fputs("ready\n", stderr);
}

static evb_sub *join(evb_bus *bus, const char *name, const char *pattern) {
    evb_error err = {0};
    const evb_group_options group = {.name = name};
    const evb_sub_options options = {.patterns = &pattern, .pattern_count = 1, .from = EVB_FROM_NOW, .group = &group};
    evb_sub *sub = evb_sub_new(bus, &options, on_note, NULL, &err);
    if (sub == NULL)
        die(name, &err);
    return sub;
}

static void work_on(evb_sub *sub, const evb_event *event, const struct timespec *pause) {
    const evb_error err = {.text = "it failed"};
    nanosleep(pause, NULL);
    fwrite(event->payload, 1, event->size, stdout);
    putchar('\n');
    if (fflush(stdout) != 0 || evb_sub_ack(sub, event) != 0)
        die("to write and acknowledge", &err);
}

int main(int argc, char **argv) {
    evb_error err = {0};
    evb_event event;
    if (argc != 5) {
        fprintf(stderr, "usage: group_work URL GROUP PATTERN US\n");
        return 2;
    }
    const struct timespec pause = {.tv_nsec = atol(argv[4]) * 1000};
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    evb_bus *bus = evb_bus_new(argv[1], 60 * SECOND_NS, &err);
    if (bus == NULL)
        die("cannot begin", &err);
    evb_sub *sub = join(bus, argv[2], argv[3]);
    for (;;) {
        int rc = evb_sub_next(sub, &event, &err);
        if (rc == EVB_NOTHING)
            rc = evb_bus_wait(bus, NULL, 0, -1, &err);
        else if (rc == EVB_EVENT)
            work_on(sub, &event, &pause);
        if (rc < 0)
            die("cannot go on", &err);
    }
}
