/* spool.c: events into a spool, and from there to the hub: once, in order.
 *
 * Invariant: what may have been sent to a hub keeps its producer and number for good, and is never sent but under them. So
 * the hub itself knows what it has, for as long as it remembers the producer (10 minutes at least); after that its journal
 * does, where each batch stands with both, behind the head that was noted before it was first sent.
 * An event that the hub will never take must not hold up those behind it: it goes to another file. The hub refuses a frame
 * of many batches as one, so what was under way is then sent again one batch at a time.
 * Leaves to others: the file (spool_file.c), sending (client/publisher.c). */
#include "spool/spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "client/records.h"
#include "event/check.h"
#include "net/url.h"
#include "spool/spool_file.h"

enum { NAME_SHOWN = 80, TOPICS_LOOKED_FOR = 64 };

struct evb_spool {
    evb_spool_file *file;
    evb_buf added; /* records that were not committed yet */
    size_t last;   /* where the last of them begins */
    bool open;     /* it takes more events */
    bool whole;
};

/* ---- the place ---- */

char *evb_spool_path(const evb_environment *env, const char *url, evb_error *err) {
    evb_url parsed;
    char shown[NAME_SHOWN + 1], *path = NULL;
    if (evb_url_parse(url, &parsed, err))
        return NULL;
    snprintf(shown, sizeof shown, "%.*s", NAME_SHOWN, parsed.ipc ? parsed.dir + 1 : parsed.request + 6);
    for (char *p = shown; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", *p))
            *p = '_';
    char *dir = evb_paths_spool(env, err);
    XXH64_hash_t hash = XXH3_64bits(parsed.request, strlen(parsed.request));
    if (dir && asprintf(&path, "%s/%s-%016" PRIx64, dir, shown, (uint64_t)hash) < 0) {
        evb_fail(err, EVB_ENOMEM, "spool: out of memory");
        path = NULL;
    }
    free(dir);
    return path;
}

evb_spool *evb_spool_new(const char *path, evb_spool_note_fn *note, void *context, evb_error *err) {
    evb_spool *self = calloc(1, sizeof *self);
    if (self && (self->file = evb_spool_file_new(path, note, context, err)))
        return self;
    free(self);
    evb_fail(err, EVB_ENOMEM, "spool: out of memory");
    return NULL;
}

void evb_spool_destroy(evb_spool **self) {
    if (!*self)
        return;
    evb_spool_file_destroy(&(*self)->file);
    evb_buf_free(&(*self)->added);
    free(*self);
    *self = NULL;
}

const char *evb_spool_where(const evb_spool *self) { return evb_spool_file_path(self->file); }

/* ---- adding ---- */

static bool has_time(const evb_event *event) {
    for (size_t i = 0; i < event->header_count; i++)
        if (event->headers[i].name_size == sizeof EVB_SPOOL_TIME - 1 &&
            memcmp(event->headers[i].name, EVB_SPOOL_TIME, sizeof EVB_SPOOL_TIME - 1) == 0)
            return true;
    return false;
}

/* Adds the event with its time to the last record. One that has as many headers as there may be goes without. */
static bool add_timed(evb_spool *self, const evb_event *event, int64_t time_ns) {
    evb_header headers[EVB_HEADER_COUNT_MAX];
    char text[EVB_TIME_TEXT];
    evb_event timed = *event;
    if (event->header_count < EVB_HEADER_COUNT_MAX && !has_time(event)) {
        if (event->header_count)
            memcpy(headers, event->headers, event->header_count * sizeof *headers);
        headers[timed.header_count++] =
            (evb_header){EVB_SPOOL_TIME, sizeof EVB_SPOOL_TIME - 1, text, evb_time_text(time_ns, text)};
        timed.headers = headers;
    }
    return evb_record_add(&self->added, self->last, &timed);
}

/* Begins a record at the end. */
static bool begin(evb_spool *self, const char *topic, size_t topic_size, const uint8_t *producer, uint64_t number,
                  uint64_t seq, int64_t time_ns) {
    evb_record rec;
    self->last = self->added.size;
    if (!evb_record_begin(&self->added, topic, topic_size, 0, producer, number) ||
        evb_record_parse(self->added.data + self->last, self->added.size - self->last, &rec))
        return false;
    evb_record_stamp(&rec, seq, 0, self->whole, time_ns);
    return true;
}

/* Whether the event goes into the last record. */
static bool fits(const evb_spool *self, const evb_event *event, size_t size) {
    return self->open && evb_record_is_of(self->added.data + self->last, event->topic, event->topic_size) &&
           (self->whole || self->added.size - self->last + size <= EVB_BATCH_SOFT);
}

static int check(const evb_spool *self, const evb_event *event, size_t *size, evb_error *err) {
    *size = event->size + 64; /* with its time */
    int rc = evb_topic_check(event->topic, event->topic_size, err);
    rc = rc ? rc : evb_headers_check(event, size, err);
    if (rc == 0 && event->size > EVB_PAYLOAD_MOST)
        rc = evb_fail(err, EVB_EDATA, "a payload of %zu bytes: no hub takes more than %d", event->size,
                      EVB_PAYLOAD_MOST);
    if (rc == 0 && self->added.size + *size > EVB_SPOOL_MOST)
        rc = evb_fail(err, EVB_ESTORE, "more than a spool holds, which is %d MiB", EVB_SPOOL_MOST / 1024 / 1024);
    return rc;
}

int evb_spool_add(evb_spool *self, const evb_event *event, evb_error *err) {
    static const uint8_t later[EVB_PRODUCER_SIZE]; /* the file gives it */
    int64_t time_ns = event->time_ns ? event->time_ns : evb_clock_wall_ns();
    size_t size, before = self->added.size;
    int rc = check(self, event, &size, err);
    if (rc)
        return rc;
    bool same = fits(self, event, size);
    if (!same && self->open && self->whole)
        return evb_fail(err, EVB_EDATA, "an atomic batch has one topic");
    size_t last = self->last;
    if ((same || begin(self, event->topic, event->topic_size, later, 0, 0, time_ns)) &&
        add_timed(self, event, time_ns)) {
        self->open = true;
        return 0;
    }
    self->added.size = before;
    self->last = last;
    return evb_fail(err, EVB_ENOMEM, "spool: out of memory");
}

void evb_spool_whole(evb_spool *self, bool whole) { self->whole = whole; }

size_t evb_spool_added(const evb_spool *self) { return self->added.size; }

typedef struct {
    evb_spool *spool;
    uint64_t head;
} pending;

static int add_record(void *context, const evb_record *rec, int64_t begun_ns, evb_error *err) {
    pending *p = context;
    evb_header room[EVB_HEADER_ROOM];
    evb_event event = {0};
    evb_mp cursor = rec->events;
    bool ok = begin(p->spool, rec->topic, rec->topic_size, rec->producer, rec->producer_seq, p->head + 1, begun_ns);
    for (uint32_t i = 0; ok && i < rec->count; i++)
        ok = evb_record_next(&cursor, &event, room) && add_timed(p->spool, &event, begun_ns);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "spool: out of memory");
}

int evb_spool_add_pending(evb_spool *self, const evb_pub *pub, uint64_t head, evb_error *err) {
    size_t before = self->added.size;
    int rc = evb_pub_each_pending(pub, add_record, &(pending){self, head}, err);
    if (rc)
        self->added.size = before;
    self->open = false;
    return rc;
}

int evb_spool_commit(evb_spool *self, evb_error *err) {
    int rc = self->added.size ? evb_spool_file_append(self->file, &self->added, err) : 0;
    self->added.size = 0;
    self->open = false;
    return rc;
}

/* ---- delivering ---- */

typedef struct {
    evb_spool_file *file;
    evb_bus *bus;
    evb_status status;
    evb_spool_delivery *out;
    evb_spool_walk walk;
    uint64_t end;     /* of what is delivered now */
    uint64_t at;      /* where the record at hand begins */
    uint64_t begun;   /* where the first record of this publisher begins */
    uint64_t careful; /* up to there one batch at a time */
    evb_pub *pub;     /* NULL: none */
    uint8_t producer[EVB_PRODUCER_SIZE];
    uint64_t next;    /* the number that follows */
    uint64_t known;   /* up to this number the hub has them */
    uint64_t skipped; /* events of those, of this publisher */
} delivery;

/* The least seq of a mark that covers this record; UINT64_MAX: it was never sent. */
static int find_mark(delivery *d, uint64_t *seq, evb_error *err) {
    evb_spool_walk walk = {.quiet = true};
    evb_record rec;
    int rc;
    *seq = UINT64_MAX;
    evb_spool_walk_start(&walk, d->file, d->at, d->end);
    while ((rc = evb_spool_walk_next(&walk, &rec, err)) > 0)
        if (evb_spool_is_mark(&rec) && rec.seq < *seq)
            *seq = rec.seq;
    evb_spool_walk_free(&walk);
    return rc;
}

/* The topics of this producer's batches from the record at hand on; none where they are too many: then it is all topics. */
static evb_patterns *topics_of(delivery *d, evb_error *err) {
    evb_patterns *topics = evb_patterns_new(NULL, 0, err);
    evb_spool_walk walk = {.quiet = true};
    evb_record rec;
    int rc = topics ? 1 : EVB_ENOMEM;
    evb_spool_walk_start(&walk, d->file, d->at, d->end);
    while (rc > 0 && (rc = evb_spool_walk_next(&walk, &rec, err)) > 0) {
        if (memcmp(rec.producer, d->producer, EVB_PRODUCER_SIZE) != 0 ||
            (evb_patterns_count(topics) && evb_patterns_match(topics, rec.topic, rec.topic_size)))
            continue;
        if (evb_patterns_count(topics) == TOPICS_LOOKED_FOR) {
            evb_patterns_destroy(&topics);
            topics = evb_patterns_new(NULL, 0, err);
            break;
        }
        rc = evb_patterns_add(topics, rec.topic, rec.topic_size, err) ? EVB_ENOMEM : 1;
    }
    evb_spool_walk_free(&walk);
    if (rc < 0)
        evb_patterns_destroy(&topics);
    return topics;
}

/* Raises `known` to the last of this producer's batches among these records. */
static void note_known(delivery *d, evb_buf *records) {
    evb_record rec;
    for (size_t at = 0; at < records->size; at += rec.size) {
        if (evb_record_parse(records->data + at, records->size - at, &rec))
            return;
        if (memcmp(rec.producer, d->producer, EVB_PRODUCER_SIZE) == 0 && rec.producer_seq > d->known)
            d->known = rec.producer_seq;
    }
}

/* Looks for this producer's batches in the hub's journal, from `seq` on. */
static int look_in_journal(delivery *d, uint64_t seq, evb_error *err) {
    if (seq < d->status.first && seq <= d->status.head) {
        evb_spool_file_say(d->file,
                           "the hub's retention has removed events from seq %" PRIu64
                           " on: some of those delivered now may have been there",
                           seq);
        seq = d->status.first;
    }
    if (seq > d->status.head)
        return 0;
    evb_patterns *topics = topics_of(d, err);
    evb_buf records = {0};
    int rc = topics ? 0 : err->code;
    while (rc == 0 && seq <= d->status.head) {
        records.size = 0;
        rc = evb_records_fetch(d->bus, seq, d->status.head, topics, true, &records, &seq, err);
        note_known(d, &records);
    }
    evb_patterns_destroy(&topics);
    evb_buf_free(&records);
    return rc;
}

/* Finds out up to which of this record's producer's numbers the hub has them. */
static int find_known(delivery *d, const evb_record *rec, evb_error *err) {
    uint64_t last, mark, noted = rec->seq, before = rec->producer_seq - 1;
    int rc = evb_records_producer(d->bus, rec->producer, &last, err);
    d->known = last > before ? last : before;
    if (rc || last)
        return rc;
    rc = find_mark(d, &mark, err);
    if (noted && noted < mark)
        mark = noted;
    return rc || mark == UINT64_MAX ? rc : look_in_journal(d, mark, err);
}

/* Begins to publish as the record's producer. */
static int begin_run(delivery *d, const evb_record *rec, evb_error *err) {
    memcpy(d->producer, rec->producer, EVB_PRODUCER_SIZE);
    d->next = rec->producer_seq;
    d->begun = d->at;
    d->skipped = 0;
    int rc = find_known(d, rec, err);
    if (rc == 0 && !(d->pub = evb_pub_new(d->bus, NULL, err)))
        rc = EVB_ENOMEM;
    if (rc == 0)
        evb_pub_resume(d->pub, d->producer, d->known);
    return rc;
}

static void end_run(delivery *d) {
    if (d->pub)
        d->out->delivered += d->skipped + evb_pub_stored(d->pub);
    evb_pub_destroy(&d->pub);
}

/* The hub will never take this record. */
static int refuse(delivery *d, const evb_record *rec, const evb_error *why, evb_error *err) {
    int rc = evb_spool_file_refuse(d->file, rec, err);
    if (rc)
        return rc;
    d->out->refused += rec->count;
    evb_spool_file_say(d->file, "%.*s: %" PRIu32 " event%s refused, kept in %s.refused: %.150s", (int)rec->topic_size,
                       rec->topic, rec->count, evb_plural(rec->count), evb_spool_file_name(d->file), why->text);
    return 0;
}

/* Whether an error is of the record, and not of the hub or the way to it. */
static bool is_refusal(delivery *d, int code) {
    return code == EVB_EDATA || (code == EVB_EPERM && evb_bus_status(d->bus, &d->status, NULL) == 0);
}

/* Adds the record, waiting for room, and where care is taken waits until it is stored. */
static int add_to_pub(delivery *d, const evb_record *rec, evb_error *err) {
    int rc;
    while ((rc = evb_pub_add_record(d->pub, rec, err)) == EVB_EAGAIN)
        if (evb_bus_wait(d->bus, NULL, 0, -1, err) < 0)
            return EVB_EIO;
    return rc == 0 && d->at < d->careful ? evb_pub_drain(d->pub, err) : rc;
}

/* Sends what was under way again, one batch at a time. */
static void be_careful(delivery *d) {
    d->careful = d->walk.scan.offset;
    evb_pub_destroy(&d->pub);
    evb_spool_walk_start(&d->walk, d->file, d->begun, d->end);
}

/* What to do after an error: 0: go on with the walk, from where it now stands. */
static int recover(delivery *d, const evb_record *rec, int rc, evb_error *err) {
    evb_error why = *err;
    if (!is_refusal(d, rc))
        return rc;
    if (d->at >= d->careful || !rec) {
        be_careful(d);
        return 0;
    }
    end_run(d);
    return refuse(d, rec, &why, err);
}

/* Takes the payloads that are too large for this hub out of a record: *left (parsed from *buf) is what goes on; its count
 * is 0 when there is nothing. */
static int take_out(delivery *d, const evb_record *rec, evb_buf *buf, evb_record *left, evb_error *err) {
    evb_buf bad = {0};
    evb_record out;
    evb_header room[EVB_HEADER_ROOM];
    evb_event event = {0};
    evb_mp cursor = rec->events;
    evb_error why;
    uint32_t *lists = calloc(2 * (size_t)rec->count, sizeof *lists), *fit = lists, *large = lists + rec->count;
    size_t fits_count = 0, large_count = 0;
    for (uint32_t i = 0; lists && i < rec->count && evb_record_next(&cursor, &event, room); i++) {
        if (event.size <= d->status.max_payload)
            fit[fits_count++] = i;
        else
            large[large_count++] = i;
    }
    bool ok = lists && evb_record_without(buf, rec, large, large_count) &&
              !evb_record_parse(buf->data, buf->size, left) && evb_record_without(&bad, rec, fit, fits_count) &&
              !evb_record_parse(bad.data, bad.size, &out);
    free(lists);
    int rc = ok ? 0 : evb_fail(err, EVB_ENOMEM, "spool: out of memory");
    evb_fail(&why, EVB_EDATA, "a payload over the hub's limit of %" PRIu64 " (evbusd --max-payload)",
             d->status.max_payload);
    out.time_ns = rec->time_ns;
    if (rc == 0 && d->at >= d->careful) /* else that was done the first time */
        rc = refuse(d, &out, &why, err);
    evb_buf_free(&bad);
    return rc;
}

/* Whether a payload of the record is too large for this hub. */
static bool too_large(const delivery *d, const evb_record *rec) {
    evb_header room[EVB_HEADER_ROOM];
    evb_event event = {0};
    evb_mp cursor = rec->events;
    bool found = false;
    if (rec->size <= d->status.max_payload)
        return false;
    for (uint32_t i = 0; !found && i < rec->count && evb_record_next(&cursor, &event, room); i++)
        found = event.size > d->status.max_payload;
    return found;
}

static int send_record(delivery *d, const evb_record *rec, evb_error *err) {
    evb_record left = *rec;
    evb_buf buf = {0};
    int rc = 0;
    if (too_large(d, rec) && !rec->version)
        rc = take_out(d, rec, &buf, &left, err);
    if (rc == 0 && left.count && (rc = add_to_pub(d, &left, err)) != 0)
        rc = recover(d, &left, rc, err);
    else if (rc == 0 && !left.count)
        d->next = 0; /* its number is never used */
    evb_buf_free(&buf);
    return rc;
}

/* Drains what is under way; *again: it was refused, and the walk has gone back. */
static int drain(delivery *d, bool *again, evb_error *err) {
    *again = false;
    int rc = d->pub ? evb_pub_drain(d->pub, err) : 0;
    if (rc && (rc = recover(d, NULL, rc, err)) == 0)
        *again = true;
    else
        end_run(d);
    return rc;
}

static int deliver_record(delivery *d, const evb_record *rec, evb_error *err) {
    bool again, follows = d->pub && rec->producer_seq == d->next &&
                          memcmp(rec->producer, d->producer, EVB_PRODUCER_SIZE) == 0;
    int rc = follows ? 0 : drain(d, &again, err);
    if (!follows && (rc || again))
        return rc;
    rc = follows ? 0 : begin_run(d, rec, err);
    if (rc)
        return rc;
    d->next = rec->producer_seq + 1;
    if (rec->producer_seq > d->known)
        return send_record(d, rec, err);
    d->skipped += rec->count;
    return 0;
}

/* Delivers what stands from d->walk on up to d->end. */
static int deliver_range(delivery *d, evb_error *err) {
    evb_record rec;
    bool again = true;
    int rc = 0;
    while (rc == 0 && again) {
        for (d->at = d->walk.scan.offset; rc == 0 && (rc = evb_spool_walk_next(&d->walk, &rec, err)) > 0;
             d->at = d->walk.scan.offset)
            rc = rec.count ? deliver_record(d, &rec, err) : 0;
        rc = rc ? rc : drain(d, &again, err);
    }
    end_run(d);
    return rc;
}

static int ask_status(delivery *d, evb_error *err) {
    int rc = evb_bus_status(d->bus, &d->status, err);
    if (rc == 0 && !d->status.max_payload)
        d->status.max_payload = EVB_PAYLOAD_DEFAULT;
    return rc;
}

/* Delivers until the file is empty. */
static int deliver_all(delivery *d, int *lock, evb_error *err) {
    uint64_t from = 0;
    for (;;) {
        int rc = evb_spool_file_extent(d->file, from, d->status.head, lock, &d->end, err);
        if (rc || d->end <= from)
            return rc;
        if ((rc = ask_status(d, err)))
            return rc;
        evb_spool_walk_start(&d->walk, d->file, from, d->end);
        d->careful = d->walk.damaged = 0;
        rc = deliver_range(d, err);
        if (rc == 0 && d->walk.damaged)
            rc = evb_spool_file_salvage(d->file, from, d->end, err);
        d->out->damaged += d->walk.damaged;
        if (rc)
            return rc;
        from = d->end;
    }
}

int evb_spool_deliver(evb_spool *self, evb_bus *bus, evb_spool_delivery *out, evb_error *err) {
    evb_spool_delivery unseen;
    delivery d = {.file = self->file, .bus = bus, .out = out ? out : &unseen};
    bool empty = evb_spool_file_empty(self->file);
    *d.out = (evb_spool_delivery){0};
    int lock = empty ? -1 : evb_spool_file_lock(self->file, err);
    if (!empty && lock < 0)
        return lock;
    int rc = ask_status(&d, err);
    d.out->head = d.status.head;
    d.out->max_payload = (size_t)d.status.max_payload;
    if (rc == 0 && !empty)
        rc = deliver_all(&d, &lock, err);
    evb_spool_walk_free(&d.walk);
    if (lock >= 0)
        close(lock);
    return rc;
}

/* ---- one event ---- */

bool evb_spool_keeps(int code) {
    return code == EVB_ENOHUB || code == EVB_ETIMEDOUT || code == EVB_ESTORE || code == EVB_EBUSY;
}

static void note_seq(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    (void)version;
    (void)count;
    *(uint64_t *)context = seq;
}

/* Publishes the event, with the spool empty; what comes of it when the hub does not answer goes to the spool. */
static int publish_now(evb_spool *self, evb_bus *bus, const evb_event *event, uint64_t head, uint64_t *seq,
                       bool *kept, evb_error *err) {
    const evb_pub_options how = {.stored = note_seq, .context = seq};
    evb_error why;
    evb_pub *pub = evb_pub_new(bus, &how, err);
    if (!pub)
        return EVB_ENOMEM;
    int rc;
    while ((rc = evb_pub_add(pub, event, err)) == EVB_EAGAIN) /* a large payload: the hub is asked for its limit */
        if (evb_bus_wait(bus, NULL, 0, -1, err) < 0)
            break;
    rc = rc ? rc : evb_pub_drain(pub, err);
    if (evb_spool_keeps(rc)) {
        rc = evb_pub_pending(pub) ? evb_spool_add_pending(self, pub, head, &why) : evb_spool_add(self, event, &why);
        rc = rc ? rc : evb_spool_commit(self, &why);
        *kept = rc == 0;
        if (rc)
            *err = why;
    }
    evb_pub_destroy(&pub);
    return rc;
}

int evb_spool_publish(evb_spool *self, evb_bus *bus, const evb_event *event, uint64_t *seq, bool *kept,
                      evb_error *err) {
    evb_spool_delivery how;
    evb_error why;
    *seq = 0;
    *kept = false;
    int rc = evb_spool_deliver(self, bus, &how, err);
    if (rc == 0)
        return publish_now(self, bus, event, how.head, seq, kept, err);
    if (!evb_spool_keeps(rc))
        return rc;
    int busy = rc;
    rc = evb_spool_add(self, event, &why);
    rc = rc ? rc : evb_spool_commit(self, &why);
    if (rc)
        return evb_fail(err, rc, "%s", why.text);
    *kept = busy != EVB_EBUSY || evb_spool_deliver(self, bus, NULL, err) != 0;
    return 0;
}

/* ---- looking ---- */

/* Counts what is in a file; quiet about damage. */
static int count_events(evb_spool_file *file, evb_spool_state *out, evb_error *err) {
    evb_spool_walk walk = {.quiet = true};
    evb_record rec;
    int rc = evb_spool_file_open(file, &out->bytes, err);
    if (rc || !out->bytes)
        return rc;
    evb_spool_walk_start(&walk, file, 0, out->bytes);
    while ((rc = evb_spool_walk_next(&walk, &rec, err)) > 0) {
        out->events += rec.count;
        if (rec.count && !out->oldest_ns)
            out->oldest_ns = rec.time_ns;
    }
    evb_spool_walk_free(&walk);
    return rc;
}

int evb_spool_look(evb_spool *self, evb_spool_state *out, evb_error *err) {
    evb_spool_state refused = {0};
    char path[4096];
    *out = (evb_spool_state){0};
    int rc = count_events(self->file, out, err);
    snprintf(path, sizeof path, "%s.refused", evb_spool_file_path(self->file));
    evb_spool_file *beside = rc ? NULL : evb_spool_file_new(path, NULL, NULL, err);
    rc = rc ? rc : beside ? count_events(beside, &refused, err) : EVB_ENOMEM;
    evb_spool_file_destroy(&beside);
    out->refused = refused.events;
    return rc;
}
