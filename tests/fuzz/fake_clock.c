/* fake_clock.c: base/clock.h with a clock that goes only when it is told to. */
#include "base/clock.h"

#include "input.h"

int64_t fuzz_now_ns;

int64_t evb_clock_monotonic_ns(void) { return fuzz_now_ns; }

int64_t evb_clock_wall_ns(void) { return fuzz_now_ns; }

int evb_clock_poll_ms(int64_t ns) { return ns < 0 ? -1 : (int)(ns / EVB_MILLISECOND_NS & 0xffff); }
