/* fold_options.c: evfold's options, from the table to values.
 *
 * Where a position is asked for, evb_position_parse says what it means. Without --from the fold begins at seq 1, and not at
 * what is left: a state of which the beginning is missing is another one.
 * Leaves to others: patterns (evb_sub_new checks them), the expression (expr.c), what the options do (evfold.c). */
#include "fold_options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "event/expr.h"
#include "event/position.h"
#include "program.h"

static const uint64_t NONE = UINT64_MAX;

/* --every: a number of events, or a time with its unit. */
static int set_every(void *target, const char *value, evb_error *err) {
    fold_options *o = target;
    const char *fault = evb_number_parse(value, &o->every_count);
    if (!fault && !o->every_count)
        fault = "must be 1 or more";
    else if (fault && !evb_age_parse(value, &o->every_ns))
        fault = o->every_ns ? NULL : "must be more than 0";
    else if (fault)
        fault = "neither a number of events nor a time with its unit, like 10s";
    return fault ? evb_fail(err, EVB_EINVAL, "%s: %s", value, fault) : 0;
}

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(fold_options, url), NULL, "URL", "the hub's address (also EVBUS_URL)",
     NULL},
    {0, "from", EVB_OPT_STRING, offsetof(fold_options, from_text), NULL, "POSITION",
     "begin at first, last, now, a SEQ, a TIME, or -N back; not where there is a state file",
     "first last now today yesterday 10m 1h 1d -10"},
    {'e', "end", EVB_OPT_FLAG, offsetof(fold_options, until_head), NULL, NULL, "end at the head of when it started",
     NULL},
    {0, "at", EVB_OPT_STRING, offsetof(fold_options, at_text), NULL, "SEQ|TIME",
     "the state as it was after that seq, or at that time; the state file stays", "now today yesterday 10m 1h 1d"},
    {0, "init", EVB_OPT_STRING, offsetof(fold_options, init_text), NULL, "JSON",
     "the state before the first event (null)", NULL},
    {'s', "state", EVB_OPT_STRING, offsetof(fold_options, state), NULL, "FILE",
     "begin with the state that FILE has, and keep it there", "@file"},
    {0, "every", EVB_OPT_CALL, 0, set_every, "N|TIME",
     "keep it every N events, or every TIME (10s); both may be given", "1000 10s 1m"},
    {0, "adopt", EVB_OPT_FLAG, offsetof(fold_options, adopt), NULL, NULL,
     "go on from a state that another expression has made", NULL},
    {'p', "print", EVB_OPT_FLAG, offsetof(fold_options, print), NULL, NULL,
     "print the state after each event, not at the end", NULL},
    {'q', "quiet", EVB_OPT_FLAG, offsetof(fold_options, quiet), NULL, NULL, "do not print the state", NULL},
    {0, "allow-gap", EVB_OPT_FLAG, offsetof(fold_options, sub.allow_gap), NULL, NULL,
     "go on where retention has removed events", NULL},
    {0, "ready-fd", EVB_OPT_NUMBER, offsetof(fold_options, ready_text), NULL, "FD",
     "write a newline to FD and close it when subscribed", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(fold_options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub (5; 0: for ever)", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(fold_options, verbose), NULL, NULL,
     "say when it is subscribed, reconnected, caught up", NULL},
    EVB_OPTS_STANDARD(fold_options, standard),
};

static const evb_opts OPTS = {
    "evfold",
    "[OPTION]... [PATTERN]... EXPRESSION",
    "Folds events into a state: the jq expression is given the state as . and an event as $event,\n"
    "with $event.data where the payload is JSON, and gives the new state.",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    NULL,
};

/* NULL, or what does not go together. */
static const char *conflict(const fold_options *o) {
    if (o->print && o->quiet)
        return "-p and -q do not go together";
    if (!o->state && (o->every_count || o->adopt))
        return "--every and --adopt want --state";
    if (o->ready_text != NONE && !program_is_ready_fd(o->ready_text))
        return PROGRAM_NO_READY_FD;
    return NULL;
}

static int set_from(fold_options *o, evb_error *err) {
    evb_error why;
    o->sub.from = EVB_FROM_SEQ;
    o->sub.value = 1;
    if (!o->from_text)
        return 0;
    int rc = evb_position_parse(o->from_text, evb_clock_wall_ns(), &o->sub.from, &o->sub.value, &why);
    return rc ? evb_fail(err, rc, "--from: %.400s", why.text) : 0;
}

static int set_at(fold_options *o, evb_error *err) {
    evb_error why;
    evb_from from;
    uint64_t value = 0;
    int64_t now_ns = evb_clock_wall_ns();
    if (!o->at_text)
        return 0;
    int rc = evb_position_parse(o->at_text, now_ns, &from, &value, &why);
    switch (rc ? EVB_FROM_LAST : from) {
    case EVB_FROM_SEQ: o->at = (fold_bound){FOLD_TO_SEQ, value, 0}; return 0;
    case EVB_FROM_TIME: o->at = (fold_bound){FOLD_TO_TIME, 0, (int64_t)value}; return 0;
    case EVB_FROM_NOW: o->at = (fold_bound){FOLD_TO_TIME, 0, INT64_MAX}; return 0;
    case EVB_FROM_FIRST:
    case EVB_FROM_LAST:
    case EVB_FROM_BACK:
    case EVB_FROM_LAST_PER_TOPIC: break;
    }
    return evb_fail(err, EVB_EINVAL, "--at: '%.100s': neither a seq of 1 or more, nor now, nor a time", o->at_text);
}

static int set_init(fold_options *o, evb_error *err) {
    o->init = jv_null();
    if (!o->init_text)
        return 0;
    o->init = jv_parse(o->init_text);
    bool ok = jv_is_valid(o->init) && evb_expr_shallow(o->init);
    return ok ? 0 : evb_fail(err, EVB_EINVAL, "--init: %.100s: not JSON", o->init_text);
}

/* The last operand is the expression, those before it are patterns. */
static int set_operands(fold_options *o, int count, char **operands, evb_error *err) {
    if (count < 1)
        return evb_fail(err, EVB_EINVAL, "no expression; try 'evfold --help'");
    o->expression = operands[count - 1];
    o->sub.patterns = (const char *const *)operands;
    o->sub.pattern_count = (size_t)count - 1;
    return 0;
}

int fold_options_read(fold_options *out, int argc, char **argv, bool *asked, evb_error *err) {
    int first, rc;
    *out = (fold_options){.ready_text = NONE, .ready_fd = -1, .every_ns = 10 * EVB_SECOND_NS};
    out->timeout_ns = 5 * EVB_SECOND_NS;
    if ((rc = evb_opts_parse(&OPTS, out, argc, argv, &first, err)) ||
        (rc = program_answer(&OPTS, &out->standard, asked, err)) || *asked)
        return rc;
    const char *wrong = conflict(out);
    if (wrong)
        return evb_fail(err, EVB_EINVAL, "%s", wrong);
    if (out->ready_text != NONE)
        out->ready_fd = (int)out->ready_text;
    if ((rc = set_operands(out, argc - first, argv + first, err)) || (rc = set_from(out, err)) ||
        (rc = set_at(out, err)))
        return rc;
    return set_init(out, err);
}
