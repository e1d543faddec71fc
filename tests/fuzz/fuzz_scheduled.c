/* fuzz_scheduled.c: scheduled.log, from which the hub reads what is to be published later. */
#include "frame_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int rc = fuzz_frame_file("scheduled.log", "EVBS", data, size);
    MUST(rc == 0 || rc == EVB_EDAMAGED); /* these events are nowhere else */
    return 0;
}
