/* io.c: what is built from the calls of an evb_io, the same for every kind of them. */
#include "journal/io.h"

#include <errno.h>
#include <stdio.h>

int evb_io_read_all(evb_io *io, int fd, void *data, size_t size, off_t offset) {
    for (char *p = data; size;) {
        ssize_t n = io->pread(io, fd, p, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        p += n;
        offset += n;
        size -= (size_t)n;
    }
    return 0;
}

int evb_io_write_all(evb_io *io, int fd, const void *data, size_t size, off_t offset) {
    for (const char *p = data; size;) {
        ssize_t n = io->pwrite(io, fd, p, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : ENOSPC;
            return -1;
        }
        p += n;
        offset += n;
        size -= (size_t)n;
    }
    return 0;
}

int evb_io_create(evb_io *io, const char *name) {
    int fd = io->open(io, name, true);
    if (fd < 0 || io->sync_dir(io) == 0)
        return fd;
    int why = errno;
    io->close(io, fd);
    io->remove(io, name);
    errno = why;
    return -1;
}

int evb_io_replace(evb_io *io, const char *name, const void *data, size_t size) {
    char temp[256];
    snprintf(temp, sizeof temp, "%s.new", name);
    io->remove(io, temp);
    int fd = io->open(io, temp, true);
    if (fd < 0)
        return -1;
    int rc = evb_io_write_all(io, fd, data, size, 0) || io->datasync(io, fd) ? -1 : 0;
    int saved = errno;
    io->close(io, fd);
    if (rc == 0)
        return io->rename(io, temp, name) || io->sync_dir(io) ? -1 : 0;
    io->remove(io, temp);
    errno = saved;
    return -1;
}

int evb_io_read_whole(evb_io *io, int fd, evb_buf *out) {
    off_t size = io->size(io, fd);
    if (size < 0)
        return -1;
    if (!evb_buf_reserve(out, (size_t)size + 1)) {
        errno = ENOMEM;
        return -1;
    }
    if (size && evb_io_read_all(io, fd, out->data + out->size, (size_t)size, 0))
        return -1;
    out->size += (size_t)size;
    return 0;
}

/* Whether the file has these bytes and no more. *there: whether it is there. */
static bool has_bytes(evb_io *io, const char *name, const evb_buf *bytes, bool *there) {
    int fd = io->open(io, name, false);
    evb_buf file = {0};
    *there = fd >= 0;
    if (fd < 0)
        return false;
    bool same = io->size(io, fd) == (off_t)bytes->size && evb_io_read_whole(io, fd, &file) == 0 &&
                memcmp(file.data, bytes->data, bytes->size) == 0;
    io->close(io, fd);
    evb_buf_free(&file);
    return same;
}

int evb_io_keep_aside(evb_io *io, int fd, const char *stem, char name[EVB_ASIDE_NAME]) {
    evb_buf copy = {0};
    bool there = true, kept = false;
    int rc = evb_io_read_whole(io, fd, &copy);
    snprintf(name, EVB_ASIDE_NAME, "%s.damaged", stem);
    for (unsigned n = 2; rc == 0 && !kept && there; n++) {
        kept = has_bytes(io, name, &copy, &there);
        if (!kept && there)
            snprintf(name, EVB_ASIDE_NAME, "%s.damaged.%u", stem, n);
    }
    if (rc == 0 && !kept)
        rc = evb_io_replace(io, name, copy.data, copy.size);
    int why = errno;
    evb_buf_free(&copy);
    errno = why;
    return rc;
}

void evb_io_destroy(evb_io **self) {
    if (*self)
        (*self)->destroy(*self);
    *self = NULL;
}
