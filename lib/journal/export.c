/* export.c: exports, as export.h draws them.
 *
 * Invariants: what is written or read has passed through the digest in its order; seqs ascend and lie in from..to; a
 * record is handed out only when its checksum and its events' forms hold. How much memory a reader takes is bounded by
 * what has come, not by what a header says of its record.
 * Leaves to others: where the records come from and go to, and what an incomplete export is good for (cmd). */
#include "journal/export.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"

static const uint8_t HEAD_MAGIC[4] = {'E', 'V', 'B', 'E'};
static const uint8_t TRAILER_MAGIC[4] = {'E', 'V', 'B', 'T'};

enum {
    FORMAT_VERSION = 1,
    H_VERSION = 4,
    H_ZERO = 5,
    H_FROM = 8,
    H_TO = 16,
    H_PATTERNS = 24,
    H_ZERO_TOO = 28,
    T_ZERO = 4,
    T_RECORDS = 8,
    T_EVENTS = 16,
    T_BYTES = 24,
    T_DIGEST = 32,
    PATTERNS_MOST = EVB_PATTERNS_MAX * (EVB_TOPIC_MAX + 1),
    READ_SIZE = 256 * 1024
};

static void note_record(evb_export_extent *extent, const evb_record *rec) {
    if (!extent->records)
        extent->first = rec->seq;
    else
        extent->missing += rec->seq - extent->last - 1;
    extent->last = rec->seq + rec->count - 1;
    extent->records++;
    extent->events += rec->count;
}

/* ---- writing ---- */

struct evb_export_writer {
    int fd;
    XXH3_state_t *digest;
    evb_buf cut; /* a record of which not all is wanted */
    evb_export_extent extent;
};

static int write_out(evb_export_writer *self, const void *data, size_t size, evb_error *err) {
    const uint8_t *at = data, *end = at + size;
    XXH3_64bits_update(self->digest, data, size);
    self->extent.bytes += size;
    while (at < end) {
        ssize_t n = write(self->fd, at, (size_t)(end - at));
        if (n < 0 && errno != EINTR) {
            int why = errno;
            evb_fail_errno(err, EVB_EIO, why, "cannot write");
            errno = why;
            return EVB_EIO;
        }
        at += n > 0 ? n : 0;
    }
    return 0;
}

static int write_head(evb_export_writer *self, const evb_patterns *patterns, evb_error *err) {
    uint8_t fixed[EVB_EXPORT_HEAD] = {0};
    evb_buf head = {0};
    size_t count = patterns ? evb_patterns_count(patterns) : 0, size;
    bool ok = evb_buf_add(&head, fixed, sizeof fixed);
    for (size_t i = 0; ok && i < count; i++) {
        const char *pattern = evb_patterns_get(patterns, i, &size);
        ok = evb_buf_add(&head, pattern, size) && evb_buf_add(&head, "\n", 1);
    }
    if (ok) {
        memcpy(head.data, HEAD_MAGIC, sizeof HEAD_MAGIC);
        head.data[H_VERSION] = FORMAT_VERSION;
        evb_put64(head.data + H_FROM, self->extent.from);
        evb_put64(head.data + H_TO, self->extent.to);
        evb_put32(head.data + H_PATTERNS, (uint32_t)(head.size - EVB_EXPORT_HEAD));
    }
    int rc = ok ? write_out(self, head.data, head.size, err) : evb_fail(err, EVB_ENOMEM, "export: out of memory");
    evb_buf_free(&head);
    return rc;
}

evb_export_writer *evb_export_writer_new(int fd, uint64_t from, uint64_t to, const evb_patterns *patterns,
                                         evb_error *err) {
    evb_export_writer *self = calloc(1, sizeof *self);
    if (!self || !(self->digest = XXH3_createState())) {
        free(self);
        evb_fail(err, EVB_ENOMEM, "export: out of memory");
        return NULL;
    }
    XXH3_64bits_reset(self->digest);
    self->fd = fd;
    self->extent.from = from;
    self->extent.to = to;
    if (write_head(self, patterns, err))
        evb_export_writer_destroy(&self);
    return self;
}

void evb_export_writer_destroy(evb_export_writer **self) {
    if (!*self)
        return;
    XXH3_freeState((*self)->digest);
    evb_buf_free(&(*self)->cut);
    free(*self);
    *self = NULL;
}

/* Writes a record of which only some events are in from..to. */
static int write_part(evb_export_writer *self, const evb_record *rec, evb_error *err) {
    const evb_export_extent *e = &self->extent;
    evb_record part;
    uint64_t last = rec->seq + rec->count - 1;
    uint32_t skip = rec->seq < e->from ? (uint32_t)(e->from - rec->seq) : 0;
    uint32_t rest = last > e->to ? (uint32_t)(last - e->to) : 0;
    self->cut.size = 0;
    if (!evb_record_slice(&self->cut, rec, skip, rec->count - skip - rest) ||
        evb_record_parse(self->cut.data, self->cut.size, &part))
        return evb_fail(err, EVB_ENOMEM, "export: out of memory");
    note_record(&self->extent, &part);
    return write_out(self, self->cut.data, self->cut.size, err);
}

/* Whether a record is to be left out: it is outside of the range, or stands for what is not there. */
static bool is_outside(const evb_export_extent *e, const evb_record *rec) {
    return !rec->count || rec->seq + rec->count <= e->from || rec->seq > e->to;
}

int evb_export_writer_add(evb_export_writer *self, uint8_t *records, size_t size, evb_error *err) {
    evb_export_extent *e = &self->extent;
    evb_record rec;
    uint8_t *whole = records; /* from here to `at` nothing is to be cut, and nothing is written yet */
    int rc = 0;
    for (uint8_t *at = records, *end = records + size; rc == 0 && at < end; at += rec.size) {
        const char *fault = evb_record_parse(at, (size_t)(end - at), &rec);
        if (!fault && !evb_record_intact(at, rec.size))
            fault = "its checksum does not hold";
        if (!fault && e->records && rec.seq <= e->last)
            fault = "a seq comes again";
        if (fault)
            return evb_fail(err, EVB_EDAMAGED, "the record behind seq %" PRIu64 " is damaged: %s",
                            e->records ? e->last : e->from - 1, fault);
        if (rec.count && rec.seq >= e->from && rec.seq + rec.count - 1 <= e->to) {
            note_record(e, &rec);
            continue;
        }
        rc = at > whole ? write_out(self, whole, (size_t)(at - whole), err) : 0;
        whole = at + rec.size;
        rc = rc || is_outside(e, &rec) ? rc : write_part(self, &rec, err);
    }
    size_t left = (size_t)(records + size - whole);
    return rc || !left ? rc : write_out(self, whole, left, err);
}

int evb_export_writer_end(evb_export_writer *self, evb_export_extent *out, evb_error *err) {
    uint8_t trailer[EVB_EXPORT_TRAILER] = {0};
    memcpy(trailer, TRAILER_MAGIC, sizeof TRAILER_MAGIC);
    evb_put64(trailer + T_RECORDS, self->extent.records);
    evb_put64(trailer + T_EVENTS, self->extent.events);
    evb_put64(trailer + T_BYTES, self->extent.bytes);
    int rc = write_out(self, trailer, T_DIGEST, err);
    self->extent.digest = XXH3_64bits_digest(self->digest);
    evb_put64(trailer + T_DIGEST, self->extent.digest);
    rc = rc ? rc : write_out(self, trailer + T_DIGEST, sizeof trailer - T_DIGEST, err);
    if (out)
        *out = self->extent;
    return rc;
}

/* ---- reading ---- */

struct evb_export_reader {
    int fd;
    XXH3_state_t *digest;
    evb_buf buf; /* what was read; from `at` on it was not used yet */
    size_t at;
    bool ended; /* the trailer was read */
    char *patterns;
    evb_export_extent extent; /* its bytes: where the reader stands */
};

/* EVB_EDATA: says what is wrong at the place where the reader stands. */
static int bad(const evb_export_reader *self, const char *what, evb_error *err) {
    const evb_export_extent *e = &self->extent;
    if (e->records)
        return evb_fail(err, EVB_EDATA, "offset %" PRIu64 ", behind seq %" PRIu64 ": %s", e->bytes, e->last, what);
    return evb_fail(err, EVB_EDATA, "offset %" PRIu64 ", before the first event: %s", e->bytes, what);
}

/* Reads until `size` unused bytes are there, if so many come; fewer: the end of the file. EVB_EIO, EVB_ENOMEM. */
static int fill(evb_export_reader *self, size_t size, evb_error *err) {
    if (self->buf.size - self->at >= size)
        return 0;
    evb_buf_drop(&self->buf, self->at);
    self->at = 0;
    while (self->buf.size < size) {
        if (!evb_buf_reserve(&self->buf, READ_SIZE))
            return evb_fail(err, EVB_ENOMEM, "export: out of memory");
        ssize_t n = read(self->fd, self->buf.data + self->buf.size, READ_SIZE);
        if (n < 0 && errno != EINTR)
            return evb_fail_errno(err, EVB_EIO, errno, "offset %" PRIu64 ": cannot read", self->extent.bytes);
        if (n == 0)
            return 0;
        self->buf.size += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static size_t unused(const evb_export_reader *self) { return self->buf.size - self->at; }

static void consume(evb_export_reader *self, size_t size) {
    XXH3_64bits_update(self->digest, self->buf.data + self->at, size);
    self->at += size;
    self->extent.bytes += size;
}

/* Whether the patterns' bytes are lines of patterns. */
static bool are_patterns(const char *text, size_t size) {
    for (const char *end = text + size, *eol; text < end; text = eol + 1) {
        eol = memchr(text, '\n', (size_t)(end - text));
        if (!eol || evb_pattern_fault(text, (size_t)(eol - text)))
            return false;
    }
    return true;
}

/* What is wrong with the fixed part of the head, or NULL. */
static const char *head_fault(const uint8_t *head, size_t size) {
    static const uint8_t zero[4] = {0};
    if (size < sizeof HEAD_MAGIC || memcmp(head, HEAD_MAGIC, sizeof HEAD_MAGIC) != 0)
        return "this is no export of evctl(1)";
    if (size < EVB_EXPORT_HEAD)
        return "it is cut short";
    if (head[H_VERSION] != FORMAT_VERSION)
        return "it is of a format version that is not known here";
    if (memcmp(head + H_ZERO, zero, H_FROM - H_ZERO) != 0 || memcmp(head + H_ZERO_TOO, zero, sizeof zero) != 0 ||
        evb_get32(head + H_PATTERNS) > PATTERNS_MOST || !evb_get64(head + H_FROM) ||
        evb_get64(head + H_TO) == UINT64_MAX)
        return "its head is damaged";
    return NULL;
}

static int read_head(evb_export_reader *self, evb_error *err) {
    int rc = fill(self, EVB_EXPORT_HEAD, err);
    if (rc)
        return rc;
    const char *fault = head_fault(self->buf.data, self->buf.size);
    if (fault)
        return bad(self, fault, err);
    self->extent.from = evb_get64(self->buf.data + H_FROM);
    self->extent.to = evb_get64(self->buf.data + H_TO);
    size_t size = evb_get32(self->buf.data + H_PATTERNS);
    if ((rc = fill(self, EVB_EXPORT_HEAD + size, err)))
        return rc;
    if (unused(self) < EVB_EXPORT_HEAD + size)
        return bad(self, "it is cut short", err);
    if (!are_patterns((const char *)self->buf.data + EVB_EXPORT_HEAD, size))
        return bad(self, "its head is damaged", err);
    self->patterns = strndup((const char *)self->buf.data + EVB_EXPORT_HEAD, size);
    consume(self, EVB_EXPORT_HEAD + size);
    return self->patterns ? 0 : evb_fail(err, EVB_ENOMEM, "export: out of memory");
}

evb_export_reader *evb_export_reader_new(int fd, evb_error *err) {
    evb_export_reader *self = calloc(1, sizeof *self);
    if (!self || !(self->digest = XXH3_createState())) {
        free(self);
        evb_fail(err, EVB_ENOMEM, "export: out of memory");
        return NULL;
    }
    XXH3_64bits_reset(self->digest);
    self->fd = fd;
    if (read_head(self, err))
        evb_export_reader_destroy(&self);
    return self;
}

void evb_export_reader_destroy(evb_export_reader **self) {
    if (!*self)
        return;
    XXH3_freeState((*self)->digest);
    evb_buf_free(&(*self)->buf);
    free((*self)->patterns);
    free(*self);
    *self = NULL;
}

/* What is wrong with the trailer at `t`, or NULL. Takes it in. */
static const char *take_trailer(evb_export_reader *self, const uint8_t *t) {
    static const uint8_t zero[4] = {0};
    const evb_export_extent *e = &self->extent;
    bool agrees = evb_get64(t + T_RECORDS) == e->records && evb_get64(t + T_EVENTS) == e->events &&
                  evb_get64(t + T_BYTES) == e->bytes && memcmp(t + T_ZERO, zero, sizeof zero) == 0;
    uint64_t digest = evb_get64(t + T_DIGEST);
    consume(self, T_DIGEST);
    self->extent.digest = XXH3_64bits_digest(self->digest);
    consume(self, EVB_EXPORT_TRAILER - T_DIGEST);
    if (!agrees)
        return "the trailer's counts are not those of what lies before it";
    return digest == self->extent.digest ? NULL : "the digest of the whole does not hold";
}

static int read_trailer(evb_export_reader *self, evb_error *err) {
    int rc = fill(self, EVB_EXPORT_TRAILER + 1, err);
    if (rc)
        return rc;
    if (unused(self) < EVB_EXPORT_TRAILER)
        return bad(self, "it is cut short", err);
    const char *fault = take_trailer(self, self->buf.data + self->at);
    if (!fault && unused(self))
        fault = "bytes follow its end";
    if (fault)
        return bad(self, fault, err);
    self->ended = true;
    return 0;
}

/* What is wrong with a whole record in its place, or NULL. */
static const char *record_fault(const evb_export_reader *self, const evb_record *rec) {
    const evb_export_extent *e = &self->extent;
    if (!evb_record_intact(rec->record, rec->size))
        return "its checksum does not hold";
    if (rec->flags & EVB_FLAG_LIVE || rec->seq < e->from || rec->seq > e->to || rec->count > e->to - rec->seq + 1 ||
        (e->records && rec->seq <= e->last))
        return "its seqs are not those that should come";
    const char *fault = evb_topic_fault(rec->topic, rec->topic_size);
    return fault ? fault : evb_record_check_events(rec, EVB_PAYLOAD_MOST, NULL);
}

static void note_payloads(evb_export_extent *extent, const evb_record *rec) {
    evb_header room[EVB_HEADER_ROOM];
    evb_event event;
    evb_mp cursor = rec->events;
    if (rec->size <= extent->payload_most)
        return;
    for (uint32_t i = 0; i < rec->count && evb_record_next(&cursor, &event, room); i++)
        if (event.size > extent->payload_most) {
            extent->payload_most = event.size;
            extent->payload_seq = rec->seq + i;
        }
}

/* Reads one record that begins with its magic. */
static int read_record(evb_export_reader *self, evb_record *rec, evb_error *err) {
    size_t size = evb_record_size(self->buf.data + self->at, unused(self));
    const char *fault = size ? NULL : unused(self) < EVB_RECORD_HEADER ? "it is cut short" : "no record begins here";
    if (fault)
        return bad(self, fault, err);
    int rc = fill(self, size, err);
    if (rc)
        return rc;
    if (unused(self) < size)
        return bad(self, "it is cut short", err);
    fault = evb_record_parse(self->buf.data + self->at, size, rec);
    fault = fault ? fault : record_fault(self, rec);
    if (fault)
        return bad(self, fault, err);
    consume(self, size);
    note_record(&self->extent, rec);
    note_payloads(&self->extent, rec);
    return 1;
}

int evb_export_reader_next(evb_export_reader *self, evb_record *rec, evb_error *err) {
    if (self->ended)
        return 0;
    int rc = fill(self, EVB_RECORD_HEADER, err);
    if (rc)
        return rc;
    if (unused(self) >= sizeof TRAILER_MAGIC &&
        memcmp(self->buf.data + self->at, TRAILER_MAGIC, sizeof TRAILER_MAGIC) == 0)
        return read_trailer(self, err);
    return read_record(self, rec, err);
}

const evb_export_extent *evb_export_reader_extent(const evb_export_reader *self) { return &self->extent; }

const char *evb_export_reader_patterns(const evb_export_reader *self) { return self->patterns; }
