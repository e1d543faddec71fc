/* test_frames.c: frames built and read back; what is torn, and what is damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "hub/frames.h"

static const evb_frame_kind KIND = {"NEW1", "OLD1"};

typedef struct {
    evb_io *io;
    evb_buf bytes;
    evb_frame_reader reader;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    f->io = evb_io_memory_new(NULL);
    f->reader = (evb_frame_reader){.io = f->io, .fd = f->io->open(f->io, "x", true), .kind = &KIND};
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    f->io->close(f->io, f->reader.fd);
    evb_io_destroy(&f->io);
    evb_buf_free(&f->bytes);
    evb_buf_free(&f->reader.piece);
    free(f);
    return 0;
}

static void add(fixture *f, uint64_t synced, const char *body) {
    assert_true(evb_frame_add(&f->bytes, &KIND, synced, (const uint8_t *)body, strlen(body)));
}

static void add_old(fixture *f, const char *body) {
    uint8_t h[16] = "OLD1";
    evb_put32(h + 4, (uint32_t)strlen(body));
    evb_put64(h + 8, XXH3_64bits(body, strlen(body)));
    evb_buf_add(&f->bytes, h, sizeof h);
    evb_buf_add(&f->bytes, body, strlen(body));
}

static void store(fixture *f) {
    f->io->truncate(f->io, f->reader.fd, 0);
    assert_int_equal(evb_io_write_all(f->io, f->reader.fd, f->bytes.data, f->bytes.size, 0), 0);
    f->reader.end = f->bytes.size;
    f->reader.piece.size = 0;
}

static void assert_frame(fixture *f, uint64_t *at, const char *body, uint64_t synced) {
    evb_frame frame;
    assert_true(evb_frame_at(&f->reader, *at, &frame));
    assert_int_equal(frame.size, strlen(body));
    assert_memory_equal(frame.body, body, frame.size);
    assert_true(frame.synced == synced);
    *at += frame.header + frame.size;
}

static void both_kinds_are_read_back(void **state) {
    fixture *f = *state;
    uint64_t at = 0;
    add_old(f, "one");
    add(f, 7, "two");
    add(f, EVB_FRAME_SAFE, "");
    store(f);
    assert_frame(f, &at, "one", EVB_FRAME_SAFE);
    assert_frame(f, &at, "two", 7);
    assert_frame(f, &at, "", EVB_FRAME_SAFE);
    assert_int_equal(at, f->bytes.size);
}

static void each_flipped_bit_and_each_cut_is_seen(void **state) {
    fixture *f = *state;
    evb_frame frame;
    add(f, 7, "some body");
    for (size_t bit = 0; bit < f->bytes.size * 8; bit++) {
        f->bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        store(f);
        assert_false(evb_frame_at(&f->reader, 0, &frame));
        f->bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (f->reader.end = 0; f->reader.end < f->bytes.size; f->reader.end++) {
        f->reader.piece.size = 0;
        assert_false(evb_frame_at(&f->reader, 0, &frame));
    }
    assert_false(f->reader.failed);
}

/* Whether the second of three frames, made bad, is torn if the third says so of what was synced. */
static bool second_torn(fixture *f, uint64_t synced_after, bool old) {
    f->bytes.size = 0;
    add(f, 0, "first");
    size_t second = f->bytes.size;
    add(f, 0, "second");
    size_t third = f->bytes.size;
    if (old)
        add_old(f, "third");
    else
        add(f, synced_after == 1 ? third : synced_after == 0 ? second : synced_after, "third");
    f->bytes.data[second + 25] ^= 1;
    store(f);
    return evb_frame_torn(&f->reader, second);
}

static void a_bad_frame_is_damage_if_a_later_one_says_that_it_was_safe(void **state) {
    assert_true(second_torn(*state, 0, false));
    assert_false(second_torn(*state, 1, false));
    assert_false(second_torn(*state, EVB_FRAME_SAFE, false));
    assert_false(second_torn(*state, 0, true));
}

int main(void) {
#define T(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(both_kinds_are_read_back),
        T(each_flipped_bit_and_each_cut_is_seen),
        T(a_bad_frame_is_damage_if_a_later_one_says_that_it_was_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
