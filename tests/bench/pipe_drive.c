/* pipe_drive.c: drives a publisher and its subscribers through their pipes, and measures what comes through.
 *
 *   pipe_drive [-n COUNT] [-s SIZE] [-r RATE] [-w WARM_UP] [-N SUBSCRIBERS] [-g] [-q QUIET_S] [-v | -p PROBE]
 *              SUBSCRIBER PUBLISHER
 *
 * Feeds COUNT lines of SIZE bytes to the publisher's stdin, RATE a second (0: as fast as the pipe takes them), reads
 * them from the stdout of every subscriber, and prints one JSON object: what was sent, received, doubled and
 * disordered, lines received a second over all subscribers, the latency's percentiles in us (without the first WARM_UP
 * lines), and the CPU seconds of both commands.
 * A line's time begins when it is written; with -r, and where the publisher did not take lines in their time, when this
 * one was due: a system that makes its publisher wait does not look faster for it.
 * With -g the subscribers share the lines: each is to come once, from any of them, and in order if there is only one.
 * Both commands are run by sh -c; begin them with `exec`, so that the signal to end them reaches them.
 * When a subscriber is ready: with -v, when it has printed a line on stderr; with -p, when a line has come from its
 * stdout, PROBE (a command that publishes any line) being run again and again until then; else at once.
 * Ends when all has come, or when nothing has come for QUIET_S. Exit 0 when all came once and in order, 1 if not.
 *
 * Two threads: one feeds the publisher, the main one reads. They share nothing but start_ns, written before any line
 * is fed and read after the join. Children get SIGTERM when this process goes, however it goes.
 * Leaves to others: starting hubs and brokers, and what the figures mean (scripts/bench). */
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, PIPE_SIZE = 1 << 20, READY_MS = 10000, PROBE_MS = 50 };
static const int64_t SECOND_NS = 1000000000;
static const int64_t LATE_NS = 1000000; /* a line later than that is counted from when it was due */

typedef struct {
    uint64_t count;
    uint64_t rate;
    uint64_t warm_up;
    size_t size;
    size_t subscribers;
    bool shared;
    int quiet_ms;
    bool ready_line;
    const char *probe;
    const char *sub;
    const char *pub;
} options;

typedef struct drive drive;

typedef struct {
    drive *owner;
    pid_t pid;
    int out; /* its stdout; -1 when it has ended or all has come */
    int err; /* its stderr, with -v; else -1 */
    bool heard;
    line_reader reader;
    line_tally *tally;
} subscriber;

struct drive {
    options opt;
    subscriber *subs;
    line_tally *tallies;   /* one a subscriber; with -g one in all */
    struct pollfd *polled; /* out and err of each */
    size_t open;           /* subscribers whose out is open */
    pid_t pub;
    int pub_in;
    int64_t start_ns;
    int64_t last_ns; /* when the last line came */
    int64_t *latency;
    size_t timed; /* in latency */
    size_t received;
};

static _Noreturn void die(const char *what) {
    fprintf(stderr, "pipe_drive: %s: %s\n", what, strerror(errno));
    exit(2);
}

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "pipe_drive: %s\n", what);
    exit(2);
}

/* ---- children ---- */

static void make_pipe(int ends[2], bool large) {
    if (pipe2(ends, O_CLOEXEC) != 0)
        die("pipe");
    if (large)
        fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
}

/* Runs the command with these as its stdin, stdout and stderr; -1: /dev/null, and for stderr our own. */
static pid_t spawn(const char *command, int in, int out, int err) {
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(in >= 0 ? in : null, STDIN_FILENO);
    dup2(out >= 0 ? out : null, STDOUT_FILENO);
    if (err >= 0)
        dup2(err, STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void start_subscriber(drive *d, subscriber *sub) {
    int out[2];
    int err[2] = {-1, -1};
    bool alone = d->opt.subscribers == 1;
    make_pipe(out, alone);
    if (d->opt.ready_line)
        make_pipe(err, false);
    *sub = (subscriber){.owner = d, .out = out[0], .err = err[0]};
    sub->tally = &d->tallies[d->opt.shared ? 0 : sub - d->subs];
    if ((sub->tally->count == 0 && !line_tally_open(sub->tally, d->opt.count)) ||
        !line_reader_open(&sub->reader, (alone ? 2 * PIPE_SIZE : CHUNK) + 2 * d->opt.size))
        die("memory");
    sub->pid = spawn(d->opt.sub, -1, out[1], err[1]);
    close(out[1]);
    if (err[1] >= 0)
        close(err[1]);
    d->open++;
}

static void start_publisher(drive *d) {
    int in[2];
    make_pipe(in, true);
    d->pub = spawn(d->opt.pub, in[0], -1, -1);
    close(in[0]);
    d->pub_in = in[1];
}

static int end_child(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- what comes ---- */

static void take(void *context, const char *line, size_t size, int64_t read_ns) {
    subscriber *sub = context;
    drive *d = sub->owner;
    uint64_t index;
    int64_t sent_ns;
    sub->heard = true;
    if (!line_parse(line, size, &index, &sent_ns))
        return;
    if (line_tally_add(sub->tally, index)) {
        d->received++;
        if (index >= d->opt.warm_up)
            d->latency[d->timed++] = read_ns - sent_ns;
    }
    d->last_ns = read_ns;
}

static void read_out(drive *d, subscriber *sub) {
    ssize_t got = line_reader_read(&sub->reader, sub->out, take, sub);
    if (got > 0 && sub->tally->received < d->opt.count)
        return;
    close(sub->out);
    sub->out = -1;
    d->open--;
}

static void pass_on_err(subscriber *sub) {
    char text[4096];
    ssize_t got = read(sub->err, text, sizeof text);
    if (got > 0) {
        line_write(STDERR_FILENO, text, (size_t)got);
        return;
    }
    close(sub->err);
    sub->err = -1;
}

/* Reads from all subscribers what is there, or comes within the time. False: nothing did. */
static bool read_some(drive *d, int wait_ms) {
    size_t n = d->opt.subscribers;
    for (size_t i = 0; i < n; i++) {
        d->polled[2 * i] = (struct pollfd){.fd = d->subs[i].out, .events = POLLIN};
        d->polled[2 * i + 1] = (struct pollfd){.fd = d->subs[i].err, .events = POLLIN};
    }
    if (poll(d->polled, 2 * n, wait_ms) <= 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (d->polled[2 * i].revents != 0)
            read_out(d, &d->subs[i]);
        if (d->polled[2 * i + 1].revents != 0)
            pass_on_err(&d->subs[i]);
    }
    return true;
}

/* ---- readiness ---- */

/* The first line of its stderr says that it is subscribed. */
static void await_line(subscriber *sub) {
    char c = 0;
    while (c != '\n') {
        struct pollfd p = {.fd = sub->err, .events = POLLIN};
        if (poll(&p, 1, READY_MS) <= 0 || read(sub->err, &c, 1) <= 0)
            give_up("a subscriber does not say that it is ready");
    }
}

static bool all_heard(const drive *d) {
    for (size_t i = 0; i < d->opt.subscribers; i++) {
        if (!d->subs[i].heard)
            return false;
    }
    return true;
}

static void probe(drive *d) {
    int64_t deadline_ns = line_now_ns() + READY_MS * INT64_C(1000000);
    while (!all_heard(d)) {
        if (line_now_ns() > deadline_ns || d->open < d->opt.subscribers)
            give_up("the probe does not arrive");
        end_child(spawn(d->opt.probe, -1, -1, -1));
        read_some(d, PROBE_MS);
    }
}

static void await_subscribers(drive *d) {
    for (size_t i = 0; d->opt.ready_line && i < d->opt.subscribers; i++)
        await_line(&d->subs[i]);
    if (d->opt.probe != NULL)
        probe(d);
}

/* ---- what goes ---- */

static void wait_until(int64_t due_ns) {
    struct timespec t = {.tv_sec = due_ns / SECOND_NS, .tv_nsec = due_ns % SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

static int64_t due_ns(const drive *d, uint64_t index) {
    return d->start_ns + (int64_t)(index * (uint64_t)SECOND_NS / d->opt.rate);
}

/* Waits until the line is due; returns the time that it is to carry. */
static int64_t await_turn(const drive *d, uint64_t index) {
    if (d->opt.rate == 0)
        return line_now_ns();
    int64_t due = due_ns(d, index), now = line_now_ns();
    if (now < due) { /* a sleep that is over takes its time too */
        wait_until(due);
        now = line_now_ns();
    }
    return now - due > LATE_NS ? due : now;
}

/* Whether line `index` goes out with those before it: as much as a pipe takes at once, and what is due already. */
static bool goes_along(const drive *d, uint64_t index, size_t used) {
    return index < d->opt.count && used < CHUNK && (d->opt.rate == 0 || due_ns(d, index) <= line_now_ns());
}

static void *feed(void *context) {
    drive *d = context;
    char *out = malloc(CHUNK + LINE_MAX + 1);
    size_t used = 0;
    if (out == NULL)
        die("memory");
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    d->start_ns = line_now_ns();
    for (uint64_t i = 0; i < d->opt.count; i++) {
        int64_t sent_ns = await_turn(d, i);
        used += line_make(out + used, d->opt.size, i, sent_ns);
        if (goes_along(d, i + 1, used))
            continue;
        if (!line_write(d->pub_in, out, used))
            break;
        used = 0;
    }
    free(out);
    close(d->pub_in);
    return NULL;
}

/* ---- the run ---- */

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(const drive *d, double part) {
    return d->timed == 0 ? 0 : (double)d->latency[(size_t)((double)(d->timed - 1) * part)] / 1e3;
}

/* User and system time of the commands, which have ended. */
static double children_cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static size_t tally_count(const drive *d) { return d->opt.shared ? 1 : d->opt.subscribers; }

static bool report(drive *d, int pub_status) {
    uint64_t doubled = 0;
    uint64_t disordered = 0;
    uint64_t sent = d->opt.count * tally_count(d);
    double wall_s = (double)(d->last_ns - d->start_ns) / 1e9;
    for (size_t i = 0; i < tally_count(d); i++) {
        doubled += d->tallies[i].doubled;
        disordered += d->opt.shared && d->opt.subscribers > 1 ? 0 : d->tallies[i].disordered;
    }
    qsort(d->latency, d->timed, sizeof *d->latency, by_value);
    printf("{\"sent\":%" PRIu64 ",\"received\":%zu,\"doubled\":%" PRIu64 ",\"disordered\":%" PRIu64 ",", sent,
           d->received, doubled, disordered);
    printf("\"rate\":%.0f,\"wall_s\":%.3f,", d->received > 0 ? (double)d->received / wall_s : 0, wall_s);
    printf("\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,", percentile_us(d, .5),
           percentile_us(d, .99), percentile_us(d, .999), percentile_us(d, 1));
    printf("\"cpu_s\":%.3f,\"publisher_status\":%d}\n", children_cpu_s(), pub_status);
    return d->received == sent && doubled == 0 && disordered == 0;
}

static void prepare(drive *d) {
    size_t n = d->opt.subscribers;
    d->subs = calloc(n, sizeof *d->subs);
    d->tallies = calloc(n, sizeof *d->tallies);
    d->polled = calloc(2 * n, sizeof *d->polled);
    d->latency = calloc(tally_count(d) * d->opt.count, sizeof *d->latency);
    if (d->subs == NULL || d->tallies == NULL || d->polled == NULL || d->latency == NULL)
        die("memory");
    for (size_t i = 0; i < n; i++)
        start_subscriber(d, &d->subs[i]);
    await_subscribers(d);
}

static bool run(drive *d) {
    pthread_t feeder;
    prepare(d);
    start_publisher(d);
    if ((errno = pthread_create(&feeder, NULL, feed, d)) != 0)
        die("thread");
    const size_t want = d->opt.count * tally_count(d);
    while (d->open > 0 && d->received < want && read_some(d, d->opt.quiet_ms))
        continue;
    if (d->received < want)
        kill(d->pub, SIGTERM);
    pthread_join(feeder, NULL);
    int status = end_child(d->pub);
    for (size_t i = 0; i < d->opt.subscribers; i++)
        kill(d->subs[i].pid, SIGTERM);
    for (size_t i = 0; i < d->opt.subscribers; i++)
        end_child(d->subs[i].pid);
    return report(d, status);
}

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: pipe_drive [-n COUNT] [-s SIZE] [-r RATE] [-w WARM_UP] [-N SUBSCRIBERS] [-g]\n"
                    "                  [-q QUIET_S] [-v | -p PROBE] SUBSCRIBER PUBLISHER\n");
    exit(2);
}

static void set_option(options *opt, int letter, const char *value) {
    switch (letter) {
    case 'n': opt->count = strtoull(value, NULL, 10); break;
    case 's': opt->size = strtoull(value, NULL, 10); break;
    case 'r': opt->rate = strtoull(value, NULL, 10); break;
    case 'w': opt->warm_up = strtoull(value, NULL, 10); break;
    case 'N': opt->subscribers = strtoull(value, NULL, 10); break;
    case 'g': opt->shared = true; break;
    case 'q': opt->quiet_ms = atoi(value) * 1000; break;
    case 'v': opt->ready_line = true; break;
    case 'p': opt->probe = value; break;
    default: usage();
    }
}

int main(int argc, char **argv) {
    drive d = {.opt = {.count = 1000000, .size = 100, .subscribers = 1, .quiet_ms = 10000}};
    int letter;
    while ((letter = getopt(argc, argv, "n:s:r:w:N:gq:vp:")) != -1)
        set_option(&d.opt, letter, optarg);
    if (argc - optind != 2 || d.opt.count == 0 || d.opt.subscribers == 0 || d.opt.size < LINE_MIN ||
        d.opt.size > LINE_MAX)
        usage();
    d.opt.sub = argv[optind];
    d.opt.pub = argv[optind + 1];
    signal(SIGPIPE, SIG_IGN);
    return run(&d) ? 0 : 1;
}
