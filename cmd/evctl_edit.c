/* evctl_edit.c: the user's editor, on a file of its own (mode 0600), as git(1) runs it: $VISUAL, else $EDITOR, as a
 * line of sh(1), the file's name its last word.
 *
 * Most editors end a file with a newline: a payload that had none loses the one that it has got.
 * Leaves to others: what the text is for (evctl_dead.c), removing the file when it is stored. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "evctl.h"

extern char **environ;

enum { PIECE = 64 * 1024 };

/* ---- the file ---- */

static bool write_all(int fd, const uint8_t *data, size_t size) {
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return false;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* A new file with the payload. Its name, for the caller to free. NULL and *err. */
static char *make_file(const evb_buf *payload, evb_error *err) {
    const char *dir = getenv("TMPDIR");
    evb_buf name = {0};
    if (!evb_buf_printf(&name, "%s/evctl.XXXXXX", dir && *dir ? dir : "/tmp") || !evb_buf_add(&name, "", 1)) {
        evb_fail(err, EVB_ENOMEM, "out of memory");
        evb_buf_free(&name);
        return NULL;
    }
    char *path = (char *)name.data;
    int fd = mkostemp(path, O_CLOEXEC);
    bool ok = fd >= 0 && write_all(fd, payload->data, payload->size);
    int failed = errno;
    if (fd >= 0 && close(fd) && ok) {
        ok = false;
        failed = errno;
    }
    if (ok)
        return path;
    evb_fail_errno(err, EVB_EIO, failed, "%.300s", path);
    if (fd >= 0)
        unlink(path);
    free(path);
    return NULL;
}

/* Editors may put another file in its place: it is opened by its name. In a directory where others write it is still the
 * user's own. */
static int open_again(const char *path, evb_error *err) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* not to wait for a fifo's writer */
    if (fd < 0 || fstat(fd, &st)) {
        evb_fail_errno(err, EVCTL_NO, errno, "%.300s: nothing is done", path);
    } else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        evb_fail(err, EVCTL_NO, "%.300s: nothing is done: it is no file of yours any more", path);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static int read_file(const char *path, evb_buf *out, evb_error *err) {
    int fd = open_again(path, err);
    ssize_t n = -1;
    if (fd < 0)
        return err->code;
    do {
        if (!evb_buf_reserve(out, PIECE)) {
            close(fd);
            return evb_fail(err, EVB_ENOMEM, "out of memory");
        }
        n = read(fd, out->data + out->size, PIECE);
        out->size += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    int failed = errno;
    close(fd);
    return n < 0 ? evb_fail_errno(err, EVCTL_NO, failed, "%.300s: nothing is done", path) : 0;
}

/* ---- the editor ---- */

static const char *editor(void) {
    const char *visual = getenv("VISUAL"), *line = visual && *visual ? visual : getenv("EDITOR");
    return line && *line ? line : NULL;
}

/* What is for the editor alone: if it ends of that, its file is removed and this is said. */
static const int SIGNALS[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
enum { SIGNAL_COUNT = sizeof SIGNALS / sizeof *SIGNALS };

/* Starts it. 0 or an errno. */
static int spawn(const char *line, const char *path, pid_t *pid) {
    posix_spawnattr_t attr;
    sigset_t defaults;
    evb_buf script = {0};
    if (!(line ? evb_buf_printf(&script, "%s \"$@\"", line)
               : evb_buf_text(&script,
                              "if command -v editor >/dev/null; then exec editor \"$@\"; fi; exec vi \"$@\"")) ||
        !evb_buf_add(&script, "", 1)) {
        evb_buf_free(&script);
        return ENOMEM;
    }
    char *const argv[] = {"sh", "-c", (char *)script.data, "evctl", (char *)(uintptr_t)path, NULL};
    sigemptyset(&defaults);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        sigaddset(&defaults, SIGNALS[i]);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(pid, "/bin/sh", NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    evb_buf_free(&script);
    return rc;
}

static int run_editor(const char *path, evb_error *err) {
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before[SIGNAL_COUNT];
    pid_t pid = 0;
    int status = 0;
    fflush(stdout);
    signal(SIGCHLD, SIG_DFL); /* ignored, nobody would learn how it ends */
    for (int i = 0; i < SIGNAL_COUNT; i++)
        sigaction(SIGNALS[i], &ignore, &before[i]);
    int rc = spawn(editor(), path, &pid);
    while (rc == 0 && waitpid(pid, &status, 0) < 0)
        rc = errno == EINTR ? 0 : errno;
    for (int i = 0; i < SIGNAL_COUNT; i++)
        sigaction(SIGNALS[i], &before[i], NULL);
    if (rc)
        return evb_fail_errno(err, EVCTL_NO, rc, "/bin/sh");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        return evb_fail(err, EVCTL_NO, "the editor was killed by signal %d: nothing is done", WTERMSIG(status));
    return evb_fail(err, EVCTL_NO, "the editor ended with exit status %d: nothing is done", WEXITSTATUS(status));
}

/* ---- both ---- */

/* Reads what the editor has left into *payload. */
static int take_back(evb_buf *payload, const char *path, bool *changed, evb_error *err) {
    evb_buf text = {0};
    bool newline = payload->size && payload->data[payload->size - 1] == '\n';
    int rc = read_file(path, &text, err);
    if (rc == 0 && !newline && text.size && text.data[text.size - 1] == '\n')
        text.size--;
    *changed = text.size != payload->size || (text.size && memcmp(text.data, payload->data, text.size) != 0);
    if (rc == 0 && *changed && !text.size)
        rc = evb_fail(err, EVCTL_NO, "the payload is empty: nothing is done");
    evb_buf_free(payload);
    *payload = text;
    return rc;
}

int evctl_edit(evb_buf *payload, bool *changed, char **path, evb_error *err) {
    *changed = false;
    *path = make_file(payload, err);
    if (!*path)
        return err->code;
    int rc = run_editor(*path, err);
    rc = rc ? rc : take_back(payload, *path, changed, err);
    if (rc) {
        unlink(*path);
        free(*path);
        *path = NULL;
    }
    return rc;
}
