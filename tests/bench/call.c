/* call.c: round trips of one caller, one after the other: a command through a hub, or the same bytes through raw libzmq.
 *
 *   call URL COUNT [quiet|log [WINDOW]]   a handler process serves bench.call through libevbus; this one asks it COUNT times,
 *                              with so many (1) under way at once
 *   call raw DIR COUNT         REQ, a ROUTER/DEALER proxy (zmq_proxy), REP: three processes, over ipc sockets in DIR
 *
 * Prints "RATE P50_US P99_US": round trips a second and their times. The payload and the answer have 100 bytes. */
#include "evbus.h"
#include "line.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

enum { SIZE = 100, WARM_UP = 200 };
static const int64_t SECOND_NS = 1000000000;
static const char TOPIC[] = "bench.call";

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "call: %s: %s\n", what, why);
    exit(1);
}

/* ---- the figures ---- */

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

typedef void ask_fn(void *context);

static void measure(size_t count, ask_fn *ask, void *context) {
    int64_t *times = calloc(count, sizeof *times);
    if (!times)
        die("figures", "out of memory");
    for (size_t i = 0; i < WARM_UP; i++)
        ask(context);
    int64_t begun = line_now_ns(), before = begun;
    for (size_t i = 0; i < count; i++) {
        ask(context);
        int64_t now = line_now_ns();
        times[i] = now - before;
        before = now;
    }
    qsort(times, count, sizeof *times, ascending);
    printf("%.0f %.1f %.1f\n", (double)count / ((double)(before - begun) / 1e9), (double)times[count / 2] / 1e3,
           (double)times[count * 99 / 100] / 1e3);
    free(times);
}

/* A child that ends with us; 0 in it. */
static pid_t begin_child(void) {
    pid_t pid = fork();
    if (pid < 0)
        die("fork", "failed");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void end_child(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- through the hub ---- */

static void ready(void *context, evb_note note, uint64_t value) {
    int fd = *(int *)context;
    (void)value;
    if (note == EVB_NOTE_SUBSCRIBED && write(fd, "\n", 1) != 1)
        die("handler", "cannot say that it is ready");
}

static _Noreturn void handle(const char *url, size_t window, int fd) {
    evb_error err = {0};
    evb_event command;
    uint64_t number;
    evb_bus *bus = evb_bus_new(url, 0, &err);
    const evb_serve_options options = {.topic = TOPIC, .jobs = window, .note = ready, .note_context = &fd};
    evb_serve *serve = bus ? evb_serve_new(bus, &options, &err) : NULL;
    for (int rc = serve ? 0 : err.code; rc >= 0;) {
        rc = evb_serve_next(serve, &command, &number, &err);
        if (rc == EVB_EVENT)
            rc = evb_serve_answer(serve, number, &(evb_answer){.data = command.payload, .size = command.size}, &err);
        else if (rc == EVB_NOTHING)
            rc = evb_bus_wait(bus, NULL, 0, -1, &err);
    }
    die("handler", err.text);
}

typedef struct {
    evb_bus *bus;
    bool quiet;
} caller;

static void ask_hub(void *context) {
    const caller *c = context;
    char payload[SIZE] = "";
    evb_error err = {0};
    evb_answer answer;
    const evb_event command = {.topic = TOPIC, .topic_size = sizeof TOPIC - 1, .payload = payload, .size = SIZE};
    const evb_command_options options = {.quiet = c->quiet};
    if (evb_bus_call(c->bus, &command, &options, &answer, &err))
        die("call", err.text);
    if (answer.refused || answer.size != SIZE)
        die("call", "not the answer");
    evb_answer_free(&answer);
}

static void came(void *context, int code, evb_answer *answer, const evb_error *why) {
    if (code || answer->refused || answer->size != SIZE)
        die("call", code ? why->text : "not the answer");
    ++*(size_t *)context;
}

/* With many under way: the rate alone. */
static void measure_window(caller *c, size_t count, size_t window) {
    char payload[SIZE] = "";
    size_t asked = 0, answered = 0;
    evb_error err = {0};
    const evb_event command = {.topic = TOPIC, .topic_size = sizeof TOPIC - 1, .payload = payload, .size = SIZE};
    const evb_command_options options = {.quiet = c->quiet};
    int64_t begun = line_now_ns();
    while (answered < count) {
        for (; asked < count && asked - answered < window; asked++)
            if (evb_bus_ask(c->bus, &command, &options, came, &answered, &err))
                die("call", err.text);
        if (evb_bus_wait(c->bus, NULL, 0, -1, &err) < 0)
            die("call", err.text);
    }
    printf("%.0f\n", (double)count / ((double)(line_now_ns() - begun) / 1e9));
}

static void through_hub(const char *url, size_t count, bool quiet, size_t window) {
    int fds[2];
    char byte;
    evb_error err = {0};
    if (pipe(fds))
        die("pipe", "failed");
    pid_t handler = begin_child();
    if (handler == 0)
        handle(url, window, fds[1]);
    close(fds[1]);
    if (read(fds[0], &byte, 1) != 1)
        die("handler", "did not become ready");
    caller c = {evb_bus_new(url, 10 * SECOND_NS, &err), quiet};
    if (!c.bus)
        die(url, err.text);
    if (window > 1)
        measure_window(&c, count, window);
    else
        measure(count, ask_hub, &c);
    evb_bus_destroy(&c.bus);
    end_child(handler);
}

/* ---- raw ---- */

static void *open_socket(void *context, int type, const char *url, bool binds) {
    void *socket = zmq_socket(context, type);
    if (!socket || (binds ? zmq_bind(socket, url) : zmq_connect(socket, url)))
        die(url, zmq_strerror(errno));
    return socket;
}

static _Noreturn void reply(const char *url) {
    void *socket = open_socket(zmq_ctx_new(), ZMQ_REP, url, false);
    char data[SIZE];
    for (;;)
        if (zmq_recv(socket, data, SIZE, 0) != SIZE || zmq_send(socket, data, SIZE, 0) != SIZE)
            die("REP", zmq_strerror(errno));
}

static _Noreturn void pass_on(const char *front, const char *back) {
    void *context = zmq_ctx_new();
    void *router = open_socket(context, ZMQ_ROUTER, front, true),
         *dealer = open_socket(context, ZMQ_DEALER, back, true);
    zmq_proxy(router, dealer, NULL);
    die("proxy", zmq_strerror(errno));
}

static void ask_raw(void *socket) {
    char data[SIZE] = "";
    if (zmq_send(socket, data, SIZE, 0) != SIZE || zmq_recv(socket, data, SIZE, 0) != SIZE)
        die("REQ", zmq_strerror(errno));
}

static void through_proxy(const char *dir, size_t count) {
    char front[256], back[256];
    snprintf(front, sizeof front, "ipc://%s/front", dir);
    snprintf(back, sizeof back, "ipc://%s/back", dir);
    pid_t proxy = begin_child();
    if (proxy == 0)
        pass_on(front, back);
    pid_t handler = begin_child();
    if (handler == 0)
        reply(back);
    void *context = zmq_ctx_new(), *socket = open_socket(context, ZMQ_REQ, front, false);
    measure(count, ask_raw, socket);
    zmq_close(socket);
    zmq_ctx_term(context);
    end_child(handler);
    end_child(proxy);
}

int main(int argc, char **argv) {
    bool raw = argc == 4 && strcmp(argv[1], "raw") == 0;
    size_t count = argc > 2 ? strtoull(argv[raw ? 3 : 2], NULL, 10) : 0;
    if (argc < 3 || argc > 5 || !count) {
        fprintf(stderr, "usage: call URL COUNT [quiet|log [WINDOW]] | call raw DIR COUNT\n");
        return 2;
    }
    if (raw)
        through_proxy(argv[2], count);
    else
        through_hub(argv[1], count, argc > 3 && strcmp(argv[3], "quiet") == 0,
                    argc > 4 ? strtoull(argv[4], NULL, 10) : 1);
    return 0;
}
