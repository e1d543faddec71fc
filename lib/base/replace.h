/* replace.h: a file that is replaced and never overwritten: after a crash at any time either the old or the new one is
 * there, whole.
 *
 *   int fd = evb_replace_open(path, temporary, &err);
 *   ... write to fd ...
 *   rc = evb_replace_commit(fd, path, temporary, &err);      or evb_replace_abandon(fd, temporary) */
#ifndef EVB_REPLACE_H
#define EVB_REPLACE_H

#include "evbus.h"

/* Opens `temporary`, which must lie in path's directory, for writing: new and empty, with the permissions of the file at
 * `path` where there is one, else 0644 less the umask. Makes the directories that it wants (mode 0700). A descriptor;
 * or EVB_EPERM, EVB_EIO. */
int evb_replace_open(const char *path, const char *temporary, evb_error *err);

/* Syncs fd, renames the temporary over path and syncs the directory. Closes fd in any case; when it fails, the
 * temporary is removed. Blocks on the disk. EVB_EPERM, EVB_EIO. */
int evb_replace_commit(int fd, const char *path, const char *temporary, evb_error *err);

/* Makes each directory on the way to the file at `path` (mode 0700). EVB_EPERM, EVB_EIO. */
int evb_replace_way(const char *path, evb_error *err);

/* Closes fd and removes the temporary. */
void evb_replace_abandon(int fd, const char *temporary);

/* Fills in *err from errno for `path`: EVB_EPERM or EVB_EIO, which it returns. */
int evb_replace_fail(const char *path, evb_error *err);

#endif
