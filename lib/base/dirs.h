/* dirs.h: directories that are still there after a power failure. */
#ifndef EVB_DIRS_H
#define EVB_DIRS_H

/* Makes the directory and its parents as far as they are missing, mode 0700, and syncs the directory in which each
 * new name stands: fsync(2) of a file does not make its name last. 0; -1 and errno. Blocks on the disk. */
int evb_dirs_make(const char *path);

/* The same for the directories on the way to the file `path`. */
int evb_dirs_make_way(const char *path);

/* Syncs the directory in which the name `path` stands. 0; -1 and errno. Blocks on the disk. */
int evb_dirs_sync_place(const char *path);

#endif
