/* attempt.c: keeping what a member says of an attempt in vain, for who looks into it later.
 *
 * The attempts of one event are the events of one topic, $failed.GROUP.SEQ, in their order; an attempt stands before
 * the dead letter that it led to. They are for people: nothing that a group does depends on them, so that a full disk
 * costs an attempt and not the acknowledgement that came with it.
 * Leaves to others: what becomes of the event (group.c, dead.c), who may ask (groups.c). */
#include "hub/attempt.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "hub/hub_private.h"
#include "hub/retry.h"

enum { HEADERS = 7, NUMBER_TEXT = 32 };

static bool is(const char *name, size_t size, const char *what) {
    return size == strlen(what) && memcmp(name, what, size) == 0;
}

static bool read_member(evb_mp *mp, evb_attempt_said *out) {
    const char *name;
    size_t size;
    if (!evb_mp_str(mp, &name, &size))
        return false;
    if (is(name, size, "begun_ns"))
        return evb_mp_uint(mp, &out->begun_ns) && out->begun_ns <= INT64_MAX;
    if (is(name, size, "took_ns"))
        return evb_mp_uint(mp, &out->took_ns);
    if (is(name, size, "exit"))
        return evb_mp_uint(mp, &out->exit);
    if (is(name, size, "signal"))
        return evb_mp_uint(mp, &out->signal);
    if (is(name, size, "output"))
        return evb_mp_bin(mp, &out->output, &out->size);
    return evb_mp_skip(mp);
}

bool evb_attempt_read(evb_mp *mp, evb_attempt_said *out) {
    uint32_t count;
    *out = (evb_attempt_said){0};
    if (!evb_mp_map(mp, &count))
        return false;
    while (count--)
        if (!read_member(mp, out))
            return false;
    if (out->size > EVB_OUTPUT_MAX) {
        out->output += out->size - EVB_OUTPUT_MAX;
        out->size = EVB_OUTPUT_MAX;
    }
    return true;
}

/* The event's headers as they are made, with the text of those that are numbers. */
typedef struct {
    evb_header list[HEADERS];
    size_t count;
    char seq[NUMBER_TEXT], deliveries[NUMBER_TEXT], began[EVB_TIME_TEXT], seconds[NUMBER_TEXT], end[NUMBER_TEXT];
} headers;

static void add(headers *h, const char *name, const char *value, size_t size) {
    h->list[h->count++] = (evb_header){name, strlen(name), value, size};
}

static void add_text(headers *h, const char *name, const char *value) { add(h, name, value, strlen(value)); }

static void make_headers(headers *h, uint64_t seq, uint32_t deliveries, const char *reason,
                         const evb_attempt_said *said) {
    snprintf(h->seq, sizeof h->seq, "%" PRIu64, seq);
    snprintf(h->deliveries, sizeof h->deliveries, "%" PRIu32, deliveries);
    evb_time_text((int64_t)said->begun_ns, h->began);
    snprintf(h->seconds, sizeof h->seconds, "%.3f", (double)said->took_ns / 1e9);
    snprintf(h->end, sizeof h->end, "%" PRIu64, said->signal ? said->signal : said->exit);
    add_text(h, "failed-seq", h->seq);
    add_text(h, "attempt", h->deliveries);
    add_text(h, "reason", reason);
    add_text(h, "began", h->began);
    add_text(h, "seconds", h->seconds);
    add_text(h, said->signal ? "signal" : "exit", h->end);
}

/* Writes the attempt's record into *out. False: out of memory. */
static bool write_attempt(const evb_group *group, uint64_t seq, headers *h, const evb_attempt_said *said,
                          evb_buf *out) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    char topic[EVB_TOPIC_MAX];
    int size = snprintf(topic, sizeof topic, EVB_FAILED_PREFIX "%s.%" PRIu64, group->name, seq);
    const evb_event event = {
        .payload = said->output, .size = said->size, .headers = h->list, .header_count = h->count};
    return evb_record_begin(out, topic, (size_t)size, 0, nobody, 0) && evb_record_add(out, 0, &event);
}

/* Stores what write_attempt wrote, and has it fanned out. EVB_ESTORE: there is no room. */
static int store(evb_hub *hub, evb_buf *record, evb_error *err) {
    evb_record rec;
    if (evb_record_parse(record->data, record->size, &rec))
        return evb_fail(err, EVB_EIO, "hub: made a bad record of an attempt");
    int rc = evb_journal_append(hub->journal, &rec, 1, evb_clock_wall_ns(), err);
    if (rc)
        return rc;
    hub->appended = true;
    return evb_hub_feed_own(hub, &rec, record) ? evb_fail(err, EVB_ENOMEM, "hub: out of memory") : 0;
}

/* There is no room: said for the first of a row. */
static void drop(evb_hub *hub, evb_group *group, uint64_t seq, const evb_error *why) {
    if (!group->drops_attempts)
        evb_log_say(&hub->options.log, "group %s: cannot keep how seq %" PRIu64 " failed: %s", group->name, seq,
                    why->text);
    group->drops_attempts = true;
}

int evb_attempt_store(evb_hub *hub, evb_group *group, const evb_member *member, uint64_t key, const char *reason,
                      const evb_attempt_said *said, evb_error *err) {
    const evb_entry *e = evb_pending_from(&group->pending, key);
    uint64_t seq = evb_key_seq(key);
    evb_error why = {0};
    evb_buf record = {0};
    evb_record rec;
    headers h = {.count = 0};
    if (!e || e->first > key || e->holder != &member->holder)
        return 0;
    if (evb_journal_find(hub->journal, seq, &rec, &why) > 0) {
        evb_header topic = evb_retry_topic(&rec);
        add(&h, "failed-topic", topic.value, topic.value_size);
    }
    make_headers(&h, seq, e->deliveries, reason, said);
    bool ok = write_attempt(group, seq, &h, said, &record);
    int rc = ok ? store(hub, &record, &why) : evb_fail(&why, EVB_ENOMEM, "hub: out of memory");
    evb_buf_free(&record);
    if (rc == EVB_ESTORE)
        drop(hub, group, seq, &why);
    else
        group->drops_attempts = false;
    return rc == 0 || rc == EVB_ESTORE ? 0 : evb_fail(err, rc, "%s", why.text);
}
