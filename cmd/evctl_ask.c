/* evctl_ask.c: requests with JSON on our side and msgpack on the hub's.
 *
 * What the hub says is small (pages), so it is turned into jansson's values as a whole: each command then picks from rows
 * by name, and -J prints them as they are.
 * Leaves to others: what the requests mean (evbus-protocol(7)). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/paths.h"
#include "base/utf8.h"
#include "client/ask.h"
#include "evctl.h"
#include "event/position.h"

const char *evctl_url(evctl *self, evb_error *err) {
    const evb_environment env = {
        getenv("EVBUS_URL"), getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"), geteuid(), NULL};
    if (!self->url)
        self->url = self->o.url ? strdup(self->o.url) : evb_paths_url(&env, err);
    return self->url;
}

evb_bus *evctl_bus(evctl *self, evb_error *err) {
    if (!self->bus && evctl_url(self, err))
        self->bus = evb_bus_new(self->url, self->o.timeout_ns ? self->o.timeout_ns : -1, err);
    return self->bus;
}

/* ---- from JSON ---- */

static int pack(msgpack_packer *p, const json_t *value);

static int pack_array(msgpack_packer *p, const json_t *value) {
    int rc = msgpack_pack_array(p, json_array_size(value));
    for (size_t i = 0; rc == 0 && i < json_array_size(value); i++)
        rc = pack(p, json_array_get(value, i));
    return rc;
}

static int pack(msgpack_packer *p, const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING: return evb_mp_pack_str(p, json_string_value(value), json_string_length(value));
    case JSON_INTEGER: return msgpack_pack_uint64(p, (uint64_t)json_integer_value(value));
    case JSON_TRUE: return msgpack_pack_true(p);
    case JSON_FALSE: return msgpack_pack_false(p);
    case JSON_ARRAY: return pack_array(p, value);
    case JSON_OBJECT:
    case JSON_REAL:
    case JSON_NULL: break;
    }
    return msgpack_pack_nil(p);
}

/* ---- to JSON ---- */

static json_t *read_value(evb_mp *mp, int depth);

static json_t *read_array(evb_mp *mp, uint32_t count, int depth) {
    json_t *array = json_array();
    while (count--) {
        json_t *value = read_value(mp, depth);
        if (!value || json_array_append_new(array, value)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *read_map(evb_mp *mp, uint32_t count, int depth) {
    json_t *object = json_object();
    const char *name;
    size_t size;
    char key[64];
    while (count--) {
        bool named = evb_mp_str(mp, &name, &size) && size < sizeof key;
        json_t *value = named ? read_value(mp, depth) : NULL;
        if (!value) {
            json_decref(object);
            return NULL;
        }
        memcpy(key, name, size);
        key[size] = 0;
        json_object_set_new(object, key, value);
    }
    return object;
}

/* Text as JSON can have it: what is not UTF-8 is no text of the hub's. */
static json_t *read_text(const char *text, size_t size) {
    json_t *value = json_stringn(text, size);
    return value ? value : json_string("?");
}

static json_t *read_value(evb_mp *mp, int depth) {
    uint64_t number;
    uint32_t count;
    const char *text;
    size_t size;
    bool flag;
    if (evb_mp_uint(mp, &number))
        return json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number);
    if (evb_mp_str(mp, &text, &size))
        return read_text(text, size);
    if (evb_mp_bool(mp, &flag))
        return json_boolean(flag);
    if (evb_mp_nil(mp))
        return json_null();
    if (depth && evb_mp_array(mp, &count))
        return read_array(mp, count, depth - 1);
    if (depth && evb_mp_map(mp, &count))
        return read_map(mp, count, depth - 1);
    return evb_mp_skip(mp) ? json_null() : NULL;
}

/* A hub that is older than this program says so in these words: evbus-protocol(7). */
static int explain(const char *op, int rc, evb_error *err) {
    if (rc != EVB_EINVAL || strcmp(err->text, "a request this hub does not know") != 0)
        return rc;
    return evb_fail(err, EVB_ENOHUB, "the hub does not know the request '%s': it is older than this evctl", op);
}

json_t *evctl_ask(evctl *self, const char *op, json_t *args, evb_error *err) {
    evb_buf packed = {0}, results = {0};
    msgpack_packer p;
    json_t *out = NULL;
    uint32_t count = args ? (uint32_t)json_array_size(args) : 0;
    int rc = evctl_bus(self, err) ? 0 : err->code;
    evb_mp_packer(&p, &packed);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = pack(&p, json_array_get(args, i)) ? evb_fail(err, EVB_ENOMEM, "out of memory") : 0;
    rc = rc ? rc : explain(op, evb_ask(self->bus, op, count, &packed, &results, NULL, err), err);
    evb_mp mp = evb_mp_of(&results);
    if (rc == 0)
        out = json_array();
    while (out && mp.at < mp.end) {
        json_t *value = read_value(&mp, 8);
        if (value && json_array_append_new(out, value) == 0)
            continue;
        evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
        json_decref(out);
        out = NULL;
    }
    json_decref(args);
    evb_buf_free(&packed);
    evb_buf_free(&results);
    return out;
}

uint64_t evctl_number(const json_t *row, const char *key) {
    json_int_t value = json_integer_value(json_object_get(row, key));
    return value > 0 ? (uint64_t)value : 0;
}

const char *evctl_text(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

int evctl_check_text(const char *what, const char *text, evb_error *err) {
    const uint8_t *p = (const uint8_t *)text;
    for (size_t left = strlen(text), n; left; p += n, left -= n) {
        n = evb_utf8_length(p, left);
        if (!n)
            return evb_fail(err, EVB_EDATA, "%s: it is not UTF-8", what);
    }
    return 0;
}

/* ---- positions ---- */

/* The row of the group in the hub's list, the caller's. NULL and *err: EVB_EGONE. */
static json_t *find_group(evctl *self, const char *name, evb_error *err) {
    json_t *results = evctl_ask(self, "groups", NULL, err), *rows = json_array_get(results, 0), *found = NULL;
    for (size_t i = 0; !found && i < json_array_size(rows); i++)
        if (strcmp(evctl_text(json_array_get(rows, i), "name"), name) == 0)
            found = json_incref(json_array_get(rows, i));
    if (results && !found)
        evb_fail(err, EVB_EGONE, "there is no group %.128s", name);
    json_decref(results);
    return found;
}

/* The place of a position for a reader of these patterns (an array; NULL: everything). */
static int place_for(evctl *self, const json_t *patterns, evb_from from, uint64_t value, uint64_t *seq,
                     evb_error *err) {
    size_t count = json_array_size(patterns);
    const char **texts = malloc((count + 1) * sizeof *texts);
    if (!texts)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        texts[i] = json_string_value(json_array_get(patterns, i));
    int rc = evctl_bus(self, err) ? evb_ask_place(self->bus, from, value, texts, count, seq, err) : err->code;
    free(texts);
    return rc;
}

/* The same, of what the user wrote; a time is put off by `later` ns. */
static int place_of(evctl *self, const char *option, const char *text, const char *group, uint64_t later,
                    evb_from *from, uint64_t *seq, evb_error *err) {
    evb_error why;
    uint64_t value;
    int rc = evb_position_parse(text, evb_clock_wall_ns(), from, &value, &why);
    if (rc)
        return evb_fail(err, rc, "%s: %.400s", option, why.text);
    if (*from == EVB_FROM_SEQ) {
        *seq = value ? value : 1;
        return 0;
    }
    json_t *row = group ? find_group(self, group, err) : NULL;
    if (group && !row)
        return err->code;
    value += *from == EVB_FROM_TIME ? later : 0;
    rc = place_for(self, json_object_get(row, "patterns"), *from, value, seq, err);
    json_decref(row);
    return rc;
}

int evctl_seq_of(evctl *self, const char *option, const char *text, const char *group, uint64_t *seq,
                 evb_error *err) {
    evb_from from;
    return place_of(self, option, text, group, 0, &from, seq, err);
}

int evctl_end_of(evctl *self, const char *option, const char *text, const char *group, uint64_t *seq,
                 evb_error *err) {
    evb_from from;
    int rc = place_of(self, option, text, group, 1, &from, seq, err);
    if (rc == 0 && (from == EVB_FROM_TIME || from == EVB_FROM_NOW))
        --*seq;
    return rc;
}
