/* listen_file.h: the listeners that files describe: read, checked, made ready to be run.
 *
 *   [listener send-receipt]
 *   on = order.paid, order.refunded
 *   when = .data.total > 0
 *   run = /usr/local/bin/send-receipt
 *
 *   [expect backup]
 *   topic = job.backup.succeeded
 *   every = 25h
 *   run = /usr/local/bin/alert
 *
 * What each key means stands in evlisten(1). */
#ifndef EVB_LISTEN_FILE_H
#define EVB_LISTEN_FILE_H

#include "arena.h"
#include "base/opts.h"
#include "evbus.h"
#include "event/limits.h"

typedef struct listener {
    struct listener *next;
    const char *name, *file;
    int line;
    char *text; /* all of its settings as they were written: two listeners with one text are the same */
    /* as set */
    const char *on, *when, *run, *shell, *user, *cwd, *from, *input, *publish, *backoff;
    evb_opt_list env;
    uint64_t jobs, batch, retry;
    int64_t timeout_ns, ack_wait_ns;
    int64_t every_ns; /* an expectation: to be run when nothing came for so long; 0: a listener */
    bool keep, ordered;
    /* as understood */
    const char **patterns, **argv; /* ended by NULL */
    const char **command;          /* in argv, behind what changes the user */
    size_t pattern_count;
    evb_from start;
    uint64_t start_value;
    const char *home; /* of user, where that is not us; else NULL */
    int64_t backoff_ns[EVB_BACKOFF_MAX];
    size_t backoff_count;
} listener;

#define LISTEN_NONE UINT64_MAX

/* Whether its `input` is an expression of jq. */
bool listener_has_expression(const listener *self);

typedef struct {
    arena memory;
    listener *first;
    size_t count;
    unsigned users; /* of listeners of it that run */
} listen_set;

/* Reads files; of a directory all that end in .conf, by name. Each fault is said on stderr as "evlisten: FILE:LINE: …"; NULL
 * if there was any. That there are no listeners at all is said, too. check: look for the commands, too, and be wrong with
 * no listeners. */
listen_set *listen_set_read(const char *const *paths, size_t count, bool check);
void listen_set_destroy(listen_set **self);

const listener *listen_set_find(const listen_set *self, const char *name);

/* Prints what would be run, as a file that says the same. */
void listen_set_print(const listen_set *self);

#endif
