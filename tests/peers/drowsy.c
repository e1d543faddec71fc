/* drowsy.c: preloaded into a program, its threads beside the first wake up 20 ms late: libzmq's, which read what comes. So
 * after a pause the first thread looks at the clock before anything that has come meanwhile is read. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
    const struct timespec late = {0, 20 * 1000000L};
    int count = (int)syscall(SYS_epoll_pwait, fd, events, most, timeout, NULL, 0);
    if (syscall(SYS_gettid) != getpid())
        nanosleep(&late, NULL);
    return count;
}
