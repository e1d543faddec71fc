/* clients.c: the requests "hello" and "clients".
 *
 * Invariant: a client is listed while its feed is connected, whether it says hello or not, and at most CLIENTS_MAX are. A
 * hello of a token that no connection has is passed over: it was sent again after the connection had gone, and nothing
 * would ever take such a client off the list.
 * Leaves to others: noticing that connections come and go (net/server.c). */
#include "hub/clients.h"

#include <stdlib.h>

#include "base/clock.h"
#include "hub/groups.h"
#include "hub/hub_private.h"

enum { CLIENTS_MAX = 10000, TOKEN_FIXED = 30, PATTERNS_BYTES_MAX = 4096 };
static const int64_t FRESH_NS = 8 * EVB_SECOND_NS; /* hellos come every five */

static evb_client *find_id(const struct evb_client_list *list, const char *id, size_t size) {
    evb_client *c;
    TAILQ_FOREACH (c, list, link) {
        if (c->id_size == size && memcmp(c->id, id, size) == 0)
            return c;
    }
    return NULL;
}

/* What a client asks for again under another name has the same first characters. */
static bool same_token(const char *a, size_t a_size, const char *b, size_t b_size) {
    if (a_size < TOKEN_FIXED || b_size < TOKEN_FIXED)
        return a_size == b_size && memcmp(a, b, a_size) == 0;
    return memcmp(a, b, TOKEN_FIXED) == 0;
}

static evb_client *find(const struct evb_client_list *list, const char *token, size_t size) {
    evb_client *c;
    TAILQ_FOREACH (c, list, link) {
        if (same_token(c->token, c->token_size, token, size))
            return c;
    }
    return NULL;
}

size_t evb_clients_count(const struct evb_client_list *list) {
    const evb_client *c;
    size_t n = 0;
    TAILQ_FOREACH (c, list, link)
        n++;
    return n;
}

const evb_client *evb_clients_find(const struct evb_client_list *list, const char *token, size_t size) {
    return find(list, token, size);
}

bool evb_clients_has(const struct evb_client_list *list, const char *token, size_t size) {
    return find(list, token, size) || evb_clients_count(list) >= CLIENTS_MAX;
}

static void remove_client(struct evb_client_list *list, evb_client *c) {
    TAILQ_REMOVE(list, c, link);
    evb_patterns_destroy(&c->patterns);
    free(c);
}

void evb_clients_left(struct evb_client_list *list, const char *token, size_t size) {
    evb_client *c = find(list, token, size);
    if (c)
        remove_client(list, c);
}

void evb_clients_clear(struct evb_client_list *list) {
    for (evb_client *c; (c = TAILQ_FIRST(list));)
        remove_client(list, c);
}

void evb_clients_came(struct evb_client_list *list, const char *token, size_t size, evb_origin origin,
                      int64_t now_ns) {
    evb_client *c = NULL;
    if (size > sizeof c->token || find(list, token, size) || evb_clients_count(list) >= CLIENTS_MAX)
        return;
    c = calloc(1, sizeof *c);
    if (!c)
        return;
    c->origin = origin;
    c->since_ns = now_ns;
    c->token_size = size;
    memcpy(c->token, token, size);
    TAILQ_INSERT_TAIL(list, c, link);
}

/* ---- hello ---- */

static void copy_text(char *out, size_t room, const char *text, size_t size) {
    if (size >= room || !evb_text_valid(text, size))
        size = 0;
    memcpy(out, text, size);
    out[size] = 0;
}

/* Too many are not kept: they would stay in memory for as long as the client is there. */
static void take_patterns(evb_client *c, evb_mp mp) {
    evb_error why;
    evb_patterns *patterns;
    if (mp.end - mp.at > PATTERNS_BYTES_MAX || !evb_hub_read_patterns(&mp, &patterns, &why))
        return;
    evb_patterns_destroy(&c->patterns);
    c->patterns = patterns;
}

static void take_text(evb_client *c, const char *name, size_t size, const char *text, size_t text_size) {
    if (size == 4 && memcmp(name, "kind", 4) == 0)
        copy_text(c->kind, sizeof c->kind, text, text_size);
    else if (size == 5 && memcmp(name, "group", 5) == 0)
        copy_text(c->group, sizeof c->group, text, text_size);
    else if (size == 10 && memcmp(name, "last_error", 10) == 0)
        copy_text(c->report.last_error, sizeof c->report.last_error, text, text_size);
}

static void take_number(evb_client *c, const char *name, size_t size, uint64_t value) {
    if (size == 8 && memcmp(name, "position", 8) == 0)
        c->position = value;
    else if (size == 6 && memcmp(name, "losses", 6) == 0)
        c->losses = value;
    else if (size == 6 && memcmp(name, "handed", 6) == 0)
        c->handed = value;
    else if (size == 4 && memcmp(name, "runs", 4) == 0)
        c->report.runs = value;
    else if (size == 8 && memcmp(name, "failures", 8) == 0)
        c->report.failures = value;
    else if (size == 13 && memcmp(name, "last_error_ns", 13) == 0)
        c->report.last_error_ns = value <= INT64_MAX ? (int64_t)value : 0;
}

/* Takes one row of a hello. False: it is malformed. */
static bool take_row(evb_client *c, evb_mp *mp) {
    const char *name, *text;
    size_t size, text_size;
    uint64_t value;
    if (!evb_mp_str(mp, &name, &size))
        return false;
    if (evb_mp_str(mp, &text, &text_size)) {
        take_text(c, name, size, text, text_size);
        return true;
    }
    if (evb_mp_uint(mp, &value)) {
        take_number(c, name, size, value);
        return true;
    }
    evb_mp start = *mp;
    if (!evb_mp_skip(mp))
        return false;
    if (size == 8 && memcmp(name, "patterns", 8) == 0)
        take_patterns(c, (evb_mp){start.at, mp->at});
    return true;
}

/* The client is known by this id: another connection of it is one that we have not yet seen go. */
static void take_id(struct evb_client_list *list, evb_client *c, const char *id, size_t size) {
    evb_client *other = find_id(list, id, size);
    if (other && other != c)
        remove_client(list, other);
    c->id_size = size;
    memcpy(c->id, id, size);
}

/* How many seqs lie between what a reader wants next and the head. */
static uint64_t behind(uint64_t head, uint64_t position) { return head + 1 > position ? head + 1 - position : 0; }

/* [id, token, map] -> [] */
int evb_hub_hello(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    const char *id, *token;
    size_t size, token_size;
    uint32_t rows;
    msgpack_packer p;
    (void)err;
    if (!evb_mp_str(&args, &id, &size) || !size || !evb_text_valid(id, size) || size > sizeof((evb_client *)0)->id ||
        !evb_mp_str(&args, &token, &token_size) || !token_size || token_size > sizeof((evb_client *)0)->token ||
        !evb_mp_map(&args, &rows))
        return evb_hub_refuse(self, request, "usage", "hello: its arguments are an id, a token and a map");
    evb_client *c = find(&self->clients, token, token_size);
    if (c) {
        take_id(&self->clients, c, id, size);
        c->origin = c->origin.pid < 0 ? request->origin : c->origin;
        c->handed_before = c->handed;
        c->before_ns = c->heard_ns;
        c->heard_ns = self->now_ns;
        while (rows-- && take_row(c, &args))
            continue;
        evb_reports_heard(self, c);
        c->lag = c->position ? behind(evb_journal_head(self->journal), c->position) : 0;
    }
    return evb_hub_answer(self, request, 0, &p) ? 0 : EVB_ENOMEM;
}

/* ---- the list ---- */

static bool pack_text(msgpack_packer *p, const char *name, const char *text, size_t size) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !(size ? evb_mp_pack_str(p, text, size) : msgpack_pack_nil(p));
}

static bool pack_number(msgpack_packer *p, const char *name, uint64_t value) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !msgpack_pack_uint64(p, value);
}

static bool pack_id(msgpack_packer *p, const char *name, int64_t id) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !(id < 0 ? msgpack_pack_nil(p) : msgpack_pack_int64(p, id));
}

/* Whether what it said last is not old. */
static bool is_fresh(const evb_hub *self, const evb_client *c) {
    return c->heard_ns && self->now_ns - c->heard_ns < FRESH_NS;
}

static uint64_t rate_of(const evb_hub *self, const evb_client *c) {
    int64_t time = c->heard_ns - c->before_ns;
    if (!c->before_ns || !is_fresh(self, c) || time <= 0 || c->handed < c->handed_before)
        return 0;
    return (uint64_t)((double)(c->handed - c->handed_before) * 1e9 / (double)time);
}

/* Where a client is: itself, or for a member its group. */
typedef struct {
    uint64_t position, lag, in_hand;
    const evb_group *group;
} place;

static const evb_member *find_member(const evb_group *group, const evb_client *c) {
    const evb_member *m;
    TAILQ_FOREACH (m, &group->members, link) {
        if (same_token(m->token, m->token_size, c->token, c->token_size))
            return m;
    }
    return NULL;
}

/* A client that is heard of tells how far it was behind then: what has come since says nothing of it. */
static place place_of(const evb_hub *self, const evb_client *c) {
    uint64_t head = evb_journal_head(self->journal);
    place at = {.position = c->position, .lag = c->lag};
    const evb_group *group;
    if (c->position && !is_fresh(self, c))
        at.lag = behind(head, c->position);
    TAILQ_FOREACH (group, &self->groups, link) {
        const evb_member *m = find_member(group, c);
        if (!m)
            continue;
        at.position = evb_group_floor(group) + 1;
        at.lag = behind(head, at.position);
        at.in_hand = m->holder.events;
        at.group = group;
    }
    return at;
}

static bool pack_patterns(msgpack_packer *p, const evb_patterns *patterns) {
    size_t count = patterns ? evb_patterns_count(patterns) : 0, size;
    bool ok = !evb_mp_pack_str(p, "patterns", 8) && !msgpack_pack_array(p, count);
    for (size_t i = 0; ok && i < count; i++) {
        const char *text = evb_patterns_get(patterns, i, &size);
        ok = !evb_mp_pack_str(p, text, size);
    }
    return ok;
}

static bool pack_client(const evb_hub *self, const evb_client *c, msgpack_packer *p) {
    place at = place_of(self, c);
    const evb_report *r = &c->report;
    return !msgpack_pack_map(p, 16) && pack_text(p, "kind", c->kind, strlen(c->kind)) &&
           pack_text(p, "id", c->id, c->id_size) && pack_id(p, "pid", c->origin.pid) &&
           pack_id(p, "uid", c->origin.uid) &&
           pack_text(p, "group", at.group ? at.group->name : c->group,
                     at.group ? at.group->name_size : strlen(c->group)) &&
           pack_number(p, "position", at.position) && pack_number(p, "lag", at.lag) &&
           pack_number(p, "in_hand", at.in_hand) && pack_number(p, "losses", c->losses) &&
           pack_number(p, "rate", rate_of(self, c)) && pack_number(p, "since_ns", (uint64_t)c->since_ns) &&
           pack_number(p, "runs", r->runs) && pack_number(p, "failures", r->failures) &&
           pack_text(p, "last_error", r->last_error, strlen(r->last_error)) &&
           pack_number(p, "last_error_ns", (uint64_t)r->last_error_ns) &&
           pack_patterns(p, at.group ? at.group->patterns : c->patterns);
}

/* [] -> [rows] */
int evb_hub_clients(evb_hub *self, const evb_request *request, evb_error *err) {
    const evb_client *c;
    msgpack_packer p;
    (void)err;
    if (!evb_hub_answer(self, request, 1, &p) || msgpack_pack_array(&p, evb_clients_count(&self->clients)))
        return EVB_ENOMEM;
    TAILQ_FOREACH (c, &self->clients, link) {
        if (!pack_client(self, c, &p))
            return EVB_ENOMEM;
    }
    return 0;
}
