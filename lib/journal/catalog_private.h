/* catalog_private.h: the catalog's own struct, shared by catalog.c (topics, producers, checkpoints) and catalog_ids.c. */
#ifndef EVB_CATALOG_PRIVATE_H
#define EVB_CATALOG_PRIVATE_H

#include <lmdb.h>

#include "base/table.h"
#include "journal/catalog.h"

enum { DB_META, DB_TOPICS, DB_PRODUCERS_0, DB_PRODUCERS_1, DB_IDS_0, DB_IDS_1, DB_MILESTONES, DB_COUNT };

/* The ids' two tables: the older is emptied and becomes the current when nothing in it can still count. */
typedef struct {
    int64_t window_ns; /* an id is forgotten when it is older */
    uint64_t most;     /* or when so many newer ones came; 0: none is kept */
    uint64_t noted;    /* ids noted so far */
    uint64_t since;    /* `noted` and the time when the current table began */
    int64_t since_ns;
    int64_t skew_ns;  /* what the wall clock has jumped by, all in all */
    uint64_t current; /* 0 or 1 */
} id_window;

struct evb_catalog {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db[DB_COUNT];
    evb_table *topics;
    evb_table *producers;
    uint64_t seq;        /* of the last checkpoint */
    int64_t rotated_ns;  /* when the current generation began */
    uint64_t generation; /* 0 or 1: which producers table is the current */
    id_window ids;
};

/* The time between two, which may be any numbers: those in the file are only believed as far as nothing breaks by them. */
static inline int64_t evb_catalog_between(int64_t from_ns, int64_t to_ns) {
    return (int64_t)((uint64_t)to_ns - (uint64_t)from_ns);
}

/* Sets *err from what LMDB returned. */
int evb_catalog_fail(evb_error *err, int rc, const char *what);

/* LMDB's get and put in the open transaction, with what they return. */
int evb_catalog_get(evb_catalog *self, int db, const void *key, size_t size, MDB_val *value);
int evb_catalog_put(evb_catalog *self, int db, const void *key, size_t size, void *data, size_t data_size);

/* Single numbers; 0 when it is not there. */
uint64_t evb_catalog_get_meta(evb_catalog *self, const char *name);
int evb_catalog_put_meta(evb_catalog *self, const char *name, uint64_t value);

/* The id window as the transaction has it, and into it (what LMDB returns). */
void evb_catalog_ids_read(evb_catalog *self);
int evb_catalog_ids_write(evb_catalog *self);

#endif
