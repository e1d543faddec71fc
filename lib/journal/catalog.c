/* catalog.c: LMDB under one long transaction, with write-back caches of topics and producers before it.
 *
 * Invariants: the transaction is always open; a cached state is newer than the stored one, or equal; a checkpoint
 * writes the caches through and commits with the seq that they stand for, so the file on disk is always whole and
 * says for which seq. LMDB runs without its own locks: the journal's lock file keeps everybody else out.
 * Producers live in two tables, the current and the one before; every 10 minutes the older is emptied and becomes the
 * current, so that forgetting costs nothing for each.
 * Values are big-endian: a topic's last, version, batches, bytes, time; a producer's last, used_ns, then its runs.
 * A topic's value may lack its end, as one from before it was kept. To change a value otherwise: raise
 * CATALOG_FORMAT; an older catalog is then built anew from the journal.
 * Leaves to others: what a state means (journal.c), when to checkpoint (journal.c). */
#include "journal/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "journal/catalog_private.h"

enum {
    CATALOG_FORMAT = 1,
    CACHE_MAX = 64 * 1024,
    TOPIC_VALUE = 40,
    TOPIC_VALUE_LEAST = 32,
    PRODUCER_HEAD = 16,
    RUN_VALUE = 32
};
static const size_t MAP_SIZE = (size_t)16 << 30; /* address space, not memory and not disk */
static const int64_t GENERATION_NS = 600 * EVB_SECOND_NS;

static const char *const DB_NAMES[DB_COUNT] = {"meta", "topics", "producers0", "producers1",
                                               "ids0", "ids1",   "milestones"};

typedef struct {
    evb_topic_state state;
    evb_topic_state stored; /* what the transaction has */
    uint8_t size;
    char topic[];
} topic_entry;

int evb_catalog_fail(evb_error *err, int rc, const char *what) {
    int code = rc == ENOSPC || rc == MDB_MAP_FULL ? EVB_ESTORE : rc == ENOMEM ? EVB_ENOMEM : EVB_EIO;
    return evb_fail(err, code, "catalog: %s: %s", what, mdb_strerror(rc));
}

/* ---- single values ---- */

int evb_catalog_get(evb_catalog *self, int db, const void *key, size_t size, MDB_val *value) {
    MDB_val k = {size, (void *)(uintptr_t)key};
    return mdb_get(self->txn, self->db[db], &k, value);
}

int evb_catalog_put(evb_catalog *self, int db, const void *key, size_t size, void *data, size_t data_size) {
    MDB_val k = {size, (void *)(uintptr_t)key}, v = {data_size, data};
    return mdb_put(self->txn, self->db[db], &k, &v, 0);
}

uint64_t evb_catalog_get_meta(evb_catalog *self, const char *name) {
    MDB_val v;
    return evb_catalog_get(self, DB_META, name, strlen(name), &v) == 0 && v.mv_size == 8 ? evb_get64(v.mv_data) : 0;
}

int evb_catalog_put_meta(evb_catalog *self, const char *name, uint64_t value) {
    uint8_t data[8];
    evb_put64(data, value);
    return evb_catalog_put(self, DB_META, name, strlen(name), data, sizeof data);
}

/* ---- opening and closing ---- */

static int begin(evb_catalog *self) {
    int rc = mdb_txn_begin(self->env, NULL, 0, &self->txn);
    for (int i = 0; rc == 0 && i < DB_COUNT; i++)
        rc = mdb_dbi_open(self->txn, DB_NAMES[i], MDB_CREATE, &self->db[i]);
    return rc;
}

/* The file's descriptor, its bytes, and how many it should have at least. 0, or LMDB's error or an errno. */
static int measure(evb_catalog *self, int *fd, uint64_t *have, uint64_t *want) {
    MDB_envinfo info;
    MDB_stat pages;
    struct stat file;
    int rc = mdb_env_info(self->env, &info);
    rc = rc ? rc : mdb_env_stat(self->env, &pages);
    rc = rc ? rc : mdb_env_get_fd(self->env, fd);
    if (rc == 0 && fstat(*fd, &file))
        rc = errno;
    if (rc)
        return rc;
    *have = (uint64_t)file.st_size;
    *want = ((uint64_t)info.me_last_pgno + 1) * pages.ms_psize;
    return 0;
}

/* LMDB maps the file, and a page that is not there kills the process (SIGBUS). */
static int check_size(evb_catalog *self) {
    uint64_t have, want;
    int fd, rc = measure(self, &fd, &have, &want);
    return rc == 0 && have < want ? MDB_CORRUPTED : rc;
}

/* LMDB does not write pages at the end that it took and gave back at once: so that one that is cut short can be told. */
static void fill_up(evb_catalog *self) {
    uint64_t have, want;
    int fd;
    if (measure(self, &fd, &have, &want) == 0 && have < want && ftruncate(fd, (off_t)want))
        return; /* at worst it is built anew */
}

static int open_env(evb_catalog *self, const char *path) {
    int rc = mdb_env_create(&self->env);
    rc = rc ? rc : mdb_env_set_mapsize(self->env, MAP_SIZE);
    rc = rc ? rc : mdb_env_set_maxdbs(self->env, DB_COUNT);
    rc = rc ? rc : mdb_env_open(self->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NORDAHEAD, 0600);
    rc = rc ? rc : check_size(self);
    return rc ? rc : begin(self);
}

static void read_meta(evb_catalog *self) {
    self->seq = evb_catalog_get_meta(self, "seq");
    self->generation = evb_catalog_get_meta(self, "generation") & 1;
    self->rotated_ns = (int64_t)evb_catalog_get_meta(self, "rotated");
    evb_catalog_ids_read(self);
}

evb_catalog *evb_catalog_new(const char *path, evb_error *err) {
    evb_catalog *self = calloc(1, sizeof *self);
    if (!self || !(self->topics = evb_table_new()) || !(self->producers = evb_table_new())) {
        evb_fail(err, EVB_ENOMEM, "catalog: out of memory");
        evb_catalog_destroy(&self);
        return NULL;
    }
    int rc = open_env(self, path);
    if (rc) {
        evb_fail(err, rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_VERSION_MISMATCH ? EVB_EDAMAGED : EVB_EIO,
                 "%s: %s", path, mdb_strerror(rc));
        evb_catalog_destroy(&self);
        return NULL;
    }
    read_meta(self);
    if (self->seq && evb_catalog_get_meta(self, "format") != CATALOG_FORMAT) {
        evb_fail(err, EVB_EDAMAGED, "%s: of another format", path);
        evb_catalog_destroy(&self);
    }
    return self;
}

static void drop_producer(void *value) {
    evb_producer *p = value;
    free(p->runs);
    free(p);
}

void evb_catalog_destroy(evb_catalog **self) {
    if (!*self)
        return;
    evb_table_destroy(&(*self)->topics, free);
    evb_table_destroy(&(*self)->producers, drop_producer);
    if ((*self)->txn)
        mdb_txn_abort((*self)->txn);
    if ((*self)->env)
        mdb_env_close((*self)->env);
    free(*self);
    *self = NULL;
}

uint64_t evb_catalog_seq(const evb_catalog *self) { return self->seq; }

/* ---- writing the caches through ---- */

static int write_topic(evb_catalog *self, topic_entry *e) {
    if (memcmp(&e->state, &e->stored, sizeof e->state) == 0)
        return 0;
    uint8_t v[TOPIC_VALUE];
    evb_put64(v, e->state.last);
    evb_put64(v + 8, e->state.version);
    evb_put64(v + 16, e->state.batches);
    evb_put64(v + 24, e->state.bytes);
    evb_put64(v + 32, (uint64_t)e->state.time_ns);
    int rc = evb_catalog_put(self, DB_TOPICS, e->topic, e->size, v, sizeof v);
    if (rc == 0)
        e->stored = e->state;
    return rc;
}

static int write_topics(evb_catalog *self) {
    topic_entry *e;
    int rc = 0;
    for (size_t cursor = 0; rc == 0 && (e = evb_table_next(self->topics, &cursor));)
        rc = write_topic(self, e);
    return rc;
}

static int current_producers(const evb_catalog *self) { return self->generation ? DB_PRODUCERS_1 : DB_PRODUCERS_0; }

static int write_producer(evb_catalog *self, const evb_producer *p) {
    uint8_t v[PRODUCER_HEAD + EVB_RUNS_MAX * RUN_VALUE];
    evb_put64(v, p->last);
    evb_put64(v + 8, (uint64_t)p->used_ns);
    uint8_t *at = v + PRODUCER_HEAD;
    for (uint32_t i = 0; i < p->run_count; i++, at += RUN_VALUE) {
        evb_put64(at, p->runs[i].number);
        evb_put64(at + 8, p->runs[i].seq);
        evb_put64(at + 16, p->runs[i].end);
        evb_put64(at + 24, p->runs[i].batches);
    }
    return evb_catalog_put(self, current_producers(self), p->id, sizeof p->id, v, (size_t)(at - v));
}

/* Writes the cached producers and forgets them: the next look-up of one reads it back. */
static int write_producers(evb_catalog *self) {
    evb_producer *p;
    for (size_t cursor = 0; (p = evb_table_next(self->producers, &cursor));) {
        int rc = write_producer(self, p);
        if (rc)
            return rc;
    }
    evb_table_clear(self->producers, drop_producer);
    return 0;
}

/* Begins a new generation of producers when the current one is 10 minutes old, however the clock was set. */
static int rotate(evb_catalog *self, int64_t now_ns) {
    int64_t steady_ns = evb_catalog_steady(self, now_ns);
    if (steady_ns >= self->rotated_ns && evb_catalog_between(self->rotated_ns, steady_ns) < GENERATION_NS)
        return 0;
    self->generation ^= 1;
    self->rotated_ns = steady_ns;
    return mdb_drop(self->txn, self->db[current_producers(self)], 0);
}

int evb_catalog_checkpoint(evb_catalog *self, uint64_t seq, int64_t now_ns, evb_error *err) {
    int rc = write_topics(self);
    rc = rc ? rc : write_producers(self);
    rc = rc ? rc : rotate(self, now_ns);
    rc = rc ? rc : evb_catalog_put_meta(self, "format", CATALOG_FORMAT);
    rc = rc ? rc : evb_catalog_put_meta(self, "seq", seq);
    rc = rc ? rc : evb_catalog_put_meta(self, "generation", self->generation);
    rc = rc ? rc : evb_catalog_put_meta(self, "rotated", (uint64_t)self->rotated_ns);
    rc = rc ? rc : evb_catalog_ids_write(self);
    if (rc)
        return evb_catalog_fail(err, rc, "cannot write");
    rc = mdb_txn_commit(self->txn);
    self->txn = NULL;
    if (rc == 0) {
        self->seq = seq;
        fill_up(self);
    }
    int again = begin(self);
    if (rc || again)
        return evb_catalog_fail(err, rc ? rc : again, "cannot commit");
    return 0;
}

int evb_catalog_revert(evb_catalog *self, evb_error *err) {
    evb_table_clear(self->topics, free);
    evb_table_clear(self->producers, drop_producer);
    if (self->txn)
        mdb_txn_abort(self->txn);
    self->txn = NULL;
    int rc = begin(self);
    if (rc)
        return evb_catalog_fail(err, rc, "cannot begin");
    read_meta(self);
    return 0;
}

int evb_catalog_clear(evb_catalog *self, evb_error *err) {
    evb_table_clear(self->topics, free);
    evb_table_clear(self->producers, drop_producer);
    int rc = 0;
    for (int i = 0; rc == 0 && i < DB_COUNT; i++)
        rc = mdb_drop(self->txn, self->db[i], 0);
    self->seq = 0;
    evb_catalog_ids_read(self);
    return rc ? evb_catalog_fail(err, rc, "cannot empty it") : 0;
}

/* ---- topics ---- */

int evb_catalog_reserve(evb_catalog *self, size_t count, evb_error *err) {
    if (evb_table_count(self->topics) + count <= CACHE_MAX)
        return 0;
    int rc = write_topics(self);
    if (rc)
        return evb_catalog_fail(err, rc, "cannot write topics");
    evb_table_clear(self->topics, free);
    return 0;
}

static void decode_topic(const MDB_val *v, evb_topic_state *state) {
    const uint8_t *p = v->mv_data;
    *state = v->mv_size < TOPIC_VALUE_LEAST
                 ? (evb_topic_state){0}
                 : (evb_topic_state){evb_get64(p), evb_get64(p + 8), evb_get64(p + 16), evb_get64(p + 24),
                                     v->mv_size < TOPIC_VALUE ? 0 : (int64_t)evb_get64(p + 32)};
}

evb_topic_state *evb_catalog_topic(evb_catalog *self, const char *topic, size_t size, evb_error *err) {
    topic_entry *e = evb_table_get(self->topics, topic, size);
    if (e)
        return &e->state;
    MDB_val v = {0, NULL};
    int rc = evb_catalog_get(self, DB_TOPICS, topic, size, &v);
    if (rc && rc != MDB_NOTFOUND) {
        evb_catalog_fail(err, rc, "cannot read a topic");
        return NULL;
    }
    e = malloc(sizeof *e + size);
    if (e) {
        e->size = (uint8_t)size;
        memcpy(e->topic, topic, size);
        decode_topic(&v, &e->stored);
        e->state = e->stored;
        if (evb_table_put(self->topics, e->topic, size, e))
            return &e->state;
    }
    free(e);
    evb_fail(err, EVB_ENOMEM, "catalog: out of memory");
    return NULL;
}

int evb_catalog_look(evb_catalog *self, const char *topic, size_t size, evb_topic_state *state, evb_error *err) {
    const topic_entry *e = evb_table_get(self->topics, topic, size);
    MDB_val v;
    *state = e ? e->state : (evb_topic_state){0};
    int rc = e ? 0 : evb_catalog_get(self, DB_TOPICS, topic, size, &v);
    if (!e && rc == 0)
        decode_topic(&v, state);
    return rc && rc != MDB_NOTFOUND ? evb_catalog_fail(err, rc, "cannot read a topic") : 0;
}

/* Forgets the topic that the cursor is on, if all its events are below first. */
static int forget_topic(evb_catalog *self, MDB_cursor *cursor, const MDB_val *k, const MDB_val *v, uint64_t first) {
    topic_entry *e = evb_table_get(self->topics, k->mv_data, k->mv_size);
    evb_topic_state stored;
    decode_topic(v, &stored);
    if ((e ? e->state.last : stored.last) >= first)
        return 0;
    if (e)
        free(evb_table_remove(self->topics, k->mv_data, k->mv_size));
    return mdb_cursor_del(cursor, 0); /* MDB_NEXT then gives what stood behind it */
}

int evb_catalog_forget(evb_catalog *self, const char *prefix, size_t size, uint64_t first, evb_error *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(self->txn, self->db[DB_TOPICS], &cursor);
    if (rc)
        return evb_catalog_fail(err, rc, "cannot forget topics");
    MDB_val k = {size, (void *)(uintptr_t)prefix}, v;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && k.mv_size >= size && memcmp(k.mv_data, prefix, size) == 0) {
        rc = forget_topic(self, cursor, &k, &v, first);
        rc = rc ? rc : mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc && rc != MDB_NOTFOUND ? evb_catalog_fail(err, rc, "cannot forget topics") : 0;
}

/* ---- milestones: keys of topic, NUL and seq ---- */

enum { MILESTONE_KEY = EVB_TOPIC_MAX + 1 + 8 };

static MDB_val milestone_key(uint8_t room[MILESTONE_KEY], const char *topic, size_t size, uint64_t seq) {
    memcpy(room, topic, size);
    room[size] = 0;
    evb_put64(room + size + 1, seq);
    return (MDB_val){size + 1 + 8, room};
}

/* The seq of the first milestone of the topic at or behind the key, where the cursor then stands; 0: none. */
static int first_milestone(MDB_cursor *cursor, MDB_val key, uint64_t *seq) {
    MDB_val k = key, v;
    *seq = 0;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == 0 && k.mv_size == key.mv_size && memcmp(k.mv_data, key.mv_data, key.mv_size - 8) == 0)
        *seq = evb_get64((const uint8_t *)k.mv_data + k.mv_size - 8);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int evb_catalog_milestone(evb_catalog *self, const char *topic, size_t size, uint64_t least, uint64_t *seq,
                          evb_error *err) {
    uint8_t room[MILESTONE_KEY];
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(self->txn, self->db[DB_MILESTONES], &cursor);
    if (rc == 0) {
        rc = first_milestone(cursor, milestone_key(room, topic, size, least), seq);
        mdb_cursor_close(cursor);
    }
    return rc ? evb_catalog_fail(err, rc, "cannot read a milestone") : 0;
}

/* Forgets the topic's two oldest milestones, if they are below first: one comes for each batch that is noted. */
static int forget_milestones(MDB_cursor *cursor, const char *topic, size_t size, uint64_t first) {
    uint8_t room[MILESTONE_KEY];
    uint64_t seq;
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        rc = first_milestone(cursor, milestone_key(room, topic, size, 0), &seq);
        if (rc || !seq || seq >= first)
            return rc;
        rc = mdb_cursor_del(cursor, 0);
    }
    return rc;
}

int evb_catalog_milestone_note(evb_catalog *self, const char *topic, size_t size, uint64_t seq, uint64_t first,
                               evb_error *err) {
    uint8_t room[MILESTONE_KEY];
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(self->txn, self->db[DB_MILESTONES], &cursor);
    if (rc == 0) {
        MDB_val k = milestone_key(room, topic, size, seq), v = {0, NULL};
        rc = forget_milestones(cursor, topic, size, first);
        rc = rc ? rc : mdb_cursor_put(cursor, &k, &v, 0);
        mdb_cursor_close(cursor);
    }
    return rc ? evb_catalog_fail(err, rc, "cannot note a milestone") : 0;
}

uint64_t evb_catalog_topic_count(evb_catalog *self) {
    MDB_stat stat;
    size_t cursor = 0, count = mdb_stat(self->txn, self->db[DB_TOPICS], &stat) ? 0 : stat.ms_entries;
    for (const topic_entry *e; (e = evb_table_next(self->topics, &cursor));)
        count += !e->stored.version && e->state.version; /* not written through yet */
    return count;
}

/* Puts the cursor on the first topic behind `after`. */
static int seek_behind(MDB_cursor *cursor, const char *after, size_t size, MDB_val *k, MDB_val *v) {
    *k = (MDB_val){size, (void *)(uintptr_t)after};
    int rc = mdb_cursor_get(cursor, k, v, size ? MDB_SET_RANGE : MDB_FIRST);
    if (rc == 0 && size && k->mv_size == size && memcmp(k->mv_data, after, size) == 0)
        rc = mdb_cursor_get(cursor, k, v, MDB_NEXT);
    return rc;
}

int evb_catalog_topics(evb_catalog *self, const char *after, size_t after_size, size_t scan,
                       const evb_patterns *patterns, evb_catalog_topic_fn *each, void *context, char *next,
                       size_t *next_size, evb_error *err) {
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = write_topics(self);
    rc = rc ? rc : mdb_cursor_open(self->txn, self->db[DB_TOPICS], &cursor);
    if (rc)
        return evb_catalog_fail(err, rc, "cannot list topics");
    *next_size = 0;
    rc = seek_behind(cursor, after, after_size, &k, &v);
    for (bool stop = false; rc == 0 && !stop; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        if (scan-- == 0)
            break;
        if (k.mv_size > EVB_TOPIC_MAX) {
            mdb_cursor_close(cursor);
            return evb_fail(err, EVB_EDAMAGED, "catalog: a topic's name is too long");
        }
        evb_topic_state state;
        decode_topic(&v, &state);
        *next_size = k.mv_size;
        memcpy(next, k.mv_data, k.mv_size);
        if (evb_patterns_match(patterns, k.mv_data, k.mv_size))
            stop = each(context, k.mv_data, k.mv_size, &state) != 0;
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        *next_size = 0;
    return rc && rc != MDB_NOTFOUND ? evb_catalog_fail(err, rc, "cannot list topics") : 0;
}

/* ---- producers ---- */

static evb_producer *make_producer(evb_catalog *self, const uint8_t *id) {
    evb_producer *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    memcpy(p->id, id, EVB_PRODUCER_SIZE);
    if (evb_table_put(self->producers, p->id, EVB_PRODUCER_SIZE, p))
        return p;
    free(p);
    return NULL;
}

static evb_producer *decode_producer(evb_catalog *self, const uint8_t *id, const MDB_val *v) {
    size_t runs = (v->mv_size - PRODUCER_HEAD) / RUN_VALUE;
    evb_producer *p = make_producer(self, id);
    if (!p)
        return NULL;
    const uint8_t *at = v->mv_data;
    p->last = evb_get64(at);
    p->used_ns = (int64_t)evb_get64(at + 8);
    p->runs = runs ? malloc(runs * sizeof *p->runs) : NULL;
    if (!p->runs)
        return p; /* known, but not where its batches lie: they can't be answered again, and nothing is doubled */
    p->run_room = p->run_count = (uint32_t)runs;
    at += PRODUCER_HEAD;
    for (size_t i = 0; i < runs; i++, at += RUN_VALUE)
        p->runs[i] = (evb_run){evb_get64(at), evb_get64(at + 8), evb_get64(at + 16), evb_get64(at + 24)};
    return p;
}

static evb_producer *find_producer(evb_catalog *self, const uint8_t *id, evb_error *err) {
    evb_producer *p = evb_table_get(self->producers, id, EVB_PRODUCER_SIZE);
    if (p)
        return p;
    MDB_val v;
    int now = current_producers(self), before = now == DB_PRODUCERS_0 ? DB_PRODUCERS_1 : DB_PRODUCERS_0;
    int rc = evb_catalog_get(self, now, id, EVB_PRODUCER_SIZE, &v);
    if (rc == MDB_NOTFOUND)
        rc = evb_catalog_get(self, before, id, EVB_PRODUCER_SIZE, &v);
    if (rc == MDB_NOTFOUND)
        return NULL;
    if (rc)
        evb_catalog_fail(err, rc, "cannot read a producer");
    else if (v.mv_size < PRODUCER_HEAD || v.mv_size > PRODUCER_HEAD + EVB_RUNS_MAX * RUN_VALUE)
        evb_fail(err, EVB_EDAMAGED, "catalog: a producer's value is not of its size");
    else if (!(p = decode_producer(self, id, &v)))
        evb_fail(err, EVB_ENOMEM, "catalog: out of memory");
    return p;
}

const evb_producer *evb_catalog_producer(evb_catalog *self, const uint8_t id[EVB_PRODUCER_SIZE], evb_error *err) {
    err->code = 0;
    return find_producer(self, id, err);
}

/* Whether the batch goes on where the run ends: what is stored follows in the journal, or is not stored. After a crash
 * the numbers of batches that were not stored are not known, but that of the next that was. */
static bool continues(const evb_run *run, uint64_t number, uint64_t seq) {
    return number - run->number < EVB_RUN_BATCHES && (!seq || !run->seq || run->end == seq);
}

static void extend(evb_run *run, uint64_t number, uint64_t seq, uint64_t end) {
    run->batches = number - run->number + 1;
    if (!seq)
        return;
    if (!run->seq)
        run->seq = seq;
    run->end = end;
}

/* Room for one more run: grows by doubling, and forgets the oldest at EVB_RUNS_MAX. */
static bool make_room(evb_producer *p) {
    if (p->run_count < p->run_room)
        return true;
    if (p->run_count == EVB_RUNS_MAX) {
        memmove(p->runs, p->runs + 1, --p->run_count * sizeof *p->runs);
        return true;
    }
    uint32_t room = p->run_room ? p->run_room * 2 : 1;
    if (room > EVB_RUNS_MAX)
        room = EVB_RUNS_MAX;
    evb_run *runs = realloc(p->runs, room * sizeof *runs);
    if (!runs)
        return false;
    p->runs = runs;
    p->run_room = room;
    return true;
}

int evb_catalog_producer_note(evb_catalog *self, const uint8_t id[EVB_PRODUCER_SIZE], uint64_t number, uint64_t seq,
                              uint64_t end, int64_t now_ns, evb_error *err) {
    if (evb_table_count(self->producers) >= CACHE_MAX) {
        int rc = write_producers(self);
        if (rc)
            return evb_catalog_fail(err, rc, "cannot write producers");
    }
    evb_error local = {0};
    evb_producer *p = find_producer(self, id, &local);
    if (!p && local.code)
        return evb_fail(err, local.code, "%s", local.text);
    if (!p && !(p = make_producer(self, id)))
        return evb_fail(err, EVB_ENOMEM, "catalog: out of memory");
    evb_run *run = p->run_count ? &p->runs[p->run_count - 1] : NULL;
    if (run && continues(run, number, seq)) {
        extend(run, number, seq, end);
    } else {
        if (!make_room(p))
            return evb_fail(err, EVB_ENOMEM, "catalog: out of memory");
        p->runs[p->run_count++] = (evb_run){number, seq, end, 1};
    }
    p->last = number;
    p->used_ns = now_ns;
    return 0;
}
