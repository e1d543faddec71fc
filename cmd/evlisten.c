/* evlisten: runs the listeners that files describe: commands bound to events.
 *
 * Leaves to others: files (listen_file.c), running (listen_run.c). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "listen_file.h"
#include "listen_run.h"
#include "listen_test.h"
#include "program.h"
#include "signals.h"

typedef struct {
    evb_opts_standard standard;
    const char *url;
    uint64_t ready_fd;
    const char *test;
    bool check, verbose;
} options;

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {'c', "check", EVB_OPT_FLAG, offsetof(options, check), NULL, NULL,
     "check the files, print what would run, and end", NULL},
    {0, "test", EVB_OPT_STRING, offsetof(options, test), NULL, "EVENT",
     "say which listeners would run for the events in this file (-: stdin), as JSON of evsub -J, and why not",
     "@file"},
    {0, "ready-fd", EVB_OPT_NUMBER, offsetof(options, ready_fd), NULL, "FD",
     "write a newline to FD and close it when all listeners are there", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(options, verbose), NULL, NULL,
     "say each failure, and when the hub is gone", NULL},
    EVB_OPTS_STANDARD(options, standard),
};

static const evb_opts OPTS = {
    "evlisten",
    "[OPTION]... FILE|DIRECTORY...",
    "Runs the listeners that the files describe: a command for each event that matches, retried, its failures kept.",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    "@file",
};

static int parse(options *o, int argc, char **argv, int *first, bool *asked, evb_error *err) {
    o->ready_fd = LISTEN_NONE;
    int rc = evb_opts_parse(&OPTS, o, argc, argv, first, err);
    if (rc || (rc = program_answer(&OPTS, &o->standard, asked, err)) || *asked)
        return rc;
    if (*first == argc)
        return evb_fail(err, EVB_EINVAL, "no file; try 'evlisten --help'");
    if (o->check && o->test)
        return evb_fail(err, EVB_EINVAL, "-c and --test do not go together");
    if (o->ready_fd != LISTEN_NONE && !program_is_ready_fd(o->ready_fd))
        return evb_fail(err, EVB_EINVAL, PROGRAM_NO_READY_FD);
    return 0;
}

/* Ends what is printed. 0, or EVB_EIO, said. */
static int end_stdout(void) {
    if (fflush(stdout) == 0)
        return 0;
    fprintf(stderr, "evlisten: stdout: %s\n", strerror(errno));
    return EVB_EIO;
}

/* 0: a listener would run; 1: none. */
static int test(const listen_set *set, const char *path) {
    evb_error err;
    int rc = listen_test(set, path, &err);
    if (rc < 0)
        fprintf(stderr, "evlisten: %s\n", err.text);
    if (rc >= 0 && end_stdout())
        rc = EVB_EIO;
    return rc < 0 ? evb_err_exit(rc) : rc;
}

/* Checks, tests or runs; the exit code. */
static int go(const options *o, const char *const *paths, size_t count, int *sig) {
    listen_set *set = listen_set_read(paths, count, o->check);
    const listen_options how = {o->url, paths, count, o->ready_fd == LISTEN_NONE ? -1 : (int)o->ready_fd, o->verbose};
    if (!set)
        return evb_err_exit(EVB_ECONFIG);
    if (o->test)
        return test(set, o->test);
    if (!o->check)
        return listen_run(&set, &how, sig);
    listen_set_print(set);
    listen_set_destroy(&set);
    return evb_err_exit(end_stdout());
}

int main(int argc, char **argv) {
    options o = {0};
    evb_error err;
    bool asked = false;
    int first, sig = 0;
    program_hold_descriptors();
    setvbuf(stderr, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    int rc = parse(&o, argc, argv, &first, &asked, &err);
    if (rc)
        fprintf(stderr, "evlisten: %s\n", err.text);
    if (rc || asked)
        _exit(evb_err_exit(rc));
    int code = go(&o, (const char *const *)argv + first, (size_t)(argc - first), &sig);
    if (sig && !code && sig != SIGTERM)
        signals_die_of(sig);
    _exit(code);
}
