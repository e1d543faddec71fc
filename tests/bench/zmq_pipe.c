/* zmq_pipe.c: stdin's lines to raw libzmq, and libzmq to stdout's lines: what the transport alone does.
 *
 *   zmq_pipe pub URL SUBSCRIBERS   binds, waits for so many subscriptions, sends each line as a message
 *   zmq_pipe sub URL               connects; until it is killed. Says `ready` on stderr
 *
 * Each flushes what it has whenever its input has nothing more at once. The publisher's socket is an XPUB, a PUB that
 * tells who has subscribed: nothing is sent before all have. XPUB_NODROP makes it wait for the slowest subscriber, so
 * that none loses a line. Stores nothing, and nobody says ok. */
#include "line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

enum { HIGH_WATER = 10000, RECONNECT_MS = 1, OUTPUT_BUFFER = 1 << 20 };

static _Noreturn void die(const char *what) {
    fprintf(stderr, "zmq_pipe: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static void set_int(void *socket, int option, int value) {
    if (zmq_setsockopt(socket, option, &value, sizeof value) != 0)
        die("zmq_setsockopt");
}

static void send_line(void *context, const char *line, size_t size, int64_t read_ns) {
    (void)read_ns;
    if (zmq_send(context, line, size, 0) < 0)
        die("zmq_send");
}

static void publish(void *context, const char *url, size_t subscribers) {
    void *socket = zmq_socket(context, ZMQ_XPUB);
    char subscription[16];
    line_reader reader;
    set_int(socket, ZMQ_SNDHWM, HIGH_WATER);
    set_int(socket, ZMQ_XPUB_VERBOSE, 1);
    set_int(socket, ZMQ_XPUB_NODROP, 1);
    if (!line_reader_open(&reader, 2 * LINE_MAX) || zmq_bind(socket, url) != 0)
        die(url);
    for (size_t i = 0; i < subscribers; i++)
        if (zmq_recv(socket, subscription, sizeof subscription, 0) < 0)
            die("a subscription does not come");
    while (line_reader_read(&reader, STDIN_FILENO, send_line, socket) > 0)
        continue;
    line_reader_close(&reader);
    zmq_close(socket);
    zmq_ctx_term(context); /* waits until all is sent */
}

static _Noreturn void subscribe(void *context, const char *url) {
    void *socket = zmq_socket(context, ZMQ_SUB);
    zmq_msg_t message;
    zmq_msg_init(&message);
    setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
    set_int(socket, ZMQ_RCVHWM, HIGH_WATER);
    set_int(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    if (zmq_connect(socket, url) != 0 || zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0) != 0)
        die(url);
    fputs("ready\n", stderr);
    for (;;) {
        int got = zmq_msg_recv(&message, socket, ZMQ_DONTWAIT);
        if (got < 0 && zmq_errno() == EAGAIN && fflush(stdout) == 0)
            got = zmq_msg_recv(&message, socket, 0);
        if (got < 0)
            die("zmq_msg_recv");
        fwrite(zmq_msg_data(&message), 1, zmq_msg_size(&message), stdout);
        putchar('\n');
    }
}

int main(int argc, char **argv) {
    bool publishes = argc == 4 && strcmp(argv[1], "pub") == 0;
    if (!publishes && (argc != 3 || strcmp(argv[1], "sub") != 0)) {
        fprintf(stderr, "usage: zmq_pipe pub URL SUBSCRIBERS | zmq_pipe sub URL\n");
        return 2;
    }
    void *context = zmq_ctx_new();
    if (!publishes)
        subscribe(context, argv[2]);
    publish(context, argv[2], strtoull(argv[3], NULL, 10));
    return 0;
}
