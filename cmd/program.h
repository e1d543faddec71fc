/* program.h: what every program does at its start. */
#ifndef EVB_PROGRAM_H
#define EVB_PROGRAM_H

#include "base/opts.h"
#include "base/paths.h"
#include "evbus.h"
#include "spool/spool.h"

/* Puts something that fails in the place of a standard descriptor that is closed, so that no socket gets its number. */
void program_hold_descriptors(void);

/* The environment as far as paths depend on it. */
evb_environment program_environment(void);

/* Prints what --help, --version or --print-completion ask for; *asked: one did. Errors as evb_opts_answer, EVB_EIO. */
int program_answer(const evb_opts *opts, const evb_opts_standard *standard, bool *asked, evb_error *err);

/* Whether a number given as --ready-fd is that of a descriptor which the caller has handed us. To be asked before anything is
 * opened: what we open takes such numbers, too. */
bool program_is_ready_fd(uint64_t fd);
#define PROGRAM_NO_READY_FD "--ready-fd: not an open descriptor above 2"

/* A bus for the hub at url, or by default where the environment says. timeout_ns 0: none. NULL and *err. */
evb_bus *program_bus(const char *url, int64_t timeout_ns, evb_error *err);

/* The spool of the hub at url, or by default where the environment says. NULL and *err. */
evb_spool *program_spool(const char *url, evb_spool_note_fn *note, void *context, evb_error *err);

/* The headers that -H gave, into out, which has room for `most`; they borrow the list's text. EVB_EINVAL: more, one that is not
 * NAME=VALUE, a name given twice. */
int program_headers(const evb_opt_list *list, size_t most, evb_header *out, evb_error *err);

/* Whether there is such a command: a path, or a name in PATH. 0; EVB_EINVAL, EVB_EPERM and why. */
int program_find(const char *command, evb_error *err);

/* Our environment with EVBUS_URL set to url, if that is not NULL: for a command that is to find the same hub. The list is the
 * caller's to free, once; what it points at lives as long as the process. NULL: out of memory. */
const char **program_environ(const char *url);

/* Tells systemd, where it runs us and waits for it: "READY=1" (sd_notify(3), without its library). */
void program_notify(const char *state);

#endif
