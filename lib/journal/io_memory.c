/* io_memory.c: an evb_io whose files are memfds, for evbusd --memory and for tests.
 *
 * Invariants: a file's fd stays open until it is removed; the fds handed out are duplicates, so that closing one ends
 * nothing. Syncing is nothing: memory is as safe as it gets. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "journal/io.h"

typedef struct {
    char *name;
    int fd;
} file;

typedef struct {
    evb_io io;
    file *files;
    size_t count;
} memory;

static file *find(memory *m, const char *name) {
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->files[i].name, name) == 0)
            return &m->files[i];
    errno = ENOENT;
    return NULL;
}

static int create_file(memory *m, const char *name) {
    file *files = realloc(m->files, (m->count + 1) * sizeof *files);
    if (!files)
        return -1;
    m->files = files;
    char *copy = strdup(name);
    int fd = copy ? memfd_create(name, MFD_CLOEXEC) : -1;
    if (fd < 0) {
        free(copy);
        return -1;
    }
    files[m->count++] = (file){copy, fd};
    return 0;
}

static int memory_open(evb_io *io, const char *name, bool create) {
    memory *m = (memory *)io;
    file *f = find(m, name);
    if (f && create) {
        errno = EEXIST;
        return -1;
    }
    if (!f && (!create || create_file(m, name)))
        return -1;
    return fcntl(find(m, name)->fd, F_DUPFD_CLOEXEC, 0);
}

static int memory_close(evb_io *io, int fd) {
    (void)io;
    return close(fd);
}

static ssize_t memory_pread(evb_io *io, int fd, void *data, size_t size, off_t offset) {
    (void)io;
    return pread(fd, data, size, offset);
}

static ssize_t memory_pwrite(evb_io *io, int fd, const void *data, size_t size, off_t offset) {
    (void)io;
    return pwrite(fd, data, size, offset);
}

static int memory_nothing(evb_io *io) {
    (void)io;
    return 0;
}

static int memory_datasync(evb_io *io, int fd) {
    (void)fd;
    return memory_nothing(io);
}

static int memory_truncate(evb_io *io, int fd, off_t size) {
    (void)io;
    return ftruncate(fd, size);
}

static off_t memory_size(evb_io *io, int fd) {
    (void)io;
    struct stat st;
    return fstat(fd, &st) ? -1 : st.st_size;
}

static int memory_remove(evb_io *io, const char *name) {
    memory *m = (memory *)io;
    file *f = find(m, name);
    if (!f)
        return -1;
    close(f->fd);
    free(f->name);
    *f = m->files[--m->count];
    return 0;
}

static int memory_rename(evb_io *io, const char *from, const char *to) {
    memory *m = (memory *)io;
    if (!find(m, from))
        return -1;
    if (find(m, to))
        memory_remove(io, to);
    char *name = strdup(to);
    if (!name)
        return -1;
    file *f = find(m, from);
    free(f->name);
    f->name = name;
    return 0;
}

static int memory_list(evb_io *io, void (*each)(void *context, const char *name), void *context) {
    memory *m = (memory *)io;
    for (size_t i = 0; i < m->count; i++)
        each(context, m->files[i].name);
    return 0;
}

static int memory_space(evb_io *io, uint64_t *free_bytes, uint64_t *total_bytes) {
    *free_bytes = *total_bytes = UINT64_MAX;
    return memory_nothing(io);
}

static void memory_destroy(evb_io *io) {
    memory *m = (memory *)io;
    while (m->count)
        memory_remove(io, m->files[0].name);
    free(m->files);
    free(m);
}

evb_io *evb_io_memory_new(evb_error *err) {
    memory *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "journal: out of memory");
        return NULL;
    }
    self->io = (evb_io){memory_open,     memory_close, memory_pread,  memory_pwrite, memory_datasync,
                        memory_truncate, memory_size,  memory_remove, memory_rename, memory_nothing,
                        memory_list,     memory_space, memory_destroy};
    return &self->io;
}
