/* status.c: the request "status": how the hub stands, and what it has done since it began.
 *
 * Leaves to others: counting (publish.c, by evb_hub_count), the journal's own figures (journal.h). */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "hub/hub_private.h"

void evb_hub_count(evb_hub *self, uint64_t events, uint64_t bytes) {
    evb_hub_counts *c = &self->counts;
    int64_t second = self->now_ns / EVB_SECOND_NS;
    size_t slot = (size_t)(second % EVB_RATE_SLOTS);
    if (c->seconds[slot] != second) {
        c->seconds[slot] = second;
        c->events_of[slot] = 0;
    }
    c->events_of[slot] += events;
    c->events += events;
    c->bytes += bytes;
    c->batches++;
}

/* Events a second over the last ten whole ones. */
static uint64_t rate(const evb_hub *self) {
    const evb_hub_counts *c = &self->counts;
    int64_t now = self->now_ns / EVB_SECOND_NS;
    uint64_t sum = 0;
    for (size_t i = 0; i < EVB_RATE_SLOTS; i++)
        if (c->seconds[i] < now && c->seconds[i] >= now - 10)
            sum += c->events_of[i];
    return sum / 10;
}

/* Bytes of memory that the process has: proc(5), statm. */
static uint64_t resident(void) {
    unsigned long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    int n = f ? fscanf(f, "%lu %lu", &size, &pages) : 0;
    if (f)
        fclose(f);
    return n == 2 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static const char *sync_text(const evb_hub *self, char out[32]) {
    switch (self->options.sync) {
    case EVB_SYNC_ALWAYS: return "always";
    case EVB_SYNC_NONE: return "none";
    case EVB_SYNC_LATER: break;
    }
    snprintf(out, 32, "%lldms", (long long)(self->options.sync_ns / EVB_MILLISECOND_NS));
    return out;
}

static bool pack_text(msgpack_packer *p, const char *name, const char *text) {
    return !evb_mp_pack_str(p, name, strlen(name)) &&
           !(text ? evb_mp_pack_str(p, text, strlen(text)) : msgpack_pack_nil(p));
}

static bool pack_bool(msgpack_packer *p, const char *name, bool value) {
    return !evb_mp_pack_str(p, name, strlen(name)) && !(value ? msgpack_pack_true(p) : msgpack_pack_false(p));
}

int evb_hub_status(evb_hub *self, const evb_request *request, evb_error *err) {
    const evb_hub_counts *c = &self->counts;
    const evb_group *group;
    uint64_t left = 0, total = 0, groups = 0;
    char sync[32];
    msgpack_packer p;
    (void)err;
    evb_journal_space(self->journal, &left, &total);
    TAILQ_FOREACH (group, &self->groups, link)
        groups++;
    int64_t uptime = self->now_ns - self->begun_ns;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"first", evb_journal_first(self->journal)},
                {"head", evb_journal_head(self->journal)},
                {"max_payload", self->options.max_payload},
                {"pid", (uint64_t)self->options.pid},
                {"time", (uint64_t)request->now_ns},
                {"bytes", evb_journal_bytes(self->journal)},
                {"started_ns", (uint64_t)(request->now_ns - uptime)},
                {"uptime_ns", (uint64_t)uptime},
                {"segments", evb_journal_segments(self->journal)},
                {"topics", evb_catalog_topic_count(evb_journal_catalog(self->journal))},
                {"events_in", c->events},
                {"bytes_in", c->bytes},
                {"batches_in", c->batches},
                {"rate_in", rate(self)},
                {"fed", c->fed},
                {"clients", evb_clients_count(&self->clients)},
                {"groups", groups},
                {"disk_free", left},
                {"disk_total", total},
                {"rss", resident()}};
    const uint32_t count = sizeof rows / sizeof *rows;
    bool ok = evb_hub_answer(self, request, 1, &p) && !msgpack_pack_map(&p, count + 5) &&
              pack_text(&p, "version", EVB_VERSION) && pack_text(&p, "sync", sync_text(self, sync)) &&
              pack_text(&p, "dir", self->options.dir) && pack_bool(&p, "memory", !self->options.dir) &&
              pack_bool(&p, "full", evb_journal_is_full(self->journal));
    for (size_t i = 0; ok && i < count; i++)
        ok = !evb_mp_pack_str(&p, rows[i].name, strlen(rows[i].name)) && !msgpack_pack_uint64(&p, rows[i].value);
    return ok ? 0 : EVB_ENOMEM;
}
