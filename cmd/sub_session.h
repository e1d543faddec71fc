/* sub_session.h: what evsub was asked for, and its subscription, for its two ways of going on: printing (evsub.c) and running
 * a command (sub_run.c). */
#ifndef EVB_SUB_SESSION_H
#define EVB_SUB_SESSION_H

#include "base/buf.h"
#include "base/opts.h"
#include "evbus.h"
#include "event/format.h"
#include "event/limits.h"
#include "event/where.h"

#define SUB_NONE UINT64_MAX /* a number that was not given */

typedef struct sub_options {
    evb_opts_standard standard;
    const char *url, *from, *format, *cursor;
    uint64_t count, ready_fd;
    int64_t timeout_ns, idle_ns;
    const char *to, *speed;
    evb_opt_list excludes;
    const char *where;
    const char *group, *backoff;
    int64_t ack_wait_ns;
    uint64_t max_deliver, max_pending;
    bool ordered;
    bool last_per_topic, until_head, allow_gap, topics, nul, raw, json, verbose;
    /* with a command */
    uint64_t jobs, batch;
    int64_t cmd_timeout_ns;
    const char *shell;
    bool keep, strict;
    char **command; /* ended by NULL; NULL: none */
} sub_options;

typedef struct sub_session sub_session;

struct sub_session {
    sub_options opt;
    char *cursor_path; /* NULL: no cursor */
    evb_format *format;
    evb_where *where;  /* or NULL */
    bool where_failed; /* and that was said */
    bool (*print)(const sub_session *, evb_buf *, const evb_event *);
    char after; /* what follows each event, if `ends` */
    bool ends;
    evb_sub_options how;
    evb_group_options group;
    int64_t backoff_ns[EVB_BACKOFF_MAX];
    evb_bus *bus;
    evb_sub *sub;
    evb_buf out;
    int out_errno;         /* why nothing is written any more */
    bool subscribed;       /* the hub has said so */
    bool ready;            /* and it was said on --ready-fd, and the cursor stands */
    bool unprinted;        /* the event in hand is not printed: nothing is acknowledged */
    uint64_t printed;      /* events */
    uint64_t handed, kept; /* positions: all before it is written; what the cursor file says. 0: none yet */
    int64_t kept_ns;       /* when the cursor was last written */
    int64_t idle_due_ns;   /* when the wait for the next event is over… */
    bool idle_anew;        /* …but it begins anew: an event has come since that was set */
    bool idle_again;       /* it was over, and was made longer, for we were late */
    double speed;          /* of the replay; 0: at once */
    int64_t begun_ns;      /* when the replay began, by our clock… */
    int64_t first_ns;      /* …and by its events': 0 before the first */
    evb_error err;
};

/* Why it goes on, or ends. */
typedef enum { GO_ON, END_COUNT, END_HEAD, END_IDLE, END_SIGNAL, END_READER, END_STRICT, END_FAULT } sub_outcome;

/* sub_options.c: reads argv into *s, and answers --help and the like (*asked). 0, or an evb_err and s->err. */
int sub_parse(sub_session *s, int argc, char **argv, bool *asked);

/* sub_session.c: opens the bus and the subscription. 0, or an evb_err and s->err. */
int sub_open(sub_session *s);

/* Says, once, that the position is fixed: by a cursor file that stands there from then on, and on --ready-fd.
 * event: the first, not yet handed on, or NULL if none has come. */
int sub_become_ready(sub_session *s, const evb_event *event);

/* Moves the cursor file to s->handed. sub_cursor_due: ns until that may be done again; negative: no need. */
int sub_keep_cursor(sub_session *s);
int64_t sub_cursor_due(const sub_session *s, int64_t now_ns);

/* -W, once `ready`: ns until the wait for the next event is over; 0: it is. Where we were stopped, or had no processor,
 * and have slept over its end, what came meanwhile is read first. */
int64_t sub_idle_left(sub_session *s, int64_t now_ns);

/* Whether the event is wanted, as --where says; one for which that fails is not, and the first such is said. */
bool sub_wants(sub_session *s, const evb_event *event);

/* sub_run.c: runs the command for the events, to the end. */
sub_outcome sub_run(sub_session *s);

#endif
