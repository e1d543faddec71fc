/* hello.c: what a subscription tells the hub of itself, for who looks after it (evctl clients).
 *
 * Said after each welcome and then every five seconds. Nothing depends on it, and no answer is waited for: a hub that does
 * not know the request refuses it, and that is passed over. */
#include "base/clock.h"
#include "client/subscription_private.h"

static const int64_t EVERY_NS = 5 * EVB_SECOND_NS;

static void heard(void *context, evb_call *call, const evb_reply *reply) {
    (void)context;
    (void)call;
    (void)reply;
}

static bool pack_text(msgpack_packer *p, const char *name, const char *text) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !evb_mp_pack_str(p, text, strlen(text));
}

static bool pack_number(msgpack_packer *p, const char *name, uint64_t value) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !msgpack_pack_uint64(p, value);
}

static bool pack_patterns(msgpack_packer *p, const evb_patterns *patterns) {
    size_t count = evb_patterns_count(patterns), size;
    bool ok = !evb_mp_pack_str(p, "patterns", 8) && !msgpack_pack_array(p, count);
    for (size_t i = 0; ok && i < count; i++) {
        const char *text = evb_patterns_get(patterns, i, &size);
        ok = !evb_mp_pack_str(p, text, size);
    }
    return ok;
}

void evb_sub_hello(evb_sub *self, int64_t now_ns) {
    msgpack_packer p;
    if (!self->hello_ns || now_ns < self->hello_ns)
        return;
    self->hello_ns = now_ns + EVERY_NS;
    if (!*self->id) /* one that stays, while tokens come and go with connections */
        memcpy(self->id, self->token, sizeof self->id);
    evb_call *call = evb_call_new(self->bus, "hello", 3, &p, heard, self);
    bool ok = call && !evb_mp_pack_str(&p, self->id, strlen(self->id)) &&
              !evb_mp_pack_str(&p, self->token, strlen(self->token)) && !msgpack_pack_map(&p, 6) &&
              pack_text(&p, "kind", self->kind) && pack_text(&p, "group", self->group_name) &&
              pack_patterns(&p, self->patterns) && pack_number(&p, "position", self->done + 1) &&
              pack_number(&p, "losses", self->losses) && pack_number(&p, "handed", self->handed);
    if (ok)
        evb_call_send(self->bus, call);
    else
        evb_sub_fail(self, EVB_ENOMEM, "subscription: out of memory");
}
