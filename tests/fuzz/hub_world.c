/* hub_world.c: the hub, its clock, and the judge of what it answers.
 *
 * What must hold whatever is asked: each request has one answer, which is well formed; the journal that is left is
 * whole; a hub that has ended begins again.
 * Leaves to others: what is asked. */
#include "hub_world.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "event/mp.h"
#include "journal/verify.h"

enum { SEGMENT = 64 * 1024, ANSWER_MOST = 4 << 20 };

/* ---- a disk that stays ---- */

typedef struct {
    evb_io io;
    evb_io *real;
} view;

#define REAL(IO) (((view *)(IO))->real)
static int v_open(evb_io *io, const char *n, bool c) { return REAL(io)->open(REAL(io), n, c); }
static int v_close(evb_io *io, int fd) { return REAL(io)->close(REAL(io), fd); }
static ssize_t v_read(evb_io *io, int fd, void *p, size_t n, off_t at) {
    return REAL(io)->pread(REAL(io), fd, p, n, at);
}
static ssize_t v_write(evb_io *io, int fd, const void *p, size_t n, off_t at) {
    return REAL(io)->pwrite(REAL(io), fd, p, n, at);
}
static int v_sync(evb_io *io, int fd) { return REAL(io)->datasync(REAL(io), fd); }
static int v_cut(evb_io *io, int fd, off_t n) { return REAL(io)->truncate(REAL(io), fd, n); }
static off_t v_size(evb_io *io, int fd) { return REAL(io)->size(REAL(io), fd); }
static int v_remove(evb_io *io, const char *n) { return REAL(io)->remove(REAL(io), n); }
static int v_rename(evb_io *io, const char *a, const char *b) { return REAL(io)->rename(REAL(io), a, b); }
static int v_sync_dir(evb_io *io) { return REAL(io)->sync_dir(REAL(io)); }
static int v_list(evb_io *io, void (*each)(void *, const char *), void *c) {
    return REAL(io)->list(REAL(io), each, c);
}
static int v_space(evb_io *io, uint64_t *l, uint64_t *t) { return REAL(io)->space(REAL(io), l, t); }
static void v_destroy(evb_io *io) { free(io); }

evb_io *fuzz_io_view(evb_io *real) {
    view *self = malloc(sizeof *self);
    MUST(self);
    *self = (view){{v_open, v_close, v_read, v_write, v_sync, v_cut, v_size, v_remove, v_rename, v_sync_dir, v_list,
                    v_space, v_destroy},
                   real};
    return &self->io;
}

/* ---- opening and closing ---- */

void hub_world_make(hub_world *self) {
    fuzz_now_ns = INT64_C(1795341600) * EVB_SECOND_NS;
    self->disk = evb_io_memory_new(NULL);
    self->catalog = fuzz_catalog_path();
    self->live = evb_patterns_new(&(const char *){"live.#"}, 1, NULL);
    MUST(self->disk && self->live);
}

int hub_world_open(hub_world *self, evb_error *err) {
    static const evb_retain retains[] = {{"old.#", 3600 * EVB_SECOND_NS}};
    const evb_journal_options options = {.segment_bytes = SEGMENT,
                                         .retain_bytes = 4 * SEGMENT,
                                         .retains = retains,
                                         .retain_count = 1,
                                         .id_window_ns = 600 * EVB_SECOND_NS,
                                         .id_most = 16};
    const evb_hub_options how = {.live = self->live, .max_payload = 1000, .pid = 7, .log = fuzz_log(&self->said)};
    self->journal = evb_journal_new(fuzz_io_view(self->disk), self->catalog, &options, how.log, err);
    if (!self->journal)
        return err->code;
    self->hub = evb_hub_new(self->journal, &how, fuzz_now_ns, err);
    if (self->hub)
        evb_hub_on_drop(self->hub, free);
    return self->hub ? 0 : err->code;
}

static void free_bodies(hub_world *self) {
    while (self->body_count)
        free(self->bodies[--self->body_count]);
}

void hub_world_close(hub_world *self) {
    evb_hub_destroy(&self->hub);
    evb_journal_destroy(&self->journal);
    free_bodies(self);
    self->owed = 0;
}

void hub_world_end(hub_world *self) {
    evb_verification found;
    evb_error err = {0};
    hub_world_close(self);
    MUST(evb_journal_verify(self->disk, (evb_log){0}, 0, &found, &err) == 0 && !found.damages && !found.lost);
    evb_io_destroy(&self->disk);
    evb_patterns_destroy(&self->live);
}

/* ---- rounds ---- */

static void check_answer(const evb_action *reply) {
    evb_mp mp = {reply->head.data, reply->head.data + reply->head.size};
    uint32_t count;
    const char *word;
    size_t size;
    uint64_t id;
    MUST(reply->head.size < ANSWER_MOST && reply->body.size < ANSWER_MOST);
    MUST(evb_mp_array(&mp, &count) && count >= 2 && evb_mp_str(&mp, &word, &size) && evb_mp_uint(&mp, &id));
    for (count -= 2; count; count--)
        MUST(evb_mp_skip(&mp));
    MUST(mp.at == mp.end);
    evb_record rec;
    for (size_t at = 0; reply->has_body && at < reply->body.size; at += rec.size)
        MUST(!evb_record_parse(reply->body.data + at, reply->body.size - at, &rec) &&
             evb_record_intact(rec.record, rec.size));
}

void hub_world_commit(hub_world *self) {
    evb_action *actions;
    evb_error err = {0};
    evb_record rec;
    size_t count;
    MUST(evb_hub_commit(self->hub, fuzz_now_ns, &actions, &count, &err) == 0);
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == EVB_ACTION_FEED)
            MUST(!evb_frame_parse(actions[i].frame, actions[i].frame_size, &rec) &&
                 actions[i].last <= evb_journal_head(self->journal));
        if (actions[i].kind == EVB_ACTION_REPLY) {
            check_answer(&actions[i]);
            MUST(self->owed-- > 0);
            free(actions[i].peer);
        }
        evb_buf_free(&actions[i].head);
        evb_buf_free(&actions[i].body);
    }
    free_bodies(self);
}

void hub_world_ask(hub_world *self, uint8_t *head, size_t head_size, uint8_t *body, size_t body_size, bool more) {
    evb_error err = {0};
    void *peer = malloc(1);
    MUST(peer);
    self->owed++;
    if (body)
        self->bodies[self->body_count++] = body;
    MUST(evb_hub_request(self->hub, peer, (evb_origin){-1, -1}, head, head_size, body, body_size, fuzz_now_ns,
                         fuzz_now_ns, &err) == 0);
    free(head);
    if (!more || self->body_count == sizeof self->bodies / sizeof *self->bodies)
        hub_world_commit(self);
}

void hub_world_wait(hub_world *self, int64_t ns) {
    evb_error err = {0};
    fuzz_now_ns += ns;
    evb_journal_tend(self->journal, fuzz_now_ns);
    MUST(evb_hub_tick(self->hub, fuzz_now_ns, &err) == 0);
    hub_world_commit(self);
}

void hub_world_store(hub_world *self, const char *topic, unsigned producer, uint64_t number, unsigned events) {
    const uint8_t id[EVB_PRODUCER_SIZE] = {(uint8_t)producer};
    evb_buf head = {0}, body = {0};
    msgpack_packer packer;
    evb_mp_packer(&packer, &head);
    msgpack_pack_array(&packer, 3);
    evb_mp_pack_str(&packer, "pub", 3);
    msgpack_pack_uint64(&packer, 1);
    msgpack_pack_uint64(&packer, number - 1);
    MUST(evb_record_begin(&body, topic, strlen(topic), 0, id, number));
    while (events--)
        MUST(evb_record_add(&body, 0, &(evb_event){.payload = "x", .size = 1}));
    hub_world_ask(self, head.data, head.size, body.data, body.size, false);
}
