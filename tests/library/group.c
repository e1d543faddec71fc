/* group.c: a member that handles events out of order: keeps up to three, acknowledges the newest first, fails each event
 * whose payload is "later" once, and rejects "never". Says what it got: PAYLOAD DELIVERIES. Ends when all is done. */
#include <evbus.h>
#include <stdio.h>
#include <string.h>

enum { KEPT_MAX = 3 };

static int is(const evb_event *event, const char *text) {
    return event->size == strlen(text) && memcmp(event->payload, text, event->size) == 0;
}

/* Acknowledges those that are kept, the newest first. */
static int settle(evb_sub *sub, evb_event *kept, int *count) {
    int rc = 0;
    while (*count && !rc)
        rc = evb_sub_ack(sub, &kept[--*count]);
    return rc;
}

static int take(evb_sub *sub, const evb_event *event, evb_event *kept, int *count) {
    printf("%.*s %u\n", (int)event->size, (const char *)event->payload, event->deliveries);
    if (is(event, "never"))
        return evb_sub_reject(sub, event, "of no use");
    if (is(event, "later") && event->deliveries == 1)
        return evb_sub_nack(sub, event, 100000000, "not yet");
    kept[(*count)++] = (evb_event){.seq = event->seq, .replayed = event->replayed};
    return *count == KEPT_MAX ? settle(sub, kept, count) : 0;
}

int main(int argc, char **argv) {
    evb_error err = {0};
    evb_event event, kept[KEPT_MAX];
    const evb_group_options group = {.name = "g", .max_pending = 10};
    const evb_sub_options how = {.group = &group, .until_head = true};
    evb_bus *bus = argc == 2 ? evb_bus_new(argv[1], 0, &err) : NULL;
    evb_sub *sub = bus ? evb_sub_new(bus, &how, NULL, NULL, &err) : NULL;
    int rc = sub ? EVB_NOTHING : -1, count = 0, wrong = 0;
    while (rc >= 0 && rc != EVB_END) {
        rc = evb_sub_next(sub, &event, &err);
        if (rc == EVB_EVENT)
            wrong |= take(sub, &event, kept, &count);
        else if (rc == EVB_NOTHING)
            wrong |= settle(sub, kept, &count) || evb_bus_wait(bus, NULL, 0, -1, &err) < 0;
    }
    if (rc == EVB_END && evb_sub_ack(sub, &(evb_event){.seq = 1}) != EVB_EINVAL)
        wrong = 1; /* it is not in our hand any more */
    if (rc == EVB_END)
        rc = evb_sub_leave(sub, &err);
    if (rc < 0)
        fprintf(stderr, "group: %s\n", err.text);
    evb_sub_destroy(&sub);
    evb_bus_destroy(&bus);
    return rc < 0 || wrong;
}
