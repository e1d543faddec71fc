/* clients.c: the requests "hello" and "clients".
 *
 * Invariant: a client is listed from its first hello until its feed's connection goes; at most CLIENTS_MAX are, so that
 * nobody fills the hub by saying hello under ever new names.
 * Leaves to others: noticing that a connection is gone (net/server.c). */
#include "hub/clients.h"

#include <stdlib.h>

#include "hub/hub_private.h"

enum { CLIENTS_MAX = 10000, TOKEN_FIXED = 30 };

static evb_client *find_id(const struct evb_client_list *list, const char *id, size_t size) {
    evb_client *c;
    TAILQ_FOREACH (c, list, link) {
        if (c->id_size == size && memcmp(c->id, id, size) == 0)
            return c;
    }
    return NULL;
}

static evb_client *find(const struct evb_client_list *list, const char *token, size_t size) {
    evb_client *c;
    TAILQ_FOREACH (c, list, link) {
        size_t fixed = c->token_size < TOKEN_FIXED ? c->token_size : TOKEN_FIXED;
        if (size >= fixed && memcmp(c->token, token, fixed) == 0)
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

/* ---- hello ---- */

static evb_client *add(evb_hub *self, const evb_request *request, const char *id, size_t size) {
    if (evb_clients_count(&self->clients) >= CLIENTS_MAX)
        return NULL;
    evb_client *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->origin = request->origin;
    c->since_ns = request->now_ns;
    c->id_size = size;
    memcpy(c->id, id, size);
    TAILQ_INSERT_TAIL(&self->clients, c, link);
    return c;
}

static void copy_text(char *out, size_t room, const char *text, size_t size) {
    if (size >= room || !evb_text_valid(text, size))
        size = 0;
    memcpy(out, text, size);
    out[size] = 0;
}

/* Takes one row of a hello. False: it is malformed. */
static bool take_row(evb_client *c, evb_mp *mp) {
    const char *name, *text;
    size_t size, text_size;
    uint64_t value;
    if (!evb_mp_str(mp, &name, &size))
        return false;
    if (evb_mp_str(mp, &text, &text_size)) {
        if (size == 4 && memcmp(name, "kind", 4) == 0)
            copy_text(c->kind, sizeof c->kind, text, text_size);
        else if (size == 5 && memcmp(name, "group", 5) == 0)
            copy_text(c->group, sizeof c->group, text, text_size);
        return true;
    }
    if (evb_mp_uint(mp, &value)) {
        if (size == 8 && memcmp(name, "position", 8) == 0)
            c->position = value;
        else if (size == 6 && memcmp(name, "losses", 6) == 0)
            c->losses = value;
        else if (size == 6 && memcmp(name, "handed", 6) == 0)
            c->handed = value;
        return true;
    }
    if (size == 8 && memcmp(name, "patterns", 8) == 0) {
        evb_error why;
        evb_mp copy = *mp;
        evb_patterns *patterns;
        if (evb_hub_read_patterns(&copy, &patterns, &why)) {
            evb_patterns_destroy(&c->patterns);
            c->patterns = patterns;
        }
    }
    return evb_mp_skip(mp);
}

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
    evb_client *c = find_id(&self->clients, id, size);
    if (!c)
        c = add(self, request, id, size);
    if (c) {
        c->token_size = token_size;
        memcpy(c->token, token, token_size);
        c->handed_before = c->handed;
        c->before_ns = c->heard_ns;
        c->heard_ns = self->now_ns;
        while (rows-- && take_row(c, &args))
            continue;
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

static uint64_t rate_of(const evb_client *c) {
    int64_t time = c->heard_ns - c->before_ns;
    if (!c->before_ns || time <= 0 || c->handed < c->handed_before)
        return 0;
    return (uint64_t)((double)(c->handed - c->handed_before) * 1e9 / (double)time);
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
    uint64_t head = evb_journal_head(self->journal);
    return !msgpack_pack_map(p, 11) && pack_text(p, "kind", c->kind, strlen(c->kind)) &&
           pack_text(p, "id", c->id, c->id_size) && pack_id(p, "pid", c->origin.pid) &&
           pack_id(p, "uid", c->origin.uid) && pack_text(p, "group", c->group, strlen(c->group)) &&
           pack_number(p, "position", c->position) &&
           pack_number(p, "lag", head + 1 > c->position ? head + 1 - c->position : 0) &&
           pack_number(p, "losses", c->losses) && pack_number(p, "rate", rate_of(c)) &&
           pack_number(p, "since_ns", (uint64_t)c->since_ns) && pack_patterns(p, c->patterns);
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
