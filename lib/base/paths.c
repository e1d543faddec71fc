/* paths.c: the defaults of cli.md, in one place for all programs.
 *
 * Invariant: what is returned is absolute, or what the caller himself named.
 * Leaves to others: making directories (cursor.c, the journal), reading the environment (the programs). */
#include "base/paths.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* A printf into memory of its own. */
__attribute__((format(printf, 2, 3))) static char *text_of(evb_error *err, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int rc = vasprintf(&text, format, args);
    va_end(args);
    if (rc >= 0)
        return text;
    evb_fail(err, EVB_ENOMEM, "out of memory");
    return NULL;
}

static bool absolute(const char *path) { return path && *path == '/'; }

char *evb_paths_url(const evb_environment *env, evb_error *err) {
    if (env->url && *env->url)
        return text_of(err, "%s", env->url);
    if (env->uid == 0)
        return text_of(err, "ipc:///run/evbus");
    if (absolute(env->runtime_dir))
        return text_of(err, "ipc://%s/evbus", env->runtime_dir);
    return text_of(err, "ipc:///run/user/%lu/evbus", (unsigned long)env->uid);
}

char *evb_paths_state(const evb_environment *env, evb_error *err) {
    if (env->uid == 0)
        return text_of(err, "/var/lib/evbus");
    if (absolute(env->state_home))
        return text_of(err, "%s/evbus", env->state_home);
    if (absolute(env->home))
        return text_of(err, "%s/.local/state/evbus", env->home);
    evb_fail(err, EVB_EINVAL, "HOME: not set, and neither is XDG_STATE_HOME: where to keep state is not known");
    return NULL;
}

char *evb_paths_cursor(const evb_environment *env, const char *name, evb_error *err) {
    if (strchr(name, '/'))
        return text_of(err, "%s", name);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        evb_fail(err, EVB_EINVAL, "'%s': not a cursor's name", name);
        return NULL;
    }
    char *state = evb_paths_state(env, err);
    char *path = state ? text_of(err, "%s/cursors/%s", state, name) : NULL;
    free(state);
    return path;
}

char *evb_paths_spool(const evb_environment *env, evb_error *err) {
    if (absolute(env->spool))
        return text_of(err, "%s", env->spool);
    char *state = evb_paths_state(env, err);
    char *path = state ? text_of(err, "%s/spool", state) : NULL;
    free(state);
    return path;
}
