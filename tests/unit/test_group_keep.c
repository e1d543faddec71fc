/* test_group_keep.c: what is asked of a group is answered once it is on disk, or refused. groups.log is watched, and its
 * writes and syncs fail when they are told to. */
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
#include "hub/hub.h"
#include "hub/hub_private.h"

/* ---- a disk that watches one file ---- */

static struct {
    evb_io real;
    int fd;
    bool dirty, write_fails, sync_fails;
    unsigned syncs, writes;
} disk;

static bool keep_writes_failing; /* over a hub's beginning */

static bool of_groups(const char *name) { return strncmp(name, "groups.log", 10) == 0; }

static int watched_open(evb_io *io, const char *name, bool create) {
    int fd = disk.real.open(io, name, create);
    if (of_groups(name))
        disk.fd = fd;
    return fd;
}

static ssize_t watched_pwrite(evb_io *io, int fd, const void *data, size_t size, off_t offset) {
    if (fd != disk.fd)
        return disk.real.pwrite(io, fd, data, size, offset);
    errno = ENOSPC;
    if (disk.write_fails)
        return -1;
    disk.dirty = true;
    disk.writes++;
    return disk.real.pwrite(io, fd, data, size, offset);
}

static int watched_datasync(evb_io *io, int fd) {
    if (fd != disk.fd)
        return disk.real.datasync(io, fd);
    errno = EIO;
    if (disk.sync_fails)
        return -1;
    disk.dirty = false;
    disk.syncs++;
    return disk.real.datasync(io, fd);
}

/* ---- a hub ---- */

typedef struct {
    char dir[64];
    evb_journal *journal;
    evb_hub *hub;
    int64_t now;
    char word[8], code[16];
} fixture;

static void open_hub(fixture *f) {
    char path[96];
    evb_error err = {0};
    evb_journal_options options = {.segment_bytes = 1 << 20};
    snprintf(path, sizeof path, "%s/catalog.mdb", f->dir);
    evb_io *io = evb_io_disk_new(f->dir, &err);
    assert_non_null(io);
    memset(&disk, 0, sizeof disk);
    disk.real = *io;
    disk.fd = -1;
    disk.write_fails = keep_writes_failing;
    io->open = watched_open;
    io->pwrite = watched_pwrite;
    io->datasync = watched_datasync;
    f->journal = evb_journal_new(io, path, &options, (evb_log){0}, &err);
    assert_non_null(f->journal);
    evb_hub_options how = {.max_payload = 1000, .sync = EVB_SYNC_ALWAYS};
    f->hub = evb_hub_new(f->journal, &how, f->now, &err);
    assert_non_null(f->hub);
    evb_hub_came(f->hub, "tok", 3, (evb_origin){-1, -1}, 0);
}

static void close_hub(fixture *f) {
    evb_hub_destroy(&f->hub);
    evb_journal_destroy(&f->journal);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/evb-keep-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->now = 1000 * EVB_SECOND_NS;
    open_hub(f);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char command[96];
    close_hub(f);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    free(f);
    return system(command);
}

/* Sends a request whose arguments are the msgpack of `args`, and reads the answer's word, and its code if it is an error. */
static void ask(fixture *f, const char *op, unsigned count, const char *args, size_t size) {
    static int peer;
    evb_buf head = {0};
    evb_error err = {0};
    msgpack_packer p;
    evb_action *actions;
    size_t n, length;
    const char *text;
    uint64_t id;
    evb_mp_packer(&p, &head);
    msgpack_pack_array(&p, count + 2);
    evb_mp_pack_str(&p, op, strlen(op));
    msgpack_pack_uint64(&p, 7);
    evb_buf_add(&head, args, size);
    assert_int_equal(evb_hub_request(f->hub, &peer, (evb_origin){-1, -1}, head.data, head.size, NULL, 0,
                                     evb_clock_wall_ns(), f->now, &err),
                     0);
    evb_buf_free(&head);
    assert_int_equal(evb_hub_commit(f->hub, f->now, &actions, &n, &err), 0);
    for (size_t i = 0; i < n; i++) {
        evb_mp mp = {actions[i].head.data, actions[i].head.data + actions[i].head.size};
        uint32_t elements;
        if (actions[i].kind == EVB_ACTION_REPLY) {
            assert_true(evb_mp_array(&mp, &elements) && evb_mp_str(&mp, &text, &length) && evb_mp_uint(&mp, &id));
            assert_int_equal(id, 7);
            snprintf(f->word, sizeof f->word, "%.*s", (int)length, text);
            *f->code = 0;
            if (elements == 4 && strcmp(f->word, "error") == 0 && evb_mp_str(&mp, &text, &length))
                snprintf(f->code, sizeof f->code, "%.*s", (int)length, text);
        }
        evb_buf_free(&actions[i].head);
        evb_buf_free(&actions[i].body);
    }
}

#define ASK(F, OP, COUNT, ARGS) ask(F, OP, COUNT, ARGS, sizeof ARGS - 1)
#define JOIN(F, SETTINGS) ASK(F, "group.join", 5, "\xa1g\xa3tok\x91\xa1t" SETTINGS "\x01")
#define JOIN_NEW(F) JOIN(F, "\xc0")

/* Asks for what is firm, or is to be: on disk when it is answered. */
#define FIRM(ACT)                                                                                                    \
    do {                                                                                                             \
        unsigned writes = disk.writes, syncs = disk.syncs;                                                           \
        ACT;                                                                                                         \
        assert_string_equal(f->word, "ok");                                                                          \
        assert_false(disk.dirty);                                                                                    \
        assert_int_equal(disk.syncs > syncs, disk.writes > writes);                                                  \
    } while (0)

static const struct {
    const char *op, *args;
    unsigned count;
    size_t size;
} CHANGES[] = {{"group.pause", "\xa1g\xc3", 2, 3}, {"group.pause", "\xa1g\xc2", 2, 3},
               {"group.reset", "\xa1g\x01", 2, 3}, {"dead.drop", "\xa1g\xc0", 2, 3},
               {"dead.retry", "\xa1g\xc0", 2, 3},  {"group.delete", "\xa1g", 1, 2}};

static void what_is_asked_of_a_group_is_on_disk(void **state) {
    fixture *f = *state;
    FIRM(JOIN_NEW(f));
    FIRM(JOIN(f, "\x81\xabmax_pending\x05"));
    for (size_t i = 0; i < sizeof CHANGES / sizeof *CHANGES; i++)
        FIRM(ask(f, CHANGES[i].op, CHANGES[i].count, CHANGES[i].args, CHANGES[i].size));
}

/* Who joins what is there asks for nothing, nor does who acknowledges. */
static void no_sync_for_those_who_only_work(void **state) {
    fixture *f = *state;
    JOIN_NEW(f);
    unsigned before = disk.syncs;
    JOIN_NEW(f);
    assert_string_equal(f->word, "ok");
    ASK(f, "group", 6, "\xa1g\xa3tok\x91\x92\x01\x01\x90\x00\x00");
    assert_string_equal(f->word, "ok");
    assert_int_equal(disk.syncs, before);
}

static bool group_is_there(const fixture *f) { return !TAILQ_EMPTY(&f->hub->groups); }

/* As a killed hub leaves it: what is in memory is gone. */
static void reopen_killed(fixture *f) {
    disk.write_fails = true;
    close_hub(f);
    open_hub(f);
}

static void what_cannot_be_written_is_refused(void **state) {
    fixture *f = *state;
    disk.write_fails = true;
    JOIN_NEW(f);
    assert_string_equal(f->code, "store");
    /* once more: it is in memory, but no more stored than before */
    JOIN_NEW(f);
    assert_string_equal(f->code, "store");
    reopen_killed(f);
    assert_false(group_is_there(f));
    JOIN_NEW(f);
    assert_string_equal(f->word, "ok");
    disk.write_fails = true;
    for (size_t i = 0; i < sizeof CHANGES / sizeof *CHANGES; i++) {
        ask(f, CHANGES[i].op, CHANGES[i].count, CHANGES[i].args, CHANGES[i].size);
        assert_string_equal(f->code, "store");
    }
    reopen_killed(f);
    assert_true(group_is_there(f));
}

/* A disk that is full stops no member of a group that is stored. */
static void members_go_on_while_it_cannot_be_written(void **state) {
    fixture *f = *state;
    JOIN_NEW(f);
    disk.write_fails = true;
    ASK(f, "group", 6, "\xa1g\xa3tok\x91\x92\x01\x01\x90\x00\x00");
    assert_string_equal(f->word, "ok");
    JOIN_NEW(f);
    assert_string_equal(f->word, "ok");
}

static void a_sync_that_fails_is_made_up_for_by_a_new_file(void **state) {
    fixture *f = *state;
    JOIN_NEW(f);
    disk.sync_fails = true;
    ASK(f, "group.pause", 2, "\xa1g\xc3");
    assert_string_equal(f->code, "store");
    disk.sync_fails = false;
    ASK(f, "group.pause", 2, "\xa1g\xc3");
    assert_string_equal(f->word, "ok");
    reopen_killed(f);
    assert_true(group_is_there(f) && TAILQ_FIRST(&f->hub->groups)->paused);
}

static off_t size_of(const fixture *f, const char *name) {
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    return stat(path, &st) ? -1 : st.st_size;
}

/* What is damaged stays until there is something in its place, also when the hub is killed before that. */
static void a_damaged_file_is_kept(void **state) {
    fixture *f = *state;
    char path[128];
    JOIN_NEW(f);
    ASK(f, "group.pause", 2, "\xa1g\xc3");
    ASK(f, "group.pause", 2, "\xa1g\xc2");
    close_hub(f);
    snprintf(path, sizeof path, "%s/groups.log", f->dir);
    off_t size = size_of(f, "groups.log");
    for (int round = 0; round < 2; round++) {
        FILE *file = fopen(path, "r+");
        assert_non_null(file);
        assert_int_equal(fseek(file, 100, SEEK_SET), 0);
        fputc('X', file);
        assert_int_equal(fclose(file), 0);
        /* the hub cannot write: the file stays as it was */
        keep_writes_failing = true;
        open_hub(f);
        reopen_killed(f);
        assert_true(group_is_there(f));
        assert_int_equal(size_of(f, "groups.log"), size);
        close_hub(f);
        keep_writes_failing = false;
        open_hub(f);
        assert_true(group_is_there(f));
        assert_int_equal(size_of(f, round ? "groups.damaged.2" : "groups.damaged"), size);
        assert_int_equal(size_of(f, round ? "groups.damaged.3" : "groups.damaged.2"), -1);
        ASK(f, "group.pause", 2, "\xa1g\xc3");
        ASK(f, "group.pause", 2, "\xa1g\xc2");
        close_hub(f);
        size = size_of(f, "groups.log");
    }
    open_hub(f);
}

int main(void) {
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_is_asked_of_a_group_is_on_disk),
        T(no_sync_for_those_who_only_work),
        T(what_cannot_be_written_is_refused),
        T(members_go_on_while_it_cannot_be_written),
        T(a_sync_that_fails_is_made_up_for_by_a_new_file),
        T(a_damaged_file_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
