/* gone.c: the file gone.log and what it says.
 *
 * Big-endian. The characters "EVBR", format version 1, three zeros; then entries: u32 bytes of the body, u8 kind, three
 * zeros, the body, the XXH3-64 (seed 0) of all that. Bodies, a text taking what is left:
 *   'T' trimmed   u64 first seq left
 *   'P' purged    u64 seq up to which, pattern
 *   'R' swept     u64 seq up to which a retained pattern was looked through, pattern
 *   'V' topic     u64 last, version, bytes, time; topic
 *   'C' carried   u64 seq before which all topics' states are here
 *   'S' sealed    nothing: all before it was on disk when the hub ended
 * Of two entries for the same thing the later counts. To add a kind: readers pass over those they do not know.
 * Invariants: entries are only appended, each where the last whole one ends, and the file is replaced whole when it is
 * tidied or was damaged; nothing is hidden that is not noted.
 * Bad bytes at the end are a write that was never finished. With a whole entry behind them they are damage: what they said
 * is lost, each whole entry stands for itself, but R and C, which say that other entries are there, count no more.
 * Leaves to others: when something is gone (journal.c, sweep.c). */
#include "journal/gone.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "base/table.h"

enum { HEAD = 8, ENTRY_HEAD = 8, ENTRY_TAIL = 8, TOPIC_HEAD = 32, ENTRY_MOST = 1024, TIDY_LEAST = 8 << 20 };
#define WHOLE SIZE_MAX
enum { TRIMMED = 'T', PURGED = 'P', SWEPT = 'R', TOPIC = 'V', CARRIED = 'C', SEALED = 'S' };
static const char NAME[] = "gone.log";
static const char STEM[] = "gone";
static const uint8_t MAGIC[HEAD] = {'E', 'V', 'B', 'R', 1};

/* How far something is gone: a topic, a pattern, or a retained pattern's sweep. */
typedef struct {
    uint64_t upto;
    size_t size;
    char text[];
} mark;

struct evb_gone {
    evb_io *io;
    evb_log log;
    int fd;
    uint64_t size;   /* where the next entry goes */
    uint64_t tidied; /* bytes when it was written anew */
    bool appended;   /* since it was opened */
    uint64_t trimmed, carried;
    uint64_t newest;   /* the highest upto of all */
    evb_table *topics; /* purged: topic to mark */
    evb_table *patterns, *swept;
};

/* ---- marks ---- */

static bool set_mark(evb_table *table, const char *text, size_t size, uint64_t upto) {
    mark *m = evb_table_get(table, text, size);
    if (m) {
        m->upto = upto > m->upto ? upto : m->upto;
        return true;
    }
    m = malloc(sizeof *m + size);
    if (!m)
        return false;
    m->upto = upto;
    m->size = size;
    memcpy(m->text, text, size);
    if (evb_table_put(table, m->text, size, m))
        return true;
    free(m);
    return false;
}

static evb_table *table_of(const evb_gone *self, uint8_t kind, const char *text, size_t size) {
    bool exact;
    if (kind == SWEPT)
        return self->swept;
    evb_pattern_prefix(text, size, &exact);
    return exact ? self->topics : self->patterns;
}

/* Takes an entry in. False: memory is short. What is not understood is passed over. */
static bool take(evb_gone *self, uint8_t kind, const uint8_t *body, size_t size) {
    if (size < 8)
        return true;
    uint64_t value = evb_get64(body);
    const char *text = (const char *)body + 8;
    if (kind == TRIMMED && value > self->trimmed)
        self->trimmed = value;
    if (kind == CARRIED && value > self->carried)
        self->carried = value;
    if ((kind != PURGED && kind != SWEPT) || evb_pattern_fault(text, size - 8))
        return true;
    if (kind == PURGED && value > self->newest)
        self->newest = value;
    return set_mark(table_of(self, kind, text, size - 8), text, size - 8, value);
}

/* ---- the file ---- */

static void add_entry(evb_buf *out, uint8_t kind, const void *body, size_t size) {
    uint8_t head[ENTRY_HEAD] = {0}, tail[ENTRY_TAIL];
    size_t start = out->size;
    evb_put32(head, (uint32_t)size);
    head[4] = kind;
    evb_buf_add(out, head, sizeof head);
    evb_buf_add(out, body, size);
    evb_put64(tail, XXH3_64bits(out->data + start, out->size - start));
    evb_buf_add(out, tail, sizeof tail);
}

/* The entry at data, and its bytes, or 0: it is not whole. */
static size_t entry_at(const uint8_t *data, size_t left, uint8_t *kind, const uint8_t **body, size_t *size) {
    if (left < ENTRY_HEAD + ENTRY_TAIL)
        return 0;
    *size = evb_get32(data);
    *kind = data[4];
    *body = data + ENTRY_HEAD;
    if (*size > ENTRY_MOST || left < ENTRY_HEAD + *size + ENTRY_TAIL ||
        evb_get64(*body + *size) != XXH3_64bits(data, ENTRY_HEAD + *size))
        return 0;
    return ENTRY_HEAD + *size + ENTRY_TAIL;
}

static int append(evb_gone *self, uint8_t kind, const void *body, size_t size, evb_error *err) {
    evb_buf entry = {0};
    int rc = 0;
    if (!evb_buf_reserve(&entry, ENTRY_HEAD + size + ENTRY_TAIL))
        return evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    add_entry(&entry, kind, body, size);
    if (evb_io_write_all(self->io, self->fd, entry.data, entry.size, (off_t)self->size))
        rc = evb_fail_errno(err, EVB_ESTORE, errno, "%s", NAME);
    else if (!take(self, kind, body, size))
        rc = evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    self->size += rc == 0 ? entry.size : 0;
    self->appended = true;
    evb_buf_free(&entry);
    return rc;
}

/* Reads the whole file into *out. */
static int slurp(evb_gone *self, evb_buf *out, evb_error *err) {
    if (evb_io_read_whole(self->io, self->fd, out) == 0)
        return 0;
    return evb_fail_errno(err, errno == ENOMEM ? EVB_ENOMEM : EVB_EIO, errno, "%s", NAME);
}

typedef bool entry_fn(void *context, uint8_t kind, const uint8_t *body, size_t size);

/* Where the entries of a file are. */
typedef struct {
    size_t end; /* of the last whole one */
    size_t bad; /* where damage begins, behind which there is something whole; or WHOLE */
} extent;

static bool has_head(const evb_buf *file) { return file->size >= HEAD && memcmp(file->data, MAGIC, HEAD) == 0; }

/* Calls each for every whole entry. False: each did, which ends it. */
static bool walk(const evb_buf *file, entry_fn *each, void *context, extent *out) {
    const uint8_t *body;
    uint8_t kind;
    size_t step, size;
    *out = (extent){.end = HEAD, .bad = has_head(file) || file->size <= HEAD ? WHOLE : 0};
    for (size_t at = HEAD; at < file->size; at += step ? step : 1) {
        step = entry_at(file->data + at, file->size - at, &kind, &body, &size);
        if (step && !each(context, kind, body, size))
            return false;
        if (step && at > out->end && out->bad == WHOLE)
            out->bad = out->end;
        if (step)
            out->end = at + step;
    }
    return true;
}

static bool take_entry(void *context, uint8_t kind, const uint8_t *body, size_t size) {
    return take(context, kind, body, size);
}

/* Adds an entry to the file that takes a damaged one's place. */
static bool copy_entry(void *context, uint8_t kind, const uint8_t *body, size_t size) {
    evb_buf *out = context;
    if (kind == SWEPT || kind == CARRIED)
        return true;
    if (!evb_buf_reserve(out, ENTRY_HEAD + size + ENTRY_TAIL))
        return false;
    add_entry(out, kind, body, size);
    return true;
}

/* Puts a new file in its place. -1 and errno. */
static int replace(evb_gone *self, const evb_buf *file) {
    if (evb_io_replace(self->io, NAME, file->data, file->size))
        return -1;
    self->io->close(self->io, self->fd);
    self->fd = self->io->open(self->io, NAME, false); /* without it every further note fails */
    self->size = file->size;
    return 0;
}

/* Keeps of a damaged file what is whole, in a new one. Where the disk is full, it stays as it is. */
static int mend(evb_gone *self, const evb_buf *file, size_t bad, evb_error *err) {
    evb_buf out = {0};
    extent parts;
    char aside[EVB_ASIDE_NAME];
    evb_log_say(&self->log,
                "%s: damaged at byte %zu: what was noted there is lost, so that events that were purged may be back; "
                "the rest is kept",
                NAME, bad);
    evb_table_destroy(&self->swept, free);
    self->swept = evb_table_new();
    self->carried = 0;
    if (!self->swept || !evb_buf_add(&out, MAGIC, HEAD) || !walk(file, copy_entry, &out, &parts)) {
        evb_buf_free(&out);
        return evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    }
    self->size = file->size;
    bool kept = evb_io_keep_aside(self->io, self->fd, STEM, aside) == 0;
    if (kept && replace(self, &out) == 0)
        evb_log_say(&self->log, "%s: the damaged file is kept as %s", NAME, aside);
    else
        evb_log_say(&self->log, "%s: cannot write it anew: %s", NAME, strerror(errno));
    evb_buf_free(&out);
    return 0;
}

/* Cuts off what was never finished, and gives a new file its head. */
static int cut(evb_gone *self, const evb_buf *file, size_t end, evb_error *err) {
    if (file->size > end)
        evb_log_say(&self->log, "%s: cut off %zu bytes at offset %zu that are no whole entry", NAME, file->size - end,
                    end);
    if ((!has_head(file) && evb_io_write_all(self->io, self->fd, MAGIC, HEAD, 0)) ||
        (file->size > end && self->io->truncate(self->io, self->fd, (off_t)end)))
        return evb_fail_errno(err, EVB_EIO, errno, "%s", NAME);
    self->size = end;
    return 0;
}

/* Reads what is there, and makes it safe: a killed hub has left it in the page cache. */
static int load(evb_gone *self, evb_error *err) {
    evb_buf file = {0};
    extent parts;
    int rc = slurp(self, &file, err);
    if (rc == 0 && !walk(&file, take_entry, self, &parts))
        rc = evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    if (rc == 0)
        rc = parts.bad == WHOLE ? cut(self, &file, parts.end, err) : mend(self, &file, parts.bad, err);
    self->tidied = self->size;
    evb_buf_free(&file);
    return rc ? rc : evb_gone_sync(self, err);
}

static int open_file(evb_gone *self, evb_error *err) {
    self->fd = self->io->open(self->io, NAME, false);
    if (self->fd < 0 && errno == ENOENT)
        self->fd = evb_io_create(self->io, NAME);
    return self->fd < 0 ? evb_fail_errno(err, EVB_EIO, errno, "%s", NAME) : 0;
}

evb_gone *evb_gone_new(evb_io *io, evb_log log, evb_error *err) {
    evb_gone *self = calloc(1, sizeof *self);
    if (self) {
        *self = (evb_gone){.io = io, .log = log, .fd = -1};
        self->topics = evb_table_new();
        self->patterns = evb_table_new();
        self->swept = evb_table_new();
    }
    if (!self || !self->topics || !self->patterns || !self->swept)
        evb_fail(err, EVB_ENOMEM, "%s: out of memory", NAME);
    else if (open_file(self, err) == 0 && load(self, err) == 0)
        return self;
    evb_gone_destroy(&self);
    return NULL;
}

static bool pass_entry(void *context, uint8_t kind, const uint8_t *body, size_t size) {
    (void)context, (void)kind, (void)body, (void)size;
    return true;
}

int evb_gone_verify(evb_io *io, evb_log log, evb_error *err) {
    evb_gone gone = {.io = io, .fd = io->open(io, NAME, false)};
    evb_buf file = {0};
    extent parts = {.bad = WHOLE};
    if (gone.fd < 0)
        return errno == ENOENT ? 0 : evb_fail_errno(err, EVB_EIO, errno, "%s", NAME);
    int rc = slurp(&gone, &file, err);
    if (rc == 0)
        walk(&file, pass_entry, NULL, &parts);
    if (parts.bad != WHOLE) {
        evb_log_say(&log,
                    "%s: damaged at byte %zu: at the next start of a hub, events that were purged may be back; the "
                    "rest of the file is kept",
                    NAME, parts.bad);
        rc = EVB_EDAMAGED;
    }
    evb_buf_free(&file);
    io->close(io, gone.fd);
    return rc;
}

/* Says that all is on disk, for who looks at it after the end. Nothing depends on it. */
static void seal(evb_gone *self) {
    evb_error err;
    if (self->appended && evb_gone_sync(self, &err) == 0)
        append(self, SEALED, NULL, 0, &err);
}

void evb_gone_destroy(evb_gone **self) {
    if (!*self)
        return;
    evb_table_destroy(&(*self)->topics, free);
    evb_table_destroy(&(*self)->patterns, free);
    evb_table_destroy(&(*self)->swept, free);
    if ((*self)->fd >= 0) {
        seal(*self);
        (*self)->io->close((*self)->io, (*self)->fd);
    }
    free(*self);
    *self = NULL;
}

int evb_gone_sync(evb_gone *self, evb_error *err) {
    return self->io->datasync(self->io, self->fd) ? evb_fail_errno(err, EVB_EIO, errno, "%s", NAME) : 0;
}

/* ---- noting ---- */

static int note_number(evb_gone *self, uint8_t kind, uint64_t value, evb_error *err) {
    uint8_t body[8];
    evb_put64(body, value);
    return append(self, kind, body, sizeof body, err);
}

static int note_text(evb_gone *self, uint8_t kind, uint64_t value, const char *text, size_t size, evb_error *err) {
    uint8_t body[8 + EVB_TOPIC_MAX];
    evb_put64(body, value);
    memcpy(body + 8, text, size);
    return append(self, kind, body, 8 + size, err);
}

int evb_gone_trim(evb_gone *self, uint64_t first, evb_error *err) { return note_number(self, TRIMMED, first, err); }

int evb_gone_carry(evb_gone *self, uint64_t before, evb_error *err) {
    return note_number(self, CARRIED, before, err);
}

int evb_gone_purge(evb_gone *self, const char *pattern, size_t size, uint64_t upto, evb_error *err) {
    return note_text(self, PURGED, upto, pattern, size, err);
}

int evb_gone_sweep(evb_gone *self, const char *pattern, size_t size, uint64_t swept, evb_error *err) {
    return note_text(self, SWEPT, swept, pattern, size, err);
}

int evb_gone_topic(evb_gone *self, const char *topic, size_t size, const evb_topic_state *state, evb_error *err) {
    uint8_t body[TOPIC_HEAD + EVB_TOPIC_MAX];
    evb_put64(body, state->last);
    evb_put64(body + 8, state->version);
    evb_put64(body + 16, state->bytes);
    evb_put64(body + 24, (uint64_t)state->time_ns);
    memcpy(body + TOPIC_HEAD, topic, size);
    return append(self, TOPIC, body, TOPIC_HEAD + size, err);
}

/* ---- asking ---- */

uint64_t evb_gone_trimmed(const evb_gone *self) { return self->trimmed; }

uint64_t evb_gone_carried(const evb_gone *self) { return self->carried; }

uint64_t evb_gone_swept(const evb_gone *self, const char *pattern, size_t size) {
    const mark *m = evb_table_get(self->swept, pattern, size);
    return m ? m->upto : 0;
}

uint64_t evb_gone_of(const evb_gone *self, const char *topic, size_t size) {
    const mark *m = evb_table_get(self->topics, topic, size);
    uint64_t upto = m ? m->upto : 0;
    for (size_t cursor = 0; (m = evb_table_next(self->patterns, &cursor));)
        if (m->upto > upto && evb_pattern_match(m->text, m->size, topic, size))
            upto = m->upto;
    return upto;
}

bool evb_gone_hides(const evb_gone *self, const evb_record *rec) {
    uint64_t last = rec->seq + rec->count - 1;
    return last <= self->newest && last <= evb_gone_of(self, rec->topic, rec->topic_size);
}

uint64_t evb_gone_of_patterns(const evb_gone *self, const evb_patterns *patterns) {
    const evb_table *tables[] = {self->topics, self->patterns};
    const mark *m;
    uint64_t upto = 0;
    if (evb_patterns_all(patterns))
        return self->newest;
    for (size_t i = 0; i < 2; i++)
        for (size_t cursor = 0; (m = evb_table_next(tables[i], &cursor));)
            if (m->upto > upto && evb_patterns_overlap(patterns, m->text, m->size))
                upto = m->upto;
    return upto;
}

/* ---- the catalog ---- */

typedef struct {
    evb_gone *self;
    evb_catalog *catalog;
    evb_error *err;
    evb_buf out; /* tidying: the topics that are kept */
    int rc;
} topics_walk;

static bool read_topic(uint8_t kind, const uint8_t *body, size_t size, evb_topic_state *state) {
    if (kind != TOPIC || size <= TOPIC_HEAD || size > TOPIC_HEAD + EVB_TOPIC_MAX)
        return false;
    *state = (evb_topic_state){.last = evb_get64(body),
                               .version = evb_get64(body + 8),
                               .bytes = evb_get64(body + 16),
                               .time_ns = (int64_t)evb_get64(body + 24)};
    return true;
}

static bool teach_topic(void *context, uint8_t kind, const uint8_t *body, size_t size) {
    topics_walk *w = context;
    evb_topic_state state;
    if (!read_topic(kind, body, size, &state))
        return true;
    w->rc = evb_catalog_reserve(w->catalog, 1, w->err);
    evb_topic_state *known =
        w->rc ? NULL : evb_catalog_topic(w->catalog, (const char *)body + TOPIC_HEAD, size - TOPIC_HEAD, w->err);
    if (known)
        *known = state;
    else
        w->rc = w->err->code;
    return known != NULL;
}

int evb_gone_teach(evb_gone *self, evb_catalog *catalog, evb_error *err) {
    topics_walk w = {.self = self, .catalog = catalog, .err = err};
    evb_buf file = {0};
    extent parts;
    int rc = slurp(self, &file, err);
    if (rc == 0)
        walk(&file, teach_topic, &w, &parts);
    evb_buf_free(&file);
    return rc ? rc : w.rc;
}

/* ---- tidying ---- */

/* Keeps a topic's state if nothing newer of the topic was stored. */
static bool keep_topic(void *context, uint8_t kind, const uint8_t *body, size_t size) {
    topics_walk *w = context;
    evb_topic_state state, now;
    evb_error err;
    if (!read_topic(kind, body, size, &state))
        return true;
    if (evb_catalog_look(w->catalog, (const char *)body + TOPIC_HEAD, size - TOPIC_HEAD, &now, &err))
        return false;
    if (now.last == state.last) {
        if (!evb_buf_reserve(&w->out, ENTRY_HEAD + size + ENTRY_TAIL))
            return false;
        add_entry(&w->out, kind, body, size);
    }
    return true;
}

/* Adds a table's marks that are not below first. */
static bool keep_marks(evb_buf *out, const evb_table *table, uint8_t kind, uint64_t first) {
    uint8_t body[8 + EVB_TOPIC_MAX];
    const mark *m;
    for (size_t cursor = 0; (m = evb_table_next(table, &cursor));) {
        if (m->upto < first)
            continue;
        if (!evb_buf_reserve(out, ENTRY_HEAD + 8 + m->size + ENTRY_TAIL))
            return false;
        evb_put64(body, m->upto);
        memcpy(body + 8, m->text, m->size);
        add_entry(out, kind, body, 8 + m->size);
    }
    return true;
}

static bool keep_number(evb_buf *out, uint8_t kind, uint64_t value) {
    uint8_t body[8];
    evb_put64(body, value);
    if (!evb_buf_reserve(out, ENTRY_HEAD + sizeof body + ENTRY_TAIL))
        return false;
    add_entry(out, kind, body, sizeof body);
    return true;
}

/* Builds what the file is to be in w->out. */
static bool gather(evb_gone *self, topics_walk *w, uint64_t first) {
    evb_buf file = {0};
    evb_error err;
    extent parts;
    bool ok = evb_buf_add(&w->out, MAGIC, HEAD) && keep_number(&w->out, TRIMMED, self->trimmed) &&
              keep_number(&w->out, CARRIED, self->carried) && keep_marks(&w->out, self->topics, PURGED, first) &&
              keep_marks(&w->out, self->patterns, PURGED, first) && keep_marks(&w->out, self->swept, SWEPT, first) &&
              slurp(self, &file, &err) == 0 && walk(&file, keep_topic, w, &parts);
    evb_buf_free(&file);
    return ok;
}

void evb_gone_tidy(evb_gone *self, evb_catalog *catalog, uint64_t first) {
    topics_walk w = {.self = self, .catalog = catalog};
    if (self->size < TIDY_LEAST || self->size < 4 * self->tidied)
        return;
    if (!gather(self, &w, first) || replace(self, &w.out))
        evb_log_say(&self->log, "%s: cannot write it anew; it goes on growing", NAME);
    self->tidied = self->size;
    evb_buf_free(&w.out);
}
