/* catalog_ids.c: which ids were stored lately, and as which seq.
 *
 * Two tables, the current and the one before. The current one begins anew, in the place of the older, once it holds so
 * many ids or has lasted so long that everything before it is forgotten: so forgetting costs nothing for each id.
 * A value is the seq, the time and the running number, big-endian: with these a look-up decides exactly what still
 * counts. Times are those of the wall clock less what it has jumped by, so that an id's age does not jump with it.
 * Leaves to others: which events have ids (hub/again.c), taking them in again after a crash (recovery.c). */
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/error.h"
#include "journal/catalog_private.h"

enum { ID_VALUE = 24 };

void evb_id_key(const char *topic, size_t topic_size, const char *id, size_t id_size, uint8_t key[EVB_ID_KEY]) {
    char text[EVB_TOPIC_MAX + 1 + EVB_ID_MAX];
    memcpy(text, topic, topic_size);
    text[topic_size] = 0;
    memcpy(text + topic_size + 1, id, id_size);
    XXH128_canonicalFromHash((XXH128_canonical_t *)key, XXH3_128bits(text, topic_size + 1 + id_size));
}

void evb_catalog_keep_ids(evb_catalog *self, int64_t window_ns, uint64_t most) {
    self->ids.window_ns = window_ns;
    self->ids.most = most;
}

void evb_catalog_clock_jumped(evb_catalog *self, int64_t by_ns) {
    self->ids.skew_ns = (int64_t)((uint64_t)self->ids.skew_ns + (uint64_t)by_ns);
}

int64_t evb_catalog_steady(const evb_catalog *self, int64_t now_ns) {
    return evb_catalog_between(self->ids.skew_ns, now_ns);
}

void evb_catalog_ids_read(evb_catalog *self) {
    self->ids.noted = evb_catalog_get_meta(self, "ids");
    self->ids.since = evb_catalog_get_meta(self, "ids_since");
    self->ids.since_ns = (int64_t)evb_catalog_get_meta(self, "ids_time");
    self->ids.skew_ns = (int64_t)evb_catalog_get_meta(self, "ids_skew");
    self->ids.current = evb_catalog_get_meta(self, "ids_table") & 1;
}

int evb_catalog_ids_write(evb_catalog *self) {
    int rc = evb_catalog_put_meta(self, "ids", self->ids.noted);
    rc = rc ? rc : evb_catalog_put_meta(self, "ids_since", self->ids.since);
    rc = rc ? rc : evb_catalog_put_meta(self, "ids_time", (uint64_t)self->ids.since_ns);
    rc = rc ? rc : evb_catalog_put_meta(self, "ids_skew", (uint64_t)self->ids.skew_ns);
    return rc ? rc : evb_catalog_put_meta(self, "ids_table", self->ids.current);
}

static int table(const evb_catalog *self, uint64_t which) {
    return (self->ids.current ^ which) ? DB_IDS_1 : DB_IDS_0;
}

static bool counts(const id_window *ids, int64_t noted_ns, uint64_t number, int64_t now_ns) {
    return ids->noted - number < ids->most &&
           evb_catalog_between(noted_ns, evb_catalog_between(ids->skew_ns, now_ns)) <= ids->window_ns;
}

int evb_catalog_id(evb_catalog *self, const uint8_t key[EVB_ID_KEY], int64_t now_ns, uint64_t *seq, evb_error *err) {
    MDB_val v;
    *seq = 0;
    int rc = evb_catalog_get(self, table(self, 0), key, EVB_ID_KEY, &v);
    if (rc == MDB_NOTFOUND)
        rc = evb_catalog_get(self, table(self, 1), key, EVB_ID_KEY, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return evb_catalog_fail(err, rc, "cannot read an id");
    if (v.mv_size != ID_VALUE)
        return evb_fail(err, EVB_EDAMAGED, "catalog: an id's value is cut short");
    const uint8_t *p = v.mv_data;
    if (counts(&self->ids, (int64_t)evb_get64(p + 8), evb_get64(p + 16), now_ns))
        *seq = evb_get64(p);
    return 0;
}

/* Begins the current table anew when all before it is forgotten. */
static int turn(evb_catalog *self, int64_t steady_ns) {
    id_window *ids = &self->ids;
    if (ids->noted - ids->since < ids->most && evb_catalog_between(ids->since_ns, steady_ns) <= ids->window_ns)
        return 0;
    ids->current ^= 1;
    ids->since = ids->noted;
    ids->since_ns = steady_ns;
    return mdb_drop(self->txn, self->db[table(self, 0)], 0);
}

int evb_catalog_id_note(evb_catalog *self, const uint8_t key[EVB_ID_KEY], uint64_t seq, int64_t now_ns,
                        evb_error *err) {
    uint8_t v[ID_VALUE];
    int64_t steady_ns = evb_catalog_between(self->ids.skew_ns, now_ns);
    if (!self->ids.most)
        return 0;
    int rc = turn(self, steady_ns);
    evb_put64(v, seq);
    evb_put64(v + 8, (uint64_t)steady_ns);
    evb_put64(v + 16, ++self->ids.noted);
    rc = rc ? rc : evb_catalog_put(self, table(self, 0), key, EVB_ID_KEY, v, sizeof v);
    return rc ? evb_catalog_fail(err, rc, "cannot note an id") : 0;
}
