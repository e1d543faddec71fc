/* cmd_serve.c: evcmd --serve: runs a command for each command that is asked.
 *
 * One loop: what the hub gives goes into the pool, evb_bus_wait sleeps until the hub, the end of a command, a signal or a
 * deadline wakes it. The hub gives no more than there are jobs, so the pool always has room.
 * Invariant: each command that evb_serve_next gave is answered once, done or refused with a reason.
 * The first SIGINT or SIGTERM takes no more and waits for what runs, the second sends SIGTERM to it, the third ends evcmd.
 * Leaves to others: who asks and who waits (the hub), processes (run/pool.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "cmd_session.h"
#include "run/pool.h"
#include "signals.h"

extern char **environ;

typedef struct {
    cmd_session *s;
    evb_pool *pool;
    evb_serve *serve;
    const char **environment;
    bool stopping, told, over;
    int code; /* an evb_err */
} server;

static void fail(server *v, int code) {
    v->code = code;
    v->over = true;
}

/* ---- outcomes ---- */

/* The last line of what a command said that is not empty, as text. */
static void last_line(const evb_outcome *o, char out[EVB_REASON_MAX]) {
    const char *text = o->errors;
    size_t end = o->errors_size;
    while (end && (unsigned char)text[end - 1] <= ' ')
        end--;
    size_t start = end;
    while (start && text[start - 1] != '\n')
        start--;
    evb_utf8_copy(out, EVB_REASON_MAX, text + start, end - start, false);
    for (char *c = out; *c; c++)
        *c = (unsigned char)*c >= ' ' ? *c : ' ';
}

/* Why it refused: what it said last, if it has ended by itself; else how it ended. */
static void find_reason(const server *v, const evb_outcome *o, char out[EVB_REASON_MAX]) {
    *out = 0;
    if (!o->end.late && o->end.status > 0 && !v->s->opt.keep)
        last_line(o, out);
    if (!*out)
        snprintf(out, EVB_REASON_MAX, "%s", o->reason ? o->reason : "not run");
}

static void ended(void *context, const evb_event *event, uint64_t tag, const evb_outcome *o) {
    server *v = context;
    char reason[EVB_REASON_MAX] = "";
    evb_buf line = {0};
    evb_error err;
    evb_answer answer = {.refused = o->result != EVB_RUN_DONE,
                         .reason = reason,
                         .data = o->output,
                         .size = o->output_size,
                         .errors = o->errors,
                         .errors_size = o->errors_size};
    if (answer.refused)
        find_reason(v, o, reason);
    if (v->s->opt.keep && answer.refused)
        answer.size = 0;
    else if (v->s->opt.keep && evb_buf_add(&line, o->output, o->output_size) && evb_buf_add(&line, "\n", 1))
        answer.data = line.data, answer.size = line.size;
    (void)event;
    int rc = evb_serve_answer(v->serve, tag, &answer, &err);
    if (rc == EVB_EDATA) {
        snprintf(reason, sizeof reason, "%.390s", err.text);
        answer.refused = true;
        answer.size = 0;
        rc = evb_serve_answer(v->serve, tag, &answer, &err);
    }
    if (rc) {
        v->s->err = err;
        fail(v, rc);
    }
    evb_buf_free(&line);
}

/* ---- the loop ---- */

static int become_ready(server *v) {
    int fd = (int)v->s->opt.ready_fd;
    if (v->s->opt.ready_fd == CMD_NONE)
        return 0;
    v->s->opt.ready_fd = CMD_NONE;
    if (write(fd, "\n", 1) != 1)
        return evb_fail_errno(&v->s->err, EVB_EIO, errno, "--ready-fd %d", fd);
    close(fd);
    return 0;
}

static void on_note(void *context, evb_note note, uint64_t value) {
    server *v = context;
    const char *text = note == EVB_NOTE_SUBSCRIBED     ? "serving"
                       : note == EVB_NOTE_DISCONNECTED ? "the hub went away"
                       : note == EVB_NOTE_RECONNECTED  ? "serving again"
                                                       : NULL;
    (void)value;
    v->s->serving |= note == EVB_NOTE_SUBSCRIBED;
    if (text && v->s->opt.verbose)
        fprintf(stderr, "evcmd: %s: %s\n", v->s->topic, text);
}

static void take_commands(server *v) {
    evb_event command;
    uint64_t number;
    for (int rc; !v->over;) {
        rc = evb_serve_next(v->serve, &command, &number, &v->s->err);
        if (rc < 0)
            fail(v, rc);
        else if (rc == EVB_END)
            v->over = true;
        if (rc != EVB_EVENT)
            return;
        if (!evb_pool_add(v->pool, &command, number))
            fail(v, evb_fail(&v->s->err, EVB_ENOMEM, "out of memory"));
    }
}

static void heed_signals(server *v) {
    signals_clear();
    if (signals_caught && !v->stopping) {
        v->stopping = true;
        evb_serve_stop(v->serve);
    }
    if (signals_again && !v->told) {
        v->told = true;
        evb_pool_drain(v->pool);
        evb_pool_signal(v->pool, SIGTERM);
    }
}

static void wait_for_more(server *v) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {evb_pool_fd(v->pool), POLLIN, 0}};
    int64_t due = evb_pool_deadline(v->pool), now = evb_clock_monotonic_ns();
    int64_t wait = due == INT64_MAX ? -1 : due > now ? due - now : 0;
    if (evb_bus_wait(v->s->bus, fds, 2, wait, &v->s->err) < 0)
        fail(v, EVB_EIO);
}

static void run(server *v) {
    for (;;) {
        take_commands(v);
        evb_pool_step(v->pool);
        heed_signals(v);
        if (!v->over && v->s->serving && become_ready(v))
            fail(v, EVB_EIO);
        if (v->over)
            return;
        wait_for_more(v);
    }
}

/* ---- beginning and end ---- */

/* Ours, and where the hub is, for what the command publishes. */
static const char **make_environment(const cmd_session *s) {
    static char url[512];
    size_t count = 0, n = 0;
    while (environ[count])
        count++;
    const char **list = calloc(count + 2, sizeof *list);
    for (size_t i = 0; list && i < count; i++)
        if (!s->opt.url || strncmp(environ[i], "EVBUS_URL=", 10) != 0)
            list[n++] = environ[i];
    if (list && s->opt.url && snprintf(url, sizeof url, "EVBUS_URL=%s", s->opt.url) < (int)sizeof url)
        list[n++] = url;
    return list;
}

static bool open_server(server *v, const char *const *argv) {
    const cmd_options *o = &v->s->opt;
    size_t jobs = o->jobs == CMD_NONE ? 1 : (size_t)o->jobs;
    v->environment = make_environment(v->s);
    const evb_pool_options how = {.argv = argv,
                                  .environment = v->environment,
                                  .jobs = jobs,
                                  .keep = o->keep,
                                  .timeout_ns = o->cmd_timeout_ns,
                                  .unordered = true,
                                  .stop = &signals_again,
                                  .take_out = true,
                                  .out_most = EVB_PAYLOAD_MOST,
                                  .take_err = true};
    const evb_serve_options serving = {.topic = v->s->topic,
                                       .jobs = jobs,
                                       .standby = o->standby,
                                       .kind = "evcmd",
                                       .note = on_note,
                                       .note_context = v};
    evb_fail(&v->s->err, EVB_ENOMEM, "out of memory");
    v->pool = v->environment ? evb_pool_new(&how, ended, v) : NULL;
    v->serve = v->pool ? evb_serve_new(v->s->bus, &serving, &v->s->err) : NULL;
    return v->serve;
}

int cmd_serve(cmd_session *s, int *sig) {
    const char *const shell[] = {"/bin/sh", "-c", s->opt.shell, NULL};
    server v = {.s = s};
    if (open_server(&v, s->opt.shell ? shell : s->opt.command))
        run(&v);
    else
        v.code = s->err.code;
    if (v.code)
        fprintf(stderr, "evcmd: %s\n", s->err.text);
    evb_pool_destroy(&v.pool);
    evb_serve_destroy(&v.serve);
    free(v.environment);
    *sig = v.code ? 0 : signals_caught;
    return evb_err_exit(v.code);
}
