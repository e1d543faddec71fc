/* fuzz_groups.c: groups.log, from which the hub reads its groups' state: frames whose checksums hold, and
 * bytes between them that are none. What the hub makes of them it must be able to read again. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "hub_world.h"

static const char FILE_NAME[] = "groups.log";

static void add_frame(evb_buf *file, const uint8_t *body, size_t size) {
    uint8_t head[16] = "EVBG";
    evb_put32(head + 4, (uint32_t)size);
    evb_put64(head + 8, XXH3_64bits(body, size));
    MUST(evb_buf_add(file, head, sizeof head) && evb_buf_add(file, body, size));
}

static void write_file(hub_world *world, fuzz_input *in) {
    evb_buf file = {0};
    while (fuzz_left(in)) {
        size_t size;
        bool bare = fuzz_number(in, 1) == 0xff;
        uint8_t *piece = fuzz_piece(in, &size);
        if (bare)
            MUST(evb_buf_add(&file, piece, size));
        else
            add_frame(&file, piece, size);
        free(piece);
    }
    fuzz_io_put(world->disk, FILE_NAME, file.data, file.size);
    evb_buf_free(&file);
}

/* A journal for it to speak of, made by a hub that has no such file yet. */
static void write_journal(hub_world *world, unsigned batches) {
    static const char *const TOPICS[] = {"t.1", "t.2", "old.x"};
    evb_error err = {0};
    MUST(hub_world_open(world, &err) == 0);
    for (unsigned i = 0; i < batches; i++)
        hub_world_store(world, TOPICS[i % 3], i % 3, i / 3 + 1, 1 + i % 4);
    hub_world_close(world);
    world->disk->remove(world->disk, FILE_NAME);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    hub_world world = {0};
    evb_error err = {0};
    hub_world_make(&world);
    write_journal(&world, fuzz_number(&in, 1) % 16);
    write_file(&world, &in);
    int rc = hub_world_open(&world, &err);
    MUST(rc == 0); /* damage costs no more than what it says */
    for (int i = 0; rc == 0 && i < 4; i++)
        hub_world_wait(&world, EVB_SECOND_NS << 4 * i);
    hub_world_close(&world);
    world.said = 0;
    MUST(hub_world_open(&world, &err) == rc);
    MUST(rc || !world.said);
    hub_world_end(&world);
    return 0;
}
