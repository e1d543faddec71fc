/* evctl_letter.c: one dead letter, with what is kept of its attempts (the events of $failed.GROUP.SEQ).
 *
 * Leaves to others: which letters (evctl_dead.c), reading (evctl_read.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "evctl.h"
#include "event/json.h"
#include "event/limits.h"

#define DEAD "$dead."
enum { DEAD_SIZE = sizeof DEAD - 1 };

/* ---- text ---- */

/* Adds bytes that move no terminal's cursor; `lines`: newlines stay. */
static bool add_tame(evb_buf *out, const char *text, size_t size, bool lines) {
    size_t from = out->size;
    if (size && !evb_buf_add(out, text, size))
        return false;
    for (size_t at = from; at < out->size;) {
        const uint8_t *newline = lines ? memchr(out->data + at, '\n', out->size - at) : NULL;
        size_t end = newline ? (size_t)(newline - out->data) : out->size;
        evctl_tame((char *)out->data + at, end - at);
        at = end + 1;
    }
    return true;
}

static bool add_value(evb_buf *out, const evb_event *event, const char *name) {
    const evb_header *h = evctl_header(event, name);
    return h ? add_tame(out, h->value, h->value_size, false) : evb_buf_text(out, "?");
}

/* What the command said, each line indented. */
static bool add_output(evb_buf *out, const char *text, size_t size) {
    bool ok = true;
    for (size_t at = 0; ok && at < size;) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t line = newline ? (size_t)(newline - text) - at : size - at;
        ok = evb_buf_text(out, "  ") && add_tame(out, text + at, line, false) && evb_buf_text(out, "\n");
        at += line + 1;
    }
    return ok;
}

/* attempt 2: 2026-11-24T01:00:00.000000000Z, 0.512 s, exit 1: exit 1 */
static bool add_attempt(evb_buf *out, const evb_event *event) {
    const char *end = evctl_header(event, "signal") ? "signal" : "exit";
    return evb_buf_text(out, "attempt ") && add_value(out, event, "attempt") && evb_buf_text(out, ": ") &&
           add_value(out, event, "began") && evb_buf_text(out, ", ") && add_value(out, event, "seconds") &&
           evb_buf_printf(out, " s, %s ", end) && add_value(out, event, end) && evb_buf_text(out, ": ") &&
           add_value(out, event, "reason") && evb_buf_text(out, "\n") && add_output(out, event->payload, event->size);
}

static bool add_letter(evb_buf *out, const evb_event *event) {
    bool ok = evb_buf_printf(out, "seq: %" PRIu64 "\n", event->seq);
    for (size_t i = 0; ok && i < event->header_count; i++) {
        const evb_header *h = &event->headers[i];
        ok = add_tame(out, h->name, h->name_size, false) && evb_buf_text(out, ": ") &&
             add_tame(out, h->value, h->value_size, false) && evb_buf_text(out, "\n");
    }
    return ok && evb_buf_text(out, "\n") && (!event->size || evb_buf_add(out, event->payload, event->size)) &&
           evb_buf_text(out, "\n");
}

/* ---- JSON ---- */

/* The event as evsub -J prints it. NULL: out of memory. */
static json_t *event_json(const evb_event *event) {
    evb_buf text = {0};
    json_t *object = evb_json_add_event(&text, event)
                         ? json_loadb((const char *)text.data, text.size, JSON_ALLOW_NUL, NULL)
                         : NULL;
    evb_buf_free(&text);
    return object;
}

/* {attempt, began, seconds, exit or signal, reason, output or output_base64} */
static json_t *attempt_json(const evb_event *event) {
    json_t *from = event_json(event), *headers = json_object_get(from, "headers"), *out = json_object();
    const char *end = evctl_header(event, "signal") ? "signal" : "exit";
    const char *seconds = evctl_text(headers, "seconds");
    json_object_set_new(out, "seq", json_integer((json_int_t)event->seq));
    json_object_set_new(out, "attempt", json_integer((json_int_t)evctl_header_number(event, "attempt")));
    json_object_set(out, "began", json_object_get(headers, "began"));
    json_object_set_new(out, "seconds", json_real(strtod(seconds, NULL)));
    json_object_set_new(out, end, json_integer((json_int_t)evctl_header_number(event, end)));
    json_object_set(out, "reason", json_object_get(headers, "reason"));
    json_object_set(out, "output", json_object_get(from, "payload"));
    json_object_set(out, "output_base64", json_object_get(from, "payload_base64"));
    json_decref(from);
    return out;
}

/* ---- finding ---- */

typedef struct {
    const char *wanted; /* group; NULL: any */
    char *group;        /* whose letter was found */
    uint64_t of;        /* the seq that it is of */
    evb_buf *text;      /* the letter goes here; may be NULL */
    evb_buf *payload;   /* and its payload here; may be NULL */
    json_t *object;     /* or here */
    json_t *attempts;
    bool json;
} letter;

static int take_letter(void *context, const evb_event *event, evb_error *err) {
    letter *l = context;
    const char *group = event->topic + DEAD_SIZE;
    size_t size = event->topic_size - DEAD_SIZE;
    if (l->wanted && (strlen(l->wanted) != size || memcmp(l->wanted, group, size) != 0))
        return EVCTL_STOP;
    l->of = evctl_header_number(event, "dead-seq");
    l->group = strndup(group, size);
    bool ok = l->group;
    if (ok && l->json)
        ok = (l->object = event_json(event));
    else if (ok && l->text)
        ok = add_letter(l->text, event);
    if (ok && l->payload && event->size)
        ok = evb_buf_add(l->payload, event->payload, event->size);
    return ok ? EVCTL_STOP : evb_fail(err, EVB_ENOMEM, "out of memory");
}

static int take_attempt(void *context, const evb_event *event, evb_error *err) {
    letter *l = context;
    bool ok = l->json ? json_array_append_new(l->attempts, attempt_json(event)) == 0 : add_attempt(l->text, event);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "out of memory");
}

/* Reads the letter into *l. EVB_EGONE: there is none. */
static int find(evctl *self, letter *l, uint64_t seq, evb_error *err) {
    static const char *const PATTERN[] = {"$dead.#"};
    int rc = evctl_read(self, PATTERN, 1, seq, seq, take_letter, l, err);
    if (rc || l->group)
        return rc;
    if (l->wanted)
        return evb_fail(err, EVB_EGONE, "group %s has no dead letter of seq %" PRIu64, l->wanted, seq);
    return evb_fail(err, EVB_EGONE, "there is no dead letter of seq %" PRIu64, seq);
}

/* Reads the attempts that led to the letter. */
static int find_attempts(evctl *self, letter *l, uint64_t seq, evb_error *err) {
    char topic[EVB_TOPIC_MAX + 1];
    const char *pattern = topic;
    int size = snprintf(topic, sizeof topic, "$failed.%s.%" PRIu64, l->group, l->of);
    if (!l->of || (size_t)size >= sizeof topic)
        return 0;
    return evctl_read(self, &pattern, 1, l->of, seq, take_attempt, l, err);
}

int evctl_show_letter(evctl *self, const char *group, uint64_t seq, evb_error *err) {
    evb_buf text = {0};
    letter l = {.wanted = group, .text = &text, .attempts = json_array(), .json = self->o.json};
    int rc = find(self, &l, seq, err);
    rc = rc ? rc : find_attempts(self, &l, seq, err);
    if (rc == 0 && l.json) {
        json_object_set(l.object, "attempts", l.attempts);
        evctl_print_json(l.object);
    } else if (rc == 0 && fwrite(text.data, 1, text.size, stdout) != text.size) {
        rc = evb_fail(err, EVB_EIO, "stdout: cannot write");
    }
    json_decref(l.attempts);
    json_decref(l.object);
    evb_buf_free(&text);
    free(l.group);
    return rc;
}

char *evctl_find_letter(evctl *self, const char *group, uint64_t seq, evb_buf *payload, evb_error *err) {
    letter l = {.wanted = group, .payload = payload};
    if (find(self, &l, seq, err) == 0)
        return l.group;
    free(l.group);
    return NULL;
}
