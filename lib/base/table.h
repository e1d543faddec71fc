/* table.h: a hash table from byte strings to pointers. */
#ifndef EVB_TABLE_H
#define EVB_TABLE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct evb_table evb_table;
typedef void evb_table_drop_fn(void *value);

/* NULL when memory is short. */
evb_table *evb_table_new(void);

/* Calls drop (may be NULL) on each value, frees the table and sets *self to NULL. *self may be NULL. */
void evb_table_destroy(evb_table **self, evb_table_drop_fn *drop);

/* The value put under key, or NULL. */
void *evb_table_get(const evb_table *self, const void *key, size_t size);

/* Puts value (not NULL) under a key that is not there yet. The key is borrowed: it lives as long as the value.
 * False when memory is short. */
bool evb_table_put(evb_table *self, const void *key, size_t size, void *value);

/* Takes out what was put under key, and returns it, or NULL. Not while evb_table_next goes through the table. */
void *evb_table_remove(evb_table *self, const void *key, size_t size);

size_t evb_table_count(const evb_table *self);

/* The next value from *cursor (0 at first), in no order, or NULL at the end. */
void *evb_table_next(const evb_table *self, size_t *cursor);

/* Calls drop on each value and empties the table; its memory stays. */
void evb_table_clear(evb_table *self, evb_table_drop_fn *drop);

#endif
