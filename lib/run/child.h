/* child.h: a command that was started: what goes in, what comes out, how it ends. Never blocks but to pass output on.
 *
 * The command leads a process group of its own unless that is not wanted, with no signal blocked or (but for those
 * asked for) ignored and none of our descriptors but 0, 1 and 2. Its end is the end of its first process: what it
 * leaves in the background is left alone, unless it is killed for being late. Who owns it waits with poll(2) on
 * evb_child_fds until evb_child_deadline, then calls evb_child_step. */
#ifndef EVB_CHILD_H
#define EVB_CHILD_H

#include <poll.h>
#include <signal.h>
#include <sys/types.h>

#include "base/buf.h"
#include "evbus.h"

typedef struct evb_child evb_child;

/* stdout or stderr. All zero: it is ours. */
typedef struct {
    bool take;   /* through a pipe to us */
    bool last;   /* of what is taken its last bytes are kept; false: the first */
    bool pass;   /* what is taken is written to our own, too */
    size_t most; /* bytes that are kept */
    /* With pass: no more is taken than our own has room for, so that nothing blocks; and when nobody reads our own any
     * more, nobody reads the command's, which hears of it as if it wrote there itself. evb_child_fds changes then from
     * one wait to the next. */
    bool paced;
} evb_child_stream;

typedef struct {
    const char *const *argv;        /* ended by NULL; argv[0] is looked for in PATH; a script without "#!": /bin/sh */
    const char *const *environment; /* NAME=VALUE, ended by NULL */
    const char *cwd;                /* NULL: ours */
    enum { EVB_STDIN_BYTES, EVB_STDIN_FEED, EVB_STDIN_OURS } in;
    const void *input; /* EVB_STDIN_BYTES: what its stdin, a file, has; borrowed during evb_child_new */
    size_t input_size;
    evb_child_stream out, err;
    bool one_tail;      /* what err takes is kept with what out takes, in the order in which it comes */
    int64_t timeout_ns; /* SIGTERM to its process group then, and SIGKILL EVB_CHILD_GRACE_NS later; 0: never */
    bool shared;        /* it stays in our process group, and what is said of its group here holds for it alone */
    const sigset_t *ignored; /* signals that stay ignored in it if they are; NULL: none */
} evb_child_options;

#define EVB_CHILD_GRACE_NS INT64_C(5000000000)
enum { EVB_CHILD_FDS = 4 };

/* How it ended. */
typedef struct {
    int64_t begun_ns; /* since the epoch */
    int64_t took_ns;
    int status; /* its exit status, or minus the signal that killed it */
    bool late;  /* it was told to end for its timeout */
    uint64_t peak_bytes;
    int64_t user_ns, system_ns;
} evb_child_end;

/* Starts it (posix_spawn(3)); the options are not needed afterwards. NULL and *err: EVB_EDATA when there is no such
 * command, EVB_EPERM when it may not be run, EVB_EIO, EVB_ENOMEM. */
evb_child *evb_child_new(const evb_child_options *options, evb_error *err);

/* Forgets it; one that still runs is killed with its group. */
void evb_child_destroy(evb_child **self);

/* What to wait for: fills at most EVB_CHILD_FDS and returns how many. That of EVB_STDIN_FEED, for POLLOUT, belongs in an
 * edge-triggered epoll(7). */
size_t evb_child_fds(const evb_child *self, struct pollfd *fds);
int64_t evb_child_deadline(const evb_child *self); /* monotonic; INT64_MAX: none */

/* Takes in what there is; true when it has ended, and all of its output up to then is here. */
bool evb_child_step(evb_child *self);
const evb_child_end *evb_child_ended(const evb_child *self); /* NULL: it runs */

/* Why what it said could not be written to our own: an errno, the first one; 0: it could. */
int evb_child_fault(const evb_child *self);

/* EVB_STDIN_FEED: gives it more to read. False: it reads no more, or memory is short. */
bool evb_child_feed(evb_child *self, const void *data, size_t size);

/* Of one that has ended: whether it has read nothing of what the last evb_child_feed gave it. */
bool evb_child_unread(const evb_child *self);

/* Sends a signal to its process group. As long as it runs that may be done by kill(2), from a signal handler, too, with
 * what evb_child_target gives. */
void evb_child_signal(const evb_child *self, int sig);

/* As if its time were over now: SIGTERM, and SIGKILL later. */
void evb_child_hurry(evb_child *self);
bool evb_child_is_late(const evb_child *self); /* whether its time is over */
pid_t evb_child_pid(const evb_child *self);
pid_t evb_child_target(const evb_child *self);

/* What was kept; the owner may take bytes off the front. *lost (may be NULL): how many were not kept. */
evb_buf *evb_child_out(evb_child *self, uint64_t *lost);
evb_buf *evb_child_err(evb_child *self, uint64_t *lost);

/* "exit 3", "killed by SIGSEGV", "timed out after 5 s" into out: how it ended. */
void evb_child_say(const evb_child_end *end, int64_t timeout_ns, char out[64]);

#endif
