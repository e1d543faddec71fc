/* nats_pipe.c: stdin's lines to NATS, and NATS to stdout's lines, through libnats.
 *
 *   nats_pipe pub|sub URL SUBJECT        NATS core: stores nothing
 *   nats_pipe jspub URL SUBJECT          JetStream: to the stream BENCH on files; all acknowledged when it exits
 *   nats_pipe jssub URL SUBJECT COUNT    replays the stream's first COUNT messages in order
 *   nats_pipe jsmake URL SUBJECT NAME    makes the stream and a durable pull consumer
 *   nats_pipe jsgroup URL SUBJECT NAME   one who works for it: a durable pull consumer: fetches up to FETCH at once and acknowledges each
 *                                        when it was written to stdout; until it is killed
 *
 * Publishing is asynchronous, as libnats does it fastest. `sub` and `jsgroup` say `ready` on stderr once the server has
 * their subscription; sub and jssub flush stdout whenever no message is waiting. The messages come in a thread of
 * libnats', the one user of stdout; the main thread only waits for `done`. */
#include <inttypes.h>
#include <nats/nats.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT_BUFFER = 1 << 20, ACK_WAIT_MS = 120000, FETCH = 1000, ACKS_PENDING = 65536 };
static const int64_t FETCH_NS = 1000 * INT64_C(1000000000);

typedef struct {
    uint64_t want; /* 0: without end */
    uint64_t got;
    bool done;
    pthread_mutex_t lock; /* guards done */
    pthread_cond_t ended;
} sink;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "nats_pipe: %s\n", what);
    nats_PrintLastErrorStack(stderr);
    _exit(1);
}

static void must(natsStatus status, const char *what) {
    if (status != NATS_OK)
        die(what);
}

static void finish(sink *out) {
    pthread_mutex_lock(&out->lock);
    out->done = true;
    pthread_cond_signal(&out->ended);
    pthread_mutex_unlock(&out->lock);
}

static void take(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *context) {
    sink *out = context;
    int waiting = 0;
    (void)nc;
    if (out->want > 0 && out->got >= out->want) {
        natsMsg_Destroy(msg);
        return;
    }
    fwrite(natsMsg_GetData(msg), 1, (size_t)natsMsg_GetDataLength(msg), stdout);
    putchar('\n');
    natsMsg_Destroy(msg);
    out->got++;
    natsSubscription_GetPending(sub, &waiting, NULL);
    if (waiting == 0 || out->got == out->want)
        fflush(stdout);
    if (out->got == out->want)
        finish(out);
}

static jsCtx *open_stream(natsConnection *nc, const char *subject) {
    jsCtx *js = NULL;
    jsStreamConfig config;
    must(natsConnection_JetStream(&js, nc, NULL), "no JetStream");
    jsStreamConfig_Init(&config);
    config.Name = "BENCH";
    config.Subjects = &subject;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    must(js_AddStream(NULL, js, &config, NULL, NULL), "cannot add the stream");
    return js;
}

static void publish_lines(natsConnection *nc, jsCtx *js, const char *subject) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    while ((size = getline(&line, &capacity, stdin)) > 0) {
        int length = (int)(line[size - 1] == '\n' ? size - 1 : size);
        must(js != NULL ? js_PublishAsync(js, subject, line, length, NULL)
                        : natsConnection_Publish(nc, subject, line, length),
             "cannot publish");
    }
    free(line);
    if (js != NULL) {
        jsPubOptions options;
        jsPubOptions_Init(&options);
        options.MaxWait = ACK_WAIT_MS;
        must(js_PublishAsyncComplete(js, &options), "not all was acknowledged");
    }
    must(natsConnection_Flush(nc), "cannot flush");
}

static natsStatus subscribe(natsSubscription **sub, natsConnection *nc, jsCtx *js, const char *subject, sink *out) {
    jsSubOptions options;
    if (js == NULL)
        return natsConnection_Subscribe(sub, nc, subject, take, out);
    jsSubOptions_Init(&options);
    options.Ordered = true;
    return js_Subscribe(sub, js, subject, take, out, NULL, &options, NULL);
}

static void print_messages(natsConnection *nc, jsCtx *js, const char *subject, uint64_t want) {
    sink out = {.want = want, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    natsSubscription *sub = NULL;
    setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
    must(subscribe(&sub, nc, js, subject, &out), "cannot subscribe");
    must(natsSubscription_SetPendingLimits(sub, -1, -1), "cannot lift the limits");
    must(natsConnection_Flush(nc), "cannot flush");
    if (js == NULL)
        fputs("ready\n", stderr);
    pthread_mutex_lock(&out.lock);
    while (!out.done)
        pthread_cond_wait(&out.ended, &out.lock);
    pthread_mutex_unlock(&out.lock);
    natsSubscription_Destroy(sub);
}

static void print_and_ack(natsMsgList *list) {
    for (int i = 0; i < list->Count; i++) {
        fwrite(natsMsg_GetData(list->Msgs[i]), 1, (size_t)natsMsg_GetDataLength(list->Msgs[i]), stdout);
        putchar('\n');
    }
    if (fflush(stdout) != 0)
        _exit(1); /* libnats cleans up at exit(), under its own threads */
    for (int i = 0; i < list->Count; i++)
        must(natsMsg_Ack(list->Msgs[i], NULL), "cannot acknowledge");
    natsMsgList_Destroy(list);
}

/* there: the consumer is only to be found. */
static natsSubscription *open_consumer(jsCtx *js, const char *subject, const char *name, bool there) {
    natsSubscription *sub = NULL;
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.Config.AckPolicy = js_AckExplicit;
    options.Config.MaxAckPending = ACKS_PENDING;
    if (there) {
        options.Stream = "BENCH";
        options.Consumer = name;
    }
    must(js_PullSubscribe(&sub, js, subject, name, NULL, &options, NULL), "cannot subscribe");
    return sub;
}

/* What is there now, or the next when it comes. No request expires with messages on their way: libnats 3.4 takes those
 * in addition to what the next request asked for, and writes behind its list. */
static natsStatus fetch(natsMsgList *list, natsSubscription *sub, int batch, bool now) {
    jsFetchRequest request;
    jsFetchRequest_Init(&request);
    request.Batch = batch;
    request.NoWait = now;
    request.Expires = FETCH_NS;
    return natsSubscription_FetchRequest(list, sub, &request);
}

static _Noreturn void work(natsSubscription *sub) {
    setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
    fputs("ready\n", stderr);
    for (;;) {
        natsMsgList list = {0};
        natsStatus status = fetch(&list, sub, FETCH, true);
        if (status == NATS_NOT_FOUND || status == NATS_TIMEOUT)
            status = fetch(&list, sub, 1, false);
        must(status, "cannot fetch");
        print_and_ack(&list);
    }
}

/* jsmake, or jsgroup when the stream is there. */
static _Noreturn void serve_group(natsConnection *nc, const char *what, const char *subject, const char *name) {
    jsCtx *js = NULL;
    if (strcmp(what, "jsgroup") == 0) {
        must(natsConnection_JetStream(&js, nc, NULL), "no JetStream");
        work(open_consumer(js, subject, name, true));
    }
    open_consumer(open_stream(nc, subject), subject, name, false);
    _exit(0); /* destroying the subscription would delete the consumer */
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: nats_pipe pub|sub|jspub|jssub|jsmake|jsgroup URL SUBJECT [COUNT|NAME]\n");
        return 2;
    }
    bool stream = strncmp(argv[1], "js", 2) == 0;
    bool publisher = strcmp(argv[1] + (stream ? 2 : 0), "pub") == 0;
    natsConnection *nc = NULL;
    must(natsConnection_ConnectTo(&nc, argv[2]), "cannot connect");
    if (argc > 4 && (strcmp(argv[1], "jsmake") == 0 || strcmp(argv[1], "jsgroup") == 0))
        serve_group(nc, argv[1], argv[3], argv[4]);
    jsCtx *js = stream ? open_stream(nc, argv[3]) : NULL;
    if (publisher)
        publish_lines(nc, js, argv[3]);
    else
        print_messages(nc, js, argv[3], argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    jsCtx_Destroy(js);
    natsConnection_Destroy(nc);
    return 0;
}
