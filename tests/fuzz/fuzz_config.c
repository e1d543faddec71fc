/* fuzz_config.c: evbusd's configuration file, as evbusd reads it when it starts. */
#define main evbusd_main
#include "../../cmd/evbusd.c"
#undef main

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64], *argv[] = {"evbusd", "-c", path, "-u", "ipc:///nowhere", NULL};
    evb_error err = {0};
    int first = 0, fd = fuzz_file(data, size, path);
    settings *s = settings_new(5, argv, &first, &err);
    if (s) {
        MUST(s->o.segment && s->hub.max_payload && s->o.urls.count);
        for (size_t i = 0; i < s->retain_count; i++)
            MUST(s->retains[i].age_ns > 0 &&
                 !evb_pattern_fault(s->retains[i].pattern, strlen(s->retains[i].pattern)));
    } else {
        MUST(err.code == EVB_ECONFIG && *err.text);
    }
    settings_destroy(s);
    close(fd);
    return 0;
}
