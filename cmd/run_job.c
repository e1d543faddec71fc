/* run_job.c: signals and the terminal.
 *
 * Without a controlling terminal (cron, systemd, setsid) the job leads a process group of its own, and a signal that evrun
 * gets goes to all of it. With one it stays in evrun's group: only so can it read the terminal and be stopped, continued
 * and put in the foreground together with evrun by a shell. What the terminal sends (^C, ^Z) then reaches both, and is not
 * forwarded; what another process sends to evrun goes to the job's process.
 * Signals are forwarded by the handler itself, so that nothing that evrun waits for delays them. One that comes before there
 * is a job goes to the job as soon as it is there, the terminal's, too, which the job has not got.
 * Invariants: `target` is set only while the job is not reaped: evb_child_step reaps it with the signals blocked, so that
 * none is forwarded to a pid that is another's by then. They stay blocked up to the wait, which lets them in: else one that
 * comes between a look at `interrupted` and the wait would not end that. */
#include "run_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "run_events.h"
#include "signals.h"

static const int FORWARDED[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};
enum { FORWARDED_COUNT = sizeof FORWARDED / sizeof *FORWARDED };

static sigset_t ignored, caught;
static bool shared;
static volatile sig_atomic_t target, pid; /* of signals, as kill(2) takes it; the job's */
static volatile sig_atomic_t interrupted; /* by this signal, the first that found no job */

/* Stops evrun as SIGTSTP does: not at all where no shell could continue it (an orphaned process group). */
static void stop(void) {
    struct sigaction old, by_default = {.sa_handler = SIG_DFL};
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigaction(SIGTSTP, &by_default, &old);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    sigaction(SIGTSTP, &old, NULL);
}

static void forward(int sig, siginfo_t *info, void *context) {
    int keep = errno;
    (void)context;
    bool has_it = shared && (info->si_code == SI_KERNEL || info->si_pid == pid);
    if (target && !has_it)
        kill(target, sig);
    if (!target && sig != SIGCONT && sig != SIGTSTP)
        interrupted = interrupted ? interrupted : sig; /* a HUP that follows a TERM is no other wish */
    if (sig == SIGTSTP)
        stop();
    errno = keep;
}

void run_job_signals(void) {
    struct sigaction how = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO};
    struct sigaction now;
    sigemptyset(&ignored);
    sigemptyset(&caught);
    for (int sig = 1; sig < NSIG; sig++)
        if (sigaction(sig, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN)
            sigaddset(&ignored, sig);
    for (size_t i = 0; i < FORWARDED_COUNT; i++)
        sigaddset(&caught, FORWARDED[i]);
    how.sa_mask = caught;
    for (size_t i = 0; i < FORWARDED_COUNT; i++)
        if (!sigismember(&ignored, FORWARDED[i]))
            sigaction(FORWARDED[i], &how, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored, nobody would learn how the job ends */
}

static bool has_terminal(void) {
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

evb_child *run_job_start(const char *const *argv, const char *const *environment, int64_t max_ns, bool quiet,
                         evb_error *err) {
    const evb_child_stream tail = {
        .take = true, .last = true, .pass = !quiet, .paced = !quiet, .most = RUN_OUTPUT_MOST};
    sigset_t before;
    shared = has_terminal();
    const evb_child_options how = {.argv = argv,
                                   .environment = environment,
                                   .in = EVB_STDIN_OURS,
                                   .out = tail,
                                   .err = tail,
                                   .one_tail = true,
                                   .timeout_ns = max_ns,
                                   .shared = shared,
                                   .ignored = &ignored};
    evb_child *child = evb_child_new(&how, err);
    sigprocmask(SIG_BLOCK, &caught, &before);
    pid = child ? evb_child_pid(child) : 0;
    target = child ? evb_child_target(child) : 0;
    if (child && interrupted)
        kill(target, interrupted);
    interrupted = 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return child;
}

/* A step in which the job may be reaped; true when there is no more to wait for. */
static bool step(evb_child *child) {
    bool done = evb_child_step(child), ended = evb_child_ended(child);
    if (ended)
        target = 0;
    return done || (ended && interrupted);
}

/* Waits for the job, or for a signal that is not among the blocked. */
static void wait_for_more(evb_child *child, const sigset_t *blocked) {
    struct pollfd fds[EVB_CHILD_FDS];
    size_t count = evb_child_fds(child, fds);
    int64_t due = evb_child_deadline(child), now = evb_clock_monotonic_ns(), left = due > now ? due - now : 0;
    const struct timespec most = {left / EVB_SECOND_NS, left % EVB_SECOND_NS};
    ppoll(fds, count, due == INT64_MAX ? NULL : &most, blocked);
}

void run_job_wait(evb_child *child) {
    sigset_t before;
    for (bool done = false; !done;) {
        sigprocmask(SIG_BLOCK, &caught, &before);
        done = step(child);
        if (!done)
            wait_for_more(child, &before);
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
}

_Noreturn void run_job_die(int sig) {
    prctl(PR_SET_DUMPABLE, 0);
    signals_die_of(sig);
}
