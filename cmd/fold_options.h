/* fold_options.h: evfold's command line. */
#ifndef EVB_FOLD_OPTIONS_H
#define EVB_FOLD_OPTIONS_H

#include <jv.h>

#include "base/opts.h"
#include "base/paths.h"

/* How far events are folded, that event too. */
typedef struct {
    enum { FOLD_TO_THE_END, FOLD_TO_SEQ, FOLD_TO_TIME } kind;
    uint64_t seq;
    int64_t time_ns;
} fold_bound;

typedef struct {
    evb_opts_standard standard;
    const char *url, *state, *expression;
    evb_sub_options sub; /* patterns, where from, gaps; until_head is for who begins */
    fold_bound at;
    jv init; /* the state before the first event */
    uint64_t every_count;
    int64_t every_ns, timeout_ns;
    int ready_fd; /* or -1 */
    bool until_head, print, quiet, adopt, verbose;
    /* as given */
    const char *from_text, *at_text, *init_text;
    uint64_t ready_text;
} fold_options;

/* Reads argv, and answers --help and the like on stdout (*asked). 0; EVB_EINVAL, EVB_EIO, EVB_ENOMEM. */
int fold_options_read(fold_options *out, int argc, char **argv, bool *asked, evb_error *err);

#endif
