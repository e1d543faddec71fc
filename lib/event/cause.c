/* cause.c: reading and writing the three headers.
 *
 * Leaves to others: who sets and reads the environment (run/environ.c, cmd/), walking the tree (evctl trace). */
#include "event/cause.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "event/check.h"

static const evb_header *find(const evb_header *headers, size_t count, const char *name) {
    return evb_header_named(headers, count, name, strlen(name));
}

static uint64_t depth_of(const evb_event *event) {
    const evb_header *h = find(event->headers, event->header_count, "depth");
    char text[12];
    uint64_t depth = 0;
    if (!h || h->value_size >= sizeof text)
        return 0;
    memcpy(text, h->value, h->value_size);
    text[h->value_size] = 0;
    return evb_number_parse(text, &depth) || depth > EVB_DEPTH_MAX ? EVB_DEPTH_MAX : depth;
}

void evb_cause_of(const evb_event *event, evb_cause *out) {
    const evb_header *h = find(event->headers, event->header_count, "correlation");
    *out = (evb_cause){0};
    if (!event->seq)
        return;
    snprintf(out->cause, sizeof out->cause, "%" PRIu64, event->seq);
    snprintf(out->depth, sizeof out->depth, "%" PRIu64, depth_of(event) + 1);
    if (h && h->value_size && h->value_size < sizeof out->correlation)
        memcpy(out->correlation, h->value, h->value_size);
    else
        memcpy(out->correlation, out->cause, sizeof out->cause);
}

int evb_cause_read(const char *cause, const char *correlation, const char *depth, evb_cause *out, evb_error *err) {
    uint64_t number;
    *out = (evb_cause){0};
    if (!cause || !*cause)
        return 0;
    if (evb_number_parse(cause, &number) || !number)
        return evb_fail(err, EVB_EDATA, "EVBUS_CAUSE=%.40s: not a seq", cause);
    if (!depth || !*depth)
        depth = "1";
    if (evb_number_parse(depth, &number) || number > 9999)
        return evb_fail(err, EVB_EDATA, "EVBUS_DEPTH=%.40s: not a number", depth);
    if (correlation && strlen(correlation) >= sizeof out->correlation)
        return evb_fail(err, EVB_EDATA, "EVBUS_CORRELATION: longer than %zu bytes", sizeof out->correlation - 1);
    snprintf(out->cause, sizeof out->cause, "%s", cause);
    snprintf(out->depth, sizeof out->depth, "%s", depth);
    snprintf(out->correlation, sizeof out->correlation, "%s", correlation && *correlation ? correlation : cause);
    return 0;
}

bool evb_cause_too_deep(const evb_cause *cause) { return strtoul(cause->depth, NULL, 10) > EVB_DEPTH_MAX; }

size_t evb_cause_add(const evb_cause *cause, evb_header *headers, size_t count) {
    const char *const names[EVB_CAUSE_HEADERS] = {"cause", "correlation", "depth"};
    const char *const values[EVB_CAUSE_HEADERS] = {cause->cause, cause->correlation, cause->depth};
    size_t had = count;
    for (size_t i = 0; *cause->cause && i < EVB_CAUSE_HEADERS; i++)
        if (!find(headers, had, names[i]))
            headers[count++] = (evb_header){names[i], strlen(names[i]), values[i], strlen(values[i])};
    return count;
}
