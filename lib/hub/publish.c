/* publish.c: the request "pub": is this frame in order and well formed, what of it is new, and what to answer.
 *
 * Invariants: a frame is stored whole or not at all; a producer's batches are stored in the order of their numbers,
 * each once: a batch is taken when its number follows the last one stored (or, for a producer not known any more, the
 * one that it says was acknowledged last), and one stored before is answered with the seqs that it got then.
 * Leaves to others: seqs and versions (journal.c), what the numbers stand for over restarts (catalog.c). */
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "hub/hub_private.h"

enum { LIVE_TOPICS_MAX = 64 * 1024 };

/* How many live events a topic has had since the hub began to count them. */
typedef struct {
    uint64_t count;
    size_t size;
    char topic[];
} live_count;

/* A publish under way. */
typedef struct {
    evb_hub *hub;
    const evb_request *request;
    uint64_t acked; /* as the producer says */
    bool one_batch; /* the frame is to be one batch, and its version is answered */
    bool expects;   /* and is stored only if its topic stands at `expected` */
    uint64_t expected;
    size_t count;  /* of hub->recs */
    size_t known;  /* the first so many were stored before */
    evb_run *runs; /* the answer */
    size_t run_count;
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
static const char *record_fault(const evb_hub *hub, const evb_record *rec) {
    const char *fault = evb_topic_fault(rec->topic, rec->topic_size);
    if (fault)
        return fault;
    if (evb_topic_reserved(rec->topic, rec->topic_size))
        return "tokens that start with '$' belong to the hub";
    return evb_record_check_events(rec, hub->options.max_payload);
}

/* Takes the body apart into hub->recs. EVB_EDATA and why, EVB_ENOMEM. */
static int read_frame(publishing *p, evb_error *why) {
    evb_hub *hub = p->hub;
    uint8_t *at = p->request->body, *end = at + p->request->body_size;
    for (p->count = 0; at < end; p->count++) {
        if (!room_for_record(hub, p->count))
            return EVB_ENOMEM;
        evb_record *rec = &hub->recs[p->count];
        const char *fault = evb_record_parse(at, (size_t)(end - at), rec);
        if (!fault && !(fault = record_fault(hub, rec)) && p->count) {
            const evb_record *before = rec - 1;
            if (memcmp(rec->producer, before->producer, EVB_PRODUCER_SIZE) != 0 ||
                rec->producer_seq != before->producer_seq + 1)
                fault = "its batches are not consecutive ones of one producer";
        }
        if (fault)
            return evb_fail(why, EVB_EDATA, "batch %zu: %s", p->count + 1, fault);
        at += rec->size;
    }
    return p->count ? 0 : evb_fail(why, EVB_EDATA, "a frame without batches");
}

static bool is_live(const evb_hub *hub, const evb_record *rec) {
    return (rec->flags & EVB_FLAG_LIVE) ||
           (hub->options.live && evb_patterns_match(hub->options.live, rec->topic, rec->topic_size));
}

/* ---- what was stored before ---- */

static void add_run(publishing *p, uint64_t number, uint64_t batches, uint64_t seq) {
    p->runs[p->run_count++] = (evb_run){.number = number, .batches = batches, .seq = seq};
}

/* The seq of batch `number` within a run of the producer's. */
static int seq_in_run(evb_hub *hub, const evb_run *run, uint64_t number, uint64_t *seq, evb_error *why) {
    *seq = run->seq;
    return run->seq ? evb_journal_skip(hub->journal, run->seq, number - run->number, seq, why) : 0;
}

/* Answers the batches up to and with number `last`, which were stored before, from what is remembered of them. */
static int answer_known(publishing *p, const evb_producer *producer, uint64_t last, evb_error *why) {
    uint64_t number = p->hub->recs[0].producer_seq;
    for (uint32_t i = 0; i < producer->run_count && number <= last; i++) {
        const evb_run *run = &producer->runs[i];
        uint64_t end = run->number + run->batches;
        if (number < run->number || number >= end)
            continue;
        uint64_t seq, batches = (end <= last ? end : last + 1) - number;
        int rc = seq_in_run(p->hub, run, number, &seq, why);
        if (rc)
            return rc;
        add_run(p, number, batches, seq);
        p->known += (size_t)batches;
        number += batches;
    }
    return number > last ? 0 : evb_fail(why, EVB_EDATA, "batches sent again that are no longer remembered");
}

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
        return answer_known(p, producer, frame_last < last ? frame_last : last, why);
    return 0;
}

/* Whether the topic stands at the version that the publisher expects. EVB_EVERSION: it does not. */
static int check_version(publishing *p, evb_error *why) {
    const evb_record *rec = &p->hub->recs[0];
    evb_catalog *catalog = evb_journal_catalog(p->hub->journal);
    int rc = p->expects ? evb_catalog_reserve(catalog, 1, why) : 0;
    if (rc || !p->expects)
        return rc;
    const evb_topic_state *state = evb_catalog_topic(catalog, rec->topic, rec->topic_size, why);
    if (!state)
        return why->code;
    if (state->version == p->expected)
        return 0;
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
        if (!is_live(p->hub, &p->hub->recs[i]))
            stored[n++] = p->hub->recs[i];
    return n;
}

/* Adds a batch to the answer: to its last run when it goes on there. */
static void answer_batch(publishing *p, const evb_record *rec) {
    evb_run *run = p->run_count > 0 ? &p->runs[p->run_count - 1] : NULL;
    bool follows = run && run->number + run->batches == rec->producer_seq && run->end && run->end == rec->seq;
    bool live_too = run && run->number + run->batches == rec->producer_seq && !run->seq && !rec->seq;
    if (follows || live_too)
        run->batches++;
    else
        add_run(p, rec->producer_seq, 1, rec->seq);
    p->runs[p->run_count - 1].end = rec->seq ? rec->seq + rec->count : 0;
}

/* Fans out one new batch, takes it into the answer and remembers its producer. Every error ends the hub. */
static int pass_on(publishing *p, const evb_record *rec, evb_error *err) {
    answer_batch(p, rec);
    if (evb_hub_feed(p->hub, rec))
        return EVB_ENOMEM;
    return evb_catalog_producer_note(evb_journal_catalog(p->hub->journal), rec->producer, rec->producer_seq, rec->seq,
                                     rec->seq ? rec->seq + rec->count : 0, p->request->now_ns, err);
}

static int stamp_live(publishing *p, evb_record *rec) {
    uint64_t before;
    if (count_live(p->hub, rec, &before))
        return EVB_ENOMEM;
    evb_record_set_live(rec);
    evb_record_stamp(rec, 0, 0, before + 1, p->request->now_ns);
    return 0;
}

/* Stores what is to be stored, then passes on everything in the order of the frame. */
static int take_new(publishing *p, evb_record *stored, evb_error *why, evb_error *err) {
    size_t n = pick_stored(p, stored), next = 0;
    int rc = n ? evb_journal_append(p->hub->journal, stored, n, p->request->now_ns, why) : 0;
    if (rc)
        return rc;
    p->hub->appended |= n > 0;
    for (size_t i = p->known; i < p->count; i++) {
        evb_record *rec = &p->hub->recs[i];
        if (next < n && stored[next].record == rec->record)
            *rec = stored[next++];
        else if (stamp_live(p, rec))
            return evb_fail(err, EVB_EIO, "hub: out of memory");
        if (pass_on(p, rec, err))
            return EVB_EIO;
    }
    return 0;
}

/* The version of the frame's one batch, which was stored now or, then looked up, before. */
static int version_of(publishing *p, uint64_t *version, evb_error *why) {
    evb_buf record = {0};
    evb_record rec;
    uint64_t seq = p->runs[0].seq, next;
    *version = p->hub->recs[0].version;
    if (!p->known || !seq)
        return 0;
    int rc = evb_journal_read(p->hub->journal, seq, seq, 1, NULL, &record, &next, why);
    if (rc == 0 && evb_record_parse(record.data, record.size, &rec) == NULL)
        *version = rec.version;
    evb_buf_free(&record);
    return rc;
}

static int reply_batch(publishing *p, evb_error *why) {
    msgpack_packer packer;
    uint64_t version;
    int rc = version_of(p, &version, why);
    if (rc)
        return rc;
    if (!evb_hub_answer(p->hub, p->request, 1, &packer) || msgpack_pack_array(&packer, 1) ||
        msgpack_pack_array(&packer, 4) || msgpack_pack_uint64(&packer, p->runs[0].number) ||
        msgpack_pack_uint64(&packer, 1) || msgpack_pack_uint64(&packer, p->runs[0].seq) ||
        msgpack_pack_uint64(&packer, version))
        return EVB_ENOMEM;
    return 0;
}

static int reply_runs(publishing *p) {
    msgpack_packer packer;
    if (!evb_hub_answer(p->hub, p->request, 1, &packer) || msgpack_pack_array(&packer, p->run_count))
        return EVB_ENOMEM;
    for (size_t i = 0; i < p->run_count; i++)
        if (msgpack_pack_array(&packer, 3) || msgpack_pack_uint64(&packer, p->runs[i].number) ||
            msgpack_pack_uint64(&packer, p->runs[i].batches) || msgpack_pack_uint64(&packer, p->runs[i].seq))
            return EVB_ENOMEM;
    return 0;
}

/* Takes the frame that read_frame has read. *why: a refusal; *err: the end of the hub (EVB_EIO). */
static int take_frame(publishing *p, evb_error *why, evb_error *err) {
    p->runs = malloc((p->count + 1) * sizeof *p->runs);
    evb_record *stored = malloc(p->count * sizeof *stored);
    int rc = p->runs && stored ? compare(p, why) : EVB_ENOMEM;
    if (rc == 0 && p->known < p->count)
        rc = check_version(p, why);
    if (rc == 0 && p->known < p->count)
        rc = take_new(p, stored, why, err);
    if (rc == 0)
        rc = p->one_batch ? reply_batch(p, why) : reply_runs(p);
    free(stored);
    free(p->runs);
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
    if (p->expects && is_live(p->hub, &p->hub->recs[0]))
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
    int rc = read_frame(&p, &why);
    rc = rc ? rc : check_one_batch(&p, &why);
    rc = rc ? rc : take_frame(&p, &why, err);
    if (rc == 0 || rc == EVB_ENOMEM)
        return rc;
    if (rc == EVB_EIO) {
        if (!err->code)
            *err = why;
        return rc;
    }
    return evb_hub_refuse_error(self, request, &why);
}
