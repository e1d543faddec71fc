/* fake_hub.c: the hub's side of evbus-protocol(7) over real sockets, as plain as it can be.
 *
 * It shares with the real hub only the record format; the journal is an array, the catalog a list. So a fault of the
 * client's cannot hide behind the same fault of the hub's, and a test decides which frame is lost, which answer is
 * wrong and when the hub is gone.
 * Leaves to others: being right under load, syncing, several publishers (evbusd). */
#include "fake_hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>
#include <cmocka.h>

#include "event/topic.h"

static const char WELCOME[] = "$hub.welcome.";

fake_hub *fake_new(void) {
    fake_hub *self = calloc(1, sizeof *self);
    const char *tmp = getenv("TMPDIR");
    snprintf(self->dir, sizeof self->dir, "%.40s/fakeXXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(self->dir));
    snprintf(self->url, sizeof self->url, "ipc://%s", self->dir);
    self->first = 1;
    return self;
}

static void *bound(fake_hub *self, int type, const char *name) {
    char endpoint[96];
    int zero = 0, one = 1;
    void *socket = zmq_socket(self->context, type);
    snprintf(endpoint, sizeof endpoint, "%s/%s", self->url, name);
    unlink(endpoint + strlen("ipc://"));
    zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &zero, sizeof zero);
    if (type == ZMQ_XPUB)
        zmq_setsockopt(socket, ZMQ_XPUB_VERBOSE, &one, sizeof one);
    assert_int_equal(zmq_bind(socket, endpoint), 0);
    return socket;
}

void fake_up(fake_hub *self) {
    char lock[80];
    snprintf(lock, sizeof lock, "%s/lock", self->dir);
    FILE *f = fopen(lock, "w");
    assert_non_null(f);
    fclose(f);
    self->context = zmq_ctx_new();
    self->router = bound(self, ZMQ_ROUTER, "hub");
    self->feed = bound(self, ZMQ_XPUB, "feed");
}

void fake_down(fake_hub *self) {
    if (!self->router)
        return;
    zmq_close(self->router);
    zmq_close(self->feed);
    zmq_ctx_term(self->context); /* blocks until nothing listens any more */
    self->router = self->feed = NULL;
}

void fake_forget(fake_hub *self) {
    for (size_t i = 0; i < self->record_count; i++)
        evb_buf_free(&self->records[i]);
    self->record_count = self->topic_count = 0;
    self->head = self->producer_last = 0;
    self->first = 1;
}

void fake_destroy(fake_hub **at) {
    fake_hub *self = *at;
    static const char *const FILES[] = {"hub", "feed", "lock"};
    char path[96];
    fake_stop_thread(self);
    fake_down(self);
    fake_forget(self);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", self->dir, FILES[i]);
        unlink(path);
    }
    rmdir(self->dir);
    free(self);
    *at = NULL;
}

static fake_topic *topic_of(fake_hub *self, const char *name, size_t size) {
    for (size_t i = 0; i < self->topic_count; i++)
        if (strlen(self->topics[i].name) == size && memcmp(self->topics[i].name, name, size) == 0)
            return &self->topics[i];
    assert_true(self->topic_count < FAKE_TOPICS_MAX);
    fake_topic *t = &self->topics[self->topic_count++];
    *t = (fake_topic){0};
    memcpy(t->name, name, size);
    return t;
}

/* ---- storing ---- */

void fake_feed(fake_hub *self, const void *data, size_t size) {
    if (self->feed && !self->mute_feed)
        zmq_send(self->feed, data, size, ZMQ_DONTWAIT);
}

void fake_feed_record(fake_hub *self, size_t i) {
    evb_buf *b = &self->records[i];
    evb_record rec;
    evb_buf frame = {0};
    assert_null(evb_record_parse(b->data, b->size, &rec));
    evb_buf_add(&frame, b->data + EVB_RECORD_HEADER, b->size - EVB_RECORD_HEADER);
    evb_batch_set_mark(frame.data + rec.topic_size + 1, self->mark);
    fake_feed(self, frame.data, frame.size);
    evb_buf_free(&frame);
}

/* Takes over the bytes of a record: stamps and keeps it, and puts it on the feed. */
static uint64_t keep(fake_hub *self, evb_buf *bytes) {
    evb_record rec;
    assert_null(evb_record_parse(bytes->data, bytes->size, &rec));
    assert_null(evb_record_check_events(&rec, EVB_PAYLOAD_DEFAULT, NULL));
    fake_topic *t = topic_of(self, rec.topic, rec.topic_size);
    if (rec.flags & EVB_FLAG_LIVE) {
        evb_record_stamp(&rec, 0, 0, t->live + 1, 1);
        t->live += rec.count;
        fake_feed(self, bytes->data + EVB_RECORD_HEADER, bytes->size - EVB_RECORD_HEADER);
        evb_buf_free(bytes);
        return 0;
    }
    evb_record_stamp(&rec, self->head + 1, t->last, t->version + 1, (int64_t)self->head + 1000);
    evb_record_seal(&rec);
    self->head += rec.count;
    t->last = self->head;
    t->version += rec.count;
    assert_true(self->record_count < FAKE_RECORDS_MAX);
    self->records[self->record_count++] = *bytes;
    if (self->drop_frames)
        self->drop_frames--;
    else
        fake_feed_record(self, self->record_count - 1);
    return rec.seq;
}

static evb_buf build(fake_hub *self, const char *topic, unsigned events, uint8_t flags) {
    static const uint8_t PRODUCER[EVB_PRODUCER_SIZE] = "fake";
    evb_buf bytes = {0};
    assert_true(evb_record_begin(&bytes, topic, strlen(topic), flags, PRODUCER, 1));
    for (unsigned i = 0; i < events; i++) {
        char text[24];
        int n = snprintf(text, sizeof text, "%llu", (unsigned long long)(self->head + 1 + i));
        assert_true(evb_record_add(&bytes, 0, &(evb_event){.payload = text, .size = (size_t)n}));
    }
    return bytes;
}

void fake_store(fake_hub *self, const char *topic, unsigned events) {
    evb_buf bytes = build(self, topic, events, 0);
    keep(self, &bytes);
}

void fake_live(fake_hub *self, const char *topic, unsigned events, bool lost) {
    evb_buf bytes = build(self, topic, events, EVB_FLAG_LIVE);
    bool mute = self->mute_feed;
    self->mute_feed |= lost;
    keep(self, &bytes);
    self->mute_feed = mute;
}

static void say_head(fake_hub *self, const char *topic, size_t size) {
    evb_buf frame = {0};
    assert_true(evb_frame_beat(&frame, topic, size, self->head + 1, self->mark, self->time_ns ? self->time_ns : 1));
    fake_feed(self, frame.data, frame.size);
    evb_buf_free(&frame);
}

void fake_beat(fake_hub *self) { say_head(self, "$hub.beat", strlen("$hub.beat")); }

void fake_retain(fake_hub *self, uint64_t first) { self->first = first; }

/* ---- requests ---- */

/* A request being answered. */
typedef struct {
    zmq_msg_t peer, head, body;
    const char *op;
    size_t op_size;
    uint64_t id;
    evb_mp args;
    evb_buf reply, records; /* what to answer */
    msgpack_packer packer;
    bool has_records;
} request;

static void begin(fake_hub *self, request *r, const char *word, uint32_t results) {
    evb_mp_packer(&r->packer, &r->reply);
    msgpack_pack_array(&r->packer, results + 2);
    evb_mp_pack_str(&r->packer, word, strlen(word));
    msgpack_pack_uint64(&r->packer, r->id + (self->wrong_id ? 1000 : 0));
}

static void refuse(fake_hub *self, request *r, const char *code, const char *text) {
    begin(self, r, "error", 2);
    evb_mp_pack_str(&r->packer, code, strlen(code));
    evb_mp_pack_str(&r->packer, text, strlen(text));
}

static void note_pub(fake_hub *self, request *r, const uint8_t *body, size_t size) {
    fake_pub *p = &self->pubs[self->pub_count++ % FAKE_PUBS_MAX];
    evb_record rec;
    *p = (fake_pub){.size = size, .digest = 14695981039346656037u};
    assert_true(evb_mp_uint(&r->args, &p->acked));
    for (size_t at = 0; at < size; at += rec.size, p->records++) {
        assert_null(evb_record_parse((uint8_t *)body + at, size - at, &rec));
        p->first = p->first ? p->first : rec.producer_seq;
        p->last = rec.producer_seq;
    }
    for (size_t i = 0; i < size; i++)
        p->digest = (p->digest ^ body[i]) * 1099511628211u; /* FNV-1a */
}

/* Stores the frame's batches and answers with their runs; the seqs of batches known already are found again. */
static void publish(fake_hub *self, request *r) {
    struct {
        uint64_t number, batches, seq, end;
    } runs[1024];
    size_t count = 0, size = zmq_msg_size(&r->body);
    uint8_t *body = zmq_msg_data(&r->body);
    evb_record rec;
    for (size_t at = 0; at < size; at += rec.size) {
        assert_null(evb_record_parse(body + at, size - at, &rec));
        uint64_t seq = 0, number = rec.producer_seq, events = rec.count;
        for (size_t i = 0; i < self->record_count && number <= self->producer_last; i++) {
            evb_record old;
            assert_null(evb_record_parse(self->records[i].data, self->records[i].size, &old));
            if (old.producer_seq == number && memcmp(old.producer, rec.producer, EVB_PRODUCER_SIZE) == 0)
                seq = old.seq;
        }
        if (number > self->producer_last) {
            evb_buf copy = {0};
            evb_buf_add(&copy, body + at, rec.size);
            seq = keep(self, &copy);
            self->producer_last = number;
        }
        if (count && !self->split_runs && (runs[count - 1].end == seq || (!seq && !runs[count - 1].seq))) {
            runs[count - 1].batches++;
        } else {
            assert_true(count < 1024);
            runs[count].number = number;
            runs[count].batches = 1;
            runs[count++].seq = seq;
        }
        runs[count - 1].end = seq ? seq + events : 0;
    }
    begin(self, r, "ok", 1);
    msgpack_pack_array(&r->packer, count);
    for (size_t i = 0; i < count; i++) {
        msgpack_pack_array(&r->packer, 6); /* one more than a reader knows */
        msgpack_pack_uint64(&r->packer, runs[i].number);
        msgpack_pack_uint64(&r->packer, runs[i].batches);
        msgpack_pack_uint64(&r->packer, runs[i].seq);
        for (int more = 0; more < 3; more++)
            msgpack_pack_nil(&r->packer);
    }
}

static evb_patterns *read_patterns(request *r) {
    uint32_t count;
    evb_patterns *patterns = evb_patterns_new(NULL, 0, NULL);
    assert_true(evb_mp_array(&r->args, &count));
    while (count--) {
        const char *text;
        size_t size;
        assert_true(evb_mp_str(&r->args, &text, &size));
        assert_int_equal(evb_patterns_add(patterns, text, size, NULL), 0);
    }
    return patterns;
}

static void fetch(fake_hub *self, request *r) {
    uint64_t from, to, most;
    assert_true(evb_mp_uint(&r->args, &from) && from && evb_mp_uint(&r->args, &to) && evb_mp_uint(&r->args, &most));
    evb_patterns *patterns = read_patterns(r);
    uint64_t next = from, end = to && to < self->head ? to : self->head;
    self->fetches++;
    if (from < self->first) {
        begin(self, r, "error", 3);
        evb_mp_pack_str(&r->packer, "gone", 4);
        evb_mp_pack_str(&r->packer, "gone: what is left begins later", 31);
        msgpack_pack_uint64(&r->packer, self->first);
        evb_patterns_destroy(&patterns);
        return;
    }
    for (size_t i = 0; i < self->record_count && next <= end; i++) {
        evb_record rec;
        assert_null(evb_record_parse(self->records[i].data, self->records[i].size, &rec));
        if (rec.seq + rec.count <= next)
            continue;
        if (evb_patterns_match(patterns, rec.topic, rec.topic_size)) {
            if (r->records.size && r->records.size + rec.size > most)
                break;
            evb_buf_add(&r->records, rec.record, rec.size);
        }
        next = rec.seq + rec.count;
    }
    if (self->corrupt && r->records.size)
        r->records.data[r->records.size - 1] ^= 1;
    r->has_records = true;
    evb_patterns_destroy(&patterns);
    begin(self, r, "ok", 4);
    msgpack_pack_uint64(&r->packer, next);
    msgpack_pack_uint64(&r->packer, self->head);
    msgpack_pack_uint64(&r->packer, self->first);
    msgpack_pack_nil(&r->packer);
}

static void status(fake_hub *self, request *r) {
    const struct {
        const char *name;
        uint64_t value;
    } ROWS[] = {{"first", self->first}, {"head", self->head}, {"max_payload", 100000}, {"pid", 7}, {"time", 9}};
    self->statuses++;
    begin(self, r, "ok", 1);
    msgpack_pack_map(&r->packer, 5 + self->status_further);
    if (self->status_further) {
        evb_mp_pack_str(&r->packer, "name", 4);
        evb_mp_pack_str(&r->packer, "a further key", 13);
    }
    for (size_t i = 0; i < 5; i++) {
        evb_mp_pack_str(&r->packer, ROWS[i].name, strlen(ROWS[i].name));
        msgpack_pack_uint64(&r->packer, ROWS[i].value);
    }
}

static void seek(fake_hub *self, request *r) {
    uint64_t time;
    assert_true(evb_mp_uint(&r->args, &time));
    begin(self, r, "ok", 1);
    msgpack_pack_uint64(&r->packer, time < 1000 ? 1 : time - 1000 > self->head ? self->head + 1 : time - 999);
}

/* Pages of two topics, so that paging is seen; in the order in which topics were made, which tests keep sorted. */
static void topics(fake_hub *self, request *r) {
    const char *after;
    size_t size, found[2], count = 0;
    uint64_t limit;
    bool all = true;
    assert_true(evb_mp_str(&r->args, &after, &size) && evb_mp_uint(&r->args, &limit));
    evb_patterns *patterns = read_patterns(r);
    for (size_t i = 0; i < self->topic_count && all; i++) {
        const fake_topic *t = &self->topics[i];
        size_t n = strlen(t->name), least = n < size ? n : size;
        int order = memcmp(t->name, after, least);
        if (!t->last || order < 0 || (order == 0 && n <= size) || !evb_patterns_match(patterns, t->name, n))
            continue;
        if (count == 2)
            all = false;
        else
            found[count++] = i;
    }
    evb_patterns_destroy(&patterns);
    begin(self, r, "ok", 2);
    if (all)
        msgpack_pack_nil(&r->packer);
    else
        evb_mp_pack_str(&r->packer, self->topics[found[1]].name, strlen(self->topics[found[1]].name));
    msgpack_pack_array(&r->packer, count);
    for (size_t i = 0; i < count; i++) {
        const fake_topic *t = &self->topics[found[i]];
        msgpack_pack_array(&r->packer, 3);
        evb_mp_pack_str(&r->packer, t->name, strlen(t->name));
        msgpack_pack_uint64(&r->packer, t->last);
        msgpack_pack_uint64(&r->packer, t->version);
    }
}

static void hello(fake_hub *self, request *r) { begin(self, r, "ok", 0); }

static void answer(fake_hub *self, request *r) {
    static const struct {
        const char *op;
        void (*play)(fake_hub *self, request *r);
    } OPS[] = {{"pub", publish}, {"fetch", fetch},   {"status", status},
               {"seek", seek},   {"topics", topics}, {"hello", hello}};
    char op[16] = "";
    memcpy(op, r->op, r->op_size < sizeof op ? r->op_size : sizeof op - 1);
    bool aside = strcmp(op, "hello") == 0; /* tests speak of the other requests */
    if (self->before && !aside)
        self->before(self, op);
    if (strcmp(op, "pub") == 0)
        note_pub(self, r, zmq_msg_data(&r->body), zmq_msg_size(&r->body));
    if (self->mute)
        return;
    if (self->error && !aside) {
        refuse(self, r, self->error, self->text);
        self->error = NULL;
    } else if (self->answer && !aside) {
        begin(self, r, "ok", 1);
        evb_buf_add(&r->reply, self->answer->data, self->answer->size);
        r->has_records = true;
        self->answer = NULL;
    } else {
        for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
            if (strcmp(OPS[i].op, op) == 0)
                OPS[i].play(self, r);
    }
    zmq_msg_send(&r->peer, self->router, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(self->router, r->reply.data, r->reply.size, ZMQ_DONTWAIT | (r->has_records ? ZMQ_SNDMORE : 0));
    if (r->has_records)
        zmq_send(self->router, r->records.data, r->records.size, ZMQ_DONTWAIT);
}

static bool serve_one(fake_hub *self) {
    request r = {0};
    uint32_t count;
    zmq_msg_init(&r.peer);
    zmq_msg_init(&r.head);
    zmq_msg_init(&r.body);
    bool got = zmq_msg_recv(&r.peer, self->router, ZMQ_DONTWAIT) >= 0;
    if (got) {
        zmq_msg_recv(&r.head, self->router, 0);
        if (zmq_msg_more(&r.head))
            zmq_msg_recv(&r.body, self->router, 0);
        uint8_t *data = zmq_msg_data(&r.head);
        r.args = (evb_mp){data, data + zmq_msg_size(&r.head)};
        assert_true(evb_mp_array(&r.args, &count) && evb_mp_str(&r.args, &r.op, &r.op_size) &&
                    evb_mp_uint(&r.args, &r.id));
        answer(self, &r);
    }
    evb_buf_free(&r.reply);
    evb_buf_free(&r.records);
    zmq_msg_close(&r.peer);
    zmq_msg_close(&r.head);
    zmq_msg_close(&r.body);
    return got;
}

static bool welcome_one(fake_hub *self) {
    char text[512];
    int n = zmq_recv(self->feed, text, sizeof text, ZMQ_DONTWAIT);
    size_t prefix = sizeof WELCOME - 1;
    if (n < 0)
        return false;
    if (text[0] != 1 || (size_t)n < prefix + 3 || memcmp(text + 1, WELCOME, prefix) != 0)
        return true;
    if (self->drop_welcomes)
        self->drop_welcomes--;
    else
        say_head(self, text + 1, (size_t)n - 2);
    self->welcomes++;
    return true;
}

void fake_serve(fake_hub *self, int ms) {
    if (!self->router)
        return;
    zmq_pollitem_t items[] = {{self->router, 0, ZMQ_POLLIN, 0}, {self->feed, 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, 2, ms);
    while (serve_one(self))
        continue;
    while (welcome_one(self))
        continue;
}

static void *serve_on(void *context) {
    fake_hub *self = context;
    while (!atomic_load(&self->stop))
        fake_serve(self, 5);
    return NULL;
}

void fake_start_thread(fake_hub *self) {
    atomic_store(&self->stop, false);
    self->threaded = true;
    assert_int_equal(pthread_create(&self->thread, NULL, serve_on, self), 0);
}

void fake_stop_thread(fake_hub *self) {
    if (!self->threaded)
        return;
    self->threaded = false;
    atomic_store(&self->stop, true);
    pthread_join(self->thread, NULL);
}
