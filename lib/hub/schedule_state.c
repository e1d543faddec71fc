/* schedule_state.c: the entries in memory, and from scheduled.log to them and back.
 *
 * Invariants: every entry is in both trees, and no two hold the same seq; applying the frames of scheduled.log in order
 * gives the entries, the producers and the next seq of the hub that wrote them.
 * Publishing has two frames: one before it, safe before the journal is written to, which says where in the journal the
 * events would come to lie, and one after it. Where the second is missing the journal itself tells: a record at that
 * place, of this file's own producer and with the entry's first seq as its number, is the event. So each is published
 * once, wherever the hub was killed.
 * A body is a byte that says what it is, then numbers of 8 bytes, big-endian, and bytes:
 *   H  producer id (16), next seq                  begins the file
 *   A  due time, acked, records                    scheduled; acked: what the publisher knew to be scheduled
 *   K  due time, 0, a record                       the same, kept when the file was written anew
 *   C  seqs                                        cancelled
 *   F  journal seq, first seqs of entries          about to be published there
 *   D                                              what F says was done
 *   P  producer id (16), time, last number, and number, seq, count of each batch
 * To add one: a letter, a function that writes it, a row in READERS, a line in evbus-journal(5).
 * Leaves to others: the file (schedule_log.c), requests and time (schedule.c). */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "hub/schedule.h"

static const int64_t FORGET_NS = 600 * EVB_SECOND_NS;
static const uint64_t LONG_LEAST = 8 << 20;

/* ---- two orders ---- */

static int by_due(const evb_due *a, const evb_due *b) {
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

static int by_seq(const evb_due *a, const evb_due *b) { return (a->first > b->first) - (a->first < b->first); }

/* libbsd's tree.h leaves __unused to the system; glibc has none. */
#ifndef __unused
#define __unused __attribute__((unused))
#endif
RB_GENERATE_STATIC(evb_due_tree, evb_due, by_due, by_due)
RB_GENERATE_STATIC(evb_due_seqs, evb_due, by_seq, by_seq)

evb_due *evb_schedule_first(evb_schedule *self) { return RB_MIN(evb_due_tree, &self->due); }

evb_due *evb_schedule_next(evb_due *due) { return RB_NEXT(evb_due_tree, NULL, due); }

static bool holds(const evb_due *due, uint64_t seq) { return seq >= due->first && seq - due->first < due->count; }

evb_due *evb_schedule_find(evb_schedule *self, uint64_t seq) {
    evb_due key = {.first = seq};
    evb_due *due = RB_NFIND(evb_due_seqs, &self->seqs, &key);
    if (!due || due->first != seq)
        due = due ? RB_PREV(evb_due_seqs, &self->seqs, due) : RB_MAX(evb_due_seqs, &self->seqs);
    return due && holds(due, seq) ? due : NULL;
}

evb_due *evb_schedule_from(evb_schedule *self, int64_t due_ns, uint64_t seq) {
    evb_due key = {.due_ns = due_ns, .first = seq};
    evb_due *due = RB_NFIND(evb_due_tree, &self->due, &key);
    evb_due *before = due ? RB_PREV(evb_due_tree, &self->due, due) : RB_MAX(evb_due_tree, &self->due);
    return before && before->due_ns == due_ns && holds(before, seq) ? before : due;
}

static bool insert(evb_schedule *self, evb_due copy) {
    evb_due *due = malloc(sizeof *due);
    if (!due)
        return false;
    *due = copy;
    RB_INSERT(evb_due_tree, &self->due, due);
    RB_INSERT(evb_due_seqs, &self->seqs, due);
    self->entries++;
    self->events += due->count;
    self->bytes += due->size;
    return true;
}

bool evb_schedule_add(evb_schedule *self, int64_t due_ns, const evb_record *rec, uint64_t offset) {
    return insert(
        self,
        (evb_due){
            .due_ns = due_ns, .first = rec->seq, .offset = offset, .size = (uint32_t)rec->size, .count = rec->count});
}

void evb_schedule_remove(evb_schedule *self, evb_due *due) {
    RB_REMOVE(evb_due_tree, &self->due, due);
    RB_REMOVE(evb_due_seqs, &self->seqs, due);
    self->entries--;
    self->events -= due->count;
    self->bytes -= due->size;
    free(due);
}

bool evb_schedule_remove_event(evb_schedule *self, uint64_t seq) {
    evb_due *due = evb_schedule_find(self, seq);
    if (!due)
        return false;
    uint32_t before = (uint32_t)(seq - due->first), after = due->count - before - 1;
    evb_due rest = *due;
    rest.first = seq + 1;
    rest.skip += before + 1;
    rest.count = after;
    if (before && after && !insert(self, rest))
        return false;
    if (!before && !after) {
        evb_schedule_remove(self, due);
        return true;
    }
    self->events -= before ? after + 1 : 1;
    if (before)
        due->count = before;
    else /* what lies between two entries belongs to one of them: no order changes */
        due->first = rest.first, due->skip = rest.skip, due->count = rest.count;
    return true;
}

/* ---- producers ---- */

static void drop_producer(evb_schedule *self, evb_due_producer *producer) {
    TAILQ_REMOVE(&self->used, producer, link);
    evb_table_remove(self->producers, producer->id, sizeof producer->id);
    free(producer->batches);
    free(producer);
}

/* Forgets those that were silent for too long, and the longest silent where they are too many. */
static void forget(evb_schedule *self, int64_t now_ns) {
    for (evb_due_producer *p; (p = TAILQ_FIRST(&self->used));) {
        if (now_ns - p->used_ns <= FORGET_NS && evb_table_count(self->producers) < EVB_SCHEDULED_PRODUCERS)
            return;
        drop_producer(self, p);
    }
}

evb_due_producer *evb_schedule_producer(evb_schedule *self, const uint8_t id[EVB_PRODUCER_SIZE], int64_t now_ns) {
    evb_due_producer *p = evb_table_get(self->producers, id, EVB_PRODUCER_SIZE);
    if (p) {
        TAILQ_REMOVE(&self->used, p, link);
    } else {
        forget(self, now_ns);
        p = calloc(1, sizeof *p);
        if (!p)
            return NULL;
        memcpy(p->id, id, sizeof p->id);
        if (!evb_table_put(self->producers, p->id, sizeof p->id, p)) {
            free(p);
            return NULL;
        }
    }
    p->used_ns = now_ns;
    TAILQ_INSERT_TAIL(&self->used, p, link);
    return p;
}

bool evb_schedule_remember(evb_due_producer *producer, uint64_t number, uint64_t first, uint64_t count) {
    if (number <=
        producer->last) /* read from a log: it was forgotten before it scheduled this, which no frame says */
        producer->count = 0;
    if (producer->count == producer->room) {
        size_t room = producer->room ? producer->room * 2 : 4;
        evb_due_batch *batches = realloc(producer->batches, room * sizeof *batches);
        if (!batches)
            return false;
        producer->batches = batches;
        producer->room = room;
    }
    producer->batches[producer->count++] = (evb_due_batch){number, first, count};
    producer->last = number;
    return true;
}

void evb_schedule_acked(evb_due_producer *producer, uint64_t acked) {
    size_t known = 0;
    while (known < producer->count && producer->batches[known].number <= acked)
        known++;
    if (!known)
        return;
    producer->count -= known;
    memmove(producer->batches, producer->batches + known, producer->count * sizeof *producer->batches);
}

/* ---- writing ---- */

static bool add_number(evb_buf *out, uint64_t value) {
    uint8_t bytes[8];
    evb_put64(bytes, value);
    return evb_buf_add(out, bytes, sizeof bytes);
}

static bool add_numbers(evb_buf *out, const uint64_t *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!add_number(out, values[i]))
            return false;
    return true;
}

static bool begin(evb_buf *out, char what) {
    out->size = 0;
    return evb_buf_add(out, &what, 1);
}

static bool write_head(const evb_schedule *self, evb_buf *out) {
    return begin(out, 'H') && evb_buf_add(out, self->id, sizeof self->id) && add_number(out, self->next);
}

/* Appends *body, which it frees; ok: it was written in full. The first frame of a file is its head. */
static int append(evb_schedule *self, bool ok, evb_buf *body, uint64_t *offset, evb_error *err) {
    evb_buf head = {0};
    int rc = 0;
    if (ok && evb_schedule_log_is_new(self->log)) {
        ok = write_head(self, &head);
        rc = ok ? evb_schedule_log_append(self->log, head.data, head.size, NULL, err) : 0;
        evb_buf_free(&head);
    }
    if (!ok)
        rc = evb_fail(err, EVB_ENOMEM, "scheduled.log: out of memory");
    rc = rc ? rc : evb_schedule_log_append(self->log, body->data, body->size, offset, err);
    evb_buf_free(body);
    return rc;
}

enum { ADDED_HEAD = 17 };

int evb_schedule_note_added(evb_schedule *self, int64_t due_ns, uint64_t acked, const uint8_t *records, size_t size,
                            uint64_t *offset, evb_error *err) {
    evb_buf body = {0};
    *offset = 0;
    bool ok = begin(&body, 'A') && add_number(&body, (uint64_t)due_ns) && add_number(&body, acked) &&
              evb_buf_add(&body, records, size);
    int rc = append(self, ok, &body, offset, err);
    *offset += rc ? 0 : ADDED_HEAD;
    self->added |= rc == 0;
    return rc;
}

int evb_schedule_note_cancelled(evb_schedule *self, const uint64_t *seqs, size_t count, evb_error *err) {
    evb_buf body = {0};
    bool ok = begin(&body, 'C') && add_numbers(&body, seqs, count);
    int rc = append(self, ok, &body, NULL, err);
    self->added |= rc == 0;
    return rc;
}

int evb_schedule_note_firing(evb_schedule *self, evb_error *err) {
    evb_buf body = {0};
    bool ok = begin(&body, 'F') && add_number(&body, self->firing_at) &&
              add_numbers(&body, self->firing, self->firing_count);
    return append(self, ok, &body, NULL, err);
}

int evb_schedule_note_fired(evb_schedule *self, evb_error *err) {
    evb_buf body = {0};
    return append(self, begin(&body, 'D'), &body, NULL, err);
}

/* ---- reading ---- */

typedef struct {
    evb_schedule *schedule;
    uint64_t offset; /* of the body */
    uint8_t *at, *end;
} frame;

static bool number(frame *f, uint64_t *value) {
    if (f->end - f->at < 8)
        return false;
    *value = evb_get64(f->at);
    f->at += 8;
    return true;
}

/* One that no clock says would make what is reckoned with it wrap. */
static bool time_number(frame *f, int64_t *value) {
    uint64_t n;
    bool ok = number(f, &n) && n <= INT64_MAX;
    *value = ok ? (int64_t)n : 0;
    return ok;
}

static bool read_head(frame *f) {
    if (f->end - f->at != EVB_PRODUCER_SIZE + 8)
        return false;
    memcpy(f->schedule->id, f->at, EVB_PRODUCER_SIZE);
    f->at += EVB_PRODUCER_SIZE;
    return number(f, &f->schedule->next);
}

/* What could not be read again when it is due would end the hub then. */
static bool read_record(frame *f, evb_record *rec) {
    return !evb_record_parse(f->at, (size_t)(f->end - f->at), rec) && evb_record_intact(f->at, rec->size) &&
           !evb_record_check_events(rec, EVB_PAYLOAD_MOST, NULL) && rec->time_ns >= 0;
}

static bool read_records(frame *f, bool fresh) {
    evb_schedule *s = f->schedule;
    int64_t due;
    uint64_t acked;
    evb_record rec;
    uint8_t *start = f->at - 1;
    if (!time_number(f, &due) || !number(f, &acked))
        return false;
    for (; f->at < f->end; f->at += rec.size) {
        if (!read_record(f, &rec) || !evb_schedule_add(s, due, &rec, f->offset + (uint64_t)(f->at - start)))
            return false;
        s->next = rec.seq + rec.count > s->next ? rec.seq + rec.count : s->next;
        if (!fresh)
            continue;
        evb_due_producer *p = evb_schedule_producer(s, rec.producer, 0);
        if (!p || !evb_schedule_remember(p, rec.producer_seq, rec.seq, rec.count))
            return false;
        evb_schedule_acked(p, acked);
    }
    return true;
}

static bool read_added(frame *f) { return read_records(f, true); }
static bool read_kept(frame *f) { return read_records(f, false); }

static bool read_cancelled(frame *f) {
    uint64_t seq;
    while (f->at < f->end)
        if (!number(f, &seq) || !evb_schedule_remove_event(f->schedule, seq))
            return false;
    return true;
}

static bool read_firing(frame *f) {
    evb_schedule *s = f->schedule;
    size_t count = (size_t)(f->end - f->at) / 8;
    if (!number(f, &s->firing_at))
        return false;
    uint64_t *firing = realloc(s->firing, count * sizeof *firing);
    if (!firing)
        return false;
    s->firing = firing;
    for (s->firing_count = 0; f->at < f->end; s->firing_count++)
        if (!number(f, &firing[s->firing_count]))
            return false;
    return true;
}

static void remove_first(evb_schedule *self, uint64_t first) {
    evb_due *due = evb_schedule_find(self, first);
    if (due && due->first == first)
        evb_schedule_remove(self, due);
}

static bool read_fired(frame *f) {
    evb_schedule *s = f->schedule;
    for (size_t i = 0; i < s->firing_count; i++)
        remove_first(s, s->firing[i]);
    s->firing_count = 0;
    s->firing_at = 0;
    return f->at == f->end;
}

static bool read_producer(frame *f) {
    int64_t used;
    uint64_t last, v[3];
    if (f->end - f->at < EVB_PRODUCER_SIZE)
        return false;
    const uint8_t *id = f->at;
    f->at += EVB_PRODUCER_SIZE;
    if (!time_number(f, &used) || !number(f, &last))
        return false;
    evb_due_producer *p = evb_schedule_producer(f->schedule, id, 0);
    while (p && f->at < f->end)
        if (!number(f, &v[0]) || !number(f, &v[1]) || !number(f, &v[2]) ||
            !evb_schedule_remember(p, v[0], v[1], v[2]))
            return false;
    if (p)
        p->last = last;
    return p != NULL;
}

static bool read_frame(void *context, uint64_t offset, uint8_t *body, size_t size) {
    static const struct {
        char what;
        bool (*read)(frame *f);
    } READERS[] = {{'H', read_head},   {'A', read_added}, {'K', read_kept},    {'C', read_cancelled},
                   {'F', read_firing}, {'D', read_fired}, {'P', read_producer}};
    frame f = {context, offset, body + 1, body + size};
    for (size_t i = 0; size && i < sizeof READERS / sizeof *READERS; i++)
        if (READERS[i].what == (char)body[0])
            return READERS[i].read(&f);
    return false;
}

/* The entries that lie in the journal from seq on, one behind the other, were published; they stay in firing[]. */
static int find_fired(evb_schedule *self, evb_journal *journal, uint64_t seq, evb_error *err) {
    evb_record rec;
    size_t found = 0;
    int rc = 0;
    for (; found < self->firing_count && seq <= evb_journal_appended(journal); seq = rec.seq + rec.count) {
        rc = evb_journal_find(journal, seq, &rec, err);
        if (rc <= 0 || memcmp(rec.producer, self->id, sizeof self->id) != 0)
            break;
        self->firing[found++] = rec.producer_seq;
    }
    self->firing_count = found;
    return rc < 0 ? rc : 0;
}

/* Finds out what became of the entries that were being published when the last hub ended, and notes it; that may fail,
 * as it is found out again then. */
static int settle(evb_schedule *self, evb_journal *journal, evb_error *err) {
    evb_error why;
    uint64_t seq = self->firing_at;
    if (!seq)
        return 0;
    /* where retention has been since they were stored, there is no doubt left but this note's */
    int rc = seq < evb_journal_first(journal) ? 0 : find_fired(self, journal, seq, err);
    for (size_t i = 0; rc == 0 && i < self->firing_count; i++)
        remove_first(self, self->firing[i]);
    if (rc == 0 && evb_schedule_note_firing(self, &why) == 0)
        evb_schedule_note_fired(self, &why);
    self->firing_at = 0;
    self->firing_count = 0;
    return rc;
}

/* ---- writing anew ---- */

/* Copies the record that the entries from *due on share, and notes which of its events are there no more; *due: the
 * first entry of another record then. The entries' new place is kept in places[]. */
static int keep_record(evb_schedule *self, evb_due **due, uint64_t *place, evb_buf *scratch, evb_error *err) {
    evb_due *first = *due;
    evb_buf gone = {0};
    uint64_t next = first->first - first->skip;
    bool ok = begin(scratch, 'K') && add_number(scratch, (uint64_t)first->due_ns) && add_number(scratch, 0) &&
              begin(&gone, 'C');
    int rc = ok ? evb_schedule_log_read(self->log, first->offset, first->size, scratch, err) : EVB_ENOMEM;
    evb_record rec;
    if (rc == 0 && evb_record_parse(scratch->data + ADDED_HEAD, first->size, &rec))
        rc = evb_fail(err, EVB_EDAMAGED, "scheduled.log: damaged at byte %" PRIu64, first->offset);
    uint64_t end = rc ? 0 : rec.seq + rec.count;
    for (; rc == 0 && *due && (*due)->offset == first->offset; *due = evb_schedule_next(*due)) {
        for (; ok && next < (*due)->first; next++)
            ok = add_number(&gone, next);
        next = (*due)->first + (*due)->count;
    }
    for (; rc == 0 && ok && next < end; next++)
        ok = add_number(&gone, next);
    rc = rc ? rc : evb_schedule_log_rewrite_add(self->log, scratch->data, scratch->size, place, err);
    if (rc == 0 && gone.size > 1)
        rc = evb_schedule_log_rewrite_add(self->log, gone.data, gone.size, NULL, err);
    evb_buf_free(&gone);
    return rc || ok ? rc : evb_fail(err, EVB_ENOMEM, "scheduled.log: out of memory");
}

static int keep_producers(evb_schedule *self, evb_buf *scratch, evb_error *err) {
    evb_due_producer *p;
    int rc = 0;
    TAILQ_FOREACH (p, &self->used, link) {
        bool ok = begin(scratch, 'P') && evb_buf_add(scratch, p->id, sizeof p->id) &&
                  add_numbers(scratch, (uint64_t[]){(uint64_t)p->used_ns, p->last}, 2);
        for (size_t i = 0; ok && i < p->count; i++)
            ok =
                add_numbers(scratch, (uint64_t[]){p->batches[i].number, p->batches[i].first, p->batches[i].count}, 3);
        rc = ok ? evb_schedule_log_rewrite_add(self->log, scratch->data, scratch->size, NULL, err) : EVB_ENOMEM;
        if (rc)
            return rc;
    }
    return 0;
}

/* Writes everything; places[]: where each record lies then, in the order of the tree. */
static int rewrite(evb_schedule *self, uint64_t *places, evb_error *err) {
    evb_buf scratch = {0};
    size_t n = 0;
    int rc = evb_schedule_log_rewrite(self->log, err);
    if (rc == 0)
        rc = write_head(self, &scratch)
                 ? evb_schedule_log_rewrite_add(self->log, scratch.data, scratch.size, NULL, err)
                 : EVB_ENOMEM;
    rc = rc ? rc : keep_producers(self, &scratch, err);
    for (evb_due *due = evb_schedule_first(self); rc == 0 && due;)
        rc = keep_record(self, &due, &places[n++], &scratch, err);
    evb_buf_free(&scratch);
    return rc ? rc : evb_schedule_log_rewrite_end(self->log, err);
}

static void move_entries(evb_schedule *self, const uint64_t *places) {
    uint64_t old = 0;
    size_t n = 0;
    for (evb_due *due = evb_schedule_first(self); due; due = evb_schedule_next(due)) {
        n += old && due->offset != old;
        old = due->offset;
        due->offset = places[n] + ADDED_HEAD;
    }
}

int evb_schedule_tidy(evb_schedule *self, evb_log *log, evb_error *err) {
    uint64_t size = evb_schedule_log_size(self->log);
    if (self->firing_at || size < LONG_LEAST || size < self->long_at || size < 2 * self->bytes + LONG_LEAST)
        return 0;
    uint64_t *places = malloc((size_t)(self->entries + 1) * sizeof *places);
    evb_error why = {0};
    int rc = places ? rewrite(self, places, &why) : EVB_ENOMEM;
    if (rc == 0)
        move_entries(self, places);
    free(places);
    self->long_at = rc ? 2 * size : 0;
    if (rc == EVB_EIO || rc == EVB_EDAMAGED)
        return evb_fail(err, rc, "%s", why.text);
    if (rc)
        evb_log_say(log, "scheduled.log: cannot be made shorter yet: %s",
                    rc == EVB_ENOMEM ? "out of memory" : why.text);
    return 0;
}

int evb_schedule_read(evb_schedule *self, const evb_due *due, evb_buf *out, evb_record *rec, evb_error *err) {
    out->size = 0;
    int rc = evb_schedule_log_read(self->log, due->offset, due->size, out, err);
    if (rc)
        return rc;
    if (evb_record_parse(out->data, out->size, rec) || rec->size != due->size ||
        !evb_record_intact(out->data, out->size) || rec->seq + due->skip != due->first)
        return evb_fail(err, EVB_EDAMAGED, "scheduled.log: damaged at byte %" PRIu64, due->offset);
    return 0;
}

/* ---- opening and closing ---- */

evb_schedule *evb_schedule_new(evb_journal *journal, evb_log log, int64_t wall_ns, evb_error *err) {
    evb_schedule *self = calloc(1, sizeof *self);
    if (self) {
        TAILQ_INIT(&self->used);
        self->next = 1;
        self->tick_ns = INT64_MAX;
        self->producers = evb_table_new();
    }
    if (!self || !self->producers || getrandom(self->id, sizeof self->id, 0) != (ssize_t)sizeof self->id) {
        evb_fail(err, EVB_ENOMEM, "scheduled.log: out of memory");
        evb_schedule_destroy(&self);
        return NULL;
    }
    self->log = evb_schedule_log_new(evb_journal_io(journal), log, read_frame, self, err);
    if (!self->log || settle(self, journal, err)) {
        evb_schedule_destroy(&self);
        return NULL;
    }
    evb_due_producer *p; /* how long they have been silent is not known: clocks may have been set since */
    TAILQ_FOREACH (p, &self->used, link)
        p->used_ns = evb_catalog_steady(evb_journal_catalog(journal), wall_ns);
    return self;
}

void evb_schedule_destroy(evb_schedule **self) {
    evb_schedule *s = *self;
    if (!s)
        return;
    for (evb_due *due; (due = evb_schedule_first(s));)
        evb_schedule_remove(s, due);
    for (evb_due_producer *p; (p = TAILQ_FIRST(&s->used));)
        drop_producer(s, p);
    evb_table_destroy(&s->producers, NULL);
    evb_schedule_log_destroy(&s->log);
    free(s->firing);
    free(s);
    *self = NULL;
}
