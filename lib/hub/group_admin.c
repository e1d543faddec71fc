/* group_admin.c: the requests of those who look after groups: list, pause, reset, delete, replay; dead letters:
 * list, retry, drop.
 *
 * Leaves to others: what members ask (groups.c), making dead letters (dead.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "hub/dead.h"
#include "hub/group_state.h"
#include "hub/groups.h"
#include "hub/hub_private.h"
#include "hub/retry.h"

enum { DEAD_PAGE_MAX = 1000, COUNT_READS = 64 };
#define UNCOUNTED UINT64_MAX

static int refuse(evb_hub *self, const evb_request *request, const evb_error *why) {
    return why->code == EVB_ENOMEM ? EVB_ENOMEM : evb_hub_refuse_error(self, request, why);
}

/* ---- the list ---- */

static size_t count_members(const evb_group *group) {
    const evb_member *m;
    size_t n = 0;
    TAILQ_FOREACH (m, &group->members, link)
        n++;
    return n;
}

/* Why the group stands still, or NULL. */
static const char *stalled(const evb_hub *self, const evb_group *group) {
    const evb_member *m;
    bool work = group->next <= evb_journal_head(self->journal) || group->pending.waiting_events;
    if (group->fault[0])
        return group->fault;
    if (!work)
        return NULL;
    if (group->paused)
        return "paused";
    if (group->hungry)
        return NULL;
    if (TAILQ_EMPTY(&group->members))
        return "no members";
    TAILQ_FOREACH (m, &group->members, link) {
        if (m->holder.events < group->settings.max_pending)
            return NULL;
    }
    return "each member has --max-pending events in hand";
}

static bool pack_number(msgpack_packer *p, const char *name, uint64_t value) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !msgpack_pack_uint64(p, value);
}

static bool pack_patterns(msgpack_packer *p, const evb_patterns *patterns) {
    size_t count = evb_patterns_count(patterns), size;
    bool ok = !evb_mp_pack_str(p, "patterns", 8) && !msgpack_pack_array(p, count);
    for (size_t i = 0; ok && i < count; i++) {
        const char *text = evb_patterns_get(patterns, i, &size);
        ok = !evb_mp_pack_str(p, text, size);
    }
    return ok;
}

static bool pack_flag(msgpack_packer *p, const char *name, bool value) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !(value ? msgpack_pack_true(p) : msgpack_pack_false(p));
}

static bool pack_reason(msgpack_packer *p, const char *name, const char *text) {
    return !evb_mp_pack_str(p, name, strlen(name)) &&
           !(text && *text ? evb_mp_pack_str(p, text, strlen(text)) : msgpack_pack_nil(p));
}

static bool pack_settings(msgpack_packer *p, const evb_group_settings *s) {
    bool ok = pack_flag(p, "ordered", s->ordered) && pack_flag(p, "listener", s->listener) &&
              pack_number(p, "ack_wait_ns", (uint64_t)s->ack_wait_ns) &&
              pack_number(p, "max_deliver", s->max_deliver) && pack_number(p, "max_pending", s->max_pending) &&
              !evb_mp_pack_str(p, "backoff_ns", 10) && !msgpack_pack_array(p, s->backoff_count);
    for (uint32_t i = 0; ok && i < s->backoff_count; i++)
        ok = !msgpack_pack_uint64(p, (uint64_t)s->backoff_ns[i]);
    return ok;
}

static bool pack_group(const evb_hub *self, const evb_group *group, msgpack_packer *p) {
    uint64_t floor = evb_group_floor(group), head = evb_journal_head(self->journal);
    const evb_group_replay *r = &group->replay;
    evb_report report;
    evb_reports_sum(self, group, &report);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"members", count_members(group)},
                {"next", group->next},
                {"floor", floor},
                {"lag", head > floor ? head - floor : 0},
                {"pending", group->pending.events},
                {"in_hand", group->pending.in_hand_events},
                {"waiting", group->pending.waiting_events},
                {"held", group->pending.held_events},
                {"redelivered", group->redelivered},
                {"acked", group->acked},
                {"dead", group->letter_count},
                {"lost", group->lost},
                {"replay_left", r->next <= r->to ? r->to - r->next + 1 : 0},
                {"runs", report.runs},
                {"failures", report.failures},
                {"last_error_ns", (uint64_t)report.last_error_ns},
                {"created_ns", (uint64_t)group->created_ns}};
    const uint32_t count = sizeof rows / sizeof *rows;
    bool ok = !msgpack_pack_map(p, count + 11) && !evb_mp_pack_str(p, "name", 4) &&
              !evb_mp_pack_str(p, group->name, group->name_size) && pack_patterns(p, group->patterns) &&
              pack_settings(p, &group->settings) && pack_flag(p, "paused", group->paused) &&
              pack_reason(p, "last_error", report.last_error) && pack_reason(p, "stalled", stalled(self, group));
    for (size_t i = 0; ok && i < count; i++)
        ok = pack_number(p, rows[i].name, rows[i].value);
    return ok;
}

int evb_hub_groups(evb_hub *self, const evb_request *request, evb_error *err) {
    const evb_group *group;
    msgpack_packer p;
    uint32_t count = 0;
    (void)err;
    TAILQ_FOREACH (group, &self->groups, link)
        count++;
    if (!evb_hub_answer(self, request, 1, &p) || msgpack_pack_array(&p, count))
        return EVB_ENOMEM;
    TAILQ_FOREACH (group, &self->groups, link) {
        if (!pack_group(self, group, &p))
            return EVB_ENOMEM;
    }
    return 0;
}

/* ---- pause, reset, delete, replay ---- */

/* [name, whether it is to be paused] -> [events in members' hands] */
int evb_hub_group_pause(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer p;
    bool paused = false;
    (void)err;
    evb_group *group = evb_groups_named(self, &args, &why);
    if (group && !evb_mp_bool(&args, &paused))
        evb_fail(&why, EVB_EINVAL, "group.pause: its arguments are a name and a bool");
    if (why.code)
        return refuse(self, request, &why);
    if (paused != group->paused) {
        group->paused = paused;
        group->unsafe = true;
        group->replay.begun_ns = self->now_ns; /* its rate is for the time in which it may go on */
        group->replay.handed = 0;
        if (!evb_note_group(self, group))
            return EVB_ENOMEM;
    }
    if (!paused)
        evb_group_call_all(group);
    evb_action *reply = (group->unsafe ? evb_hub_answer_firm : evb_hub_answer)(self, request, 1, &p);
    bool ok = reply && !msgpack_pack_uint64(&p, group->pending.in_hand_events);
    return ok ? 0 : EVB_ENOMEM;
}

int evb_hub_group_reset(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer p;
    uint64_t seq;
    evb_member *m;
    (void)err;
    evb_group *group = evb_groups_named(self, &args, &why);
    if (group && (!evb_mp_uint(&args, &seq) || !seq || seq > evb_journal_head(self->journal) + 1))
        evb_fail(&why, EVB_EINVAL, "group.reset: the seq is from 1 to the head + 1");
    if (why.code)
        return refuse(self, request, &why);
    uint64_t dropped = group->pending.events;
    evb_pending_clear(&group->pending);
    group->next = seq;
    group->replay.next = group->replay.to + 1;
    TAILQ_FOREACH (m, &group->members, link)
        evb_member_refresh(m, self->now_ns);
    evb_group_call_all(group);
    bool ok =
        evb_note_reset(self, group) && evb_hub_answer_firm(self, request, 1, &p) && !msgpack_pack_uint64(&p, dropped);
    return ok ? 0 : EVB_ENOMEM;
}

int evb_hub_group_delete(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer p;
    (void)err;
    evb_group *group = evb_groups_named(self, &args, &why);
    if (!group)
        return refuse(self, request, &why);
    bool ok = evb_note_deleted(self, group) && evb_groups_dismiss(self, group);
    TAILQ_REMOVE(&self->groups, group, link);
    evb_group_destroy(&group);
    return ok && evb_hub_answer_firm(self, request, 0, &p) ? 0 : EVB_ENOMEM;
}

/* How many events of from..to the group wants; UNCOUNTED: too many to look through in one go. */
static int count_wanted(evb_hub *self, const evb_group *group, uint64_t from, uint64_t to, uint64_t *count,
                        evb_error *why) {
    evb_record rec;
    int rc = 0;
    *count = 0;
    for (uint64_t next = from, reads = 0; rc == 0 && next <= to;) {
        if (reads++ == COUNT_READS) {
            *count = UNCOUNTED;
            return 0;
        }
        self->scratch.size = 0;
        rc = evb_journal_read(self->journal, next, to, EVB_FETCH_PIECE, group->patterns, &self->scratch, &next, why);
        for (size_t at = 0; rc == 0 && at < self->scratch.size; at += rec.size) {
            if (evb_record_parse(self->scratch.data + at, self->scratch.size - at, &rec))
                return evb_fail(why, EVB_EDAMAGED, "a record changed while it was read");
            uint64_t first = rec.seq > from ? rec.seq : from, last = rec.seq + rec.count - 1;
            last = last < to ? last : to;
            if (evb_group_wants(group, rec.topic, rec.topic_size))
                *count += last - first + 1;
        }
    }
    return rc;
}

/* [name, from, to (0: the head), rate, dry run] -> [events, or nil: too many to count] */
int evb_hub_group_replay(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer p;
    uint64_t from = 0, to = 0, rate = 0, count = 0, head = evb_journal_head(self->journal);
    bool dry = false;
    (void)err;
    evb_group *group = evb_groups_named(self, &args, &why);
    if (group && (!evb_mp_uint(&args, &from) || !evb_mp_uint(&args, &to) || !evb_mp_uint(&args, &rate) ||
                  !evb_mp_bool(&args, &dry) || !from))
        evb_fail(&why, EVB_EINVAL, "group.replay: its arguments are a name, from, to, a rate and a dry run");
    if (!why.code && group->replay.next <= group->replay.to)
        evb_fail(&why, EVB_EINVAL, "group %s: a replay is under way, at seq %" PRIu64 " of %" PRIu64, group->name,
                 group->replay.next, group->replay.to);
    to = to && to < head ? to : head;
    if (!why.code && from <= to)
        count_wanted(self, group, from, to, &count, &why);
    if (why.code)
        return refuse(self, request, &why);
    if (!dry && count) {
        group->replay = (evb_group_replay){.next = from, .to = to, .rate = rate, .begun_ns = self->now_ns};
        evb_group_call_all(group);
        if (!evb_note_replay(self, group))
            return EVB_ENOMEM;
    }
    bool ok = (dry ? evb_hub_answer : evb_hub_answer_firm)(self, request, 1, &p) &&
              !(count == UNCOUNTED ? msgpack_pack_nil(&p) : msgpack_pack_uint64(&p, count));
    return ok ? 0 : EVB_ENOMEM;
}

/* ---- dead letters ---- */

/* What a letter says of itself in its headers; deliveries as text. */
typedef struct {
    evb_header topic, deliveries, reason;
    int64_t time_ns;
} letter_text;

static bool named(const evb_header *header, const char *name) {
    return header->name_size == strlen(name) && memcmp(header->name, name, header->name_size) == 0;
}

/* Reads a letter from the journal into the hub's scratch. False: it is gone. */
static bool read_letter(evb_hub *self, uint64_t seq, letter_text *out) {
    evb_header headers[EVB_HEADER_ROOM];
    evb_record rec;
    evb_event event;
    evb_error why;
    uint64_t next;
    *out = (letter_text){0};
    self->scratch.size = 0;
    if (evb_journal_read(self->journal, seq, seq, 1, NULL, &self->scratch, &next, &why) || !self->scratch.size ||
        evb_record_parse(self->scratch.data, self->scratch.size, &rec))
        return false;
    evb_mp cursor = rec.events;
    if (!evb_record_next(&cursor, &event, headers))
        return false;
    out->time_ns = rec.time_ns;
    for (size_t i = 0; i < event.header_count; i++) {
        if (named(&headers[i], "dead-topic"))
            out->topic = headers[i];
        else if (named(&headers[i], "dead-deliveries"))
            out->deliveries = headers[i];
        else if (named(&headers[i], "dead-reason"))
            out->reason = headers[i];
    }
    return true;
}

static uint64_t number_in(const evb_header *header) {
    uint64_t value = 0;
    for (size_t i = 0; i < header->value_size && header->value[i] >= '0' && header->value[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(header->value[i] - '0');
    return value;
}

static bool pack_text(msgpack_packer *p, const char *name, const evb_header *header) {
    return !evb_mp_pack_str(p, name, strlen(name)) &&
           !evb_mp_pack_str(p, header->value ? header->value : "", header->value_size);
}

static bool pack_letter(msgpack_packer *p, const evb_group *group, const evb_letter *letter,
                        const letter_text *text) {
    return !msgpack_pack_map(p, 7) && !evb_mp_pack_str(p, "group", 5) &&
           !evb_mp_pack_str(p, group->name, group->name_size) && pack_number(p, "seq", letter->seq) &&
           pack_number(p, "orig_seq", evb_key_seq(letter->key)) && pack_text(p, "topic", &text->topic) &&
           pack_text(p, "reason", &text->reason) && pack_number(p, "deliveries", number_in(&text->deliveries)) &&
           pack_number(p, "time_ns", (uint64_t)text->time_ns);
}

typedef struct {
    evb_buf rows;
    msgpack_packer packer;
    uint32_t count;
    uint64_t after, limit;
} letters_page;

/* Adds a group's letters behind page->after; those that retention has removed are taken off its list. */
static bool add_letters(evb_hub *self, evb_group *group, letters_page *page) {
    letter_text text;
    for (size_t i = 0; i < group->letter_count && page->count < page->limit;) {
        evb_letter letter = group->letters[i];
        if (letter.seq > page->after && !read_letter(self, letter.seq, &text)) {
            evb_dead_remove(group, letter.seq);
            if (!evb_note_letter_done(self, group, letter.seq))
                return false;
            continue;
        }
        i++;
        if (letter.seq <= page->after)
            continue;
        page->count++;
        if (!pack_letter(&page->packer, group, &letter, &text))
            return false;
    }
    return true;
}

/* [group or nil, after seq, limit] -> [rows] */
int evb_hub_dead(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer p;
    letters_page page = {0};
    evb_group *group = evb_mp_nil(&args) ? NULL : evb_groups_named(self, &args, &why), *g;
    (void)err;
    if (!why.code && (!evb_mp_uint(&args, &page.after) || !evb_mp_uint(&args, &page.limit)))
        evb_fail(&why, EVB_EINVAL, "dead: its arguments are a group or nil, a seq and a limit");
    if (why.code)
        return refuse(self, request, &why);
    if (!page.limit || page.limit > DEAD_PAGE_MAX)
        page.limit = DEAD_PAGE_MAX;
    evb_mp_packer(&page.packer, &page.rows);
    bool ok = true;
    TAILQ_FOREACH (g, &self->groups, link) {
        if (!group || g == group)
            ok = ok && add_letters(self, g, &page);
    }
    evb_action *reply = ok ? evb_hub_answer(self, request, 1, &p) : NULL;
    ok = reply && !msgpack_pack_array(&p, page.count) &&
         (!page.rows.size || evb_buf_add(&reply->head, page.rows.data, page.rows.size));
    evb_buf_free(&page.rows);
    return ok ? 0 : EVB_ENOMEM;
}

/* Gives the letter's event to the group again. EVB_EGONE: it is not in the journal any more. */
static int retry_letter(evb_hub *self, evb_group *group, const evb_letter *letter, evb_error *why) {
    uint64_t seq = evb_key_seq(letter->key), next;
    evb_record rec;
    self->scratch.size = 0;
    int rc = evb_journal_read(self->journal, seq, seq, 1, NULL, &self->scratch, &next, why);
    if (rc == 0 && (!self->scratch.size || evb_record_parse(self->scratch.data, self->scratch.size, &rec)))
        rc = evb_fail(why, EVB_EGONE,
                      "seq %" PRIu64 " is gone from the journal; its letter, seq %" PRIu64 ", has all of it", seq,
                      letter->seq);
    if (rc)
        return rc;
    const evb_entry *there = evb_pending_from(&group->pending, letter->key);
    if (there && there->first <= letter->key)
        return 0; /* pending again already */
    evb_header topic = evb_retry_topic(&rec);
    evb_entry *e = evb_pending_add(&group->pending, letter->key, letter->key, 0,
                                   group->settings.ordered ? topic.value : NULL, topic.value_size);
    if (e)
        e->ahead = evb_retry_is(rec.topic, rec.topic_size);
    return e && evb_note_entry(self, group, e) ? 0 : evb_fail(why, EVB_ENOMEM, "hub: out of memory");
}

/* Deals with one letter: retries it, if so wanted, and takes it off the list. */
static int settle_letter(evb_hub *self, evb_group *group, uint64_t seq, bool retry, evb_error *why) {
    for (size_t i = 0; i < group->letter_count; i++) {
        if (group->letters[i].seq != seq)
            continue;
        int rc = retry ? retry_letter(self, group, &group->letters[i], why) : 0;
        if (rc)
            return rc;
        evb_dead_remove(group, seq);
        return evb_note_letter_done(self, group, seq) ? 0 : evb_fail(why, EVB_ENOMEM, "hub: out of memory");
    }
    return evb_fail(why, EVB_EGONE, "group %s has no dead letter of seq %" PRIu64, group->name, seq);
}

static int settle_all(evb_hub *self, evb_group *group, bool retry, uint64_t *count, evb_error *why) {
    int rc = 0;
    while (rc == 0 && group->letter_count) {
        rc = settle_letter(self, group, group->letters[0].seq, retry, why);
        *count += rc == 0;
    }
    return rc;
}

/* [group, [seqs] or nil: all] -> [count] */
static int settle(evb_hub *self, const evb_request *request, bool retry) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer p;
    uint32_t n;
    uint64_t seq, count = 0;
    int rc = 0;
    evb_group *group = evb_groups_named(self, &args, &why);
    if (!group)
        return refuse(self, request, &why);
    if (evb_mp_nil(&args))
        rc = settle_all(self, group, retry, &count, &why);
    else if (!evb_mp_array(&args, &n))
        rc = evb_fail(&why, EVB_EINVAL, "the seqs are an array of numbers, or nil");
    else
        for (; rc == 0 && n; n--, count += rc == 0)
            rc = evb_mp_uint(&args, &seq) ? settle_letter(self, group, seq, retry, &why)
                                          : evb_fail(&why, EVB_EINVAL, "a seq is a number");
    if (rc)
        return refuse(self, request, &why);
    return evb_hub_answer_firm(self, request, 1, &p) && !msgpack_pack_uint64(&p, count) ? 0 : EVB_ENOMEM;
}

int evb_hub_dead_retry(evb_hub *self, const evb_request *request, evb_error *err) {
    (void)err;
    return settle(self, request, true);
}

int evb_hub_dead_drop(evb_hub *self, const evb_request *request, evb_error *err) {
    (void)err;
    return settle(self, request, false);
}
