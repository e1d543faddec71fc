/* cursor.c: a number in a file, replaced and never overwritten.
 *
 * Writing is: a temporary file beside it, written, synced, renamed over it, and the directory synced (rename(2) makes
 * the change atomic, the two fsync(2) make it last). The temporary has the pid in its name, so that two readers who share
 * a cursor by mistake lose a step but never leave half a file.
 * Leaves to others: when to write, and what the name of a cursor means (paths.c). */
#include "base/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/units.h"

static int fail(evb_error *err, const char *path) {
    int why = errno;
    return evb_fail_errno(err, why == EACCES || why == EPERM ? EVB_EPERM : EVB_EIO, why, "%.300s", path);
}

/* Reads at most `size` bytes: how many, or -1. */
static ssize_t read_some(int fd, char *room, size_t size) {
    size_t used = 0;
    while (used < size) {
        ssize_t n = read(fd, room + used, size - used);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0)
            break;
        used += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)used;
}

int evb_cursor_read(const char *path, uint64_t *seq, bool *found, evb_error *err) {
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *found = fd >= 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : fail(err, path);
    ssize_t n = read_some(fd, text, sizeof text - 1);
    int why = errno;
    close(fd);
    errno = why;
    if (n < 0)
        return fail(err, path);
    size_t size = (size_t)n;
    if (size > 1 && text[size - 1] == '\n')
        size--;
    text[size] = '\0';
    if (strlen(text) < size || evb_number_parse(text, seq) || *seq == 0)
        return evb_fail(err, EVB_EDATA, "%.300s: not a cursor: it does not hold a seq and nothing else", path);
    return 0;
}

/* Makes each directory on the way to the file. */
static int make_way(char *path, evb_error *err) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0700) < 0 && errno != EEXIST ? fail(err, path) : 0;
        *slash = '/';
        if (rc)
            return rc;
    }
    return 0;
}

static int write_file(const char *path, const char *text, size_t size, evb_error *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(err, path);
    errno = ENOSPC; /* what a short write means */
    int rc = write(fd, text, size) != (ssize_t)size || fsync(fd) < 0 ? fail(err, path) : 0;
    if (close(fd) < 0 && !rc)
        rc = fail(err, path);
    return rc;
}

/* Syncs the directory that the file lies in. */
static int sync_place(const char *path, evb_error *err) {
    char place[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 1;
    memcpy(place, slash ? path : ".", n);
    place[n] = '\0';
    int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? fail(err, place) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int evb_cursor_write(const char *path, uint64_t seq, evb_error *err) {
    char temporary[PATH_MAX], text[24];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (n < 0 || n >= (int)sizeof temporary)
        return evb_fail(err, EVB_EINVAL, "%.300s: path too long", path);
    size_t size = evb_number_text(seq, text);
    text[size++] = '\n';
    int rc = write_file(temporary, text, size, err);
    if (rc && access(path, F_OK) < 0 && errno == ENOENT && !(rc = make_way(temporary, err)))
        rc = write_file(temporary, text, size, err);
    if (!rc && rename(temporary, path) < 0)
        rc = fail(err, path);
    if (rc)
        unlink(temporary);
    return rc ? rc : sync_place(path, err);
}
