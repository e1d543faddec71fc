/* program.c: descriptors, environment, --help, the bus: the same for every program. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "event/check.h"

void program_hold_descriptors(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

evb_environment program_environment(void) {
    return (evb_environment){
        getenv("EVBUS_URL"),  getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"), getuid(),
        getenv("EVBUS_SPOOL")};
}

int program_answer(const evb_opts *opts, const evb_opts_standard *standard, bool *asked, evb_error *err) {
    evb_buf out = {0};
    int rc = evb_opts_answer(opts, standard, &out, asked, err);
    if (rc == 0 && *asked) {
        bool ok = fwrite(out.data, 1, out.size, stdout) == out.size && fflush(stdout) == 0;
        rc = ok || errno == EPIPE ? 0 : evb_fail_errno(err, EVB_EIO, errno, "stdout");
    }
    evb_buf_free(&out);
    return rc;
}

bool program_is_ready_fd(uint64_t fd) { return fd > STDERR_FILENO && fd <= INT_MAX && fcntl((int)fd, F_GETFD) >= 0; }

int program_headers(const evb_opt_list *list, size_t most, evb_header *out, evb_error *err) {
    if (list->count > most)
        return evb_fail(err, EVB_EINVAL, "--header: more than %zu of them", most);
    for (size_t i = 0; i < list->count; i++) {
        const char *text = list->items[i], *equals = strchr(text, '=');
        if (!equals || equals == text)
            return evb_fail(err, EVB_EINVAL, "--header: '%.100s': not NAME=VALUE", text);
        out[i] = (evb_header){text, (size_t)(equals - text), equals + 1, strlen(equals + 1)};
        if (evb_header_named(out, i, text, out[i].name_size))
            return evb_fail(err, EVB_EINVAL, "--header: %.*s: given twice", (int)out[i].name_size, text);
    }
    return 0;
}

/* Whether it may be run: 0 or an errno. */
static int look_at(const char *path) {
    struct stat about;
    if (stat(path, &about) < 0)
        return errno;
    if (S_ISDIR(about.st_mode))
        return EISDIR;
    return access(path, X_OK) < 0 ? errno : 0;
}

/* The same for a name in one of PATH's directories, as execvp(3) looks for it. */
static int look_in_path(const char *name) {
    const char *path = getenv("PATH");
    char file[PATH_MAX];
    int found = ENOENT;
    for (path = path ? path : "/bin:/usr/bin"; path && found;
         path = strchr(path, ':') ? strchr(path, ':') + 1 : NULL) {
        int size = (int)strcspn(path, ":");
        if (snprintf(file, sizeof file, "%.*s/%s", size ? size : 1, size ? path : ".", name) >= (int)sizeof file)
            continue;
        int errnum = look_at(file);
        if (!errnum || errnum == EACCES)
            found = errnum;
    }
    return found;
}

int program_find(const char *command, evb_error *err) {
    int errnum = strchr(command, '/') ? look_at(command) : *command ? look_in_path(command) : ENOENT;
    if (!errnum)
        return 0;
    return evb_fail_errno(err, errnum == EACCES ? EVB_EPERM : EVB_EINVAL, errnum, "%.200s", command);
}

const char **program_environ(const char *url) {
    size_t count = 0, n = 0;
    char *own = NULL;
    while (environ[count])
        count++;
    const char **list = calloc(count + 2, sizeof *list);
    if (!list || (url && asprintf(&own, "EVBUS_URL=%s", url) < 0)) {
        free(list);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (!own || strncmp(environ[i], "EVBUS_URL=", 10) != 0)
            list[n++] = environ[i];
    list[n] = own;
    return list;
}

evb_bus *program_bus(const char *url, int64_t timeout_ns, evb_error *err) {
    const evb_environment env = program_environment();
    char *text = url ? strdup(url) : evb_paths_url(&env, err);
    evb_bus *bus = NULL;
    if (text)
        bus = evb_bus_new(text, timeout_ns ? timeout_ns : -1, err);
    else if (url)
        evb_fail(err, EVB_ENOMEM, "out of memory");
    free(text);
    return bus;
}

evb_spool *program_spool(const char *url, evb_spool_note_fn *note, void *context, evb_error *err) {
    const evb_environment env = program_environment();
    char *by_default = url ? NULL : evb_paths_url(&env, err);
    char *path = url || by_default ? evb_spool_path(&env, url ? url : by_default, err) : NULL;
    evb_spool *spool = path ? evb_spool_new(path, note, context, err) : NULL;
    free(by_default);
    free(path);
    return spool;
}

void program_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (*path == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
        fprintf(stderr, "systemd: %s\n", strerror(errno));
    close(fd);
}
