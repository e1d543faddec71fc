/* cmd_session.h: evcmd's options, shared by evcmd.c (asking) and cmd_serve.c (handling). */
#ifndef EVB_CMD_SESSION_H
#define EVB_CMD_SESSION_H

#include "base/opts.h"
#include "evbus.h"
#include "event/cause.h"
#include "event/limits.h"

#define CMD_NONE UINT64_MAX

typedef struct {
    evb_opts_standard standard;
    evb_opt_list headers;
    const char *url, *id, *shell;
    const char *const *command; /* ended by NULL; --serve */
    int64_t timeout_ns, cmd_timeout_ns;
    uint64_t jobs, ready_fd;
    bool serve, keep, standby, quiet, verbose;
} cmd_options;

typedef struct {
    cmd_options opt;
    const char *topic, *payload;
    evb_header headers[EVB_HEADER_COUNT_MAX + EVB_CAUSE_HEADERS];
    size_t header_count;
    evb_cause cause;
    evb_bus *bus;
    bool serving; /* the hub has said so */
    evb_error err;
} cmd_session;

/* Serves until a signal or an error ends it. The exit code; *sig is a signal that is to end the process. */
int cmd_serve(cmd_session *s, int *sig);

#endif
