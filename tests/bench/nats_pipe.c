/* nats_pipe.c: stdin's lines to NATS, and NATS to stdout's lines, through libnats.
 *
 *   nats_pipe pub|sub URL SUBJECT        NATS core: stores nothing
 *   nats_pipe jspub URL SUBJECT          JetStream: to the stream BENCH on files; all acknowledged when it exits
 *   nats_pipe pubnow|jspubnow ...        the same, each line sent at once (for latency), not a millisecond's together
 *   nats_pipe jsone URL SUBJECT PAYLOAD  one message; acknowledged when it exits
 *   nats_pipe jssub URL SUBJECT [COUNT]  replays the stream's first COUNT messages in order; without COUNT what comes
 *   nats_pipe jsmake URL SUBJECT [NAME]  makes the stream, and a durable pull consumer NAME
 *   nats_pipe jsgroup URL SUBJECT NAME   one who works for it: fetches up to FETCH at once and acknowledges each when it
 *                                        was written to stdout; until it is killed
 *
 * SUBJECT - of a publisher: each line is a subject, a TAB and the payload. The stream takes bench.>.
 * Publishing is asynchronous, as libnats does it fastest. `sub`, `jssub` without COUNT and `jsgroup` say `ready` on
 * stderr once the server has their subscription; sub and jssub flush stdout whenever no message is waiting. The messages come in a
 * thread of libnats', the one user of stdout; the main thread only waits for `done`. */
#include <inttypes.h>
#include <nats/nats.h>
#include <pthread.h>
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

static jsCtx *open_jetstream(natsConnection *nc) {
    jsCtx *js = NULL;
    must(natsConnection_JetStream(&js, nc, NULL), "no JetStream");
    return js;
}

static void make_stream(jsCtx *js) {
    const char *subjects = "bench.>";
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = "BENCH";
    config.Subjects = &subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    must(js_AddStream(NULL, js, &config, NULL, NULL), "cannot add the stream");
}

static void publish_line(natsConnection *nc, jsCtx *js, const char *subject, char *line, size_t size) {
    if (strcmp(subject, "-") == 0) {
        char *tab = memchr(line, '\t', size);
        if (tab == NULL)
            die("a line without a TAB");
        *tab = 0;
        subject = line;
        size -= (size_t)(tab + 1 - line);
        line = tab + 1;
    }
    must(js != NULL ? js_PublishAsync(js, subject, line, (int)size, NULL)
                    : natsConnection_Publish(nc, subject, line, (int)size),
         "cannot publish");
}

static void publish_lines(natsConnection *nc, jsCtx *js, const char *subject) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    while ((size = getline(&line, &capacity, stdin)) > 0)
        publish_line(nc, js, subject, line, (size_t)(line[size - 1] == '\n' ? size - 1 : size));
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
    options.Config.DeliverPolicy = out->want > 0 ? js_DeliverAll : js_DeliverNew;
    return js_Subscribe(sub, js, subject, take, out, NULL, &options, NULL);
}

static void print_messages(natsConnection *nc, jsCtx *js, const char *subject, uint64_t want) {
    sink out = {.want = want, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    natsSubscription *sub = NULL;
    setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
    must(subscribe(&sub, nc, js, subject, &out), "cannot subscribe");
    must(natsSubscription_SetPendingLimits(sub, -1, -1), "cannot lift the limits");
    must(natsConnection_Flush(nc), "cannot flush");
    if (want == 0)
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

/* What needs the stream, by name; without the one publisher and reader, which is all that core NATS has, too. */
static void use_stream(jsCtx *js, const char *what, const char *subject, const char *more) {
    if (strcmp(what, "make") == 0) {
        make_stream(js);
        if (more != NULL)
            open_consumer(js, subject, more, false);
    } else if (strcmp(what, "group") == 0 && more != NULL) {
        work(open_consumer(js, subject, more, true));
    } else if (strcmp(what, "one") == 0 && more != NULL) {
        must(js_Publish(NULL, js, subject, more, (int)strlen(more), NULL, NULL), "cannot publish");
    } else {
        die("no such use");
    }
}

static natsConnection *connect_to(const char *url, bool now) {
    natsConnection *nc = NULL;
    natsOptions *options = NULL;
    must(natsOptions_Create(&options), "options");
    must(natsOptions_SetURL(options, url), url);
    must(natsOptions_SetSendAsap(options, now), "options");
    must(natsConnection_Connect(&nc, options), "cannot connect");
    natsOptions_Destroy(options);
    return nc;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr,
                "usage: nats_pipe [js]pub[now]|[js]sub|jsone|jsmake|jsgroup URL SUBJECT [COUNT|NAME|PAYLOAD]\n");
        return 2;
    }
    bool stream = strncmp(argv[1], "js", 2) == 0;
    const char *what = argv[1] + (stream ? 2 : 0);
    const char *more = argc > 4 ? argv[4] : NULL;
    natsConnection *nc = connect_to(argv[2], strcmp(what, "pubnow") == 0);
    jsCtx *js = stream ? open_jetstream(nc) : NULL;
    if (strncmp(what, "pub", 3) == 0)
        publish_lines(nc, js, argv[3]);
    else if (strcmp(what, "sub") == 0)
        print_messages(nc, js, argv[3], more != NULL ? strtoull(more, NULL, 10) : 0);
    else
        use_stream(js, what, argv[3], more);
    fflush(stdout);
    _exit(0); /* destroying a durable consumer's subscription would delete the consumer */
}
