/* lock.h: a lock file that names its holder. */
#ifndef EVB_LOCK_H
#define EVB_LOCK_H

#include "evbus.h"

/* Takes the lock on `path` (made if missing, mode 0600) and writes the pid into it. Returns a descriptor that holds
 * it until it is closed or the process ends, however it ends. EVB_EBUSY naming the holder's pid, EVB_EIO, EVB_EPERM.
 * flock(2): the file stays; only the lock on it tells. Does not block. */
int evb_lock_take(const char *path, evb_error *err);

#endif
