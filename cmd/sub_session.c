/* sub_session.c: the subscription, its cursor, and what it says of itself.
 *
 * Invariant: the cursor never passes what was handed on. */
#include "sub_session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/units.h"
#include "program.h"
#include "signals.h"

static void say(const char *text) { fprintf(stderr, "evsub: %s\n", text); }

int sub_keep_cursor(sub_session *s) {
    if (!s->cursor_path || !s->handed || s->handed == s->kept)
        return 0;
    int rc = evb_cursor_write(s->cursor_path, s->handed, &s->err);
    s->kept = s->handed;
    s->kept_ns = evb_clock_monotonic_ns();
    return rc;
}

/* ns until the cursor may be written again; negative when it has nothing to say. */
int64_t sub_cursor_due(const sub_session *s, int64_t now_ns) {
    if (!s->cursor_path || s->handed == s->kept)
        return -1;
    int64_t due = s->kept_ns + EVB_SECOND_NS - now_ns;
    return due < 0 ? 0 : due;
}

/* Says, once, that the position is fixed: by a cursor file that stands there from then on, and on --ready-fd.
 * event: the first, not yet printed, or NULL if none has come. */
int sub_become_ready(sub_session *s, const evb_event *event) {
    s->ready = true;
    s->idle_anew = true;
    if (!s->kept) {
        s->handed = event && event->seq ? event->seq : evb_sub_position(s->sub);
        int rc = sub_keep_cursor(s);
        if (rc)
            return rc;
    }
    if (s->opt.ready_fd == SUB_NONE)
        return 0;
    int fd = (int)s->opt.ready_fd;
    if (write(fd, "\n", 1) != 1)
        return evb_fail_errno(&s->err, EVB_EIO, errno, "--ready-fd %d", fd);
    close(fd);
    return 0;
}

int64_t sub_idle_left(sub_session *s, int64_t now_ns) {
    static const int64_t overslept_ns = 250 * EVB_MILLISECOND_NS, late_ns = 10 * EVB_MILLISECOND_NS;
    int64_t late = now_ns - s->idle_due_ns;
    if (s->idle_anew)
        s->idle_due_ns = now_ns + s->opt.idle_ns;
    else if (late > overslept_ns || (late > late_ns && !s->idle_again))
        s->idle_due_ns = now_ns + overslept_ns;
    s->idle_again = !s->idle_anew && (s->idle_again || late > late_ns);
    s->idle_anew = false;
    return s->idle_due_ns > now_ns ? s->idle_due_ns - now_ns : 0;
}

static void on_note(void *context, evb_note note, uint64_t value) {
    sub_session *s = context;
    unsigned long long v = value;
    bool verbose = s->opt.verbose;
    switch (note) {
    case EVB_NOTE_SUBSCRIBED:
        s->subscribed = true;
        if (verbose)
            say("subscribed");
        return;
    case EVB_NOTE_CAUGHT_UP:
        s->speed = 0;
        (void)(verbose && fprintf(stderr, "evsub: caught up at seq %llu\n", v));
        return;
    case EVB_NOTE_DISCONNECTED:
        (void)(verbose && fprintf(stderr, "evsub: the hub is gone: waiting for it\n"));
        return;
    case EVB_NOTE_RECONNECTED: (void)(verbose && fprintf(stderr, "evsub: reconnected, head %llu\n", v)); return;
    case EVB_NOTE_REPAIRED:
        (void)(verbose && fprintf(stderr, "evsub: fetched what the feed dropped: %llu\n", v));
        return;
    case EVB_NOTE_LOST: fprintf(stderr, "evsub: %llu live event%s lost\n", v, evb_plural(v)); return;
    case EVB_NOTE_GAP:
        fprintf(stderr, "evsub: %llu seq%s passed over: retention has removed them\n", v, evb_plural(v));
        return;
    }
}

/* A cursor beyond the hub's journal is another journal's: going on from it would pass over events in silence. */
static int check_cursor(sub_session *s) {
    evb_status hub;
    if (!s->kept)
        return 0;
    int rc = evb_bus_status(s->bus, &hub, &s->err);
    if (rc || s->kept <= hub.head + 1)
        return rc;
    return evb_fail(&s->err, EVB_EGONE,
                    "%s: stands at %" PRIu64 ", beyond the journal's end at %" PRIu64
                    ": it is another journal's; remove it to begin anew",
                    s->cursor_path, s->kept, hub.head);
}

bool sub_wants(sub_session *s, const evb_event *event) {
    bool holds = true;
    evb_error why;
    if (!s->where)
        return true;
    signals_evaluate(true);
    int rc = evb_where_test(s->where, event, &holds, &why);
    signals_evaluate(false);
    if (!rc)
        return holds;
    if (!s->where_failed)
        fprintf(stderr, "evsub: --where: seq %" PRIu64 ": %s: such events are left out\n", event->seq, why.text);
    s->where_failed = true;
    return false;
}

int sub_open(sub_session *s) {
    s->bus = program_bus(s->opt.url, s->opt.timeout_ns, &s->err);
    if (s->bus && check_cursor(s) == 0)
        s->sub = evb_sub_new(s->bus, &s->how, on_note, s, &s->err);
    return s->sub ? 0 : s->err.code;
}
