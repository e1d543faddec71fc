/* fuzz_groups.c: groups.log, from which the hub reads its groups' state. */
#include "frame_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    MUST(fuzz_frame_file("groups.log", "EVBG", data, size) == 0); /* damage costs no more than what it says */
    return 0;
}
