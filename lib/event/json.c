/* json.c: events to JSON by hand, JSON to events by jansson.
 *
 * Writing is evsub's innermost loop under -J: through jansson it would build and free a tree of a dozen objects per
 * event. By hand it is copying, eight bytes at a time as long as nothing in them wants an escape. Reading meets whatever
 * people type, so it is left to a parser that is tried and strict (duplicate keys, bad UTF-8, bytes behind the end).
 * Invariants: what add_event writes is valid JSON and valid UTF-8 for every event, and read gives back the same topic,
 * payload, headers and id. Header and id bytes that are not UTF-8, which no publisher of ours sends, become U+FFFD.
 * Leaves to others: the limits of topic, headers and payload (the publisher checks them). */
#include "event/json.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/units.h"
#include "base/utf8.h"
#include "event/limits.h"

/* ---- writing ---- */

enum { ESCAPE_MOST = 6, CHUNK = 4096 }; /* "\u0000"; bytes for which room is made at a time */

/* Whether any of eight bytes is a control character, '"', '\\' or above 0x7f. Bit tricks: Sean Eron Anderson, "Bit
 * Twiddling Hacks", haszero and hasless. */
static bool special8(const uint8_t *p) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    uint64_t v;
    memcpy(&v, p, sizeof v);
    uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
    return (((v - ones * 0x20) | (quote - ones) | (slash - ones) | v) & high) != 0;
}

/* Writes an ASCII byte, escaped where JSON wants it. */
static uint8_t *put_ascii(uint8_t *out, uint8_t c) {
    static const char hex[] = "0123456789abcdef", letters[] = "btn?fr"; /* from 8 on */
    if (c >= 0x20 && c != '"' && c != '\\') {
        *out++ = c;
        return out;
    }
    *out++ = '\\';
    if (c >= 0x20) {
        *out++ = c;
    } else if (c >= 8 && c <= 13 && c != 11) {
        *out++ = (uint8_t)letters[c - 8];
    } else {
        memcpy(out, "u00", 3);
        out[3] = (uint8_t)hex[c >> 4];
        out[4] = (uint8_t)hex[c & 15];
        out += 5;
    }
    return out;
}

typedef enum { STRICT, LOSSY } string_mode;

/* Writes one chunk, data[*at..stop); a sequence may reach beyond stop, up to size. False at bytes that are not UTF-8,
 * unless LOSSY. There is room for ESCAPE_MOST bytes per byte. */
static bool put_chunk(evb_buf *out, const uint8_t *data, size_t *at, size_t stop, size_t size, string_mode mode) {
    uint8_t *to = out->data + out->size;
    size_t i = *at, n = 1;
    for (; i < stop && n; i += n) {
        n = 1;
        if (stop - i >= 8 && !special8(data + i)) {
            memcpy(to, data + i, n = 8);
            to += n;
        } else if (data[i] < 0x80) {
            to = put_ascii(to, data[i]);
        } else if ((n = evb_utf8_length(data + i, size - i))) {
            memcpy(to, data + i, n);
            to += n;
        } else if (mode == LOSSY) {
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
            n = 1;
        }
    }
    out->size = (size_t)(to - out->data);
    *at = i;
    return n != 0;
}

typedef enum { DONE, NOT_UTF8, SHORT } outcome;

/* Writes data as a JSON string with its quotes. */
static outcome add_string(evb_buf *out, const void *data, size_t size, string_mode mode) {
    if (!evb_buf_text(out, "\""))
        return SHORT;
    for (size_t at = 0; at < size;) {
        size_t stop = size - at > CHUNK ? at + CHUNK : size;
        if (!evb_buf_reserve(out, (stop - at + 4) * ESCAPE_MOST))
            return SHORT;
        if (!put_chunk(out, data, &at, stop, size, mode))
            return NOT_UTF8;
    }
    return evb_buf_text(out, "\"") ? DONE : SHORT;
}

static bool add_base64(evb_buf *out, const uint8_t *p, size_t size) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (!evb_buf_reserve(out, (size / 3 + 1) * 4 + 2))
        return false;
    uint8_t *to = out->data + out->size;
    *to++ = '"';
    for (size_t i = 0; i < size; i += 3, to += 4) {
        size_t have = size - i;
        uint32_t v = (uint32_t)p[i] << 16 | (have > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (have > 2 ? p[i + 2] : 0);
        to[0] = (uint8_t)letters[v >> 18];
        to[1] = (uint8_t)letters[v >> 12 & 63];
        to[2] = have > 1 ? (uint8_t)letters[v >> 6 & 63] : '=';
        to[3] = have > 2 ? (uint8_t)letters[v & 63] : '=';
    }
    *to++ = '"';
    out->size = (size_t)(to - out->data);
    return true;
}

bool evb_json_add_bytes(evb_buf *out, const char *plain, const char *base64, const void *data, size_t size) {
    size_t before = out->size;
    if (!evb_buf_text(out, plain))
        return false;
    outcome done = add_string(out, data, size, STRICT);
    if (done != NOT_UTF8)
        return done == DONE;
    out->size = before;
    return evb_buf_text(out, base64) && add_base64(out, data, size);
}

bool evb_json_add_text(evb_buf *out, const void *text, size_t size) {
    return add_string(out, text, size, LOSSY) == DONE;
}

static bool add_payload(evb_buf *out, const evb_event *event) {
    return evb_json_add_bytes(out, ",\"payload\":", ",\"payload_base64\":", event->payload, event->size);
}

static bool add_headers(evb_buf *out, const evb_event *event) {
    bool ok = evb_buf_text(out, ",\"headers\":{");
    for (size_t i = 0; ok && i < event->header_count; i++) {
        const evb_header *h = &event->headers[i];
        ok = (!i || evb_buf_text(out, ",")) && add_string(out, h->name, h->name_size, LOSSY) == DONE &&
             evb_buf_text(out, ":") && add_string(out, h->value, h->value_size, LOSSY) == DONE;
    }
    return ok && evb_buf_text(out, "}");
}

/* Writes what the hub knows: seq, version, time, live. */
static bool add_place(evb_buf *out, const evb_event *event) {
    static const char seq[] = "{\"seq\":", version[] = ",\"version\":", time[] = ",\"time\":\"",
                      live[] = ",\"live\":true";
    if (!evb_buf_reserve(out, sizeof seq + sizeof version + sizeof time + sizeof live + 40 + EVB_TIME_TEXT))
        return false;
    char *to = (char *)out->data + out->size;
    to = mempcpy(to, seq, sizeof seq - 1);
    to += evb_number_text(event->seq, to);
    to = mempcpy(to, version, sizeof version - 1);
    to += evb_number_text(event->version, to);
    to = mempcpy(to, time, sizeof time - 1);
    to += evb_time_text(event->time_ns, to);
    *to++ = '"';
    if (event->live)
        to = mempcpy(to, live, sizeof live - 1);
    out->size = (size_t)((uint8_t *)to - out->data);
    return true;
}

/* What a group says of it. */
static bool add_delivery(evb_buf *out, const evb_event *event) {
    if (!event->deliveries)
        return true;
    return evb_buf_printf(out, ",\"deliveries\":%u%s", event->deliveries, event->replayed ? ",\"replay\":true" : "");
}

bool evb_json_add_event(evb_buf *out, const evb_event *event) {
    char id[EVB_ID_MAX];
    size_t id_size = evb_event_id(event, id);
    return add_place(out, event) && evb_buf_text(out, ",\"topic\":") &&
           add_string(out, event->topic, event->topic_size, LOSSY) == DONE && evb_buf_text(out, ",\"id\":") &&
           add_string(out, id, id_size, LOSSY) == DONE && add_delivery(out, event) && add_headers(out, event) &&
           add_payload(out, event) && evb_buf_text(out, "}");
}

/* ---- reading ---- */

struct evb_json {
    json_t *root; /* what the last event points into */
    evb_buf payload;
    evb_header headers[EVB_HEADER_COUNT_MAX];
};

evb_json *evb_json_new(void) { return calloc(1, sizeof(evb_json)); }

void evb_json_destroy(evb_json **self) {
    if (!*self)
        return;
    json_decref((*self)->root);
    evb_buf_free(&(*self)->payload);
    free(*self);
    *self = NULL;
}

/* The string under key: 1 and it; 0 if there is none; EVB_EDATA if it is something else. */
static int get_string(const json_t *root, const char *key, const char **text, size_t *size, evb_error *err) {
    const json_t *value = json_object_get(root, key);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return evb_fail(err, EVB_EDATA, "\"%s\" is not a string", key);
    *text = json_string_value(value);
    *size = json_string_length(value);
    return 1;
}

/* The six bits of a base64 letter, or 64. */
static uint32_t bits_of(uint8_t c) {
    if (c >= 'A' && c <= 'Z')
        return c - (uint32_t)'A';
    if (c >= 'a' && c <= 'z')
        return c - (uint32_t)'a' + 26;
    if (c >= '0' && c <= '9')
        return c - (uint32_t)'0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Decodes into *out, emptied first. False for what is not base64; room has been made. */
static bool decode_base64(evb_buf *out, const uint8_t *p, size_t size) {
    out->size = 0;
    if (size % 4)
        return false;
    for (size_t i = 0; i < size; i += 4) {
        bool last = i + 4 == size;
        size_t pad = !last ? 0 : (p[i + 3] == '=') + (size_t)(p[i + 3] == '=' && p[i + 2] == '=');
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t bits = k >= 4 - pad ? 0 : bits_of(p[i + k]);
            if (bits > 63)
                return false;
            v = v << 6 | bits;
        }
        uint8_t three[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        memcpy(out->data + out->size, three, sizeof three);
        out->size += 3 - pad;
    }
    return true;
}

static int read_payload(evb_json *self, evb_event *event, evb_error *err) {
    const char *text = "", *coded;
    size_t size = 0, coded_size;
    int plain = get_string(self->root, "payload", &text, &size, err);
    int base64 = plain < 0 ? plain : get_string(self->root, "payload_base64", &coded, &coded_size, err);
    if (plain < 0 || base64 < 0)
        return EVB_EDATA;
    if (plain && base64)
        return evb_fail(err, EVB_EDATA, "both \"payload\" and \"payload_base64\"");
    event->payload = text;
    event->size = size;
    if (!base64)
        return 0;
    self->payload.size = 0;
    if (!evb_buf_reserve(&self->payload, coded_size + 4))
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    if (!decode_base64(&self->payload, (const uint8_t *)coded, coded_size))
        return evb_fail(err, EVB_EDATA, "\"payload_base64\" is not base64");
    event->payload = self->payload.data;
    event->size = self->payload.size;
    return 0;
}

static int read_headers(evb_json *self, evb_event *event, evb_error *err) {
    json_t *headers = json_object_get(self->root, "headers"), *value;
    const char *name;
    size_t count = 0;
    if (headers && !json_is_object(headers))
        return evb_fail(err, EVB_EDATA, "\"headers\" is not an object");
    if (json_object_size(headers) > EVB_HEADER_COUNT_MAX)
        return evb_fail(err, EVB_EDATA, "more than %d headers", EVB_HEADER_COUNT_MAX);
    json_object_foreach(headers, name, value) {
        if (!json_is_string(value))
            return evb_fail(err, EVB_EDATA, "header \"%.100s\" is not a string", name);
        self->headers[count++] =
            (evb_header){name, strlen(name), json_string_value(value), json_string_length(value)};
    }
    event->headers = self->headers;
    event->header_count = count;
    return 0;
}

static int read_fields(evb_json *self, evb_event *event, evb_error *err) {
    int rc = get_string(self->root, "topic", &event->topic, &event->topic_size, err);
    if (rc == 0)
        return evb_fail(err, EVB_EDATA, "no \"topic\"");
    if (rc > 0)
        rc = get_string(self->root, "id", &event->id, &event->id_size, err);
    if (rc >= 0 && event->id_size >= EVB_ID_MAX)
        return evb_fail(err, EVB_EDATA, "\"id\" is longer than %d bytes", EVB_ID_MAX - 1);
    if (rc >= 0)
        rc = read_headers(self, event, err);
    return rc < 0 ? rc : read_payload(self, event, err);
}

/* Says what jansson did not like. */
static int fail_parse(const json_error_t *why, evb_error *err) {
    enum json_error_code code = json_error_code(why);
    if (code == json_error_out_of_memory)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    const char *reason = code == json_error_invalid_utf8 ? "not UTF-8" : why->text;
    static const char array[] = "'[' or "; /* jansson would take one */
    if (strncmp(reason, array, sizeof array - 1) == 0)
        reason += sizeof array - 1;
    return evb_fail(err, EVB_EDATA, "not a JSON object: column %d: %s", why->column, reason);
}

int evb_json_read(evb_json *self, const char *text, size_t size, evb_event *event, evb_error *err) {
    json_error_t why;
    json_decref(self->root);
    self->root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!self->root)
        return fail_parse(&why, err);
    if (!json_is_object(self->root))
        return evb_fail(err, EVB_EDATA, "not a JSON object");
    *event = (evb_event){0};
    return read_fields(self, event, err);
}
