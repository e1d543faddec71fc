/* retry.c: "dead.edit": a dead letter's event, edited, goes to its group again, and to nobody else.
 *
 * What the editor has made is another event than the one that others have read on its topic, so it is not put there: it
 * is stored on $retry.GROUP, which no group gets by its patterns, and is pending in this group under a seq of its own.
 * Its header retry-topic is the topic that it is of for a handler (and the lane that it waits in, in an ordered group).
 * Invariants: the letter is off the list only in the round that stored the event; such an entry is `ahead`: it says
 * nothing of what lies before it.
 * Leaves to others: retrying what was not edited (group_admin.c), telling members (groups.c). */
#include "hub/retry.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/cause.h"
#include "hub/dead.h"
#include "hub/group_state.h"
#include "hub/groups.h"
#include "hub/hub_private.h"

enum { OWN_HEADERS = 2, NUMBER_TEXT = 24 };

static bool named(const evb_header *header, const char *name) {
    return header->name_size == strlen(name) && memcmp(header->name, name, header->name_size) == 0;
}

static const evb_header *find(const evb_event *event, const char *name) {
    const evb_header *found = NULL;
    for (size_t i = 0; i < event->header_count; i++)
        if (named(&event->headers[i], name))
            found = &event->headers[i]; /* the hub's own come last */
    return found;
}

bool evb_retry_is(const char *topic, size_t size) {
    return size > sizeof EVB_RETRY_PREFIX - 1 && memcmp(topic, EVB_RETRY_PREFIX, sizeof EVB_RETRY_PREFIX - 1) == 0;
}

evb_header evb_retry_topic(const evb_record *rec) {
    evb_header room[EVB_HEADER_ROOM];
    evb_event event = {0};
    evb_mp cursor = rec->events;
    const evb_header *h = NULL;
    if (evb_retry_is(rec->topic, rec->topic_size) && evb_record_next(&cursor, &event, room))
        h = find(&event, EVB_RETRY_TOPIC);
    return h ? *h : (evb_header){.value = rec->topic, .value_size = rec->topic_size};
}

/* ---- making the event ---- */

/* Whether the header is one that the hub, or a cause, has given the letter, and the retry gets anew or not at all. */
static bool is_of_letter(const evb_header *header) {
    static const char *const NAMES[] = {"dead-topic", "dead-seq", "dead-deliveries", "dead-reason", EVB_RETRY_TOPIC,
                                        "retry-of",   "cause",    "correlation",     "depth"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (named(header, NAMES[i]))
            return true;
    return false;
}

/* The cause of the retry: the event that the letter is of. */
static evb_cause cause_of(const evb_event *letter, uint64_t seq) {
    evb_event event = *letter;
    evb_cause cause;
    event.seq = seq;
    evb_cause_of(&event, &cause);
    return cause;
}

/* Writes the record of the retry of `letter`, read from the journal with its headers, into *out. */
static int write_retry(const evb_group *group, const evb_letter *letter, const evb_event *old, const void *payload,
                       size_t size, evb_buf *out, evb_error *why) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    evb_header list[EVB_HEADER_ROOM + OWN_HEADERS + EVB_CAUSE_HEADERS];
    char topic[EVB_TOPIC_MAX], of[NUMBER_TEXT], id[EVB_ID_MAX];
    const evb_header *first = find(old, "dead-topic");
    evb_cause cause = cause_of(old, evb_key_seq(letter->key));
    size_t n = 0;
    if (!first)
        return evb_fail(why, EVB_EDAMAGED, "seq %" PRIu64 " is no dead letter", letter->seq);
    for (size_t i = 0; i < old->header_count; i++)
        if (!is_of_letter(&old->headers[i]))
            list[n++] = old->headers[i];
    snprintf(of, sizeof of, "%" PRIu64, letter->seq);
    list[n++] = (evb_header){EVB_RETRY_TOPIC, strlen(EVB_RETRY_TOPIC), first->value, first->value_size};
    list[n++] = (evb_header){"retry-of", 8, of, strlen(of)};
    n = evb_cause_add(&cause, list, n);
    int topic_size = snprintf(topic, sizeof topic, EVB_RETRY_PREFIX "%s", group->name);
    int id_size = snprintf(id, sizeof id, "retry-%s", of);
    const evb_event event = {
        .payload = payload, .size = size, .headers = list, .header_count = n, .id = id, .id_size = (size_t)id_size};
    bool ok = evb_record_begin(out, topic, (size_t)topic_size, 0, nobody, 0) && evb_record_add(out, 0, &event);
    return ok ? 0 : evb_fail(why, EVB_ENOMEM, "hub: out of memory");
}

/* Reads the letter and writes its retry into *out. EVB_EGONE: it is not in the journal any more. */
static int make_retry(evb_hub *hub, const evb_group *group, const evb_letter *letter, const evb_request *request,
                      evb_buf *out, evb_error *why) {
    evb_header room[EVB_HEADER_ROOM];
    evb_event old = {0};
    evb_record rec;
    uint64_t next;
    hub->scratch.size = 0;
    int rc = evb_journal_read(hub->journal, letter->seq, letter->seq, 1, NULL, &hub->scratch, &next, why);
    if (rc)
        return rc;
    if (!hub->scratch.size || evb_record_parse(hub->scratch.data, hub->scratch.size, &rec))
        return evb_fail(why, EVB_EGONE, "dead letter %" PRIu64 " is gone from the journal", letter->seq);
    evb_mp cursor = rec.events;
    if (!evb_record_next(&cursor, &old, room))
        return evb_fail(why, EVB_EDAMAGED, "dead letter %" PRIu64 " cannot be read", letter->seq);
    return write_retry(group, letter, &old, request->body, request->body_size, out, why);
}

/* ---- taking it on ---- */

/* The stored event waits in the group. False: out of memory. */
static bool take_on(evb_hub *hub, evb_group *group, const evb_record *rec) {
    evb_header topic = evb_retry_topic(rec);
    evb_entry *e = evb_pending_add(&group->pending, rec->seq, rec->seq, 0,
                                   group->settings.ordered ? topic.value : NULL, topic.value_size);
    if (!e)
        return false;
    e->ahead = true;
    return evb_note_entry(hub, group, e);
}

/* Stores the retry, takes it on and the letter off. EVB_ESTORE: nothing has changed; EVB_EIO, EVB_ENOMEM end the hub. */
static int store(evb_hub *hub, evb_group *group, uint64_t letter, evb_buf *record, uint64_t *seq, evb_error *why) {
    evb_record rec;
    if (evb_record_parse(record->data, record->size, &rec))
        return evb_fail(why, EVB_EIO, "hub: made a bad record of a retry");
    int rc = evb_journal_append(hub->journal, &rec, 1, evb_clock_wall_ns(), why);
    if (rc)
        return rc;
    hub->appended = true;
    *seq = rec.seq;
    evb_dead_remove(group, letter);
    bool ok =
        take_on(hub, group, &rec) && evb_note_letter_done(hub, group, letter) && !evb_hub_feed_own(hub, &rec, record);
    return ok ? 0 : evb_fail(why, EVB_ENOMEM, "hub: out of memory");
}

static const evb_letter *find_letter(const evb_group *group, uint64_t seq) {
    for (size_t i = 0; i < group->letter_count; i++)
        if (group->letters[i].seq == seq)
            return &group->letters[i];
    return NULL;
}

/* [group, seq of the letter], and the payload as the body -> [seq of the retry] */
int evb_hub_dead_edit(evb_hub *hub, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    evb_buf record = {0};
    msgpack_packer p;
    uint64_t seq = 0, retry = 0;
    evb_group *group = evb_groups_named(hub, &args, &why);
    if (group && (!evb_mp_uint(&args, &seq) || !request->body_size))
        evb_fail(&why, EVB_EINVAL, "dead.edit: its arguments are a group and a seq, its body is the payload");
    else if (group && request->body_size > hub->options.max_payload)
        evb_fail(&why, EVB_EDATA, "the payload is larger than %zu bytes", hub->options.max_payload);
    const evb_letter *letter = why.code ? NULL : find_letter(group, seq);
    if (!why.code && !letter)
        evb_fail(&why, EVB_EGONE, "group %s has no dead letter of seq %" PRIu64, group->name, seq);
    int rc = why.code ? why.code : make_retry(hub, group, letter, request, &record, &why);
    if (rc)
        evb_buf_free(&record);
    if (rc)
        return rc == EVB_ENOMEM ? rc : evb_hub_refuse_error(hub, request, &why);
    rc = store(hub, group, seq, &record, &retry, &why);
    evb_buf_free(&record);
    if (rc == EVB_EIO || rc == EVB_ENOMEM)
        return evb_fail(err, rc, "%s", why.text);
    if (rc)
        return evb_hub_refuse_error(hub, request, &why);
    return evb_hub_answer_firm(hub, request, 1, &p) && !msgpack_pack_uint64(&p, retry) ? 0 : EVB_ENOMEM;
}
