/* async.c: publishes 1 .. COUNT with completions, and checks that they come in order and with consecutive seqs. */
#include <evbus.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t stored, next_seq = 1;

static void on_stored(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    (void)version;
    (void)context;
    if (seq != next_seq) {
        fprintf(stderr, "async: seq %llu, not %llu\n", (unsigned long long)seq, (unsigned long long)next_seq);
        exit(1);
    }
    next_seq = seq + count;
    stored += count;
}

int main(int argc, char **argv) {
    evb_error err;
    char text[32];
    long count = argc == 3 ? atol(argv[2]) : 0;
    evb_bus *bus = evb_bus_new(argv[1], 0, &err);
    evb_pub *pub = bus ? evb_pub_new(bus, &(evb_pub_options){.stored = on_stored}, &err) : NULL;
    int rc = pub ? 0 : -1;
    for (long i = 1; rc == 0 && i <= count; i++) {
        evb_event event = {.topic = "lib.async", .topic_size = 9, .payload = text};
        event.size = (size_t)snprintf(text, sizeof text, "%ld", i);
        while ((rc = evb_pub_add(pub, &event, &err)) == EVB_EAGAIN)
            evb_bus_wait(bus, NULL, 0, -1, NULL);
    }
    rc = rc ? rc : evb_pub_drain(pub, &err);
    if (rc)
        fprintf(stderr, "async: %s\n", err.text);
    evb_pub_destroy(&pub);
    evb_bus_destroy(&bus);
    return rc || stored != (uint64_t)count ? 1 : 0;
}
