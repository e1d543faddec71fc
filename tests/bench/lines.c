/* lines.c: the lines of the bench, as a filter.
 *
 *   lines make COUNT SIZE [TOPICS]   prints COUNT lines of SIZE bytes; with TOPICS each begins with a topic and a TAB
 *                                    (for evpub -T), bench.0 to bench.TOPICS-1 by turns
 *   lines check COUNT                reads lines and says as JSON which of them came; exit 1 unless all came in order
 *
 * Leaves to others: rates and latencies (pipe_drive.c). */
#include "line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, TOPIC_ROOM = 64 };

static int fail(const char *what) {
    fprintf(stderr, "lines: %s\n", what);
    return 2;
}

static int make_lines(uint64_t count, size_t size, uint64_t topics) {
    char *out = malloc(CHUNK + TOPIC_ROOM + LINE_MAX + 1);
    size_t used = 0;
    if (out == NULL || size < LINE_MIN || size > LINE_MAX)
        return fail(out == NULL ? "out of memory" : "the size is out of range");
    for (uint64_t i = 0; i < count; i++) {
        if (topics > 0)
            used += (size_t)snprintf(out + used, TOPIC_ROOM, "bench.%" PRIu64 "\t", i % topics);
        used += line_make(out + used, size, i, line_now_ns());
        if (used < CHUNK && i + 1 < count)
            continue;
        if (!line_write(STDOUT_FILENO, out, used)) {
            perror("lines: stdout");
            return 2;
        }
        used = 0;
    }
    free(out);
    return 0;
}

static void take(void *context, const char *line, size_t size, int64_t read_ns) {
    line_tally *tally = context;
    uint64_t index;
    int64_t sent_ns;
    (void)read_ns;
    if (line_parse(line, size, &index, &sent_ns))
        line_tally_add(tally, index);
}

static int check_lines(uint64_t count) {
    line_tally tally;
    line_reader reader;
    if (!line_tally_open(&tally, count) || !line_reader_open(&reader, 2 * LINE_MAX))
        return fail("out of memory");
    while (line_reader_read(&reader, STDIN_FILENO, take, &tally) > 0)
        continue;
    printf("{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"disordered\":%" PRIu64 "}\n",
           tally.count, tally.received, tally.doubled, tally.disordered);
    bool whole = line_tally_whole(&tally);
    line_reader_close(&reader);
    line_tally_close(&tally);
    return whole ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc >= 4 && argc <= 5 && strcmp(argv[1], "make") == 0)
        return make_lines(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
                          argc == 5 ? strtoull(argv[4], NULL, 10) : 0);
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check_lines(strtoull(argv[2], NULL, 10));
    fprintf(stderr, "usage: lines make COUNT SIZE [TOPICS] | lines check COUNT\n");
    return 2;
}
