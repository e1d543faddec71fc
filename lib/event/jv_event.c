/* jv_event.c: events to libjq's values, without the way over a text.
 *
 * What costs here is libjq's allocations and its parser, so that what nobody looks at is not made, the members' names are
 * made once, a parser serves until it meets what is not JSON, and a payload whose first byte shows that it is none
 * does not come to it. A payload that is not UTF-8 is rare, and goes the way over the text (json.c).
 * Invariants: with all members, and but for "data", the value is that of evb_json_add_event's text. Of what libjq's
 * parser takes beyond RFC 8259, a payload that is one number or word (nan, 01) is no data.
 * Leaves to others: what is done with it (expr.c). */
#include "event/jv_event.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "base/utf8.h"
#include "event/json.h"

const char *const evb_member_names[EVB_MEMBER_COUNT] = {"seq", "version", "time",    "live",           "topic",
                                                        "id",  "headers", "payload", "payload_base64", "data"};

struct evb_jv_events {
    uint32_t members;
    jv names[EVB_MEMBER_COUNT];
    jv_parser *parser; /* NULL until it is needed */
    evb_buf text;
};

evb_jv_events *evb_jv_events_new(uint32_t members) {
    evb_jv_events *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->members = members;
    for (size_t i = 0; i < EVB_MEMBER_COUNT; i++)
        self->names[i] = jv_string(evb_member_names[i]);
    return self;
}

static void drop_parser(evb_jv_events *self) {
    if (self->parser)
        jv_parser_free(self->parser);
    self->parser = NULL;
}

void evb_jv_events_destroy(evb_jv_events **self) {
    if (!*self)
        return;
    for (size_t i = 0; i < EVB_MEMBER_COUNT; i++)
        jv_free((*self)->names[i]);
    drop_parser(*self);
    evb_buf_free(&(*self)->text);
    free(*self);
    *self = NULL;
}

/* ---- data ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Takes digits; false where there are none. */
static bool take_digits(const char **at, const char *end) {
    const char *begin = *at;
    while (*at < end && is_digit(**at))
        ++*at;
    return *at > begin;
}

/* Whether all of it is a number as RFC 8259, section 6, has it. */
static bool is_number(const char *at, const char *end) {
    if (at < end && *at == '-')
        at++;
    bool zero = at < end && *at == '0';
    if (zero ? !++at : !take_digits(&at, end))
        return false;
    if (at < end && *at == '.' && (at++, !take_digits(&at, end)))
        return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!take_digits(&at, end))
            return false;
    }
    return at == end;
}

/* The value that the text, whose first byte is not blank, begins with, if it is whole and nothing follows; else invalid,
 * and the parser may be anywhere. */
static jv next_value(jv_parser *parser, const char *text, int size) {
    jv_parser_set_buf(parser, text, size, 1);
    jv value = jv_parser_next(parser);
    int left = jv_parser_remaining(parser);
    if (!jv_is_valid(value) || left) {
        jv_free(value);
        return jv_invalid();
    }
    jv_free(jv_parser_next(parser)); /* so that it lets go of the text */
    return value;
}

/* Parses one value that begins with '{', '[' or '"', or is a number; invalid where it is not JSON. */
static jv parse_whole(evb_jv_events *self, const char *text, size_t size) {
    if (size >= INT_MAX)
        return jv_invalid();
    if (!self->parser && !(self->parser = jv_parser_new(0)))
        return jv_invalid();
    jv value = next_value(self->parser, text, (int)size);
    if (!jv_is_valid(value))
        drop_parser(self);
    return value;
}

/* A number ends only where something follows, so that the kept parser does not serve. */
static jv parse_number(const char *text, size_t size) {
    return size < INT_MAX ? jv_parse_sized(text, (int)size) : jv_invalid();
}

/* What the payload says; invalid where it is not JSON. */
static jv data_of(evb_jv_events *self, const char *at, size_t size) {
    const char *end = at + size;
    while (at < end && is_blank(*at))
        at++;
    while (end > at && is_blank(end[-1]))
        end--;
    size = (size_t)(end - at);
    switch (size ? *at : '\0') {
    case '{':
    case '[':
    case '"': return parse_whole(self, at, size);
    case 't': return size == 4 && !memcmp(at, "true", 4) ? jv_true() : jv_invalid();
    case 'f': return size == 5 && !memcmp(at, "false", 5) ? jv_false() : jv_invalid();
    case 'n': return size == 4 && !memcmp(at, "null", 4) ? jv_null() : jv_invalid();
    default: return is_number(at, end) ? parse_number(at, size) : jv_invalid();
    }
}

/* ---- the object ---- */

static bool is_utf8(const uint8_t *p, size_t size) {
    for (size_t at = 0, n; at < size; at += n) {
        uint64_t eight;
        if (size - at >= sizeof eight && (memcpy(&eight, p + at, sizeof eight), !(eight & 0x8080808080808080)))
            n = sizeof eight;
        else if (!(n = evb_utf8_length(p + at, size - at)))
            return false;
    }
    return true;
}

static bool wants(const evb_jv_events *self, evb_member member) { return self->members >> member & 1; }

static jv set(const evb_jv_events *self, jv object, evb_member member, jv value) {
    return jv_object_set(object, jv_copy(self->names[member]), value);
}

static jv string_of(const void *bytes, size_t size) {
    return jv_string_sized(size ? bytes : "", size < INT_MAX ? (int)size : 0);
}

static jv headers_of(const evb_event *event) {
    jv headers = jv_object();
    for (size_t i = 0; i < event->header_count; i++) {
        const evb_header *h = &event->headers[i];
        headers = jv_object_set(headers, string_of(h->name, h->name_size), string_of(h->value, h->value_size));
    }
    return headers;
}

static jv add_place(const evb_jv_events *self, jv object, const evb_event *event) {
    char text[EVB_TIME_TEXT], id[EVB_ID_MAX];
    if (wants(self, EVB_MEMBER_SEQ))
        object = set(self, object, EVB_MEMBER_SEQ, jv_number((double)event->seq));
    if (wants(self, EVB_MEMBER_VERSION))
        object = set(self, object, EVB_MEMBER_VERSION, jv_number((double)event->version));
    if (wants(self, EVB_MEMBER_TIME))
        object = set(self, object, EVB_MEMBER_TIME, string_of(text, evb_time_text(event->time_ns, text)));
    if (wants(self, EVB_MEMBER_LIVE) && event->live)
        object = set(self, object, EVB_MEMBER_LIVE, jv_true());
    if (wants(self, EVB_MEMBER_TOPIC))
        object = set(self, object, EVB_MEMBER_TOPIC, string_of(event->topic, event->topic_size));
    if (wants(self, EVB_MEMBER_ID))
        object = set(self, object, EVB_MEMBER_ID, string_of(id, evb_event_id(event, id)));
    if (wants(self, EVB_MEMBER_HEADERS))
        object = set(self, object, EVB_MEMBER_HEADERS, headers_of(event));
    return object;
}

/* "payload_base64", as json.c writes it. */
static jv add_base64(evb_jv_events *self, jv object, const evb_event *event) {
    evb_event bare = {.topic = event->topic, .topic_size = event->topic_size, .id = "", .payload = event->payload};
    static const uint8_t nobody[16];
    bare.size = event->size;
    bare.producer = nobody;
    self->text.size = 0;
    if (!evb_json_add_event(&self->text, &bare) || self->text.size >= INT_MAX)
        return object;
    jv parsed = jv_parse_sized((const char *)self->text.data, (int)self->text.size);
    jv base64 = jv_object_get(parsed, jv_copy(self->names[EVB_MEMBER_PAYLOAD_BASE64]));
    return set(self, object, EVB_MEMBER_PAYLOAD_BASE64, base64);
}

static jv add_payload(evb_jv_events *self, jv object, const evb_event *event) {
    if (!is_utf8(event->payload, event->size))
        return wants(self, EVB_MEMBER_PAYLOAD_BASE64) ? add_base64(self, object, event) : object;
    if (wants(self, EVB_MEMBER_PAYLOAD))
        object = set(self, object, EVB_MEMBER_PAYLOAD, string_of(event->payload, event->size));
    if (!wants(self, EVB_MEMBER_DATA))
        return object;
    jv data = data_of(self, event->payload, event->size);
    return jv_is_valid(data) ? set(self, object, EVB_MEMBER_DATA, data) : object;
}

jv evb_jv_events_make(evb_jv_events *self, const evb_event *event) {
    static const uint32_t of_payload =
        1 << EVB_MEMBER_PAYLOAD | 1 << EVB_MEMBER_PAYLOAD_BASE64 | 1 << EVB_MEMBER_DATA;
    jv object = add_place(self, jv_object(), event);
    return self->members & of_payload ? add_payload(self, object, event) : object;
}
