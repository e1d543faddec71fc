/* link.h: the client's transport: connections to a hub, and waiting on them.
 *
 * Nothing here shows ZeroMQ: another transport is another link.c. No call blocks but evb_link_wait. A connection that
 * is lost is never made again behind the caller's back: it says DOWN, and evb_channel_open makes a fresh one. */
#ifndef EVB_LINK_H
#define EVB_LINK_H

#include "evbus.h"

typedef struct evb_link evb_link;

/* For the hub at url. NULL and *err: EVB_EINVAL, EVB_ENOMEM, EVB_EIO. */
evb_link *evb_link_new(const char *url, evb_error *err);

/* Closes it; its channels must be gone. */
void evb_link_destroy(evb_link **self);

/* Why there is no connection: EVB_EPERM, or EVB_ENOHUB; *hopeless when waiting would not help: it is not permitted,
 * or there has never been a hub. */
int evb_link_explain(const evb_link *self, bool *hopeless, evb_error *err);

typedef enum { EVB_CHANNEL_REQUESTS, EVB_CHANNEL_FEED } evb_channel_kind;
typedef enum { EVB_CHANNEL_CLOSED, EVB_CHANNEL_CONNECTING, EVB_CHANNEL_UP, EVB_CHANNEL_DOWN } evb_channel_state;

typedef struct evb_channel evb_channel;

/* A channel, closed. NULL: out of memory. */
evb_channel *evb_channel_new(evb_link *link, evb_channel_kind kind);
void evb_channel_destroy(evb_channel **self);

/* Connects afresh; what was under way on an earlier connection is dropped. EVB_EIO, EVB_ENOMEM. */
int evb_channel_open(evb_channel *self, evb_error *err);
void evb_channel_close(evb_channel *self);

/* How it stands; takes in what has become known of the connection. */
evb_channel_state evb_channel_look(evb_channel *self);

/* Whether somebody took the connection, even if they have not said a word: a hub that is stopped. */
bool evb_channel_reached(evb_channel *self);

/* Whether there was a hub on it since it was opened. */
bool evb_channel_was_up(evb_channel *self);

/* Whether evb_link_wait wakes up for what arrives; at first it does. */
void evb_channel_listen(evb_channel *self, bool on);

/* Sends a head (copied) and, if size is not 0, a body: borrowed until release(hint) is called, from any thread.
 * False when it cannot be sent; release is called then, too. */
bool evb_channel_send(evb_channel *self, const void *head, size_t head_size, void *body, size_t size,
                      void (*release)(void *data, void *hint), void *hint);

/* Asks for frames that begin with prefix. */
bool evb_channel_subscribe(evb_channel *self, const void *prefix, size_t size);

/* A part of a message received; its bytes may be written to. */
typedef struct {
    uint8_t *data;
    size_t size;
    void *handle; /* NULL: nothing to free */
} evb_message;

/* Receives a message of up to two parts: 1, with an empty second part where there is none; 0: nothing there. */
int evb_channel_receive(evb_channel *self, evb_message *first, evb_message *second);
void evb_message_free(evb_message *self);

/* Whether there is something to receive. */
bool evb_channel_has(evb_channel *self);

/* Waits until something arrives or changes on a channel, one of fds is ready, or timeout_ns has passed (negative: no
 * bound). Returns how many fds are ready, or EVB_EIO. Returns early on a signal. */
int evb_link_wait(evb_link *self, struct pollfd *fds, size_t count, int64_t timeout_ns, evb_error *err);

#endif
