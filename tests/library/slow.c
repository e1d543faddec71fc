/* slow.c: a member that takes much at once while its events take no time, and then works on each for long: 3.5 s on one,
 * half a second on some that follow, with a look at the bus behind each and no wait. Its bus gives the hub a second. */
#include <evbus.h>
#include <stdio.h>
#include <time.h>

enum { FAST = 500, SLOW = 4 };

static void work_on(int count) {
    const struct timespec first = {3, 500000000}, next = {0, 500000000};
    if (count > FAST)
        nanosleep(count == FAST + 1 ? &first : &next, NULL);
}

int main(int argc, char **argv) {
    evb_error err = {0};
    evb_event event;
    const evb_group_options group = {.name = "g"};
    const evb_sub_options how = {.group = &group};
    evb_bus *bus = argc == 2 ? evb_bus_new(argv[1], 1000000000, &err) : NULL;
    evb_sub *sub = bus ? evb_sub_new(bus, &how, NULL, NULL, &err) : NULL;
    int rc = sub ? EVB_NOTHING : -1, count = 0;
    while (rc >= 0 && count < FAST + SLOW) {
        rc = evb_sub_next(sub, &event, &err);
        if (rc == EVB_EVENT) {
            work_on(++count);
            evb_sub_ack(sub, &event);
        }
        if (rc == EVB_NOTHING || (rc == EVB_EVENT && count > FAST))
            evb_bus_wait(bus, NULL, 0, rc == EVB_NOTHING ? -1 : 0, &err);
    }
    if (rc >= 0)
        rc = evb_sub_leave(sub, &err);
    if (rc < 0)
        fprintf(stderr, "slow: after %d events: %s\n", count, err.text);
    evb_sub_destroy(&sub);
    evb_bus_destroy(&bus);
    return rc < 0;
}
