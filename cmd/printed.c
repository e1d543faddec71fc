/* printed.c: stdout may be a pipe that somebody else has made non-blocking. */
#include "printed.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "signals.h"

void printed_flush(evb_buf *printed, int *out_errno) {
    size_t done = 0;
    while (done < printed->size && !*out_errno) {
        ssize_t n = write(STDOUT_FILENO, printed->data + done, printed->size - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN)
            poll(&(struct pollfd){STDOUT_FILENO, POLLOUT, 0}, 1, signals_caught ? 0 : -1);
        else if (errno != EINTR)
            *out_errno = errno;
        if (n < 0 && signals_caught && !*out_errno)
            *out_errno = EINTR;
    }
    printed->size = 0;
}
