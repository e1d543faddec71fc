/* program.c: descriptors, environment, --help, the bus: the same for every program. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

void program_hold_descriptors(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

evb_environment program_environment(void) {
    return (evb_environment){getenv("EVBUS_URL"), getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"),
                             getuid()};
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
