/* fuzz_json.c: lines of JSON as evpub -J reads them: what was read is written and read again, and is the same; and as
 * expressions see events. */
#include <stdlib.h>
#include <string.h>

#include "event/json.h"
#include "event/jv_event.h"
#include "event/topic.h"
#include "input.h"

static bool same(const void *a, size_t a_size, const void *b, size_t b_size) {
    return a_size == b_size && (!a_size || memcmp(a, b, a_size) == 0);
}

static void check_same(const evb_event *a, const evb_event *b) {
    MUST(same(a->topic, a->topic_size, b->topic, b->topic_size));
    MUST(same(a->payload, a->size, b->payload, b->size));
    MUST(a->header_count == b->header_count);
    for (size_t i = 0; i < a->header_count; i++)
        MUST(same(a->headers[i].name, a->headers[i].name_size, b->headers[i].name, b->headers[i].name_size) &&
             same(a->headers[i].value, a->headers[i].value_size, b->headers[i].value, b->headers[i].value_size));
}

static void see(const evb_event *event) {
    evb_jv_events *events = evb_jv_events_new(EVB_MEMBERS_ALL);
    MUST(events);
    jv value = evb_jv_events_make(events, event);
    MUST(jv_get_kind(value) == JV_KIND_OBJECT);
    jv_free(value);
    evb_jv_events_destroy(&events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    evb_json *reader = evb_json_new(), *second = evb_json_new();
    evb_event event = {0}, again = {0};
    evb_error err = {0};
    evb_buf out = {0};
    MUST(reader && second);
    int rc = evb_json_read(reader, (const char *)data, size, &event, &err);
    MUST(rc == 0 || (rc == EVB_EDATA && *err.text));
    if (rc == 0 && !evb_topic_fault(event.topic, event.topic_size) && event.id_size < EVB_ID_MAX) {
        event.producer = (const uint8_t *)"0123456789abcdef";
        MUST(evb_json_add_event(&out, &event) && !memchr(out.data, '\n', out.size));
        MUST(evb_json_read(second, (const char *)out.data, out.size, &again, &err) == 0);
        check_same(&event, &again);
        see(&event);
    }
    evb_json_destroy(&reader);
    evb_json_destroy(&second);
    evb_buf_free(&out);
    return 0;
}
