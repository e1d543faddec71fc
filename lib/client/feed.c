/* feed.c: a subscription's connection to the feed: what it subscribes to, under which name, and what of the live events
 * on it is missing.
 *
 * The welcome is subscribed to last, so that it comes when all before it is active.
 * Leaves to others: what frames mean, and losses of what is stored (subscription.c). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "client/subscription_private.h"

enum { LIVE_TOPICS_MAX = 4096, TOKEN_SIZE = 32, TOKEN_FIXED = 30 };
static const char BEAT[] = "$hub.beat"; /* with its NUL, which ends the topic on the wire */
static const char WELCOME[] = "$hub.welcome.";

/* How many live events of a topic have come, for counting those that have not. */
typedef struct {
    uint64_t next; /* the version that should come */
    size_t size;
    char topic[];
} live_mark;

static void make_token(evb_sub *self) {
    uint8_t random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        memcpy(random, &self, sizeof self); /* never seen; a token only has to differ from other subscribers' */
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(self->token + 2 * i, 3, "%02x", random[i]);
    self->asked = 0;
}

/* Asks for a welcome, under a name that this connection has not asked for yet: each is answered once. */
bool evb_sub_ask_welcome(evb_sub *self) {
    char topic[sizeof WELCOME + sizeof self->token];
    snprintf(self->token + TOKEN_FIXED, 3, "%02x", self->asked++ & 0xff);
    self->asked_ns = evb_clock_monotonic_ns();
    int n = snprintf(topic, sizeof topic, "%s%s", WELCOME, self->token);
    return evb_channel_subscribe(self->feed, topic, (size_t)n + 1);
}

/* Subscribes to what the patterns can match: an exact topic with its NUL, else the bytes before the first wildcard. */
static bool subscribe_patterns(evb_sub *self) {
    char prefix[EVB_TOPIC_MAX + 1];
    size_t count = evb_patterns_count(self->patterns), size;
    if (evb_patterns_all(self->patterns))
        return evb_channel_subscribe(self->feed, "", 0);
    for (size_t i = 0; i < count; i++) {
        bool exact;
        const char *text = evb_patterns_get(self->patterns, i, &size);
        size_t n = evb_pattern_prefix(text, size, &exact);
        memcpy(prefix, text, n);
        prefix[n] = 0;
        if (!evb_channel_subscribe(self->feed, prefix, n + exact))
            return false;
    }
    return true;
}

/* Opens the feed anew; the welcome comes last, when all before it is active. */
void evb_sub_open_feed(evb_sub *self) {
    evb_error err;
    make_token(self);
    self->retry_ns = 0;
    evb_channel_listen(self->feed, true);
    if (evb_channel_open(self->feed, &err) || (!self->group && !self->serving && !subscribe_patterns(self)) ||
        !evb_channel_subscribe(self->feed, BEAT, sizeof BEAT) || !evb_sub_ask_welcome(self))
        evb_sub_fail(self, EVB_EIO, "subscription: cannot open the feed");
}

/* Counts a live batch's events for its topic, and says how many are missing before it. */
void evb_sub_count_live(evb_sub *self, const evb_record *rec) {
    live_mark *m = evb_table_get(self->live, rec->topic, rec->topic_size);
    if (m && rec->version > m->next)
        evb_sub_say(self, EVB_NOTE_LOST, rec->version - m->next);
    if (!m) {
        if (evb_table_count(self->live) >= LIVE_TOPICS_MAX)
            evb_table_clear(self->live, free);
        m = malloc(sizeof *m + rec->topic_size);
        if (!m)
            return;
        m->size = rec->topic_size;
        memcpy(m->topic, rec->topic, rec->topic_size);
        if (!evb_table_put(self->live, m->topic, m->size, m)) {
            free(m);
            return;
        }
    }
    m->next = rec->version + rec->count;
}

bool evb_sub_is_my_welcome(const evb_sub *self, const evb_record *rec) {
    size_t prefix = sizeof WELCOME - 1;
    return rec->topic_size == prefix + TOKEN_SIZE && memcmp(rec->topic, WELCOME, prefix) == 0 &&
           memcmp(rec->topic + prefix, self->token, TOKEN_FIXED) == 0;
}
