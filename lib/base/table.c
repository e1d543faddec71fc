/* table.c: open addressing with linear probing over a power of two of slots (Knuth, TAOCP vol. 3, 6.4, algorithm L).
 *
 * Invariants: at most half of the slots are taken, so a probe ends soon; a slot is free exactly while value is NULL.
 * What is removed is closed up by moving what lies behind it back (algorithm R), so there are no tombstones. */
#include "base/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SLOTS_LEAST = 64 };

typedef struct {
    uint64_t hash;
    const void *key;
    size_t size;
    void *value;
} slot;

struct evb_table {
    slot *slots;
    size_t mask; /* slots - 1 */
    size_t count;
};

evb_table *evb_table_new(void) {
    evb_table *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->mask = SLOTS_LEAST - 1;
    self->slots = calloc(SLOTS_LEAST, sizeof *self->slots);
    if (!self->slots) {
        free(self);
        return NULL;
    }
    return self;
}

void evb_table_destroy(evb_table **self, evb_table_drop_fn *drop) {
    if (!*self)
        return;
    evb_table_clear(*self, drop);
    free((*self)->slots);
    free(*self);
    *self = NULL;
}

/* The slot that holds key, or the free one where it belongs. */
static slot *find(const evb_table *self, uint64_t hash, const void *key, size_t size) {
    for (size_t i = (size_t)hash & self->mask;; i = (i + 1) & self->mask) {
        slot *s = &self->slots[i];
        if (!s->value || (s->hash == hash && s->size == size && memcmp(s->key, key, size) == 0))
            return s;
    }
}

void *evb_table_get(const evb_table *self, const void *key, size_t size) {
    return find(self, XXH3_64bits(key, size), key, size)->value;
}

static bool grow(evb_table *self) {
    slot *old = self->slots;
    size_t old_slots = self->mask + 1;
    slot *slots = calloc(old_slots * 2, sizeof *slots);
    if (!slots)
        return false;
    self->slots = slots;
    self->mask = old_slots * 2 - 1;
    for (size_t i = 0; i < old_slots; i++)
        if (old[i].value)
            *find(self, old[i].hash, old[i].key, old[i].size) = old[i];
    free(old);
    return true;
}

bool evb_table_put(evb_table *self, const void *key, size_t size, void *value) {
    if (self->count * 2 > self->mask && !grow(self))
        return false;
    uint64_t hash = XXH3_64bits(key, size);
    *find(self, hash, key, size) = (slot){hash, key, size, value};
    self->count++;
    return true;
}

void *evb_table_remove(evb_table *self, const void *key, size_t size) {
    slot *s = find(self, XXH3_64bits(key, size), key, size);
    void *value = s->value;
    if (!value)
        return NULL;
    size_t hole = (size_t)(s - self->slots);
    for (size_t i = (hole + 1) & self->mask; self->slots[i].value; i = (i + 1) & self->mask) {
        size_t home = (size_t)self->slots[i].hash & self->mask;
        if (((i - home) & self->mask) < ((i - hole) & self->mask))
            continue; /* it may not lie before its home */
        self->slots[hole] = self->slots[i];
        hole = i;
    }
    self->slots[hole] = (slot){0};
    self->count--;
    return value;
}

size_t evb_table_count(const evb_table *self) { return self->count; }

void *evb_table_next(const evb_table *self, size_t *cursor) {
    while (*cursor <= self->mask) {
        void *value = self->slots[(*cursor)++].value;
        if (value)
            return value;
    }
    return NULL;
}

void evb_table_clear(evb_table *self, evb_table_drop_fn *drop) {
    void *value;
    for (size_t cursor = 0; drop && (value = evb_table_next(self, &cursor));)
        drop(value);
    memset(self->slots, 0, (self->mask + 1) * sizeof *self->slots);
    self->count = 0;
}
