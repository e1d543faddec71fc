/* record.c: the layout that record.h draws, and nothing else.
 *
 * Invariants: parse accepts exactly what begin and add can build; the sizes in the header, the batch's own counts and
 * the bytes agree, so that who has parsed a record may use every field without looking again.
 * Leaves to others: whether the topic is allowed and the producer in step (hub), where records lie (journal). */
#include "event/record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "event/topic.h"

static const uint8_t MAGIC[4] = {'E', 'V', 'B', 'J'};

/* Offsets in the record header. */
enum {
    H_VERSION = 4,
    H_TOPIC_SIZE = 5,
    H_ZERO = 6,
    H_BODY_SIZE = 8,
    H_COUNT = 12,
    H_SEQ = 16,
    H_TIME = 24,
    H_CHECKSUM = 32
};

/* Offsets in the batch: of the type byte of each field. */
enum {
    B_VERSION = 1,
    B_FLAGS = 2,
    B_SEQ = 3,
    B_PREV = 12,
    B_TOPIC_VERSION = 21,
    B_TIME = 30,
    B_MARK = 39,
    B_PRODUCER = 48,
    B_PRODUCER_SEQ = 66,
    B_EVENTS = 75
};

enum { FORMAT_VERSION = 1, MP_U64 = 0xcf, MP_BIN8 = 0xc4, MP_ARRAY32 = 0xdd, MP_ARRAY10 = 0x9a };

size_t evb_record_size(const uint8_t *data, size_t size) {
    if (size < EVB_RECORD_HEADER || memcmp(data, MAGIC, sizeof MAGIC) != 0 || data[H_VERSION] != FORMAT_VERSION)
        return 0;
    size_t topic = data[H_TOPIC_SIZE], body = evb_get32(data + H_BODY_SIZE);
    if (!topic || evb_get16(data + H_ZERO) || body < topic + 1 + EVB_BATCH_HEADER)
        return 0;
    if (body > (size_t)EVB_PAYLOAD_MOST + EVB_RECORD_OVERHEAD)
        return 0;
    return EVB_RECORD_HEADER + body;
}

static const char *parse_batch(uint8_t *b, size_t size, evb_record *out) {
    static const uint8_t fixed[][2] = {{B_SEQ, MP_U64},          {B_PREV, MP_U64},      {B_TOPIC_VERSION, MP_U64},
                                       {B_TIME, MP_U64},         {B_MARK, MP_U64},      {B_PRODUCER, MP_BIN8},
                                       {B_PRODUCER_SEQ, MP_U64}, {B_EVENTS, MP_ARRAY32}};
    if (size < EVB_BATCH_HEADER || b[0] != MP_ARRAY10)
        return "its batch is not an array of ten";
    if (b[B_VERSION] != FORMAT_VERSION)
        return "its batch is of an unknown format version";
    if (b[B_FLAGS] & ~EVB_FLAG_LIVE)
        return "its batch has unknown flags";
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (b[fixed[i][0]] != fixed[i][1])
            return "a field of its batch is not in its widest form";
    if (b[B_PRODUCER + 1] != EVB_PRODUCER_SIZE)
        return "its producer's id is not of 16 bytes";
    out->batch = b;
    out->ids = 0;
    out->flags = b[B_FLAGS];
    out->seq = evb_get64(b + B_SEQ + 1);
    out->prev = evb_get64(b + B_PREV + 1);
    out->version = evb_get64(b + B_TOPIC_VERSION + 1);
    out->time_ns = (int64_t)evb_get64(b + B_TIME + 1);
    out->mark = evb_get64(b + B_MARK + 1);
    out->producer = b + B_PRODUCER + 2;
    out->producer_seq = evb_get64(b + B_PRODUCER_SEQ + 1);
    out->count = evb_get32(b + B_EVENTS + 1);
    out->events = (evb_mp){b + EVB_BATCH_HEADER, b + size};
    return NULL;
}

const char *evb_record_parse(uint8_t *data, size_t size, evb_record *out) {
    size_t whole = evb_record_size(data, size);
    if (!whole)
        return "it does not begin with a record header";
    if (whole > size)
        return "it is cut short";
    out->record = data;
    out->size = whole;
    out->topic = (const char *)data + EVB_RECORD_HEADER;
    out->topic_size = data[H_TOPIC_SIZE];
    if (out->topic[out->topic_size])
        return "no NUL follows its topic";
    size_t before = EVB_RECORD_HEADER + out->topic_size + 1;
    const char *fault = parse_batch(data + before, whole - before, out);
    if (fault)
        return fault;
    if (out->count != evb_get32(data + H_COUNT) || out->seq != evb_get64(data + H_SEQ) ||
        out->time_ns != (int64_t)evb_get64(data + H_TIME))
        return "its header and its batch disagree";
    if (out->seq > EVB_SEQ_MOST || out->count > EVB_SEQ_MOST - out->seq)
        return "its seq is larger than a seq can be";
    return NULL;
}

const char *evb_frame_parse(uint8_t *data, size_t size, evb_record *out) {
    size_t most = size < EVB_TOPIC_MAX + 1 ? size : EVB_TOPIC_MAX + 1;
    const uint8_t *nul = most ? memchr(data, 0, most) : NULL;
    if (!nul || nul == data)
        return "it does not begin with a topic and a NUL";
    out->record = NULL;
    out->size = size;
    out->topic = (const char *)data;
    out->topic_size = (size_t)(nul - data);
    size_t before = out->topic_size + 1;
    return parse_batch(data + before, size - before, out);
}

/* Reads a map of str to str into room; *count is 0 for nil. */
static bool read_headers(evb_mp *mp, evb_header *room, size_t *count) {
    uint32_t n = 0;
    const uint8_t *start = mp->at;
    if (!evb_mp_nil(mp) && !evb_mp_map(mp, &n))
        return false;
    if (n > EVB_HEADER_ROOM)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!evb_mp_str(mp, &room[i].name, &room[i].name_size) ||
            !evb_mp_str(mp, &room[i].value, &room[i].value_size))
            return false;
    *count = n;
    return mp->at - start <= EVB_HEADERS_MAX + EVB_HEADERS_OWN;
}

/* An event that is more than its payload. */
static bool read_long_event(evb_mp *mp, evb_event *event, evb_header *room) {
    uint32_t elements;
    const uint8_t *payload;
    if (!evb_mp_array(mp, &elements) || elements < 3 || !evb_mp_bin(mp, &payload, &event->size))
        return false;
    event->payload = payload;
    if (!read_headers(mp, room, &event->header_count))
        return false;
    event->headers = event->header_count ? room : NULL;
    if (!evb_mp_nil(mp) && (!evb_mp_str(mp, &event->id, &event->id_size) || event->id_size >= EVB_ID_MAX))
        return false;
    while (elements-- > 3)
        if (!evb_mp_skip(mp))
            return false;
    return true;
}

bool evb_record_next(evb_mp *cursor, evb_event *event, evb_header *room) {
    const uint8_t *payload;
    event->headers = NULL;
    event->header_count = 0;
    event->id = NULL;
    event->id_size = 0;
    if (evb_mp_bin(cursor, &payload, &event->size)) {
        event->payload = payload;
        return true;
    }
    return read_long_event(cursor, event, room);
}

const char *evb_record_check_events(const evb_record *rec, size_t max_payload, uint32_t *ids) {
    uint32_t named = 0;
    evb_mp cursor = rec->events;
    evb_header room[EVB_HEADER_ROOM];
    evb_event event;
    for (uint32_t i = 0; i < rec->count; i++) {
        if (!evb_record_next(&cursor, &event, room))
            return "an event of it is malformed";
        if (event.header_count > EVB_HEADER_COUNT_MAX)
            return "an event has too many headers";
        if (event.size > max_payload)
            return "a payload is over the hub's limit (evbusd --max-payload)";
        named += event.id != NULL;
    }
    if (ids)
        *ids = named;
    if (!rec->count)
        return "it has no events";
    return cursor.at == cursor.end ? NULL : "bytes follow its last event";
}

static uint64_t checksum(const uint8_t *record, size_t size) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, record, H_CHECKSUM);
    XXH3_64bits_update(&state, record + EVB_RECORD_HEADER, size - EVB_RECORD_HEADER);
    return XXH3_64bits_digest(&state);
}

bool evb_record_intact(const uint8_t *record, size_t size) {
    return evb_get64(record + H_CHECKSUM) == checksum(record, size);
}

bool evb_record_compacted(const evb_record *rec) {
    return !rec->count && rec->topic_size == sizeof EVB_TOPIC_COMPACTED - 1 &&
           memcmp(rec->topic, EVB_TOPIC_COMPACTED, rec->topic_size) == 0;
}

void evb_record_stamp(evb_record *rec, uint64_t seq, uint64_t prev, uint64_t version, int64_t time_ns) {
    rec->seq = seq;
    rec->prev = prev;
    rec->version = version;
    rec->time_ns = time_ns;
    rec->mark = 0;
    evb_put64(rec->record + H_SEQ, seq);
    evb_put64(rec->record + H_TIME, (uint64_t)time_ns);
    evb_put64(rec->batch + B_SEQ + 1, seq);
    evb_put64(rec->batch + B_PREV + 1, prev);
    evb_put64(rec->batch + B_TOPIC_VERSION + 1, version);
    evb_put64(rec->batch + B_TIME + 1, (uint64_t)time_ns);
    evb_put64(rec->batch + B_MARK + 1, 0);
}

void evb_record_set_live(evb_record *rec) {
    rec->flags |= EVB_FLAG_LIVE;
    rec->batch[B_FLAGS] = rec->flags;
}

void evb_record_seal(evb_record *rec) { evb_put64(rec->record + H_CHECKSUM, checksum(rec->record, rec->size)); }

void evb_batch_set_mark(uint8_t *batch, uint64_t mark) { evb_put64(batch + B_MARK + 1, mark); }

/* Writes a batch header without events at b. */
static void write_batch(uint8_t *b, uint8_t flags, const uint8_t *producer, uint64_t producer_seq) {
    memset(b, 0, EVB_BATCH_HEADER);
    b[0] = MP_ARRAY10;
    b[B_VERSION] = FORMAT_VERSION;
    b[B_FLAGS] = flags;
    b[B_SEQ] = b[B_PREV] = b[B_TOPIC_VERSION] = b[B_TIME] = b[B_MARK] = b[B_PRODUCER_SEQ] = MP_U64;
    b[B_PRODUCER] = MP_BIN8;
    b[B_PRODUCER + 1] = EVB_PRODUCER_SIZE;
    memcpy(b + B_PRODUCER + 2, producer, EVB_PRODUCER_SIZE);
    evb_put64(b + B_PRODUCER_SEQ + 1, producer_seq);
    b[B_EVENTS] = MP_ARRAY32;
}

/* Appends topic, NUL and a batch header. */
static bool add_body(evb_buf *out, const char *topic, size_t topic_size, uint8_t flags, const uint8_t *producer,
                     uint64_t producer_seq) {
    if (!evb_buf_reserve(out, topic_size + 1 + EVB_BATCH_HEADER))
        return false;
    uint8_t *p = out->data + out->size;
    memcpy(p, topic, topic_size);
    p[topic_size] = 0;
    write_batch(p + topic_size + 1, flags, producer, producer_seq);
    out->size += topic_size + 1 + EVB_BATCH_HEADER;
    return true;
}

bool evb_record_begin(evb_buf *out, const char *topic, size_t topic_size, uint8_t flags,
                      const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t producer_seq) {
    if (!evb_buf_reserve(out, EVB_RECORD_HEADER + topic_size + 1 + EVB_BATCH_HEADER))
        return false;
    uint8_t *h = out->data + out->size;
    memset(h, 0, EVB_RECORD_HEADER);
    memcpy(h, MAGIC, sizeof MAGIC);
    h[H_VERSION] = FORMAT_VERSION;
    h[H_TOPIC_SIZE] = (uint8_t)topic_size;
    evb_put32(h + H_BODY_SIZE, (uint32_t)(topic_size + 1 + EVB_BATCH_HEADER));
    out->size += EVB_RECORD_HEADER;
    return add_body(out, topic, topic_size, flags, producer, producer_seq);
}

bool evb_record_is_of(const uint8_t *record, const char *topic, size_t topic_size) {
    return record[H_TOPIC_SIZE] == topic_size && memcmp(record + EVB_RECORD_HEADER, topic, topic_size) == 0;
}

/* Appends data as a msgpack bin: written here and not by msgpack-c, since it is the publisher's innermost loop. */
static bool add_bin(evb_buf *out, const void *data, size_t size) {
    if (!evb_buf_reserve(out, size + 5))
        return false;
    uint8_t *p = out->data + out->size;
    if (size < 0x100) {
        p[0] = MP_BIN8;
        p[1] = (uint8_t)size;
        p += 2;
    } else if (size < 0x10000) {
        p[0] = MP_BIN8 + 1;
        evb_put16(p + 1, (uint16_t)size);
        p += 3;
    } else {
        p[0] = MP_BIN8 + 2;
        evb_put32(p + 1, (uint32_t)size);
        p += 5;
    }
    if (size)
        memcpy(p, data, size);
    out->size = (size_t)(p - out->data) + size;
    return true;
}

static bool add_long_event(evb_buf *out, const evb_event *event) {
    msgpack_packer packer;
    evb_mp_packer(&packer, out);
    int rc = msgpack_pack_array(&packer, 3) || !add_bin(out, event->payload, event->size);
    rc = rc || (event->header_count ? msgpack_pack_map(&packer, event->header_count) : msgpack_pack_nil(&packer));
    for (size_t i = 0; !rc && i < event->header_count; i++) {
        const evb_header *h = &event->headers[i];
        rc = evb_mp_pack_str(&packer, h->name, h->name_size) || evb_mp_pack_str(&packer, h->value, h->value_size);
    }
    rc = rc || (event->id ? evb_mp_pack_str(&packer, event->id, event->id_size) : msgpack_pack_nil(&packer));
    return rc == 0;
}

/* Sets how many events and bytes the record that begins at `start` of *out, and is its last, has. */
static void set_extent(evb_buf *out, size_t start, uint32_t count) {
    uint8_t *record = out->data + start;
    evb_put32(record + H_COUNT, count);
    evb_put32(record + H_BODY_SIZE, (uint32_t)(out->size - start - EVB_RECORD_HEADER));
    evb_put32(record + EVB_RECORD_HEADER + record[H_TOPIC_SIZE] + 1 + B_EVENTS + 1, count);
}

bool evb_record_add(evb_buf *out, size_t start, const evb_event *event) {
    size_t before = out->size;
    bool plain = !event->header_count && !event->id;
    if (!(plain ? add_bin(out, event->payload, event->size) : add_long_event(out, event))) {
        out->size = before;
        return false;
    }
    set_extent(out, start, evb_get32(out->data + start + H_COUNT) + 1);
    return true;
}

bool evb_record_slice(evb_buf *out, const evb_record *rec, uint32_t skip, uint32_t count) {
    size_t start = out->size;
    evb_record slice;
    evb_mp from = rec->events;
    if (skip == 0 && count == rec->count)
        return evb_buf_add(out, rec->record, rec->size);
    for (uint32_t i = 0; i < skip; i++)
        if (!evb_mp_skip(&from))
            return false;
    evb_mp to = from;
    for (uint32_t i = 0; i < count; i++)
        if (!evb_mp_skip(&to))
            return false;
    if (!evb_record_begin(out, rec->topic, rec->topic_size, rec->flags, rec->producer, rec->producer_seq) ||
        !evb_buf_add(out, from.at, (size_t)(to.at - from.at))) {
        out->size = start;
        return false;
    }
    set_extent(out, start, count);
    if (evb_record_parse(out->data + start, out->size - start, &slice))
        return false;
    evb_record_stamp(&slice, rec->seq + skip, skip ? rec->seq + skip - 1 : rec->prev, rec->version + skip,
                     rec->time_ns);
    evb_record_seal(&slice);
    return true;
}

bool evb_record_copy(evb_buf *out, const evb_record *rec, uint8_t flags, const uint8_t producer[EVB_PRODUCER_SIZE],
                     uint64_t producer_seq) {
    size_t start = out->size;
    if (!evb_record_begin(out, rec->topic, rec->topic_size, flags, producer, producer_seq) ||
        !evb_buf_add(out, rec->events.at, (size_t)(rec->events.end - rec->events.at))) {
        out->size = start;
        return false;
    }
    set_extent(out, start, rec->count);
    return true;
}

bool evb_record_without(evb_buf *out, const evb_record *rec, const uint32_t *gone, size_t count) {
    size_t start = out->size, next = 0;
    evb_mp at = rec->events;
    if (!evb_record_begin(out, rec->topic, rec->topic_size, rec->flags, rec->producer, rec->producer_seq))
        return false;
    for (uint32_t i = 0; i < rec->count; i++) {
        const uint8_t *event = at.at;
        bool keep = next == count || gone[next] != i;
        next += !keep;
        if (!evb_mp_skip(&at) || (keep && !evb_buf_add(out, event, (size_t)(at.at - event)))) {
            out->size = start;
            return false;
        }
    }
    set_extent(out, start, rec->count - (uint32_t)count);
    return true;
}

bool evb_frame_beat(evb_buf *out, const char *topic, size_t topic_size, uint64_t seq, uint64_t mark,
                    int64_t time_ns) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    if (!add_body(out, topic, topic_size, 0, nobody, 0))
        return false;
    uint8_t *batch = out->data + out->size - EVB_BATCH_HEADER;
    evb_put64(batch + B_SEQ + 1, seq);
    evb_put64(batch + B_TIME + 1, (uint64_t)time_ns);
    evb_put64(batch + B_MARK + 1, mark);
    return true;
}
