/* signals.c: handlers that set a flag and write to a pipe of our own.
 *
 * The state is the process's, as signal handlers are. Leaves to others: what a signal means for the program. */
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t signals_caught, signals_count, signals_again;

static int wake[2] = {-1, -1};
static int deadly_count;
static volatile sig_atomic_t *flags[NSIG];
static volatile sig_atomic_t evaluating, long_since; /* it was under way at the last tick, or the signal, already */

static void wake_up(void) {
    int keep = errno;
    ssize_t ignored = write(wake[1], "", 1); /* full: it wakes already */
    (void)ignored;
    errno = keep;
}

static void on_signal(int sig) {
    signals_caught = sig;
    signals_count++;
    signals_again = signals_count > 1;
    if (signals_count + 1 == deadly_count) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
    }
    if (evaluating)
        long_since = 1;
    wake_up();
    if (signals_count == 1)
        alarm(1);
}

/* Nobody can interrupt the evaluation: the signal ends the process as if it was not caught. */
static void die_evaluating(void) {
    static const char why[] = ": an expression comes to no end: stopped in the midst of it\n";
    const char *name = program_invocation_short_name;
    ssize_t ignored = write(STDERR_FILENO, name, strlen(name));
    ignored = write(STDERR_FILENO, why, sizeof why - 1);
    (void)ignored;
    signal(signals_caught, SIG_DFL);
    raise(signals_caught);
}

static void on_alarm(int sig) {
    (void)sig;
    if (long_since)
        die_evaluating();
    if (evaluating)
        long_since = 1;
    alarm(1);
}

void signals_evaluate(bool on) {
    long_since = 0;
    evaluating = on;
}

static void on_other(int sig) {
    *flags[sig] = 1;
    wake_up();
}

void signals_catch(int deadly) {
    struct sigaction stop = {.sa_handler = on_signal}, tick = {.sa_handler = on_alarm};
    sigfillset(&stop.sa_mask); /* else two at once would be counted as one, or none of them be the first */
    deadly_count = deadly;
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0)
        return;
    signal(SIGCHLD, SIG_DFL); /* ignored, nobody would learn how a command ends */
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGALRM, &tick, NULL);
}

int signals_fd(void) { return wake[0]; }

void signals_clear(void) {
    char bytes[64];
    while (read(wake[0], bytes, sizeof bytes) > 0)
        continue;
}

void signals_also(int sig, volatile sig_atomic_t *flag) {
    const struct sigaction other = {.sa_handler = on_other, .sa_flags = SA_RESTART};
    flags[sig] = flag;
    sigaction(sig, &other, NULL);
}

_Noreturn void signals_die_of(int sig) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    signal(sig, SIG_DFL);
    raise(sig);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + sig);
}
