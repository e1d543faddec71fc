/* stream.c: an endless stream of numbered lines, and the account of it at the other end; what scripts/soak sends through
 * evpub and evsub.
 *
 *   stream make PREFIX RATE SIZE TOPICS   prints lines "PREFIX.K<TAB>line of SIZE bytes" for evpub -T, RATE a second
 *                                         (0: as fast as they are taken), numbered from 0; every RUN of them K is the
 *                                         next of TOPICS. SIGTERM ends it behind a whole line; then stderr has the count.
 *   stream check SECONDS                  reads lines; prints what came, every SECONDS and at the end:
 *                                         SEEN NEXT LOST DOUBLED P50 P99 MOST
 *                                         SEEN lines since the start, NEXT the number that should come, LOST those that
 *                                         were passed over, DOUBLED those that came when a later number was expected;
 *                                         us from the making of a line to its being read, of the lines since the last
 *                                         report, - when there were none.
 *
 * Invariant: SEEN + LOST - DOUBLED = NEXT. The lines and their times are those of tests/bench/line.h. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../bench/line.h"

enum { RUN = 100, CHUNK = 1 << 16, TOPIC_ROOM = 320, TICK_NS = 1000000, SECOND_NS = 1000000000, READ_ROOM = 1 << 20 };

static volatile sig_atomic_t ending;

static void end(int number) {
    (void)number;
    ending = 1;
}

static int fail(const char *what) {
    fprintf(stderr, "stream: %s: %s\n", what, strerror(errno));
    return 2;
}

/* ---- make ---- */

typedef struct {
    const char *prefix;
    uint64_t rate, topics, made;
    size_t size;
    char *out;
} maker;

/* How many lines should have been made by now. */
static uint64_t due(const maker *m, int64_t began_ns) {
    if (m->rate == 0)
        return UINT64_MAX;
    return (uint64_t)((double)(line_now_ns() - began_ns) / SECOND_NS * (double)m->rate) + 1;
}

/* Writes one chunk of what is due, or waits for the next tick. False: stdout is closed. */
static bool make_some(maker *m, int64_t began_ns) {
    uint64_t until = due(m, began_ns);
    size_t used = 0;
    int64_t now = line_now_ns();
    for (; m->made < until && used < CHUNK; m->made++) {
        used += (size_t)snprintf(m->out + used, TOPIC_ROOM, "%s.%" PRIu64 "\t", m->prefix, m->made / RUN % m->topics);
        used += line_make(m->out + used, m->size, m->made, now);
    }
    if (used == 0)
        nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
    return used == 0 || line_write(STDOUT_FILENO, m->out, used);
}

static int make_lines(char **argv) {
    maker m = {.prefix = argv[0],
               .rate = strtoull(argv[1], NULL, 10),
               .size = strtoull(argv[2], NULL, 10),
               .topics = strtoull(argv[3], NULL, 10)};
    m.out = malloc(CHUNK + TOPIC_ROOM + LINE_MAX + 1);
    errno = EINVAL;
    if (m.out == NULL || m.size < LINE_MIN || m.size > LINE_MAX || m.topics == 0 || strlen(m.prefix) > 255)
        return fail("make");
    int64_t began_ns = line_now_ns();
    while (!ending)
        if (!make_some(&m, began_ns))
            return fail("stdout");
    fprintf(stderr, "%" PRIu64 "\n", m.made);
    free(m.out);
    return 0;
}

/* ---- check ---- */

/* Latencies in us, each bucket an eighth of a power of two wide. */
enum { STEPS = 8, BUCKETS = 64 * STEPS };

typedef struct {
    uint64_t seen, next, lost, doubled;
    uint64_t buckets[BUCKETS], counted, most_us;
} checker;

static unsigned bucket_of(uint64_t us) {
    if (us < STEPS)
        return (unsigned)us;
    unsigned power = 63U - (unsigned)__builtin_clzll(us);
    return (power - 2) * STEPS + (unsigned)(us >> (power - 3)) % STEPS;
}

static uint64_t bucket_end(unsigned bucket) {
    if (bucket < STEPS)
        return bucket;
    unsigned power = bucket / STEPS + 2;
    return ((uint64_t)(STEPS + bucket % STEPS + 1) << (power - 3)) - 1;
}

static void take(void *context, const char *line, size_t size, int64_t read_ns) {
    checker *c = context;
    uint64_t number;
    int64_t sent_ns;
    if (!line_parse(line, size, &number, &sent_ns))
        return;
    c->seen++;
    if (number < c->next) {
        c->doubled++;
        return;
    }
    c->lost += number - c->next;
    c->next = number + 1;
    uint64_t us = read_ns > sent_ns ? (uint64_t)(read_ns - sent_ns) / 1000 : 0;
    c->buckets[bucket_of(us)]++;
    c->counted++;
    c->most_us = us > c->most_us ? us : c->most_us;
}

static uint64_t quantile(const checker *c, double part) {
    uint64_t wanted = (uint64_t)((double)c->counted * part), sum = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((sum += c->buckets[i]) > wanted)
            return bucket_end(i);
    return c->most_us;
}

static void report(checker *c) {
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, c->seen, c->next, c->lost, c->doubled);
    if (c->counted > 0)
        printf(" %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", quantile(c, 0.5), quantile(c, 0.99), c->most_us);
    else
        puts(" - - -");
    fflush(stdout);
    memset(c->buckets, 0, sizeof c->buckets);
    c->counted = c->most_us = 0;
}

static int check_lines(char **argv) {
    checker c = {0};
    line_reader reader;
    int64_t every_ns = (int64_t)(strtod(argv[0], NULL) * SECOND_NS);
    if (every_ns <= 0 || !line_reader_open(&reader, READ_ROOM))
        return fail("check");
    ssize_t got = 1;
    for (int64_t at_ns = line_now_ns() + every_ns; got > 0 && !ending;) {
        int64_t left_ns = at_ns - line_now_ns();
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        if (left_ns <= 0) {
            report(&c);
            at_ns += every_ns;
        } else if (poll(&in, 1, (int)(left_ns / 1000000) + 1) > 0) {
            got = line_reader_read(&reader, STDIN_FILENO, take, &c);
        }
    }
    report(&c);
    line_reader_close(&reader);
    return 0;
}

int main(int argc, char **argv) {
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL);
    if (argc == 6 && strcmp(argv[1], "make") == 0)
        return make_lines(argv + 2);
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check_lines(argv + 2);
    fprintf(stderr, "usage: stream make PREFIX RATE SIZE TOPICS | stream check SECONDS\n");
    return 2;
}
