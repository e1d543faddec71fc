/* paths.h: where things are by default: the hub's URL, its journal, cursors. Pure: the caller gives the environment. */
#ifndef EVB_PATHS_H
#define EVB_PATHS_H

#include <sys/types.h>

#include "evbus.h"

/* The environment as far as it matters; each may be NULL. What is not an absolute path does not count, as the XDG Base
 * Directory Specification has it. */
typedef struct {
    const char *url;         /* EVBUS_URL */
    const char *runtime_dir; /* XDG_RUNTIME_DIR */
    const char *state_home;  /* XDG_STATE_HOME */
    const char *home;        /* HOME */
    uid_t uid;
    const char *spool; /* EVBUS_SPOOL */
} evb_environment;

/* The texts returned are the caller's, to free(3). NULL and *err: EVB_ENOMEM, EVB_EINVAL where the environment does not
 * say enough. */

/* EVBUS_URL if set and not empty; else ipc:///run/evbus for root; else ipc://RUNTIME_DIR/evbus, where the runtime
 * directory is XDG_RUNTIME_DIR or, as under cron(8), /run/user/UID. */
char *evb_paths_url(const evb_environment *env, evb_error *err);

/* /var/lib/evbus for root, else $XDG_STATE_HOME/evbus, else $HOME/.local/state/evbus. */
char *evb_paths_state(const evb_environment *env, evb_error *err);

/* The cursor file that NAME stands for: itself if it has a '/', else cursors/NAME in the state directory. */
char *evb_paths_cursor(const evb_environment *env, const char *name, evb_error *err);

/* The directory of spools: EVBUS_SPOOL if set and absolute, else spool in the state directory. */
char *evb_paths_spool(const evb_environment *env, evb_error *err);

#endif
