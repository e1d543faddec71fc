/* pub_spool.c: when evpub changes from the hub to the spool, and what it says of that.
 *
 * Invariant: once on, it stays on until all that was kept is delivered, so that the order of the events holds.
 * Leaves to others: how an event is delivered once (lib/spool), the stream (evpub.c). */
#include "pub_spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "program.h"

static const size_t COMMIT_SIZE = 1024 * 1024;
static const int64_t RETRY_LEAST_NS = EVB_SECOND_NS;
enum { RETRY_SHARE = 4 }; /* a hub that lets us wait is waited for one part of the time in so many and one */

static void say_note(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "evpub: %s\n", text);
}

/* What is kept elsewhere than one thinks is looked for in vain. */
static void say_place(const char *dir) {
    if (dir && *dir && *dir != '/')
        fprintf(stderr, "evpub: EVBUS_SPOOL=%.200s: passed over: not an absolute path\n", dir);
}

static int open_spool(pub_spool *self, const char *url, evb_error *err) {
    say_place(getenv("EVBUS_SPOOL"));
    self->spool = program_spool(url, say_note, NULL, err);
    return self->spool ? 0 : err->code;
}

/* Turns it on for this reason of the hub's. */
static int turn_on(pub_spool *self, const evb_error *why) {
    self->on = true;
    self->retry_ns = evb_clock_monotonic_ns() + RETRY_LEAST_NS;
    self->why = *why;
    evb_spool_whole(self->spool, self->whole);
    return 0;
}

int pub_spool_begin(pub_spool *self, const char *url, evb_bus *bus, bool whole, evb_error *err) {
    int rc = open_spool(self, url, err);
    self->whole = whole;
    rc = rc ? rc : evb_spool_deliver(self->spool, bus, &self->delivery, err);
    return self->spool && evb_spool_keeps(rc) ? turn_on(self, err) : rc;
}

int pub_spool_commit(pub_spool *self, evb_error *err) {
    int rc = self->on ? evb_spool_commit(self->spool, err) : 0;
    if (rc == 0)
        self->kept = self->added;
    return rc;
}

int pub_spool_add(pub_spool *self, evb_pub *pub, const evb_event *event, evb_error *err) {
    if (!self->on)
        return evb_pub_add(pub, event, err);
    int rc = evb_spool_add(self->spool, event, err);
    self->added += rc == 0;
    if (rc == 0 && !self->whole && evb_spool_added(self->spool) >= COMMIT_SIZE)
        rc = pub_spool_commit(self, err);
    return rc;
}

int pub_spool_fall_back(pub_spool *self, evb_pub *pub, int code, evb_error *err) {
    uint64_t pending = evb_pub_pending(pub);
    if (!self->spool || self->on || !evb_spool_keeps(code))
        return code;
    turn_on(self, err);
    int rc = evb_spool_add_pending(self->spool, pub, self->delivery.head, err);
    if (rc == 0)
        self->added += pending;
    return rc || self->whole ? rc : pub_spool_commit(self, err);
}

int64_t pub_spool_wait_ns(const pub_spool *self) {
    int64_t left = self->retry_ns - evb_clock_monotonic_ns();
    return !self->on || self->whole ? -1 : left > 0 ? left : 0;
}

/* The hub is back, and has all. */
static int turn_off(pub_spool *self, evb_bus *bus, evb_pub **pub, const evb_pub_options *options, evb_error *err) {
    evb_pub *fresh = evb_pub_new(bus, options, err);
    if (!fresh)
        return EVB_ENOMEM;
    self->back += self->kept + evb_pub_stored(*pub);
    self->kept = self->added = 0;
    self->on = false;
    evb_pub_destroy(pub);
    *pub = fresh;
    return 0;
}

int pub_spool_retry(pub_spool *self, evb_bus *bus, evb_pub **pub, const evb_pub_options *options, evb_error *err) {
    if (pub_spool_wait_ns(self) != 0)
        return 0;
    int64_t begun_ns = evb_clock_monotonic_ns();
    int rc = evb_spool_deliver(self->spool, bus, &self->delivery, err);
    int64_t now_ns = evb_clock_monotonic_ns(), pause_ns = RETRY_SHARE * (now_ns - begun_ns);
    self->retry_ns = now_ns + (pause_ns > RETRY_LEAST_NS ? pause_ns : RETRY_LEAST_NS);
    if (rc)
        return evb_spool_keeps(rc) ? 0 : rc;
    return turn_off(self, bus, pub, options, err);
}

int pub_spool_end(pub_spool *self, evb_bus *bus, evb_error *err) {
    evb_spool_delivery more;
    int rc = pub_spool_commit(self, err);
    if (rc == 0 && self->on && self->why.code == EVB_EBUSY && evb_spool_deliver(self->spool, bus, &more, err) == 0)
        self->on = false;
    return rc;
}

/* How a delivery went that was all that was asked for. */
static int judge(const pub_spool *self, evb_error *err) {
    const evb_spool_delivery *d = &self->delivery;
    if (d->refused)
        return evb_fail(err, EVB_EDATA, "%.300s: %" PRIu64 " event%s refused", evb_spool_where(self->spool),
                        d->refused, evb_plural(d->refused));
    if (d->damaged)
        return evb_fail(err, EVB_EDAMAGED, "%.300s: %" PRIu64 " bytes were damaged", evb_spool_where(self->spool),
                        d->damaged);
    return 0;
}

int pub_spool_only(pub_spool *self, const char *url, evb_bus *bus, evb_error *err) {
    evb_spool_state waits = {0};
    char oldest[EVB_TIME_TEXT];
    evb_error why;
    int rc = open_spool(self, url, err);
    if (rc || (rc = evb_spool_look(self->spool, &waits, err)) || !waits.bytes)
        return rc;
    rc = evb_spool_deliver(self->spool, bus, &self->delivery, err);
    uint64_t delivered = self->delivery.delivered;
    if (rc == 0 || delivered)
        fprintf(stderr, "evpub: %" PRIu64 " spooled event%s delivered\n", delivered, evb_plural(delivered));
    if (rc == 0)
        return judge(self, err);
    if (evb_spool_look(self->spool, &waits, &why) || !waits.events)
        return rc;
    why = *err;
    evb_time_text(waits.oldest_ns, oldest);
    return evb_fail(err, rc, "%.200s; in %.200s wait %" PRIu64 " event%s, the oldest of %s", why.text,
                    evb_spool_where(self->spool), waits.events, evb_plural(waits.events), oldest);
}
