/* attempts.c: a member that takes COUNT events in hand, fails them all at once, each with an attempt that said 20 KiB,
 * and leaves: more than fits into one request to the hub. */
#include <evbus.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 100, SAID = 20 * 1024 };

static int fail_all(evb_sub *sub, const uint64_t *seqs) {
    static char said[SAID];
    evb_attempt attempt = {
        .reason = "no", .begun_ns = 1, .took_ns = 1000000, .status = -9, .output = said, .output_size = SAID};
    int rc = 0;
    memset(said, 'x', SAID);
    for (int i = 0; i < COUNT && !rc; i++)
        rc = evb_sub_fail_attempt(sub, &(evb_event){.seq = seqs[i]}, -1, true, &attempt);
    if (!rc && evb_sub_fail_attempt(sub, &(evb_event){.seq = seqs[0]}, -1, true, &attempt) != EVB_EINVAL)
        rc = -1; /* it is not in our hand any more */
    return rc;
}

int main(int argc, char **argv) {
    evb_error err = {0};
    evb_event event;
    uint64_t seqs[COUNT];
    const evb_group_options group = {.name = "g", .at_once = COUNT};
    const evb_sub_options how = {.group = &group};
    evb_bus *bus = argc == 2 ? evb_bus_new(argv[1], 0, &err) : NULL;
    evb_sub *sub = bus ? evb_sub_new(bus, &how, NULL, NULL, &err) : NULL;
    int rc = sub ? 0 : -1, count = 0;
    while (rc >= 0 && count < COUNT) {
        rc = evb_sub_next(sub, &event, &err);
        if (rc == EVB_EVENT)
            seqs[count++] = event.seq;
        else if (rc == EVB_NOTHING)
            rc = evb_bus_wait(bus, NULL, 0, -1, &err);
    }
    if (rc >= 0)
        rc = fail_all(sub, seqs);
    if (rc >= 0)
        rc = evb_sub_leave(sub, &err);
    if (rc < 0)
        fprintf(stderr, "attempts: %s\n", err.text);
    evb_sub_destroy(&sub);
    evb_bus_destroy(&bus);
    return rc < 0;
}
