/* child.c: spawning, pipes, deadlines, the end.
 *
 * What a command reads is a file of its own (memfd_create(2)), so that it may read it late, partly or not at all and
 * nobody waits for it. Its output comes through pipes that are read whenever there is something in them, and its end
 * through a pidfd. After the end as much is taken as lies in the pipes then: who was left behind may hold them open.
 * A paced stream holds nothing back: it is read in pieces for which our own has room, and waits for room, not for input,
 * while there is none. Only of a terminal nobody can say how much room it has: it gets the rest of a piece later.
 * Invariant: the process is reaped exactly once, and no signal goes to its group after that.
 * Leaves to others: SIGPIPE, which its owner ignores; which command, for what, and what its end means (pool.c). */
#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

enum { READ_SIZE = 64 * 1024, READS_AT_ONCE = 16 };

/* One of its outputs. */
typedef struct {
    evb_child_stream how;
    int fd;       /* ours; -1: not taken, or at its end */
    int own;      /* where it is passed on to */
    bool whole;   /* a write to it never waits: it is a file */
    int again;    /* own opened once more, so that a write to it never waits: it is a terminal; else -1 */
    evb_buf rest; /* what it had no room for */
    evb_buf buf;  /* what is kept */
    uint64_t taken;
    size_t left; /* the command has ended: so much of its output is still to be taken */
} stream;

struct evb_child {
    pid_t pid;
    pid_t target; /* of signals, as kill(2) takes it */
    int fault;    /* errno of passing on */
    int pidfd;
    int in; /* EVB_STDIN_FEED; -1: closed */
    evb_buf feed;
    uint64_t put;     /* bytes that are written to it */
    uint64_t last_at; /* of all that it was given: where the last feed begins */
    uint64_t had;     /* of what was written: what the command had read when it was closed; UINT64_MAX: not known */
    stream out, err;
    bool one_tail;
    int64_t begun_ns; /* monotonic */
    int64_t due_ns;   /* of the next signal */
    bool ended;
    evb_child_end end;
};

/* ---- starting ---- */

/* The descriptors that the command gets; each is closed by us once it has it. */
typedef struct {
    int in, out, err;
} given;

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* What lies in a pipe of which we hold either end. */
static size_t left_in(int fd) {
    int there = 0;
    return fd >= 0 && ioctl(fd, FIONREAD, &there) == 0 && there > 0 ? (size_t)there : 0;
}

static void close_given(given *g) {
    close_fd(&g->in);
    close_fd(&g->out);
    close_fd(&g->err);
}

/* A pipe, our end of which never blocks. */
static int make_pipe(int *ours, int *theirs, bool we_read, evb_error *err) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "pipe");
    *ours = fds[we_read ? 0 : 1];
    *theirs = fds[we_read ? 1 : 0];
    if (fcntl(*ours, F_SETFL, O_NONBLOCK) < 0)
        return evb_fail_errno(err, EVB_EIO, errno, "pipe");
    return 0;
}

/* A file that has these bytes, read from its start. */
static int make_input(const uint8_t *data, size_t size, int *fd, evb_error *err) {
    *fd = size ? memfd_create("evbus", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (size_t done = 0; *fd >= 0 && done < size;) {
        ssize_t n = write(*fd, data + done, size - done);
        if (n < 0 && errno != EINTR)
            return evb_fail_errno(err, EVB_EIO, errno, "what a command is to read");
        done += n > 0 ? (size_t)n : 0;
    }
    if (*fd < 0 || (size && lseek(*fd, 0, SEEK_SET) < 0))
        return evb_fail_errno(err, EVB_EIO, errno, "what a command is to read");
    return 0;
}

static int make_ends(evb_child *self, const evb_child_options *o, given *g, evb_error *err) {
    int rc = 0;
    if (o->in == EVB_STDIN_BYTES)
        rc = make_input(o->input, o->input_size, &g->in, err);
    else if (o->in == EVB_STDIN_FEED)
        rc = make_pipe(&self->in, &g->in, false, err);
    if (rc == 0 && o->out.take)
        rc = make_pipe(&self->out.fd, &g->out, true, err);
    if (rc == 0 && o->err.take)
        rc = make_pipe(&self->err.fd, &g->err, true, err);
    return rc;
}

static int spawn_code(int errnum) {
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
    case E2BIG: return EVB_EDATA;
    case EACCES:
    case EPERM:
    case ENOEXEC: return EVB_EPERM;
    case ENOMEM:
    case EAGAIN: return EVB_ENOMEM;
    default: return EVB_EIO;
    }
}

/* Where the command is that is no program by itself: its path, as execvp(3) finds it in PATH. */
static bool find_script(const evb_child_options *o, char *out, size_t room) {
    const char *name = o->argv[0], *path = NULL;
    if (strchr(name, '/'))
        return (size_t)snprintf(out, room, "%s", name) < room;
    for (size_t i = 0; !path && o->environment[i]; i++)
        path = strncmp(o->environment[i], "PATH=", 5) == 0 ? o->environment[i] + 5 : NULL;
    for (path = path ? path : "/bin:/usr/bin"; path; path = strchr(path, ':') ? strchr(path, ':') + 1 : NULL) {
        int size = (int)strcspn(path, ":");
        if ((size_t)snprintf(out, room, "%.*s/%s", size ? size : 1, size ? path : ".", name) < room &&
            access(out, X_OK) == 0)
            return true;
    }
    return false;
}

/* A script without "#!", which the kernel does not take: given to /bin/sh, as execvp(3) and so every shell and env(1) do,
 * and posix_spawnp(3) does not. */
static int start_script(evb_child *self, const evb_child_options *o, posix_spawn_file_actions_t *actions,
                        posix_spawnattr_t *how) {
    char path[PATH_MAX];
    size_t count = 0;
    while (o->argv[count])
        count++;
    const char **argv = calloc(count + 2, sizeof *argv);
    if (!argv)
        return ENOMEM;
    argv[0] = "/bin/sh";
    argv[1] = path;
    memcpy(argv + 2, o->argv + 1, (count - 1) * sizeof *argv);
    int rc = ENOEXEC;
    if (find_script(o, path, sizeof path))
        rc = posix_spawn(&self->pid, argv[0], actions, how, (char *const *)(uintptr_t)argv,
                         (char *const *)(uintptr_t)o->environment);
    free(argv);
    return rc;
}

static int start(evb_child *self, const evb_child_options *o, posix_spawn_file_actions_t *actions,
                 posix_spawnattr_t *how) {
    /* execve(2) changes none of what it is given: POSIX keeps the types for old code. */
    int rc = posix_spawnp(&self->pid, o->argv[0], actions, how, (char *const *)(uintptr_t)o->argv,
                          (char *const *)(uintptr_t)o->environment);
    return rc == ENOEXEC ? start_script(self, o, actions, how) : rc;
}

/* The process's start, with actions and attributes made; 0 or an errno. */
static int spawn_with(evb_child *self, const evb_child_options *o, const given *g,
                      posix_spawn_file_actions_t *actions, posix_spawnattr_t *how) {
    sigset_t heard, none;
    int rc = 0;
    sigfillset(&heard);
    sigemptyset(&none);
    for (int sig = 1; o->ignored && sig < NSIG; sig++)
        if (sigismember(o->ignored, sig) == 1)
            sigdelset(&heard, sig);
    posix_spawnattr_setflags(
        how, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (o->shared ? 0 : POSIX_SPAWN_SETPGROUP)));
    posix_spawnattr_setpgroup(how, 0);
    posix_spawnattr_setsigmask(how, &none);
    posix_spawnattr_setsigdefault(how, &heard);
    if (g->in >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, g->in, STDIN_FILENO);
    if (!rc && g->out >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, g->out, STDOUT_FILENO);
    if (!rc && g->err >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, g->err, STDERR_FILENO);
    if (!rc && o->cwd)
        rc = posix_spawn_file_actions_addchdir_np(actions, o->cwd);
    return rc ? rc : start(self, o, actions, how);
}

static int spawn(evb_child *self, const evb_child_options *o, const given *g, evb_error *err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t how;
    if (o->cwd && access(o->cwd, X_OK) < 0)
        return evb_fail_errno(err, spawn_code(errno), errno, "%s", o->cwd);
    if (posix_spawn_file_actions_init(&actions))
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    int rc = posix_spawnattr_init(&how);
    if (!rc) {
        rc = spawn_with(self, o, g, &actions, &how);
        posix_spawnattr_destroy(&how);
    }
    posix_spawn_file_actions_destroy(&actions);
    if (rc)
        return evb_fail_errno(err, spawn_code(rc), rc, "%.200s", o->argv[0]);
    self->target = o->shared ? self->pid : -self->pid;
    self->pidfd = (int)syscall(SYS_pidfd_open, self->pid, 0);
    return self->pidfd < 0 ? evb_fail_errno(err, EVB_EIO, errno, "pidfd_open") : 0;
}

/* Unlike a pipe's, a terminal's room may be less than a piece, and others do not want theirs to be non-blocking. The other
 * side of a pseudo-terminal is none, though isatty(3) says so: to open that makes another. */
static void open_again(stream *s) {
    char path[32];
    unsigned number;
    if (ioctl(s->own, TIOCGPTN, &number) == 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", s->own);
    s->again = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    s->own = s->again < 0 ? s->own : s->again;
}

static void set_stream(stream *s, const evb_child_stream *how, int own) {
    struct stat about;
    s->how = *how;
    s->own = own;
    s->whole = how->paced && fstat(own, &about) == 0 && (S_ISREG(about.st_mode) || S_ISBLK(about.st_mode));
    if (how->paced && isatty(own))
        open_again(s);
}

evb_child *evb_child_new(const evb_child_options *options, evb_error *err) {
    evb_child *self = calloc(1, sizeof *self);
    given g = {-1, -1, -1};
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "out of memory");
        return NULL;
    }
    self->pidfd = self->in = self->out.fd = self->err.fd = self->out.again = self->err.again = -1;
    self->had = UINT64_MAX;
    set_stream(&self->out, &options->out, STDOUT_FILENO);
    set_stream(&self->err, &options->err, STDERR_FILENO);
    self->one_tail = options->one_tail;
    self->end.begun_ns = evb_clock_wall_ns();
    self->begun_ns = evb_clock_monotonic_ns();
    self->due_ns = options->timeout_ns > 0 ? self->begun_ns + options->timeout_ns : INT64_MAX;
    int rc = make_ends(self, options, &g, err);
    rc = rc ? rc : spawn(self, options, &g, err);
    close_given(&g);
    if (rc)
        evb_child_destroy(&self);
    return self;
}

static void free_stream(stream *s) {
    close_fd(&s->fd);
    close_fd(&s->again);
    evb_buf_free(&s->buf);
    evb_buf_free(&s->rest);
}

void evb_child_destroy(evb_child **self) {
    evb_child *c = *self;
    if (!c)
        return;
    if (c->pid && !c->ended) {
        kill(c->target, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close_fd(&c->pidfd);
    close_fd(&c->in);
    free_stream(&c->out);
    free_stream(&c->err);
    evb_buf_free(&c->feed);
    free(c);
    *self = NULL;
}

/* ---- waiting ---- */

/* Whether our own has room for as much as is passed on at a time. poll(2) says so of a pipe when a page of it is free;
 * what has failed has room, too: the next write says why. */
static bool has_room(const stream *s) {
    return !s->how.paced || s->whole || poll(&(struct pollfd){s->own, POLLOUT, 0}, 1, 0) > 0;
}

static size_t add_stream(const stream *s, struct pollfd *fds) {
    if (s->rest.size) {
        *fds = (struct pollfd){s->own, POLLOUT, 0};
        return 1;
    }
    if (s->fd < 0)
        return 0;
    *fds = has_room(s) ? (struct pollfd){s->fd, POLLIN, 0} : (struct pollfd){s->own, POLLOUT, 0};
    return 1;
}

size_t evb_child_fds(const evb_child *self, struct pollfd *fds) {
    size_t n = 0;
    if (self->pidfd >= 0 && !self->ended)
        fds[n++] = (struct pollfd){self->pidfd, POLLIN, 0};
    n += add_stream(&self->out, fds + n);
    n += add_stream(&self->err, fds + n);
    if (self->in >= 0)
        fds[n++] = (struct pollfd){self->in, POLLOUT, 0};
    return n;
}

int64_t evb_child_deadline(const evb_child *self) { return self->ended ? INT64_MAX : self->due_ns; }

/* ---- what it reads ---- */

/* It reads no more. */
static void end_feed(evb_child *self) {
    if (self->in >= 0)
        self->had = self->put - left_in(self->in);
    close_fd(&self->in);
}

static void push_feed(evb_child *self) {
    while (self->in >= 0 && self->feed.size) {
        ssize_t n = write(self->in, self->feed.data, self->feed.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            end_feed(self);
        self->put += n < 0 ? 0 : (size_t)n;
        evb_buf_drop(&self->feed, n < 0 ? self->feed.size : (size_t)n);
    }
}

bool evb_child_feed(evb_child *self, const void *data, size_t size) {
    self->last_at = self->put + self->feed.size;
    if (self->in < 0 || !evb_buf_add(&self->feed, data, size))
        return false;
    push_feed(self);
    return self->in >= 0;
}

bool evb_child_unread(const evb_child *self) { return self->had <= self->last_at; }

/* ---- what it says ---- */

/* False: nobody reads it any more. */
static bool pass_on(evb_child *self, stream *s, const uint8_t *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(s->own, data + done, size - done);
        if (n < 0 && errno == EAGAIN && s->again >= 0 && evb_buf_add(&s->rest, data + done, size - done))
            return true;
        if (n < 0 && errno == EAGAIN)
            poll(&(struct pollfd){s->own, POLLOUT, 0}, 1, -1);
        else if (n < 0 && errno != EINTR) {
            self->fault = self->fault ? self->fault : errno;
            return errno != EPIPE;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Keeps what of it is to be kept. */
static void keep(stream *s, const uint8_t *data, size_t size) {
    size_t most = s->how.most;
    s->taken += size;
    if (!s->how.last) {
        size_t room = s->buf.size < most ? most - s->buf.size : 0;
        evb_buf_add(&s->buf, data, size < room ? size : room);
        return;
    }
    if (size > most) {
        data += size - most;
        size = most;
    }
    if (s->buf.size + size > 2 * most) /* so that dropping the front costs little for each byte */
        evb_buf_drop(&s->buf, s->buf.size + size - most);
    evb_buf_add(&s->buf, data, size);
}

/* Passes on what there was no room for; whether there is no more of it. */
static bool pass_rest(evb_child *self, stream *s) {
    evb_buf rest = s->rest;
    s->rest = (evb_buf){0};
    if (rest.size && !pass_on(self, s, rest.data, rest.size))
        close_fd(&s->fd);
    evb_buf_free(&rest);
    return !s->rest.size;
}

/* Takes what is in the pipe, at most `most` bytes. */
static void take_stream(evb_child *self, stream *s, size_t most) {
    uint8_t data[READ_SIZE];
    size_t once = s->how.paced && !s->whole ? PIPE_BUF : sizeof data;
    while (pass_rest(self, s) && s->fd >= 0 && most && has_room(s)) {
        ssize_t n = read(s->fd, data, most < once ? most : once);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close_fd(&s->fd);
            return;
        }
        most -= (size_t)n;
        s->left -= s->left ? (size_t)n : 0;
        keep(self->one_tail ? &self->out : s, data, (size_t)n);
        if (s->how.pass && !pass_on(self, s, data, (size_t)n) && s->how.paced)
            close_fd(&s->fd); /* else the command does not depend on that */
    }
}

/* Takes of what was left at its end what there is room for; true when it is all here. */
static bool take_last(evb_child *self, stream *s) {
    take_stream(self, s, s->left);
    if ((s->left && s->fd >= 0) || s->rest.size)
        return false;
    close_fd(&s->fd);
    return true;
}

static evb_buf *kept(stream *s, uint64_t *lost) {
    if (s->how.last && s->buf.size > s->how.most)
        evb_buf_drop(&s->buf, s->buf.size - s->how.most);
    if (lost)
        *lost = s->taken - s->buf.size;
    return &s->buf;
}

evb_buf *evb_child_out(evb_child *self, uint64_t *lost) { return kept(&self->out, lost); }
evb_buf *evb_child_err(evb_child *self, uint64_t *lost) { return kept(&self->err, lost); }

/* ---- its end ---- */

void evb_child_signal(const evb_child *self, int sig) {
    if (!self->ended)
        kill(self->target, sig);
}

void evb_child_hurry(evb_child *self) {
    if (!self->ended && !self->end.late)
        self->due_ns = 0;
}

bool evb_child_is_late(const evb_child *self) { return self->end.late || self->due_ns == 0; }

pid_t evb_child_pid(const evb_child *self) { return self->pid; }

pid_t evb_child_target(const evb_child *self) { return self->target; }

static int64_t of_timeval(struct timeval t) { return (int64_t)t.tv_sec * EVB_SECOND_NS + (int64_t)t.tv_usec * 1000; }

/* Its time is over: TERM, then KILL. */
static void hurry(evb_child *self, int64_t now) {
    if (now < self->due_ns)
        return;
    kill(self->target, self->end.late ? SIGKILL : SIGTERM);
    if (!self->end.late)
        kill(self->target, SIGCONT); /* a stopped one would not hear of it */
    self->due_ns = self->end.late ? INT64_MAX : now + EVB_CHILD_GRACE_NS;
    self->end.late = true;
}

static bool reap(evb_child *self) {
    struct rusage use;
    int status;
    if (self->end.late && poll(&(struct pollfd){self->pidfd, POLLIN, 0}, 1, 0) > 0)
        kill(self->target, SIGKILL); /* what is left of its group */
    pid_t got = wait4(self->pid, &status, WNOHANG, &use);
    if (got == 0 || (got < 0 && errno == EINTR))
        return false;
    self->ended = true;
    self->end.took_ns = evb_clock_monotonic_ns() - self->begun_ns;
    if (got < 0) { /* who made us ignores SIGCHLD: nobody can know */
        self->end.status = 255;
        return true;
    }
    self->end.status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    self->end.peak_bytes = (uint64_t)use.ru_maxrss * 1024;
    self->end.user_ns = of_timeval(use.ru_utime);
    self->end.system_ns = of_timeval(use.ru_stime);
    return true;
}

/* It may have ended: notes what of its output is still to be taken then; what comes later is not its own. */
static bool notice_end(evb_child *self) {
    if (!reap(self)) {
        hurry(self, evb_clock_monotonic_ns());
        return false;
    }
    self->out.left = left_in(self->out.fd);
    self->err.left = left_in(self->err.fd);
    end_feed(self);
    close_fd(&self->pidfd);
    return true;
}

bool evb_child_step(evb_child *self) {
    if (!self->ended) {
        push_feed(self);
        take_stream(self, &self->out, (size_t)READ_SIZE * READS_AT_ONCE);
        take_stream(self, &self->err, (size_t)READ_SIZE * READS_AT_ONCE);
        if (!notice_end(self))
            return false;
    }
    bool out = take_last(self, &self->out), err = take_last(self, &self->err);
    return out && err;
}

int evb_child_fault(const evb_child *self) { return self->fault; }

const evb_child_end *evb_child_ended(const evb_child *self) { return self->ended ? &self->end : NULL; }

void evb_child_say(const evb_child_end *end, int64_t timeout_ns, char out[64]) {
    if (end->late)
        snprintf(out, 64, "timed out after %.4g s", (double)timeout_ns / 1e9);
    else if (end->status < 0)
        snprintf(out, 64, "killed by SIG%s", sigabbrev_np(-end->status) ? sigabbrev_np(-end->status) : "?");
    else
        snprintf(out, 64, "exit %d", end->status);
}
