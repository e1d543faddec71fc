/* evctl_import.c: evctl import: an export into a hub, or into a new journal.
 *
 * The whole of it is checked first; what cannot be read twice goes to an unlinked temporary file for that. Only then
 * the first event is published.
 * Into a hub: each record is one batch of a producer whose id comes from the export's digest and whose numbers are the
 * records' places, so that the hub itself knows, for as long as it remembers the producer, how far an earlier run came.
 * Into a journal: the records as they are, in a directory that gets its name when all is safe in it.
 * Leaves to others: the format (lib/journal/export), sending (lib/client/publisher). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/dirs.h"
#include "base/error.h"
#include "base/replace.h"
#include "base/units.h"
#include "client/records.h"
#include "evctl.h"
#include "journal/export.h"
#include "journal/io.h"
#include "journal/segment.h"

static const uint64_t SEGMENT_BYTES = 64 * 1024 * 1024;

/* How many events were sent when the last of `events` of them was, and where that stands in the file. */
typedef struct {
    uint64_t events, seq;
} mark;

typedef struct {
    const evctl_options *o;
    const char *name; /* of the file, for messages */
    int fd;
    off_t start; /* where the export begins in it */
    evb_export_extent extent;
    /* into a hub */
    evb_pub *pub;
    uint64_t known;            /* batches that an earlier run has brought in */
    uint64_t number;           /* of the batch at hand */
    uint64_t earlier, skipped; /* events: of those batches; of the hub's own topics, and up to --after */
    uint64_t sent, fresh, again;
    uint64_t first, last; /* the seqs that fresh ones have got here */
    uint64_t done;        /* the file's seq up to which all is stored */
    mark *marks;          /* of what was sent and not acknowledged yet: a ring would save little */
    size_t mark_at, mark_count, mark_room;
} import;

/* ---- the file ---- */

/* Prefixes the error with the file's name. */
static int name_it(const import *im, int rc, evb_error *err) {
    evb_error why = *err;
    return evb_fail(err, rc, "%.150s: %.340s", im->name, why.text);
}

static const char *spool_dir(void) {
    const char *dir = getenv("TMPDIR");
    return dir && *dir ? dir : "/var/tmp";
}

static int spool_failed(evb_error *err) {
    return evb_fail_errno(err, EVB_EIO, errno, "%.200s: cannot keep stdin there until it is checked (see TMPDIR)",
                          spool_dir());
}

static int copy_to(int fd, const import *im, evb_error *err) {
    static uint8_t bytes[256 * 1024];
    ssize_t n;
    while ((n = read(im->fd, bytes, sizeof bytes)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return evb_fail_errno(err, EVB_EIO, errno, "%s", im->name);
        for (ssize_t at = 0, m; at < n; at += m)
            if ((m = write(fd, bytes + at, (size_t)(n - at))) < 0)
                return spool_failed(err);
    }
    return 0;
}

/* Puts a copy without a name in the place of what cannot be read twice. */
static int spool(import *im, evb_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/evctl.XXXXXX", spool_dir());
    evctl_begin_unfinished();
    int fd = mkostemp(path, O_CLOEXEC), rc = fd < 0 || unlink(path) ? spool_failed(err) : 0;
    evctl_unfinished(NULL);
    rc = rc ? rc : copy_to(fd, im, err);
    if (rc == 0 && dup3(fd, im->fd, O_CLOEXEC) < 0)
        rc = spool_failed(err);
    if (fd >= 0)
        close(fd);
    im->start = 0;
    return rc;
}

static int open_file(import *im, const char *path, evb_error *err) {
    struct stat st;
    bool is_stdin = !path || strcmp(path, "-") == 0;
    im->name = is_stdin ? "stdin" : path;
    im->fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (im->fd < 0 || fstat(im->fd, &st))
        return evb_fail_errno(err, errno == EACCES ? EVB_EPERM : EVB_EINVAL, errno, "%s", im->name);
    if (isatty(im->fd))
        return evb_fail(err, EVB_EINVAL, "import: stdin is a terminal: name a file, or give a pipe");
    im->start = S_ISREG(st.st_mode) ? lseek(im->fd, 0, SEEK_CUR) : -1;
    return im->start < 0 ? spool(im, err) : 0;
}

typedef int each_fn(import *im, const evb_record *rec, evb_error *err);

/* Reads the whole export and gives each record to `each`. Errors of the file's own have its name before them. */
static int walk(import *im, each_fn *each, evb_error *err) {
    evb_record rec;
    int rc = 0, more = 0;
    if (lseek(im->fd, im->start, SEEK_SET) < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "%s", im->name);
    evb_export_reader *reader = evb_export_reader_new(im->fd, err);
    if (!reader)
        return name_it(im, err->code, err);
    while (rc == 0 && (more = evb_export_reader_next(reader, &rec, err)) > 0)
        rc = each(im, &rec, err);
    if (more < 0)
        rc = name_it(im, more, err);
    im->extent = *evb_export_reader_extent(reader);
    evb_export_reader_destroy(&reader);
    return rc;
}

static int only_look(import *im, const evb_record *rec, evb_error *err) {
    (void)im;
    (void)rec;
    (void)err;
    return 0;
}

/* ---- into a hub ---- */

static bool add_mark(import *im, uint64_t seq) {
    if (im->mark_at == im->mark_count)
        im->mark_at = im->mark_count = 0;
    if (im->mark_count == im->mark_room) {
        size_t room = im->mark_room ? im->mark_room * 2 : 1024;
        mark *marks = realloc(im->marks, room * sizeof *marks);
        if (!marks)
            return false;
        im->marks = marks;
        im->mark_room = room;
    }
    im->marks[im->mark_count++] = (mark){im->sent, seq};
    return true;
}

/* Moves `done` on to what is stored by now. */
static void take_marks(import *im) {
    while (im->mark_at < im->mark_count && im->marks[im->mark_at].events <= im->fresh + im->again)
        im->done = im->marks[im->mark_at++].seq;
    if (im->mark_at > 4096 && im->mark_at > im->mark_count / 2) {
        im->mark_count -= im->mark_at;
        memmove(im->marks, im->marks + im->mark_at, im->mark_count * sizeof *im->marks);
        im->mark_at = 0;
    }
}

static void stored(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    import *im = context;
    (void)version;
    im->fresh += count;
    if (!im->first)
        im->first = seq;
    im->last = seq ? seq + count - 1 : im->last;
    take_marks(im);
}

static void stored_before(void *context, uint64_t seq, uint64_t version, uint64_t count) {
    import *im = context;
    (void)seq;
    (void)version;
    im->again += count;
    take_marks(im);
}

static int publish(import *im, const evb_record *rec, evb_bus *bus, evb_error *err) {
    int rc;
    im->sent += rec->count;
    if (!add_mark(im, rec->seq + rec->count - 1))
        return evb_fail(err, EVB_ENOMEM, "import: out of memory");
    while ((rc = evb_pub_add_record(im->pub, rec, err)) == EVB_EAGAIN)
        if (evb_bus_wait(bus, NULL, 0, -1, err) < 0)
            return EVB_EIO;
    return rc;
}

/* What a walk into a hub needs beside the import. */
typedef struct {
import im; /* first: the walk's own */
    evb_bus *bus;
} into_hub;

static int send_record(import *im, const evb_record *rec, evb_error *err) {
    uint64_t end = rec->seq + rec->count;
    evb_record left = *rec;
    evb_buf cut = {0};
    if (end <= im->o->after + 1 || evb_topic_reserved(rec->topic, rec->topic_size)) {
        im->skipped += rec->count;
        return 0;
    }
    uint32_t skip = rec->seq <= im->o->after ? (uint32_t)(im->o->after - rec->seq + 1) : 0;
    im->skipped += skip;
    if (++im->number <= im->known) {
        im->earlier += rec->count - skip;
        im->done = end - 1;
        return 0;
    }
    if (skip &&
        (!evb_record_slice(&cut, rec, skip, rec->count - skip) || evb_record_parse(cut.data, cut.size, &left)))
        return evb_fail(err, EVB_ENOMEM, "import: out of memory");
    int rc = publish(im, &left, ((into_hub *)im)->bus, err);
    evb_buf_free(&cut);
    return rc;
}

/* The id of the producer that brings in this export, from behind this seq. */
static void make_producer(const import *im, uint8_t out[EVB_PRODUCER_SIZE]) {
    static const char WHAT[] = "evctl import";
    uint8_t seed[sizeof WHAT + 16];
    XXH128_canonical_t id;
    memcpy(seed, WHAT, sizeof WHAT);
    evb_put64(seed + sizeof WHAT, im->extent.digest);
    evb_put64(seed + sizeof WHAT + 8, im->o->after);
    XXH128_canonicalFromHash(&id, XXH3_128bits(seed, sizeof seed));
    memcpy(out, id.digest, EVB_PRODUCER_SIZE);
}

/* Says how far it came. */
static int stopped(const import *im, int rc, evb_error *err) {
    evb_error why = *err;
    uint64_t there = im->earlier + im->fresh + im->again;
    if (!there)
        return evb_fail(err, rc, "%.300s; nothing of %.120s is known to be stored", why.text, im->name);
    return evb_fail(err, rc,
                    "%.200s; %" PRIu64 " event%s of %.100s %s stored, up to its seq %" PRIu64
                    ": run it again soon, or later with --after %" PRIu64,
                    why.text, there, evb_plural(there), im->name, there == 1 ? "is" : "are", im->done, im->done);
}

static void print_import(const import *im) {
    uint64_t before = im->earlier + im->again;
    if (im->o->json)
        printf("{\"events\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"again\":%" PRIu64 ",\"left_out\":%" PRIu64
               ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 "}\n",
               im->extent.events, im->fresh, before, im->skipped, im->first, im->last);
    else if (!im->fresh)
        printf("0 of %" PRIu64 " event%s stored", im->extent.events, evb_plural(im->extent.events));
    else
        printf("%" PRIu64 " of %" PRIu64 " event%s stored, as seqs %" PRIu64 " to %" PRIu64, im->fresh,
               im->extent.events, evb_plural(im->extent.events), im->first, im->last);
    if (im->o->json)
        return;
    if (before)
        printf("; %" PRIu64 " %s there already", before, before == 1 ? "was" : "were");
    if (im->skipped)
        printf("; %" PRIu64 " left out", im->skipped);
    printf("\n");
}

/* Whether the hub takes payloads of this size: asked before anything is sent. */
static int check_limit(const import *im, evb_bus *bus, evb_error *err) {
    evb_status status;
    int rc = evb_bus_status(bus, &status, err);
    if (rc || !status.max_payload || im->extent.payload_most <= status.max_payload)
        return rc;
    return evb_fail(err, EVB_EDATA,
                    "%.200s: seq %" PRIu64 ": a payload of %zu bytes: over the hub's limit of %" PRIu64
                    " (evbusd --max-payload); nothing was stored",
                    im->name, im->extent.payload_seq, im->extent.payload_most, status.max_payload);
}

static int send_all(into_hub *to, evb_error *err) {
    const evb_pub_options how = {.stored = stored, .again = stored_before, .context = &to->im};
    uint8_t producer[EVB_PRODUCER_SIZE];
    import *im = &to->im;
    uint64_t digest = im->extent.digest;
    make_producer(im, producer);
    int rc = check_limit(im, to->bus, err);
    rc = rc ? rc : evb_records_producer(to->bus, producer, &im->known, err);
    if (rc)
        return rc;
    im->pub = evb_pub_new(to->bus, &how, err);
    if (!im->pub)
        return err->code;
    evb_pub_resume(im->pub, producer, im->known);
    rc = walk(im, send_record, err);
    rc = rc ? rc : evb_pub_drain(im->pub, err);
    if (rc == 0 && im->extent.digest != digest)
        rc = evb_fail(err, EVB_EDATA, "%.200s: it was changed while it was read", im->name);
    return rc ? stopped(im, rc, err) : 0;
}

static int import_to_hub(into_hub *to, evctl *self, evb_error *err) {
    to->bus = evctl_bus(self, err);
    int rc = to->bus ? send_all(to, err) : err->code;
    if (rc == 0)
        print_import(&to->im);
    evb_pub_destroy(&to->im.pub);
    return rc;
}

/* ---- into a new journal ---- */

/* The journal that is being made. */
typedef struct {
import im; /* first: the walk's own */
    char temporary[4096];
    char dir[4000]; /* without slashes at its end */
    evb_io *io;
    int segment; /* -1: none yet */
    uint64_t size;
    uint64_t next; /* the seq that should come; 0: any */
    evb_buf buf;   /* records that wait to be written */
} into_journal;

enum { WRITE_SIZE = 1024 * 1024 };

static int failed_in(const into_journal *to, evb_error *err) {
    return evb_fail_errno(err, errno == ENOSPC || errno == EDQUOT ? EVB_ESTORE : EVB_EIO, errno,
                          "%.300s: cannot write", to->temporary);
}

static int write_waiting(into_journal *to, evb_error *err) {
    if (evb_io_write_all(to->io, to->segment, to->buf.data, to->buf.size, (off_t)to->size))
        return failed_in(to, err);
    to->size += to->buf.size;
    to->buf.size = 0;
    return 0;
}

static int end_segment(into_journal *to, evb_error *err) {
    if (to->segment < 0)
        return 0;
    int rc = write_waiting(to, err);
    if (rc == 0 && to->io->datasync(to->io, to->segment))
        rc = failed_in(to, err);
    to->io->close(to->io, to->segment);
    to->segment = -1;
    return rc;
}

static int begin_segment(into_journal *to, uint64_t seq, evb_error *err) {
    char name[EVB_SEGMENT_NAME];
    evb_segment_name(seq, name);
    to->size = 0;
    to->segment = to->io->open(to->io, name, true);
    return to->segment < 0 ? failed_in(to, err) : 0;
}

static int keep_record(import *im, const evb_record *rec, evb_error *err) {
    into_journal *to = (into_journal *)im;
    int rc = 0;
    if (to->segment >= 0 && to->size + to->buf.size + rec->size > SEGMENT_BYTES)
        rc = end_segment(to, err);
    if (rc == 0 && to->segment < 0)
        rc = begin_segment(to, rec->seq, err);
    if (rc == 0 && !evb_buf_add(&to->buf, rec->record, rec->size))
        rc = evb_fail(err, EVB_ENOMEM, "import: out of memory");
    return rc || to->buf.size < WRITE_SIZE ? rc : write_waiting(to, err);
}

static void forget_file(void *context, const char *name) {
    evb_io *io = context;
    io->remove(io, name);
}

/* Makes the directory of the temporary name to the one that was asked for, which may be there if it is empty. */
static int name_directory(const into_journal *to, evb_error *err) {
    if (rename(to->temporary, to->dir))
        return evb_fail_errno(err, errno == ENOTEMPTY || errno == EEXIST ? EVB_EINVAL : EVB_EIO, errno, "%.300s",
                              to->dir);
    return evb_dirs_sync_place(to->dir) ? evb_fail_errno(err, EVB_EIO, errno, "%.300s", to->dir) : 0;
}

/* A new directory, of mode 0700 as journals have it, beside where the journal is to be. */
static int make_temporary(into_journal *to, evb_error *err) {
    snprintf(to->temporary, sizeof to->temporary, "%s.XXXXXX", to->dir);
    int rc = evb_replace_way(to->dir, err);
    if (rc == 0 && !mkdtemp(to->temporary))
        rc = evb_replace_fail(to->dir, err);
    return rc;
}

static int fill_temporary(into_journal *to, evb_error *err) {
    to->io = evb_io_disk_new(to->temporary, err);
    if (!to->io)
        return err->code;
    int rc = walk(&to->im, keep_record, err);
    int end = end_segment(to, rc ? NULL : err);
    rc = rc ? rc : end;
    if (rc == 0 && to->io->sync_dir(to->io))
        rc = failed_in(to, err);
    rc = rc ? rc : name_directory(to, err);
    if (rc)
        to->io->list(to->io, forget_file, to->io);
    evb_io_destroy(&to->io);
    return rc;
}

static int write_journal(into_journal *to, evb_error *err) {
    evctl_begin_unfinished();
    int rc = make_temporary(to, err);
    evctl_unfinished(rc ? NULL : to->temporary);
    if (rc)
        return rc;
    rc = fill_temporary(to, err);
    if (rc)
        rmdir(to->temporary);
    evctl_unfinished(NULL);
    return rc;
}

/* Whether something stands where the journal is to be: all but an empty directory, which rename(2) replaces. */
static bool is_there(const char *dir) {
    const struct dirent *entry;
    struct stat st;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return fd >= 0 ? close(fd), true : lstat(dir, &st) == 0;
    while ((entry = readdir(d)) && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0))
        continue;
    closedir(d);
    return entry;
}

static int import_to_journal(into_journal *to, evb_error *err) {
    const evb_export_extent *e = &to->im.extent;
    const char *dir = to->im.o->dir;
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/')
        length--;
    if (length >= sizeof to->dir)
        return evb_fail(err, EVB_EINVAL, "%.300s: the name is too long", dir);
    memcpy(to->dir, dir, length); /* what follows is zero */
    if (to->im.o->after)
        return evb_fail(err, EVB_EINVAL, "import: --after is for a hub");
    if (!e->events)
        return evb_fail(err, EVB_EDATA, "%.300s: it has no events, and a journal begins with one", to->im.name);
    if (e->missing)
        return evb_fail(err, EVB_EDATA,
                        "%.200s: %" PRIu64 " event%s, %" PRIu64
                        " seq%s between them missing: a journal has no gaps; give it to a hub instead",
                        to->im.name, e->events, evb_plural(e->events), e->missing, evb_plural(e->missing));
    if (is_there(to->dir))
        return evb_fail(err, EVB_EINVAL, "%.300s: is there and not empty: -d wants a new directory", dir);
    int rc = write_journal(to, err);
    evb_buf_free(&to->buf);
    to->im.fresh = e->events;
    to->im.first = e->first;
    to->im.last = e->last;
    if (rc == 0)
        print_import(&to->im);
    return rc;
}

/* ---- all of it ---- */

int evctl_import(evctl *self, evb_error *err) {
    const evctl_options *o = &self->o;
    union {
import im;
        into_hub hub;
        into_journal journal;
    } to = {.journal = {.segment = -1}};
    if (self->argc > 1)
        return evb_fail(err, EVB_EINVAL, "import: one FILE, or none for stdin");
    to.im.o = o;
    to.im.fd = -1;
    int rc = open_file(&to.im, self->argc ? self->argv[0] : NULL, err);
    rc = rc ? rc : walk(&to.im, only_look, err);
    if (rc == 0 && o->dry_run)
        evctl_print_extent(o, &to.im.extent);
    else if (rc == 0)
        rc = o->dir ? import_to_journal(&to.journal, err) : import_to_hub(&to.hub, self, err);
    free(to.im.marks);
    if (to.im.fd >= 0)
        close(to.im.fd);
    return rc;
}
