/* cursor.c: a number in a file, replaced and never overwritten (replace.h).
 *
 * The temporary has the pid in its name, so that two readers who share a cursor by mistake lose a step but never leave
 * half a file.
 * Leaves to others: when to write, and what the name of a cursor means (paths.c). */
#include "base/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/replace.h"
#include "base/units.h"

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
        return errno == ENOENT ? 0 : evb_replace_fail(path, err);
    ssize_t n = read_some(fd, text, sizeof text - 1);
    int why = errno;
    close(fd);
    errno = why;
    if (n < 0)
        return evb_replace_fail(path, err);
    size_t size = (size_t)n;
    if (size > 1 && text[size - 1] == '\n')
        size--;
    text[size] = '\0';
    if (strlen(text) < size || evb_number_parse(text, seq) || *seq == 0)
        return evb_fail(err, EVB_EDATA, "%.300s: not a cursor: it does not hold a seq and nothing else", path);
    return 0;
}

int evb_cursor_write(const char *path, uint64_t seq, evb_error *err) {
    char temporary[PATH_MAX], text[24];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    if (n < 0 || n >= (int)sizeof temporary)
        return evb_fail(err, EVB_EINVAL, "%.300s: path too long", path);
    size_t size = evb_number_text(seq, text);
    text[size++] = '\n';
    int fd = evb_replace_open(path, temporary, err);
    if (fd < 0)
        return fd;
    errno = ENOSPC; /* what a short write means */
    if (write(fd, text, size) == (ssize_t)size)
        return evb_replace_commit(fd, path, temporary, err);
    int rc = evb_replace_fail(temporary, err);
    evb_replace_abandon(fd, temporary);
    return rc;
}
