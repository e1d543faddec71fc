/* clock.c: clock_gettime(2), and the way from ns to poll's milliseconds. */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

static int64_t read_ns(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return t.tv_sec * EVB_SECOND_NS + t.tv_nsec;
}

int64_t evb_clock_monotonic_ns(void) { return read_ns(CLOCK_MONOTONIC); }

int64_t evb_clock_wall_ns(void) { return read_ns(CLOCK_REALTIME); }

int evb_clock_poll_ms(int64_t ns) {
    if (ns < 0)
        return -1;
    int64_t ms = ns / EVB_MILLISECOND_NS + (ns % EVB_MILLISECOND_NS != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
