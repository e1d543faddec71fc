/* fuzz_state.c: evfold's state files. What is taken is written and read again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "fold_state.h"
#include "input.h"

enum { SUM = 27 }; /* bytes of ,"xxh3":"0123456789abcdef"} */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *patterns[] = {"a.#"};
    const fold_recipe recipe = {". + 1", patterns, 1, jv_number(0)};
    fold_point point = {0};
    char path[64], sum[SUM + 1];
    evb_error err = {0};
    bool found = false;
    evb_buf text = {0};
    MUST(evb_buf_add(&text, data, size));
    if (size > SUM && data[size - 1] == '}') { /* its checksum holds */
        snprintf(sum, sizeof sum, ",\"xxh3\":\"%016llx\"}", (unsigned long long)XXH3_64bits(data, size - SUM));
        memcpy(text.data + size - SUM, sum, SUM);
    }
    int fd = fuzz_file(text.data, size, path);
    int rc = fold_state_read(path, &recipe, size & 1, &point, &found, &err);
    MUST(rc == 0 ? found : rc == EVB_EDATA && *err.text);
    if (rc == 0) {
        MUST(point.position && fold_state_check(point.state, &err) == 0);
        jv_free(point.state);
    }
    close(fd);
    jv_free(recipe.init);
    evb_buf_free(&text);
    return 0;
}
