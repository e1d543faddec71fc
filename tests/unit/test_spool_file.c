/* test_spool_file.c: a spool on disk after crashes, damage and failing writes: nothing whole is lost, nothing is made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

#include "base/error.h"
#include "spool/spool_file.h"

enum { RECORDS = 3 };

static char dir[64], path[96], beside[112];
static uint8_t image[4096]; /* of a file of three records */
static size_t image_size, ends[RECORDS];
static unsigned notes;

static void note(void *context, const char *text) {
    (void)context;
    assert_memory_equal(text, path, strlen(path));
    notes++;
}

static evb_spool_file *open_spool(void) {
    evb_error err;
    evb_spool_file *file = evb_spool_file_new(path, note, NULL, &err);
    assert_non_null(file);
    notes = 0;
    return file;
}

/* Appends a record of one event whose payload is this. */
static int append(evb_spool_file *file, const void *payload, size_t size, evb_error *err) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    const evb_event event = {.payload = payload, .size = size};
    evb_buf buf = {0};
    assert_true(evb_record_begin(&buf, "job", 3, 0, nobody, 0) && evb_record_add(&buf, 0, &event));
    int rc = evb_spool_file_append(file, &buf, err);
    evb_buf_free(&buf);
    return rc;
}

/* The first letters of the payloads that are there, behind one another. */
static void payloads(evb_spool_file *file, char out[16]) {
    evb_spool_walk walk = {.quiet = true};
    evb_record rec;
    evb_event event = {0};
    evb_header room[EVB_HEADER_ROOM];
    evb_error err;
    uint64_t size;
    int rc = 0;
    assert_int_equal(evb_spool_file_open(file, &size, &err), 0);
    evb_spool_walk_start(&walk, file, 0, size);
    while (size && (rc = evb_spool_walk_next(&walk, &rec, &err)) > 0) {
        evb_mp cursor = rec.events;
        while (evb_record_next(&cursor, &event, room))
            *out++ = *(const char *)event.payload;
    }
    assert_int_equal(rc, 0);
    *out = 0;
    evb_spool_walk_free(&walk);
}

static void write_image(size_t size) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(image, 1, size, f), size);
    fclose(f);
    unlink(beside);
}

static off_t size_of(const char *name) {
    struct stat st;
    return stat(name, &st) ? 0 : st.st_size;
}

static int make_image(void **state) {
    static const char *const texts[RECORDS] = {"a first", "b second", "c third"};
    evb_error err;
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/evbus-spool-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/new/spool", dir);
    snprintf(beside, sizeof beside, "%s.damaged", path);
    evb_spool_file *file = open_spool();
    for (int i = 0; i < RECORDS; i++) {
        assert_int_equal(append(file, texts[i], strlen(texts[i]), &err), 0);
        ends[i] = (size_t)size_of(path);
    }
    evb_spool_file_destroy(&file);
    FILE *f = fopen(path, "r");
    image_size = fread(image, 1, sizeof image, f);
    fclose(f);
    assert_int_equal(image_size, ends[RECORDS - 1]);
    return 0;
}

static int remove_all(void **state) {
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static void torn_at_every_byte(void **state) {
    for (size_t size = 0; size <= image_size; size++) {
        char found[16], wanted[16] = "";
        size_t whole = 0;
        evb_error err;
        for (int i = 0; i < RECORDS && ends[i] <= size; i++) {
            whole = ends[i];
            snprintf(wanted + i, sizeof wanted - (size_t)i, "%c", 'a' + i);
        }
        write_image(size);
        evb_spool_file *file = open_spool();
        assert_int_equal(append(file, "d", 1, &err), 0);
        strcat(wanted, "d");
        payloads(file, found);
        assert_string_equal(found, wanted);
        assert_int_equal(notes, whole < size);
        assert_int_equal(size_of(beside), size - whole);
        evb_spool_file_destroy(&file);
    }
}

static void each_byte_flipped(void **state) {
    for (size_t at = 0; at < image_size; at++) {
        int hit = at < ends[0] ? 0 : at < ends[1] ? 1 : 2, n = 0;
        char found[16], wanted[16] = "";
        evb_error err;
        image[at] ^= 0x10;
        write_image(image_size);
        image[at] ^= 0x10;
        for (int i = 0; i < RECORDS; i++)
            if (i != hit)
                wanted[n++] = (char)('a' + i);
        wanted[n] = 'd';
        evb_spool_file *file = open_spool();
        assert_int_equal(append(file, "d", 1, &err), 0);
        payloads(file, found);
        assert_string_equal(found, wanted);
        evb_spool_file_destroy(&file);
    }
}

/* A number that was used is never used again for something else. */
static void numbers(void **state) {
    evb_spool_walk walk = {.quiet = true};
    evb_record rec;
    evb_error err;
    uint8_t producer[EVB_PRODUCER_SIZE];
    write_image(image_size - 1);
    evb_spool_file *file = open_spool();
    assert_int_equal(append(file, "d", 1, &err), 0);
    evb_spool_walk_start(&walk, file, 0, (uint64_t)size_of(path));
    for (uint64_t i = 1; i <= 2; i++) {
        assert_int_equal(evb_spool_walk_next(&walk, &rec, &err), 1);
        assert_int_equal(rec.producer_seq, i);
        memcpy(producer, rec.producer, sizeof producer);
    }
    assert_int_equal(evb_spool_walk_next(&walk, &rec, &err), 1);
    assert_int_equal(rec.producer_seq, 1);
    assert_memory_not_equal(producer, rec.producer, sizeof producer);
    evb_spool_walk_free(&walk);
    evb_spool_file_destroy(&file);
}

static void another_has_emptied_it(void **state) {
    char found[16];
    int lock;
    uint64_t end;
    evb_error err;
    write_image(image_size);
    evb_spool_file *ours = open_spool(), *theirs = open_spool();
    assert_int_equal(append(ours, "d", 1, &err), 0);
    lock = evb_spool_file_lock(theirs, &err);
    assert_true(lock >= 0);
    assert_int_equal(evb_spool_file_lock(ours, &err), EVB_EBUSY);
    assert_int_equal(evb_spool_file_extent(theirs, 0, 7, &lock, &end, &err), 0);
    assert_int_equal(end, size_of(path)); /* with the mark */
    assert_int_equal(append(ours, "e", 1, &err), 0);
    uint64_t first = end;
    assert_int_equal(evb_spool_file_extent(theirs, first, 7, &lock, &end, &err), 0);
    assert_true(end > first && lock >= 0);
    first = end;
    assert_int_equal(evb_spool_file_extent(theirs, first, 7, &lock, &end, &err), 0);
    assert_true(end == first && lock == -1);
    assert_int_equal(size_of(path), 0);
    assert_int_equal(append(theirs, "f", 1, &err), 0);
    assert_int_equal(append(ours, "g", 1, &err), 0);
    payloads(theirs, found);
    assert_string_equal(found, "fg");
    /* and another has removed it */
    unlink(path);
    assert_int_equal(append(ours, "h", 1, &err), 0);
    payloads(ours, found);
    assert_string_equal(found, "h");
    evb_spool_file_destroy(&ours);
    evb_spool_file_destroy(&theirs);
}

static void no_room(void **state) {
    struct rlimit before, little = {image_size + 100, RLIM_INFINITY};
    char found[16], large[1000] = "x";
    evb_error err;
    write_image(image_size);
    evb_spool_file *file = open_spool();
    getrlimit(RLIMIT_FSIZE, &before);
    little.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &little);
    int rc = append(file, large, sizeof large, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(rc, EVB_ESTORE);
    assert_int_equal(size_of(path), image_size);
    assert_int_equal(append(file, "d", 1, &err), 0);
    payloads(file, found);
    assert_string_equal(found, "abcd");
    evb_spool_file_destroy(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torn_at_every_byte),     cmocka_unit_test(each_byte_flipped), cmocka_unit_test(numbers),
        cmocka_unit_test(another_has_emptied_it), cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, make_image, remove_all);
}
