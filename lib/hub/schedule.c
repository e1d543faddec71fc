/* schedule.c: the requests "schedule", "scheduled" and "schedule.cancel", and publishing what is due.
 *
 * Invariants: a frame is scheduled whole or not at all, and answered once scheduled.log is safe, as a published one is;
 * a publisher's batches are taken once each, in the order of their numbers. What is due is published in the order of
 * due times, and for one time in the order in which it was scheduled. An event's id is looked at when it is published.
 * Due times are the wall clock's, which others may set: it is looked at once a second at least while something waits.
 * Leaves to others: entries and notes (schedule_state.c), the file (schedule_log.c). */
#include "hub/schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "hub/again.h"
#include "hub/hub_private.h"

enum {
    ROUND_BATCHES = 256, /* published in one round, */
    ROUND_BYTES = 1 << 20,
    PAGE_MOST = 1000,     /* events of one answer, */
    PAGE_BYTES = 4 << 20, /* and bytes looked at for it */
    START_SIZE = 64       /* of a payload that is shown */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Sets when the wall clock is to be looked at next; not before `wait_ns` has passed. */
static void plan(evb_hub *hub, int64_t wall_ns, int64_t wait_ns) {
    evb_schedule *s = hub->schedule;
    const evb_due *due = evb_schedule_first(s);
    int64_t most = EVB_SECOND_NS, left = INT64_MAX;
    if (hub->options.sync == EVB_SYNC_LATER && evb_schedule_log_is_dirty(s->log))
        most = least(most, hub->options.sync_ns);
    if (due)
        left = due->due_ns > wall_ns ? least(due->due_ns - wall_ns, most) : 0;
    else if (evb_schedule_log_is_dirty(s->log))
        left = most;
    left = left > wait_ns ? left : wait_ns;
    s->tick_ns = left == INT64_MAX ? left : hub->now_ns + left;
}

/* ---- scheduling ---- */

typedef struct {
    evb_hub *hub;
    const evb_request *request;
    uint64_t acked, due;
    size_t count, known; /* of hub->recs; the first so many were taken before */
    evb_due_producer *producer;
    uint64_t events; /* of those that are new */
} scheduling;

/* Finds out which of the frame's batches are new. */
static int compare(scheduling *s, evb_error *why) {
    const evb_record *recs = s->hub->recs;
    const evb_catalog *catalog = evb_journal_catalog(s->hub->journal);
    s->producer =
        evb_schedule_producer(s->hub->schedule, recs[0].producer, evb_catalog_steady(catalog, s->request->now_ns));
    if (!s->producer)
        return EVB_ENOMEM;
    evb_schedule_acked(s->producer, s->acked);
    uint64_t last = s->producer->last > s->acked ? s->producer->last : s->acked;
    if (recs[0].producer_seq > last + 1)
        return evb_fail(why, EVB_EDATA, "out of order: batches before this one are missing");
    while (s->known < s->count && recs[s->known].producer_seq <= last)
        s->known++;
    if (s->known && (!s->producer->count || s->producer->batches[0].number > recs[0].producer_seq))
        return evb_fail(why, EVB_EDATA, "batches sent again that are no longer remembered");
    return 0;
}

static int check(scheduling *s, evb_error *why) {
    const evb_schedule *schedule = s->hub->schedule;
    uint64_t bytes = schedule->bytes;
    for (size_t i = s->known; i < s->count; i++) {
        if (evb_hub_is_live(s->hub, &s->hub->recs[i]))
            return evb_fail(why, EVB_EDATA, "a topic that is not stored cannot be scheduled for");
        s->events += s->hub->recs[i].count;
        bytes += s->hub->recs[i].size;
    }
    if (s->known == s->count)
        return 0;
    if (schedule->events + s->events > EVB_SCHEDULED_MOST)
        return evb_fail(why, EVB_ESTORE, "%d events are scheduled: no more are taken", EVB_SCHEDULED_MOST);
    if (bytes > EVB_SCHEDULED_BYTES)
        return evb_fail(why, EVB_ESTORE, "%d MiB of events are scheduled: no more are taken",
                        EVB_SCHEDULED_BYTES >> 20);
    if (evb_journal_is_full(s->hub->journal))
        return evb_fail(why, EVB_ESTORE, "disk full: no events are taken");
    return 0;
}

/* Gives the new batches their scheduled seqs, and stores them. */
static int store(scheduling *s, evb_error *why) {
    evb_schedule *schedule = s->hub->schedule;
    evb_record *recs = s->hub->recs, *last = &recs[s->count - 1];
    uint64_t next = schedule->next, offset;
    if (s->known == s->count)
        return 0;
    for (size_t i = s->known; i < s->count; next += recs[i++].count) {
        evb_record_stamp(&recs[i], next, 0, 0, s->request->now_ns);
        evb_record_seal(&recs[i]);
    }
    const uint8_t *from = recs[s->known].record;
    int rc = evb_schedule_note_added(schedule, (int64_t)s->due, s->acked, from,
                                     (size_t)(last->record + last->size - from), &offset, why);
    if (rc)
        return rc;
    schedule->next = next;
    for (size_t i = s->known; i < s->count; i++)
        if (!evb_schedule_add(schedule, (int64_t)s->due, &recs[i], offset + (uint64_t)(recs[i].record - from)) ||
            !evb_schedule_remember(s->producer, recs[i].producer_seq, recs[i].seq, recs[i].count))
            return EVB_EIO; /* it is stored, and cannot be kept in memory: end, and read it again */
    plan(s->hub, s->request->now_ns, 0);
    return 0;
}

/* [[number, 1, scheduled seq] …], for every batch of the frame. */
static int reply(scheduling *s) {
    msgpack_packer packer;
    const evb_due_producer *p = s->producer;
    uint64_t first = s->hub->recs[0].producer_seq, end = first + s->count;
    if (!evb_hub_answer(s->hub, s->request, 1, &packer) || msgpack_pack_array(&packer, s->count))
        return EVB_ENOMEM;
    for (size_t i = 0; i < p->count; i++)
        if (p->batches[i].number >= first && p->batches[i].number < end &&
            (msgpack_pack_array(&packer, 3) || msgpack_pack_uint64(&packer, p->batches[i].number) ||
             msgpack_pack_uint64(&packer, 1) || msgpack_pack_uint64(&packer, p->batches[i].first)))
            return EVB_ENOMEM;
    return 0;
}

int evb_hub_schedule(evb_hub *self, const evb_request *request, evb_error *err) {
    scheduling s = {.hub = self, .request = request};
    evb_mp args = request->args;
    evb_error why = {0};
    size_t ids = 0;
    if (!evb_mp_uint(&args, &s.due) || s.due > INT64_MAX || !evb_mp_uint(&args, &s.acked))
        return evb_hub_refuse(self, request, "usage", "schedule: its arguments are a time in ns and a batch number");
    int rc = evb_hub_read_records(self, request, &s.count, &ids, &why);
    rc = rc ? rc : compare(&s, &why);
    rc = rc ? rc : check(&s, &why);
    rc = rc ? rc : store(&s, &why);
    if (rc == EVB_EIO)
        return evb_fail(err, rc, "%s", why.code ? why.text : "hub: out of memory");
    if (rc == EVB_ENOMEM)
        return rc;
    return rc ? evb_hub_refuse_error(self, request, &why) : reply(&s);
}

/* ---- looking ---- */

typedef struct {
    evb_hub *hub;
    evb_patterns *patterns;
    int64_t due_ns; /* behind this due time and seq */
    uint64_t seq;
    uint64_t limit, looked; /* events, bytes */
    evb_buf rows;
    msgpack_packer packer;
    uint32_t count;
    bool more;
} page;

static bool pack_number(msgpack_packer *p, const char *key, uint64_t value) {
    return !evb_mp_pack_str(p, key, strlen(key)) && !msgpack_pack_uint64(p, value);
}

static bool pack_text(msgpack_packer *p, const char *key, const char *text, size_t size) {
    return !evb_mp_pack_str(p, key, strlen(key)) && !evb_mp_pack_str(p, text, size);
}

/* How a payload begins, if that is text: up to START_SIZE bytes, no character cut. */
static size_t start_of(const evb_event *event) {
    const char *text = event->payload;
    size_t size = event->size < START_SIZE ? event->size : START_SIZE;
    for (size_t cut = 0; cut < 4 && size; cut++, size--)
        if (evb_text_valid(text, size))
            return size;
        else if (size == event->size)
            break;
    return 0;
}

static bool pack_row(msgpack_packer *p, const evb_record *rec, const evb_due *due, uint64_t seq,
                     const evb_event *event) {
    return !msgpack_pack_map(p, 6) && pack_number(p, "seq", seq) && pack_number(p, "due_ns", (uint64_t)due->due_ns) &&
           pack_text(p, "topic", rec->topic, rec->topic_size) && pack_number(p, "size", event->size) &&
           pack_number(p, "scheduled_ns", (uint64_t)rec->time_ns) &&
           pack_text(p, "start", event->payload, start_of(event));
}

/* Adds the events of an entry that lie behind the page's place. */
static int add_entry(page *g, const evb_due *due, evb_error *err) {
    evb_record rec;
    evb_event event;
    evb_header room[EVB_HEADER_ROOM];
    int rc = evb_schedule_read(g->hub->schedule, due, &g->hub->scratch, &rec, err);
    if (rc)
        return rc;
    g->looked += rec.size;
    if (g->patterns && !evb_patterns_match(g->patterns, rec.topic, rec.topic_size))
        return 0;
    evb_mp cursor = rec.events;
    for (uint64_t seq = rec.seq; evb_record_next(&cursor, &event, room); seq++) {
        if (seq < due->first || seq - due->first >= due->count || (due->due_ns == g->due_ns && seq <= g->seq))
            continue;
        if (g->count == g->limit) {
            g->more = true;
            return 0;
        }
        if (!pack_row(&g->packer, &rec, due, seq, &event))
            return EVB_ENOMEM;
        g->count++;
        g->due_ns = due->due_ns;
        g->seq = seq;
    }
    return 0;
}

static int fill(page *g, evb_error *err) {
    int rc = 0;
    evb_due *due = evb_schedule_from(g->hub->schedule, g->due_ns, g->seq + 1);
    for (; rc == 0 && due && !g->more; due = evb_schedule_next(due)) {
        g->more = g->looked >= PAGE_BYTES;
        if (g->more)
            break;
        rc = add_entry(g, due, err);
        if (rc == 0 && !g->more) {
            g->due_ns = due->due_ns;
            g->seq = due->first + due->count - 1;
        }
    }
    return rc;
}

/* [rows, due time, seq]: where the next page begins; nil where there is none. */
static int reply_page(page *g, const evb_request *request) {
    msgpack_packer p;
    evb_action *reply_action = evb_hub_answer(g->hub, request, 3, &p);
    if (!reply_action || msgpack_pack_array(&p, g->count) ||
        (g->rows.size && !evb_buf_add(&reply_action->head, g->rows.data, g->rows.size)))
        return EVB_ENOMEM;
    if (!g->more)
        return msgpack_pack_nil(&p) || msgpack_pack_nil(&p) ? EVB_ENOMEM : 0;
    return msgpack_pack_uint64(&p, (uint64_t)g->due_ns) || msgpack_pack_uint64(&p, g->seq) ? EVB_ENOMEM : 0;
}

int evb_hub_scheduled(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    page g = {.hub = self};
    uint64_t due;
    if (!evb_mp_uint(&args, &due) || due > INT64_MAX || !evb_mp_uint(&args, &g.seq) || g.seq == UINT64_MAX ||
        !evb_mp_uint(&args, &g.limit))
        return evb_hub_refuse(self, request, "usage",
                              "scheduled: its arguments are a time in ns, a seq, a limit and patterns");
    if (!evb_hub_read_patterns(&args, &g.patterns, &why))
        return evb_hub_refuse_error(self, request, &why);
    if (!evb_patterns_count(g.patterns))
        evb_patterns_destroy(&g.patterns);
    g.due_ns = (int64_t)due;
    g.limit = !g.limit || g.limit > PAGE_MOST ? PAGE_MOST : g.limit;
    evb_mp_packer(&g.packer, &g.rows);
    int rc = fill(&g, &why);
    evb_patterns_destroy(&g.patterns);
    rc = rc ? evb_fail(err, rc, "%s", rc == EVB_ENOMEM ? "hub: out of memory" : why.text) : reply_page(&g, request);
    evb_buf_free(&g.rows);
    return rc;
}

/* ---- cancelling ---- */

/* Reads the seqs, and keeps those that are scheduled in seqs[], each once. The other count is how many are not. */
static bool read_seqs(evb_hub *hub, evb_mp *args, uint32_t count, uint64_t *seqs, size_t *there) {
    uint64_t last = 0;
    *there = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t seq;
        if (!evb_mp_uint(args, &seq) || seq <= last)
            return false;
        last = seq;
        if (evb_schedule_find(hub->schedule, seq))
            seqs[(*there)++] = seq;
    }
    return true;
}

static int reply_cancelled(evb_hub *self, const evb_request *request, const uint64_t *seqs, size_t count) {
    msgpack_packer p;
    if (!evb_hub_answer(self, request, 1, &p) || msgpack_pack_array(&p, count))
        return EVB_ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (msgpack_pack_uint64(&p, seqs[i]))
            return EVB_ENOMEM;
    return 0;
}

/* [seqs, ascending] -> [seqs that were cancelled] */
int evb_hub_schedule_cancel(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    uint32_t count;
    size_t there;
    if (!evb_mp_array(&args, &count) || !count)
        return evb_hub_refuse(self, request, "usage", "schedule.cancel: its argument is an array of seqs");
    uint64_t *seqs = malloc(count * sizeof *seqs);
    if (!seqs)
        return EVB_ENOMEM;
    if (!read_seqs(self, &args, count, seqs, &there)) {
        free(seqs);
        return evb_hub_refuse(self, request, "usage", "schedule.cancel: the seqs are numbers, each once, ascending");
    }
    int rc = there ? evb_schedule_note_cancelled(self->schedule, seqs, there, &why) : 0;
    for (size_t i = 0; rc == 0 && i < there; i++)
        rc = evb_schedule_remove_event(self->schedule, seqs[i]) ? 0 : evb_fail(&why, EVB_EIO, "hub: out of memory");
    if (rc == EVB_EIO || rc == EVB_ENOMEM)
        evb_fail(err, rc, "%s", why.text);
    else
        rc = rc ? evb_hub_refuse_error(self, request, &why) : reply_cancelled(self, request, seqs, there);
    free(seqs);
    plan(self, request->now_ns, 0);
    return rc;
}

/* ---- publishing ---- */

/* A round's worth of what is due. */
typedef struct {
    evb_hub *hub;
    int64_t wall_ns;
    evb_buf out; /* the records, back to back */
    evb_record recs[ROUND_BATCHES];
    evb_due *due[ROUND_BATCHES];
    uint32_t id_counts[ROUND_BATCHES];
    size_t count, ids;
    evb_again again;
} firing;

static evb_header header(const char *name, const char *value, int size) {
    return (evb_header){name, strlen(name), value, (size_t)size};
}

/* Leaves out of headers[] those that are set here; the count of the others. */
static size_t without_own(evb_header *headers, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool own = (headers[i].name_size == 4 && memcmp(headers[i].name, "late", 4) == 0) ||
                   (headers[i].name_size == 13 && memcmp(headers[i].name, "scheduled-seq", 13) == 0);
        if (!own)
            headers[kept++] = headers[i];
    }
    return kept;
}

/* Adds the batch as it is published: each event with its scheduled seq, and how late it is in seconds, if it is. */
static bool add_batch(firing *f, const evb_due *due, const evb_record *rec) {
    evb_header headers[EVB_HEADER_ROOM];
    evb_event event;
    evb_mp cursor = rec->events;
    char seq[24], late[24];
    size_t start = f->out.size;
    int64_t wanted = due->due_ns > rec->time_ns ? due->due_ns : rec->time_ns;
    int64_t seconds = (f->wall_ns - wanted) / EVB_SECOND_NS;
    int late_size = snprintf(late, sizeof late, "%" PRId64, seconds);
    bool ok = evb_record_begin(&f->out, rec->topic, rec->topic_size, 0, f->hub->schedule->id, due->first);
    f->id_counts[f->count] = 0;
    for (uint64_t at = rec->seq; ok && evb_record_next(&cursor, &event, headers); at++) {
        if (at < due->first || at - due->first >= due->count)
            continue;
        size_t n = without_own(headers, event.header_count);
        headers[n++] = header("scheduled-seq", seq, snprintf(seq, sizeof seq, "%" PRIu64, at));
        if (seconds > 0)
            headers[n++] = header("late", late, late_size);
        event.headers = headers;
        event.header_count = n;
        f->id_counts[f->count] += event.id != NULL;
        ok = evb_record_add(&f->out, start, &event);
    }
    return ok;
}

/* Writes down the batches that are due, in order, as many as a round takes. */
static int gather(firing *f, evb_error *err) {
    evb_schedule *s = f->hub->schedule;
    evb_due *due = evb_schedule_first(s);
    evb_record rec;
    for (; due && due->due_ns <= f->wall_ns && f->count < ROUND_BATCHES && f->out.size < ROUND_BYTES;
         due = evb_schedule_next(due)) {
        int rc = evb_schedule_read(s, due, &f->hub->scratch, &rec, err);
        if (rc)
            return rc;
        if (!add_batch(f, due, &rec))
            return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
        f->ids += f->id_counts[f->count];
        f->due[f->count++] = due;
    }
    return 0;
}

/* Takes them apart again, hands their bytes to the hub, and leaves out what its topic has under the same id. */
static int sift(firing *f, evb_error *err) {
    uint8_t *at = f->out.data, *end = at + f->out.size;
    for (size_t i = 0; i < f->count; at += f->recs[i++].size)
        if (evb_record_parse(at, (size_t)(end - at), &f->recs[i]))
            return evb_fail(err, EVB_EIO, "hub: made a bad batch");
    f->again = (evb_again){.hub = f->hub, .now_ns = f->wall_ns};
    if (evb_hub_own(f->hub, &f->out) || evb_again_begin(&f->again, f->ids))
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->count; i++) {
        f->recs[i].ids = f->id_counts[i];
        rc = f->recs[i].ids ? evb_again_sift(&f->again, &f->recs[i], i, err) : 0;
    }
    return rc == 0 || rc == EVB_ENOMEM ? rc : EVB_EIO;
}

/* Says in scheduled.log what is about to be stored, and where. */
static int note(firing *f, evb_error *err) {
    evb_schedule *s = f->hub->schedule;
    uint64_t *seqs = realloc(s->firing, f->count * sizeof *seqs);
    if (!seqs)
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    s->firing = seqs;
    for (s->firing_count = 0; s->firing_count < f->count; s->firing_count++)
        seqs[s->firing_count] = f->due[s->firing_count]->first;
    s->firing_at = evb_journal_appended(f->hub->journal) + 1;
    int rc = evb_schedule_note_firing(s, err);
    if (rc || f->hub->options.sync != EVB_SYNC_ALWAYS)
        return rc;
    return evb_schedule_log_sync(s->log, err);
}

/* Stores what is left of the records, and fans it out. EVB_ESTORE: nothing was stored. */
static int publish(firing *f, evb_error *err) {
    evb_hub *hub = f->hub;
    evb_record stored[ROUND_BATCHES];
    size_t n = 0, next = 0;
    for (size_t i = 0; i < f->count; i++)
        if (f->recs[i].count)
            stored[n++] = f->recs[i];
    int rc = n ? evb_journal_append(hub->journal, stored, n, f->wall_ns, err) : 0;
    if (rc)
        return rc;
    hub->appended |= n > 0;
    for (size_t i = 0; i < f->count; i++)
        if (f->recs[i].count)
            f->recs[i] = stored[next++];
    rc = evb_again_settle(&f->again, f->recs, err) ? EVB_EIO : 0;
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        if (f->recs[i].count && evb_hub_feed(hub, &f->recs[i]))
            rc = evb_fail(err, EVB_EIO, "hub: out of memory");
    return rc;
}

static int fire(firing *f, evb_error *err) {
    evb_schedule *s = f->hub->schedule;
    int rc = gather(f, err);
    rc = rc ? rc : sift(f, err);
    rc = rc ? rc : note(f, err);
    rc = rc ? rc : publish(f, err);
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        evb_schedule_remove(s, f->due[i]);
    s->fired = rc == 0;
    if (rc == EVB_ESTORE)
        s->firing_at = 0;
    return rc;
}

/* What is due cannot be stored now: it is tried again, which is said once. */
static void say_refused(evb_hub *hub, bool refused, const char *why) {
    evb_schedule *s = hub->schedule;
    if (refused && !s->refused)
        evb_log_say(&hub->options.log, "what was scheduled is due and cannot be stored yet: %s", why);
    if (!refused && s->refused)
        evb_log_say(&hub->options.log, "what was scheduled is published again");
    s->refused = refused;
}

/* Publishes a round of what is due. */
static int fire_due(evb_hub *hub, int64_t wall_ns, int64_t *wait_ns, evb_error *err) {
    evb_error why = {.text = "disk full"};
    firing *f = calloc(1, sizeof *f);
    if (!f)
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    f->hub = hub;
    f->wall_ns = wall_ns;
    int rc = evb_journal_is_full(hub->journal) ? EVB_ESTORE : fire(f, &why);
    evb_again_free(&f->again);
    evb_buf_free(&f->out);
    free(f);
    if (rc && rc != EVB_ESTORE)
        return evb_fail(err, rc == EVB_EDAMAGED ? EVB_EIO : rc, "%s", why.text);
    say_refused(hub, rc != 0, why.text);
    *wait_ns = rc ? EVB_SECOND_NS : 0;
    return 0;
}

int evb_schedule_tick(evb_hub *hub, int64_t wall_ns, evb_error *err) {
    evb_schedule *s = hub->schedule;
    const evb_due *due = evb_schedule_first(s);
    int64_t wait_ns = 0;
    int rc = due && due->due_ns <= wall_ns && !s->fired ? fire_due(hub, wall_ns, &wait_ns, err) : 0;
    bool sync = rc == 0 && !s->fired && hub->options.sync != EVB_SYNC_NONE;
    if (sync && evb_schedule_log_is_dirty(s->log)) /* what it says was published is not to be safe before it is */
        rc = evb_journal_settle(hub->journal, err);
    rc = rc == 0 && sync ? evb_schedule_log_sync(s->log, err) : rc;
    rc = rc ? rc : evb_schedule_tidy(s, &hub->options.log, err);
    plan(hub, wall_ns, wait_ns);
    return rc;
}

int evb_schedule_keep(evb_hub *hub, evb_error *err) {
    evb_schedule *s = hub->schedule;
    evb_error why = {0};
    int rc = s->added && hub->options.sync == EVB_SYNC_ALWAYS ? evb_schedule_log_sync(s->log, &why) : 0;
    s->added = false;
    if (rc == 0 && s->fired) {
        rc = evb_schedule_note_fired(s, &why);
        s->fired = false;
        s->firing_at = 0;
    }
    rc = rc == EVB_ESTORE || rc == EVB_ENOMEM ? 0 : rc; /* the journal tells, after a restart */
    return rc ? evb_fail(err, rc, "%s", why.text) : 0;
}
