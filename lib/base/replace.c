/* replace.c: write beside it, sync, rename over it, sync the directory.
 *
 * rename(2) makes the change atomic, the two fsync(2) make it last. Two writers of one path must take different names
 * for their temporary, or hold a lock. A temporary that a crash has left is emptied by the next one of its name.
 * Leaves to others: what is written, and when. */
#include "base/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

enum { OPEN_FLAGS = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW };

int evb_replace_fail(const char *path, evb_error *err) {
    int why = errno;
    return evb_fail_errno(err, why == EACCES || why == EPERM ? EVB_EPERM : EVB_EIO, why, "%.300s", path);
}

int evb_replace_way(const char *path, evb_error *err) {
    char way[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof way) {
        errno = ENAMETOOLONG;
        return evb_replace_fail(path, err);
    }
    memcpy(way, path, size + 1);
    for (char *slash = strchr(way + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(way, 0700) < 0 && errno != EEXIST)
            return evb_replace_fail(way, err);
        *slash = '/';
    }
    return 0;
}

int evb_replace_open(const char *path, const char *temporary, evb_error *err) {
    struct stat old;
    int fd = open(temporary, OPEN_FLAGS, 0644);
    if (fd < 0 && errno == ENOENT) {
        int rc = evb_replace_way(temporary, err);
        if (rc)
            return rc;
        fd = open(temporary, OPEN_FLAGS, 0644);
    }
    if (fd < 0)
        return evb_replace_fail(temporary, err);
    if (stat(path, &old) == 0 && fchmod(fd, old.st_mode & 0777) < 0) {
        int rc = evb_replace_fail(temporary, err);
        evb_replace_abandon(fd, temporary);
        return rc;
    }
    return fd;
}

/* Syncs the directory that the file lies in. */
static int sync_place(const char *path, evb_error *err) {
    char place[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 1;
    memcpy(place, slash ? path : ".", n);
    place[n] = '\0';
    int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? evb_replace_fail(place, err) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int evb_replace_commit(int fd, const char *path, const char *temporary, evb_error *err) {
    int rc = fsync(fd) < 0 ? evb_replace_fail(temporary, err) : 0;
    if (close(fd) < 0 && !rc)
        rc = evb_replace_fail(temporary, err);
    if (!rc && rename(temporary, path) < 0)
        rc = evb_replace_fail(path, err);
    if (rc)
        unlink(temporary);
    return rc ? rc : sync_place(path, err);
}

void evb_replace_abandon(int fd, const char *temporary) {
    close(fd);
    unlink(temporary);
}
