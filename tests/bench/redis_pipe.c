/* redis_pipe.c: stdin's lines to Redis, and Redis to stdout's lines, through hiredis over the server's Unix socket.
 *
 *   redis_pipe pub SOCKET STREAM                  XADD of each line, up to WINDOW of them under way; ends when all are in
 *   redis_pipe read SOCKET STREAM [COUNT]         XREAD from the stream's start, up to TAKE lines at once; ends after COUNT
 *   redis_pipe group SOCKET STREAM GROUP MEMBER   XREADGROUP, up to TAKE lines at once; each is acknowledged (XACK) when
 *                                                 it was written to stdout; until it is killed
 *   redis_pipe say SOCKET CHANNEL                 PUBLISH of each line
 *   redis_pipe hear SOCKET CHANNEL                SUBSCRIBE; until it is killed
 *
 * STREAM - of pub: each line is a stream, a TAB and the payload.
 * Pipelined, as Redis is fastest: many XADD go out together, and the XACK of one piece with the XREADGROUP of the next.
 * `group` makes the group at the stream's end, and the stream, if they are not there; it, `hear` and `read` without COUNT
 * say `ready` on stderr. */
#include "line.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 1000, TAKE = 1000, OUTPUT_BUFFER = 1 << 20 };

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "redis_pipe: %s: %s\n", what, why);
    exit(1);
}

static redisReply *next_reply(redisContext *redis) {
    void *reply = NULL;
    if (redisGetReply(redis, &reply) != REDIS_OK)
        die("no reply", redis->errstr);
    return reply;
}

static void forget_replies(redisContext *redis, size_t *owed, size_t most) {
    while (*owed > most) {
        redisReply *reply = next_reply(redis);
        if (reply->type == REDIS_REPLY_ERROR)
            die("refused", reply->str);
        freeReplyObject(reply);
        --*owed;
    }
}

/* ---- pub, say ---- */

typedef struct {
    redisContext *redis;
    const char *to; /* a stream or a channel */
    bool stored;
    size_t owed; /* replies */
} publisher;

static void add_line(void *context, const char *line, size_t size, int64_t read_ns) {
    publisher *pub = context;
    const char *to = pub->to, *payload = line;
    size_t to_size = strlen(to);
    (void)read_ns;
    if (pub->stored && strcmp(to, "-") == 0) {
        const char *tab = memchr(line, '\t', size);
        if (tab == NULL)
            die("stdin", "a line without a TAB");
        to = line;
        to_size = (size_t)(tab - line);
        payload = tab + 1;
        size -= to_size + 1;
    }
    const char *add[] = {"XADD", to, "*", "p", payload}, *say[] = {"PUBLISH", to, payload};
    const size_t add_sizes[] = {4, to_size, 1, 1, size}, say_sizes[] = {7, to_size, size};
    if ((pub->stored ? redisAppendCommandArgv(pub->redis, 5, add, add_sizes)
                     : redisAppendCommandArgv(pub->redis, 3, say, say_sizes)) != REDIS_OK)
        die("cannot publish", pub->redis->errstr);
    pub->owed++;
}

static void send_all(redisContext *redis) {
    int done = 0;
    while (!done)
        if (redisBufferWrite(redis, &done) != REDIS_OK)
            die("cannot send", redis->errstr);
}

static void publish_lines(redisContext *redis, const char *to, bool stored) {
    publisher pub = {redis, to, stored, 0};
    line_reader reader;
    if (!line_reader_open(&reader, 2 * LINE_MAX))
        die("pub", "out of memory");
    while (line_reader_read(&reader, STDIN_FILENO, add_line, &pub) > 0) {
        send_all(redis);
        forget_replies(redis, &pub.owed, WINDOW);
    }
    forget_replies(redis, &pub.owed, 0);
    line_reader_close(&reader);
}

/* ---- hear ---- */

static void print_line(const redisReply *text) {
    fwrite(text->str, 1, text->len, stdout);
    putchar('\n');
}

/* The next message that has been read from the socket; NULL: none. */
static redisReply *buffered_reply(redisContext *redis) {
    void *reply = NULL;
    if (redisGetReplyFromReader(redis, &reply) != REDIS_OK)
        die("SUBSCRIBE", redis->errstr);
    return reply;
}

static _Noreturn void hear(redisContext *redis, const char *channel) {
    freeReplyObject(redisCommand(redis, "SUBSCRIBE %s", channel));
    fputs("ready\n", stderr);
    for (;;) {
        redisReply *reply = buffered_reply(redis);
        if (reply == NULL) {
            fflush(stdout);
            reply = next_reply(redis);
        }
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
            die("SUBSCRIBE", "an answer of another form");
        print_line(reply->element[2]);
        freeReplyObject(reply);
    }
}

/* ---- group ---- */

static void make_group(redisContext *redis, const char *stream, const char *group) {
    redisReply *reply = redisCommand(redis, "XGROUP CREATE %s %s $ MKSTREAM", stream, group);
    if (reply == NULL)
        die("XGROUP", redis->errstr);
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "BUSYGROUP", 9) != 0)
        die("XGROUP", reply->str);
    freeReplyObject(reply);
}

static void ask_for_more(redisContext *redis, const char *stream, const char *group, const char *member) {
    if (redisAppendCommand(redis, "XREADGROUP GROUP %s %s COUNT %d BLOCK 0 STREAMS %s >", group, member, TAKE,
                           stream) != REDIS_OK)
        die("XREADGROUP", redis->errstr);
}

static void acknowledge(redisContext *redis, const char *stream, const char *group, redisReply *const *entries,
                        size_t count) {
    const char *argv[3 + TAKE] = {"XACK", stream, group};
    size_t sizes[3 + TAKE] = {4, strlen(stream), strlen(group)};
    for (size_t i = 0; i < count; i++) {
        argv[3 + i] = entries[i]->element[0]->str;
        sizes[3 + i] = entries[i]->element[0]->len;
    }
    if (redisAppendCommandArgv(redis, (int)(3 + count), argv, sizes) != REDIS_OK)
        die("XACK", redis->errstr);
}

/* The entries [[id, [name, value]]…] of the reply's one stream. */
static const redisReply *entries_of(const redisReply *reply) {
    if (reply->type == REDIS_REPLY_ERROR)
        die("XREADGROUP", reply->str);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1 || reply->element[0]->elements != 2 ||
        reply->element[0]->element[1]->elements > TAKE)
        die("XREADGROUP", "an answer of another form");
    return reply->element[0]->element[1];
}

static void print_entries(const redisReply *entries) {
    for (size_t i = 0; i < entries->elements; i++)
        print_line(entries->element[i]->element[1]->element[1]);
    if (fflush(stdout) != 0)
        die("stdout", "cannot write");
}

/* ---- read ---- */

/* What comes while a piece is written comes with the next. */
static void read_stream(redisContext *redis, const char *stream, uint64_t want) {
    char last[64] = "0-0";
    if (want == 0)
        fputs("ready\n", stderr);
    for (uint64_t got = 0; want == 0 || got < want;) {
        redisReply *reply = redisCommand(redis, "XREAD COUNT %d BLOCK 0 STREAMS %s %s", TAKE, stream, last);
        if (reply == NULL)
            die("XREAD", redis->errstr);
        const redisReply *entries = entries_of(reply);
        print_entries(entries);
        got += entries->elements;
        snprintf(last, sizeof last, "%s", entries->element[entries->elements - 1]->element[0]->str);
        freeReplyObject(reply);
    }
}

static _Noreturn void work(redisContext *redis, const char *stream, const char *group, const char *member) {
    size_t owed = 0;
    make_group(redis, stream, group);
    fputs("ready\n", stderr);
    for (;;) {
        ask_for_more(redis, stream, group, member);
        forget_replies(redis, &owed, 0); /* of the XACK before it */
        redisReply *reply = next_reply(redis);
        const redisReply *entries = entries_of(reply);
        print_entries(entries);
        acknowledge(redis, stream, group, entries->element, entries->elements);
        owed = 1;
        freeReplyObject(reply);
    }
}

static int usage(void) {
    fprintf(stderr, "usage: redis_pipe pub|read|say|hear SOCKET STREAM [COUNT]\n"
                    "       redis_pipe group SOCKET STREAM GROUP MEMBER\n");
    return 2;
}

int main(int argc, char **argv) {
    if (argc < 4)
        return usage();
    const char *what = argv[1], *name = argv[3];
    redisContext *redis = redisConnectUnix(argv[2]);
    if (redis == NULL || redis->err)
        die("cannot connect", redis != NULL ? redis->errstr : "out of memory");
    setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
    if (strcmp(what, "pub") == 0 || strcmp(what, "say") == 0)
        publish_lines(redis, name, what[0] == 'p');
    else if (strcmp(what, "hear") == 0)
        hear(redis, name);
    else if (strcmp(what, "read") == 0)
        read_stream(redis, name, argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    else if (strcmp(what, "group") == 0 && argc == 6)
        work(redis, name, argv[4], argv[5]);
    else
        return usage();
    redisFree(redis);
    return 0;
}
