/* lock.c: flock(2) on a file with the holder's pid in it.
 *
 * Invariant: the lock is the kernel's, so a killed holder leaves none behind; the pid is only for the message. */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"

static int fail_held(const char *path, int fd, evb_error *err) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    close(fd);
    return pid > 0 ? evb_fail(err, EVB_EBUSY, "%s: held by another process, pid %ld", path, pid)
                   : evb_fail(err, EVB_EBUSY, "%s: held by another process", path);
}

int evb_lock_take(const char *path, evb_error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return evb_fail_errno(err, errno == EACCES ? EVB_EPERM : EVB_EIO, errno, "%s", path);
    if (flock(fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? fail_held(path, fd, err) : evb_fail_errno(err, EVB_EIO, errno, "%s", path);
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n) {
        int why = errno;
        close(fd);
        return evb_fail_errno(err, EVB_EIO, why, "%s: cannot write", path);
    }
    return fd;
}
