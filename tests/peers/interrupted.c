/* interrupted.c: preloaded into a client, of the first thread's polls that would only look, and find nothing, each
 * takes 2 ms, and every second one fails as by a signal: after 1 ms libzmq looks before it sends. So each call of it is
 * interrupted that a signal could interrupt, and succeeds when it is made again. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int poll(struct pollfd *fds, nfds_t count, int timeout) {
    static bool interrupt;
    int wait_ms = timeout ? timeout : 2;
    struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000L};
    int ready = (int)syscall(SYS_ppoll, fds, count, timeout < 0 ? NULL : &wait, NULL, 0);
    if (timeout || ready || syscall(SYS_gettid) != getpid())
        return ready;
    interrupt = !interrupt;
    errno = interrupt ? EINTR : errno;
    return interrupt ? -1 : 0;
}
