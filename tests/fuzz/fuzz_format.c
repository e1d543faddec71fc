/* fuzz_format.c: output formats, and what jq's expressions may see of an event (only our own look at their text: libjq
 * compiles in 20 ms). */
#include <stdlib.h>
#include <string.h>

#include "event/expr.h"
#include "event/format.h"
#include "event/jv_event.h"
#include "event/where.h"
#include "input.h"

static void use_format(const char *text, const evb_event *event) {
    evb_error err = {0};
    evb_buf out = {0}, again = {0};
    evb_format *format = evb_format_new(text, &err);
    if (!format) {
        MUST(err.code == EVB_EINVAL && *err.text);
        return;
    }
    MUST(evb_format_add(format, &out, event) && evb_format_add(format, &again, event));
    MUST(out.size == again.size && (!out.size || memcmp(out.data, again.data, out.size) == 0));
    evb_format_destroy(&format);
    evb_buf_free(&out);
    evb_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    size_t payload_size;
    char *format = fuzz_text(&in), *name = fuzz_text(&in);
    uint8_t *payload = fuzz_piece(&in, &payload_size);
    int64_t time_ns = (int64_t)(fuzz_number(&in, 8) & INT64_MAX);
    char *expression = fuzz_rest(&in);
    evb_header headers[] = {{name, strlen(name), "v", 1}, {"kind", 4, name, strlen(name)}};
    evb_event event = {.topic = "a.b",
                       .topic_size = 3,
                       .payload = payload,
                       .size = payload_size,
                       .headers = headers,
                       .header_count = 2,
                       .seq = 7,
                       .version = 2,
                       .time_ns = time_ns,
                       .producer = (const uint8_t *)"0123456789abcdef"};
    use_format(format, &event);
    MUST((evb_where_members(expression) & ~(uint32_t)EVB_MEMBERS_ALL) == 0);
    uint32_t used = 0;
    if (evb_expr_members(expression, "event", evb_member_names, EVB_MEMBER_COUNT, &used))
        MUST((used & ~(uint32_t)EVB_MEMBERS_ALL) == 0);
    free(format);
    free(name);
    free(payload);
    free(expression);
    return 0;
}
