/* replace.c: write beside it, sync, rename over it, sync the directory.
 *
 * rename(2) makes the change atomic, the two fsync(2) make it last. Two writers of one path must take different names
 * for their temporary, or hold a lock. A temporary that a crash has left is emptied by the next one of its name.
 * Leaves to others: what is written, and when. */
#include "base/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/error.h"

enum { OPEN_FLAGS = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW };

int evb_replace_fail(const char *path, evb_error *err) {
    int why = errno;
    return evb_fail_errno(err, why == EACCES || why == EPERM ? EVB_EPERM : EVB_EIO, why, "%.300s", path);
}

int evb_replace_way(const char *path, evb_error *err) {
    return evb_dirs_make_way(path) ? evb_replace_fail(path, err) : 0;
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

int evb_replace_commit(int fd, const char *path, const char *temporary, evb_error *err) {
    int rc = fsync(fd) < 0 ? evb_replace_fail(temporary, err) : 0;
    if (close(fd) < 0 && !rc)
        rc = evb_replace_fail(temporary, err);
    if (!rc && rename(temporary, path) < 0)
        rc = evb_replace_fail(path, err);
    if (rc)
        unlink(temporary);
    return rc ? rc : evb_dirs_sync_place(path) < 0 ? evb_replace_fail(path, err) : 0;
}

void evb_replace_abandon(int fd, const char *temporary) {
    close(fd);
    unlink(temporary);
}
