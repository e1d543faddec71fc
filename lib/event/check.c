/* check.c: the form of headers and ids, for publishers.
 *
 * Leaves to others: topics (topic.c), the payload's size (the hub's limit). */
#include "event/check.h"

#include <string.h>

#include "base/error.h"
#include "event/limits.h"
#include "event/topic.h"

enum { HEADER_NAME_MAX = 255 };

/* Whether it can be a header's name or an id: UTF-8, no '=' and no control character. */
static bool plain_name(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if ((uint8_t)text[i] < 0x20 || text[i] == '=' || text[i] == 0x7f)
            return false;
    return evb_text_valid(text, size);
}

const evb_header *evb_header_named(const evb_header *headers, size_t count, const char *name, size_t size) {
    for (size_t i = 0; i < count; i++)
        if (headers[i].name_size == size && memcmp(headers[i].name, name, size) == 0)
            return &headers[i];
    return NULL;
}

int evb_headers_check(const evb_event *event, size_t *size, evb_error *err) {
    if (event->header_count > EVB_HEADER_COUNT_MAX)
        return evb_fail(err, EVB_EDATA, "more than %d headers", EVB_HEADER_COUNT_MAX);
    size_t bytes = 8;
    for (size_t i = 0; i < event->header_count; i++) {
        const evb_header *h = &event->headers[i];
        if (!h->name_size || h->name_size > HEADER_NAME_MAX || !plain_name(h->name, h->name_size))
            return evb_fail(err, EVB_EDATA,
                            "header %zu: a name has 1 to %d bytes of UTF-8, no '=' and no control character", i + 1,
                            HEADER_NAME_MAX);
        if (evb_header_named(event->headers, i, h->name, h->name_size))
            return evb_fail(err, EVB_EDATA, "header %zu: a name that an earlier one has", i + 1);
        if (!evb_text_valid(h->value, h->value_size))
            return evb_fail(err, EVB_EDATA, "header %zu: its value is not UTF-8", i + 1);
        bytes += h->name_size + h->value_size + 10;
    }
    if (bytes > EVB_HEADERS_MAX)
        return evb_fail(err, EVB_EDATA, "headers of %zu bytes: over the limit of %d", bytes, EVB_HEADERS_MAX);
    if (event->id && (!event->id_size || event->id_size >= EVB_ID_MAX || !plain_name(event->id, event->id_size)))
        return evb_fail(err, EVB_EDATA, "an id has 1 to %d bytes, no '=' and no control character", EVB_ID_MAX - 1);
    *size += bytes + event->id_size;
    return 0;
}
