/* hello.c: what a subscription tells the hub of itself, for who looks after it (evctl clients).
 *
 * Said after each welcome and then every five seconds; sooner, but not more than once a second, where a new report is to be
 * told. Nothing depends on it, and no answer is waited for: a hub that does not know the request refuses it, and that is
 * passed over. */
#include "base/clock.h"
#include "base/utf8.h"
#include "client/subscription_private.h"

static const int64_t EVERY_NS = 5 * EVB_SECOND_NS, REPORT_NS = EVB_SECOND_NS;

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

/* What was run, if anybody has said so. */
static bool pack_report(const evb_sub *self, msgpack_packer *p) {
    return pack_number(p, "runs", self->runs) && pack_number(p, "failures", self->failures) &&
           pack_text(p, "last_error", self->last_error) &&
           pack_number(p, "last_error_ns", (uint64_t)self->last_error_ns);
}

static void say(evb_sub *self, int64_t now_ns) {
    msgpack_packer p;
    self->hello_ns = now_ns + EVERY_NS;
    self->said_ns = now_ns;
    self->to_report = false;
    if (!*self->id) /* one that stays, while tokens come and go with connections */
        memcpy(self->id, self->token, sizeof self->id);
    evb_call *call = evb_call_new(self->bus, "hello", 3, &p, heard, self);
    bool ok = call && !evb_mp_pack_str(&p, self->id, strlen(self->id)) &&
              !evb_mp_pack_str(&p, self->token, strlen(self->token)) &&
              !msgpack_pack_map(&p, self->reports ? 10 : 6) && pack_text(&p, "kind", self->kind) &&
              pack_text(&p, "group", self->group_name) && pack_patterns(&p, self->patterns) &&
              pack_number(&p, "position", self->serving ? 0 : self->done + 1) &&
              pack_number(&p, "losses", self->losses) && pack_number(&p, "handed", self->handed) &&
              (!self->reports || pack_report(self, &p));
    if (ok)
        evb_call_send(self->bus, call);
    else
        evb_sub_fail(self, EVB_ENOMEM, "subscription: out of memory");
}

void evb_sub_hello(evb_sub *self, int64_t now_ns) {
    if (self->hello_ns && now_ns >= self->hello_ns)
        say(self, now_ns);
}

void evb_sub_hello_last(evb_sub *self) {
    if (self->to_report && self->hello_ns)
        say(self, evb_clock_monotonic_ns());
}

int evb_sub_report(evb_sub *self, uint64_t runs, uint64_t failures, const char *last_error, int64_t last_error_ns) {
    self->runs = runs;
    self->failures = failures;
    self->last_error_ns = last_error && last_error_ns > 0 ? last_error_ns : 0;
    last_error = last_error ? last_error : "";
    evb_utf8_copy(self->last_error, sizeof self->last_error, last_error, strlen(last_error), true);
    self->reports = self->to_report = true;
    if (self->hello_ns > self->said_ns + REPORT_NS)
        self->hello_ns = self->said_ns + REPORT_NS;
    return 0;
}
