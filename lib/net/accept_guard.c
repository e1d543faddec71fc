/* accept_guard.c: an accept4(2) of our own before libzmq's listeners.
 *
 * libzmq 4.3.4 aborts when accept fails with EMFILE on ipc, and spins on tcp. A program's own definition of accept4
 * comes before the C library's, for libzmq too. Ours turns a connection away while there is still room: the journal
 * needs descriptors of its own; and with none left it closes the spare one to take and close the caller's, so that
 * the backlog empties. ECONNABORTED is what libzmq passes over: the caller had gone, as far as it knows.
 * The state is at file scope since accept4 has no other way to it; it belongs to libzmq's one I/O thread once armed,
 * but for the count, which is atomic. */
#include "net/accept_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KEPT_BACK = 64 };

static int spare = -1;
static long limit;
static atomic_ulong refused;

long evb_accept_guard_arm(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        getrlimit(RLIMIT_NOFILE, &files);
        limit = (long)files.rlim_cur;
    }
    if (spare < 0)
        spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return limit;
}

unsigned long evb_accept_guard_refused(void) { return atomic_load(&refused); }

static int turn_away(int connection) {
    if (connection >= 0)
        close(connection);
    atomic_fetch_add(&refused, 1);
    errno = ECONNABORTED;
    return -1;
}

static int take(int fd, struct sockaddr *address, socklen_t *size, int flags) {
    return (int)syscall(SYS_accept4, fd, address, size, flags);
}

__attribute__((visibility("default"))) int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
    int connection = take(fd, address, size, flags);
    if (connection >= 0 && (limit == 0 || connection < limit - KEPT_BACK))
        return connection;
    if (connection >= 0)
        return turn_away(connection);
    if (errno != EMFILE && errno != ENFILE)
        return -1;
    close(spare);
    connection = take(fd, address, size, flags);
    int rc = turn_away(connection);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    errno = ECONNABORTED;
    return rc;
}
