/* groups.c: who is a member, what members ask, when they are told, and when their time is over.
 *
 * Members ask ("group"), and are answered at once: with events, or with none; then they are hungry, and are told by an
 * empty frame on their welcome's topic when there may be some, one member for each record that matches.
 * Invariants: a member is there from its join until it leaves, its connection goes, or the hub ends; a token names one
 * member of one group.
 * Leaves to others: what is handed out (group.c), the notes (group_state.c) and their file (group_keep.c), looking and
 * repairing (group_admin.c). */
#include "hub/groups.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "hub/attempt.h"
#include "hub/dead.h"
#include "hub/group_state.h"
#include "hub/hub_private.h"

enum { TAKE_BYTES_MOST = EVB_FETCH_PIECE, TOKEN_FIXED = 30 };
static const char WELCOME[] = "$hub.welcome.";

/* ---- finding ---- */

evb_group *evb_groups_find(const evb_hub *hub, const char *name, size_t size) {
    evb_group *group;
    TAILQ_FOREACH (group, &hub->groups, link) {
        if (group->name_size == size && memcmp(group->name, name, size) == 0)
            return group;
    }
    return NULL;
}

evb_group *evb_groups_named(const evb_hub *hub, evb_mp *args, evb_error *why) {
    const char *name;
    size_t size;
    if (!evb_mp_str(args, &name, &size)) {
        evb_fail(why, EVB_EINVAL, "a group's name is a string");
        return NULL;
    }
    if (!size || evb_topic_fault(name, size)) {
        evb_fail(why, EVB_EINVAL, "a group's name is a topic");
        return NULL;
    }
    evb_group *group = evb_groups_find(hub, name, size);
    if (!group)
        evb_fail(why, EVB_EGONE, "there is no group %.*s", size > 64 ? 64 : (int)size, name);
    return group;
}

static evb_member *find_member(const evb_group *group, const char *token, size_t size) {
    evb_member *m;
    TAILQ_FOREACH (m, &group->members, link) {
        size_t fixed = m->token_size < TOKEN_FIXED ? m->token_size : TOKEN_FIXED;
        if (size >= fixed && memcmp(m->token, token, fixed) == 0)
            return m;
    }
    return NULL;
}

/* ---- hunger ---- */

static void call(evb_group *group, evb_member *member) {
    if (member->hungry)
        group->hungry--;
    member->hungry = false;
    member->called = true;
}

static void set_hungry(evb_group *group, evb_member *member, bool hungry) {
    if (hungry && !member->hungry)
        group->hungry++;
    else if (!hungry && member->hungry)
        group->hungry--;
    member->hungry = hungry;
}

/* Calls up to `count` hungry members; each goes behind the others then. */
static void call_some(evb_group *group, uint64_t count) {
    for (evb_member *m = TAILQ_FIRST(&group->members), *next; m && count && group->hungry; m = next) {
        next = TAILQ_NEXT(m, link);
        if (!m->hungry)
            continue;
        call(group, m);
        TAILQ_REMOVE(&group->members, m, link);
        TAILQ_INSERT_TAIL(&group->members, m, link);
        count--;
    }
}

void evb_group_call_all(evb_group *group) {
    evb_member *m;
    TAILQ_FOREACH (m, &group->members, link)
        call(group, m);
}

void evb_groups_saw(evb_hub *hub, const evb_record *rec) {
    evb_group *group;
    TAILQ_FOREACH (group, &hub->groups, link) {
        if (!group->hungry)
            continue;
        if (evb_group_wants(group, rec->topic, rec->topic_size))
            call_some(group, group->paused ? 0 : rec->count);
        else if (group->next == rec->seq)
            group->next = rec->seq + rec->count;
    }
}

/* When a replay's next event is due. */
static int64_t replay_due(const evb_group_replay *r) {
    if (r->next > r->to)
        return INT64_MAX;
    return r->rate ? r->begun_ns + (int64_t)((double)r->handed / (double)r->rate * 1e9) : 0;
}

/* When something of what the group has waits for a hungry member. */
static int64_t work_due(const evb_group *group) {
    if (group->paused)
        return INT64_MAX;
    const evb_entry *first = evb_pending_first_due(&group->pending);
    int64_t at = first ? first->due_ns : INT64_MAX, replay = replay_due(&group->replay);
    return at < replay ? at : replay;
}

static bool tell(evb_hub *hub, evb_member *member) {
    evb_action *action = evb_hub_act(hub, EVB_ACTION_POKE);
    member->called = false;
    return action && evb_buf_add(&action->head, WELCOME, sizeof WELCOME - 1) &&
           evb_buf_add(&action->head, member->token, member->token_size);
}

bool evb_groups_dismiss(evb_hub *hub, evb_group *group) {
    evb_member *m;
    TAILQ_FOREACH (m, &group->members, link) {
        if (!tell(hub, m))
            return false;
    }
    return true;
}

/* Calls those who wait for all up to a seq to be done, if it is; or to be told that it will not be for now. */
static void call_done(evb_group *group) {
    evb_member *m;
    uint64_t floor = 0;
    TAILQ_FOREACH (m, &group->members, link) {
        if (!m->until || !m->hungry)
            continue;
        floor = floor ? floor : evb_group_floor_of_all(group);
        if (floor >= m->until || (group->paused && !m->holder.events))
            call(group, m);
    }
}

/* How many members can find something to do among what waits. */
static uint64_t work_for(const evb_group *group) {
    if (group->replay.next <= group->replay.to)
        return UINT64_MAX;
    return group->settings.ordered ? group->pending.waiting_count : group->pending.waiting_events;
}

int evb_groups_tell(evb_hub *hub) {
    evb_group *group;
    evb_member *m;
    TAILQ_FOREACH (group, &hub->groups, link) {
        if (group->hungry && work_due(group) <= hub->now_ns)
            call_some(group, work_for(group));
        if (group->hungry)
            call_done(group);
        TAILQ_FOREACH (m, &group->members, link) {
            if (m->called && !tell(hub, m))
                return EVB_ENOMEM;
        }
    }
    return 0;
}

/* ---- time ---- */

void evb_groups_round_took(evb_hub *hub, int64_t ns) {
    evb_group *group;
    evb_member *m;
    ns = ns < 10 * EVB_MILLISECOND_NS ? 0 : ns; /* a slow disk; else it does not matter */
    TAILQ_FOREACH (group, &hub->groups, link) {
        TAILQ_FOREACH (m, &group->members, link) {
            m->since_ns += m->fresh ? ns : 0;
            m->fresh = false;
        }
    }
}

int64_t evb_groups_deadline(const evb_hub *hub) {
    int64_t at = hub->keep_due_ns;
    evb_group *group;
    evb_member *m;
    TAILQ_FOREACH (group, &hub->groups, link) {
        int64_t due = group->hungry ? work_due(group) : INT64_MAX;
        due = group->bury_due_ns < due ? group->bury_due_ns : due;
        at = due < at ? due : at;
        TAILQ_FOREACH (m, &group->members, link) {
            due = m->called ? 0 : evb_member_deadline(group, m);
            at = due < at ? due : at;
        }
    }
    return at;
}

static int expire(evb_hub *hub, evb_group *group, evb_member *member, evb_error *err) {
    char reason[80];
    evb_member_refresh(member, hub->now_ns);
    if (hub->now_ns < evb_member_deadline(group, member))
        return 0;
    snprintf(reason, sizeof reason, "not acknowledged within %.3g s", (double)group->settings.ack_wait_ns / 1e9);
    TAILQ_REMOVE(&group->members, member, link); /* it may hang: others are called before it */
    TAILQ_INSERT_TAIL(&group->members, member, link);
    return evb_group_release(hub, group, member, reason, -1, hub->now_ns, err);
}

int evb_groups_tick(evb_hub *hub, evb_error *err) {
    evb_group *group;
    evb_member *m, *next;
    TAILQ_FOREACH (group, &hub->groups, link) {
        if (hub->now_ns >= group->bury_due_ns) {
            int rc = evb_dead_bury_again(hub, group, hub->now_ns, err);
            if (rc)
                return rc;
        }
        for (m = TAILQ_FIRST(&group->members); m; m = next) {
            next = TAILQ_NEXT(m, link);
            int rc = expire(hub, group, m, err);
            if (rc)
                return rc;
        }
    }
    if (hub->now_ns < hub->keep_due_ns)
        return 0;
    hub->keep_due_ns = INT64_MAX;
    TAILQ_FOREACH (group, &hub->groups, link) {
        if (!evb_note_progress(hub, group))
            return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    }
    return evb_groups_sync(hub, err);
}

/* ---- leaving ---- */

static void remove_member(evb_group *group, evb_member *member) {
    set_hungry(group, member, false);
    TAILQ_REMOVE(&group->members, member, link);
    free(member);
}

/* What it had in hand is for others, and a round is due. */
static int lose_member(evb_hub *hub, evb_group *group, evb_member *member, evb_error *err) {
    int rc = evb_group_release(hub, group, member, "its member went away", 0, hub->now_ns, err);
    remove_member(group, member);
    if (hub->keep_due_ns > hub->now_ns)
        hub->keep_due_ns = hub->now_ns;
    return rc;
}

int evb_groups_left(evb_hub *hub, const char *token, size_t size, evb_error *err) {
    evb_group *group;
    int rc = 0;
    TAILQ_FOREACH (group, &hub->groups, link) {
        evb_member *m = find_member(group, token, size);
        if (m && rc == 0)
            rc = lose_member(hub, group, m, err);
    }
    return rc;
}

int evb_groups_left_all(evb_hub *hub, evb_error *err) {
    evb_group *group;
    int rc = 0;
    TAILQ_FOREACH (group, &hub->groups, link) {
        while (rc == 0 && !TAILQ_EMPTY(&group->members))
            rc = lose_member(hub, group, TAILQ_FIRST(&group->members), err);
    }
    return rc;
}

/* ---- join ---- */

typedef struct {
    const char *name, *token;
    size_t name_size, token_size;
    evb_patterns *patterns;  /* NULL: those that the group has */
    uint64_t start;          /* 0: from now */
    evb_mp settings, claims; /* claims, and the token before it, behind each other */
    bool whole;              /* patterns and settings take the place of what the group has */
} joining;

/* Reads one setting of a join into *s. "whole" sets *s to the defaults. False: it is none, or bad. */
static bool read_setting(evb_mp *mp, evb_group_settings *s, bool *whole) {
    const char *name;
    size_t size;
    uint64_t value;
    uint32_t count;
    if (!evb_mp_str(mp, &name, &size))
        return false;
    if (size == 5 && memcmp(name, "whole", 5) == 0) {
        *s = EVB_GROUP_DEFAULTS;
        return evb_mp_bool(mp, whole);
    }
    if (size == 7 && memcmp(name, "ordered", 7) == 0)
        return evb_mp_bool(mp, &s->ordered);
    if (size == 8 && memcmp(name, "listener", 8) == 0)
        return evb_mp_bool(mp, &s->listener);
    if (size == 7 && memcmp(name, "backoff", 7) == 0) {
        if (!evb_mp_array(mp, &count) || count > EVB_BACKOFF_MAX)
            return false;
        for (s->backoff_count = 0; s->backoff_count < count; s->backoff_count++) {
            if (!evb_mp_uint(mp, &value) || value > INT64_MAX / 4)
                return false;
            s->backoff_ns[s->backoff_count] = (int64_t)value;
        }
        return true;
    }
    if (!evb_mp_uint(mp, &value))
        return evb_mp_skip(mp);
    if (!value || value > INT64_MAX / 4)
        return false;
    if (size == 8 && memcmp(name, "ack_wait", 8) == 0)
        s->ack_wait_ns = (int64_t)value;
    else if (size == 11 && memcmp(name, "max_deliver", 11) == 0)
        s->max_deliver = value;
    else if (size == 11 && memcmp(name, "max_pending", 11) == 0)
        s->max_pending = value;
    return true;
}

static bool read_settings(evb_mp mp, evb_group_settings *s, bool *whole) {
    uint32_t count = 0;
    if (evb_mp_nil(&mp))
        return true;
    if (!evb_mp_map(&mp, &count))
        return false;
    while (count--)
        if (!read_setting(&mp, s, whole))
            return false;
    return true;
}

static int read_join(const evb_request *request, joining *j, evb_error *why) {
    evb_mp args = request->args;
    *j = (joining){0};
    if (!evb_mp_str(&args, &j->name, &j->name_size) || !evb_mp_str(&args, &j->token, &j->token_size) ||
        !j->token_size || j->token_size > EVB_TOKEN_MAX)
        return evb_fail(why, EVB_EINVAL, "group.join: its arguments are a name, a token, patterns, settings, a seq");
    if (!evb_group_name_valid(j->name, j->name_size))
        return evb_fail(why, EVB_EINVAL, "a group's name is a topic of at most %d bytes and %d tokens",
                        EVB_GROUP_NAME_MAX, EVB_GROUP_TOKENS_MAX);
    if (!evb_mp_nil(&args) && !evb_hub_read_patterns(&args, &j->patterns, why))
        return why->code;
    j->settings = args;
    if (!evb_mp_skip(&args) || (!evb_mp_nil(&args) && !evb_mp_uint(&args, &j->start)))
        return evb_fail(why, EVB_EINVAL, "group.join: settings are a map, the start a seq or nil");
    j->claims = args;
    return 0;
}

static bool same_patterns(const evb_patterns *a, const evb_patterns *b) {
    size_t n = evb_patterns_count(a), size, other;
    if (n != evb_patterns_count(b))
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *text = evb_patterns_get(a, i, &size);
        const char *with = evb_patterns_get(b, i, &other);
        if (size != other || memcmp(text, with, size) != 0)
            return false;
    }
    return true;
}

static bool same_settings(const evb_group_settings *a, const evb_group_settings *b) {
    return a->ack_wait_ns == b->ack_wait_ns && a->max_deliver == b->max_deliver && a->max_pending == b->max_pending &&
           a->ordered == b->ordered && a->listener == b->listener && a->backoff_count == b->backoff_count &&
           memcmp(a->backoff_ns, b->backoff_ns, a->backoff_count * sizeof *a->backoff_ns) == 0;
}

/* Makes the group that a join names. */
static evb_group *make_group(evb_hub *hub, joining *j, int64_t wall_ns, evb_error *why) {
    if (!j->patterns) {
        evb_fail(why, EVB_EGONE, "there is no group %.*s: name the patterns that it is to have", (int)j->name_size,
                 j->name);
        return NULL;
    }
    evb_group *group = evb_group_new(j->name, j->name_size, j->patterns);
    if (!group) {
        evb_fail(why, EVB_ENOMEM, "hub: out of memory");
        return NULL;
    }
    j->patterns = NULL;
    group->id = ++hub->group_id;
    group->created_ns = wall_ns;
    group->next = j->start ? j->start : evb_journal_appended(hub->journal) + 1;
    group->unsafe = true;
    TAILQ_INSERT_TAIL(&hub->groups, group, link);
    return group;
}

/* What the group looks at from now on is matched with these patterns. */
static void take_patterns(evb_group *group, joining *j) {
    evb_patterns *old = group->patterns;
    group->patterns = j->patterns;
    j->patterns = old; /* which the join destroys */
}

/* The group has begun to keep its topics' order, or has ceased to: what is in members' hands is anybody's for that. An
 * acknowledgement of it still counts. */
static int reorder(evb_hub *hub, evb_group *group, evb_error *why) {
    evb_member *m;
    int rc = 0;
    TAILQ_FOREACH (m, &group->members, link)
        rc = rc ? rc : evb_group_release(hub, group, m, NULL, 0, hub->now_ns, why);
    return rc ? rc : evb_group_relane(hub, group, why);
}

/* The group that a join names, made if it is new, with the settings that the join wants. */
static evb_group *group_to_join(evb_hub *hub, joining *j, int64_t wall_ns, bool *created, evb_error *why) {
    evb_group *group = evb_groups_find(hub, j->name, j->name_size);
    evb_group_settings settings = group ? group->settings : EVB_GROUP_DEFAULTS;
    *created = !group;
    if (!read_settings(j->settings, &settings, &j->whole)) {
        evb_fail(why, EVB_EINVAL, "group.join: bad settings");
        return NULL;
    }
    if (group && j->patterns && !j->whole && !same_patterns(j->patterns, group->patterns)) {
        evb_fail(why, EVB_EINVAL,
                 "group %s has other patterns: join it without any, or delete it first (evctl group %s delete)",
                 group->name, group->name);
        return NULL;
    }
    bool reordered = group && settings.ordered != group->settings.ordered;
    if (reordered && !j->whole && group->pending.events) {
        evb_fail(why, EVB_EINVAL, "group %s is %s, and has events pending", group->name,
                 group->settings.ordered ? "ordered" : "not ordered");
        return NULL;
    }
    bool rematched = group && j->patterns && !same_patterns(j->patterns, group->patterns);
    group = group ? group : make_group(hub, j, wall_ns, why);
    if (!group)
        return NULL;
    group->unsafe = group->unsafe || rematched || !same_settings(&settings, &group->settings);
    group->settings = settings;
    if (rematched)
        take_patterns(group, j);
    if (reordered && reorder(hub, group, why))
        return NULL;
    return group;
}

/* Who joins again, under another token or the same: what it had in hand is anybody's, but for what it claims. */
static int forget_member(evb_hub *hub, evb_group *group, const char *token, size_t size, evb_error *err) {
    evb_member *m = find_member(group, token, size);
    int rc = m ? evb_group_release(hub, group, m, NULL, 0, hub->now_ns, err) : 0;
    if (m)
        remove_member(group, m);
    return rc;
}

static evb_member *add_member(evb_hub *hub, evb_group *group, const joining *j) {
    evb_member *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->since_ns = hub->now_ns;
    m->token_size = j->token_size;
    memcpy(m->token, j->token, j->token_size);
    TAILQ_INSERT_TAIL(&group->members, m, link);
    return m;
}

/* Gives back to a member who joins again what it still has and nobody else got meanwhile; not what it has said to have
 * failed, even where it has not heard that this is known. */
static bool claim(evb_hub *hub, evb_group *group, evb_member *member, evb_mp mp) {
    uint32_t count = 0, two;
    uint64_t first, last;
    if (mp.at == mp.end || !evb_mp_array(&mp, &count))
        return true;
    while (count--) {
        if (!evb_mp_array(&mp, &two) || two != 2 || !evb_mp_uint(&mp, &first) || !evb_mp_uint(&mp, &last) ||
            first > last)
            return true;
        if (!evb_group_carve(group, first, last))
            return false;
        for (evb_entry *e = evb_pending_from(&group->pending, first); e && e->first <= last;
             e = evb_pending_next(e)) {
            if (e->state != EVB_WAITING || e->doomed || e->failed)
                continue;
            e->deliveries++;
            evb_pending_hand(&group->pending, e, &member->holder);
            if (!evb_note_entry(hub, group, e))
                return false;
        }
    }
    evb_member_refresh(member, hub->now_ns);
    return true;
}

/* [created, next, head, floor, ack wait] */
static int reply_join(evb_hub *hub, const evb_request *request, const evb_group *group, bool created) {
    msgpack_packer p;
    bool ok = (group->unsafe ? evb_hub_answer_firm : evb_hub_answer)(hub, request, 5, &p) &&
              !(created ? msgpack_pack_true(&p) : msgpack_pack_false(&p)) && !msgpack_pack_uint64(&p, group->next) &&
              !msgpack_pack_uint64(&p, evb_journal_head(hub->journal)) &&
              !msgpack_pack_uint64(&p, evb_group_floor_of_all(group)) &&
              !msgpack_pack_int64(&p, group->settings.ack_wait_ns);
    return ok ? 0 : EVB_ENOMEM;
}

int evb_hub_group_join(evb_hub *hub, const evb_request *request, evb_error *err) {
    joining j;
    evb_error why = {0};
    bool created = false;
    int rc = read_join(request, &j, &why);
    if (rc == 0 && !evb_clients_has(&hub->clients, j.token, j.token_size))
        rc = evb_fail(&why, EVB_EAGAIN, "no feed connection has this token: it may be gone already");
    evb_group *group = rc ? NULL : group_to_join(hub, &j, request->now_ns, &created, &why);
    evb_patterns_destroy(&j.patterns);
    if (!group)
        return why.code == EVB_ENOMEM ? EVB_ENOMEM : evb_hub_refuse_error(hub, request, &why);
    const char *before;
    size_t size;
    evb_mp mp = j.claims;
    if (evb_mp_skip(&mp) && evb_mp_str(&mp, &before, &size))
        rc = forget_member(hub, group, before, size, err);
    rc = rc ? rc : forget_member(hub, group, j.token, j.token_size, err);
    evb_member *member = rc ? NULL : add_member(hub, group, &j);
    if (rc == EVB_EIO)
        return rc;
    if (!member || !evb_note_group(hub, group) || !claim(hub, group, member, j.claims))
        return EVB_ENOMEM;
    return reply_join(hub, request, group, created);
}

/* ---- take and leave ---- */

/* Applies [[first, last]…]. 0; EVB_EINVAL; EVB_ENOMEM. */
static int take_acks(evb_hub *hub, evb_group *group, evb_mp *args) {
    uint32_t count, two;
    uint64_t first, last;
    if (!evb_mp_array(args, &count))
        return EVB_EINVAL;
    while (count--) {
        if (!evb_mp_array(args, &two) || two != 2 || !evb_mp_uint(args, &first) || !evb_mp_uint(args, &last) ||
            first > last)
            return EVB_EINVAL;
        if (!evb_group_ack(hub, group, first, last))
            return EVB_ENOMEM;
    }
    return 0;
}

/* Applies [[key, delay_ns or nil, reason, final, attempt (may be missing)]…]. 0; EVB_EINVAL; an error that ends the hub. */
static int take_fails(evb_hub *hub, evb_group *group, evb_member *member, evb_mp *args, evb_error *err) {
    uint32_t count, parts;
    if (!evb_mp_array(args, &count))
        return EVB_EINVAL;
    while (count--) {
        uint64_t key, delay = UINT64_MAX;
        evb_attempt_said said;
        const char *text;
        char reason[EVB_REASON_MAX];
        size_t size;
        bool final;
        if (!evb_mp_array(args, &parts) || parts < 4 || parts > 5 || !evb_mp_uint(args, &key) ||
            (!evb_mp_nil(args) && !evb_mp_uint(args, &delay)) || !evb_mp_str(args, &text, &size) ||
            !evb_mp_bool(args, &final) || (parts == 5 && !evb_attempt_read(args, &said)))
            return EVB_EINVAL;
        evb_utf8_copy(reason, sizeof reason, text, size, false);
        int64_t delay_ns = delay == UINT64_MAX ? -1 : delay > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)delay;
        int rc = parts == 5 ? evb_attempt_store(hub, group, member, key, reason, &said, err) : 0;
        rc = rc ? rc : evb_group_fail(hub, group, member, key, delay_ns, final, reason, hub->now_ns, err);
        if (rc)
            return rc;
    }
    return 0;
}

/* [more, floor, head, lost, rows], and the records as the body. */
static int reply_take(evb_hub *hub, const evb_request *request, const evb_group *group, evb_hand *hand) {
    msgpack_packer p;
    evb_action *reply = evb_hub_answer(hub, request, 5, &p);
    bool ok = reply && !(hand->more ? msgpack_pack_true(&p) : msgpack_pack_false(&p)) &&
              !msgpack_pack_uint64(&p, evb_group_floor_of_all(group)) &&
              !msgpack_pack_uint64(&p, evb_journal_head(hub->journal)) && !msgpack_pack_uint64(&p, group->lost) &&
              !msgpack_pack_array(&p, hand->row_count) &&
              (!hand->rows.size || evb_buf_add(&reply->head, hand->rows.data, hand->rows.size));
    if (!ok)
        return EVB_ENOMEM;
    hub->answered += hand->records.size;
    reply->has_body = true;
    reply->body = hand->records;
    hand->records = (evb_buf){0};
    return 0;
}

/* The member that a request names: a group, a token. */
static evb_member *named_member(const evb_hub *hub, evb_mp *args, evb_group **group, evb_error *why) {
    const char *token;
    size_t size;
    *group = evb_groups_named(hub, args, why);
    if (!*group)
        return NULL;
    evb_member *m = evb_mp_str(args, &token, &size) ? find_member(*group, token, size) : NULL;
    if (!m)
        evb_fail(why, EVB_EAGAIN, "not a member of group %s: join it", (*group)->name);
    return m;
}

/* Who wants to see the end of what there is would wait for as long as the group is paused: it is told, once it has
 * nothing more in hand. */
static bool waits_in_vain(const evb_group *group, const evb_member *member) {
    return group->paused && member->until && !member->holder.events && evb_group_floor_of_all(group) < member->until;
}

static int refuse_paused(evb_hub *hub, const evb_request *request, const evb_group *group) {
    evb_error why;
    evb_fail(&why, EVB_EBUSY, "group %s is paused (evctl group %s resume)", group->name, group->name);
    return evb_hub_refuse_error(hub, request, &why);
}

int evb_hub_group_take(evb_hub *hub, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    evb_group *group;
    evb_hand hand = {0};
    uint64_t bytes;
    evb_member *member = named_member(hub, &args, &group, &why);
    if (!member)
        return evb_hub_refuse_error(hub, request, &why);
    int rc = take_acks(hub, group, &args);
    rc = rc ? rc : take_fails(hub, group, member, &args, err);
    if (rc == EVB_EINVAL || (rc == 0 && (!evb_mp_uint(&args, &hand.room) || !evb_mp_uint(&args, &bytes))))
        return evb_hub_refuse(hub, request, "usage", "group: its arguments are name, token, acks, fails, counts");
    if (rc)
        return rc;
    member->until = 0;
    if (request->arg_count > 6 && !evb_mp_nil(&args) && !evb_mp_uint(&args, &member->until))
        return evb_hub_refuse(hub, request, "usage", "group: until is a seq or nil");
    uint64_t wanted = hand.room;
    hand.bytes = bytes < TAKE_BYTES_MOST ? (size_t)bytes : TAKE_BYTES_MOST;
    evb_member_refresh(member, hub->now_ns);
    rc = evb_group_take(hub, group, member, &hand, hub->now_ns, err);
    if (wanted) /* who only acknowledges is as hungry as before */
        set_hungry(group, member, hand.room && !hand.more);
    if (rc == 0 && wanted && waits_in_vain(group, member))
        rc = refuse_paused(hub, request, group);
    else if (rc == 0 && group->fault[0] && !hand.row_count && wanted)
        rc = evb_hub_refuse(hub, request, "damaged", group->fault);
    else
        rc = rc ? rc : reply_take(hub, request, group, &hand);
    evb_buf_free(&hand.rows);
    evb_buf_free(&hand.records);
    return rc;
}

int evb_hub_group_leave(evb_hub *hub, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    evb_group *group;
    msgpack_packer packer;
    evb_member *member = named_member(hub, &args, &group, &why);
    if (!member)
        return evb_hub_refuse_error(hub, request, &why);
    int rc = take_acks(hub, group, &args);
    rc = rc ? rc : take_fails(hub, group, member, &args, err);
    if (rc == EVB_EINVAL)
        return evb_hub_refuse(hub, request, "usage", "group.leave: its arguments are name, token, acks, fails");
    rc = rc ? rc : evb_group_release(hub, group, member, NULL, 0, hub->now_ns, err);
    remove_member(group, member);
    return rc ? rc : evb_hub_answer(hub, request, 0, &packer) ? 0 : EVB_ENOMEM;
}

/* What the member has in hand is being worked on: its time begins anew. */
int evb_hub_group_busy(evb_hub *hub, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    evb_group *group;
    msgpack_packer packer;
    (void)err;
    evb_member *member = named_member(hub, &args, &group, &why);
    if (!member)
        return evb_hub_refuse_error(hub, request, &why);
    member->since_ns = hub->now_ns;
    member->fresh = true;
    return evb_hub_answer(hub, request, 0, &packer) ? 0 : EVB_ENOMEM;
}
