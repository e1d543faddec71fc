/* fuzz_journal.c: a directory of segments, indexes and a gone.log that a crash, a bad disk or somebody's editor has left:
 * opened, read, written to, verified and repaired.
 *
 * What must hold: a start loses no whole record that stands before the damage; what is read is whole, wanted, in order and
 * never goes on for ever; a repaired journal is whole, and opens. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "input.h"
#include "journal/journal.h"
#include "journal/segment.h"
#include "journal/verify.h"

enum { ITEMS_MAX = 60, READS_MAX = 400, RECORDS_MAX = 100000 };
enum { GOOD, LIE, PIECE, SEALED, SEGMENT, GONE, INDEX, KINDS };
static const char *const TOPICS[] = {"a.1", "b", "a.2", "$hub.compacted"};

typedef struct {
    fuzz_input *in;
    evb_io *disk;
    evb_buf segment, gone, index;
    uint64_t first, next; /* of the segment under way; the seq that should follow */
    uint64_t last[4], version[4];
    uint64_t number; /* of the next batch of the one producer */
    uint64_t whole;  /* the seq behind the records that stand whole at the segment's begin */
    bool spoilt;     /* something else has come */
    bool indexed;    /* an index of the input's is there */
} writing;

/* ---- writing it ---- */

static void add_record(writing *w, unsigned topic, unsigned events, uint64_t seq, uint64_t version, int64_t time_ns) {
    static const uint8_t PRODUCER[EVB_PRODUCER_SIZE] = "p";
    evb_record rec;
    size_t start = w->segment.size;
    const char *name = TOPICS[topic];
    MUST(evb_record_begin(&w->segment, name, strlen(name), 0, PRODUCER, w->number++));
    for (unsigned i = 0; i < events; i++)
        MUST(evb_record_add(&w->segment, start, &(evb_event){.payload = "12345678", .size = 8}));
    MUST(!evb_record_parse(w->segment.data + start, w->segment.size - start, &rec));
    evb_record_stamp(&rec, seq, w->last[topic], version, time_ns);
    evb_record_seal(&rec);
}

static void add_good(writing *w) {
    unsigned how = (unsigned)fuzz_number(w->in, 1),
             topic = how & 1   ? 0
                     : how & 2 ? 1
                               : 2,
             events = 1 + (how >> 2) % 5;
    add_record(w, topic, events, w->next, w->version[topic] + 1, fuzz_now_ns + (int64_t)(w->next % EVB_SECOND_NS));
    w->next += events;
    w->last[topic] = w->next - 1;
    w->version[topic] += events;
    w->spoilt |= w->next > EVB_SEQ_MOST; /* no record has such a seq */
    if (!w->spoilt)
        w->whole = w->next;
}

static void add_lie(writing *w) {
    unsigned how = (unsigned)fuzz_number(w->in, 1), topic = how & 3, events = (how >> 2) % 4;
    uint64_t seq = how & 64 ? w->next + fuzz_number(w->in, 1) - 128 : fuzz_seq(w->in);
    w->last[topic] = how & 128 ? fuzz_seq(w->in) : w->last[topic];
    add_record(w, topic, events, seq, fuzz_seq(w->in), (int64_t)fuzz_seq(w->in));
    w->next = how & 16 ? seq + events : w->next;
    w->spoilt = true;
}

static void add_piece(writing *w, bool seal) {
    size_t size;
    uint8_t *piece = fuzz_piece(w->in, &size);
    if (seal)
        fuzz_seal(piece, size);
    MUST(evb_buf_add(&w->segment, piece, size));
    free(piece);
    w->spoilt = true;
}

static void add_gone(writing *w) {
    uint8_t head[8] = {0}, tail[8];
    size_t size, start = w->gone.size;
    uint8_t *piece = fuzz_piece(w->in, &size);
    evb_put32(head, (uint32_t)size);
    head[4] = (uint8_t)fuzz_number(w->in, 1);
    MUST(evb_buf_add(&w->gone, head, sizeof head) && evb_buf_add(&w->gone, piece, size));
    evb_put64(tail, XXH3_64bits(w->gone.data + start, w->gone.size - start));
    MUST(evb_buf_add(&w->gone, tail, sizeof tail));
    free(piece);
}

/* An index whose head and checksum hold; its places are the input's. */
static void add_index(writing *w) {
    uint8_t head[24] = "EVBX\1", place[24], tail[8];
    w->index.size = 0;
    w->indexed = true;
    evb_put64(head + 8, w->next);
    evb_put64(head + 16, w->segment.size);
    MUST(evb_buf_add(&w->index, head, sizeof head));
    for (uint64_t count = 1 + fuzz_number(w->in, 1) % 5; count--;) {
        evb_put64(place, fuzz_seq(w->in));
        evb_put64(place + 8, fuzz_seq(w->in));
        evb_put64(place + 16, fuzz_seq(w->in));
        MUST(evb_buf_add(&w->index, place, sizeof place));
    }
    evb_put64(tail, XXH3_64bits(w->index.data, w->index.size));
    MUST(evb_buf_add(&w->index, tail, sizeof tail));
}

static void end_segment(writing *w) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(w->first, name);
    fuzz_io_put(w->disk, name, w->segment.data, w->segment.size);
    evb_segment_index_name(w->first, name);
    if (w->index.size)
        fuzz_io_put(w->disk, name, w->index.data, w->index.size);
    w->segment.size = w->index.size = 0;
}

/* The next segment mostly begins where this one ends. What begins beyond the last seq is none, but a file of another
 * name: what stands whole is then that of the segment before. */
static void begin_segment(writing *w) {
    uint64_t delta = fuzz_number(w->in, 1);
    uint64_t first = delta < 200 ? w->next : w->next + delta - 200;
    if (first <= w->first)
        return;
    end_segment(w);
    w->first = w->next = first;
    w->spoilt = first > EVB_SEQ_MOST;
    if (!w->spoilt)
        w->whole = first;
}

static void write_item(writing *w) {
    switch (fuzz_number(w->in, 1) % KINDS) {
    case GOOD: add_good(w); break;
    case LIE: add_lie(w); break;
    case PIECE: add_piece(w, false); break;
    case SEALED: add_piece(w, true); break;
    case SEGMENT: begin_segment(w); break;
    case GONE: add_gone(w); break;
    default: add_index(w);
    }
}

static void write_journal(writing *w) {
    static const uint8_t GONE_HEAD[8] = "EVBR\1";
    w->first = w->next = w->whole = 1;
    w->number = 1;
    MUST(evb_buf_add(&w->gone, GONE_HEAD, sizeof GONE_HEAD));
    for (int i = 0; i < ITEMS_MAX && fuzz_left(w->in); i++)
        write_item(w);
    end_segment(w);
    if (w->gone.size > sizeof GONE_HEAD)
        fuzz_io_put(w->disk, "gone.log", w->gone.data, w->gone.size);
    evb_buf_free(&w->segment);
    evb_buf_free(&w->gone);
    evb_buf_free(&w->index);
}

/* ---- using it ---- */

static evb_journal *open_journal(evb_io *disk, evb_error *err) {
    static size_t said;
    const evb_journal_options options = {.segment_bytes = 2000, .id_window_ns = EVB_SECOND_NS, .id_most = 5};
    evb_journal *journal = evb_journal_new(fuzz_io_view(disk), fuzz_catalog_path(), &options, fuzz_log(&said), err);
    MUST(journal || *err->text);
    return journal;
}

/* What is read lies in from..to, in order, whole, and is wanted. */
static void check_read(const evb_buf *out, uint64_t from, uint64_t to, const evb_patterns *patterns, uint64_t *last) {
    evb_record rec;
    for (size_t at = 0; at < out->size; at += rec.size) {
        MUST(!evb_record_parse(out->data + at, out->size - at, &rec) && evb_record_intact(rec.record, rec.size));
        MUST(rec.count && rec.seq + rec.count > from && rec.seq <= to);
        MUST(rec.seq > *last);
        *last = rec.seq + rec.count - 1;
        MUST(!patterns || evb_patterns_match(patterns, rec.topic, rec.topic_size));
    }
}

static void read_all(evb_journal *journal, const evb_patterns *patterns, size_t most) {
    evb_error err = {0};
    evb_buf out = {0};
    uint64_t from = evb_journal_first(journal), to = evb_journal_head(journal), next = 0, last = 0;
    for (int i = 0; i < READS_MAX && from <= to; i++, from = next) {
        out.size = 0;
        int rc = evb_journal_read(journal, from, to, most, patterns, &out, &next, &err);
        MUST(rc == 0 || rc == EVB_EDAMAGED || rc == EVB_EIO);
        if (rc)
            break;
        check_read(&out, from, to, patterns, &last);
        MUST(next > from || !most);
        if (next <= from)
            break;
    }
    evb_buf_free(&out);
}

static void look_up(evb_journal *journal, uint64_t seq) {
    static const uint8_t PRODUCER[EVB_PRODUCER_SIZE] = "p";
    evb_error err = {0};
    evb_record rec;
    evb_stored places[3];
    uint64_t found = 0;
    if (evb_journal_find(journal, seq, &rec, &err) > 0)
        MUST(rec.seq <= seq && seq < rec.seq + rec.count);
    if (evb_journal_seek_time(journal, (int64_t)seq, &found, &err) == 0)
        MUST(found <= evb_journal_head(journal) + 1);
    evb_journal_batches(journal, seq, evb_journal_appended(journal) + 1, PRODUCER, 1, 3, places, &err);
    evb_journal_last(journal, "b", 1, seq);
}

/* A batch more, which is then there. */
static void append(evb_journal *journal) {
    static const uint8_t PRODUCER[EVB_PRODUCER_SIZE] = "q";
    evb_error err = {0};
    evb_buf bytes = {0};
    evb_record rec;
    uint64_t head = evb_journal_head(journal);
    MUST(evb_record_begin(&bytes, "b", 1, 0, PRODUCER, 1));
    MUST(evb_record_add(&bytes, 0, &(evb_event){.payload = "x", .size = 1}));
    MUST(!evb_record_parse(bytes.data, bytes.size, &rec));
    if (evb_journal_append(journal, &rec, 1, fuzz_now_ns, &err) == 0) {
        MUST(rec.seq == head + 1 && evb_journal_sync(journal, &err) == 0 && evb_journal_head(journal) == head + 1);
        MUST(evb_journal_find(journal, head + 1, &rec, &err) == 1);
    }
    evb_buf_free(&bytes);
}

static void use(evb_journal *journal, fuzz_input *in) {
    evb_error err = {0};
    evb_patterns *one = evb_patterns_new(&(const char *){"b"}, 1, NULL);
    evb_patterns *some = evb_patterns_new(&(const char *){"a.*"}, 1, NULL);
    uint64_t count;
    append(journal);
    read_all(journal, NULL, 1 << 20);
    read_all(journal, one, 200);
    look_up(journal, evb_journal_first(journal) + 1);
    look_up(journal, fuzz_seq(in));
    if (fuzz_number(in, 1) & 1)
        evb_journal_trim(journal, evb_journal_first(journal) + 2, fuzz_now_ns, &err);
    if (fuzz_number(in, 1) & 1)
        evb_journal_purge(journal, some, &count, &err);
    for (int i = 0; i < 50 && evb_journal_tend(journal, fuzz_now_ns + i); i++)
        continue;
    read_all(journal, some, 1);
    read_all(journal, NULL, 300);
    evb_patterns_destroy(&one);
    evb_patterns_destroy(&some);
}

/* indexed: an index that looks right may lead to a wrong place; it can be deleted, repair does not know. */
static void verify_and_repair(evb_io *disk, bool indexed) {
    evb_verification found = {0}, after = {0};
    evb_error err = {0};
    size_t said = 0;
    int rc = evb_journal_verify(disk, fuzz_log(&said), 0, &found, &err);
    MUST(rc == 0 ? !found.damages : rc == EVB_EDAMAGED && found.damages && *err.text);
    if (evb_journal_repair(disk, fuzz_log(&said), 0, &after, &err))
        return;
    MUST(evb_journal_verify(disk, fuzz_log(&said), 0, &after, &err) == 0 && !after.damages);
    evb_journal *journal = open_journal(disk, &err);
    MUST(journal || indexed);
    if (journal)
        read_all(journal, NULL, 1 << 20);
    evb_journal_destroy(&journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    evb_error err = {0};
    fuzz_now_ns = INT64_C(1795341600) * EVB_SECOND_NS;
    writing w = {.in = &in, .disk = evb_io_memory_new(NULL)};
    MUST(w.disk);
    write_journal(&w);
    evb_journal *journal = open_journal(w.disk, &err);
    if (journal) {
        MUST(evb_journal_head(journal) + 1 >= w.whole);
        use(journal, &in);
    }
    evb_journal_destroy(&journal);
    verify_and_repair(w.disk, w.indexed);
    evb_io_destroy(&w.disk);
    return 0;
}
