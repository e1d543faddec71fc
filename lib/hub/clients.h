/* clients.h: who listens: whose feed is connected, what they say of themselves ("hello"), and who the kernel says they
 * are. */
#ifndef EVB_CLIENTS_H
#define EVB_CLIENTS_H

#include <sys/queue.h>

#include "event/topic.h"
#include "hub/hub.h"
#include "hub/reports.h"

/* One subscription's connection to the feed, named by the token of its welcome; its own id outlives connections. */
typedef struct evb_client {
    TAILQ_ENTRY(evb_client) link;
    evb_origin origin;
    int64_t since_ns;               /* since the epoch */
    uint64_t position, losses;      /* as it said last */
    uint64_t lag;                   /* when it said so */
    uint64_t handed, handed_before; /* events handed on; as of the hello before */
    int64_t heard_ns, before_ns;    /* monotonic: the last hello, and the one before */
    evb_patterns *patterns;         /* or NULL */
    evb_report report;
    char kind[16], group[132];
    size_t id_size, token_size;
    char id[64], token[64];
} evb_client;

TAILQ_HEAD(evb_client_list, evb_client);

/* There is a connection of this token, from which a welcome was asked for. Beyond a bound they are not listed. */
void evb_clients_came(struct evb_client_list *list, const char *token, size_t size, evb_origin origin,
                      int64_t now_ns);

/* It is gone. */
void evb_clients_left(struct evb_client_list *list, const char *token, size_t size);
void evb_clients_clear(struct evb_client_list *list);

/* The client of this connection, or NULL. */
const evb_client *evb_clients_find(const struct evb_client_list *list, const char *token, size_t size);

/* Whether there is such a connection, as far as is known. */
bool evb_clients_has(const struct evb_client_list *list, const char *token, size_t size);
size_t evb_clients_count(const struct evb_client_list *list);

#endif
