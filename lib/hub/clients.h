/* clients.h: who listens: what subscriptions say of themselves ("hello"), and who the kernel says they are. */
#ifndef EVB_CLIENTS_H
#define EVB_CLIENTS_H

#include <sys/queue.h>

#include "event/topic.h"
#include "hub/hub.h"

/* One subscription, named by an id of its own; its feed's connection is named by the token. */
typedef struct evb_client {
    TAILQ_ENTRY(evb_client) link;
    evb_origin origin;
    int64_t since_ns;               /* since the epoch */
    uint64_t position, losses;      /* as it said last */
    uint64_t handed, handed_before; /* events handed on; as of the hello before */
    int64_t heard_ns, before_ns;    /* monotonic: the last hello, and the one before */
    evb_patterns *patterns;         /* or NULL */
    char kind[16], group[132];
    size_t id_size, token_size;
    char id[64], token[64];
} evb_client;

TAILQ_HEAD(evb_client_list, evb_client);

/* The connection of this token is gone. */
void evb_clients_left(struct evb_client_list *list, const char *token, size_t size);
void evb_clients_clear(struct evb_client_list *list);
size_t evb_clients_count(const struct evb_client_list *list);

#endif
