/* limits.h: every limit of an event and of what carries it. Checked before anything is allocated. */
#ifndef EVB_LIMITS_H
#define EVB_LIMITS_H

#include "evbus.h" /* EVB_TOPIC_MAX, EVB_ID_MAX */

/* Attempts in vain at the event SEQ of a group are kept on $failed.GROUP.SEQ. */
#define EVB_FAILED_PREFIX "$failed."
/* What an edited dead letter is stored on, and the header that says which topic it is of for a handler. */
#define EVB_RETRY_PREFIX "$retry."
#define EVB_RETRY_TOPIC "retry-topic"

enum {
    EVB_TOPIC_TOKENS_MAX = 16,
    EVB_PRODUCER_SIZE = 16,
    EVB_HEADER_COUNT_MAX = 64,            /* headers of one event */
    EVB_HEADER_ROOM = 76,                 /* as read: those, and what the hub adds to dead letters and retries */
    EVB_HEADERS_MAX = 64 * 1024,          /* bytes of one event's headers, encoded */
    EVB_HEADERS_OWN = 2048,               /* bytes of those that the hub adds */
    EVB_BATCH_SOFT = 64 * 1024,           /* a batch is sent when it has grown to this */
    EVB_PAYLOAD_DEFAULT = 1024 * 1024,    /* evbusd --max-payload */
    EVB_PAYLOAD_MOST = 256 * 1024 * 1024, /* what --max-payload may be set to */
    EVB_PAYLOAD_ASK = 64 * 1024,          /* a larger one makes the publisher ask for the hub's limit first */
    EVB_FETCH_DEFAULT = 512 * 1024,       /* bytes of records in one reply */
    EVB_FETCH_PIECE = 1024 * 1024,        /* where some are read that are not handed on at once */
    EVB_FETCH_MOST = 4 * 1024 * 1024,     /* as many as a round of the hub takes in */
    EVB_FETCH_LENIENT = 1,                /* flag of a fetch: what is left is good enough */
    EVB_GROUP_NAME_MAX = 128,
    EVB_GROUP_TOKENS_MAX = EVB_TOPIC_TOKENS_MAX - 2, /* $failed.GROUP.SEQ is a topic */
    EVB_BACKOFF_MAX = 16,                            /* waits between a group's deliveries */
    EVB_REASON_MAX = 400,                            /* bytes of why an event failed */
    EVB_OUTPUT_MAX = 16 * 1024,                      /* bytes of an attempt's output that are kept: the last */
    EVB_ERRORS_SENT_MAX = 16 * 1024, /* bytes of what a handler says beside its answer: the last ones */
    EVB_PATTERNS_MAX = 1024,         /* patterns of one request */
    EVB_TOPICS_PAGE_MAX = 4096,      /* topics in one reply */
    EVB_REQUEST_MAX = 512 * 1024     /* bytes of a request's first frame */
};

#endif
