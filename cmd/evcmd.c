/* evcmd: asks the one handler of a topic to do something, and prints what it answers; with --serve it is that handler
 * (cmd_serve.c).
 *
 * Invariant: exit 0 means done, 1 means that the handler has refused, and 75 with "outcome unknown" that it may have been
 * done. What the handler wrote goes out to the byte, each stream to its own.
 * Leaves to others: the wait for the outcome (client), what runs for a command (cmd_serve.c, run). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cmd_session.h"
#include "program.h"
#include "signals.h"

enum { JOBS_MAX = 1024, READ_SIZE = 64 * 1024 };
static const int64_t FOR_EVER_NS = INT64_MAX / 8;

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(cmd_options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {'H', "header", EVB_OPT_LIST, offsetof(cmd_options, headers), NULL, "NAME=VALUE", "a header of the command",
     NULL},
    {0, "id", EVB_OPT_STRING, offsetof(cmd_options, id), NULL, "ID",
     "asked again with the same ID it is not done twice: the first answer comes again", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(cmd_options, timeout_ns), NULL, "SEC",
     "how long to wait for the answer, or for the hub (5; 0: for ever)", NULL},
    {0, "quiet-log", EVB_OPT_FLAG, offsetof(cmd_options, quiet), NULL, NULL,
     "store no events of the command and its outcome (with --id they are stored all the same)", NULL},
    {0, "serve", EVB_OPT_FLAG, offsetof(cmd_options, serve), NULL, NULL,
     "be the handler: run CMD for each command; its stdout is the answer", NULL},
    {'j', "jobs", EVB_OPT_NUMBER, offsetof(cmd_options, jobs), NULL, "N", "--serve: so many commands at once (1)",
     NULL},
    {0, "cmd-timeout", EVB_OPT_DURATION, offsetof(cmd_options, cmd_timeout_ns), NULL, "SEC",
     "--serve: SIGTERM to a command that takes longer, then SIGKILL", NULL},
    {0, "keep", EVB_OPT_FLAG, offsetof(cmd_options, keep), NULL, NULL,
     "--serve: start CMD once; it reads JSON lines and answers each with a line", NULL},
    {0, "standby", EVB_OPT_FLAG, offsetof(cmd_options, standby), NULL, NULL,
     "--serve: where another serves TOPIC, take over when it goes", NULL},
    {0, "shell", EVB_OPT_STRING, offsetof(cmd_options, shell), NULL, "LINE",
     "--serve: the command is this line of the shell", NULL},
    {0, "ready-fd", EVB_OPT_NUMBER, offsetof(cmd_options, ready_fd), NULL, "FD",
     "--serve: write a newline to FD and close it when serving or standing by", NULL},
    {'v', "verbose", EVB_OPT_FLAG, offsetof(cmd_options, verbose), NULL, NULL,
     "say when it serves and reconnects, and as which seq the command was stored", NULL},
    EVB_OPTS_STANDARD(cmd_options, standard),
};

static const evb_opts OPTS = {
    "evcmd",
    "[OPTION]... TOPIC [[--] PAYLOAD]\n--serve [OPTION]... TOPIC -- CMD [ARG]...",
    "Asks the handler of TOPIC to do something (PAYLOAD, or stdin, says what) and prints its answer.\n"
    "Exits 0: done; 1: refused; 69: no handler; 75: the outcome is unknown.\n"
    "A PAYLOAD that may begin with - goes behind --, as in: evcmd room.heat -- \"$t\"",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    NULL,
};

static void say(const char *text) { fprintf(stderr, "evcmd: %s\n", text); }

/* ---- options ---- */

/* What stands behind "--" is the command, with --serve. Returns how many arguments stand before it. */
static int take_command(cmd_session *s, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            argv[i] = NULL;
            s->opt.command = (const char *const *)(argv + i + 1);
            return i;
        }
    return argc;
}

/* Who asks has operands behind "--": puts them behind the other ones. Returns how many arguments there are. */
static int take_operands(cmd_session *s, int count, int argc, char **argv) {
    if (s->opt.serve || !s->opt.command)
        return count;
    s->opt.command = NULL;
    memmove(argv + count, argv + count + 1, (size_t)(argc - count) * sizeof *argv);
    return argc - 1;
}

static const char *serve_conflict(const cmd_options *o) {
    if (o->shell && o->command)
        return "--shell LINE is the command: nothing follows --";
    if (!o->shell && (!o->command || !*o->command))
        return "--serve needs a command: -- CMD ARG...";
    if (o->jobs == 0 || (o->jobs != CMD_NONE && o->jobs > JOBS_MAX))
        return "-j: from 1 to 1024";
    if (o->id || o->headers.count || o->quiet)
        return "--id, -H and --quiet-log are for asking: not with --serve";
    if (o->ready_fd != CMD_NONE && !program_is_ready_fd(o->ready_fd))
        return PROGRAM_NO_READY_FD;
    return NULL;
}

static const char *ask_conflict(const cmd_options *o) {
    if (o->jobs != CMD_NONE || o->cmd_timeout_ns || o->keep || o->standby || o->shell || o->ready_fd != CMD_NONE)
        return "-j, --cmd-timeout, --keep, --standby, --shell and --ready-fd go with --serve";
    return NULL;
}

/* -H, and what the environment says of why we are here. */
static int set_headers(cmd_session *s) {
    const evb_opt_list *list = &s->opt.headers;
    int rc = program_headers(list, EVB_HEADER_COUNT_MAX - EVB_CAUSE_HEADERS, s->headers, &s->err);
    if (rc)
        return rc;
    rc =
        evb_cause_read(getenv("EVBUS_CAUSE"), getenv("EVBUS_CORRELATION"), getenv("EVBUS_DEPTH"), &s->cause, &s->err);
    if (rc == 0 && evb_cause_too_deep(&s->cause))
        rc = evb_fail(&s->err, EVB_EDATA, "more than %d causes one behind the other: a loop?", EVB_DEPTH_MAX);
    if (rc == 0)
        s->header_count = evb_cause_add(&s->cause, s->headers, list->count);
    return rc;
}

static int parse(cmd_session *s, int argc, char **argv, bool *asked) {
    int first, rc;
    s->opt.jobs = s->opt.ready_fd = CMD_NONE;
    s->opt.timeout_ns = 5 * EVB_SECOND_NS;
    int count = take_command(s, argc, argv);
    if ((rc = evb_opts_parse(&OPTS, &s->opt, count, argv, &first, &s->err)) ||
        (rc = program_answer(&OPTS, &s->opt.standard, asked, &s->err)) || *asked)
        return rc;
    count = take_operands(s, count, argc, argv);
    const char *wrong = s->opt.serve ? serve_conflict(&s->opt) : ask_conflict(&s->opt);
    int operands = count - first;
    if (!wrong && (operands < 1 || operands > (s->opt.serve ? 1 : 2)))
        wrong = s->opt.serve ? "--serve wants one TOPIC, then -- CMD; try 'evcmd --help'"
                             : "a TOPIC and at most one PAYLOAD are wanted, or --serve; try 'evcmd --help'";
    if (wrong)
        return evb_fail(&s->err, EVB_EINVAL, "%s", wrong);
    s->topic = argv[first];
    s->payload = operands > 1 ? argv[first + 1] : NULL;
    rc = evb_topic_check(s->topic, strlen(s->topic), &s->err);
    if (rc == 0 && s->opt.command)
        rc = program_find(*s->opt.command, &s->err);
    return rc || s->opt.serve ? rc : set_headers(s);
}

/* ---- asking ---- */

static int read_stdin(cmd_session *s, evb_buf *out) {
    for (;;) {
        if (!evb_buf_reserve(out, READ_SIZE))
            return evb_fail(&s->err, EVB_ENOMEM, "out of memory");
        ssize_t n = read(STDIN_FILENO, out->data + out->size, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return evb_fail_errno(&s->err, EVB_EIO, errno, "stdin");
        if (n == 0)
            return 0;
        out->size += (size_t)n;
        if (out->size > EVB_PAYLOAD_MOST)
            return evb_fail(&s->err, EVB_EDATA, "stdin: more than a hub can take");
    }
}

static bool write_all(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* Prints the answer, and gives the exit code. */
static int print_answer(cmd_session *s, const evb_answer *a, int *sig) {
    write_all(STDERR_FILENO, a->errors, a->errors_size);
    if (!write_all(STDOUT_FILENO, a->data, a->size)) {
        if (errno == EPIPE)
            *sig = SIGPIPE;
        evb_fail_errno(&s->err, EVB_EIO, errno, "stdout");
        if (!*sig)
            say(s->err.text);
        return evb_err_exit(EVB_EIO);
    }
    if (s->opt.verbose && a->seq)
        fprintf(stderr, "evcmd: seq %llu%s\n", (unsigned long long)a->seq,
                a->again ? ": this is the answer that it had before" : "");
    if (a->refused)
        fprintf(stderr, "evcmd: %s: refused: %s\n", s->topic, *a->reason ? a->reason : "no reason given");
    return a->refused ? 1 : 0;
}

static void say_failure(const cmd_session *s) {
    if (s->err.code == EVB_EUNKNOWN)
        fprintf(stderr, "evcmd: %s: outcome unknown: it may have been done: %s\n", s->topic, s->err.text);
    else
        fprintf(stderr, "evcmd: %s: %s%s\n", s->topic, s->err.text,
                s->err.code == EVB_ETIMEDOUT && !strstr(s->err.text, "not done") ? ": not done" : "");
}

static int ask(cmd_session *s, int *sig) {
    evb_buf in = {0};
    evb_answer answer;
    int rc = s->payload ? 0 : read_stdin(s, &in), code;
    evb_event command = {.topic = s->topic,
                         .topic_size = strlen(s->topic),
                         .payload = s->payload ? (const void *)s->payload : in.data,
                         .size = s->payload ? strlen(s->payload) : in.size,
                         .headers = s->headers,
                         .header_count = s->header_count,
                         .id = s->opt.id,
                         .id_size = s->opt.id ? strlen(s->opt.id) : 0};
    const evb_command_options how = {.timeout_ns = s->opt.timeout_ns ? s->opt.timeout_ns : FOR_EVER_NS,
                                     .quiet = s->opt.quiet};
    rc = rc ? rc : evb_bus_call(s->bus, &command, &how, &answer, &s->err);
    if (rc)
        say_failure(s);
    code = rc ? evb_err_exit(rc) : print_answer(s, &answer, sig);
    if (!rc)
        evb_answer_free(&answer);
    evb_buf_free(&in);
    return code;
}

/* ---- the program ---- */

int main(int argc, char **argv) {
    static cmd_session s;
    bool asked = false;
    int sig = 0, code;
    program_hold_descriptors();
    signal(SIGPIPE, SIG_IGN);
    int rc = parse(&s, argc, argv, &asked);
    if (!rc && !asked && s.opt.serve)
        signals_catch(3);
    if (!rc && !asked && !(s.bus = program_bus(s.opt.url, s.opt.timeout_ns, &s.err)))
        rc = s.err.code;
    if (rc)
        say(s.err.text);
    code = rc || asked ? evb_err_exit(rc) : s.opt.serve ? cmd_serve(&s, &sig) : ask(&s, &sig);
    evb_bus_destroy(&s.bus);
    evb_opt_list_free(&s.opt.headers);
    if (sig)
        signals_die_of(sig);
    return code;
}
