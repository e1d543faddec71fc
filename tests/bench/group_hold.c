/* group_hold.c: makes groups that have much pending, through libevbus.
 *
 *   group_hold URL GROUPS COUNT
 *
 * Each group, bench.0 to bench.GROUPS-1, begins at the journal's first event and has every event; its one member takes
 * COUNT events one by one, gives each back for an hour, and leaves: so that at least COUNT stay pending, each by itself.
 * Ends when the hub has taken all that. */
#include "evbus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_S = 60 };
static const int64_t SECOND_NS = 1000000000;
static const int64_t HOUR_NS = 3600 * INT64_C(1000000000);

static _Noreturn void die(const char *what, const evb_error *err) {
    fprintf(stderr, "group_hold: %s: %s\n", what, err->text);
    exit(1);
}

static evb_sub *join(evb_bus *bus, size_t number) {
    char name[32];
    evb_error err = {0};
    snprintf(name, sizeof name, "bench.%zu", number);
    const evb_group_options group = {.name = name, .ack_wait_ns = HOUR_NS};
    const char *all = "#";
    const evb_sub_options options = {.patterns = &all, .pattern_count = 1, .from = EVB_FROM_FIRST, .group = &group};
    evb_sub *sub = evb_sub_new(bus, &options, NULL, NULL, &err);
    if (sub == NULL)
        die(name, &err);
    return sub;
}

/* Takes `count` events and gives them back, to come again in an hour. */
static void hold(evb_bus *bus, evb_sub *sub, uint64_t count) {
    evb_error err = {0};
    evb_event event;
    while (count > 0) {
        int rc = evb_sub_next(sub, &event, &err);
        if (rc == EVB_NOTHING)
            rc = evb_bus_wait(bus, NULL, 0, TIMEOUT_S * SECOND_NS, &err);
        else if (rc == EVB_EVENT && evb_sub_nack(sub, &event, HOUR_NS, "held") == 0)
            count--;
        if (rc < 0)
            die("cannot take", &err);
    }
    if (evb_sub_leave(sub, &err) != 0)
        die("cannot leave", &err);
}

int main(int argc, char **argv) {
    evb_error err = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: group_hold URL GROUPS COUNT\n");
        return 2;
    }
    evb_bus *bus = evb_bus_new(argv[1], TIMEOUT_S * SECOND_NS, &err);
    if (bus == NULL)
        die("cannot begin", &err);
    for (size_t i = 0; i < strtoull(argv[2], NULL, 10); i++) {
        evb_sub *sub = join(bus, i);
        hold(bus, sub, strtoull(argv[3], NULL, 10));
        evb_sub_destroy(&sub);
    }
    evb_bus_destroy(&bus);
    return 0;
}
