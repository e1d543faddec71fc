/* fuzz_listeners.c: evlisten's files: their lines, and the listeners that they describe. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "listen_file.h"
#include "listen_lines.h"

typedef struct {
    int line;
} lines;

static void take_line(lines *l, int line) {
    MUST(line >= l->line);
    l->line = line;
}

static void take_section(void *context, int line, const char *name) {
    take_line(context, line);
    MUST(!name || strlen(name) < 1 << 20);
}

static void take_setting(void *context, int line, const char *key, const char *value) {
    (void)line; /* a value that goes on is told of with its key's line */
    (void)context;
    MUST(*key && value);
}

static void take_fault(void *context, int line, const char *reason) {
    (void)context;
    MUST(line > 0 && *reason);
}

/* libjq takes 20 ms to compile even the smallest of expressions. */
static bool is_slow(const char *text) { return strstr(text, "when") || strstr(text, "input"); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    lines seen = {0};
    const listen_lines_to to = {&seen, take_section, take_setting, take_fault};
    char *text = fuzz_rest(&in), path[64];
    MUST(listen_lines_read(text, size, &to));
    if (!is_slow(text)) {
        int fd = fuzz_file(text, size, path);
        listen_set *set = listen_set_read(&(const char *){path}, 1, false);
        for (const listener *l = set ? set->first : NULL; l; l = l->next) {
            MUST(listen_set_find(set, l->name) == l && l->pattern_count && l->argv[0]);
            MUST(l->backoff_count <= EVB_BACKOFF_MAX);
        }
        listen_set_destroy(&set);
        close(fd);
    }
    free(text);
    return 0;
}
