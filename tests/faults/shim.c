/* shim.c: a disk on which the power fails, preloaded into one of the programs (scripts/faults).
 *
 * Of the files below FAULTS_DIR it remembers, page by page, what the last fsync had made safe, and which names were made,
 * moved and removed since their directory was synced. At the FAULTS_CUT-th call that would change something, the power
 * fails: each page that no sync has covered is kept or lost by lot, names are lost from some moment on, the call itself is
 * done half, and the process is killed. With FAULTS_AT_EXIT=1 it fails at the process's end at the latest.
 * FAULTS_SHORT, FAULTS_EINTR, FAULTS_ENOSPC, FAULTS_EIO_SYNC: of 1000 calls so many write less than was asked, are
 * interrupted, find the disk full (and 20 more after them), or cannot sync. FAULTS_SEED makes it repeatable; FAULTS_KEEP is
 * a directory on the same file system for what might have to come back.
 *
 * Each function here does its system call itself, so nothing is caught twice. Bounded tables: a test's files are few. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, BUCKETS = 4096, FDS = 4096, OPS = 4096, FILES = 1024, FULL_FOR = 20, OWN_FD = 700 };

typedef struct page {
    struct page *next;
    off_t at;
    size_t size; /* bytes that were there */
    char data[PAGE];
} page;

typedef struct {
    dev_t dev;
    ino_t ino;
    int fd; /* of our own */
    off_t synced_size;
    page *pages[BUCKETS / 64];
} file;

typedef enum { MADE, MADE_DIR, MOVED, REMOVED } op_kind;

typedef struct {
    op_kind kind;
    ino_t parent;
    char path[512], to[512], kept[512];
} op;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char top[PATH_MAX], keep[PATH_MAX];
static file *files[FILES];
static size_t file_count;
static file *by_fd[FDS];
static bool through[FDS]; /* opened with O_DSYNC */
static op ops[OPS];
static size_t op_count;
static unsigned long calls, cut_at, kept_count;
static int full_left;
static uint64_t state = 88172645463325252u;
static bool at_exit, on;

static uint64_t lot(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static long setting(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

static bool chance(const char *name) { return (long)(lot() % 1000) < setting(name); }

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("FAULTS_DIR"), *kept = getenv("FAULTS_KEEP");
    if (!dir || !kept)
        return;
    snprintf(top, sizeof top, "%s/", dir);
    snprintf(keep, sizeof keep, "%s", kept);
    cut_at = (unsigned long)setting("FAULTS_CUT");
    at_exit = setting("FAULTS_AT_EXIT") != 0;
    state += (uint64_t)setting("FAULTS_SEED") * 2654435761u + cut_at * 40503u;
    for (int i = 0; i < 20; i++)
        lot();
    on = true;
}

/* FAULTS_UID: who the program thinks it is, so that root's files lie where everybody else's do. */
uid_t getuid(void) { return getenv("FAULTS_UID") ? (uid_t)setting("FAULTS_UID") : (uid_t)syscall(SYS_getuid); }

/* ---- what was safe ---- */

static page **place_of(file *f, off_t at) { return &f->pages[(at / PAGE) % (BUCKETS / 64)]; }

static page *find_page(file *f, off_t at) {
    page *p = *place_of(f, at);
    while (p && p->at != at)
        p = p->next;
    return p;
}

static void remember_page(file *f, off_t at) {
    if (find_page(f, at))
        return;
    page *p = calloc(1, sizeof *p);
    ssize_t n = at < f->synced_size ? syscall(SYS_pread64, f->fd, p->data, PAGE, at) : 0;
    p->at = at;
    p->size = n > 0 ? (size_t)n : 0;
    p->next = *place_of(f, at);
    *place_of(f, at) = p;
}

static void remember(file *f, off_t from, off_t to) {
    for (off_t at = from / PAGE * PAGE; at < to; at += PAGE)
        remember_page(f, at);
}

static off_t size_of(int fd) {
    struct stat st;
    return fstat(fd, &st) ? 0 : st.st_size;
}

static void forget_pages(file *f) {
    for (size_t i = 0; i < BUCKETS / 64; i++)
        for (page *p; (p = f->pages[i]);) {
            f->pages[i] = p->next;
            free(p);
        }
    f->synced_size = size_of(f->fd);
}

static file *of_fd(int fd) { return on && fd >= 0 && fd < FDS ? by_fd[fd] : NULL; }

static bool below_top(const char *path) { return strncmp(path, top, strlen(top)) == 0; }

static bool path_of(int fd, char out[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* A file that is opened to be written to. */
static void track(int fd, int flags, bool made) {
    char path[PATH_MAX];
    struct stat st;
    if (fd < 0 || fd >= FDS || (flags & O_ACCMODE) == O_RDONLY || !path_of(fd, path) || !below_top(path) ||
        fstat(fd, &st) || !S_ISREG(st.st_mode))
        return;
    file *f = NULL;
    for (size_t i = 0; i < file_count; i++)
        if (files[i]->dev == st.st_dev && files[i]->ino == st.st_ino)
            f = files[i];
    if (!f && file_count < FILES) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int own = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC);
        f = files[file_count++] = calloc(1, sizeof *f);
        f->dev = st.st_dev;
        f->ino = st.st_ino;
        f->fd = fcntl(own, F_DUPFD_CLOEXEC, OWN_FD);
        syscall(SYS_close, own);
        f->synced_size = made ? 0 : st.st_size;
    }
    by_fd[fd] = f;
    through[fd] = flags & (O_DSYNC | O_SYNC);
}

/* ---- names ---- */

/* The absolute path of a name, and its directory's inode. False: not below the directory that is watched. */
static bool resolve(int dir, const char *name, char out[512], ino_t *parent) {
    char way[PATH_MAX], real[PATH_MAX];
    struct stat st;
    snprintf(way, sizeof way, "%s", name);
    for (size_t n = strlen(way); n > 1 && way[n - 1] == '/'; n--)
        way[n - 1] = 0;
    char *slash = strrchr(way, '/');
    const char *base = slash ? slash + 1 : way;
    if (slash)
        *slash = 0;
    int fd = (int)syscall(SYS_openat, dir, !slash ? "." : *way ? way : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && path_of(fd, real) && fstat(fd, &st) == 0;
    if (fd >= 0)
        syscall(SYS_close, fd);
    if (!ok)
        return false;
    snprintf(out, 512, "%.250s/%.250s", real, base);
    *parent = st.st_ino;
    return below_top(out);
}

static op *add_op(op_kind kind, const char *path, ino_t parent) {
    if (op_count == OPS)
        abort();
    op *o = &ops[op_count++];
    *o = (op){.kind = kind, .parent = parent};
    snprintf(o->path, sizeof o->path, "%s", path);
    return o;
}

/* Keeps what lies at `path`, if anything does, under another name. */
static void keep_copy(op *o, const char *path) {
    char name[512];
    snprintf(name, sizeof name, "%.400s/%d.%lu", keep, (int)getpid(), kept_count++);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, name, 0) == 0)
        snprintf(o->kept, sizeof o->kept, "%s", name);
}

static void undo(op *o) {
    if (o->kind == MADE)
        syscall(SYS_unlinkat, AT_FDCWD, o->path, 0);
    else if (o->kind == MADE_DIR)
        syscall(SYS_unlinkat, AT_FDCWD, o->path, AT_REMOVEDIR);
    else if (o->kind == MOVED)
        syscall(SYS_renameat, AT_FDCWD, o->to, AT_FDCWD, o->path);
    if (*o->kept)
        syscall(SYS_renameat, AT_FDCWD, o->kept, AT_FDCWD, o->kind == MOVED ? o->to : o->path);
}

static void names_safe(ino_t dir) {
    size_t left = 0;
    for (size_t i = 0; i < op_count; i++)
        if (ops[i].parent != dir)
            ops[left++] = ops[i];
        else if (*ops[i].kept)
            syscall(SYS_unlinkat, AT_FDCWD, ops[i].kept, 0);
    op_count = left;
}

/* ---- the cut ---- */

/* mode 0: nothing that was not synced is left; 1: all is; 2: each page by lot. */
static void lose_pages(file *f, unsigned mode) {
    static const char zeros[PAGE];
    off_t now = size_of(f->fd), size = mode == 0 || (mode == 2 && lot() % 2) ? f->synced_size : now;
    if (mode == 1)
        return;
    for (size_t i = 0; i < BUCKETS / 64; i++)
        for (page *p = f->pages[i]; p; p = p->next) {
            if (mode == 2 && lot() % 2)
                continue;
            syscall(SYS_pwrite64, f->fd, zeros, PAGE, p->at);
            syscall(SYS_pwrite64, f->fd, p->data, p->size, p->at);
        }
    syscall(SYS_ftruncate, f->fd, size);
}

static void lose(void) {
    unsigned mode = (unsigned)(lot() % 4);
    for (size_t i = 0; i < file_count; i++)
        lose_pages(files[i], mode == 3 ? (unsigned)(lot() % 3) : mode);
    size_t left = mode == 0 ? 0 : mode == 1 ? op_count : (size_t)(lot() % (op_count + 1));
    while (op_count > left)
        undo(&ops[--op_count]);
}

static void cut(const char *what) {
    char text[128];
    int n = snprintf(text, sizeof text, "shim: the power fails at call %lu, %s\n", calls, what);
    on = false;
    lose();
    syscall(SYS_write, 2, text, n);
    syscall(SYS_kill, getpid(), SIGKILL);
}

/* Before each call that changes something. */
static void step(const char *what) {
    if (++calls == cut_at)
        cut(what);
}

__attribute__((destructor)) static void end(void) {
    if (on && at_exit)
        lose();
}

/* ---- writing ---- */

/* How much of a write is done: all, less, or none and errno. A write at which the power fails is done half. */
static ssize_t allow(file *f, size_t size, off_t at) {
    if (calls + 1 == cut_at) {
        calls++;
        return size > 1 ? (ssize_t)(lot() % size) + 1 : (ssize_t)size;
    }
    calls++;
    if (full_left > 0 || chance("FAULTS_ENOSPC")) {
        full_left = full_left > 0 ? full_left - 1 : FULL_FOR;
        errno = ENOSPC;
        return -1;
    }
    if (chance("FAULTS_EINTR")) {
        errno = EINTR;
        return -1;
    }
    (void)f;
    (void)at;
    return chance("FAULTS_SHORT") && size > 1 ? (ssize_t)(lot() % (size - 1)) + 1 : (ssize_t)size;
}

static ssize_t do_write(int fd, const void *data, size_t size, off_t at, bool here) {
    pthread_mutex_lock(&lock);
    file *f = by_fd[fd];
    off_t place = here ? lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR) : at;
    ssize_t n = allow(f, size, place);
    if (n >= 0) {
        remember(f, place, place + n);
        n = here ? syscall(SYS_write, fd, data, n) : syscall(SYS_pwrite64, fd, data, n, at);
        if (n > 0 && through[fd])
            for (off_t p = place / PAGE * PAGE; p < place + n; p += PAGE) {
                page *old = find_page(f, p);
                old->size = (size_t)syscall(SYS_pread64, f->fd, old->data, PAGE, p);
                if (f->synced_size < p + (off_t)old->size)
                    f->synced_size = p + (off_t)old->size;
            }
    }
    int why = errno;
    if (calls == cut_at)
        cut("a write");
    pthread_mutex_unlock(&lock);
    errno = why;
    return n;
}

ssize_t write(int fd, const void *data, size_t size) {
    return of_fd(fd) ? do_write(fd, data, size, 0, true) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return of_fd(fd) ? do_write(fd, data, size, at, false) : syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return pwrite(fd, data, size, at); }

static ssize_t do_writev(int fd, const struct iovec *v, int count, off_t at, bool here) {
    size_t size = 0, used = 0;
    for (int i = 0; i < count; i++)
        size += v[i].iov_len;
    char *all = malloc(size + 1);
    for (int i = 0; i < count; used += v[i++].iov_len)
        memcpy(all + used, v[i].iov_base, v[i].iov_len);
    ssize_t n = do_write(fd, all, size, at, here);
    free(all);
    return n;
}

ssize_t writev(int fd, const struct iovec *v, int count) {
    return of_fd(fd) ? do_writev(fd, v, count, 0, true) : syscall(SYS_writev, fd, v, count);
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t at) {
    return of_fd(fd) ? do_writev(fd, v, count, at, false) : syscall(SYS_pwritev, fd, v, count, at, 0);
}

ssize_t pwritev64(int fd, const struct iovec *v, int count, off_t at) { return pwritev(fd, v, count, at); }

int ftruncate(int fd, off_t size) {
    file *f = of_fd(fd);
    if (!f)
        return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    step("a truncate");
    remember(f, size, size_of(fd));
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_unlock(&lock);
    return rc;
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

/* ---- syncing ---- */

static int do_sync(int fd, long number) {
    struct stat st;
    file *f = of_fd(fd);
    if (!on || (!f && (fstat(fd, &st) || !S_ISDIR(st.st_mode))))
        return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    step("a sync");
    bool fails = chance("FAULTS_EIO_SYNC");
    if (!fails && f)
        forget_pages(f);
    else if (!fails)
        names_safe(st.st_ino);
    pthread_mutex_unlock(&lock);
    errno = EIO;
    return fails ? -1 : 0;
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }

int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

/* ---- opening and names ---- */

static int do_open(int dir, const char *name, int flags, mode_t mode) {
    char path[512];
    ino_t parent;
    struct stat st;
    bool ours = on && (flags & O_CREAT) && resolve(dir, name, path, &parent);
    bool made = ours && lstat(path, &st) < 0;
    pthread_mutex_lock(&lock);
    if (made)
        step("a new name");
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
    int why = errno;
    if (on && fd >= 0) {
        if (made)
            add_op(MADE, path, parent);
        track(fd, flags, made);
    }
    pthread_mutex_unlock(&lock);
    errno = why;
    return fd;
}

static mode_t mode_from(int flags, va_list args) { return flags & O_CREAT ? (mode_t)va_arg(args, int) : 0; }

#define WITH_MODE(DIR)                                                                                               \
    va_list args;                                                                                                    \
    va_start(args, flags);                                                                                           \
    mode_t mode = mode_from(flags, args);                                                                            \
    va_end(args);                                                                                                    \
    return do_open(DIR, name, flags, mode)

int open(const char *name, int flags, ...) { WITH_MODE(AT_FDCWD); }
int open64(const char *name, int flags, ...) { WITH_MODE(AT_FDCWD); }
int openat(int dir, const char *name, int flags, ...) { WITH_MODE(dir); }
int openat64(int dir, const char *name, int flags, ...) { WITH_MODE(dir); }

int close(int fd) {
    if (on && fd >= 0 && fd < FDS)
        by_fd[fd] = NULL;
    return (int)syscall(SYS_close, fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    char path[512], target[512];
    ino_t parent;
    if (!on || !resolve(from_dir, from, path, &parent) || !resolve(to_dir, to, target, &parent))
        return (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
    pthread_mutex_lock(&lock);
    step("a rename");
    op *o = add_op(MOVED, path, parent);
    snprintf(o->to, sizeof o->to, "%s", target);
    keep_copy(o, target);
    int rc = (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
    op_count -= rc != 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int dir, const char *name, int flags) {
    char path[512];
    ino_t parent;
    if (!on || (flags & AT_REMOVEDIR) || !resolve(dir, name, path, &parent))
        return (int)syscall(SYS_unlinkat, dir, name, flags);
    pthread_mutex_lock(&lock);
    step("a removal");
    op *o = add_op(REMOVED, path, parent);
    keep_copy(o, path);
    int rc = (int)syscall(SYS_unlinkat, dir, name, flags);
    op_count -= rc != 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int mkdir(const char *name, mode_t mode) {
    char path[512];
    ino_t parent;
    bool ours = on && resolve(AT_FDCWD, name, path, &parent);
    pthread_mutex_lock(&lock);
    if (ours)
        step("a new directory");
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    int why = errno;
    if (ours && rc == 0)
        add_op(MADE_DIR, path, parent);
    pthread_mutex_unlock(&lock);
    errno = why;
    return rc;
}
