/* dirs.c: mkdir -p that lasts.
 *
 * Invariant: when it returns 0, every name on the way is on disk. A directory that is there already may have been made by
 * a process that was killed before it could sync the name, so those names are synced too; where that is not allowed the
 * directory is not ours, and was there before.
 * Leaves to others: the names of the files within. */
#include "base/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int evb_dirs_sync_place(const char *path) {
    char place[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 1;
    if (n >= sizeof place) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(place, slash ? path : ".", n);
    place[n] = '\0';
    int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return rc;
}

static int make_one(const char *path) {
    bool there = mkdir(path, 0700) < 0;
    if (there && errno != EEXIST)
        return -1;
    return evb_dirs_sync_place(path) < 0 && !there ? -1 : 0;
}

int evb_dirs_make_way(const char *path) {
    char way[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof way) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(way, path, size + 1);
    for (char *slash = strchr(way + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        if (slash[-1] == '/' || (slash[-1] == '.' && slash == way + 1))
            continue; /* no name of its own: a//b, ./a */
        *slash = '\0';
        if (make_one(way))
            return -1;
        *slash = '/';
    }
    return 0;
}

int evb_dirs_make(const char *path) {
    size_t size = strlen(path);
    if (size && path[size - 1] == '/')
        return evb_dirs_make_way(path);
    return evb_dirs_make_way(path) ? -1 : make_one(path);
}
