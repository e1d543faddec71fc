/* format.c: a format is compiled once into parts, so that nothing is parsed per event.
 *
 * A part is a field of the event, or text: a run of `texts`, where the escapes are already undone. A header's name is
 * such a run too.
 * Leaves to others: what stands between events (nothing is added here). */
#include "event/format.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/units.h"

typedef enum { TEXT, TOPIC, SEQ, VERSION, TIME, ID, PAYLOAD, HEADER } part_kind;

typedef struct {
    part_kind kind;
    size_t at, size; /* of TEXT and HEADER, in texts */
} part;

struct evb_format {
    evb_buf parts; /* of part */
    evb_buf texts;
};

static bool add_part(evb_format *self, part_kind kind, const char *text, size_t size) {
    part p = {kind, self->texts.size, size};
    return evb_buf_add(&self->texts, text, size) && evb_buf_add(&self->parts, &p, sizeof p);
}

/* Reads what follows a '%' or '\\' and moves past. NULL, or what is wrong. */
typedef const char *reader(evb_format *self, const char **at);

static const char SHORT[] = "out of memory";

static const char *read_header(evb_format *self, const char **at) {
    const char *end = **at == '{' ? strchr(*at, '}') : NULL;
    if (!end || end == *at + 1)
        return "%h wants a name: %h{NAME}";
    const char *name = *at + 1;
    *at = end + 1;
    return add_part(self, HEADER, name, (size_t)(end - name)) ? NULL : SHORT;
}

static const char *read_percent(evb_format *self, const char **at) {
    static const char letters[] = "tsvTip";
    static const part_kind kinds[] = {TOPIC, SEQ, VERSION, TIME, ID, PAYLOAD};
    char c = *(*at)++;
    if (c == 'h')
        return read_header(self, at);
    if (c == 'n' || c == '%')
        return add_part(self, TEXT, c == 'n' ? "\n" : "%", 1) ? NULL : SHORT;
    const char *found = c ? strchr(letters, c) : NULL;
    if (!found)
        return "after % one of t s v T i p h n % is wanted";
    return add_part(self, kinds[found - letters], "", 0) ? NULL : SHORT;
}

static const char *read_backslash(evb_format *self, const char **at) {
    static const char letters[] = "nt0\\", bytes[] = "\n\t\0\\";
    char c = *(*at)++;
    const char *found = c ? strchr(letters, c) : NULL;
    if (!found)
        return "after \\ one of n t 0 \\ is wanted";
    return add_part(self, TEXT, &bytes[found - letters], 1) ? NULL : SHORT;
}

static const char *compile(evb_format *self, const char *text) {
    const char *fault = NULL;
    while (!fault && *text) {
        size_t run = strcspn(text, "%\\");
        if (run && !add_part(self, TEXT, text, run))
            return SHORT;
        text += run;
        if (*text) {
            reader *read = *text++ == '%' ? read_percent : read_backslash;
            fault = read(self, &text);
        }
    }
    return fault;
}

evb_format *evb_format_new(const char *text, evb_error *err) {
    evb_format *self = calloc(1, sizeof *self);
    const char *fault = self ? compile(self, text) : SHORT;
    if (!fault)
        return self;
    evb_fail(err, fault == SHORT ? EVB_ENOMEM : EVB_EINVAL, "'%.100s': not a format: %s", text, fault);
    evb_format_destroy(&self);
    return NULL;
}

void evb_format_destroy(evb_format **self) {
    if (!*self)
        return;
    evb_buf_free(&(*self)->parts);
    evb_buf_free(&(*self)->texts);
    free(*self);
    *self = NULL;
}

static bool add_number(evb_buf *out, uint64_t value) {
    char room[20];
    return evb_buf_add(out, room, evb_number_text(value, room));
}

static bool add_time(evb_buf *out, int64_t ns) {
    char room[EVB_TIME_TEXT];
    return evb_buf_add(out, room, evb_time_text(ns, room));
}

static bool add_id(evb_buf *out, const evb_event *event) {
    char room[EVB_ID_MAX];
    return evb_buf_add(out, room, evb_event_id(event, room));
}

static bool add_header(evb_buf *out, const evb_event *event, const uint8_t *name, size_t size) {
    for (size_t i = 0; i < event->header_count; i++) {
        const evb_header *h = &event->headers[i];
        if (h->name_size == size && memcmp(h->name, name, size) == 0)
            return evb_buf_add(out, h->value, h->value_size);
    }
    return true;
}

static bool add_field(const evb_format *self, const part *p, evb_buf *out, const evb_event *event) {
    const uint8_t *text = p->size ? self->texts.data + p->at : NULL;
    switch (p->kind) {
    case TEXT: return evb_buf_add(out, text, p->size);
    case TOPIC: return evb_buf_add(out, event->topic, event->topic_size);
    case SEQ: return add_number(out, event->seq);
    case VERSION: return add_number(out, event->version);
    case TIME: return add_time(out, event->time_ns);
    case ID: return add_id(out, event);
    case PAYLOAD: return evb_buf_add(out, event->payload, event->size);
    case HEADER: return add_header(out, event, text, p->size);
    }
    return false;
}

bool evb_format_add(const evb_format *self, evb_buf *out, const evb_event *event) {
    const part *parts = (const part *)(const void *)self->parts.data;
    bool ok = true;
    for (size_t i = 0; ok && i < self->parts.size / sizeof *parts; i++)
        ok = add_field(self, &parts[i], out, event);
    return ok;
}
