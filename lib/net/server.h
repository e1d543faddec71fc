/* server.h: the hub's sockets and its loop. */
#ifndef EVB_SERVER_H
#define EVB_SERVER_H

#include "base/log.h"
#include "hub/hub.h"

typedef struct evb_server evb_server;

typedef struct {
    const char *const *urls; /* ipc://DIR, tcp://HOST:PORT (loopback only); borrowed while the server lives */
    size_t url_count;
    size_t max_payload;
    int64_t tend_ns; /* how often the journal is tended */
} evb_server_options;

/* Takes each ipc directory's lock, then binds: requests and feed of every URL, over one hub and its journal, both
 * borrowed. A stale socket is taken over. NULL and *err: EVB_EBUSY naming who holds it, EVB_EPERM (a directory that
 * others may enter), EVB_EINVAL, EVB_EIO. */
evb_server *evb_server_new(const evb_server_options *options, evb_hub *hub, evb_journal *journal, evb_log log,
                           evb_error *err);

/* Closes the sockets, removes the ipc ones and gives the locks back. */
void evb_server_destroy(evb_server **self);

/* Serves until signal_fd is readable (0), or until the journal fails (EVB_EIO): then nothing more is acknowledged. */
int evb_server_run(evb_server *self, int signal_fd, evb_error *err);

/* Takes in what clients have already sent and answers it: the last round of an orderly end. Errors as run. */
int evb_server_finish(evb_server *self, evb_error *err);

#endif
