/* io.h: the calls with which the journal touches the disk, as a table, so that tests can inject short writes, ENOSPC,
 * EIO and a crash between any two, and so that a journal can live in memory.
 *
 * All names are of files in one directory. Each function returns as its system call does: -1 and errno. */
#ifndef EVB_IO_H
#define EVB_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "evbus.h"

typedef struct evb_io evb_io;

struct evb_io {
    int (*open)(evb_io *io, const char *name, bool create); /* read and write; create: must not exist yet */
    int (*close)(evb_io *io, int fd);
    ssize_t (*pread)(evb_io *io, int fd, void *data, size_t size, off_t offset);
    ssize_t (*pwrite)(evb_io *io, int fd, const void *data, size_t size, off_t offset);
    int (*datasync)(evb_io *io, int fd);
    int (*truncate)(evb_io *io, int fd, off_t size);
    off_t (*size)(evb_io *io, int fd);
    int (*remove)(evb_io *io, const char *name);
    int (*rename)(evb_io *io, const char *from, const char *to);
    int (*sync_dir)(evb_io *io);
    int (*list)(evb_io *io, void (*each)(void *context, const char *name), void *context);
    int (*space)(evb_io *io, uint64_t *free_bytes, uint64_t *total_bytes);
    void (*destroy)(evb_io *io);
};

/* The files of directory `dir`, which is made (mode 0700, its parents too) if it is missing.
 * NULL and *err: EVB_EIO, EVB_EPERM, EVB_ENOMEM. */
evb_io *evb_io_disk_new(const char *dir, evb_error *err);

/* Files in memory, gone with it. NULL and *err: EVB_ENOMEM. */
evb_io *evb_io_memory_new(evb_error *err);

void evb_io_destroy(evb_io **self);

/* Reads or writes all of size, going on after short counts and EINTR. 0; -1 and errno (read: EIO at end of file). */
int evb_io_read_all(evb_io *io, int fd, void *data, size_t size, off_t offset);
int evb_io_write_all(evb_io *io, int fd, const void *data, size_t size, off_t offset);

/* Appends all of a file to *out. 0; -1 and errno, *out unchanged. */
int evb_io_read_whole(evb_io *io, int fd, evb_buf *out);

/* Makes a new file whose name is safe when it returns. A descriptor; -1 and errno: there is none. */
int evb_io_create(evb_io *io, const char *name);

/* Writes a whole file under a name that it gets only when its bytes are safe (write, sync, rename, sync_dir). */
int evb_io_replace(evb_io *io, const char *name, const void *data, size_t size);

/* Keeps a copy of a damaged file, open as fd, before another takes its place: under the first of the names STEM.damaged,
 * STEM.damaged.2… that no file has, unless one of them has these bytes already. name: which it is. 0; -1 and errno. */
enum { EVB_ASIDE_NAME = 64 };
int evb_io_keep_aside(evb_io *io, int fd, const char *stem, char name[EVB_ASIDE_NAME]);

#endif
