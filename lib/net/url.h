/* url.h: from a hub's URL to its two ZeroMQ endpoints. */
#ifndef EVB_URL_H
#define EVB_URL_H

#include "evbus.h"

enum { EVB_ENDPOINT_MAX = 300 };

typedef struct {
    bool ipc;
    char dir[EVB_ENDPOINT_MAX];     /* ipc: the directory of both sockets; else empty */
    char request[EVB_ENDPOINT_MAX]; /* where the ROUTER is */
    char feed[EVB_ENDPOINT_MAX];    /* where the XPUB is */
    bool loopback;                  /* tcp: the host is this machine */
} evb_url;

/* Takes ipc://DIR or tcp://HOST:PORT (the feed is at PORT + 1) apart. EVB_EINVAL naming what is wrong. */
int evb_url_parse(const char *text, evb_url *out, evb_error *err);

#endif
