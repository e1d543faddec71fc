/* replay.c: the requests that only look: "fetch", "seek", "producer", "topics".
 *
 * Each answer is bounded, by bytes or by a page, so that no reader keeps the hub from the others for long.
 * Leaves to others: finding the records (journal/reading.c) and the topics (journal/catalog.c). */
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "hub/hub_private.h"

bool evb_hub_read_patterns(evb_mp *args, evb_patterns **out, evb_error *why) {
    uint32_t count;
    const char *text;
    size_t size;
    *out = NULL;
    if (!evb_mp_array(args, &count) || count > EVB_PATTERNS_MAX) {
        evb_fail(why, EVB_EINVAL, "the patterns are an array of at most %d", EVB_PATTERNS_MAX);
        return false;
    }
    *out = evb_patterns_new(NULL, 0, why);
    for (uint32_t i = 0; *out && i < count; i++) {
        if (!evb_mp_str(args, &text, &size))
            evb_fail(why, EVB_EINVAL, "a pattern is a string");
        else if (evb_patterns_add(*out, text, size, why) == 0)
            continue;
        evb_patterns_destroy(out);
    }
    return *out != NULL;
}

typedef struct {
    uint64_t from, to, max, flags;
    evb_patterns *patterns;
} fetch;

static bool read_fetch(const evb_request *request, fetch *f, evb_error *why) {
    evb_mp args = request->args;
    if (!evb_mp_uint(&args, &f->from) || !f->from || !evb_mp_uint(&args, &f->to) || !evb_mp_uint(&args, &f->max)) {
        evb_fail(why, EVB_EINVAL, "fetch: its arguments are from (1 or more), to, bytes, patterns and flags");
        return false;
    }
    if (!evb_hub_read_patterns(&args, &f->patterns, why))
        return false;
    if (request->arg_count < 5 || evb_mp_nil(&args) || evb_mp_uint(&args, &f->flags))
        return true;
    evb_patterns_destroy(&f->patterns);
    evb_fail(why, EVB_EINVAL, "fetch: its flags are a number");
    return false;
}

/* Whether the one event that is asked for, which was there once, is gone: nothing but itself counts then. */
static bool one_gone(evb_hub *self, const fetch *f) {
    evb_record rec;
    evb_error why;
    int rc = evb_journal_find(self->journal, f->from, &rec, &why);
    return rc == 0 || (rc > 0 && !evb_journal_last(self->journal, rec.topic, rec.topic_size, f->from));
}

/* Whether something that the patterns may match is missing at or behind f->from. *first: from where nothing is. */
static bool is_gone(evb_hub *self, const fetch *f, uint64_t head, uint64_t *first) {
    *first = evb_journal_left(self->journal, f->patterns, f->from);
    if (f->from < evb_journal_first(self->journal))
        return true;
    if ((f->flags & EVB_FETCH_LENIENT) || f->from > f->to || f->from > head || *first == f->from)
        return false;
    return f->from < f->to || one_gone(self, f);
}

static int reply_fetch(evb_hub *self, const evb_request *request, uint64_t next, evb_buf *records) {
    msgpack_packer packer;
    evb_action *reply = evb_hub_answer(self, request, 3, &packer);
    if (!reply || msgpack_pack_uint64(&packer, next) ||
        msgpack_pack_uint64(&packer, evb_journal_head(self->journal)) ||
        msgpack_pack_uint64(&packer, evb_journal_first(self->journal))) {
        evb_buf_free(records);
        return EVB_ENOMEM;
    }
    /* Else a reader would get one piece a sync, and fall behind where syncs are slow. */
    reply->early = self->early = true;
    size_t size = records->size, extra = size > EVB_FETCH_DEFAULT ? size - EVB_FETCH_DEFAULT : 0;
    self->spare -= extra < self->spare ? extra : self->spare;
    self->answered += size;
    reply->has_body = true;
    reply->body = *records;
    return 0;
}

/* How many bytes a fetch may bring: more than the default as long as there is memory to spare. */
static size_t fetch_most(const evb_hub *self) {
    size_t more = EVB_FETCH_MOST - EVB_FETCH_DEFAULT;
    return EVB_FETCH_DEFAULT + (self->spare < more ? self->spare : more);
}

int evb_hub_fetch(evb_hub *self, const evb_request *request, evb_error *err) {
    fetch f = {0};
    evb_error why = {0};
    evb_buf records = {0};
    uint64_t head = evb_journal_head(self->journal), first;
    (void)err;
    if (!read_fetch(request, &f, &why))
        return evb_hub_refuse_error(self, request, &why);
    if (f.to == 0 || f.to > head)
        f.to = head;
    if (f.max > fetch_most(self))
        f.max = fetch_most(self);
    uint64_t next = f.from;
    int rc = 0;
    if (is_gone(self, &f, head, &first))
        rc = evb_fail(&why, EVB_EGONE, "events before seq %" PRIu64 " are gone: trimmed, purged or expired", first);
    else if (f.from <= f.to)
        rc = evb_journal_read(self->journal, f.from, f.to, (size_t)f.max, f.patterns, &records, &next, &why);
    evb_patterns_destroy(&f.patterns);
    if (rc == 0)
        return reply_fetch(self, request, next, &records);
    evb_buf_free(&records);
    return rc == EVB_EGONE ? evb_hub_refuse_with(self, request, &why, first)
                           : evb_hub_refuse_error(self, request, &why);
}

int evb_hub_seek(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer packer;
    uint64_t time_ns, seq;
    (void)err;
    if (!evb_mp_uint(&args, &time_ns) || time_ns > INT64_MAX)
        return evb_hub_refuse(self, request, "usage", "seek: its argument is a time in ns");
    if (evb_journal_seek_time(self->journal, (int64_t)time_ns, &seq, &why))
        return evb_hub_refuse_error(self, request, &why);
    return evb_hub_answer(self, request, 1, &packer) && !msgpack_pack_uint64(&packer, seq) ? 0 : EVB_ENOMEM;
}

int evb_hub_producer(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer packer;
    const uint8_t *id;
    size_t size;
    (void)err;
    if (!evb_mp_bin(&args, &id, &size) || size != EVB_PRODUCER_SIZE)
        return evb_hub_refuse(self, request, "usage", "producer: its argument is a producer's id of 16 bytes");
    const evb_producer *producer = evb_catalog_producer(evb_journal_catalog(self->journal), id, &why);
    if (why.code)
        return evb_hub_refuse_error(self, request, &why);
    uint64_t last = producer ? producer->last : 0;
    return evb_hub_answer(self, request, 1, &packer) && !msgpack_pack_uint64(&packer, last) ? 0 : EVB_ENOMEM;
}

/* A page of topics, packed as it is found: the rows, and how many. */
typedef struct {
    const evb_journal *journal;
    evb_buf rows;
    msgpack_packer packer;
    uint32_t count;
    uint64_t limit;
    bool failed;
} page;

static int add_topic(void *context, const char *topic, size_t size, const evb_topic_state *state) {
    page *p = context;
    if (msgpack_pack_array(&p->packer, 6) || evb_mp_pack_str(&p->packer, topic, size) ||
        msgpack_pack_uint64(&p->packer, evb_journal_last(p->journal, topic, size, state->last)) ||
        msgpack_pack_uint64(&p->packer, state->version) || msgpack_pack_uint64(&p->packer, state->version) ||
        msgpack_pack_uint64(&p->packer, state->bytes) || msgpack_pack_int64(&p->packer, state->time_ns)) {
        p->failed = true;
        return -1;
    }
    return ++p->count >= p->limit;
}

static int reply_topics(evb_hub *self, const evb_request *request, page *p, const char *next, size_t next_size) {
    msgpack_packer packer;
    evb_action *reply = p->failed ? NULL : evb_hub_answer(self, request, 2, &packer);
    int rc = !reply || (next_size ? evb_mp_pack_str(&packer, next, next_size) : msgpack_pack_nil(&packer)) ||
             msgpack_pack_array(&packer, p->count) || !evb_buf_add(&reply->head, p->rows.data, p->rows.size);
    return rc ? EVB_ENOMEM : 0;
}

int evb_hub_topics(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    evb_patterns *patterns = NULL;
    const char *after;
    size_t after_size, next_size = 0;
    char next[EVB_TOPIC_MAX];
    page p = {.journal = self->journal};
    (void)err;
    if (!evb_mp_str(&args, &after, &after_size) || after_size > EVB_TOPIC_MAX || !evb_mp_uint(&args, &p.limit))
        return evb_hub_refuse(self, request, "usage", "topics: its arguments are a topic, a limit and patterns");
    if (!evb_hub_read_patterns(&args, &patterns, &why))
        return evb_hub_refuse_error(self, request, &why);
    if (!p.limit || p.limit > EVB_TOPICS_PAGE_MAX)
        p.limit = EVB_TOPICS_PAGE_MAX;
    evb_mp_packer(&p.packer, &p.rows);
    int rc = evb_catalog_topics(evb_journal_catalog(self->journal), after, after_size, EVB_TOPICS_PAGE_MAX, patterns,
                                add_topic, &p, next, &next_size, &why);
    evb_patterns_destroy(&patterns);
    rc = rc ? evb_hub_refuse_error(self, request, &why) : reply_topics(self, request, &p, next, next_size);
    evb_buf_free(&p.rows);
    return rc;
}
