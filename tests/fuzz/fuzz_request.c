/* fuzz_request.c: requests, as any client may send them, to the hub's core; with clocks that jump, connections that come
 * and go, and a hub that ends and begins again. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "event/mp.h"
#include "hub_world.h"

enum { STEPS_MAX = 200, BODY = 0x10, MORE = 0x20 };
enum { ASK, ASK_AGAIN, WAIT, COME, LEAVE, LEAVE_ALL, BEGIN_ANEW, KINDS };
static const char *const TOKENS[] = {"tok", "tok2", "ab"};

/* The next msgpack object, or what is left when there is none whole. */
static uint8_t *take_head(fuzz_input *in, size_t *size) {
    evb_mp mp = {in->at, in->end};
    *size = evb_mp_skip(&mp) ? (size_t)(mp.at - in->at) : fuzz_left(in);
    uint8_t *head = malloc(*size + !*size);
    MUST(head);
    memcpy(head, in->at, *size);
    in->at += *size;
    return head;
}

static void ask(hub_world *world, fuzz_input *in, unsigned how) {
    size_t head_size, body_size = 0;
    uint8_t *body = how & BODY ? fuzz_piece(in, &body_size) : NULL;
    uint8_t *head = take_head(in, &head_size);
    if (body && !body_size) {
        free(body);
        body = NULL;
    }
    hub_world_ask(world, head, head_size, body, body_size, how & MORE);
}

static void begin_anew(hub_world *world) {
    evb_error err = {0};
    hub_world_close(world);
    world->said = 0;
    MUST(hub_world_open(world, &err) == 0);
    MUST(!world->said); /* nothing was cut off or damaged: it ended well */
}

static void step(hub_world *world, fuzz_input *in) {
    unsigned how = (unsigned)fuzz_number(in, 1), which;
    if ((how & 15) % KINDS > ASK_AGAIN)
        hub_world_commit(world);
    switch ((how & 15) % KINDS) {
    case WAIT: hub_world_wait(world, (int64_t)1 << (20 + fuzz_number(in, 1) % 28)); break;
    case COME:
        which = (unsigned)fuzz_number(in, 1) % 3;
        evb_hub_came(world->hub, TOKENS[which], strlen(TOKENS[which]), (evb_origin){7, 8}, fuzz_now_ns);
        break;
    case LEAVE:
        which = (unsigned)fuzz_number(in, 1) % 3;
        evb_hub_left(world->hub, TOKENS[which], strlen(TOKENS[which]));
        hub_world_wait(world, 1);
        break;
    case LEAVE_ALL:
        evb_hub_left_all(world->hub);
        hub_world_wait(world, 1);
        break;
    case BEGIN_ANEW: begin_anew(world); break;
    default: ask(world, in, how);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    hub_world world = {0};
    evb_error err = {0};
    hub_world_make(&world);
    MUST(hub_world_open(&world, &err) == 0);
    for (int i = 0; i < 2; i++)
        evb_hub_came(world.hub, TOKENS[i], strlen(TOKENS[i]), (evb_origin){7, 8}, fuzz_now_ns);
    for (int i = 0; i < STEPS_MAX && fuzz_left(&in); i++)
        step(&world, &in);
    hub_world_wait(&world, EVB_SECOND_NS);
    begin_anew(&world);
    hub_world_wait(&world, EVB_SECOND_NS);
    hub_world_end(&world);
    return 0;
}
