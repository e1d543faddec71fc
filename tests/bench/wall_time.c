/* wall_time.c: how long commands take from exec to exit, side by side.
 *
 *   wall_time ROUNDS -- CMD ARG... [-- CMD ARG...]...
 *
 * Runs each command once a round, one after the other, with no shell between, stdin and stdout on /dev/null; prints a
 * JSON array with, for each command in order, the median and the 90th percentile in us and how many runs failed.
 * A first round is not counted: it brings the programs into memory. */
#include "line.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMMANDS_MAX = 16 };

extern char **environ;

typedef struct {
    char **argv;
    int64_t *took_ns;
    size_t failed;
} command;

/* Runs it once; returns ns from the spawn to the end. */
static int64_t run_once(command *cmd, const posix_spawn_file_actions_t *files) {
    pid_t pid;
    int status = 0;
    int64_t start_ns = line_now_ns();
    if (posix_spawnp(&pid, cmd->argv[0], files, NULL, cmd->argv, environ) != 0) {
        cmd->failed++;
        return 0;
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        cmd->failed++;
    return line_now_ns() - start_ns;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void report(command *cmds, size_t count, size_t rounds) {
    for (size_t i = 0; i < count; i++) {
        int64_t *took = cmds[i].took_ns;
        qsort(took, rounds, sizeof *took, by_value);
        printf("%s{\"median_us\":%.1f,\"p90_us\":%.1f,\"failed\":%zu}", i == 0 ? "[" : ",",
               (double)took[rounds / 2] / 1e3, (double)took[rounds * 9 / 10] / 1e3, cmds[i].failed);
    }
    printf("]\n");
}

/* Cuts argv at each "--"; returns how many commands there are. */
static size_t split(char **argv, command *cmds) {
    size_t count = 0;
    for (; *argv != NULL && count < COMMANDS_MAX; argv++) {
        if (strcmp(*argv, "--") != 0)
            continue;
        *argv = NULL;
        cmds[count++].argv = argv + 1;
    }
    return count;
}

static void run_all(command *cmds, size_t count, size_t rounds) {
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    for (size_t i = 0; i < count; i++)
        run_once(&cmds[i], &files);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++)
            cmds[i].took_ns[round] = run_once(&cmds[i], &files);
    }
    posix_spawn_file_actions_destroy(&files);
}

int main(int argc, char **argv) {
    command cmds[COMMANDS_MAX] = {0};
    size_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    size_t count = rounds > 0 ? split(argv + 2, cmds) : 0;
    for (size_t i = 0; i < count; i++) {
        cmds[i].took_ns = calloc(rounds, sizeof *cmds[i].took_ns);
        if (cmds[i].took_ns == NULL || cmds[i].argv[0] == NULL)
            count = 0;
    }
    if (count == 0) {
        fprintf(stderr, "usage: wall_time ROUNDS -- CMD ARG... [-- CMD ARG...]...\n");
        return 2;
    }
    run_all(cmds, count, rounds);
    report(cmds, count, rounds);
    return 0;
}
