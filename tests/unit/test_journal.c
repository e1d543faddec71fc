/* test_journal.c: the journal over files in memory, with every call to the disk counted and made to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "journal/journal.h"
#include "journal/journal_private.h"
#include "journal/segment.h"
#include "journal/verify.h"

/* ---- a disk that fails when it is told to ---- */

enum { CALL_WRITE, CALL_SYNC, CALL_OPEN, CALL_KINDS };

typedef struct {
    evb_io io;
    evb_io *real;         /* outlives this one, as a disk outlives a process */
    int left[CALL_KINDS]; /* calls until one fails; below 0: never */
    int why;
    size_t short_write; /* 0, or how many bytes the failing write gets done */
    uint64_t free_bytes;
    uint64_t bytes_read;
} bad_disk;

static bool due(bad_disk *d, int kind) { return d->left[kind] >= 0 && d->left[kind]-- == 0; }

static int bad_open(evb_io *io, const char *name, bool create) {
    bad_disk *d = (bad_disk *)io;
    if (create && due(d, CALL_OPEN)) {
        errno = d->why;
        return -1;
    }
    return d->real->open(d->real, name, create);
}
static int bad_close(evb_io *io, int fd) { return ((bad_disk *)io)->real->close(((bad_disk *)io)->real, fd); }
static ssize_t bad_pread(evb_io *io, int fd, void *data, size_t size, off_t offset) {
    size_t some = size > 4096 ? 4096 : size; /* short reads, always */
    ((bad_disk *)io)->bytes_read += some;
    return ((bad_disk *)io)->real->pread(((bad_disk *)io)->real, fd, data, some, offset);
}
static ssize_t bad_pwrite(evb_io *io, int fd, const void *data, size_t size, off_t offset) {
    bad_disk *d = (bad_disk *)io;
    if (!due(d, CALL_WRITE))
        return d->real->pwrite(d->real, fd, data, size > 1000 ? 1000 : size, offset);
    if (d->short_write)
        d->real->pwrite(d->real, fd, data, d->short_write < size ? d->short_write : size, offset);
    errno = d->why;
    return -1;
}
static int bad_sync(evb_io *io, int fd) {
    bad_disk *d = (bad_disk *)io;
    if (!due(d, CALL_SYNC))
        return d->real->datasync(d->real, fd);
    errno = d->why;
    return -1;
}
static int bad_truncate(evb_io *io, int fd, off_t size) {
    return ((bad_disk *)io)->real->truncate(((bad_disk *)io)->real, fd, size);
}
static off_t bad_size(evb_io *io, int fd) { return ((bad_disk *)io)->real->size(((bad_disk *)io)->real, fd); }
static int bad_remove(evb_io *io, const char *name) {
    return ((bad_disk *)io)->real->remove(((bad_disk *)io)->real, name);
}
static int bad_rename(evb_io *io, const char *from, const char *to) {
    return ((bad_disk *)io)->real->rename(((bad_disk *)io)->real, from, to);
}
static int bad_sync_dir(evb_io *io) { return ((bad_disk *)io)->real->sync_dir(((bad_disk *)io)->real); }
static int bad_list(evb_io *io, void (*each)(void *, const char *), void *context) {
    return ((bad_disk *)io)->real->list(((bad_disk *)io)->real, each, context);
}
static int bad_space(evb_io *io, uint64_t *free_bytes, uint64_t *total) {
    *free_bytes = ((bad_disk *)io)->free_bytes;
    *total = 1000 << 20;
    return 0;
}
static void bad_destroy(evb_io *io) { free(io); }

/* A new process's view of the same disk. */
static evb_io *view(evb_io *real, bad_disk **out) {
    bad_disk *d = calloc(1, sizeof *d);
    d->io = (evb_io){bad_open,   bad_close,  bad_pread,    bad_pwrite, bad_sync,  bad_truncate, bad_size,
                     bad_remove, bad_rename, bad_sync_dir, bad_list,   bad_space, bad_destroy};
    d->real = real;
    for (int i = 0; i < CALL_KINDS; i++)
        d->left[i] = -1;
    d->free_bytes = 900 << 20;
    if (out)
        *out = d;
    return &d->io;
}

/* ---- helpers ---- */

typedef struct {
    evb_io *disk;
    char catalog[64];
    char log[4096];
} fixture;

static void keep_line(void *context, const char *text) {
    fixture *f = context;
    snprintf(f->log + strlen(f->log), sizeof f->log - strlen(f->log), "%s\n", text);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->disk = evb_io_memory_new(NULL);
    strcpy(f->catalog, "/tmp/evb-catalog-XXXXXX");
    int fd = mkstemp(f->catalog);
    close(fd);
    unlink(f->catalog);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    evb_io_destroy(&f->disk);
    unlink(f->catalog);
    free(f);
    return 0;
}

static const evb_journal_options OPTIONS = {.segment_bytes = 64 << 20, .reserve_percent = 5};

static evb_journal *open_with(fixture *f, evb_journal_options options, bad_disk **disk, evb_error *err) {
    f->log[0] = 0;
    return evb_journal_new(view(f->disk, disk), f->catalog, &options, (evb_log){keep_line, f}, err);
}

static evb_journal *open_journal(fixture *f) {
    evb_error err = {0};
    evb_journal *j = open_with(f, OPTIONS, NULL, &err);
    if (!j)
        fail_msg("%s", err.text);
    return j;
}

static const uint8_t PRODUCER[EVB_PRODUCER_SIZE] = "the producer 16";

/* Appends one batch of `count` events whose payload is `fill` bytes. Returns what append does. */
static int append(evb_journal *j, const char *topic, uint64_t number, uint32_t count, size_t fill, evb_error *err) {
    evb_buf buf = {0};
    char payload[2048];
    memset(payload, 'x', sizeof payload);
    assert_true(evb_record_begin(&buf, topic, strlen(topic), 0, PRODUCER, number));
    for (uint32_t i = 0; i < count; i++)
        assert_true(evb_record_add(&buf, 0, &(evb_event){.payload = payload, .size = fill}));
    evb_record rec;
    assert_null(evb_record_parse(buf.data, buf.size, &rec));
    int rc = evb_journal_append(j, &rec, 1, 1000 + (int64_t)number, err);
    evb_buf_free(&buf);
    return rc;
}

static void must_append(evb_journal *j, const char *topic, uint64_t number, uint32_t count, size_t fill) {
    evb_error err;
    if (append(j, topic, number, count, fill, &err) || evb_journal_sync(j, &err))
        fail_msg("%s", err.text);
}

/* Reads everything and checks that seqs go from `first` to head without a gap. Returns the number of records. */
static size_t read_all(evb_journal *j, const char *pattern) {
    evb_error err;
    evb_patterns *patterns = evb_patterns_new(&pattern, 1, NULL);
    size_t records = 0;
    uint64_t expect = evb_journal_first(j);
    for (uint64_t next = expect; next <= evb_journal_head(j);) {
        evb_buf out = {0};
        if (evb_journal_read(j, next, evb_journal_head(j), 3000, patterns, &out, &next, &err))
            fail_msg("%s", err.text);
        evb_record rec;
        for (size_t at = 0; at < out.size; at += rec.size, records++) {
            assert_null(evb_record_parse(out.data + at, out.size - at, &rec));
            assert_true(evb_record_intact(out.data + at, rec.size));
            if (strcmp(pattern, "#") == 0)
                assert_int_equal(rec.seq, expect);
            expect = rec.seq + rec.count;
        }
        evb_buf_free(&out);
    }
    evb_patterns_destroy(&patterns);
    return records;
}

static off_t file_size(fixture *f, uint64_t first) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(first, name);
    int fd = f->disk->open(f->disk, name, false);
    off_t size = f->disk->size(f->disk, fd);
    f->disk->close(f->disk, fd);
    return size;
}

static void change_file(fixture *f, uint64_t first, off_t cut, off_t flip_at, int bit) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(first, name);
    int fd = f->disk->open(f->disk, name, false);
    if (cut >= 0)
        f->disk->truncate(f->disk, fd, cut);
    if (flip_at >= 0) {
        uint8_t byte;
        f->disk->pread(f->disk, fd, &byte, 1, flip_at);
        byte ^= (uint8_t)(1 << bit);
        f->disk->pwrite(f->disk, fd, &byte, 1, flip_at);
    }
    f->disk->close(f->disk, fd);
}

static void copy_file(fixture *f, uint64_t first, uint8_t **data, size_t *size, bool restore) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(first, name);
    int fd = f->disk->open(f->disk, name, false);
    if (restore) {
        f->disk->truncate(f->disk, fd, 0);
        evb_io_write_all(f->disk, fd, *data, *size, 0);
    } else {
        *size = (size_t)f->disk->size(f->disk, fd);
        *data = malloc(*size);
        evb_io_read_all(f->disk, fd, *data, *size, 0);
    }
    f->disk->close(f->disk, fd);
}

/* ---- tests ---- */

static void stamps_seqs_versions_and_prev(void **state) {
    evb_journal *j = open_journal(*state);
    assert_int_equal(evb_journal_head(j), 0);
    assert_int_equal(evb_journal_first(j), 1);
    must_append(j, "a", 1, 3, 10);
    must_append(j, "b", 2, 1, 10);
    must_append(j, "a", 3, 2, 10);
    evb_buf out = {0};
    evb_patterns *all = evb_patterns_new(NULL, 0, NULL);
    uint64_t next;
    assert_int_equal(evb_journal_read(j, 5, 6, 10000, all, &out, &next, NULL), 0);
    evb_record rec;
    assert_null(evb_record_parse(out.data, out.size, &rec));
    assert_int_equal(rec.seq, 5);
    assert_int_equal(rec.prev, 3);
    assert_int_equal(rec.version, 4);
    assert_int_equal(next, 7);
    evb_patterns_destroy(&all);
    evb_buf_free(&out);
    evb_journal_destroy(&j);
}

static void unsynced_events_are_not_read(void **state) {
    evb_journal *j = open_journal(*state);
    evb_error err;
    must_append(j, "a", 1, 1, 10);
    assert_int_equal(append(j, "a", 2, 1, 10, &err), 0);
    assert_int_equal(evb_journal_head(j), 1);
    assert_int_equal(evb_journal_appended(j), 2);
    assert_int_equal(evb_journal_sync(j, &err), 0);
    assert_int_equal(evb_journal_head(j), 2);
    evb_journal_destroy(&j);
}

static void state_survives_a_restart_and_a_kill(void **state) {
    fixture *f = *state;
    for (int clean = 0; clean < 2; clean++) {
        evb_error err;
        evb_journal *j = open_journal(f);
        uint64_t head = evb_journal_head(j);
        must_append(j, "a", head + 1, 1, 10);
        if (!clean) {
            bad_disk *ignored;
            evb_journal *killed = j; /* left open: nothing of it is written any more */
            j = open_with(f, OPTIONS, &ignored, &err);
            assert_non_null(j);
            evb_topic_state *t = evb_catalog_topic(evb_journal_catalog(j), "a", 1, &err);
            assert_int_equal(t->last, head + 1);
            assert_int_equal(t->version, head + 1);
            const evb_producer *p = evb_catalog_producer(evb_journal_catalog(j), PRODUCER, &err);
            assert_non_null(p);
            assert_int_equal(p->last, head + 1);
            evb_journal_destroy(&j);
            evb_journal_destroy(&killed);
        } else {
            evb_journal_destroy(&j);
        }
    }
    evb_journal *j = open_journal(f);
    assert_int_equal(read_all(j, "#"), 2);
    evb_journal_destroy(&j);
}

static void a_torn_tail_of_every_length_is_cut(void **state) {
    fixture *f = *state;
    evb_journal *j = open_journal(f);
    must_append(j, "a", 1, 2, 50);
    off_t whole = file_size(f, 1);
    must_append(j, "a", 2, 2, 50);
    evb_journal_destroy(&j);
    off_t full = file_size(f, 1);
    uint8_t *data;
    size_t size;
    copy_file(f, 1, &data, &size, false);
    for (off_t cut = whole; cut < full; cut++) {
        copy_file(f, 1, &data, &size, true);
        change_file(f, 1, cut, -1, 0);
        j = open_journal(f);
        assert_int_equal(evb_journal_head(j), 2);
        assert_int_equal(file_size(f, 1), whole);
        if (cut > whole)
            assert_non_null(strstr(f->log, "torn tail"));
        evb_error err;
        evb_topic_state *t = evb_catalog_topic(evb_journal_catalog(j), "a", 1, &err);
        assert_int_equal(t->last, 2);
        evb_journal_destroy(&j);
    }
    free(data);
}

static void every_flipped_byte_in_the_middle_is_named_and_refused(void **state) {
    fixture *f = *state;
    evb_journal *j = open_journal(f);
    must_append(j, "a", 1, 1, 20);
    off_t from = file_size(f, 1);
    must_append(j, "a", 2, 1, 20);
    off_t to = file_size(f, 1);
    must_append(j, "a", 3, 1, 20);
    evb_journal_destroy(&j);
    for (off_t at = from; at < to; at++) {
        evb_error err = {0};
        change_file(f, 1, -1, at, (int)(at % 8));
        j = open_with(f, OPTIONS, NULL, &err);
        assert_null(j);
        assert_int_equal(err.code, EVB_EDAMAGED);
        assert_non_null(strstr(err.text, "00000000000000000001.evj"));
        assert_non_null(strstr(err.text, "offset"));
        change_file(f, 1, -1, at, (int)(at % 8));
    }
    j = open_journal(f);
    assert_int_equal(evb_journal_head(j), 3);
    evb_journal_destroy(&j);
}

static void zero(fixture *f, off_t from, off_t to) {
    static const char zeros[4096];
    int fd = f->disk->open(f->disk, "00000000000000000001.evj", false);
    assert_true(to - from <= (off_t)sizeof zeros);
    assert_int_equal(f->disk->pwrite(f->disk, fd, zeros, (size_t)(to - from), from), to - from);
    f->disk->close(f->disk, fd);
}

/* Several writes of which a power failure has taken one, or a part of one, and left later ones: none was acknowledged. */
static void a_hole_in_what_no_sync_has_covered_is_a_torn_tail(void **state) {
    fixture *f = *state;
    evb_error err;
    evb_verification v;
    uint8_t *data;
    size_t size;
    evb_journal *j = open_journal(f);
    must_append(j, "a", 1, 2, 50);
    must_append(j, "a", 2, 2, 50);
    off_t whole = file_size(f, 1);
    for (uint64_t i = 3; i < 8; i++)
        assert_int_equal(append(j, "b", i, 3, 50, &err), 0);
    copy_file(f, 1, &data, &size, false);
    off_t step = ((off_t)size - whole) / 5;
    evb_journal_destroy(&j);
    unlink(f->catalog); /* as before the end */
    for (off_t at = whole; at + step / 2 < (off_t)size; at += step / 2) {
        copy_file(f, 1, &data, &size, true);
        zero(f, at, at + step / 2);
        off_t start = whole + (at - whole) / step * step;
        evb_io *io = view(f->disk, NULL);
        assert_int_equal(evb_journal_verify(io, (evb_log){keep_line, f}, 0, &v, &err), 0);
        assert_int_equal(v.tail_bytes, (off_t)size - start);
        evb_io_destroy(&io);
        j = open_journal(f);
        assert_int_equal(file_size(f, 1), start);
        assert_non_null(strstr(f->log, "torn tail"));
        assert_int_equal(read_all(j, "#"), 2 + (start - whole) / step);
        evb_journal_destroy(&j);
    }
    free(data);
}

/* The same, but for a sync that came after, which a later record tells of; or in a journal whose records tell nothing. */
static void a_hole_in_what_was_synced_is_damage(void **state) {
    fixture *f = *state;
    evb_error err;
    evb_journal *j = open_journal(f);
    off_t whole = file_size(f, 1);
    for (uint64_t i = 1; i < 4; i++)
        assert_int_equal(append(j, "b", i, 3, 50, &err), 0);
    assert_int_equal(evb_journal_sync(j, &err), 0);
    off_t end = file_size(f, 1);
    assert_int_equal(append(j, "b", 4, 3, 50, &err), 0);
    evb_journal_destroy(&j);
    zero(f, whole, whole + 40);
    assert_null(open_with(f, OPTIONS, NULL, &err));
    assert_int_equal(err.code, EVB_EDAMAGED);
    change_file(f, 1, end, -1, 0);
    unlink(f->catalog);
    j = open_journal(f);
    assert_int_equal(evb_journal_head(j), 0);
    evb_journal_destroy(&j);
}

static void refuses(fixture *f, const char *what) {
    evb_error err = {0};
    assert_null(open_with(f, OPTIONS, NULL, &err));
    assert_int_equal(err.code, EVB_EDAMAGED);
    assert_non_null(strstr(err.text, what));
}

/* Nothing is under way when a hub has ended: what is bad at the end then is damage, each bit of it and each cut. */
static void a_bad_last_record_of_a_hub_that_has_ended_is_damage(void **state) {
    static const char WHAT[] = "(seqs from 3); all up to seq 4 was on disk, says the catalog: run evctl repair";
    fixture *f = *state;
    uint8_t *data;
    size_t size;
    evb_journal *j = open_journal(f);
    must_append(j, "a", 1, 2, 20);
    off_t at = file_size(f, 1);
    must_append(j, "a", 2, 2, 20);
    evb_journal_destroy(&j);
    copy_file(f, 1, &data, &size, false);
    for (off_t i = at; i < (off_t)size; i++) {
        change_file(f, 1, -1, i, (int)(i % 8));
        refuses(f, WHAT);
        copy_file(f, 1, &data, &size, true);
        if (i == at)
            continue; /* nothing bad is left by this cut */
        change_file(f, 1, i, -1, 0);
        refuses(f, WHAT);
        copy_file(f, 1, &data, &size, true);
    }
    evb_verification v;
    evb_error err;
    evb_io *io = view(f->disk, NULL);
    change_file(f, 1, (off_t)size - 1, -1, 0);
    assert_int_equal(evb_journal_verify(io, (evb_log){keep_line, f}, 0, &v, &err), 0);
    assert_int_equal(v.tail_bytes, (off_t)size - 1 - at);
    assert_int_equal(evb_journal_verify(io, (evb_log){keep_line, f}, 4, &v, &err), EVB_EDAMAGED);
    assert_int_equal(v.lost, 2);
    assert_int_equal(evb_journal_repair(io, (evb_log){keep_line, f}, 4, &v, &err), 0);
    evb_io_destroy(&io);
    unlink(f->catalog);
    j = open_journal(f);
    assert_int_equal(evb_journal_head(j), 4); /* no seq comes again */
    assert_int_equal(read_all(j, "$hub.lost"), 1);
    evb_journal_destroy(&j);
    free(data);
}

static void a_hole_in_a_journal_that_tells_nothing_is_damage(void **state) {
    fixture *f = *state;
    evb_error err;
    evb_record rec;
    uint8_t *data;
    size_t size;
    evb_journal *j = open_journal(f);
    must_append(j, "a", 1, 2, 50);
    off_t second = file_size(f, 1);
    assert_int_equal(append(j, "a", 2, 2, 50, &err), 0);
    assert_int_equal(append(j, "a", 3, 2, 50, &err), 0);
    evb_journal_destroy(&j);
    copy_file(f, 1, &data, &size, false);
    for (size_t at = 0; at < size; at += rec.size) {
        assert_null(evb_record_parse(data + at, size - at, &rec));
        evb_batch_set_mark(rec.batch, 0);
        evb_record_seal(&rec);
    }
    copy_file(f, 1, &data, &size, true);
    j = open_journal(f);
    assert_int_equal(evb_journal_head(j), 6);
    evb_journal_destroy(&j);
    zero(f, second, second + 40);
    assert_null(open_with(f, OPTIONS, NULL, &err));
    assert_int_equal(err.code, EVB_EDAMAGED);
    free(data);
}

static void repair_cuts_out_what_is_bad_and_says_so(void **state) {
    fixture *f = *state;
    evb_journal *j = open_journal(f);
    must_append(j, "a", 1, 1, 20);
    off_t at = file_size(f, 1) + 60;
    must_append(j, "b", 2, 4, 20);
    must_append(j, "a", 3, 1, 20);
    evb_journal_destroy(&j);
    change_file(f, 1, -1, at, 3);
    evb_verification v;
    evb_error err;
    evb_io *io = view(f->disk, NULL);
    assert_int_equal(evb_journal_verify(io, (evb_log){keep_line, f}, 0, &v, &err), EVB_EDAMAGED);
    assert_int_equal(v.lost, 4);
    assert_non_null(strstr(f->log, "seqs 2 to 5"));
    assert_int_equal(evb_journal_repair(io, (evb_log){keep_line, f}, 0, &v, &err), 0);
    assert_int_equal(evb_journal_verify(io, (evb_log){keep_line, f}, 0, &v, &err), 0);
    evb_io_destroy(&io);
    unlink(f->catalog);
    j = open_journal(f);
    assert_int_equal(evb_journal_head(j), 6);
    assert_int_equal(read_all(j, "a"), 2);
    assert_int_equal(read_all(j, "$hub.lost"), 1);
    evb_journal_destroy(&j);
}

static void a_full_disk_refuses_and_takes_again(void **state) {
    bad_disk *d;
    evb_error err;
    evb_journal *j = open_with(*state, OPTIONS, &d, &err);
    must_append(j, "a", 1, 1, 10);
    d->left[CALL_WRITE] = 0;
    d->why = ENOSPC;
    d->short_write = 70;
    assert_int_equal(append(j, "a", 2, 1, 10, &err), EVB_ESTORE);
    assert_int_equal(evb_journal_appended(j), 1);
    assert_int_equal(read_all(j, "#"), 1);
    d->free_bytes = 10 << 20;
    evb_journal_tend(j, 0);
    assert_int_equal(append(j, "a", 2, 1, 10, &err), EVB_ESTORE);
    assert_non_null(strstr(err.text, "disk full"));
    d->free_bytes = 900 << 20;
    must_append(j, "a", 2, 1, 10);
    assert_int_equal(read_all(j, "#"), 2);
    evb_topic_state *t = evb_catalog_topic(evb_journal_catalog(j), "a", 1, &err);
    assert_int_equal(t->version, 2);
    evb_journal_destroy(&j);
}

static void a_failed_sync_is_final(void **state) {
    bad_disk *d;
    evb_error err;
    evb_journal *j = open_with(*state, OPTIONS, &d, &err);
    must_append(j, "a", 1, 1, 10);
    d->left[CALL_SYNC] = 0;
    d->why = EIO;
    assert_int_equal(append(j, "a", 2, 1, 10, &err), 0);
    assert_int_equal(evb_journal_sync(j, &err), EVB_EIO);
    assert_int_equal(evb_journal_head(j), 1);
    assert_int_equal(append(j, "a", 3, 1, 10, &err), EVB_EIO);
    assert_int_equal(evb_journal_sync(j, &err), EVB_EIO);
    evb_journal_destroy(&j);
}

static void segments_roll_and_are_found_again(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    evb_journal_options small = {.segment_bytes = 4000, .reserve_percent = 5};
    evb_journal *j = open_with(f, small, NULL, &err);
    for (uint64_t i = 1; i <= 300; i++)
        must_append(j, i % 3 ? "a" : "b", i, 1, 100);
    assert_int_equal(read_all(j, "#"), 300);
    assert_int_equal(read_all(j, "b"), 100);
    uint64_t seq;
    assert_int_equal(evb_journal_seek_time(j, 1000 + 150, &seq, &err), 0);
    assert_int_equal(seq, 150);
    assert_int_equal(evb_journal_seek_time(j, 0, &seq, &err), 0);
    assert_int_equal(seq, 1);
    assert_int_equal(evb_journal_seek_time(j, 5000, &seq, &err), 0);
    assert_int_equal(seq, 301);
    evb_stored places[3];
    assert_int_equal(evb_journal_batches(j, 7, 301, PRODUCER, 206, 3, places, &err), 0);
    assert_int_equal(places[0].seq, 206);
    assert_int_equal(places[2].seq, 208);
    assert_int_equal(evb_journal_batches(j, 7, 301, PRODUCER, 299, 3, places, &err), 0);
    assert_int_equal(places[1].seq, 300);
    assert_int_equal(places[2].seq, 0);
    evb_journal_destroy(&j);
    j = open_with(f, small, NULL, &err);
    assert_int_equal(read_all(j, "#"), 300);
    must_append(j, "a", 301, 1, 100);
    evb_journal_destroy(&j);
    unlink(f->catalog);
    j = open_with(f, small, NULL, &err);
    evb_topic_state *t = evb_catalog_topic(evb_journal_catalog(j), "a", 1, &err);
    assert_int_equal(t->version, 201);
    assert_non_null(strstr(f->log, "catalog"));
    evb_journal_destroy(&j);
}

/* Reads `patterns` from a seq to the head: how many events, and the sum of their seqs. */
static uint64_t read_from(evb_journal *j, const char *const *patterns, size_t count, uint64_t from, uint64_t *sum) {
    evb_patterns *p = evb_patterns_new(patterns, count, NULL);
    uint64_t next = from, head = evb_journal_head(j), events = 0, before = from - 1;
    evb_error err = {0};
    evb_buf out = {0};
    *sum = 0;
    while (next <= head) {
        out.size = 0;
        assert_int_equal(evb_journal_read(j, next, head, 30000, p, &out, &next, &err), 0);
        evb_record rec;
        for (size_t at = 0; at < out.size; at += rec.size) {
            assert_null(evb_record_parse(out.data + at, out.size - at, &rec));
            assert_true(rec.seq + rec.count - 1 > before);
            for (uint64_t seq = rec.seq; seq < rec.seq + rec.count; seq++)
                if (seq > before) {
                    *sum += seq;
                    events++;
                    before = seq;
                }
        }
    }
    assert_int_equal(next, head + 1);
    evb_buf_free(&out);
    evb_patterns_destroy(&p);
    return events;
}

/* 620 batches of two events each of "s" and 310 of "t" among what is 20 times as much. */
static evb_journal *sparse_journal(fixture *f) {
    evb_error err = {0};
    evb_journal_options options = {.segment_bytes = 1 << 20, .reserve_percent = 5};
    evb_journal *j = open_with(f, options, NULL, &err);
    uint64_t number = 1;
    for (int i = 0; i < 620; i++) {
        must_append(j, "s", number++, 2, 50);
        if (i % 2)
            must_append(j, "t", number++, 1, 50);
        for (int k = 0; k < 10; k++)
            must_append(j, "other", number++, 1, 2000);
    }
    return j;
}

static void a_few_topics_are_read_by_themselves(void **state) {
    fixture *f = *state;
    evb_journal *j = sparse_journal(f);
    static const char *const one[] = {"s"}, *const both[] = {"t", "s", "never"}, *const scanned[] = {"s", "t", "x.*"};
    for (int round = 0; round < 2; round++) {
        uint64_t sum, same, head = evb_journal_head(j);
        assert_int_equal(read_from(j, one, 1, 1, &sum), 1240);
        for (uint64_t from = 1; from <= head + 1; from += 613) {
            uint64_t n = read_from(j, scanned, 3, from, &same);
            assert_int_equal(read_from(j, both, 3, from, &sum), n);
            assert_int_equal(sum, same);
        }
        evb_journal_destroy(&j);
        unlink(f->catalog);
        evb_error err = {0};
        evb_journal_options options = {.segment_bytes = 1 << 20, .reserve_percent = 5};
        j = open_with(f, options, NULL, &err);
    }
    evb_journal_destroy(&j);
}

/* A topic that is most of the journal, in large batches: asked for by its name and in small pieces, it is not walked
 * through from behind for each. */
static void a_dense_topic_is_read_once(void **state) {
    evb_error err = {0};
    bad_disk *disk;
    uint64_t sum;
    evb_journal_options options = {.segment_bytes = 4 << 20, .reserve_percent = 5};
    evb_journal *j = open_with(*state, options, &disk, &err);
    for (uint64_t i = 1; i <= 300; i++)
        must_append(j, "s", i, 30, 2000);
    uint64_t before = disk->bytes_read;
    assert_int_equal(read_from(j, (const char *const[]){"s"}, 1, 1, &sum), 9000);
    assert_true(disk->bytes_read - before < 4 * evb_journal_bytes(j));
    evb_journal_destroy(&j);
}

/* Readings look for what is rare as long as the last sync took, all together, and a piece each. */
static void slow_syncs_give_readings_more(void **state) {
    evb_error err = {0};
    evb_journal *j = sparse_journal(*state);
    evb_patterns *rare = evb_patterns_new((const char *const[]){"x.*"}, 1, NULL);
    uint64_t head = evb_journal_head(j), next[3];
    evb_buf out = {0};
    evb_journal_synced_in(j, 0);
    assert_int_equal(evb_journal_read(j, 1, head, 1000, rare, &out, &next[0], &err), 0);
    assert_in_range(next[0], head / 8, head - 1);
    evb_journal_synced_in(j, 100 * EVB_SECOND_NS);
    assert_int_equal(evb_journal_read(j, 1, head, 1000, rare, &out, &next[1], &err), 0);
    assert_int_equal(next[1], head + 1);
    evb_journal_synced_in(j, 1); /* a step */
    for (int i = 1; i < 3; i++)
        assert_int_equal(evb_journal_read(j, 1, head, 1000, rare, &out, &next[i], &err), 0);
    assert_true(next[1] > next[0] && next[1] <= head);
    assert_int_equal(next[2], next[0]);
    assert_int_equal(out.size, 0);
    evb_patterns_destroy(&rare);
    evb_journal_destroy(&j);
}

static void retention_drops_whole_segments(void **state) {
    evb_error err = {0};
    evb_journal_options keep = {.segment_bytes = 4000, .retain_bytes = 20000, .reserve_percent = 5};
    evb_journal *j = open_with(*state, keep, NULL, &err);
    for (uint64_t i = 1; i <= 300; i++)
        must_append(j, "a", i, 1, 100);
    evb_journal_tend(j, 0);
    assert_in_range(evb_journal_bytes(j), 16000, 20000);
    uint64_t first = evb_journal_first(j), next;
    assert_true(first > 100);
    assert_int_equal(read_all(j, "#"), 300 - first + 1);
    evb_buf out = {0};
    evb_patterns *all = evb_patterns_new(NULL, 0, NULL);
    assert_int_equal(evb_journal_read(j, first - 1, 300, 1000, all, &out, &next, &err), EVB_EGONE);
    evb_patterns_destroy(&all);
    keep.retain_bytes = 0;
    keep.retain_ns = 100;
    evb_journal_configure(j, &keep);
    evb_journal_tend(j, 1300 + 50);
    assert_true(evb_journal_first(j) > 225);
    evb_journal_tend(j, 5000);
    assert_int_equal(evb_journal_first(j), 301);
    must_append(j, "a", 301, 1, 10);
    assert_int_equal(evb_journal_head(j), 301);
    evb_journal_destroy(&j);
}

static evb_topic_state topic_state(evb_journal *j, const char *topic) {
    evb_topic_state state;
    evb_error err;
    assert_int_equal(evb_catalog_look(evb_journal_catalog(j), topic, strlen(topic), &state, &err), 0);
    return state;
}

/* The topics of attempts, one for each event that failed, go with their events; others keep their versions, and all of
 * it holds without the catalog, too. */
static void attempts_are_forgotten_with_their_events(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    evb_journal_options keep = {.segment_bytes = 4000, .retain_bytes = 20000, .reserve_percent = 5};
    evb_journal *j = open_with(f, keep, NULL, &err);
    char topic[64];
    for (uint64_t i = 1; i <= 1500; i++) {
        snprintf(topic, sizeof topic, i % 3 ? "$failed.g.%d" : "order.%d", (int)i);
        must_append(j, topic, i, 1, 100);
        if (i % 100 == 0)
            evb_journal_tend(j, 0);
    }
    for (int round = 0; round < 2; round++) {
        uint64_t kept = evb_catalog_topic_count(evb_journal_catalog(j));
        assert_in_range(kept, 500 + 50, 500 + 300);
        assert_int_equal(topic_state(j, "$failed.g.1").version, 0);
        assert_int_equal(topic_state(j, "order.3").version, 1);
        assert_int_equal(topic_state(j, "$failed.g.1499").last, 1499);
        evb_journal_destroy(&j);
        unlink(f->catalog);
        j = open_with(f, keep, NULL, &err);
    }
    evb_journal_destroy(&j);
}

static void purge(evb_journal *j, const char *pattern, uint64_t *count) {
    evb_error err = {0};
    evb_patterns *p = evb_patterns_new(&pattern, 1, NULL);
    if (evb_journal_purge(j, p, count, &err))
        fail_msg("%s", err.text);
    evb_patterns_destroy(&p);
}

static uint64_t left(evb_journal *j, const char *pattern, uint64_t from) {
    evb_patterns *p = evb_patterns_new(&pattern, 1, NULL);
    uint64_t first = evb_journal_left(j, p, from);
    evb_patterns_destroy(&p);
    return first;
}

static uint64_t count_events(evb_journal *j, const char *pattern, uint64_t from) {
    uint64_t sum;
    return read_from(j, &pattern, 1, from, &sum);
}

/* 30 batches of ten each of a.1, a.2 and b, in that order, in small segments. */
static evb_journal *mixed_journal(fixture *f, const evb_journal_options *options) {
    evb_error err = {0};
    evb_journal *j = open_with(f, *options, NULL, &err);
    static const char *const topics[] = {"a.1", "a.2", "b"};
    for (uint64_t i = 0; i < 90; i++)
        must_append(j, topics[i % 3], i + 1, 10, 100);
    return j;
}

/* Tends until there is nothing more to do. */
static void tend(evb_journal *j, int64_t now_ns) {
    for (int i = 0; evb_journal_tend(j, now_ns) && i < 1000; i++)
        ;
    assert_false(evb_journal_tend(j, now_ns));
}

static void verify_whole(fixture *f, uint64_t events) {
    evb_verification v;
    evb_error err = {0};
    if (evb_journal_verify(f->disk, (evb_log){keep_line, f}, 0, &v, &err))
        fail_msg("%s\n%s", err.text, f->log);
    assert_true(v.events >= events);
}

static const evb_journal_options SMALL = {.segment_bytes = 10000, .reserve_percent = 5};

static void trim_takes_what_is_before(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    evb_journal *j = mixed_journal(f, &SMALL);
    uint64_t bytes = evb_journal_bytes(j);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(evb_journal_trim(j, 455, 5000, &err), 0);
        assert_int_equal(evb_journal_first(j), 455);
        assert_in_range(evb_journal_bytes(j), bytes / 3, bytes / 2 + 10000);
        assert_int_equal(count_events(j, "#", 455), 900 - 454);
        assert_int_equal(left(j, "b", 1), 455);
        evb_journal_destroy(&j);
        if (round == 1)
            unlink(f->catalog);
        j = open_with(f, SMALL, NULL, &err);
    }
    assert_int_equal(evb_journal_trim(j, 9999, 5000, &err), 0);
    assert_int_equal(evb_journal_first(j), 901);
    assert_int_equal(evb_journal_bytes(j), 0);
    evb_journal_destroy(&j);
    unlink(f->catalog);
    j = open_with(f, SMALL, NULL, &err);
    assert_int_equal(topic_state(j, "a.2").version, 300);
    must_append(j, "a.2", 91, 1, 10);
    assert_int_equal(topic_state(j, "a.2").version, 301);
    assert_int_equal(count_events(j, "#", evb_journal_first(j)), 1);
    evb_journal_destroy(&j);
}

/* A power failure must not take back seqs that are noted as gone: others would get them. */
static void what_is_gone_is_safe_first(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    uint64_t count;
    evb_journal *j = mixed_journal(f, &SMALL);
    assert_int_equal(append(j, "a.1", 91, 2, 10, &err), 0);
    assert_true(evb_journal_head(j) < evb_journal_appended(j));
    purge(j, "a.1", &count);
    assert_int_equal(evb_journal_head(j), evb_journal_appended(j));
    assert_int_equal(append(j, "a.1", 92, 2, 10, &err), 0);
    assert_int_equal(evb_journal_trim(j, 5, 1, &err), 0);
    assert_int_equal(evb_journal_head(j), evb_journal_appended(j));
    evb_journal_destroy(&j);
}

static void purge_takes_a_pattern_and_versions_go_on(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    uint64_t count;
    evb_journal *j = mixed_journal(f, &SMALL);
    purge(j, "never", &count);
    assert_int_equal(count, 0);
    assert_int_equal(left(j, "#", 1), 1);
    purge(j, "a.1", &count);
    assert_int_equal(count, 300);
    must_append(j, "a.1", 91, 2, 10);
    for (int round = 0; round < 4; round++) {
        assert_int_equal(count_events(j, "#", 1), 602);
        assert_int_equal(count_events(j, "a.1", 1), 2);
        assert_int_equal(left(j, "a.1", 1), 881); /* behind the last one that is gone */
        assert_int_equal(left(j, "a.1", 881), 881);
        assert_int_equal(left(j, "*.1", 1), 881);
        assert_int_equal(left(j, "a.2", 1), 1);
        assert_int_equal(evb_journal_last(j, "a.1", 3, 902), 902);
        assert_int_equal(evb_journal_last(j, "a.1", 3, 880), 0);
        if (round == 1) { /* the disk gets its room back */
            uint64_t before = evb_journal_bytes(j);
            tend(j, 5000);
            assert_in_range(evb_journal_bytes(j), 1, before - 30 * 1000);
        }
        evb_journal_destroy(&j);
        if (round == 2)
            unlink(f->catalog);
        j = open_with(f, SMALL, NULL, &err);
    }
    purge(j, "a.*", &count);
    assert_true(count == UINT64_MAX);
    assert_int_equal(count_events(j, "#", 1), 300);
    tend(j, 5000);
    evb_journal_destroy(&j);
    verify_whole(f, 302); /* those of the last segment are still there */
    unlink(f->catalog);
    j = open_with(f, SMALL, NULL, &err);
    assert_int_equal(topic_state(j, "a.1").version, 302);
    assert_int_equal(topic_state(j, "a.2").version, 300);
    assert_int_equal(topic_state(j, "b").version, 300);
    evb_journal_destroy(&j);
}

static void patterns_have_ages_of_their_own(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    const evb_retain retains[] = {{"a.#", 100}, {"c", 10}};
    evb_journal_options options = SMALL;
    options.retains = retains;
    options.retain_count = 2;
    evb_journal *j = mixed_journal(f, &options); /* at 1001 to 1090 */
    tend(j, 1090 + 5);
    assert_int_equal(left(j, "#", 1), 1);
    tend(j, 1140);
    uint64_t gone = left(j, "a.2", 1);
    assert_in_range(gone, 200, 411);
    assert_int_equal(left(j, "b", 1), 1);
    assert_int_equal(count_events(j, "b", 1), 300);
    assert_in_range(count_events(j, "a.#", 1), (901 - gone) / 3, 600 - gone / 2);
    tend(j, 1300);
    assert_int_equal(left(j, "#", 1), 891);
    assert_int_equal(count_events(j, "a.#", 1), 0);
    assert_int_equal(count_events(j, "#", 1), 300);
    assert_int_equal(evb_journal_first(j), 1);
    evb_journal_destroy(&j);
    verify_whole(f, 300);
    unlink(f->catalog);
    j = open_with(f, options, NULL, &err);
    assert_int_equal(topic_state(j, "a.1").version, 300);
    assert_int_equal(left(j, "#", 1), 891);
    must_append(j, "a.1", 91, 1, 10);
    assert_int_equal(topic_state(j, "a.1").version, 301);
    evb_journal_destroy(&j);
}

/* Segments of which nothing is left do not pile up. */
static void empty_segments_are_removed(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    uint64_t count;
    evb_journal *j = open_with(f, SMALL, NULL, &err);
    must_append(j, "keep", 1, 1, 100);
    for (uint64_t i = 2; i < 100; i++)
        must_append(j, "go", i, 10, 100);
    must_append(j, "keep", 100, 1, 100);
    purge(j, "go", &count);
    tend(j, 5000);
    assert_int_equal(count_events(j, "#", 1), 2);
    evb_journal_destroy(&j);
    uint64_t *firsts;
    size_t segments;
    assert_int_equal(evb_segment_list(f->disk, &firsts, &segments, &err), 0);
    assert_int_equal(firsts[0], 1);
    assert_int_equal(segments, 2);
    free(firsts);
    j = open_with(f, SMALL, NULL, &err);
    assert_int_equal(count_events(j, "#", 1), 2);
    evb_journal_destroy(&j);
}

/* A crash, or a full disk, between any two writes of it: what is not gone is there, what is gone does not come back. */
static void a_crash_while_segments_are_written_again(void **state) {
    fixture *f = *state;
    for (int crash = 0; crash < 60; crash++) {
        evb_io_destroy(&f->disk);
        f->disk = evb_io_memory_new(NULL);
        unlink(f->catalog);
        bad_disk *d;
        evb_error err = {0};
        evb_journal *j = mixed_journal(f, &SMALL);
        uint64_t count;
        purge(j, "a.1", &count);
        evb_journal_destroy(&j);
        j = open_with(f, SMALL, &d, &err);
        d->left[crash % 3] = crash / 3;
        d->why = ENOSPC;
        d->short_write = 100;
        const char *const a2 = "a.2";
        evb_patterns *p = evb_patterns_new(&a2, 1, NULL);
        bool purged = evb_journal_purge(j, p, &count, &err) == 0;
        evb_patterns_destroy(&p);
        for (int i = 0; i < 50; i++)
            evb_journal_tend(j, 5000);
        unlink(f->catalog);
        evb_journal *after = open_with(f, SMALL, NULL, &err);
        if (!after)
            fail_msg("crash %d: %s", crash, err.text);
        assert_int_equal(count_events(after, "b", 1), 300);
        assert_int_equal(count_events(after, "a.1", 1), 0);
        if (purged)
            assert_int_equal(count_events(after, "a.2", 1), 0);
        assert_int_equal(topic_state(after, "a.1").version, 300);
        assert_int_equal(topic_state(after, "a.2").version, 300);
        evb_journal_destroy(&after);
        evb_journal_destroy(&j);
    }
}

static void a_torn_note_of_what_is_gone_is_cut_off(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    uint64_t count;
    evb_journal *j = mixed_journal(f, &SMALL);
    purge(j, "a.1", &count);
    purge(j, "b", &count);
    evb_journal_destroy(&j);
    int fd = f->disk->open(f->disk, "gone.log", false);
    assert_int_equal(f->disk->truncate(f->disk, fd, f->disk->size(f->disk, fd) - 60), 0); /* into the purge of b */
    f->disk->close(f->disk, fd);
    j = open_with(f, SMALL, NULL, &err);
    assert_non_null(strstr(f->log, "gone.log: cut off"));
    assert_int_equal(count_events(j, "#", 1), 600);
    purge(j, "b", &count);
    evb_journal_destroy(&j);
    j = open_with(f, SMALL, NULL, &err);
    assert_null(strstr(f->log, "gone.log"));
    assert_int_equal(count_events(j, "#", 1), 300);
    evb_journal_destroy(&j);
}

/* Flips a bit of gone.log where the text first stands in it. */
static void flip_gone(fixture *f, const char *text) {
    uint8_t file[4096];
    size_t size = strlen(text), at = 0;
    int fd = f->disk->open(f->disk, "gone.log", false);
    off_t end = f->disk->size(f->disk, fd);
    assert_in_range(end, size, sizeof file);
    assert_int_equal(f->disk->pread(f->disk, fd, file, (size_t)end, 0), end);
    while (memcmp(file + at, text, size) != 0)
        assert_in_range(++at + size, 0, end);
    file[at] ^= 1;
    assert_int_equal(f->disk->pwrite(f->disk, fd, file + at, 1, (off_t)at), 1);
    f->disk->close(f->disk, fd);
}

/* Opens it on a disk on which nothing new can be made, and ends at once. */
static void open_on_full_disk(fixture *f, evb_journal_options options) {
    bad_disk *d;
    evb_error err = {0};
    evb_io *io = view(f->disk, &d);
    d->left[CALL_OPEN] = 0;
    d->why = ENOSPC;
    evb_journal *j = evb_journal_new(io, f->catalog, &options, (evb_log){keep_line, f}, &err);
    if (!j)
        fail_msg("%s", err.text);
    evb_journal_destroy(&j);
}

/* Damage to one note, the first, one in the middle or the last, or to the head takes no other with it, and is said. */
static void a_damaged_note_of_what_is_gone_takes_no_other_with_it(void **state) {
    static const char *const NOTES[] = {"a.2", "a.1", "*", "EVBR"};
    static const evb_journal_options BIG = {.segment_bytes = 1 << 20};
    fixture *f = *state;
    for (size_t i = 0; i < 4; i++) {
        evb_error err = {0};
        uint64_t count;
        evb_io_destroy(&f->disk);
        f->disk = evb_io_memory_new(NULL);
        unlink(f->catalog);
        evb_journal *j = mixed_journal(f, &BIG);
        for (size_t k = 0; k < 3; k++)
            purge(j, NOTES[k], &count);
        evb_journal_destroy(&j);
        flip_gone(f, NOTES[i]);
        f->log[0] = 0;
        open_on_full_disk(f, BIG);
        assert_non_null(strstr(f->log, "gone.log: damaged at byte "));
        assert_non_null(strstr(f->log, "gone.log: cannot write it anew: No space"));
        j = open_with(f, BIG, NULL, &err);
        assert_non_null(strstr(f->log, "gone.log: damaged at byte "));
        assert_non_null(strstr(f->log, "kept as gone.damaged\n"));
        evb_journal_destroy(&j);
        j = open_with(f, BIG, NULL, &err);
        assert_null(strstr(f->log, "gone.log"));
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(count_events(j, NOTES[k], 1), k == i ? 300 : 0);
        evb_journal_destroy(&j);
    }
}

/* With the state of a topic damaged, the states are noted again, as long as the catalog has them. */
static void damaged_states_of_topics_are_noted_again(void **state) {
    fixture *f = *state;
    evb_error err = {0};
    evb_journal *j = mixed_journal(f, &SMALL);
    assert_int_equal(evb_journal_trim(j, 9999, 5000, &err), 0);
    evb_journal_destroy(&j);
    flip_gone(f, "a.1");
    j = open_with(f, SMALL, NULL, &err);
    assert_non_null(strstr(f->log, "gone.log: damaged at byte "));
    assert_int_equal(topic_state(j, "a.1").version, 300);
    for (uint64_t i = 91; i < 120; i++)
        must_append(j, "b", i, 10, 100);
    assert_int_equal(evb_journal_trim(j, 9999, 6000, &err), 0);
    evb_journal_destroy(&j);
    unlink(f->catalog);
    j = open_with(f, SMALL, NULL, &err);
    assert_int_equal(topic_state(j, "a.1").version, 300);
    evb_journal_destroy(&j);
}

static void a_segment_that_cannot_begin_loses_nothing(void **state) {
    bad_disk *d;
    evb_error err = {0};
    evb_journal_options small = {.segment_bytes = 1000, .reserve_percent = 5};
    evb_journal *j = open_with(*state, small, &d, &err);
    uint64_t number = 1;
    while (evb_journal_bytes(j) < 850)
        must_append(j, "a", number++, 1, 100);
    d->left[CALL_OPEN] = 0;
    d->why = ENOSPC;
    assert_int_equal(append(j, "a", number, 1, 500, &err), EVB_ESTORE);
    must_append(j, "a", number, 1, 500);
    assert_int_equal(read_all(j, "#"), number);
    evb_journal_destroy(&j);
}

/* A crash between any two writes: what was synced is there, nothing else is wrong. */
static void a_crash_after_any_write_keeps_what_was_synced(void **state) {
    fixture *f = *state;
    for (int crash = 0; crash < 40; crash++) {
        evb_io_destroy(&f->disk);
        f->disk = evb_io_memory_new(NULL);
        unlink(f->catalog);
        bad_disk *d;
        evb_error err = {0};
        evb_journal_options small = {.segment_bytes = 3000, .reserve_percent = 5};
        evb_journal *j = open_with(f, small, &d, &err);
        assert_non_null(j);
        d->left[CALL_WRITE] = crash;
        d->short_write = (size_t)crash * 7 + 1;
        d->why = ENOSPC;
        uint64_t stored = 0;
        while (stored < 60 && append(j, "a", stored + 1, 1, 1500, &err) == 0 && evb_journal_sync(j, &err) == 0)
            stored++;
        evb_journal *after = open_with(f, small, NULL, &err);
        if (!after)
            fail_msg("crash %d: %s", crash, err.text);
        assert_int_equal(evb_journal_head(after), stored);
        assert_int_equal(read_all(after, "#"), stored);
        evb_journal_destroy(&after);
        evb_journal_destroy(&j);
    }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(stamps_seqs_versions_and_prev),
        T(unsynced_events_are_not_read),
        T(state_survives_a_restart_and_a_kill),
        T(a_torn_tail_of_every_length_is_cut),
        T(a_hole_in_what_no_sync_has_covered_is_a_torn_tail),
        T(a_hole_in_what_was_synced_is_damage),
        T(a_hole_in_a_journal_that_tells_nothing_is_damage),
        T(a_bad_last_record_of_a_hub_that_has_ended_is_damage),
        T(every_flipped_byte_in_the_middle_is_named_and_refused),
        T(repair_cuts_out_what_is_bad_and_says_so),
        T(a_full_disk_refuses_and_takes_again),
        T(a_failed_sync_is_final),
        T(segments_roll_and_are_found_again),
        T(a_few_topics_are_read_by_themselves),
        T(slow_syncs_give_readings_more),
        T(a_dense_topic_is_read_once),
        T(retention_drops_whole_segments),
        T(attempts_are_forgotten_with_their_events),
        T(trim_takes_what_is_before),
        T(what_is_gone_is_safe_first),
        T(purge_takes_a_pattern_and_versions_go_on),
        T(patterns_have_ages_of_their_own),
        T(empty_segments_are_removed),
        T(a_crash_while_segments_are_written_again),
        T(a_torn_note_of_what_is_gone_is_cut_off),
        T(a_damaged_note_of_what_is_gone_takes_no_other_with_it),
        T(damaged_states_of_topics_are_noted_again),
        T(a_segment_that_cannot_begin_loses_nothing),
        T(a_crash_after_any_write_keeps_what_was_synced),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
