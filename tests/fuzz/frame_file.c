/* frame_file.c: the world is one disk in memory; the file is there when the hub begins for the second time. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "frame_file.h"

static void add_frame(evb_buf *file, const char *magic, const uint8_t *body, size_t size) {
    uint8_t head[16] = {0};
    memcpy(head, magic, 4);
    evb_put32(head + 4, (uint32_t)size);
    evb_put64(head + 8, XXH3_64bits(body, size));
    MUST(evb_buf_add(file, head, sizeof head) && evb_buf_add(file, body, size));
}

static void write_file(hub_world *world, const char *name, const char *magic, fuzz_input *in) {
    evb_buf file = {0};
    while (fuzz_left(in)) {
        size_t size;
        bool bare = fuzz_number(in, 1) == 0xff;
        uint8_t *piece = fuzz_piece(in, &size);
        if (bare)
            MUST(evb_buf_add(&file, piece, size));
        else
            add_frame(&file, magic, piece, size);
        free(piece);
    }
    fuzz_io_put(world->disk, name, file.data, file.size);
    evb_buf_free(&file);
}

/* A journal for it to speak of, made by a hub that has no file `name` yet. */
static void write_journal(hub_world *world, const char *name, unsigned batches) {
    static const char *const TOPICS[] = {"t.1", "t.2", "old.x"};
    evb_error err = {0};
    MUST(hub_world_open(world, &err) == 0);
    for (unsigned i = 0; i < batches; i++)
        hub_world_store(world, TOPICS[i % 3], i % 3, i / 3 + 1, 1 + i % 4);
    hub_world_close(world);
    world->disk->remove(world->disk, name);
}

int fuzz_frame_file(const char *name, const char *magic, const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    hub_world world = {0};
    evb_error err = {0};
    hub_world_make(&world);
    write_journal(&world, name, fuzz_number(&in, 1) % 16);
    write_file(&world, name, magic, &in);
    int rc = hub_world_open(&world, &err);
    MUST(rc == 0 || *err.text);
    for (int i = 0; rc == 0 && i < 4; i++)
        hub_world_wait(&world, EVB_SECOND_NS << 4 * i);
    hub_world_close(&world);
    world.said = 0;
    MUST(hub_world_open(&world, &err) == rc);
    MUST(rc || !world.said);
    hub_world_end(&world);
    return rc;
}
