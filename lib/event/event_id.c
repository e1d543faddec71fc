/* event_id.c: an event's id, for those that were published without one of their own.
 *
 * PRODUCER-BATCH-INDEX: 32 hexadecimal digits of the producer's random id, the number of the batch, the place in it:
 * unique without anybody having to hand out numbers, and the same in every replay. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "evbus.h"

size_t evb_event_id(const evb_event *event, char out[EVB_ID_MAX]) {
    static const char DIGITS[] = "0123456789abcdef";
    if (event->id) {
        size_t size = event->id_size < EVB_ID_MAX ? event->id_size : EVB_ID_MAX - 1;
        memcpy(out, event->id, size);
        out[size] = 0;
        return size;
    }
    char *p = out;
    for (int i = 0; event->producer && i < 16; i++) {
        *p++ = DIGITS[event->producer[i] >> 4];
        *p++ = DIGITS[event->producer[i] & 15];
    }
    int n = snprintf(p, (size_t)(EVB_ID_MAX - (p - out)), "-%" PRIu64 "-%" PRIu32, event->producer_seq, event->index);
    return (size_t)(p - out) + (size_t)n;
}
