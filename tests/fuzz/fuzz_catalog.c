/* fuzz_catalog.c: the catalog's keys and values, as a damaged or foreign file of LMDB may have them. LMDB's own pages are
 * not touched: it believes them. */
#include <stdlib.h>
#include <string.h>

#include <lmdb.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "input.h"
#include "journal/catalog.h"

static const char *const TABLES[] = {"meta", "topics", "producers0", "producers1", "ids0", "ids1", "milestones"};
static const char *const META[] = {"seq",       "generation", "rotated",  "ids",
                                   "ids_since", "ids_time",   "ids_skew", "ids_table"};
enum { TABLE_COUNT = sizeof TABLES / sizeof *TABLES, META_COUNT = sizeof META / sizeof *META };

static void put(MDB_txn *txn, MDB_dbi table, const void *key, size_t key_size, const void *value, size_t size) {
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v = {size, (void *)(uintptr_t)value};
    if (key_size)
        mdb_put(txn, table, &k, &v, 0);
}

static void put_number(MDB_txn *txn, MDB_dbi table, const char *key, uint64_t value) {
    uint8_t data[8];
    evb_put64(data, value);
    put(txn, table, key, strlen(key), data, sizeof data);
}

/* Rows as the input says: a table, a key, a value. A key of one byte is one that is asked for later. */
static void put_rows(MDB_txn *txn, const MDB_dbi *tables, fuzz_input *in) {
    uint8_t known[EVB_PRODUCER_SIZE] = {0};
    for (int i = 0; i < 40 && fuzz_left(in); i++) {
        MDB_dbi table = tables[fuzz_number(in, 1) % TABLE_COUNT];
        size_t key_size, size;
        uint8_t *key = fuzz_piece(in, &key_size), *value = fuzz_piece(in, &size);
        if (key_size == 1)
            known[0] = key[0] & 3;
        if (key_size == 1 && table == tables[0])
            put(txn, table, META[key[0] % META_COUNT], strlen(META[key[0] % META_COUNT]), value, size);
        else if (key_size == 1 && table == tables[1])
            put(txn, table, "t.1", 3, value, size);
        else
            put(txn, table, key_size == 1 ? known : key, key_size == 1 ? sizeof known : key_size, value, size);
        free(key);
        free(value);
    }
}

static void write_catalog(const char *path, fuzz_input *in) {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi tables[TABLE_COUNT];
    MUST(!mdb_env_create(&env) && !mdb_env_set_mapsize(env, (size_t)1 << 24) &&
         !mdb_env_set_maxdbs(env, TABLE_COUNT));
    MUST(!mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600) &&
         !mdb_txn_begin(env, NULL, 0, &txn));
    for (int i = 0; i < TABLE_COUNT; i++)
        MUST(!mdb_dbi_open(txn, TABLES[i], MDB_CREATE, &tables[i]));
    put_number(txn, tables[0], "seq", 100);
    put_number(txn, tables[0], "format", 1);
    put_rows(txn, tables, in);
    MUST(!mdb_txn_commit(txn));
    mdb_env_close(env);
}

static int see_topic(void *context, const char *topic, size_t size, const evb_topic_state *state) {
    (void)context, (void)state;
    MUST(topic && size <= EVB_TOPIC_MAX);
    return 0;
}

static void use_topics(evb_catalog *catalog) {
    char after[EVB_TOPIC_MAX], next[EVB_TOPIC_MAX];
    size_t size = 0;
    evb_topic_state state;
    evb_error err = {0};
    uint64_t seq = 0;
    for (int i = 0; i < 20; i++) {
        if (evb_catalog_topics(catalog, after, size, 3, NULL, see_topic, NULL, next, &size, &err) || !size)
            break;
        memcpy(after, next, size);
    }
    MUST(evb_catalog_look(catalog, "t.1", 3, &state, &err) == 0);
    MUST(evb_catalog_reserve(catalog, 1, &err) == 0);
    evb_topic_state *topic = evb_catalog_topic(catalog, "t.1", 3, &err);
    MUST(topic && memcmp(topic, &state, sizeof state) == 0);
    topic->last++;
    evb_catalog_milestone(catalog, "t.1", 3, 1, &seq, &err);
    MUST(evb_catalog_milestone_note(catalog, "t.1", 3, 7, 5, &err) == 0);
    MUST(evb_catalog_milestone(catalog, "t.1", 3, 7, &seq, &err) == 0 && seq >= 7);
    evb_catalog_topic_count(catalog);
}

static void use_producer(evb_catalog *catalog, uint8_t which) {
    const uint8_t id[EVB_PRODUCER_SIZE] = {which};
    evb_error err = {0};
    uint64_t seq;
    const evb_producer *p = evb_catalog_producer(catalog, id, &err);
    MUST(!p || p->run_count <= EVB_RUNS_MAX);
    uint64_t number = p ? p->last + 1 : 1;
    if (evb_catalog_producer_note(catalog, id, number, 1000, 1001, 5, &err) == 0)
        MUST((p = evb_catalog_producer(catalog, id, &err)) && p->last == number);
    if (evb_catalog_id(catalog, id, fuzz_now_ns, &seq, &err) == 0 &&
        evb_catalog_id_note(catalog, id, 9, fuzz_now_ns, &err) == 0)
        MUST(evb_catalog_id(catalog, id, fuzz_now_ns, &seq, &err) == 0);
}

static void use(evb_catalog *catalog) {
    evb_error err = {0};
    evb_catalog_keep_ids(catalog, 100 * EVB_SECOND_NS, 5);
    use_topics(catalog);
    for (uint8_t i = 0; i < 4; i++)
        use_producer(catalog, i);
    evb_catalog_clock_jumped(catalog, -5);
    MUST(evb_catalog_checkpoint(catalog, 200, fuzz_now_ns, &err) == 0 && evb_catalog_seq(catalog) == 200);
    MUST(evb_catalog_revert(catalog, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    evb_error err = {0};
    fuzz_now_ns = INT64_C(1795341600) * EVB_SECOND_NS;
    const char *path = fuzz_catalog_path();
    write_catalog(path, &in);
    evb_catalog *catalog = evb_catalog_new(path, &err);
    MUST(catalog || (err.code == EVB_EDAMAGED && *err.text));
    if (catalog)
        use(catalog);
    evb_catalog_destroy(&catalog);
    return 0;
}
