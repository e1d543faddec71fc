/* publish.c: the request "pub": is this frame in order and well formed, what of it is new, and what to answer.
 *
 * Invariants: a frame is stored whole or not at all; a producer's batches are stored in the order of their numbers,
 * each once: a batch is taken when its number follows the last one taken (or, for a producer not known any more, the
 * one that it says was acknowledged last), and one taken before is answered with the seqs that it got then.
 * An event whose own id is known on its topic is left out of its batch, and answered with the seq that it has: before
 * any version is looked at, so that a publisher may say the same thing twice.
 * Leaves to others: the ids (again.c), seqs and versions (journal.c), what the numbers stand for over restarts (catalog.c). */
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "hub/again.h"

enum { LIVE_TOPICS_MAX = 64 * 1024 };

/* How many live events a topic has had since the hub began to count them. */
typedef struct {
    uint64_t count;
    size_t size;
    char topic[];
} live_count;

/* A row of the answer: batches that lie in the journal without a gap, or one batch of which events were known. */
typedef struct {
    uint64_t number, batches;
    uint64_t seq, end; /* of the first event, and behind the last; 0: live */
    uint64_t version;  /* of the first event */
    size_t again;      /* how many of the next known events are this batch's */
} row;

/* A publish under way. */
typedef struct {
    evb_hub *hub;
    const evb_request *request;
    uint64_t acked; /* as the producer says */
    bool one_batch; /* the frame is to be one batch, and its version is answered */
    bool expects;   /* and is stored only if its topic stands at `expected` */
    uint64_t expected, actual;
    size_t count; /* of hub->recs */
    size_t ids;   /* of their events that have one */
    size_t known; /* the first so many were taken before */
    evb_again again;
    row *rows; /* the answer */
    size_t row_count;
} publishing;

/* ---- reading the frame ---- */

static bool room_for_record(evb_hub *hub, size_t count) {
    if (count < hub->rec_room)
        return true;
    size_t room = hub->rec_room ? hub->rec_room * 2 : 64;
    evb_record *recs = realloc(hub->recs, room * sizeof *recs);
    if (!recs)
        return false;
    hub->recs = recs;
    hub->rec_room = room;
    return true;
}

/* What is wrong with a record by itself, or NULL. */
static const char *record_fault(const evb_hub *hub, evb_record *rec) {
    const char *fault = evb_topic_fault(rec->topic, rec->topic_size);
    if (fault)
        return fault;
    if (evb_topic_reserved(rec->topic, rec->topic_size))
        return "tokens that start with '$' belong to the hub";
    return evb_record_check_events(rec, hub->options.max_payload, &rec->ids);
}

int evb_hub_read_records(evb_hub *hub, const evb_request *request, size_t *count, size_t *ids, evb_error *why) {
    uint8_t *at = request->body, *end = at ? at + request->body_size : NULL;
    for (*count = 0; at < end; ++*count) {
        if (!room_for_record(hub, *count))
            return EVB_ENOMEM;
        evb_record *rec = &hub->recs[*count];
        const char *fault = evb_record_parse(at, (size_t)(end - at), rec);
        if (!fault && !(fault = record_fault(hub, rec)) && *count) {
            const evb_record *before = rec - 1;
            if (memcmp(rec->producer, before->producer, EVB_PRODUCER_SIZE) != 0 ||
                rec->producer_seq != before->producer_seq + 1)
                fault = "its batches are not consecutive ones of one producer";
        }
        if (fault)
            return evb_fail(why, EVB_EDATA, "batch %zu: %s", *count + 1, fault);
        at += rec->size;
        *ids += rec->ids;
    }
    return *count ? 0 : evb_fail(why, EVB_EDATA, "a frame without batches");
}

bool evb_hub_is_live(const evb_hub *hub, const evb_record *rec) {
    return (rec->flags & EVB_FLAG_LIVE) ||
           (hub->options.live && evb_patterns_match(hub->options.live, rec->topic, rec->topic_size));
}

/* ---- the answer ---- */

/* Adds a batch to the answer, of which the last `again` known events are: to the last row when it goes on there. */
static void answer_batch(publishing *p, uint64_t number, const evb_stored *place, size_t again) {
    row *last = p->row_count ? &p->rows[p->row_count - 1] : NULL;
    uint64_t end = place->seq ? place->seq + place->count : 0;
    if (last && !again && !last->again && (place->seq ? last->end == place->seq : !last->seq)) {
        last->batches++;
        last->end = end;
        return;
    }
    p->rows[p->row_count++] = (row){number, 1, place->seq, end, place->version, again};
}

/* Answers batch i of the frame, which was taken before: it lies at `place`, or is not stored. */
static int answer_known(publishing *p, size_t i, const evb_stored *place, evb_error *why) {
    const evb_record *rec = &p->hub->recs[i];
    size_t before = p->again.count;
    int rc = rec->ids && !evb_hub_is_live(p->hub, rec) ? evb_again_recall(&p->again, rec, i, place, why) : 0;
    if (rc == 0)
        answer_batch(p, rec->producer_seq, place, p->again.count - before);
    p->known += rc == 0;
    return rc;
}

/* Answers the batches from p->known on that belong to the run, up to and with number `last`. */
static int answer_run(publishing *p, const evb_run *run, uint64_t last, evb_error *why) {
    const evb_record *recs = p->hub->recs;
    uint64_t number = recs[0].producer_seq + p->known, end = run->number + run->batches;
    size_t from = p->known, count = (size_t)((end <= last ? end : last + 1) - number);
    evb_stored *places = calloc(count, sizeof *places);
    int rc = !places    ? EVB_ENOMEM
             : run->seq ? evb_journal_batches(p->hub->journal, run->seq, run->end, recs[0].producer, number, count,
                                              places, why)
                        : 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = answer_known(p, from + i, &places[i], why);
    free(places);
    return rc;
}

/* Answers the batches up to and with number `last`, which were taken before, from what is remembered of them. */
static int answer_runs(publishing *p, const evb_producer *producer, uint64_t last, evb_error *why) {
    uint64_t first = p->hub->recs[0].producer_seq;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < producer->run_count && first + p->known <= last; i++) {
        const evb_run *run = &producer->runs[i];
        if (first + p->known >= run->number && first + p->known < run->number + run->batches)
            rc = answer_run(p, run, last, why);
    }
    if (rc || first + p->known > last)
        return rc;
    return evb_fail(why, EVB_EDATA, "batches sent again that are no longer remembered");
}

/* ---- what is new ---- */

/* Finds out which of the frame's batches are new. "order": it is out of step; *err: the catalog failed. */
static int compare(publishing *p, evb_error *why) {
    const evb_record *recs = p->hub->recs;
    evb_error failed = {0};
    const evb_producer *producer =
        evb_catalog_producer(evb_journal_catalog(p->hub->journal), recs[0].producer, &failed);
    if (failed.code) {
        *why = failed;
        return failed.code;
    }
    uint64_t last = producer ? producer->last : 0, first_new = recs[0].producer_seq;
    if (first_new > (last > p->acked ? last : p->acked) + 1)
        return evb_fail(why, EVB_EDATA, "out of order: batches before this one are missing");
    uint64_t frame_last = recs[p->count - 1].producer_seq;
    if (producer && first_new <= last)
        return answer_runs(p, producer, frame_last < last ? frame_last : last, why);
    return 0;
}

/* Leaves out of the new batches what was stored before under its id. */
static int sift(publishing *p, evb_error *why) {
    int rc = 0;
    for (size_t i = p->known; rc == 0 && p->ids && i < p->count; i++) {
        evb_record *rec = &p->hub->recs[i];
        if (rec->ids && !evb_hub_is_live(p->hub, rec))
            rc = evb_again_sift(&p->again, rec, i, why);
    }
    return rc;
}

/* Whether the topic stands at the version that the publisher expects. EVB_EVERSION: it does not. */
static int check_version(publishing *p, evb_error *why) {
    const evb_record *rec = &p->hub->recs[0];
    evb_catalog *catalog = evb_journal_catalog(p->hub->journal);
    bool expects = p->expects && rec->count;
    int rc = expects ? evb_catalog_reserve(catalog, 1, why) : 0;
    if (rc || !expects)
        return rc;
    const evb_topic_state *state = evb_catalog_topic(catalog, rec->topic, rec->topic_size, why);
    if (!state)
        return why->code;
    if (state->version == p->expected)
        return 0;
    p->actual = state->version;
    return evb_fail(why, EVB_EVERSION, "expected version %" PRIu64 ", is %" PRIu64, p->expected, state->version);
}

/* ---- storing and fanning out ---- */

static int count_live(evb_hub *hub, const evb_record *rec, uint64_t *before) {
    live_count *c = evb_table_get(hub->live_counts, rec->topic, rec->topic_size);
    if (!c) {
        if (evb_table_count(hub->live_counts) >= LIVE_TOPICS_MAX)
            evb_table_clear(hub->live_counts, free);
        c = malloc(sizeof *c + rec->topic_size);
        if (!c)
            return EVB_ENOMEM;
        c->count = 0;
        c->size = rec->topic_size;
        memcpy(c->topic, rec->topic, rec->topic_size);
        if (!evb_table_put(hub->live_counts, c->topic, c->size, c)) {
            free(c);
            return EVB_ENOMEM;
        }
    }
    *before = c->count;
    c->count += rec->count;
    return 0;
}

/* Copies the new records that are to be stored, in order, and returns how many. */
static size_t pick_stored(publishing *p, evb_record *stored) {
    size_t n = 0;
    for (size_t i = p->known; i < p->count; i++)
        if (p->hub->recs[i].count && !evb_hub_is_live(p->hub, &p->hub->recs[i]))
            stored[n++] = p->hub->recs[i];
    return n;
}

static int stamp_live(publishing *p, evb_record *rec) {
    uint64_t before;
    if (count_live(p->hub, rec, &before))
        return EVB_ENOMEM;
    evb_record_set_live(rec);
    evb_record_stamp(rec, 0, 0, before + 1, p->request->now_ns);
    return 0;
}

/* Fans out new batch i, takes it into the answer and remembers its producer; next: the first known event that may be of
 * it. Every error ends the hub. */
static int pass_on(publishing *p, size_t i, size_t *next, evb_error *err) {
    const evb_record *rec = &p->hub->recs[i];
    size_t before = *next;
    while (*next < p->again.count && p->again.events[*next].batch == i)
        ++*next;
    evb_stored place = {rec->seq, rec->version, rec->count};
    if (!rec->count)
        place = (evb_stored){0};
    answer_batch(p, rec->producer_seq, &place, *next - before);
    evb_hub_count(p->hub, rec->count, rec->size);
    if (rec->count && evb_hub_feed(p->hub, rec))
        return evb_fail(err, EVB_EIO, "hub: out of memory");
    return evb_catalog_producer_note(evb_journal_catalog(p->hub->journal), rec->producer, rec->producer_seq,
                                     place.seq, place.seq ? place.seq + place.count : 0, p->request->now_ns, err)
               ? EVB_EIO
               : 0;
}

/* Stores what is to be stored. A refusal, or EVB_EIO. */
static int store(publishing *p, evb_record *stored, evb_error *why, evb_error *err) {
    size_t n = pick_stored(p, stored), next = 0;
    int rc = n ? evb_journal_append(p->hub->journal, stored, n, p->request->now_ns, why) : 0;
    if (rc)
        return rc;
    p->hub->appended |= n > 0;
    for (size_t i = p->known; i < p->count; i++) {
        evb_record *rec = &p->hub->recs[i];
        if (next < n && stored[next].record == rec->record)
            *rec = stored[next++];
        else if (rec->count && stamp_live(p, rec))
            return evb_fail(err, EVB_EIO, "hub: out of memory");
    }
    return evb_again_settle(&p->again, p->hub->recs, err) ? EVB_EIO : 0;
}

/* Stores what is to be stored, then passes on everything in the order of the frame. */
static int take_new(publishing *p, evb_record *stored, evb_error *why, evb_error *err) {
    size_t next = 0;
    int rc = store(p, stored, why, err);
    for (; next < p->again.count && p->again.events[next].batch < p->known; next++)
        ;
    for (size_t i = p->known; rc == 0 && i < p->count; i++)
        rc = pass_on(p, i, &next, err);
    return rc;
}

/* ---- replying ---- */

/* The known events of a row: [index, seq], and the version too where versions are answered (0: it is gone). */
static int pack_again(publishing *p, msgpack_packer *packer, const evb_again_event *events, size_t count) {
    evb_record rec;
    evb_error why;
    int rc = msgpack_pack_array(packer, count);
    for (size_t i = 0; !rc && i < count; i++) {
        rc = msgpack_pack_array(packer, p->one_batch ? 3 : 2) || msgpack_pack_uint32(packer, events[i].index) ||
             msgpack_pack_uint64(packer, events[i].seq);
        if (rc || !p->one_batch)
            continue;
        bool found = evb_journal_find(p->hub->journal, events[i].seq, &rec, &why) > 0;
        rc = msgpack_pack_uint64(packer, found ? rec.version + events[i].seq - rec.seq : 0);
    }
    return rc;
}

static int pack_row(publishing *p, msgpack_packer *packer, const row *r, const evb_again_event *events) {
    uint64_t seq = r->seq || !r->again ? r->seq : events->seq;
    int rc = msgpack_pack_array(packer, r->again       ? 5
                                        : p->one_batch ? 4
                                                       : 3) ||
             msgpack_pack_uint64(packer, r->number) || msgpack_pack_uint64(packer, r->batches) ||
             msgpack_pack_uint64(packer, seq);
    if (!rc && (r->again || p->one_batch))
        rc = msgpack_pack_uint64(packer, p->one_batch ? r->version : 0);
    return rc || !r->again ? rc : pack_again(p, packer, events, r->again);
}

static int reply(publishing *p) {
    msgpack_packer packer;
    size_t taken = 0; /* of the known events */
    if (!evb_hub_answer(p->hub, p->request, 1, &packer) || msgpack_pack_array(&packer, p->row_count))
        return EVB_ENOMEM;
    for (size_t i = 0; i < p->row_count; i++) {
        const evb_again_event *events = p->rows[i].again ? p->again.events + taken : NULL;
        if (pack_row(p, &packer, &p->rows[i], events))
            return EVB_ENOMEM;
        taken += p->rows[i].again;
    }
    return 0;
}

/* Takes the frame that was read. *why: a refusal; *err: the end of the hub (EVB_EIO). */
static int take_frame(publishing *p, evb_error *why, evb_error *err) {
    p->rows = malloc((p->count + 1) * sizeof *p->rows);
    evb_record *stored = malloc(p->count * sizeof *stored);
    p->again.hub = p->hub;
    p->again.now_ns = p->request->now_ns;
    int rc = p->rows && stored ? evb_again_begin(&p->again, p->ids) : EVB_ENOMEM;
    rc = rc ? rc : compare(p, why);
    if (rc == 0 && p->known < p->count) {
        rc = sift(p, why);
        rc = rc ? rc : check_version(p, why);
        rc = rc ? rc : take_new(p, stored, why, err);
    }
    rc = rc ? rc : reply(p);
    evb_again_free(&p->again);
    free(stored);
    free(p->rows);
    return rc;
}

/* Reads what is asked of one batch, behind the number of the last acknowledged one. */
static bool read_expected(publishing *p, evb_mp args) {
    if (p->request->arg_count < 2)
        return true;
    p->one_batch = true;
    p->expects = !evb_mp_nil(&args);
    return !p->expects || evb_mp_uint(&args, &p->expected);
}

/* What a frame of one batch must be, beside what every frame is. */
static int check_one_batch(const publishing *p, evb_error *why) {
    if (!p->one_batch)
        return 0;
    if (p->count != 1)
        return evb_fail(why, EVB_EDATA, "an atomic publish is one batch");
    if (p->expects && evb_hub_is_live(p->hub, &p->hub->recs[0]))
        return evb_fail(why, EVB_EDATA, "a topic that is not stored has no version to expect");
    return 0;
}

int evb_hub_publish(evb_hub *self, const evb_request *request, evb_error *err) {
    publishing p = {.hub = self, .request = request};
    evb_mp args = request->args;
    evb_error why = {0};
    err->code = 0;
    if (!evb_mp_uint(&args, &p.acked) || !read_expected(&p, args))
        return evb_hub_refuse(self, request, "usage", "pub: its arguments are a batch number and a version or nil");
    int rc = evb_hub_read_records(self, request, &p.count, &p.ids, &why);
    rc = rc ? rc : check_one_batch(&p, &why);
    rc = rc ? rc : take_frame(&p, &why, err);
    if (rc == 0 || rc == EVB_ENOMEM)
        return rc;
    if (rc == EVB_EIO) {
        if (!err->code)
            *err = why;
        return rc;
    }
    if (rc == EVB_EVERSION)
        return evb_hub_refuse_with(self, request, &why, p.actual);
    return evb_hub_refuse_error(self, request, &why);
}
