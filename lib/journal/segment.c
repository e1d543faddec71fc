/* segment.c: names, and the sparse index that makes any seq or time a short walk away.
 *
 * The side file NAME.idx, big-endian: "EVBX", version 1, three zeros, u64 the seq after the last, u64 bytes of the
 * segment; then 24 bytes a place: seq, offset, time; then the XXH3-64 of all before. It is written when a segment is
 * sealed, may be deleted, and is never believed when anything in it does not fit. To change it: raise the version.
 * Invariant: places ascend in seq, offset and time, and the first is the segment's first record. */
#include "journal/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"

enum { PLACE_EVERY = 16 * 1024, INDEX_HEAD = 24, INDEX_PLACE = 24, INDEX_TAIL = 8, NAME_DIGITS = 20 };
static const char AGAIN[] = "a seq comes again";
static const uint8_t INDEX_MAGIC[8] = {'E', 'V', 'B', 'X', 1};

void evb_segment_name(uint64_t first, char out[EVB_SEGMENT_NAME]) {
    snprintf(out, EVB_SEGMENT_NAME, "%020" PRIu64 ".evj", first);
}

void evb_segment_index_name(uint64_t first, char out[EVB_SEGMENT_NAME]) {
    snprintf(out, EVB_SEGMENT_NAME, "%020" PRIu64 ".idx", first);
}

bool evb_segment_named(const char *name, uint64_t *first) {
    if (strspn(name, "0123456789") != NAME_DIGITS || strcmp(name + NAME_DIGITS, ".evj") != 0)
        return false;
    errno = 0;
    *first = strtoull(name, NULL, 10);
    return errno == 0 && *first > 0 && *first <= EVB_SEQ_MOST;
}

typedef struct {
    uint64_t *firsts;
    size_t count;
    bool failed;
} listing;

static void note_name(void *context, const char *name) {
    listing *list = context;
    uint64_t first;
    if (!evb_segment_named(name, &first))
        return;
    uint64_t *firsts = realloc(list->firsts, (list->count + 1) * sizeof *firsts);
    if (!firsts) {
        list->failed = true;
        return;
    }
    list->firsts = firsts;
    firsts[list->count++] = first;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int evb_segment_list(evb_io *io, uint64_t **firsts, size_t *count, evb_error *err) {
    listing list = {0};
    int rc = io->list(io, note_name, &list);
    if (rc || list.failed)
        rc = evb_fail_errno(err, list.failed ? EVB_ENOMEM : EVB_EIO, errno, "journal: cannot list its directory");
    if (rc == 0 && list.count)
        qsort(list.firsts, list.count, sizeof *list.firsts, ascending);
    *firsts = list.firsts;
    *count = list.count;
    return rc;
}

int evb_segment_fail(const evb_segment *seg, int code, uint64_t offset, uint64_t seq, const char *reason,
                     evb_error *err) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seg->first, name);
    return evb_fail(err, code, "%s: offset %" PRIu64 ": %s (seqs from %" PRIu64 ")", name, offset, reason, seq);
}

static bool add_place(evb_segment *seg, evb_place place) {
    if (seg->place_count == seg->place_room) {
        size_t room = seg->place_room ? seg->place_room * 2 : 64;
        evb_place *places = realloc(seg->places, room * sizeof *places);
        if (!places)
            return false;
        seg->places = places;
        seg->place_room = room;
    }
    seg->places[seg->place_count++] = place;
    return true;
}

bool evb_segment_note(evb_segment *seg, const evb_record *rec) {
    int64_t time_ns = rec->time_ns > seg->time_ns ? rec->time_ns : seg->time_ns;
    if (!seg->place_count || seg->size - seg->places[seg->place_count - 1].offset >= PLACE_EVERY)
        if (!add_place(seg, (evb_place){rec->seq, seg->size, time_ns}))
            return false;
    seg->time_ns = time_ns;
    seg->size += rec->size;
    seg->next = rec->seq + rec->count;
    return true;
}

/* Makes the index by reading the whole segment. */
static int build_index(evb_segment *seg, evb_io *io, evb_error *err) {
    evb_scan scan = {0};
    evb_record rec;
    evb_error why;
    uint64_t size = seg->size, next = seg->next;
    int rc;
    evb_scan_start(&scan, io, seg->fd, 0, size);
    seg->size = 0;
    seg->next = seg->first;
    while ((rc = evb_scan_next(&scan, &rec, &why)) > 0) {
        if (rec.seq < seg->next) /* who begins to read behind the one before would get it twice */
            rc = evb_fail(&why, EVB_EDAMAGED, AGAIN);
        else if (!evb_segment_note(seg, &rec))
            rc = evb_fail(&why, EVB_ENOMEM, "out of memory");
        if (rc < 0)
            break;
    }
    if (rc < 0)
        rc = evb_segment_fail(seg, rc, seg->size, seg->next, why.text, err);
    seg->size = size;
    seg->next = next;
    evb_scan_free(&scan);
    return rc;
}

/* Whether a place can follow the last one: what is believed here is where reading begins. */
static bool place_fits(const evb_segment *seg, const evb_place *place) {
    if (!seg->place_count)
        return place->offset == 0 && place->seq >= seg->first;
    const evb_place *last = &seg->places[seg->place_count - 1];
    return place->seq >= last->seq && place->offset > last->offset && place->offset <= seg->size &&
           place->time_ns >= last->time_ns;
}

/* Takes the side file's bytes as the index, or returns false. */
static bool decode_index(evb_segment *seg, const uint8_t *data, size_t size) {
    if (size < INDEX_HEAD + INDEX_PLACE + INDEX_TAIL || (size - INDEX_HEAD - INDEX_TAIL) % INDEX_PLACE ||
        memcmp(data, INDEX_MAGIC, sizeof INDEX_MAGIC) != 0)
        return false;
    if (evb_get64(data + size - INDEX_TAIL) != XXH3_64bits(data, size - INDEX_TAIL))
        return false;
    if (evb_get64(data + 8) != seg->next || evb_get64(data + 16) != seg->size)
        return false;
    for (size_t at = INDEX_HEAD; at < size - INDEX_TAIL; at += INDEX_PLACE) {
        const uint8_t *p = data + at;
        evb_place place = {evb_get64(p), evb_get64(p + 8), (int64_t)evb_get64(p + 16)};
        if (!place_fits(seg, &place) || !add_place(seg, place))
            return false;
        seg->time_ns = place.time_ns;
    }
    return true;
}

static bool load_index(evb_segment *seg, evb_io *io) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_index_name(seg->first, name);
    int fd = io->open(io, name, false);
    if (fd < 0)
        return false;
    off_t size = io->size(io, fd);
    uint8_t *data = size > 0 ? malloc((size_t)size) : NULL;
    bool ok = data && evb_io_read_all(io, fd, data, (size_t)size, 0) == 0 && decode_index(seg, data, (size_t)size);
    free(data);
    io->close(io, fd);
    return ok;
}

int evb_segment_open(evb_segment *seg, evb_io *io, evb_error *err) {
    if (seg->fd >= 0)
        return 0;
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seg->first, name);
    seg->fd = io->open(io, name, false);
    if (seg->fd < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", name);
    seg->time_ns = 0;
    seg->place_count = 0;
    if (load_index(seg, io))
        return 0;
    seg->time_ns = 0;
    seg->place_count = 0;
    int rc = build_index(seg, io, err);
    if (rc)
        evb_segment_close(seg, io);
    else
        evb_segment_save_index(seg, io);
    return rc;
}

void evb_segment_close(evb_segment *seg, evb_io *io) {
    if (seg->fd >= 0)
        io->close(io, seg->fd);
    seg->fd = -1;
    free(seg->places);
    seg->places = NULL;
    seg->place_count = seg->place_room = 0;
}

int evb_segment_save_index(const evb_segment *seg, evb_io *io) {
    size_t size = INDEX_HEAD + (seg->place_count + 1) * INDEX_PLACE + INDEX_TAIL;
    uint8_t *data = malloc(size), *p = data;
    if (!data)
        return -1;
    memcpy(p, INDEX_MAGIC, sizeof INDEX_MAGIC);
    evb_put64(p + 8, seg->next);
    evb_put64(p + 16, seg->size);
    p += INDEX_HEAD;
    for (size_t i = 0; i < seg->place_count; i++, p += INDEX_PLACE) {
        evb_put64(p, seg->places[i].seq);
        evb_put64(p + 8, seg->places[i].offset);
        evb_put64(p + 16, (uint64_t)seg->places[i].time_ns);
    }
    evb_put64(p, seg->next); /* the last place is the end, so that the segment's latest time is kept */
    evb_put64(p + 8, seg->size);
    evb_put64(p + 16, (uint64_t)seg->time_ns);
    p += INDEX_PLACE;
    evb_put64(p, XXH3_64bits(data, (size_t)(p - data)));
    char name[EVB_SEGMENT_NAME];
    evb_segment_index_name(seg->first, name);
    int rc = evb_io_replace(io, name, data, size);
    free(data);
    return rc;
}

/* The last place whose seq is not above seq: never before the first place. */
static evb_place place_of(const evb_segment *seg, uint64_t seq) {
    size_t low = 0, high = seg->place_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (seg->places[middle].seq <= seq)
            low = middle;
        else
            high = middle;
    }
    return seg->place_count ? seg->places[low] : (evb_place){seg->first, 0, 0};
}

int evb_segment_seek(const evb_segment *seg, evb_io *io, uint64_t seq, evb_scan *scan, evb_error *err) {
    evb_record rec;
    evb_error why;
    int rc;
    evb_scan_start(scan, io, seg->fd, place_of(seg, seq).offset, seg->size);
    uint64_t least = seg->first; /* what a record before has is not found again in a later one */
    for (uint64_t start = scan->offset; (rc = evb_scan_next(scan, &rec, &why)) > 0; start = scan->offset) {
        if (rec.seq < least)
            return evb_segment_fail(seg, EVB_EDAMAGED, start, seq, AGAIN, err);
        if (rec.seq + rec.count > seq) {
            scan->offset = start;
            return 0;
        }
        least = rec.seq + rec.count;
    }
    return rc < 0 ? evb_segment_fail(seg, rc, scan->offset, seq, why.text, err) : 0;
}

/* The last place whose time is below time_ns: nothing before it can be late enough. */
static evb_place place_before(const evb_segment *seg, int64_t time_ns) {
    size_t low = 0, high = seg->place_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (seg->places[middle].time_ns < time_ns)
            low = middle;
        else
            high = middle;
    }
    return seg->place_count ? seg->places[low] : (evb_place){seg->first, 0, 0};
}

int evb_segment_seek_time(const evb_segment *seg, evb_io *io, int64_t time_ns, evb_scan *scan, uint64_t *seq,
                          evb_error *err) {
    evb_record rec;
    evb_error why;
    int rc;
    *seq = seg->next;
    evb_scan_start(scan, io, seg->fd, place_before(seg, time_ns).offset, seg->size);
    while ((rc = evb_scan_next(scan, &rec, &why)) > 0)
        if (rec.count && rec.time_ns >= time_ns) {
            *seq = rec.seq;
            return 0;
        }
    return rc < 0 ? evb_segment_fail(seg, rc, scan->offset, seg->first, why.text, err) : 0;
}
