/* fold_state.h: evfold's state file: a state, where it stands, and what made it. See evfold(1), FILES, for its form. */
#ifndef EVB_FOLD_STATE_H
#define EVB_FOLD_STATE_H

#include <jv.h>

#include "evbus.h"

/* What makes a state out of events; borrowed. */
typedef struct {
    const char *expression;
    const char *const *patterns;
    size_t pattern_count;
    jv init; /* the state before the first event */
} fold_recipe;

/* A state and where it stands. */
typedef struct {
    jv state;
    uint64_t position; /* the next seq; 0: nowhere yet */
    uint64_t events;   /* folded into it, ever */
    uint64_t last_seq; /* of the last one of these; 0: none */
    int64_t last_time_ns;
    char last_id[EVB_ID_MAX];
} fold_point;

/* Reads it. 0 and *found, and *out, whose state is the caller's to free, where there is such a file. EVB_EDATA: it is not a
 * state file, or damaged, or (unless adopt) made by another recipe; EVB_EPERM, EVB_EIO, EVB_ENOMEM. */
int fold_state_read(const char *path, const fold_recipe *recipe, bool adopt, fold_point *out, bool *found,
                    evb_error *err);

/* Replaces it, so that after a crash the old or the new one is there; the temporary is PATH.tmp. Whatever fails leaves the
 * old one. Blocks on the disk. EVB_EDATA: the state is nested too deep; EVB_EPERM, EVB_EIO, EVB_EINVAL, EVB_ENOMEM. */
int fold_state_write(const char *path, const fold_recipe *recipe, const fold_point *point, evb_error *err);

/* 0, or EVB_EDATA: the state, only looked at, is nested so deep that it could not be read again. */
int fold_state_check(jv state, evb_error *err);

#endif
