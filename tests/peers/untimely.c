/* untimely.c: preloaded into a program, it gets a SIGTERM at the worst moment, once: with UNTIMELY=start before evrun has
 * started the job, with UNTIMELY=wait when the job has ended and evrun is about to wait for room in its own stdout, with
 * UNTIMELY=end when a command has ended, before the next is started, with UNTIMELY=handler while another
 * signal is handled. */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void strike(const char *moment) {
    static bool done;
    const char *wanted = getenv("UNTIMELY");
    if (done || !wanted || strcmp(moment, wanted) != 0)
        return;
    done = true;
    raise(SIGTERM);
}

/* A handler wakes its program by a NUL. */
ssize_t write(int fd, const void *data, size_t size) {
    if (size == 1 && !*(const char *)data)
        strike("handler");
    return syscall(SYS_write, fd, data, size);
}

/* The first is for the run's id. */
ssize_t getrandom(void *data, size_t size, unsigned flags) {
    strike("start");
    return syscall(SYS_getrandom, data, size, flags);
}

pid_t wait4(pid_t pid, int *status, int options, struct rusage *use) {
    pid_t got = (pid_t)syscall(SYS_wait4, pid, status, options, use);
    if (got > 0)
        strike("end");
    return got;
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *wait, const sigset_t *mask) {
    struct timespec left = wait ? *wait : (struct timespec){0, 0};
    if (count == 1 && fds->fd == STDOUT_FILENO && (!wait || wait->tv_sec || wait->tv_nsec))
        strike("wait");
    return (int)syscall(SYS_ppoll, fds, count, wait ? &left : NULL, mask, _NSIG / 8);
}

int poll(struct pollfd *fds, nfds_t count, int ms) {
    const struct timespec wait = {ms / 1000, ms % 1000 * 1000000L};
    return ppoll(fds, count, ms < 0 ? NULL : &wait, NULL);
}
