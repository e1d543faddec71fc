/* command_log.c: what the journal has of commands: $cmd.TOPIC.asked, and then $cmd.TOPIC.done, .refused or .lost.
 *
 * Invariants: an asked event is appended before the command is handed to anybody, and an outcome in the round in which
 * the caller is told, whose sync is before it. Of a command with an id the asked event is safe before it is handed on:
 * it is what keeps it from being done twice. One without shares the sync of its outcome, or of whatever is stored
 * before: a handler may know its seq a little before it is safe, but what it stores with it comes after it in the
 * journal, and no subscriber sees it before. That halves the time of a round trip. A command's own id is the id of all
 * of its events, so that its asked event and its outcome are found by it, also by a hub that has begun since; the
 * catalog forgets them with its window. Outcomes carry the headers of event/cause.h for the asked event, so `cause`
 * names the command.
 * Leaves to others: who is told (commands.c), how long ids are known (journal/catalog_ids.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "event/record.h"
#include "hub/command.h"

/* The hub itself; its batches are numbered by their seqs, so that each event has an id of its own. */
static const uint8_t NOBODY[EVB_PRODUCER_SIZE];

static size_t event_topic(const evb_service *service, const char *word, char out[EVB_TOPIC_MAX + 1]) {
    return (size_t)snprintf(out, EVB_TOPIC_MAX + 1, "$cmd.%.*s.%s", (int)service->topic_size, service->topic, word);
}

static evb_header header(const char *name, const char *value, size_t size) {
    return (evb_header){name, strlen(name), value, size};
}

static bool is_named(const evb_header *h, const char *name) {
    return h->name_size == strlen(name) && memcmp(h->name, name, h->name_size) == 0;
}

/* Notes the event's id, so that it is found by it. */
static int note_id(evb_hub *hub, const evb_record *rec, const char *id, size_t id_size, int64_t now_ns,
                   evb_error *why) {
    uint8_t key[EVB_ID_KEY];
    if (!id_size)
        return 0;
    evb_id_key(rec->topic, rec->topic_size, id, id_size, key);
    return evb_catalog_id_note(evb_journal_catalog(hub->journal), key, rec->seq, now_ns, why);
}

/* Appends the one record in *record, stamped then, and has a copy fanned out. *seq. later: its sync is that of the
 * next event. */
static int store(evb_hub *hub, const evb_buf *record, uint64_t *seq, const evb_command *command, bool later,
                 int64_t now_ns, evb_error *why) {
    evb_buf copy = {0};
    evb_record rec;
    if (evb_record_parse(record->data, record->size, &rec))
        return evb_fail(why, EVB_EIO, "hub: made a bad record of a command");
    int rc = evb_journal_append(hub->journal, &rec, 1, now_ns, why);
    if (rc)
        return rc;
    hub->appended |= !later;
    *seq = rec.seq;
    rc = note_id(hub, &rec, command->id, command->id_size, now_ns, why);
    if (rc)
        return rc;
    bool ok = evb_buf_add(&copy, record->data, record->size) && !evb_record_parse(copy.data, copy.size, &rec) &&
              (later ? evb_hub_feed_later(hub, &copy) : evb_hub_feed_own(hub, &rec, &copy)) == 0;
    evb_buf_free(&copy);
    return ok ? 0 : evb_fail(why, EVB_ENOMEM, "hub: out of memory");
}

int evb_command_ask(evb_hub *hub, evb_command *command, const evb_event *event, bool quiet, int64_t pid,
                    int64_t now_ns, evb_error *why) {
    evb_header headers[EVB_HEADER_ROOM];
    char topic[EVB_TOPIC_MAX + 1], text[24];
    evb_event asked = *event;
    size_t size = event_topic(command->service, "asked", topic);
    asked.headers = headers;
    asked.header_count = 0;
    for (size_t i = 0; i < event->header_count; i++) /* who asks does not say who asks */
        if (!is_named(&event->headers[i], "asked-pid"))
            headers[asked.header_count++] = event->headers[i];
    if (pid > 0)
        headers[asked.header_count++] =
            header("asked-pid", text, (size_t)snprintf(text, sizeof text, "%" PRId64, pid));
    if (!evb_record_begin(&command->record, topic, size, 0, NOBODY, evb_journal_appended(hub->journal) + 1) ||
        !evb_record_add(&command->record, 0, &asked))
        return evb_fail(why, EVB_ENOMEM, "hub: out of memory");
    int rc = quiet ? 0 : store(hub, &command->record, &command->number, command, !command->id_size, now_ns, why);
    if (rc == 0 && !quiet) {
        asked.seq = command->number;
        evb_cause_of(&asked, &command->cause);
    }
    return rc;
}

/* The headers of an outcome, into out; text has room for the numbers. */
static size_t end_headers(const evb_hub *hub, const evb_command *command, const evb_command_end *end, evb_header *out,
                          char text[2][32]) {
    size_t n = evb_cause_add(&command->cause, out, 0);
    if (command->asked_ns) {
        int size = snprintf(text[0], sizeof text[0], "%.6f", (double)(hub->now_ns - command->asked_ns) / 1e9);
        out[n++] = header("seconds", text[0], (size_t)size);
    }
    if (end->pid > 0)
        out[n++] = header("handler-pid", text[1], (size_t)snprintf(text[1], sizeof text[1], "%" PRId64, end->pid));
    if (end->reason_size)
        out[n++] = header("reason", end->reason, end->reason_size);
    if (strcmp(end->word, "lost") == 0)
        out[n++] = end->untaken ? header("taken", "no", 2) : header("taken", "yes", 3);
    return n;
}

int evb_command_log_end(evb_hub *hub, const evb_command *command, const evb_command_end *end, evb_error *err) {
    evb_header headers[EVB_CAUSE_HEADERS + 4];
    char topic[EVB_TOPIC_MAX + 1], text[2][32];
    evb_error why = {0};
    evb_buf record = {0};
    uint64_t seq;
    if (command->number & EVB_NUMBER_QUIET)
        return 0;
    evb_event event = {.payload = end->answer, .size = end->size, .headers = headers};
    event.header_count = end_headers(hub, command, end, headers, text);
    event.id = command->id_size ? command->id : NULL;
    event.id_size = command->id_size;
    size_t size = event_topic(command->service, end->word, topic);
    int rc = evb_record_begin(&record, topic, size, 0, NOBODY, evb_journal_appended(hub->journal) + 1) &&
                     evb_record_add(&record, 0, &event)
                 ? 0
                 : EVB_ENOMEM;
    rc = rc ? rc : store(hub, &record, &seq, command, false, evb_clock_wall_ns(), &why);
    evb_buf_free(&record);
    if (rc == EVB_ESTORE) {
        evb_log_say(&hub->options.log, "command %" PRIu64 ": cannot store that it was %s: %s", command->number,
                    end->word, why.text);
        return 0;
    }
    return rc ? evb_fail(err, rc, "%s", rc == EVB_ENOMEM ? "hub: out of memory" : why.text) : 0;
}

/* ---- looking back ---- */

/* The seq of the service's event of this word and id; 0: none is known. */
static int look_up(evb_hub *hub, const evb_service *service, const char *word, const char *id, size_t id_size,
                   int64_t now_ns, uint64_t *seq, evb_error *why) {
    char topic[EVB_TOPIC_MAX + 1];
    uint8_t key[EVB_ID_KEY];
    size_t size = event_topic(service, word, topic);
    evb_id_key(topic, size, id, id_size, key);
    return evb_catalog_id(evb_journal_catalog(hub->journal), key, now_ns, seq, why);
}

/* Reads the event at seq, which is its record's first. 1; 0: it is not there any more; or the journal's error. */
static int read_event(evb_hub *hub, uint64_t seq, evb_record *rec, evb_event *event, evb_header *room,
                      evb_error *why) {
    int rc = evb_journal_find(hub->journal, seq, rec, why);
    if (rc <= 0)
        return rc;
    evb_mp cursor = rec->events;
    *event = (evb_event){0};
    if (rec->seq != seq || !evb_record_next(&cursor, event, room))
        return 0;
    event->seq = seq;
    return 1;
}

static const evb_header *find_header(const evb_event *event, const char *name) {
    for (size_t i = 0; i < event->header_count; i++)
        if (is_named(&event->headers[i], name))
            return &event->headers[i];
    return NULL;
}

static bool header_is(const evb_event *event, const char *name, const char *value) {
    const evb_header *h = find_header(event, name);
    return h && h->value_size == strlen(value) && memcmp(h->value, value, h->value_size) == 0;
}

/* The outcome that is stored as seq. */
static int read_end(evb_hub *hub, uint64_t seq, const char *word, evb_recall *out, evb_command_end *end,
                    evb_error *why) {
    evb_header room[EVB_HEADER_ROOM];
    evb_record rec;
    evb_event event;
    int rc = read_event(hub, seq, &rec, &event, room, why);
    *out = rc > 0 ? EVB_RECALL_ENDED : EVB_RECALL_GONE;
    if (rc <= 0)
        return rc;
    const evb_header *reason = find_header(&event, "reason"), *cause = find_header(&event, "cause");
    *end = (evb_command_end){.word = word, .answer = event.payload, .size = event.size, .pid = -1, .again = true};
    if (reason) {
        end->reason = reason->value;
        end->reason_size = reason->value_size;
    }
    if (cause) {
        char text[24] = "";
        memcpy(text, cause->value, cause->value_size < sizeof text ? cause->value_size : 0);
        end->asked = strtoull(text, NULL, 10);
    }
    return 0;
}

/* It was asked as `asked` and has no outcome: unless it is known that nobody took it, it may have been done. */
static int look_at_lost(evb_hub *hub, const evb_service *service, const char *id, size_t id_size, int64_t now_ns,
                        uint64_t asked, evb_recall *out, evb_error *why) {
    evb_header room[EVB_HEADER_ROOM];
    evb_record rec;
    evb_event event;
    uint64_t lost;
    *out = EVB_RECALL_UNKNOWN;
    int rc = look_up(hub, service, "lost", id, id_size, now_ns, &lost, why);
    if (rc || lost < asked)
        return rc;
    rc = read_event(hub, lost, &rec, &event, room, why);
    if (rc > 0 && header_is(&event, "taken", "no"))
        *out = EVB_RECALL_NEW;
    return rc < 0 ? rc : 0;
}

int evb_command_recall(evb_hub *hub, const evb_service *service, const char *id, size_t id_size, int64_t now_ns,
                       evb_recall *out, evb_command_end *end, uint64_t *asked, evb_error *why) {
    static const char *const WORDS[] = {"done", "refused"};
    int rc = 0;
    *out = EVB_RECALL_NEW;
    for (size_t i = 0; rc == 0 && i < sizeof WORDS / sizeof *WORDS; i++) {
        uint64_t seq;
        rc = look_up(hub, service, WORDS[i], id, id_size, now_ns, &seq, why);
        if (rc == 0 && seq)
            return read_end(hub, seq, WORDS[i], out, end, why);
    }
    rc = rc ? rc : look_up(hub, service, "asked", id, id_size, now_ns, asked, why);
    return rc || !*asked ? rc : look_at_lost(hub, service, id, id_size, now_ns, *asked, out, why);
}

/* Whether one of these outcomes is of the command that `cause` names. */
static bool is_among(const evb_buf *records, const char *cause) {
    evb_header room[EVB_HEADER_ROOM];
    evb_record rec;
    for (size_t at = 0; at < records->size; at += rec.size) {
        evb_event event;
        if (evb_record_parse(records->data + at, records->size - at, &rec))
            return false;
        evb_mp cursor = rec.events;
        if (evb_record_next(&cursor, &event, room) && header_is(&event, "cause", cause))
            return true;
    }
    return false;
}

/* Whether an outcome of command `number` is among the events behind it: 1, 0, or the journal's error. It reads the outcomes
 * of its service alone, all that were stored since it was asked: once, when a handler comes back to a hub begun since. */
static int has_outcome(evb_hub *hub, const evb_service *service, uint64_t number, evb_error *why) {
    char done[EVB_TOPIC_MAX + 1], refused[EVB_TOPIC_MAX + 1], cause[24];
    const char *const list[] = {done, refused};
    uint64_t next = number + 1, head = evb_journal_head(hub->journal);
    event_topic(service, "done", done);
    event_topic(service, "refused", refused);
    snprintf(cause, sizeof cause, "%" PRIu64, number);
    evb_patterns *patterns = evb_patterns_new(list, 2, why);
    int rc = patterns ? 0 : EVB_ENOMEM;
    while (rc == 0 && next <= head) {
        hub->scratch.size = 0;
        rc = evb_journal_read(hub->journal, next, head, EVB_FETCH_PIECE, patterns, &hub->scratch, &next, why);
        if (rc == 0 && is_among(&hub->scratch, cause))
            rc = 1;
    }
    evb_patterns_destroy(&patterns);
    return rc;
}

evb_command *evb_command_restore(evb_hub *hub, evb_service *service, uint64_t number, evb_error *why) {
    char topic[EVB_TOPIC_MAX + 1], id[EVB_ID_MAX];
    evb_header room[EVB_HEADER_ROOM];
    evb_record rec;
    evb_event event;
    evb_cause cause;
    size_t size = event_topic(service, "asked", topic);
    if (read_event(hub, number, &rec, &event, room, why) <= 0 || rec.topic_size != size ||
        memcmp(rec.topic, topic, size) != 0 || event.id_size >= sizeof id)
        return NULL;
    evb_cause_of(&event, &cause);
    size_t id_size = event.id ? event.id_size : 0;
    if (id_size)
        memcpy(id, event.id, id_size);
    if (has_outcome(hub, service, number, why) != 0) /* if that cannot be read, better not known than stored twice */
        return NULL;
    evb_command *command = evb_command_new(hub, service, EVB_COMMAND_ORPHAN, number, id, id_size);
    if (command)
        command->cause = cause;
    else
        evb_fail(why, EVB_ENOMEM, "hub: out of memory");
    return command;
}
