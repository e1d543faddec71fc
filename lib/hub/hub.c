/* hub.c: rounds: requests in, one sync, actions out.
 *
 * Invariants: each request adds exactly one reply, but for what commands.c holds until a later round; actions stand in
 * the order of the requests, and a round's feed frames in the order of their seqs; nothing is given out before the sync
 * that the mode asks for has returned. But for what evb_hub_feed_later has: that is appended, and neither safe nor
 * fanned out, until a later round syncs.
 * To add a request: a row in OPS, a function that replies once, a paragraph in evbus-protocol(7).
 * Leaves to others: sockets and their limits (net/server.c), the bytes on disk (journal). */
#include "hub/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "event/mp.h"
#include "hub/groups.h"
#include "hub/hub_private.h"

static const int64_t LATER_NS = 10 * EVB_MILLISECOND_NS;
enum { ERROR_TEXT = sizeof((evb_error *)0)->text };

evb_hub *evb_hub_new(evb_journal *journal, const evb_hub_options *options, int64_t monotonic_ns, evb_error *err) {
    evb_hub *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "hub: out of memory");
        return NULL;
    }
    self->journal = journal;
    self->options = *options;
    self->spare = SIZE_MAX;
    self->now_ns = monotonic_ns;
    self->sync_due_ns = self->keep_due_ns = self->later_due_ns = INT64_MAX;
    self->begun_ns = monotonic_ns;
    TAILQ_INIT(&self->groups);
    TAILQ_INIT(&self->clients);
    self->live_counts = evb_table_new();
    self->commands = evb_commands_new(monotonic_ns, evb_journal_appended(journal));
    if (!self->live_counts || !self->commands)
        evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    if (!self->live_counts || !self->commands || evb_groups_open(self, err) ||
        !(self->schedule = evb_schedule_new(journal, options->log, evb_clock_wall_ns(), err)))
        evb_hub_destroy(&self);
    else if (evb_schedule_first(self->schedule))
        self->schedule->tick_ns = monotonic_ns;
    return self;
}

static void drop_actions(evb_hub *self) {
    for (size_t i = 0; i < self->action_count; i++) {
        evb_buf_free(&self->actions[i].head);
        evb_buf_free(&self->actions[i].body);
    }
    self->action_count = 0;
}

/* The records made in the round before have been fanned out. */
static void drop_own(evb_hub *self) {
    while (self->own_count)
        evb_buf_free(&self->own[--self->own_count]);
}

void evb_hub_destroy(evb_hub **self) {
    if (!*self)
        return;
    evb_groups_close(*self);
    evb_schedule_destroy(&(*self)->schedule);
    evb_commands_destroy(&(*self)->commands, (*self)->drop_peer);
    evb_clients_clear(&(*self)->clients);
    drop_actions(*self);
    drop_own(*self);
    free((*self)->own);
    while ((*self)->later_count)
        evb_buf_free(&(*self)->later[--(*self)->later_count]);
    free((*self)->later);
    evb_buf_free(&(*self)->scratch);
    evb_table_destroy(&(*self)->live_counts, free);
    free((*self)->actions);
    free((*self)->recs);
    free(*self);
    *self = NULL;
}

void evb_hub_on_drop(evb_hub *self, void (*drop)(void *peer)) { self->drop_peer = drop; }

void evb_hub_configure(evb_hub *self, const evb_hub_options *options) { self->options = *options; }

/* ---- replies ---- */

evb_action *evb_hub_act(evb_hub *self, evb_action_kind kind) {
    if (self->action_count == self->action_room) {
        size_t room = self->action_room ? self->action_room * 2 : 256;
        evb_action *actions = realloc(self->actions, room * sizeof *actions);
        if (!actions)
            return NULL;
        self->actions = actions;
        self->action_room = room;
    }
    evb_action *action = &self->actions[self->action_count++];
    *action = (evb_action){.kind = kind};
    return action;
}

/* ---- fanning out ---- */

/* What is appended and not fanned out comes first: a subscriber sees the order of seqs. The round syncs. */
static int feed_late(evb_hub *self) {
    size_t count = self->later_count;
    evb_record rec;
    int rc = 0;
    self->later_count = 0;
    self->later_due_ns = INT64_MAX;
    self->appended = true;
    for (size_t i = 0; i < count; i++) {
        if (rc == 0 && !evb_record_parse(self->later[i].data, self->later[i].size, &rec))
            rc = evb_hub_feed_own(self, &rec, &self->later[i]);
        evb_buf_free(&self->later[i]);
    }
    return rc;
}

int evb_hub_feed(evb_hub *self, const evb_record *rec) {
    if (rec->seq && self->later_count && feed_late(self))
        return EVB_ENOMEM;
    evb_action *action = evb_hub_act(self, EVB_ACTION_FEED);
    if (!action)
        return EVB_ENOMEM;
    action->frame = rec->record + EVB_RECORD_HEADER;
    action->frame_size = rec->size - EVB_RECORD_HEADER;
    action->batch = rec->batch;
    action->last = rec->seq ? rec->seq + rec->count - 1 : 0;
    self->counts.fed += rec->count;
    if (rec->seq)
        evb_groups_saw(self, rec);
    return 0;
}

int evb_hub_own(evb_hub *self, evb_buf *record) {
    evb_buf *own = realloc(self->own, (self->own_count + 1) * sizeof *own);
    if (!own)
        return EVB_ENOMEM;
    self->own = own;
    own[self->own_count++] = *record;
    *record = (evb_buf){0};
    return 0;
}

int evb_hub_feed_later(evb_hub *self, evb_buf *record) {
    if (self->later_count == self->later_room) {
        size_t room = self->later_room ? self->later_room * 2 : 16;
        evb_buf *later = realloc(self->later, room * sizeof *later);
        if (!later)
            return EVB_ENOMEM;
        self->later = later;
        self->later_room = room;
    }
    if (!self->later_count)
        self->later_due_ns = self->now_ns + LATER_NS;
    self->later[self->later_count++] = *record;
    *record = (evb_buf){0};
    return 0;
}

int evb_hub_feed_own(evb_hub *self, const evb_record *rec, evb_buf *record) {
    int rc = evb_hub_own(self, record);
    return rc ? rc : evb_hub_feed(self, rec);
}

static bool pack_reply(evb_buf *head, const char *word, uint64_t id, uint32_t elements, msgpack_packer *packer) {
    evb_mp_packer(packer, head);
    return !msgpack_pack_array(packer, elements) && !evb_mp_pack_str(packer, word, strlen(word)) &&
           !msgpack_pack_uint64(packer, id);
}

static evb_action *begin_reply(evb_hub *self, const evb_request *request, const char *word, uint32_t elements,
                               msgpack_packer *packer) {
    evb_action *reply = evb_hub_act(self, EVB_ACTION_REPLY);
    if (!reply)
        return NULL;
    reply->peer = request->peer;
    return pack_reply(&reply->head, word, request->id, elements, packer) ? reply : NULL;
}

evb_action *evb_hub_answer(evb_hub *self, const evb_request *request, uint32_t results, msgpack_packer *packer) {
    return begin_reply(self, request, "ok", results + 2, packer);
}

evb_action *evb_hub_answer_firm(evb_hub *self, const evb_request *request, uint32_t results, msgpack_packer *packer) {
    evb_action *reply = evb_hub_answer(self, request, results, packer);
    if (reply) {
        reply->firm = self->firm = true;
        reply->id = request->id;
    }
    return reply;
}

int evb_hub_refuse_firm(evb_hub *self, const char *text) {
    msgpack_packer packer;
    for (size_t i = 0; i < self->action_count; i++) {
        evb_action *reply = &self->actions[i];
        if (!reply->firm)
            continue;
        reply->head.size = 0;
        if (!pack_reply(&reply->head, "error", reply->id, 4, &packer) || evb_mp_pack_str(&packer, "store", 5) ||
            evb_mp_pack_str(&packer, text, strlen(text)))
            return EVB_ENOMEM;
    }
    return 0;
}

static int refuse(evb_hub *self, const evb_request *request, const char *code, const char *reason,
                  const uint64_t *value) {
    char text[ERROR_TEXT];
    msgpack_packer packer;
    evb_utf8_copy(text, sizeof text, reason, strlen(reason), true); /* it may quote what a stranger has sent */
    if (!begin_reply(self, request, "error", value ? 5 : 4, &packer))
        return EVB_ENOMEM;
    int rc = evb_mp_pack_str(&packer, code, strlen(code)) || evb_mp_pack_str(&packer, text, strlen(text)) ||
             (value && msgpack_pack_uint64(&packer, *value));
    return rc ? EVB_ENOMEM : 0;
}

int evb_hub_refuse(evb_hub *self, const evb_request *request, const char *code, const char *text) {
    return refuse(self, request, code, text, NULL);
}

static const char *code_of(const evb_error *why) {
    return why->code == EVB_EDATA        ? "data"
           : why->code == EVB_EVERSION   ? "version"
           : why->code == EVB_EAGAIN     ? "member"
           : why->code == EVB_EGONE      ? "gone"
           : why->code == EVB_EDAMAGED   ? "damaged"
           : why->code == EVB_EBUSY      ? "busy"
           : why->code == EVB_ENOHANDLER ? "nohandler"
           : why->code == EVB_EUNKNOWN   ? "unknown"
           : why->code == EVB_ETIMEDOUT  ? "timeout"
           : why->code == EVB_EINVAL     ? "usage"
                                         : "store";
}

int evb_hub_refuse_error(evb_hub *self, const evb_request *request, const evb_error *why) {
    return refuse(self, request, code_of(why), why->text, NULL);
}

int evb_hub_refuse_with(evb_hub *self, const evb_request *request, const evb_error *why, uint64_t value) {
    return refuse(self, request, code_of(why), why->text, &value);
}

/* ---- requests ---- */

typedef int request_fn(evb_hub *self, const evb_request *request, evb_error *err);

static const struct {
    const char *name;
    uint32_t args; /* at least */
    request_fn *run;
} OPS[] = {{"pub", 1, evb_hub_publish},
           {"fetch", 4, evb_hub_fetch},
           {"status", 0, evb_hub_status},
           {"clients", 0, evb_hub_clients},
           {"hello", 3, evb_hub_hello},
           {"seek", 1, evb_hub_seek},
           {"producer", 1, evb_hub_producer},
           {"topics", 3, evb_hub_topics},
           {"trim", 1, evb_hub_trim},
           {"purge", 1, evb_hub_purge},
           {"group", 6, evb_hub_group_take},
           {"group.join", 5, evb_hub_group_join},
           {"group.leave", 4, evb_hub_group_leave},
           {"group.busy", 2, evb_hub_group_busy},
           {"groups", 0, evb_hub_groups},
           {"group.reset", 2, evb_hub_group_reset},
           {"group.delete", 1, evb_hub_group_delete},
           {"group.replay", 5, evb_hub_group_replay},
           {"group.pause", 2, evb_hub_group_pause},
           {"dead", 3, evb_hub_dead},
           {"dead.retry", 2, evb_hub_dead_retry},
           {"call", 2, evb_hub_call},
           {"serve", 7, evb_hub_serve},
           {"serve.take", 7, evb_hub_serve_take},
           {"serve.stop", 1, evb_hub_serve_stop},
           {"dead.edit", 2, evb_hub_dead_edit},
           {"dead.drop", 2, evb_hub_dead_drop},
           {"schedule", 2, evb_hub_schedule},
           {"scheduled", 4, evb_hub_scheduled},
           {"schedule.cancel", 1, evb_hub_schedule_cancel}};

static int dispatch(evb_hub *self, evb_request *request, const char *op, size_t op_size, evb_error *err) {
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++) {
        if (strlen(OPS[i].name) != op_size || memcmp(OPS[i].name, op, op_size) != 0)
            continue;
        if (request->arg_count < OPS[i].args)
            return evb_hub_refuse(self, request, "usage", "a request with too few arguments");
        return OPS[i].run(self, request, err);
    }
    return evb_hub_refuse(self, request, "usage", "a request this hub does not know");
}

int evb_hub_request(evb_hub *self, void *peer, evb_origin origin, const uint8_t *head, size_t head_size,
                    uint8_t *body, size_t body_size, int64_t now_ns, int64_t monotonic_ns, evb_error *err) {
    evb_request request = {.peer = peer,
                           .origin = origin,
                           .args = {head, head + head_size},
                           .body = body,
                           .body_size = body_size,
                           .now_ns = now_ns};
    const char *op;
    size_t op_size;
    int rc;
    if (!self->action_count)
        drop_own(self);
    self->now_ns = monotonic_ns;
    evb_journal_watch_clock(self->journal, now_ns, monotonic_ns);
    if (evb_mp_array(&request.args, &request.arg_count) && request.arg_count >= 2 &&
        evb_mp_str(&request.args, &op, &op_size) && evb_mp_uint(&request.args, &request.id)) {
        request.arg_count -= 2;
        rc = dispatch(self, &request, op, op_size, err);
    } else {
        rc = evb_hub_refuse(self, &request, "usage", "a request is an array of an op, an id and its arguments");
    }
    return rc == EVB_ENOMEM ? evb_fail(err, EVB_ENOMEM, "hub: out of memory") : rc;
}

void evb_hub_came(evb_hub *self, const char *token, size_t size, evb_origin origin, int64_t now_ns) {
    evb_clients_came(&self->clients, token, size, origin, now_ns);
}

void evb_hub_left_all(evb_hub *self) {
    evb_error err;
    evb_reports_left_all(self);
    evb_clients_clear(&self->clients);
    evb_commands_left_all(self);
    int rc = evb_groups_left_all(self, &err);
    self->failed = rc ? rc : self->failed;
}

void evb_hub_left(evb_hub *self, const char *token, size_t size) {
    evb_error err;
    evb_reports_left(self, token, size);
    evb_clients_left(&self->clients, token, size);
    evb_commands_left(self, token, size);
    int rc = evb_groups_left(self, token, size, &err);
    self->failed = rc ? rc : self->failed;
}

/* ---- rounds ---- */

static int sync_now(evb_hub *self, evb_error *err) {
    self->appended = false;
    self->sync_due_ns = INT64_MAX;
    return evb_journal_sync(self->journal, err);
}

static int make_safe(evb_hub *self, int64_t monotonic_ns, evb_error *err) {
    if (self->options.sync == EVB_SYNC_ALWAYS)
        return sync_now(self, err);
    evb_journal_trust(self->journal);
    if (self->options.sync == EVB_SYNC_LATER && self->sync_due_ns == INT64_MAX)
        self->sync_due_ns = monotonic_ns + self->options.sync_ns;
    self->appended = false;
    return 0;
}

size_t evb_hub_answered(const evb_hub *self) { return self->answered; }
void evb_hub_set_spare(evb_hub *self, size_t bytes) { self->spare = bytes; }

size_t evb_hub_early(evb_hub *self, evb_action **actions) {
    *actions = self->actions;
    return self->early && self->appended && self->options.sync == EVB_SYNC_ALWAYS ? self->action_count : 0;
}

/* What waits to be fanned out and is safe already, or is about to be: no head that is told may pass it. */
static bool is_overtaken(const evb_hub *self) {
    evb_record rec;
    return self->later_count &&
           (self->appended || (!evb_record_parse(self->later[0].data, self->later[0].size, &rec) &&
                               rec.seq <= evb_journal_head(self->journal)));
}

int evb_hub_commit(evb_hub *self, int64_t monotonic_ns, evb_action **actions, size_t *count, evb_error *err) {
    self->now_ns = monotonic_ns;
    int64_t begun_ns = evb_clock_monotonic_ns();
    int rc = is_overtaken(self) && feed_late(self) ? evb_fail(err, EVB_ENOMEM, "hub: out of memory") : 0;
    rc = rc || !self->appended ? rc : make_safe(self, monotonic_ns, err);
    rc = rc ? rc : evb_groups_keep(self, err);
    rc = rc ? rc : evb_schedule_keep(self, err);
    if (rc) {
        drop_actions(self);
        return rc;
    }
    evb_groups_round_took(self, evb_clock_monotonic_ns() - begun_ns);
    *actions = self->actions;
    *count = self->action_count;
    self->action_count = 0;
    self->early = false;
    self->answered = 0;
    return 0;
}

int64_t evb_hub_deadline(const evb_hub *self) {
    const int64_t dues[] = {evb_groups_deadline(self), evb_commands_deadline(self), self->later_due_ns,
                            self->schedule->tick_ns};
    int64_t due = self->sync_due_ns;
    for (size_t i = 0; i < sizeof dues / sizeof *dues; i++)
        due = dues[i] < due ? dues[i] : due;
    return due;
}

int evb_hub_tick(evb_hub *self, int64_t monotonic_ns, evb_error *err) {
    if (!self->action_count)
        drop_own(self);
    self->now_ns = monotonic_ns;
    int rc = monotonic_ns >= self->sync_due_ns ? sync_now(self, err) : 0;
    if (rc == 0 && monotonic_ns >= self->later_due_ns && feed_late(self))
        rc = evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    if (self->failed)
        rc = evb_fail(err, self->failed, "hub: cannot go on: out of memory, or the disk failed");
    rc = rc ? rc : evb_groups_tick(self, err);
    rc = rc ? rc : evb_commands_tick(self, err);
    return rc || monotonic_ns < self->schedule->tick_ns ? rc : evb_schedule_tick(self, evb_clock_wall_ns(), err);
}

bool evb_hub_beat(const evb_hub *self, const char *topic, size_t topic_size, uint64_t mark, int64_t now_ns,
                  evb_buf *out) {
    uint64_t next = evb_journal_head(self->journal) + 1;
    evb_record rec; /* what is safe by chance and waits to be fanned out is still to come */
    if (self->later_count && !evb_record_parse(self->later[0].data, self->later[0].size, &rec) && rec.seq < next)
        next = rec.seq;
    return evb_frame_beat(out, topic, topic_size, next, mark, now_ns);
}
