/* listener.c: a member that counts what it "runs": an event whose payload is "bad" fails, and says so with a report.
 * Ends when all that there is is done. */
#include <evbus.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    evb_sub *sub;
    uint64_t runs, failures;
} listener;

static int run(listener *self, const evb_event *event) {
    int failed = event->size == 3 && memcmp(event->payload, "bad", 3) == 0;
    self->runs++;
    self->failures += failed;
    if (failed && evb_sub_reject(self->sub, event, "bad"))
        return -1;
    if (!failed && evb_sub_ack(self->sub, event))
        return -1;
    return evb_sub_report(self->sub, self->runs, self->failures, failed ? "it was\nbad \xff" : NULL, event->time_ns);
}

int main(int argc, char **argv) {
    evb_error err = {0};
    evb_event event;
    const evb_group_options group = {.name = "c", .listener = true};
    const evb_sub_options how = {.group = &group, .until_head = true, .kind = "evlisten"};
    evb_bus *bus = argc == 2 ? evb_bus_new(argv[1], 0, &err) : NULL;
    listener self = {.sub = bus ? evb_sub_new(bus, &how, NULL, NULL, &err) : NULL};
    int rc = self.sub ? EVB_NOTHING : -1;
    while (rc >= 0 && rc != EVB_END) {
        rc = evb_sub_next(self.sub, &event, &err);
        if (rc == EVB_EVENT && run(&self, &event))
            rc = -1;
        if (rc == EVB_NOTHING && evb_bus_wait(bus, NULL, 0, -1, &err) < 0)
            rc = -1;
    }
    if (rc == EVB_END)
        rc = evb_sub_leave(self.sub, &err);
    if (rc < 0)
        fprintf(stderr, "listener: %s\n", err.text);
    evb_sub_destroy(&self.sub);
    evb_bus_destroy(&bus);
    return rc < 0;
}
