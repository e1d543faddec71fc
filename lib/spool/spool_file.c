/* spool_file.c: a spool on disk: appended to under a lock, read without one, emptied when all is delivered.
 *
 * Invariants: up to `end` the file was seen to be whole, or its damage is known; nothing is written anywhere but at the end;
 * a write that fails is taken back by cutting the file where it was. A run of batches that were not sent yet has one
 * producer, whose numbers follow one another, so that a delivery can have many under way; after anything that is not
 * as it was written a new one begins, since a number that the hub has seen must never stand for another batch.
 * Another process may have emptied the file since we last looked: then it is shorter, or its first header is another,
 * for a producer is random.
 * Leaves to others: what is sent, and what the hub knows of it (spool.c). */
#include "spool/spool_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/lock.h"

struct evb_spool_file {
    char *path;
    const char *name; /* in it: what follows the last '/' */
    evb_spool_note_fn *note;
    void *context;
    evb_io *io; /* NULL: not opened yet */
    int fd;
    uint64_t end;
    uint8_t head[EVB_RECORD_HEADER]; /* of the first record */
    uint8_t producer[EVB_PRODUCER_SIZE];
    uint64_t next; /* its number for the next batch; 0: a new one is needed */
    uint64_t mark; /* seq of the mark that is the last record; 0: it is no mark */
};

evb_spool_file *evb_spool_file_new(const char *path, evb_spool_note_fn *note, void *context, evb_error *err) {
    evb_spool_file *self = calloc(1, sizeof *self);
    if (!self || !(self->path = strdup(path))) {
        free(self);
        evb_fail(err, EVB_ENOMEM, "spool: out of memory");
        return NULL;
    }
    const char *slash = strrchr(self->path, '/');
    self->name = slash ? slash + 1 : self->path;
    self->note = note;
    self->context = context;
    self->fd = -1;
    return self;
}

void evb_spool_file_destroy(evb_spool_file **self) {
    if (!*self)
        return;
    if ((*self)->fd >= 0)
        close((*self)->fd);
    evb_io_destroy(&(*self)->io);
    free((*self)->path);
    free(*self);
    *self = NULL;
}

const char *evb_spool_file_path(const evb_spool_file *self) { return self->path; }

const char *evb_spool_file_name(const evb_spool_file *self) { return self->name; }

bool evb_spool_file_empty(const evb_spool_file *self) {
    struct stat st;
    return stat(self->path, &st) || st.st_size == 0;
}

bool evb_spool_is_mark(const evb_record *rec) {
    return !rec->count && rec->topic_size == sizeof EVB_SPOOL_MARK - 1 &&
           memcmp(rec->topic, EVB_SPOOL_MARK, rec->topic_size) == 0;
}

/* ---- what goes wrong ---- */

void evb_spool_file_say(const evb_spool_file *self, const char *format, ...) {
    char text[400], line[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(line, sizeof line, "%.450s: %s", self->path, text);
    if (self->note)
        self->note(self->context, line);
}

static int failed(const evb_spool_file *self, const char *suffix, evb_error *err) {
    int why = errno;
    bool full = why == ENOSPC || why == EDQUOT || why == EFBIG;
    bool denied = why == EACCES || why == EPERM || why == EROFS;
    return evb_fail_errno(err, full ? EVB_ESTORE : denied ? EVB_EPERM : EVB_EIO, why, "%.300s%s", self->path, suffix);
}

/* Puts the file's name before what a scan says. */
static int name_it(const evb_spool_file *self, int rc, evb_error *err) {
    evb_error why = *err;
    return evb_fail(err, rc, "%.300s: %.180s", self->path, why.text);
}

/* ---- opening and locking ---- */

static int open_dir(evb_spool_file *self, evb_error *err) {
    char dir[4096];
    size_t size = (size_t)(self->name - self->path);
    if (self->io)
        return 0;
    snprintf(dir, sizeof dir, "%.*s", size ? (int)size : 2, size ? self->path : "./");
    self->io = evb_io_disk_new(dir, err);
    return self->io ? 0 : err->code;
}

static void close_file(evb_spool_file *self) {
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
    self->end = self->next = self->mark = 0;
}

/* Opens the file, and makes it where it is missing. */
static int open_file(evb_spool_file *self, evb_error *err) {
    while (self->fd < 0) {
        self->fd = self->io->open(self->io, self->name, false);
        if (self->fd >= 0)
            break;
        if (errno != ENOENT)
            return failed(self, "", err);
        self->fd = self->io->open(self->io, self->name, true);
        if (self->fd < 0 && errno != EEXIST)
            return failed(self, "", err);
        if (self->fd >= 0 && self->io->sync_dir(self->io))
            return failed(self, "", err);
    }
    return 0;
}

/* Whether the file that is open still has its name. */
static bool is_current(const evb_spool_file *self) {
    struct stat open, named;
    return fstat(self->fd, &open) == 0 && stat(self->path, &named) == 0 && open.st_ino == named.st_ino &&
           open.st_dev == named.st_dev;
}

/* Opens the file and locks it: nobody else appends or empties it meanwhile, which takes no longer than a disk does. */
static int lock_file(evb_spool_file *self, evb_error *err) {
    int rc = open_dir(self, err);
    while (rc == 0) {
        if ((rc = open_file(self, err)))
            break;
        while ((rc = flock(self->fd, LOCK_EX)) && errno == EINTR)
            continue;
        if (rc)
            return failed(self, "", err);
        if (is_current(self))
            return 0;
        close_file(self);
    }
    return rc;
}

static void unlock_file(evb_spool_file *self) { flock(self->fd, LOCK_UN); }

int evb_spool_file_lock(evb_spool_file *self, evb_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s.lock", self->path);
    return evb_lock_take(path, err);
}

int evb_spool_file_open(evb_spool_file *self, uint64_t *size, evb_error *err) {
    *size = 0;
    if (evb_spool_file_empty(self))
        return 0;
    int rc = open_dir(self, err);
    rc = rc ? rc : open_file(self, err);
    off_t n = rc ? 0 : self->io->size(self->io, self->fd);
    if (n < 0)
        return failed(self, "", err);
    *size = (uint64_t)n;
    return rc;
}

/* ---- beside it ---- */

/* Appends bytes to the file of this name and puts them on disk. */
static int add_beside(evb_spool_file *self, const char *suffix, const void *data, size_t size, evb_error *err) {
    char name[4096];
    snprintf(name, sizeof name, "%s%s", self->name, suffix);
    int fd = self->io->open(self->io, name, false);
    if (fd < 0 && errno == ENOENT)
        fd = self->io->open(self->io, name, true);
    if (fd < 0)
        return failed(self, suffix, err);
    off_t end = self->io->size(self->io, fd);
    bool ok = end >= 0 && !evb_io_write_all(self->io, fd, data, size, end) && !self->io->datasync(self->io, fd) &&
              !self->io->sync_dir(self->io);
    int rc = ok ? 0 : failed(self, suffix, err);
    if (!ok && end >= 0 && self->io->truncate(self->io, fd, end))
        evb_spool_file_say(self, "%s may have half of what was last written", suffix);
    self->io->close(self->io, fd);
    return rc;
}

static int set_aside(evb_spool_file *self, uint64_t from, uint64_t to, evb_error *err) {
    static const size_t PIECE = 1024 * 1024;
    evb_buf bytes = {0};
    int rc = evb_buf_reserve(&bytes, PIECE) ? 0 : evb_fail(err, EVB_ENOMEM, "spool: out of memory");
    while (rc == 0 && from < to) {
        size_t size = to - from < PIECE ? (size_t)(to - from) : PIECE;
        if (evb_io_read_all(self->io, self->fd, bytes.data, size, (off_t)from))
            rc = failed(self, "", err);
        rc = rc ? rc : add_beside(self, ".damaged", bytes.data, size, err);
        from += size;
    }
    evb_buf_free(&bytes);
    return rc;
}

int evb_spool_file_refuse(evb_spool_file *self, const evb_record *rec, evb_error *err) {
    evb_buf copy = {0};
    evb_record kept;
    uint8_t producer[EVB_PRODUCER_SIZE]; /* a new one: should it be put back, it was never sent */
    bool ok = getrandom(producer, sizeof producer, 0) == sizeof producer &&
              evb_record_copy(&copy, rec, 0, producer, 1) && !evb_record_parse(copy.data, copy.size, &kept);
    if (!ok)
        return evb_fail(err, EVB_ENOMEM, "spool: out of memory");
    evb_record_stamp(&kept, 0, 0, rec->version, rec->time_ns);
    evb_record_seal(&kept);
    int rc = add_beside(self, ".refused", copy.data, copy.size, err);
    evb_buf_free(&copy);
    return rc;
}

int evb_spool_file_salvage(evb_spool_file *self, uint64_t from, uint64_t end, evb_error *err) {
    evb_scan scan = {0};
    evb_record rec;
    int rc = 0;
    for (evb_scan_start(&scan, self->io, self->fd, from, end); rc >= 0 && scan.offset < end;) {
        if ((rc = evb_scan_next(&scan, &rec, err)) != EVB_EDAMAGED)
            continue;
        uint64_t bad = scan.offset;
        if ((rc = evb_scan_resync(&scan, err)) >= 0)
            rc = set_aside(self, bad, scan.offset, err);
    }
    evb_scan_free(&scan);
    return rc < 0 ? rc : 0;
}

/* ---- catching up with what others did ---- */

/* What stands behind `end` is no whole record: a process or the machine went down while it was written. */
static int cut_tail(evb_spool_file *self, uint64_t size, evb_error *err) {
    int rc = set_aside(self, self->end, size, err);
    if (rc == 0 && self->io->truncate(self->io, self->fd, (off_t)self->end))
        rc = failed(self, "", err);
    if (rc == 0)
        evb_spool_file_say(
            self, "cut %llu bytes at its end, half an event that was not written to its end; they are in %s.damaged",
            (unsigned long long)(size - self->end), self->name);
    self->next = 0;
    return rc;
}

static void pass(evb_spool_file *self, const evb_record *rec) {
    self->mark = evb_spool_is_mark(rec) ? rec->seq : 0;
    if (self->mark)
        return;
    self->next = rec->seq ? 0 : rec->producer_seq + 1;
    memcpy(self->producer, rec->producer, EVB_PRODUCER_SIZE);
}

/* Looks through what is new, with the lock held, and cuts off a torn tail. */
static int look_through(evb_spool_file *self, uint64_t size, evb_error *err) {
    evb_scan scan = {0};
    evb_record rec;
    int rc = 1;
    evb_scan_start(&scan, self->io, self->fd, self->end, size);
    while (rc > 0) {
        rc = evb_scan_next(&scan, &rec, err);
        if (rc > 0) {
            pass(self, &rec);
            self->end = scan.offset;
        } else if (rc == EVB_EDAMAGED) {
            rc = evb_scan_resync(&scan, err);
            self->next = self->mark = 0;
        }
    }
    if (rc == 0 && self->end < size)
        rc = cut_tail(self, size, err);
    else if (rc)
        rc = name_it(self, rc, err);
    evb_scan_free(&scan);
    return rc;
}

static int catch_up(evb_spool_file *self, evb_error *err) {
    uint8_t head[EVB_RECORD_HEADER];
    off_t size = self->io->size(self->io, self->fd);
    if (size < 0)
        return failed(self, "", err);
    bool known = (uint64_t)size >= self->end && self->end >= sizeof head &&
                 !evb_io_read_all(self->io, self->fd, head, sizeof head, 0) &&
                 memcmp(head, self->head, sizeof head) == 0;
    if (!known)
        self->end = self->next = self->mark = 0;
    int rc = (uint64_t)size > self->end ? look_through(self, (uint64_t)size, err) : 0;
    if (rc == 0 && !known && self->end && evb_io_read_all(self->io, self->fd, self->head, sizeof head, 0))
        rc = failed(self, "", err);
    return rc;
}

/* ---- appending ---- */

/* Appends to *out the record as it is to stand in the file. */
static bool add_sealed(evb_spool_file *self, const evb_record *rec, evb_buf *out) {
    evb_record copy;
    size_t start = out->size;
    bool own = !rec->seq && rec->count;
    if (own && !self->next) {
        if (getrandom(self->producer, EVB_PRODUCER_SIZE, 0) != EVB_PRODUCER_SIZE)
            return false;
        self->next = 1;
    }
    if (!evb_record_copy(out, rec, 0, own ? self->producer : rec->producer, own ? self->next : rec->producer_seq) ||
        evb_record_parse(out->data + start, out->size - start, &copy))
        return false;
    self->next += own;
    evb_record_stamp(&copy, rec->seq, 0, rec->version, rec->time_ns);
    evb_record_seal(&copy);
    pass(self, &copy);
    return true;
}

static int write_sealed(evb_spool_file *self, const evb_buf *out, evb_error *err) {
    if (self->end + out->size > EVB_SPOOL_MOST && !self->mark)
        return evb_fail(err, EVB_ESTORE, "%.300s: the spool is full: it grows to %d MiB", self->path,
                        EVB_SPOOL_MOST / 1024 / 1024);
    if (evb_io_write_all(self->io, self->fd, out->data, out->size, (off_t)self->end) ||
        self->io->datasync(self->io, self->fd)) {
        int rc = failed(self, "", err);
        if (self->io->truncate(self->io, self->fd, (off_t)self->end))
            evb_spool_file_say(self, "half of an event that could not be written is at its end");
        return rc;
    }
    if (!self->end)
        memcpy(self->head, out->data, sizeof self->head);
    self->end += out->size;
    return 0;
}

/* Appends whole records, with the lock held. */
static int append_locked(evb_spool_file *self, const evb_buf *records, evb_error *err) {
    evb_buf out = {0};
    evb_record rec;
    int rc = catch_up(self, err);
    for (size_t at = 0; rc == 0 && at < records->size; at += rec.size)
        if (evb_record_parse(records->data + at, records->size - at, &rec) || !add_sealed(self, &rec, &out))
            rc = evb_fail(err, EVB_ENOMEM, "spool: out of memory");
    rc = rc ? rc : write_sealed(self, &out, err);
    if (rc)
        self->end = self->next = self->mark = 0; /* look again */
    evb_buf_free(&out);
    return rc;
}

int evb_spool_file_append(evb_spool_file *self, const evb_buf *records, evb_error *err) {
    int rc = lock_file(self, err);
    if (rc)
        return rc;
    rc = append_locked(self, records, err);
    unlock_file(self);
    return rc;
}

/* ---- delivering ---- */

static int add_mark(evb_spool_file *self, uint64_t head, evb_error *err) {
    static const uint8_t nobody[EVB_PRODUCER_SIZE];
    evb_buf mark = {0};
    evb_record rec;
    if (!evb_record_begin(&mark, EVB_SPOOL_MARK, sizeof EVB_SPOOL_MARK - 1, 0, nobody, 0) ||
        evb_record_parse(mark.data, mark.size, &rec))
        return evb_fail(err, EVB_ENOMEM, "spool: out of memory");
    evb_record_stamp(&rec, head + 1, 0, 0, 0);
    int rc = append_locked(self, &mark, err);
    evb_buf_free(&mark);
    return rc;
}

/* Makes a mark of this head, or of one before, cover all that there is. On a full disk it goes without, since delivering is
 * what makes room: then only the hub's memory of producers keeps a delivery that is cut off from being made twice. */
static int cover(evb_spool_file *self, uint64_t head, evb_error *err) {
    if (self->mark && self->mark <= head + 1)
        return 0;
    int rc = add_mark(self, head, err);
    return rc == EVB_ESTORE ? catch_up(self, err) : rc;
}

/* All is delivered. A crash that brings the bytes back does no harm: they are in doubt then, and are found stored. */
static int empty_file(evb_spool_file *self, int *lock, evb_error *err) {
    if (self->io->truncate(self->io, self->fd, 0) || self->io->datasync(self->io, self->fd))
        return failed(self, "", err);
    self->end = self->next = self->mark = 0;
    close(*lock);
    *lock = -1;
    return 0;
}

int evb_spool_file_extent(evb_spool_file *self, uint64_t from, uint64_t head, int *lock, uint64_t *end,
                          evb_error *err) {
    *end = from;
    int rc = lock_file(self, err);
    if (rc)
        return rc;
    rc = catch_up(self, err);
    if (rc == 0 && self->end <= from)
        rc = empty_file(self, lock, err);
    else if (rc == 0) {
        rc = cover(self, head, err);
        *end = self->end;
    }
    unlock_file(self);
    return rc;
}

/* ---- walking ---- */

void evb_spool_walk_start(evb_spool_walk *walk, evb_spool_file *self, uint64_t from, uint64_t end) {
    walk->file = self;
    evb_scan_start(&walk->scan, self->io, self->fd, from, end);
}

int evb_spool_walk_next(evb_spool_walk *walk, evb_record *rec, evb_error *err) {
    int rc;
    while ((rc = evb_scan_next(&walk->scan, rec, err)) == EVB_EDAMAGED) {
        uint64_t from = walk->scan.offset;
        rc = evb_scan_resync(&walk->scan, err);
        walk->damaged += walk->scan.offset - from;
        if (!walk->quiet)
            evb_spool_file_say(walk->file,
                               "%llu bytes at offset %llu are damaged; what is whole behind them is delivered",
                               (unsigned long long)(walk->scan.offset - from), (unsigned long long)from);
        if (rc <= 0)
            break;
    }
    return rc < 0 ? name_it(walk->file, rc, err) : rc;
}

void evb_spool_walk_free(evb_spool_walk *walk) { evb_scan_free(&walk->scan); }
