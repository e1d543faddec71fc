/* ranges.c: a list, whose last range grows while keys come in order. */
#include "client/ranges.h"

#include <stdlib.h>
#include <string.h>

bool evb_ranges_add(evb_ranges *r, uint64_t first, uint64_t last) {
    r->events += last - first + 1;
    if (r->count && r->list[r->count - 1].last + 1 == first) {
        r->list[r->count - 1].last = last;
        return true;
    }
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 16;
        evb_range *list = realloc(r->list, room * sizeof *list);
        if (!list) {
            r->events -= last - first + 1;
            return false;
        }
        r->list = list;
        r->room = room;
    }
    r->list[r->count++] = (evb_range){first, last};
    return true;
}

bool evb_ranges_take(evb_ranges *r, uint64_t key) {
    size_t i = 0;
    while (i < r->count && (key < r->list[i].first || key > r->list[i].last))
        i++;
    if (i == r->count)
        return false;
    evb_range before = {r->list[i].first, key - 1}, after = {key + 1, r->list[i].last};
    bool has_before = before.first<key, has_after = after.last> key;
    if (has_before && has_after && !evb_ranges_add(r, 0, 0))
        return false; /* room for one more, with itself taken off below */
    if (has_before && has_after) {
        r->events--;
        memmove(&r->list[i + 2], &r->list[i + 1], (r->count - i - 2) * sizeof *r->list);
        r->list[i + 1] = after;
    }
    if (has_before)
        r->list[i] = before;
    else if (has_after)
        r->list[i] = after;
    else
        memmove(&r->list[i], &r->list[i + 1], (--r->count - i) * sizeof *r->list);
    r->events--;
    return true;
}

bool evb_ranges_pack(msgpack_packer *packer, const evb_ranges *r, size_t count) {
    bool ok = !msgpack_pack_array(packer, count);
    for (size_t i = 0; ok && i < count; i++)
        ok = !msgpack_pack_array(packer, 2) && !msgpack_pack_uint64(packer, r->list[i].first) &&
             !msgpack_pack_uint64(packer, r->list[i].last);
    return ok;
}

void evb_ranges_drop(evb_ranges *r, size_t count) {
    if (!count)
        return;
    for (size_t i = 0; i < count; i++)
        r->events -= r->list[i].last - r->list[i].first + 1;
    r->count -= count;
    memmove(r->list, r->list + count, r->count * sizeof *r->list);
}
