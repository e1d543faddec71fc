/* clock.h: the two clocks, in ns. */
#ifndef EVB_CLOCK_H
#define EVB_CLOCK_H

#include <stdint.h>

#define EVB_SECOND_NS INT64_C(1000000000)
#define EVB_MILLISECOND_NS INT64_C(1000000)

/* For deadlines: never goes back. */
int64_t evb_clock_monotonic_ns(void);

/* For stamping events: since the epoch, UTC. May be set by others. */
int64_t evb_clock_wall_ns(void);

/* A wait of ns as poll(2) takes it: -1 for a negative one, rounded up, at most INT_MAX. */
int evb_clock_poll_ms(int64_t ns);

#endif
