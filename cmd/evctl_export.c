/* evctl_export.c: evctl export: records from a hub, or from a journal that no hub holds, into a file or pipe.
 *
 * Where it ends is fixed before it begins, so that it ends under load, too. A file gets its name when it is whole.
 * Leaves to others: the format (lib/journal/export), fetching (lib/client/records), reading a journal (lib/journal). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/replace.h"
#include "base/units.h"
#include "client/records.h"
#include "evctl.h"
#include "event/position.h"
#include "journal/export.h"
#include "journal/journal.h"

/* Where the records come from: one of bus and journal. */
typedef struct {
    evb_bus *bus;
    evb_journal *journal;
    int lock;
    uint64_t first, head;
    evb_patterns *patterns;
    const char *const *texts; /* of the patterns */
    size_t count;
    bool lenient;
    const char *output; /* what is written to, for messages */
} source;

/* ---- a hub ---- */

static int open_hub(source *s, evctl *self, evb_error *err) {
    evb_status status;
    s->bus = evctl_bus(self, err);
    int rc = s->bus ? evb_bus_status(s->bus, &status, err) : err->code;
    if (rc == 0) {
        s->first = status.first;
        s->head = status.head;
    }
    return rc;
}

/* The seq of the first event that matches from a position on; head + 1: there is none. A subscription finds it. */
static int first_from(source *s, evb_from from, uint64_t value, uint64_t *seq, evb_error *err) {
    const evb_sub_options how = {.patterns = s->texts,
                                 .pattern_count = s->count,
                                 .from = from,
                                 .value = value,
                                 .has_to = true,
                                 .to = s->head,
                                 .allow_gap = true};
    evb_event event;
    *seq = s->head + 1;
    if (!s->head)
        return 0;
    evb_sub *sub = evb_sub_new(s->bus, &how, NULL, NULL, err);
    int rc = sub ? EVB_NOTHING : err->code;
    while (rc == EVB_NOTHING) {
        rc = evb_sub_next(sub, &event, err);
        if (rc == EVB_NOTHING && evb_bus_wait(s->bus, NULL, 0, -1, err) < 0)
            rc = EVB_EIO;
    }
    if (rc == EVB_EVENT)
        *seq = event.seq;
    evb_sub_destroy(&sub);
    return rc < 0 ? rc : 0;
}

/* ---- a journal ---- */

static int open_journal(source *s, const evctl *self, evb_error *err) {
    static const evb_journal_options keep = {.segment_bytes = UINT64_MAX};
    char path[4096];
    int rc = evctl_check_journal(self->o.dir, err);
    if (rc)
        return rc;
    snprintf(path, sizeof path, "%s/lock", self->o.dir);
    if ((s->lock = evb_lock_take(path, err)) < 0)
        return s->lock;
    evb_io *io = evb_io_disk_new(self->o.dir, err);
    snprintf(path, sizeof path, "%s/catalog.mdb", self->o.dir);
    s->journal = io ? evb_journal_new(io, path, &keep, self->log, err) : NULL;
    if (!s->journal)
        return err->code;
    s->first = evb_journal_first(s->journal);
    s->head = evb_journal_head(s->journal);
    return 0;
}

/* As first_from. What matches is not looked for: the newest N that match are not known here. */
static int journal_from(source *s, evb_from from, uint64_t value, uint64_t *seq, evb_error *err) {
    if (from == EVB_FROM_TIME)
        return evb_journal_seek_time(s->journal, (int64_t)value, seq, err);
    if (s->count)
        return evb_fail(err, EVB_EINVAL, "--from: with -d and a pattern it is first, a seq or a time");
    uint64_t back = from == EVB_FROM_LAST ? 1 : value, there = s->head + 1 - s->first;
    *seq = s->head + 1 - (back < there ? back : there);
    return 0;
}

/* ---- the range ---- */

static int locate(source *s, evb_from from, uint64_t value, uint64_t *seq, evb_error *err) {
    switch (from) {
    case EVB_FROM_FIRST: *seq = s->first; return 0;
    case EVB_FROM_NOW: *seq = s->head + 1; return 0;
    case EVB_FROM_SEQ: *seq = value ? value : 1; return 0;
    case EVB_FROM_LAST:
    case EVB_FROM_TIME:
    case EVB_FROM_BACK:
    case EVB_FROM_LAST_PER_TOPIC: break;
    }
    return s->bus ? first_from(s, from, value, seq, err) : journal_from(s, from, value, seq, err);
}

static int find_from(source *s, const evctl_options *o, uint64_t *seq, evb_error *err) {
    evb_from form = EVB_FROM_FIRST;
    evb_error why;
    uint64_t value = 0;
    int rc = o->from ? evb_position_parse(o->from, evb_clock_wall_ns(), &form, &value, &why) : 0;
    if (rc)
        return evb_fail(err, rc, "--from: %.400s", why.text);
    s->lenient = o->allow_gap || form != EVB_FROM_SEQ;
    return locate(s, form, value, seq, err);
}

/* The last seq: the head unless --to names an earlier one. */
static int find_to(source *s, const evctl_options *o, uint64_t *seq, evb_error *err) {
    evb_from form = EVB_FROM_NOW;
    evb_error why;
    uint64_t value = 0, behind = s->head + 1;
    int rc = o->to ? evb_position_parse(o->to, evb_clock_wall_ns(), &form, &value, &why) : 0;
    if (rc)
        return evb_fail(err, rc, "--to: %.400s", why.text);
    if (form == EVB_FROM_SEQ && value)
        behind = value < s->head ? value + 1 : s->head + 1;
    else if (form == EVB_FROM_TIME)
        rc = locate(s, form, value + 1, &behind, err);
    else if (form != EVB_FROM_NOW && form != EVB_FROM_LAST)
        return evb_fail(err, EVB_EINVAL, "--to %s: a seq of 1 or more, or a time", o->to);
    *seq = behind - 1;
    return rc;
}

/* ---- writing ---- */

static int read_some(source *s, uint64_t from, uint64_t to, evb_buf *out, uint64_t *next, evb_error *err) {
    if (s->bus)
        return evb_records_fetch(s->bus, from, to, s->patterns, s->lenient, out, next, err);
    uint64_t left = evb_journal_left(s->journal, s->patterns, from);
    if (left != from && !s->lenient)
        return evb_fail(err, EVB_EGONE, "events before seq %" PRIu64 " are gone: trimmed, purged or expired", left);
    return evb_journal_read(s->journal, from, to, EVB_FETCH_MOST, s->patterns, out, next, err);
}

/* Says what could not be written, where that is why it failed. */
static int name_output(const source *s, int rc, evb_error *err) {
    evb_error why = *err;
    return rc == EVB_EIO ? evb_fail(err, rc, "%.200s: %.280s", s->output, why.text) : rc;
}

/* Copies from..to. What retention removes in the meantime is passed over only if lenient. */
static int copy_records(source *s, evb_export_writer *writer, uint64_t from, uint64_t to, evb_error *err) {
    evb_status status;
    evb_buf records = {0};
    int rc = 0;
    while (rc == 0 && from <= to) {
        uint64_t next = from;
        records.size = 0;
        rc = read_some(s, from, to, &records, &next, err);
        if (rc == EVB_EGONE && s->lenient && s->bus && evb_bus_status(s->bus, &status, err) == 0 &&
            status.first > from) {
            from = status.first;
            rc = 0;
            continue;
        }
        rc = rc ? rc : name_output(s, evb_export_writer_add(writer, records.data, records.size, err), err);
        from = next;
    }
    evb_buf_free(&records);
    return rc;
}

static int write_export(source *s, const evctl_options *o, int fd, evb_export_extent *extent, evb_error *err) {
    uint64_t from = 1, to = 0;
    int rc = find_from(s, o, &from, err);
    rc = rc ? rc : find_to(s, o, &to, err);
    if (rc)
        return rc;
    to = to < from ? from - 1 : to;
    evb_export_writer *writer = evb_export_writer_new(fd, from, to, s->patterns, err);
    rc = writer ? copy_records(s, writer, from, to, err) : name_output(s, err->code, err);
    rc = rc ? rc : name_output(s, evb_export_writer_end(writer, extent, err), err);
    evb_export_writer_destroy(&writer);
    return rc;
}

void evctl_print_extent(const evctl_options *o, const evb_export_extent *e) {
    if (o->json)
        printf("{\"events\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"first\":%" PRIu64 ",\"last\":%" PRIu64
               ",\"missing\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"xxh3\":\"%016" PRIx64 "\"}\n",
               e->events, e->records, e->first, e->last, e->missing, e->bytes, e->digest);
    else if (e->events)
        printf("%" PRIu64 " event%s, seqs %" PRIu64 " to %" PRIu64 ", %" PRIu64 " bytes\n", e->events,
               evb_plural(e->events), e->first, e->last, e->bytes);
    else
        printf("no events\n");
}

/* The permissions that the file at `path` is to have: those that it has, or as evb_replace_open gives them. */
static mode_t mode_of(const char *path) {
    struct stat old;
    mode_t mask = umask(0);
    umask(mask);
    return stat(path, &old) == 0 ? old.st_mode & 0777 : 0644 & ~mask;
}

/* Into a regular file, which gets its name when all is in it. Until then it has a new one, not evb_replace_open's: it may
 * lie where others write, too. */
static int write_file(source *s, const evctl_options *o, evb_export_extent *extent, evb_error *err) {
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", o->output) >= (int)sizeof temporary)
        return evb_fail(err, EVB_EINVAL, "%.400s: the name is too long", o->output);
    int rc = evb_replace_way(o->output, err);
    if (rc)
        return rc;
    evctl_begin_unfinished();
    int fd = mkostemp(temporary, O_CLOEXEC), why = errno;
    evctl_unfinished(fd < 0 ? NULL : temporary);
    errno = why;
    if (fd < 0)
        return evb_replace_fail(o->output, err);
    rc = fchmod(fd, mode_of(o->output)) ? evb_replace_fail(temporary, err) : write_export(s, o, fd, extent, err);
    if (rc == 0)
        rc = evb_replace_commit(fd, o->output, temporary, err);
    else
        evb_replace_abandon(fd, temporary);
    evctl_unfinished(NULL);
    return rc;
}

/* Into what is there and no regular file: a fifo, a device. */
static int write_special(source *s, const evctl_options *o, evb_export_extent *extent, evb_error *err) {
    int fd = open(o->output, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return evb_replace_fail(o->output, err);
    int rc = write_export(s, o, fd, extent, err);
    if (close(fd) && rc == 0)
        rc = evb_replace_fail(o->output, err);
    return rc;
}

static int write_output(source *s, const evctl_options *o, evb_error *err) {
    struct stat st;
    evb_export_extent extent;
    if (!o->output)
        return write_export(s, o, STDOUT_FILENO, &extent, err);
    bool special = stat(o->output, &st) == 0 && !S_ISREG(st.st_mode);
    int rc = special ? write_special(s, o, &extent, err) : write_file(s, o, &extent, err);
    if (rc == 0)
        evctl_print_extent(o, &extent);
    return rc;
}

int evctl_export(evctl *self, evb_error *err) {
    const evctl_options *o = &self->o;
    source s = {.lock = -1,
                .texts = (const char *const *)self->argv,
                .count = (size_t)self->argc,
                .output = o->output ? o->output : "stdout"};
    if (!o->output && o->json)
        return evb_fail(err, EVB_EINVAL, "export: -J wants -o: stdout is the export's");
    if (!o->output && isatty(STDOUT_FILENO))
        return evb_fail(err, EVB_EINVAL, "export: stdout is a terminal: give a file with -o, or a pipe");
    s.patterns = evb_patterns_new(s.texts, s.count, err);
    int rc = s.patterns ? 0 : err->code;
    rc = rc ? rc : o->dir ? open_journal(&s, self, err) : open_hub(&s, self, err);
    rc = rc ? rc : write_output(&s, o, err);
    evb_journal_destroy(&s.journal);
    if (s.lock >= 0)
        close(s.lock);
    evb_patterns_destroy(&s.patterns);
    return rc;
}
