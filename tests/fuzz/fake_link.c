/* fake_link.c: net/link.h with a hub behind it that says what the fuzzer's bytes say.
 *
 * Each time the client looks for a message, a byte says what comes: answers get the id of the request that waits for
 * one, and welcomes the token that was asked for, so that what is behind those is reached. Waiting takes no time but
 * on the fake clock. A connection is there as soon as it is looked at. */
#include "net/link.h"

#include <stdlib.h>
#include <string.h>

#include "event/mp.h"
#include "event/record.h"
#include "input.h"
#include "net/url.h"

enum { OWED_MAX = 256, PREFIX_MAX = 300 };
enum { SAY_ANSWER, SAY_RECORDS, SAY_ERROR, SAY_RAW, SAY_FRAME, SAY_WELCOME, SAY_BEAT, SAY_NOTHING, SAY_DOWN };

struct evb_link {
    int channels;
};

struct evb_channel {
    evb_link *link;
    evb_channel_kind kind;
    evb_channel_state state;
    uint64_t owed[OWED_MAX]; /* ids of requests that wait for an answer */
    size_t owed_count;
    char welcome[PREFIX_MAX]; /* the last topic that was asked for */
    size_t welcome_size;
};

static fuzz_input *script;

void fuzz_link_feed(fuzz_input *in) { script = in; }

bool fuzz_link_is_done(void) { return !fuzz_left(script); }

/* ---- the link ---- */

evb_link *evb_link_new(const char *url, evb_error *err) {
    evb_url parsed;
    return evb_url_parse(url, &parsed, err) ? NULL : calloc(1, sizeof(evb_link));
}

void evb_link_destroy(evb_link **self) {
    MUST(!*self || !(*self)->channels);
    free(*self);
    *self = NULL;
}

int evb_link_explain(const evb_link *self, bool *hopeless, evb_error *err) {
    (void)self;
    *hopeless = false;
    *err = (evb_error){EVB_ENOHUB, "no hub"};
    return EVB_ENOHUB;
}

int evb_link_wait(evb_link *self, struct pollfd *fds, size_t count, int64_t timeout_ns, evb_error *err) {
    static const int64_t LONGEST_NS = INT64_C(300000000);
    (void)self, (void)err;
    for (size_t i = 0; i < count; i++)
        fds[i].revents = 0;
    fuzz_now_ns += timeout_ns < 0 || timeout_ns > LONGEST_NS ? LONGEST_NS : timeout_ns + 1;
    return 0;
}

evb_channel *evb_channel_new(evb_link *link, evb_channel_kind kind) {
    evb_channel *self = calloc(1, sizeof *self);
    MUST(self);
    self->link = link;
    self->kind = kind;
    link->channels++;
    return self;
}

void evb_channel_destroy(evb_channel **self) {
    if (*self)
        (*self)->link->channels--;
    free(*self);
    *self = NULL;
}

int evb_channel_open(evb_channel *self, evb_error *err) {
    (void)err;
    self->state = EVB_CHANNEL_CONNECTING;
    self->owed_count = 0;
    return 0;
}

void evb_channel_close(evb_channel *self) { self->state = EVB_CHANNEL_CLOSED; }

evb_channel_state evb_channel_look(evb_channel *self) {
    if (self->state == EVB_CHANNEL_CONNECTING)
        self->state = EVB_CHANNEL_UP;
    return self->state;
}

bool evb_channel_reached(evb_channel *self) { return self->state == EVB_CHANNEL_UP; }

bool evb_channel_was_up(evb_channel *self) { return self->state != EVB_CHANNEL_CONNECTING; }

void evb_channel_listen(evb_channel *self, bool on) { (void)self, (void)on; }

bool evb_channel_send(evb_channel *self, const void *head, size_t head_size, void *body, size_t size,
                      void (*release)(void *data, void *hint), void *hint) {
    evb_mp mp = {head, (const uint8_t *)head + head_size};
    uint32_t count;
    const char *op;
    size_t op_size;
    uint64_t id;
    MUST(evb_mp_array(&mp, &count) && evb_mp_str(&mp, &op, &op_size) && evb_mp_uint(&mp, &id));
    for (MUST(count >= 2); count > 2; count--)
        MUST(evb_mp_skip(&mp));
    MUST(mp.at == mp.end);
    if (self->owed_count < OWED_MAX)
        self->owed[self->owed_count++] = id;
    if (hint || size)
        release(body, hint);
    return self->state == EVB_CHANNEL_UP;
}

bool evb_channel_subscribe(evb_channel *self, const void *prefix, size_t size) {
    MUST(size < PREFIX_MAX);
    memcpy(self->welcome, prefix, size);
    self->welcome_size = size ? size - 1 : 0;
    return true;
}

/* ---- what comes ---- */

static void own(evb_message *out, evb_buf *bytes) {
    uint8_t *copy = malloc(bytes->size + !bytes->size);
    MUST(copy);
    if (bytes->size)
        memcpy(copy, bytes->data, bytes->size);
    *out = (evb_message){copy, bytes->size, copy};
    evb_buf_free(bytes);
}

/* An answer's first part: word, the id that is waited for, and `more` objects that the script has. */
static void answer(evb_channel *self, const char *word, uint32_t more, evb_buf *out) {
    msgpack_packer packer;
    size_t size;
    uint8_t *rest = fuzz_piece(script, &size);
    evb_mp_packer(&packer, out);
    msgpack_pack_array(&packer, more + 2);
    evb_mp_pack_str(&packer, word, strlen(word));
    msgpack_pack_uint64(&packer, self->owed[0]);
    MUST(evb_buf_add(out, rest, size));
    free(rest);
}

static void add_piece(evb_buf *out, bool seal) {
    size_t size;
    uint8_t *piece = fuzz_piece(script, &size);
    if (seal)
        fuzz_seal(piece, size);
    MUST(evb_buf_add(out, piece, size));
    free(piece);
}

static void settle(evb_channel *self) {
    if (self->owed_count)
        memmove(self->owed, self->owed + 1, --self->owed_count * sizeof *self->owed);
}

static int say_answer(evb_channel *self, uint8_t what, evb_message *first, evb_message *second) {
    evb_buf head = {0}, body = {0};
    if (!self->owed_count)
        return 0;
    if (what == SAY_RAW)
        add_piece(&head, false);
    else
        answer(self, what == SAY_ERROR ? "error" : "ok", (uint32_t)fuzz_number(script, 1) & 15, &head);
    if (what == SAY_RECORDS)
        add_piece(&body, true);
    settle(self);
    own(first, &head);
    if (body.size)
        own(second, &body);
    return 1;
}

static int say_on_feed(evb_channel *self, uint8_t what, evb_message *first) {
    static const char BEAT[] = "$hub.beat";
    evb_buf frame = {0};
    if (what == SAY_FRAME || what == SAY_RAW) {
        add_piece(&frame, false);
    } else {
        const char *topic = what == SAY_WELCOME && self->welcome_size ? self->welcome : BEAT;
        size_t size = topic == BEAT ? sizeof BEAT - 1 : self->welcome_size;
        uint64_t seq = fuzz_seq(script);
        MUST(evb_frame_beat(&frame, topic, size, seq, fuzz_seq(script), 1));
    }
    own(first, &frame);
    return 1;
}

int evb_channel_receive(evb_channel *self, evb_message *first, evb_message *second) {
    *first = *second = (evb_message){0};
    if (self->state != EVB_CHANNEL_UP || !fuzz_left(script))
        return 0;
    bool feed = self->kind == EVB_CHANNEL_FEED, takes = self->owed_count > 0;
    uint8_t what = script->at[0] % (SAY_DOWN + 1);
    if (what < SAY_RAW && feed)
        return 0; /* it waits for the other channel to look */
    if (what > SAY_RAW && what < SAY_NOTHING && !feed)
        return 0;
    script->at++;
    if (what == SAY_DOWN)
        self->state = EVB_CHANNEL_DOWN;
    if (what >= SAY_NOTHING)
        return 0;
    return feed ? say_on_feed(self, what, first) : takes ? say_answer(self, what, first, second) : 0;
}

/* What comes is made when it is received: before that there is none. */
bool evb_channel_has(evb_channel *self) {
    (void)self;
    return false;
}

void evb_message_free(evb_message *self) {
    free(self->handle);
    *self = (evb_message){0};
}
