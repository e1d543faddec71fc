/* evctl_unfinished.c: what is not whole yet does not outlive a signal.
 *
 * The handler removes it and ends the process, wherever that waits: for the disk, or for a hub. So it calls nothing but
 * what is safe there (signal-safety(7); getdents64(2) in the place of readdir(3)), and nobody has to look at a flag.
 * The state is the process's, as signal handlers are. Leaves to others: errors, after which the command removes it. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "evctl.h"
#include "signals.h"

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP};
enum { COUNT = sizeof SIGNALS / sizeof *SIGNALS };
static const char *volatile unfinished;
static sigset_t before; /* what was blocked */

/* Removes the files of a directory; . and .. are none. */
static void empty(int dir) {
    static _Alignas(struct dirent64) char entries[32 * 1024];
    const struct dirent64 *entry;
    ssize_t size;
    while ((size = getdents64(dir, entries, sizeof entries)) > 0)
        for (ssize_t at = 0; at < size; at += entry->d_reclen) {
            entry = (const void *)(entries + at);
            unlinkat(dir, entry->d_name, 0);
        }
}

static _Noreturn void on_signal(int sig) {
    int dir = open(unfinished, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir >= 0) {
        empty(dir);
        rmdir(unfinished);
    } else {
        unlink(unfinished);
    }
    signals_die_of(sig);
}

void evctl_begin_unfinished(void) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < COUNT; i++)
        sigaddset(&set, SIGNALS[i]);
    sigprocmask(SIG_BLOCK, &set, &before);
}

void evctl_unfinished(const char *path) {
    struct sigaction end = {.sa_handler = path ? on_signal : SIG_DFL}, old;
    sigfillset(&end.sa_mask);
    if (path)
        unfinished = path;
    for (size_t i = 0; i < COUNT; i++)
        if (sigaction(SIGNALS[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) /* of nohup(1): it stays so */
            sigaction(SIGNALS[i], &end, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
}
