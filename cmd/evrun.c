/* evrun: runs a command as a job: its start and its end are events.
 *
 * The job comes first: it starts whatever there is of a hub, what it reads, writes and is told by signals is its own affair,
 * and its exit status is evrun's. What evrun cannot do is said and changes none of that.
 * Leaves to others: the command, signals, the terminal (run_job.c), what events say (run_events.c), publishing (run_tell.c). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/replace.h"
#include "base/units.h"
#include "program.h"
#include "run_events.h"
#include "run_job.h"
#include "run_tell.h"

/* As env(1) and timeout(1) have them. */
enum { EXIT_LATE = 124, EXIT_NOT_RUN = 126, EXIT_NOT_FOUND = 127 };
enum { EXIT_SKIPPED = 75 }; /* as EX_TEMPFAIL of sysexits.h: another time it will run */
enum { LONGEST_WHAT = 10 }; /* ".succeeded" */

typedef struct {
    evb_opts_standard standard;
    const char *url, *topic;
    int64_t max_ns, timeout_ns;
    bool lock, quiet, verbose;
} options;

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {'t', "topic", EVB_OPT_STRING, offsetof(options, topic), NULL, "TOPIC",
     "what the events' topics begin with (job. and the command's name)", NULL},
    {0, "lock", EVB_OPT_FLAG, offsetof(options, lock), NULL, NULL, "skip it if the last run of TOPIC still goes on",
     NULL},
    {0, "max-time", EVB_OPT_DURATION, offsetof(options, max_ns), NULL, "DURATION",
     "SIGTERM to a job that takes longer, then SIGKILL", NULL},
    {'q', "quiet", EVB_OPT_FLAG, offsetof(options, quiet), NULL, NULL,
     "print nothing unless the job fails; then the last 64 KiB of its output, on stderr", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub before an event goes to the spool (5)", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(options, verbose), NULL, NULL, "say that an event waits in the spool",
     NULL},
    EVB_OPTS_STANDARD(options, standard),
};

static const evb_opts OPTS = {
    "evrun",
    "[OPTION]... -- CMD [ARG]...",
    "Runs CMD and publishes TOPIC.started, then TOPIC.succeeded or TOPIC.failed, with what it said.\n"
    "Its exit status is CMD's.",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    NULL,
};

typedef struct {
    options opt;
    char topic[EVB_TOPIC_MAX + 1];
    run_about about;
    run_tell *tell;
    int lock; /* held until evrun ends */
    evb_error err;
} session;

/* ---- options ---- */

/* What stands behind "--" is the command. Returns how many arguments stand before it. */
static int take_command(session *s, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            argv[i] = NULL;
            s->about.argv = (const char *const *)(argv + i + 1);
            return i;
        }
    return argc;
}

/* -t: one that is wrong is named as it was given, and not with what comes behind it. */
static int take_topic(session *s, const char *topic) {
    if (snprintf(s->topic, sizeof s->topic, "%s.succeeded", topic) >= (int)sizeof s->topic)
        return evb_fail(&s->err, EVB_EDATA, "-t: longer than %d bytes", EVB_TOPIC_MAX - LONGEST_WHAT);
    int rc = evb_topic_check(topic, strlen(topic), &s->err);
    rc = rc ? rc : evb_topic_check(s->topic, strlen(s->topic), &s->err);
    s->topic[strlen(topic)] = 0;
    return rc;
}

static int set_topic(session *s) {
    s->about.topic = s->topic;
    if (s->opt.topic)
        return take_topic(s, s->opt.topic);
    run_topic(s->about.argv[0], s->topic);
    return 0;
}

static int parse(session *s, int argc, char **argv, bool *asked) {
    int first, count = take_command(s, argc, argv);
    s->opt.timeout_ns = 5 * EVB_SECOND_NS;
    int rc = evb_opts_parse(&OPTS, &s->opt, count, argv, &first, &s->err);
    if (rc || (rc = program_answer(&OPTS, &s->opt.standard, asked, &s->err)) || *asked)
        return rc;
    if (first < count || !s->about.argv || !s->about.argv[0])
        return evb_fail(&s->err, EVB_EINVAL, "the command is missing: -- CMD [ARG]...; try 'evrun --help'");
    if (!s->opt.timeout_ns)
        return evb_fail(&s->err, EVB_EINVAL, "--timeout: 0: a job does not wait for ever for a hub");
    return set_topic(s);
}

/* ---- events ---- */

static void tell(session *s, const char *what, evb_buf *payload, evb_buf *small, int64_t time_ns) {
    if (s->tell)
        run_tell_event(s->tell, what, payload, small, time_ns);
}

/* TOPIC.succeeded or .failed, and without the output for a hub that takes no more than that. */
static void tell_end(session *s, const run_outcome *outcome) {
    evb_buf payload = {0}, small = {0};
    run_outcome bare = *outcome;
    const evb_child_end *end = outcome->end;
    bool good = end && end->status == 0 && !end->late;
    bare.cut += bare.size;
    bare.size = 0;
    if (run_ended(&payload, &s->about, outcome) && run_ended(&small, &s->about, &bare))
        tell(s, good ? "succeeded" : "failed", &payload, &small, end ? end->begun_ns + end->took_ns : 0);
    evb_buf_free(&payload);
    evb_buf_free(&small);
}

/* ---- --lock ---- */

/* The lock's file: beside the spool, by the topic, '/' written as %2F. */
static char *lock_path(session *s) {
    const evb_environment env = program_environment();
    char *spool = evb_paths_spool(&env, &s->err), *path = NULL;
    evb_buf name = {0};
    bool ok = spool && evb_buf_printf(&name, "%s/jobs/", spool);
    for (const char *c = s->topic; ok && *c; c++)
        ok = *c == '/' || *c == '%' ? evb_buf_printf(&name, "%%%02X", *c) : evb_buf_add(&name, c, 1);
    if (ok && evb_buf_add(&name, ".lock", 6))
        path = (char *)name.data;
    else
        evb_buf_free(&name);
    if (spool && !path)
        evb_fail(&s->err, EVB_ENOMEM, "out of memory");
    free(spool);
    return path;
}

/* Who holds the lock, since when: as far as the file tells. */
static long holder_of(const char *path, int64_t *since_ns) {
    char text[32] = "";
    struct stat about = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        fstat(fd, &about);
    *since_ns = (int64_t)about.st_mtim.tv_sec * EVB_SECOND_NS + about.st_mtim.tv_nsec;
    if (fd >= 0)
        close(fd);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

static void skip(session *s, const char *path) {
    evb_buf payload = {0};
    char since[EVB_TIME_TEXT];
    int64_t since_ns;
    long pid = holder_of(path, &since_ns);
    evb_time_text(since_ns, since);
    if (!s->opt.quiet)
        fprintf(stderr, "evrun: %s: skipped: it still runs, pid %ld, since %s\n", s->topic, pid, since);
    s->about.begun_ns = evb_clock_wall_ns();
    run_about_us(&s->about);
    if (run_skipped(&payload, &s->about, pid, since_ns))
        tell(s, "skipped", &payload, NULL, s->about.begun_ns);
    evb_buf_free(&payload);
}

/* Takes the lock, or says that this run is skipped (EVB_EBUSY). */
static int take_lock(session *s) {
    char *path = lock_path(s);
    if (!path)
        return s->err.code;
    int rc = evb_replace_way(path, &s->err);
    if (!rc && (s->lock = evb_lock_take(path, &s->err)) < 0)
        rc = s->lock;
    if (rc == EVB_EBUSY)
        skip(s, path);
    free(path);
    return rc;
}

/* ---- the job ---- */

/* With -q: a failed job's output, behind a line that says how it failed. */
static void print_failure(session *s, const evb_child_end *end, const run_outcome *o) {
    char how[64], after[32] = "";
    evb_child_say(end, s->opt.max_ns, how);
    if (!end->late) /* else it is said already */
        snprintf(after, sizeof after, " after %.3g s", (double)end->took_ns / 1e9);
    fprintf(stderr, "evrun: %s: %s%s%s\n", s->topic, how, after,
            o->cut    ? "; the last of its output:"
            : o->size ? "; its output:"
                      : "");
    for (size_t done = 0; done < o->size;) {
        ssize_t n = write(STDERR_FILENO, (const char *)o->output + done, o->size - done);
        if (n < 0 && errno != EINTR)
            return;
        done += n > 0 ? (size_t)n : 0;
    }
}

/* The job has run: tells how it ended. Its exit status, or minus the signal that ended it. */
static int end_job(session *s, evb_child *child) {
    const evb_child_end *end = evb_child_ended(child);
    run_outcome outcome = {.end = end};
    const evb_buf *out = evb_child_out(child, &outcome.cut);
    int fault = evb_child_fault(child);
    outcome.output = out->data;
    outcome.size = out->size;
    tell_end(s, &outcome);
    if (fault && fault != EPIPE)
        fprintf(stderr, "evrun: %s: its output could not be passed on: %s\n", s->topic, strerror(fault));
    if (s->opt.quiet && (end->status || end->late))
        print_failure(s, end, &outcome);
    return end->late ? EXIT_LATE : end->status;
}

/* It could not be started: a failure, too. */
static int no_job(session *s, int status) {
    const run_outcome outcome = {.exit = status, .error = s->err.text};
    fprintf(stderr, "evrun: %s: %s\n", s->topic, s->err.text);
    s->about.begun_ns = evb_clock_wall_ns();
    run_about_us(&s->about);
    tell_end(s, &outcome);
    return status;
}

static int run_job(session *s) {
    evb_buf started = {0};
    const char **environment = program_environ(s->opt.url);
    evb_child *child = NULL;
    s->about.begun_ns = evb_clock_wall_ns();
    if (environment)
        child = run_job_start(s->about.argv, environment, s->opt.max_ns, s->opt.quiet, &s->err);
    else
        evb_fail(&s->err, EVB_ENOMEM, "out of memory");
    free(environment);
    if (!child)
        return no_job(s, s->err.code == EVB_EDATA ? EXIT_NOT_FOUND : EXIT_NOT_RUN);
    s->about.pid = evb_child_pid(child);
    run_about_us(&s->about);
    if (run_started(&started, &s->about))
        tell(s, "started", &started, NULL, s->about.begun_ns);
    evb_buf_free(&started);
    run_job_wait(child);
    int status = end_job(s, child);
    evb_child_destroy(&child);
    return status;
}

/* Our exit status, or minus the signal that ended the job. */
static int run(session *s) {
    run_about_id(&s->about);
    setenv("EVBUS_RUN", s->about.id, 1);
    const run_tell_options how = {s->opt.url, s->opt.timeout_ns, s->topic, s->about.id, s->opt.verbose};
    if (!(s->tell = run_tell_new(&how)))
        fprintf(stderr, "evrun: %s: not published: out of memory\n", s->topic);
    int rc = s->opt.lock ? take_lock(s) : 0;
    int status = rc == EVB_EBUSY ? EXIT_SKIPPED : rc ? no_job(s, evb_err_exit(rc)) : run_job(s);
    run_tell_finish(&s->tell);
    return status;
}

int main(int argc, char **argv) {
    static session s;
    bool asked = false;
    program_hold_descriptors();
    run_job_signals();
    setvbuf(stderr, NULL, _IOLBF, 0);
    int rc = parse(&s, argc, argv, &asked);
    if (rc)
        fprintf(stderr, "evrun: %s\n", s.err.text);
    if (rc || asked)
        _exit(evb_err_exit(rc));
    int status = run(&s);
    if (status < 0)
        run_job_die(-status);
    _exit(status);
}
