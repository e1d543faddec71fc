/* fuzz_record.c: records and feed frames, as a stranger sends them: what is taken as good can be walked, cut, copied and
 * built again, and comes out the same. */
#include <stdlib.h>
#include <string.h>

#include "event/json.h"
#include "event/record.h"
#include "event/topic.h"
#include "input.h"

enum { MAX_PAYLOAD = 1 << 16 };

static uint32_t count_events(const evb_record *rec) {
    evb_header room[EVB_HEADER_ROOM];
    evb_event event;
    evb_mp cursor = rec->events;
    uint32_t count = 0;
    while (count < rec->count && evb_record_next(&cursor, &event, room))
        count++;
    return count;
}

/* The same events, added one by one; readers pass over elements that they do not know, so these are not there again. */
static void build_again(const evb_record *rec) {
    evb_header room[EVB_HEADER_ROOM], other[EVB_HEADER_ROOM];
    evb_event a, b;
    evb_buf out = {0};
    evb_record made;
    evb_mp from = rec->events;
    MUST(evb_record_begin(&out, rec->topic, rec->topic_size, rec->flags, rec->producer, rec->producer_seq));
    while (evb_record_next(&from, &a, room))
        MUST(evb_record_add(&out, 0, &a));
    MUST(!evb_record_parse(out.data, out.size, &made));
    MUST(!evb_record_check_events(&made, MAX_PAYLOAD, NULL) && made.count == rec->count);
    from = rec->events;
    evb_mp to = made.events;
    while (evb_record_next(&from, &a, room))
        MUST(evb_record_next(&to, &b, other) && a.size == b.size && a.header_count == b.header_count &&
             !a.id == !b.id && a.id_size == b.id_size && (!a.size || memcmp(a.payload, b.payload, a.size) == 0));
    evb_buf_free(&out);
}

static void cut(const evb_record *rec, uint32_t skip, uint32_t count) {
    evb_buf out = {0};
    evb_record part;
    MUST(evb_record_slice(&out, rec, skip, count));
    MUST(!evb_record_parse(out.data, out.size, &part) && part.count == count);
    MUST(!evb_record_check_events(&part, MAX_PAYLOAD, NULL) && part.seq == rec->seq + skip);
    evb_buf_free(&out);
    if (count == rec->count)
        return;
    MUST(evb_record_without(&out, rec, &skip, 1));
    MUST(!evb_record_parse(out.data, out.size, &part) && part.count == rec->count - 1);
    evb_buf_free(&out);
}

static void use_record(uint8_t *data, size_t size, uint32_t skip, uint32_t count) {
    evb_record rec;
    uint32_t ids = 0;
    evb_buf out = {0};
    if (evb_record_parse(data, size, &rec))
        return;
    MUST(rec.size == evb_record_size(data, size) && rec.size <= size);
    uint32_t found = count_events(&rec);
    bool good = !evb_record_check_events(&rec, MAX_PAYLOAD, &ids);
    evb_record_stamp(&rec, rec.seq % 1000 + 1, 0, 1, 5);
    evb_record_seal(&rec);
    MUST(evb_record_intact(data, rec.size));
    if (good && !evb_topic_fault(rec.topic, rec.topic_size)) {
        MUST(found == rec.count && ids <= found);
        build_again(&rec);
        skip %= rec.count;
        count = count % (rec.count - skip) + 1;
        cut(&rec, skip, count);
        MUST(evb_record_copy(&out, &rec, 0, rec.producer, 1));
        evb_buf_free(&out);
    } else {
        evb_record_slice(&out, &rec, skip, count);
        evb_buf_free(&out);
        evb_record_without(&out, &rec, &skip, 1);
        evb_buf_free(&out);
    }
}

static void use_frame(uint8_t *data, size_t size) {
    evb_record rec;
    if (evb_frame_parse(data, size, &rec))
        return;
    MUST(rec.topic_size <= EVB_TOPIC_MAX && rec.size == size);
    count_events(&rec);
    evb_record_check_events(&rec, MAX_PAYLOAD, NULL);
    evb_batch_set_mark(rec.batch, 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    uint32_t skip = (uint32_t)fuzz_number(&in, 1), count = (uint32_t)fuzz_number(&in, 1);
    size_t left = fuzz_left(&in);
    uint8_t *copy = malloc(left + !left);
    MUST(copy);
    memcpy(copy, in.at, left);
    use_frame(copy, left);
    use_record(copy, left, skip, count);
    if (left > EVB_RECORD_HEADER)
        use_frame(copy + EVB_RECORD_HEADER, left - EVB_RECORD_HEADER);
    free(copy);
    return 0;
}
