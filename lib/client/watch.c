/* watch.c: the looks of watch.h, as calls whose answers fill in the tables.
 *
 * Invariants: at most one call of each kind is under way. Topics live in a table by name, and in an array that is put
 * in order when a look at all of them has found new ones; a topic that such a look has not found any more is dropped.
 * A number that goes down (another journal, a group made anew) counts as begun again from 0.
 * Leaves to others: what is shown of it (cmd/evctl_top). */
#include "client/watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/table.h"
#include "client/client_private.h"

static const int64_t TOPICS_BUDGET_NS = 40 * EVB_MILLISECOND_NS; /* of waiting for pages, in each tick */

/* A kind of call: what is under way of it, and when it was last answered. */
typedef struct {
    bool asked;
    int64_t asked_ns, answered_ns; /* monotonic; 0: never */
} turn;

struct evb_watch {
    evb_bus *bus;
    const evb_patterns *patterns;
    turn status, groups, clients, topics;
    evb_watch_status hub;
    char absent[512]; /* why the hub does not answer; empty: it does */
    /* topics */
    evb_table *by_name;
    evb_watch_topic **list;
    size_t count, room;
    uint64_t look;              /* number of the look at all topics that is under way */
    int64_t look_ns, before_ns; /* when it began, and the one before */
    bool looking;               /* it has not come to its end */
    bool unordered;
    char after[EVB_TOPIC_MAX + 1];
    size_t after_size;
    int64_t spent_ns, page_ns; /* in this tick; when the page was asked for */
    /* rows */
    evb_watch_group *group;
    evb_watch_client *client;
    size_t group_count, client_count;
};

evb_watch *evb_watch_new(evb_bus *bus, const evb_patterns *patterns, evb_error *err) {
    evb_watch *self = calloc(1, sizeof *self);
    if (!self || !(self->by_name = evb_table_new())) {
        free(self);
        evb_fail(err, EVB_ENOMEM, "watch: out of memory");
        return NULL;
    }
    self->bus = bus;
    self->patterns = patterns;
    return self;
}

static void drop_topic(void *value) {
    evb_watch_topic *t = value;
    free(t->history);
    free(t->name);
    free(t);
}

static void free_groups(evb_watch_group *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(rows[i].name);
        free(rows[i].patterns);
        free(rows[i].stalled);
    }
    free(rows);
}

static void free_clients(evb_watch_client *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(rows[i].kind);
        free(rows[i].patterns);
        free(rows[i].group);
    }
    free(rows);
}

static void free_status(evb_watch_status *s) {
    free(s->version);
    free(s->sync);
}

void evb_watch_destroy(evb_watch **self) {
    evb_watch *w = *self;
    if (!w)
        return;
    evb_call_forget(w->bus, w);
    evb_table_destroy(&w->by_name, drop_topic);
    free(w->list);
    free_groups(w->group, w->group_count);
    free_clients(w->client, w->client_count);
    free_status(&w->hub);
    free(w);
    *self = NULL;
}

/* ---- reading maps ---- */

/* One key of a row and where its value goes: one of them. */
typedef struct {
    const char *key;
    uint64_t *number;
    char **text; /* a copy; nil is NULL; an array of strings is joined by blanks */
    bool *flag;
    bool *there; /* whether the number was one */
} field;

static bool key_is(const char *key, const char *name, size_t size) {
    return strlen(key) == size && memcmp(key, name, size) == 0;
}

/* Reads a string, or an array of strings with blanks between them. False: neither. */
static bool read_text(evb_mp *mp, char **out) {
    const char *text;
    size_t size;
    uint32_t count = 1;
    evb_buf joined = {0};
    bool ok = true;
    evb_mp_array(mp, &count);
    for (uint32_t i = 0; ok && i < count; i++) {
        ok = evb_mp_str(mp, &text, &size);
        ok = ok && (i == 0 || evb_buf_add(&joined, " ", 1)) && evb_buf_add(&joined, text, size);
    }
    if (ok && evb_buf_add(&joined, "", 1)) {
        free(*out);
        *out = (char *)joined.data;
        return true;
    }
    evb_buf_free(&joined);
    return false;
}

static bool read_field(evb_mp *mp, const field *f) {
    if (f->number && evb_mp_uint(mp, f->number)) {
        if (f->there)
            *f->there = true;
        return true;
    }
    if (f->flag && evb_mp_bool(mp, f->flag))
        return true;
    evb_mp before = *mp;
    if (f->text && read_text(mp, f->text))
        return true;
    *mp = before;
    return evb_mp_skip(mp);
}

/* Reads a map into the fields that it has; others are passed over. */
static bool read_map(evb_mp *mp, const field *fields, size_t count) {
    uint32_t rows;
    const char *name;
    size_t size;
    if (!evb_mp_map(mp, &rows))
        return false;
    while (rows--) {
        if (!evb_mp_str(mp, &name, &size))
            return false;
        const field *found = NULL;
        for (size_t i = 0; i < count && !found; i++)
            found = key_is(fields[i].key, name, size) ? &fields[i] : NULL;
        if (!(found ? read_field(mp, found) : evb_mp_skip(mp)))
            return false;
    }
    return true;
}

/* ---- asking ---- */

static double rate_of(uint64_t before, uint64_t now, int64_t ns) {
    if (ns <= 0)
        return 0;
    return (double)(now >= before ? now - before : now) * 1e9 / (double)ns;
}

static void push_rate(evb_watch_history *h, double rate) {
    h->at = (h->at + 1) % EVB_WATCH_HISTORY;
    h->rates[h->at] = (float)rate;
}

static void is_absent(evb_watch *self, const char *why) { snprintf(self->absent, sizeof self->absent, "%s", why); }

/* Takes note that a call was answered. False: by an error, or not as it should be. */
static bool taken(turn *t, const evb_reply *reply, bool ok) {
    t->asked = false;
    if (reply->code || !ok)
        return false;
    t->answered_ns = evb_clock_monotonic_ns();
    return true;
}

static bool ask(evb_watch *self, turn *t, const char *op, evb_done_fn *done) {
    msgpack_packer packer;
    if (t->asked)
        return true;
    evb_call *call = evb_call_new(self->bus, op, 0, &packer, done, self);
    if (!call)
        return false;
    t->asked = true;
    t->asked_ns = evb_clock_monotonic_ns();
    evb_call_send(self->bus, call);
    return true;
}

/* ---- the hub ---- */

static bool read_status(evb_mp mp, evb_watch_status *s) {
    const field fields[] = {{"version", .text = &s->version},
                            {"sync", .text = &s->sync},
                            {"pid", .number = &s->pid},
                            {"first", .number = &s->first},
                            {"head", .number = &s->head},
                            {"bytes", .number = &s->bytes},
                            {"disk_free", .number = &s->disk_free},
                            {"disk_total", .number = &s->disk_total},
                            {"clients", .number = &s->clients},
                            {"rss", .number = &s->rss},
                            {"time", .number = (uint64_t *)&s->time_ns},
                            {"uptime_ns", .number = (uint64_t *)&s->uptime_ns},
                            {"full", .flag = &s->full}};
    return read_map(&mp, fields, sizeof fields / sizeof *fields);
}

static void status_done(void *context, evb_call *call, const evb_reply *reply) {
    evb_watch *self = context;
    evb_watch_status now = {.history = self->hub.history};
    int64_t before_ns = self->status.answered_ns;
    uint64_t head = self->hub.head, pid = self->hub.pid;
    (void)call;
    if (reply->code) {
        self->status.asked = false;
        is_absent(self, reply->text);
        return;
    }
    if (!taken(&self->status, reply, read_status(reply->results, &now))) {
        free_status(&now);
        is_absent(self, "the hub's answer does not speak evbus-protocol(7)");
        return;
    }
    free_status(&self->hub);
    now.rate = before_ns && now.pid == pid && now.head >= head
                   ? rate_of(head, now.head, self->status.answered_ns - before_ns)
                   : 0;
    push_rate(&now.history, now.rate);
    self->hub = now;
    self->absent[0] = 0;
}

/* ---- topics ---- */

static bool add_topic(evb_watch *self, evb_watch_topic *t) {
    if (self->count == self->room) {
        size_t room = self->room ? self->room * 2 : 256;
        evb_watch_topic **list = realloc(self->list, room * sizeof *list);
        if (!list)
            return false;
        self->list = list;
        self->room = room;
    }
    if (!evb_table_put(self->by_name, t->name, t->size, t))
        return false;
    self->list[self->count++] = t;
    self->unordered = true;
    return true;
}

/* A topic that was not there before; it has had its events since the look before, unless this is the first look. */
static evb_watch_topic *new_topic(evb_watch *self, const char *name, size_t size, uint64_t version) {
    evb_watch_topic *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->name = strndup(name, size);
    t->size = size;
    t->version = self->look > 1 ? 0 : version;
    t->seen_ns = self->look > 1 ? self->before_ns : self->look_ns;
    if (t->name && add_topic(self, t))
        return t;
    drop_topic(t);
    return NULL;
}

/* The fields of a row behind its name, of which a hub may know fewer. */
typedef struct {
    uint64_t last, version, events, bytes, time_ns;
} topic_row;

static bool read_topic_row(evb_mp *mp, const char **name, size_t *size, topic_row *row) {
    uint64_t *fields[] = {&row->last, &row->version, &row->events, &row->bytes, &row->time_ns};
    uint32_t count;
    *row = (topic_row){0};
    if (!evb_mp_array(mp, &count) || count < 3 || !evb_mp_str(mp, name, size) || *size > EVB_TOPIC_MAX)
        return false;
    for (uint32_t i = 1; i < count; i++)
        if (i > sizeof fields / sizeof *fields || !evb_mp_uint(mp, fields[i - 1]))
            if (!evb_mp_skip(mp))
                return false;
    return true;
}

static bool take_topic(evb_watch *self, evb_mp *mp, int64_t now) {
    const char *name;
    size_t size;
    topic_row row;
    if (!read_topic_row(mp, &name, &size, &row))
        return false;
    evb_watch_topic *t = evb_table_get(self->by_name, name, size);
    if (!t && !(t = new_topic(self, name, size, row.version)))
        return false;
    t->rate = rate_of(t->version, row.version, now - t->seen_ns);
    if (t->rate > 0 && !t->history)
        t->history = calloc(1, sizeof *t->history);
    if (t->history)
        t->history->rates[t->history->at] = (float)t->rate;
    t->version = row.version;
    t->last = row.last;
    t->bytes = row.bytes;
    t->time_ns = (int64_t)row.time_ns;
    t->seen_ns = now;
    t->look = self->look;
    return true;
}

static int by_name(const void *a, const void *b) {
    const evb_watch_topic *x = *(evb_watch_topic *const *)a, *y = *(evb_watch_topic *const *)b;
    return strcmp(x->name, y->name);
}

/* Drops the topics that this look has not found; the table is then made anew. */
static void drop_lost(evb_watch *self) {
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++)
        kept += self->list[i]->look == self->look;
    if (kept == self->count)
        return;
    evb_table *table = evb_table_new();
    if (!table)
        return;
    size_t count = self->count;
    self->count = 0;
    for (size_t i = 0; i < count; i++) {
        evb_watch_topic *t = self->list[i];
        if (t->look == self->look && evb_table_put(table, t->name, t->size, t))
            self->list[self->count++] = t;
        else
            drop_topic(t);
    }
    evb_table_destroy(&self->by_name, NULL);
    self->by_name = table;
}

static void end_look(evb_watch *self) {
    self->looking = false;
    drop_lost(self);
    if (self->unordered && self->count)
        qsort(self->list, self->count, sizeof *self->list, by_name);
    self->unordered = false;
}

static bool ask_page(evb_watch *self);

/* Takes in a page; *next: the topic to go on behind, or nil at the end. */
static bool take_page(evb_watch *self, evb_mp mp) {
    int64_t now = evb_clock_monotonic_ns();
    const char *next = NULL;
    size_t size = 0;
    uint32_t rows;
    bool last = evb_mp_nil(&mp);
    if ((!last && (!evb_mp_str(&mp, &next, &size) || size > EVB_TOPIC_MAX)) || !evb_mp_array(&mp, &rows))
        return false;
    while (rows--)
        if (!take_topic(self, &mp, now))
            return false;
    self->after_size = size;
    if (size)
        memcpy(self->after, next, size);
    if (last)
        end_look(self);
    return true;
}

static void page_done(void *context, evb_call *call, const evb_reply *reply) {
    evb_watch *self = context;
    (void)call;
    if (!taken(&self->topics, reply, !reply->code && take_page(self, reply->results))) {
        self->looking = false;
        return;
    }
    self->spent_ns += self->topics.answered_ns - self->page_ns;
    if (self->looking && self->spent_ns < TOPICS_BUDGET_NS)
        ask_page(self);
}

static bool ask_page(evb_watch *self) {
    msgpack_packer packer;
    size_t count = self->patterns ? evb_patterns_count(self->patterns) : 0, size;
    evb_call *call = evb_call_new(self->bus, "topics", 3, &packer, page_done, self);
    bool ok = call && !evb_mp_pack_str(&packer, self->after, self->after_size) &&
              !msgpack_pack_uint64(&packer, EVB_TOPICS_PAGE_MAX) && !msgpack_pack_array(&packer, count);
    for (size_t i = 0; ok && i < count; i++) {
        const char *pattern = evb_patterns_get(self->patterns, i, &size);
        ok = !evb_mp_pack_str(&packer, pattern, size);
    }
    if (!ok) {
        if (call)
            evb_call_discard(&call);
        return false;
    }
    self->page_ns = evb_clock_monotonic_ns();
    self->topics.asked = true;
    evb_call_send(self->bus, call);
    return true;
}

/* Begins a look at all topics, or goes on with the one that is under way. */
static bool look_at_topics(evb_watch *self, int64_t now) {
    self->spent_ns = 0;
    if (self->topics.asked)
        return true;
    if (!self->looking) {
        self->looking = true;
        self->after_size = 0;
        self->look++;
        self->before_ns = self->look_ns;
        self->look_ns = now;
    }
    return ask_page(self);
}

/* ---- groups and clients ---- */

static bool read_group(evb_mp *mp, evb_watch_group *g) {
    const field fields[] = {{"name", .text = &g->name},         {"patterns", .text = &g->patterns},
                            {"stalled", .text = &g->stalled},   {"members", .number = &g->members},
                            {"lag", .number = &g->lag},         {"pending", .number = &g->pending},
                            {"in_hand", .number = &g->in_hand}, {"redelivered", .number = &g->redelivered},
                            {"acked", .number = &g->acked},     {"dead", .number = &g->dead}};
    return read_map(mp, fields, sizeof fields / sizeof *fields) && g->name;
}

/* The row of the same name among those of the look before: mostly at the same place. */
static const evb_watch_group *group_before(const evb_watch *self, const char *name, size_t place) {
    for (size_t i = 0; i < self->group_count; i++) {
        const evb_watch_group *g = &self->group[(place + i) % self->group_count];
        if (strcmp(g->name, name) == 0)
            return g;
    }
    return NULL;
}

static void groups_done(void *context, evb_call *call, const evb_reply *reply) {
    evb_watch *self = context;
    evb_mp mp = reply->results;
    uint32_t count = 0, i = 0;
    int64_t before_ns = self->groups.answered_ns;
    evb_watch_group *rows = NULL;
    bool ok = !reply->code && evb_mp_array(&mp, &count) && (rows = calloc(count + 1, sizeof *rows));
    while (ok && i < count)
        ok = read_group(&mp, &rows[i++]);
    (void)call;
    if (!taken(&self->groups, reply, ok)) {
        free_groups(rows, i);
        return;
    }
    for (i = 0; i < count; i++) {
        const evb_watch_group *before = group_before(self, rows[i].name, i);
        if (before && before_ns)
            rows[i].rate = rate_of(before->acked, rows[i].acked, self->groups.answered_ns - before_ns);
    }
    free_groups(self->group, self->group_count);
    self->group = rows;
    self->group_count = count;
}

static bool read_client(evb_mp *mp, evb_watch_client *c) {
    uint64_t rate = 0;
    const field fields[] = {{"kind", .text = &c->kind},
                            {"patterns", .text = &c->patterns},
                            {"group", .text = &c->group},
                            {"pid", .number = &c->pid},
                            {"uid", .number = &c->uid, .there = &c->has_uid},
                            {"position", .number = &c->position},
                            {"lag", .number = &c->lag},
                            {"losses", .number = &c->losses},
                            {"rate", .number = &rate},
                            {"since_ns", .number = (uint64_t *)&c->since_ns}};
    bool ok = read_map(mp, fields, sizeof fields / sizeof *fields);
    c->rate = (double)rate;
    return ok;
}

static void clients_done(void *context, evb_call *call, const evb_reply *reply) {
    evb_watch *self = context;
    evb_mp mp = reply->results;
    uint32_t count = 0, i = 0;
    evb_watch_client *rows = NULL;
    bool ok = !reply->code && evb_mp_array(&mp, &count) && (rows = calloc(count + 1, sizeof *rows));
    while (ok && i < count)
        ok = read_client(&mp, &rows[i++]);
    (void)call;
    if (!taken(&self->clients, reply, ok)) {
        free_clients(rows, i);
        return;
    }
    free_clients(self->client, self->client_count);
    self->client = rows;
    self->client_count = count;
}

/* ---- the API ---- */

/* Each tick adds a rate to the histories, so that all are of the same times; what the tick finds goes in its place. */
static void push_histories(evb_watch *self) {
    for (size_t i = 0; i < self->count; i++)
        if (self->list[i]->history)
            push_rate(self->list[i]->history, self->list[i]->rate);
}

bool evb_watch_tick(evb_watch *self) {
    int64_t now = evb_clock_monotonic_ns();
    bool first = ask(self, &self->status, "status", status_done);
    if (self->absent[0] || !self->status.answered_ns)
        return first; /* the rest when it is there */
    push_histories(self);
    return first && ask(self, &self->groups, "groups", groups_done) &&
           ask(self, &self->clients, "clients", clients_done) && look_at_topics(self, now);
}

bool evb_watch_settled(const evb_watch *self) {
    return !self->status.asked && !self->groups.asked && !self->clients.asked && !self->topics.asked;
}

const char *evb_watch_absent(const evb_watch *self, int64_t *since_ns) {
    static const int64_t PATIENCE_NS = 3 * EVB_SECOND_NS / 2;
    *since_ns = self->status.answered_ns;
    if (self->absent[0])
        return self->absent;
    if (self->status.asked && evb_clock_monotonic_ns() - self->status.asked_ns > PATIENCE_NS)
        return "it does not answer";
    return NULL;
}

const evb_watch_status *evb_watch_hub(const evb_watch *self) { return &self->hub; }

evb_watch_topic *const *evb_watch_topics(const evb_watch *self, size_t *count) {
    *count = self->count;
    return self->list;
}

const evb_watch_group *evb_watch_groups(const evb_watch *self, size_t *count) {
    *count = self->group_count;
    return self->group;
}

const evb_watch_client *evb_watch_clients(const evb_watch *self, size_t *count) {
    *count = self->client_count;
    return self->client;
}
