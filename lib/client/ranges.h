/* ranges.h: sets of keys, as ranges in the order in which they came. */
#ifndef EVB_RANGES_H
#define EVB_RANGES_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t first, last;
} evb_range;

/* A value: zero-initialise it, free its list. A key is in it once. */
typedef struct {
    evb_range *list;
    size_t count, room;
    uint64_t events; /* keys in all */
} evb_ranges;

/* Adds first..last. False: out of memory. */
bool evb_ranges_add(evb_ranges *r, uint64_t first, uint64_t last);

/* Takes one key out. False: it is not there, or memory is short. */
bool evb_ranges_take(evb_ranges *r, uint64_t key);

/* Takes the first `count` ranges out. */
void evb_ranges_drop(evb_ranges *r, size_t count);

/* Packs the first `count` of them as [[first, last]...]. False: out of memory. */
bool evb_ranges_pack(msgpack_packer *packer, const evb_ranges *r, size_t count);

#endif
