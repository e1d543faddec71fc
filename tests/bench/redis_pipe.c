/* redis_pipe.c: stdin's lines to a Redis stream, and a consumer group's lines to stdout, through hiredis.
 *
 *   redis_pipe pub PORT STREAM                  XADD of each line, up to WINDOW of them under way; ends when all are in
 *   redis_pipe group PORT STREAM GROUP MEMBER   XREADGROUP, up to TAKE lines at once; each is acknowledged (XACK) when
 *                                               it was written to stdout; until it is killed
 *
 * Pipelined, as Redis is fastest: many XADD go out together, and the XACK of one piece with the XREADGROUP of the next.
 * `group` makes the group at the stream's end, and the stream, if they are not there, and says `ready` on stderr. */
#include "line.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, WINDOW = 1000, TAKE = 1000, OUTPUT_BUFFER = 1 << 20 };

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

/* ---- pub ---- */

typedef struct {
    redisContext *redis;
    const char *stream;
    size_t owed; /* replies */
} publisher;

static void add_line(void *context, const char *line, size_t size, int64_t read_ns) {
    publisher *pub = context;
    const char *argv[] = {"XADD", pub->stream, "*", "p", line};
    const size_t sizes[] = {4, strlen(pub->stream), 1, 1, size};
    (void)read_ns;
    if (redisAppendCommandArgv(pub->redis, 5, argv, sizes) != REDIS_OK)
        die("XADD", pub->redis->errstr);
    pub->owed++;
}

static void publish_lines(redisContext *redis, const char *stream) {
    publisher pub = {redis, stream, 0};
    line_reader reader;
    if (!line_reader_open(&reader, 2 * CHUNK))
        die("pub", "out of memory");
    while (line_reader_read(&reader, STDIN_FILENO, add_line, &pub) > 0)
        forget_replies(redis, &pub.owed, WINDOW);
    forget_replies(redis, &pub.owed, 0);
    line_reader_close(&reader);
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
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *value = entries->element[i]->element[1]->element[1];
        fwrite(value->str, 1, value->len, stdout);
        putchar('\n');
    }
    if (fflush(stdout) != 0)
        die("stdout", "cannot write");
}

static _Noreturn void work(redisContext *redis, const char *stream, const char *group, const char *member) {
    size_t owed = 0;
    setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
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

int main(int argc, char **argv) {
    bool publish = argc == 4 && strcmp(argv[1], "pub") == 0;
    if (!publish && (argc != 6 || strcmp(argv[1], "group") != 0)) {
        fprintf(stderr, "usage: redis_pipe pub PORT STREAM | redis_pipe group PORT STREAM GROUP MEMBER\n");
        return 2;
    }
    redisContext *redis = redisConnect("127.0.0.1", atoi(argv[2]));
    if (redis == NULL || redis->err)
        die("cannot connect", redis != NULL ? redis->errstr : "out of memory");
    if (!publish)
        work(redis, argv[3], argv[4], argv[5]);
    publish_lines(redis, argv[3]);
    redisFree(redis);
    return 0;
}
