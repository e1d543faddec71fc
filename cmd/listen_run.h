/* listen_run.h: runs listeners: each a member of the group of its name, with a pool of commands. */
#ifndef EVB_LISTEN_RUN_H
#define EVB_LISTEN_RUN_H

#include "listen_file.h"

typedef struct {
    const char *url;          /* NULL: as the environment says */
    const char *const *paths; /* the files, to be read again on SIGHUP */
    size_t path_count;
    int ready_fd; /* -1: none */
    bool verbose;
} listen_options;

/* Runs the listeners of *set, which it takes over, until SIGINT or SIGTERM. Returns the exit code; *sig: the signal. */
int listen_run(listen_set **set, const listen_options *options, int *sig);

#endif
