/* evsub: prints events: live, from a position on, or both; or runs a command for each (sub_run.c).
 *
 * One loop asks for the next event until there is none at once; then what is printed is written, the cursor follows, and
 * evb_bus_wait sleeps until the hub, a signal, a deadline or the end of stdout's reader wakes it. So under load there is one
 * write(2) for WRITE_SIZE bytes, and a single event is out at once.
 * Invariant: the cursor never passes what was written. `handed` is the position as of the last write that was whole.
 * Leaves to others: order, gaps, reconnects (client), what an event looks like (event/json.h, event/format.h), signals
 * (signals.h), options (sub_options.c). */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/json.h"
#include "printed.h"
#include "program.h"
#include "signals.h"
#include "sub_session.h"

enum { WRITE_SIZE = 128 * 1024 };

static void say(const char *text) { fprintf(stderr, "evsub: %s\n", text); }

/* ---- printing ---- */

static bool print_payload(const sub_session *s, evb_buf *out, const evb_event *event) {
    (void)s;
    if (!evb_buf_reserve(out, event->size + 1)) /* 1: so that what ends it never asks again */
        return false;
    if (event->size)
        memcpy(out->data + out->size, event->payload, event->size);
    out->size += event->size;
    return true;
}

static bool print_json(const sub_session *s, evb_buf *out, const evb_event *event) {
    (void)s;
    return evb_json_add_event(out, event);
}

static bool print_format(const sub_session *s, evb_buf *out, const evb_event *event) {
    return evb_format_add(s->format, out, event);
}

static bool print_event(sub_session *s, const evb_event *event) {
    evb_buf *out = &s->out;
    if (s->opt.topics && !(evb_buf_add(out, event->topic, event->topic_size) && evb_buf_add(out, "\t", 1)))
        return false;
    if (!s->print(s, out, event))
        return false;
    return !s->ends || evb_buf_add(out, &s->after, 1);
}

/* Writes all that is printed. 0; EVB_EIO and out_errno, which is EINTR when a signal ended it. */
static int flush_out(sub_session *s) {
    printed_flush(&s->out, &s->out_errno);
    if (s->out_errno)
        return evb_fail_errno(&s->err, EVB_EIO, s->out_errno, "stdout");
    uint64_t position = evb_sub_position(s->sub);
    if (s->ready && position > s->handed)
        s->handed = position;
    if (s->opt.group && !s->unprinted && evb_sub_ack(s->sub, NULL))
        return evb_fail(&s->err, EVB_ENOMEM, "out of memory");
    return 0;
}

/* ---- the loop ---- */

static sub_outcome fault_of(const sub_session *s) {
    if (s->out_errno == EINTR)
        return END_SIGNAL;
    return s->out_errno == EPIPE ? END_READER : END_FAULT;
}

/* Sleeps until there may be an event. */
static sub_outcome wait_for_more(sub_session *s) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    int64_t now = evb_clock_monotonic_ns(), timeout = sub_cursor_due(s, now);
    if (s->opt.idle_ns >= 0 && s->ready) {
        int64_t left = sub_idle_left(s, now);
        if (left == 0)
            return END_IDLE;
        timeout = timeout < 0 || left < timeout ? left : timeout;
    }
    if (evb_bus_wait(s->bus, fds, 2, timeout, &s->err) < 0)
        return END_FAULT;
    return fds[1].revents & (POLLERR | POLLHUP) ? END_READER : GO_ON;
}

/* There is no event at once: writes what is printed, moves the cursor if it is time, waits. */
static sub_outcome pause_here(sub_session *s) {
    if (flush_out(s))
        return fault_of(s);
    if (sub_cursor_due(s, evb_clock_monotonic_ns()) == 0 && sub_keep_cursor(s))
        return END_FAULT;
    return wait_for_more(s);
}

/* Under load: writes, and looks at the clock for the cursor only then. */
static sub_outcome write_full(sub_session *s) {
    if (flush_out(s))
        return fault_of(s);
    return sub_cursor_due(s, s->cursor_path ? evb_clock_monotonic_ns() : 0) == 0 && sub_keep_cursor(s) ? END_FAULT
                                                                                                       : GO_ON;
}

/* Writes what is printed and moves the cursor up to the event, which is not printed yet. */
static int flush_before(sub_session *s, const evb_event *event) {
    bool ready = s->ready;
    s->ready = false;
    int rc = flush_out(s);
    s->ready = ready;
    if (rc == 0 && ready && event->seq > s->handed)
        s->handed = event->seq;
    return rc ? rc : sub_keep_cursor(s);
}

static const int64_t PACE_MOST_NS = INT64_MAX / 4; /* for how long an event is waited for: some 73 years */

/* Waits until the event is due in a replay at a pace. Nothing is asked of the hub meanwhile. */
static sub_outcome keep_pace(sub_session *s, const evb_event *event) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    int64_t now = evb_clock_monotonic_ns();
    if (!s->first_ns) {
        s->first_ns = event->time_ns;
        s->begun_ns = now;
    }
    double wait = (double)(event->time_ns - s->first_ns) / s->speed;
    int64_t due = s->begun_ns + (wait > (double)PACE_MOST_NS ? PACE_MOST_NS : wait > 0 ? (int64_t)wait : 0);
    if (now < due && flush_before(s, event))
        return s->out_errno ? fault_of(s) : END_FAULT;
    for (; now < due && !signals_caught; now = evb_clock_monotonic_ns()) {
        if (poll(fds, 2, evb_clock_poll_ms(due - now)) > 0 && fds[1].revents & (POLLERR | POLLHUP))
            return END_READER;
    }
    return signals_caught ? END_SIGNAL : GO_ON;
}

static sub_outcome take_event(sub_session *s, const evb_event *event) {
    if (!sub_wants(s, event)) {
        s->unprinted = false;
        return GO_ON;
    }
    sub_outcome paced = s->speed > 0 ? keep_pace(s, event) : GO_ON;
    if (paced != GO_ON) {
        s->ready = false; /* so that the cursor stays before it */
        return paced;
    }
    bool ok = print_event(s, event);
    s->unprinted = !ok;
    if (!ok) {
        s->ready = false; /* so that the cursor stays before it */
        evb_fail(&s->err, EVB_ENOMEM, "out of memory");
        return END_FAULT;
    }
    s->idle_anew = true;
    if (++s->printed == s->opt.count)
        return END_COUNT;
    return s->out.size >= WRITE_SIZE ? write_full(s) : GO_ON;
}

/* One step: an event, or a wait for one. */
static sub_outcome step(sub_session *s) {
    evb_event event;
    int rc = evb_sub_next(s->sub, &event, &s->err);
    if (rc < 0)
        return END_FAULT;
    s->unprinted = rc == EVB_EVENT;
    if (!s->ready && (s->subscribed || rc != EVB_NOTHING) && sub_become_ready(s, rc == EVB_EVENT ? &event : NULL))
        return END_FAULT;
    if (s->opt.count == 0 && s->ready)
        return END_COUNT;
    if (rc == EVB_EVENT)
        return take_event(s, &event);
    return rc == EVB_END ? END_HEAD : pause_here(s);
}

/* Writes what is left and moves the cursor. A fault of the end does not hide an earlier one. */
static sub_outcome finish(sub_session *s, sub_outcome why) {
    evb_error first = s->err;
    bool failed = why == END_FAULT;
    if (why != END_READER && flush_out(s))
        why = failed ? why : fault_of(s);
    if (sub_keep_cursor(s))
        why = END_FAULT;
    if (s->opt.group && !failed && evb_sub_leave(s->sub, &s->err))
        why = END_FAULT;
    if (failed)
        s->err = first;
    return why;
}

static sub_outcome print_all(sub_session *s) {
    sub_outcome why = GO_ON;
    s->print = s->opt.json ? print_json : s->opt.format ? print_format : print_payload;
    while (why == GO_ON && !signals_caught)
        why = step(s);
    return finish(s, signals_caught && why == GO_ON ? END_SIGNAL : why);
}

/* Runs to the end, and gives the exit code; a signal that is meant to end the process is in *sig. */
static int run(sub_session *s, int *sig) {
    sub_outcome why = s->opt.command ? sub_run(s) : print_all(s);
    switch (why) {
    case GO_ON:
    case END_COUNT:
    case END_HEAD: return 0;
    case END_IDLE: return s->opt.count == SUB_NONE ? 0 : 1;
    case END_SIGNAL: *sig = signals_caught; return 0;
    case END_READER: *sig = SIGPIPE; return 0;
    case END_STRICT: return 1;
    case END_FAULT: break;
    }
    say(s->err.text);
    return evb_err_exit(s->err.code);
}

/* With -n 0 there is nothing to wait for, but a cursor or a group that is to be made. */
static bool nothing_to_do(const sub_session *s) {
    return s->opt.count == 0 && !s->opt.group && (!s->cursor_path || s->kept);
}

int main(int argc, char **argv) {
    static sub_session s;
    bool asked = false;
    int sig = 0, code;
    program_hold_descriptors();
    signal(SIGPIPE, SIG_IGN);
    int rc = sub_parse(&s, argc, argv, &asked);
    bool go = !rc && !asked && !nothing_to_do(&s);
    if (go) {
        rc = sub_open(&s); /* a signal until then ends it at once: nothing has begun */
        signals_catch(s.opt.command ? 3 : 2);
    }
    if (rc)
        say(s.err.text);
    code = rc || !go ? evb_err_exit(rc) : run(&s, &sig);
    if (sig)
        signals_die_of(sig);
    _exit(code); /* all is written: nothing to take down */
}
