/* patient.c: preloaded into a client, a poll that would only look waits for up to 20 ms. So what the hub answers is there
 * before the client has waited for it once, as on a busy machine that runs the hub first. */
#include <poll.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int poll(struct pollfd *fds, nfds_t count, int timeout) {
    int wait_ms = timeout ? timeout : 20;
    struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000L};
    return (int)syscall(SYS_ppoll, fds, count, timeout < 0 ? NULL : &wait, NULL, 0);
}
