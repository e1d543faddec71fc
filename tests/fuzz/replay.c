/* replay.c: main of a target without libFuzzer: runs what is in the files and directories named once, and says how many
 * files that were. What is found there ends it, as a sanitizer or MUST would. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"

enum { SEED_MOST = 1024 * 1024 };

static unsigned run_file(const char *path) {
    FILE *file = fopen(path, "re");
    uint8_t *room = malloc(SEED_MOST);
    size_t size = file && room ? fread(room, 1, SEED_MOST, file) : 0;
    uint8_t *data = malloc(size + !size);
    if (!file || ferror(file) || !data) {
        perror(path);
        exit(1);
    }
    memcpy(data, room, size);
    free(room);
    fclose(file);
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static unsigned run_path(const char *path) {
    struct dirent **names;
    unsigned done = 0;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0)
        return run_file(path);
    for (int i = 0; i < count; i++) {
        char file[4096];
        if (names[i]->d_name[0] != '.' &&
            snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name) < (int)sizeof file)
            done += run_file(file);
        free(names[i]);
    }
    free(names);
    return done;
}

int main(int argc, char **argv) {
    unsigned done = 0;
    for (int i = 1; i < argc; i++)
        done += run_path(argv[i]);
    printf("%u inputs\n", done);
    return done == 0;
}
