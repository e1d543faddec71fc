/* zmq_fanout.c: what libzmq alone does with one publisher and many subscribers.
 *
 *   zmq_fanout SUBSCRIBERS COUNT SIZE URL
 *
 * Sends COUNT lines of SIZE bytes, each a message, to SUBSCRIBERS processes with a SUB socket, each of which checks
 * that all came in order. Prints a JSON object: lines received a second over all subscribers, from the first line
 * sent to the last one received. The socket is an XPUB, which is a PUB that tells who has subscribed: nothing is sent
 * before all have. XPUB_NODROP makes it wait for the slowest subscriber, so that none loses a line. */
#include "line.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

enum { HIGH_WATER = 10000, WAIT_MS = 10000 };

static _Noreturn void die(const char *what) {
    fprintf(stderr, "zmq_fanout: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(2);
}

static void set_int(void *socket, int option, int value) {
    if (zmq_setsockopt(socket, option, &value, sizeof value) != 0)
        die("zmq_setsockopt");
}

/* A subscriber's life; exit status 0: all came in order. */
static int subscribe(const char *url, uint64_t count) {
    char line[LINE_MAX + 1];
    line_tally tally;
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_SUB);
    set_int(socket, ZMQ_RCVHWM, HIGH_WATER);
    set_int(socket, ZMQ_RCVTIMEO, WAIT_MS);
    if (!line_tally_open(&tally, count) || zmq_connect(socket, url) != 0 ||
        zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0) != 0)
        die("subscriber");
    while (tally.received < count) {
        uint64_t index;
        int64_t sent_ns;
        int got = zmq_recv(socket, line, LINE_MAX, 0);
        if (got < 0)
            break;
        line[got] = 0;
        if (line_parse(line, (size_t)got, &index, &sent_ns))
            line_tally_add(&tally, index);
    }
    return line_tally_whole(&tally) ? 0 : 1;
}

static void start_subscribers(size_t subscribers, const char *url, uint64_t count) {
    for (size_t i = 0; i < subscribers; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        _exit(subscribe(url, count));
    }
}

static void await_subscriptions(void *socket, size_t subscribers) {
    char message[16];
    for (size_t i = 0; i < subscribers; i++) {
        if (zmq_recv(socket, message, sizeof message, 0) < 0)
            die("a subscription does not come");
    }
}

static void send_lines(void *socket, uint64_t count, size_t size) {
    char line[LINE_MAX + 1];
    for (uint64_t i = 0; i < count; i++) {
        size_t made = line_make(line, size, i, line_now_ns());
        if (zmq_send(socket, line, made - 1, 0) < 0)
            die("zmq_send");
    }
}

/* Returns how many of the children got everything. */
static size_t await_children(void) {
    size_t whole = 0;
    int status;
    while (wait(&status) > 0)
        whole += status == 0;
    return whole;
}

int main(int argc, char **argv) {
    size_t subscribers = argc == 5 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t count = argc == 5 ? strtoull(argv[2], NULL, 10) : 0;
    size_t size = argc == 5 ? strtoull(argv[3], NULL, 10) : 0;
    if (subscribers == 0 || count == 0 || size < LINE_MIN || size > LINE_MAX) {
        fprintf(stderr, "usage: zmq_fanout SUBSCRIBERS COUNT SIZE URL\n");
        return 2;
    }
    start_subscribers(subscribers, argv[4], count);
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_XPUB);
    set_int(socket, ZMQ_SNDHWM, HIGH_WATER);
    set_int(socket, ZMQ_XPUB_VERBOSE, 1);
    set_int(socket, ZMQ_XPUB_NODROP, 1);
    set_int(socket, ZMQ_RCVTIMEO, WAIT_MS);
    set_int(socket, ZMQ_SNDTIMEO, WAIT_MS);
    if (zmq_bind(socket, argv[4]) != 0)
        die(argv[4]);
    await_subscriptions(socket, subscribers);
    int64_t start_ns = line_now_ns();
    send_lines(socket, count, size);
    size_t whole = await_children();
    double wall_s = (double)(line_now_ns() - start_ns) / 1e9;
    printf("{\"subscribers\":%zu,\"whole\":%zu,\"rate\":%.0f,\"wall_s\":%.3f}\n", subscribers, whole,
           (double)whole * (double)count / wall_s, wall_s);
    return whole == subscribers ? 0 : 1;
}
