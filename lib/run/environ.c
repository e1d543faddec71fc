/* environ.c: the event as NAME=VALUE strings.
 *
 * Invariant: pointers are made last, when the strings no longer move.
 * Leaves to others: what the base environment is (cmd/), what cause and depth mean (event/cause.h). */
#include "run/environ.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "event/cause.h"

/* What tells of an event: none of it comes from the base. EVBUS_URL does. */
static bool tells_of_event(const char *variable) {
    static const char *const NAMES[] = {"TOPIC=",  "SEQ=",   "VERSION=",     "TIME=",  "ID=", "DELIVERIES=",
                                        "REPLAY=", "CAUSE=", "CORRELATION=", "DEPTH=", "H_",  "COUNT="};
    if (strncmp(variable, "EVBUS_", 6) != 0)
        return false;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strncmp(variable + 6, NAMES[i], strlen(NAMES[i])) == 0)
            return true;
    return false;
}

/* Adds "EVBUS_" NAME "=" value and a NUL; a NUL in the value ends it. */
static bool add(evb_buf *text, const char *name, const char *value, size_t size) {
    return evb_buf_text(text, "EVBUS_") && evb_buf_text(text, name) && evb_buf_add(text, "=", 1) &&
           evb_buf_add(text, value, strnlen(value, size)) && evb_buf_add(text, "", 1);
}

static bool add_number(evb_buf *text, const char *name, uint64_t value) {
    return evb_buf_printf(text, "EVBUS_%s=%" PRIu64, name, value) && evb_buf_add(text, "", 1);
}

/* Adds a header, if no later one has its name. */
static bool add_header(evb_buf *text, const evb_header *header) {
    char name[256];
    size_t size = header->name_size < sizeof name - 3 ? header->name_size : sizeof name - 3;
    name[0] = 'H';
    name[1] = '_';
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)header->name[i];
        name[2 + i] = (char)(c < 0x80 && isalnum(c) ? toupper(c) : '_');
    }
    name[2 + size] = 0;
    return add(text, name, header->value, header->value_size);
}

static bool add_cause(evb_buf *text, const evb_event *event) {
    evb_cause cause;
    evb_cause_of(event, &cause);
    return !*cause.cause || (add(text, "CAUSE", cause.cause, sizeof cause.cause) &&
                             add(text, "CORRELATION", cause.correlation, sizeof cause.correlation) &&
                             add(text, "DEPTH", cause.depth, sizeof cause.depth));
}

static bool add_event(evb_buf *text, const evb_event *event) {
    char id[EVB_ID_MAX], when[EVB_TIME_TEXT];
    size_t id_size = evb_event_id(event, id), when_size = evb_time_text(event->time_ns, when);
    bool ok = add(text, "TOPIC", event->topic, event->topic_size) && add_number(text, "SEQ", event->seq) &&
              add_number(text, "VERSION", event->version) && add(text, "TIME", when, when_size) &&
              add(text, "ID", id, id_size) && add_cause(text, event);
    if (ok && event->deliveries)
        ok = add_number(text, "DELIVERIES", event->deliveries);
    if (ok && event->replayed)
        ok = add(text, "REPLAY", "1", 1);
    for (size_t i = 0; ok && i < event->header_count; i++)
        ok = add_header(text, &event->headers[i]);
    return ok;
}

static size_t name_size(const char *variable) { return strcspn(variable, "="); }

/* Whether a later string among text has the name of the one at `at`: headers may differ in their case only. */
static bool is_set_again(const evb_buf *text, size_t at) {
    const char *base = (const char *)text->data, *one = base + at;
    size_t size = name_size(one) + 1;
    for (size_t next = at + strlen(one) + 1; next < text->size; next += strlen(base + next) + 1)
        if (strncmp(one, base + next, size) == 0)
            return true;
    return false;
}

static bool point(evb_environ *self, const char *variable) {
    return evb_buf_add(&self->pointers, &variable, sizeof variable);
}

const char *const *evb_environ_make(evb_environ *self, const char *const *base, const evb_event *event) {
    const char *end = NULL;
    self->text.size = self->pointers.size = 0;
    bool ok = !event || add_event(&self->text, event);
    for (; ok && *base; base++)
        ok = tells_of_event(*base) || point(self, *base);
    for (size_t at = 0; ok && at < self->text.size; at += strlen((const char *)self->text.data + at) + 1)
        ok = is_set_again(&self->text, at) || point(self, (const char *)self->text.data + at);
    ok = ok && evb_buf_add(&self->pointers, &end, sizeof end);
    return ok ? (const char *const *)(void *)self->pointers.data : NULL;
}

void evb_environ_free(evb_environ *self) {
    evb_buf_free(&self->text);
    evb_buf_free(&self->pointers);
}
