/* io_disk.c: an evb_io over a directory, by the *at calls, so that the directory may be moved under it.
 *
 * Invariant: files are made with mode 0600 and directories with 0700, whatever the umask. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/error.h"
#include "journal/io.h"

typedef struct {
    evb_io io; /* first, so that an evb_io is one of these */
    int dir;
} disk;

static int dir_of(evb_io *io) { return ((disk *)io)->dir; }

static int disk_open(evb_io *io, const char *name, bool create) {
    return openat(dir_of(io), name, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
}

static int disk_close(evb_io *io, int fd) {
    (void)io;
    return close(fd);
}

static ssize_t disk_pread(evb_io *io, int fd, void *data, size_t size, off_t offset) {
    (void)io;
    return pread(fd, data, size, offset);
}

static ssize_t disk_pwrite(evb_io *io, int fd, const void *data, size_t size, off_t offset) {
    (void)io;
    return pwrite(fd, data, size, offset);
}

static int disk_datasync(evb_io *io, int fd) {
    (void)io;
    return fdatasync(fd);
}

static int disk_truncate(evb_io *io, int fd, off_t size) {
    (void)io;
    return ftruncate(fd, size);
}

static off_t disk_size(evb_io *io, int fd) {
    (void)io;
    struct stat st;
    return fstat(fd, &st) ? -1 : st.st_size;
}

static int disk_remove(evb_io *io, const char *name) { return unlinkat(dir_of(io), name, 0); }

static int disk_rename(evb_io *io, const char *from, const char *to) {
    return renameat(dir_of(io), from, dir_of(io), to);
}

static int disk_sync_dir(evb_io *io) { return fsync(dir_of(io)); }

static int disk_list(evb_io *io, void (*each)(void *context, const char *name), void *context) {
    int fd = openat(dir_of(io), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    errno = 0;
    for (struct dirent *entry; (entry = readdir(d));)
        each(context, entry->d_name);
    int rc = errno ? -1 : 0;
    closedir(d);
    return rc;
}

static int disk_space(evb_io *io, uint64_t *free_bytes, uint64_t *total_bytes) {
    struct statvfs st;
    if (fstatvfs(dir_of(io), &st))
        return -1;
    *free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    *total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    return 0;
}

static void disk_destroy(evb_io *io) {
    close(dir_of(io));
    free(io);
}

evb_io *evb_io_disk_new(const char *dir, evb_error *err) {
    int fd = evb_dirs_make(dir) ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        evb_fail_errno(err, errno == EACCES || errno == EPERM ? EVB_EPERM : EVB_EIO, errno, "%s", dir);
        return NULL;
    }
    disk *self = malloc(sizeof *self);
    if (!self) {
        close(fd);
        evb_fail(err, EVB_ENOMEM, "%s: out of memory", dir);
        return NULL;
    }
    *self = (disk){{disk_open, disk_close, disk_pread, disk_pwrite, disk_datasync, disk_truncate, disk_size,
                    disk_remove, disk_rename, disk_sync_dir, disk_list, disk_space, disk_destroy},
                   fd};
    return &self->io;
}
