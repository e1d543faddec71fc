/* evctl_files.c: verify and repair, which read the journal's files themselves, so that they work when no hub can start.
 *
 * repair holds the journal's lock while it works; verify holds it only for a look at the catalog, where no hub has it: it
 * may run beside one.
 * Leaves to others: what damage is (lib/journal/verify, and each file's own). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/paths.h"
#include "base/units.h"
#include "evctl.h"
#include "hub/group_log.h"
#include "hub/schedule_log.h"
#include "journal/catalog.h"
#include "journal/gone.h"
#include "journal/segment.h"
#include "journal/verify.h"

static void print_verification(const evctl *self, const char *dir, const evb_verification *v) {
    if (self->o.json)
        printf("{\"segments\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"damages\":%" PRIu64 ",\"lost\":%" PRIu64
               ",\"tail_bytes\":%" PRIu64 "}\n",
               v->segments, v->records, v->events, v->bytes, v->first, v->last, v->damages, v->lost, v->tail_bytes);
    else
        printf("%s: %" PRIu64 " event%s in %" PRIu64 " batch%s and %" PRIu64 " segment%s, seqs %" PRIu64
               " to %" PRIu64 ": %" PRIu64 " damaged place%s, %" PRIu64 " seq%s lost\n",
               dir, v->events, evb_plural(v->events), v->records, v->records == 1 ? "" : "es", v->segments,
               evb_plural(v->segments), v->first, v->last, v->damages, evb_plural(v->damages), v->lost,
               evb_plural(v->lost));
}

int evctl_check_journal(const char *dir, evb_error *err) {
    struct stat st;
    uint64_t *firsts = NULL;
    size_t count = 0;
    if (stat(dir, &st) || (errno = ENOTDIR, !S_ISDIR(st.st_mode)) || access(dir, R_OK | X_OK))
        return evb_fail_errno(err, errno == EACCES ? EVB_EPERM : EVB_EINVAL, errno, "%s", dir);
    evb_io *io = evb_io_disk_new(dir, err);
    int rc = io ? evb_segment_list(io, &firsts, &count, err) : err->code;
    if (rc == 0 && !count)
        rc = evb_fail(err, EVB_EINVAL, "%.400s: no segments there: not a journal's directory", dir);
    free(firsts);
    evb_io_destroy(&io);
    return rc;
}

/* The journal's directory, for the caller to free. It must be there: nothing is made. */
static char *find_dir(const evctl *self, evb_error *err) {
    const evb_environment env = {
        getenv("EVBUS_URL"), getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"), geteuid(), NULL};
    if (self->o.url) {
        evb_fail(err, EVB_EINVAL, "-u: files are looked at, and no hub is asked: -d DIR says which");
        return NULL;
    }
    char *dir = self->o.dir ? strdup(self->o.dir) : evb_paths_state(&env, err);
    if (dir && evctl_check_journal(dir, err)) {
        free(dir);
        return NULL;
    }
    return dir;
}

/* Up to which seq all was on disk, as the catalog says; 0: it cannot be asked. The caller holds the journal's lock. */
static uint64_t noted_in(const char *dir) {
    char path[4096];
    evb_error err;
    snprintf(path, sizeof path, "%s/catalog.mdb", dir);
    evb_catalog *catalog = access(path, R_OK | W_OK) ? NULL : evb_catalog_new(path, &err);
    uint64_t seq = catalog ? evb_catalog_seq(catalog) : 0;
    evb_catalog_destroy(&catalog);
    return seq;
}

/* The same, or 0 where a hub is running: it has looked itself. */
static uint64_t noted_if_free(const char *dir) {
    char path[4096];
    evb_error err;
    snprintf(path, sizeof path, "%s/lock", dir);
    int lock = access(path, W_OK) ? -1 : evb_lock_take(path, &err);
    uint64_t seq = lock < 0 ? 0 : noted_in(dir);
    if (lock >= 0)
        close(lock);
    return seq;
}

/* The files beside the segments, and what is to be done about damage, which repair leaves alone; what comes first is to be
 * done first. */
static const char MOVE_AWAY[] = "bring back a good scheduled.log, or move it away: no hub starts with this one";
static const char START[] = "start a hub: it goes on with what is whole, and keeps the damaged file";
static const struct {
    int (*verify)(evb_io *io, evb_log log, evb_error *err);
    const char *remedy;
} LOGS[] = {{evb_schedule_log_verify, MOVE_AWAY}, {evb_gone_verify, START}, {evb_group_log_verify, START}};

/* Looks at the files beside the segments too; each that is damaged counts as one place. */
static int verify_all(const evctl *self, const char *dir, evb_io *io, evb_verification *v, evb_error *err) {
    evb_error why;
    int rc = evb_journal_verify(io, self->log, noted_if_free(dir), v, err);
    for (size_t i = 0; (rc == 0 || rc == EVB_EDAMAGED) && i < sizeof LOGS / sizeof *LOGS; i++) {
        int found = LOGS[i].verify(io, self->log, &why);
        if (found == EVB_EDAMAGED && rc == 0)
            rc = evb_fail(err, EVB_EDAMAGED, "journal: the events are whole, what stands beside them is not; %s",
                          LOGS[i].remedy);
        else if (found && found != EVB_EDAMAGED)
            rc = evb_fail(err, found, "%s", why.text);
        v->damages += found == EVB_EDAMAGED;
    }
    return rc;
}

int evctl_verify(evctl *self, evb_error *err) {
    evb_verification v = {0};
    char *dir = find_dir(self, err);
    evb_io *io = dir ? evb_io_disk_new(dir, err) : NULL;
    int rc = io ? verify_all(self, dir, io, &v, err) : err->code;
    if (rc == 0 || rc == EVB_EDAMAGED)
        print_verification(self, dir, &v);
    evb_io_destroy(&io);
    free(dir);
    return rc;
}

/* Takes the lock, repairs, and has the catalog built anew by the next start. */
static int repair_in(const evctl *self, const char *dir, evb_io *io, evb_error *err) {
    char path[4096];
    evb_verification v = {0};
    snprintf(path, sizeof path, "%s/lock", dir);
    int lock = evb_lock_take(path, err);
    if (lock < 0)
        return lock;
    int rc = evb_journal_repair(io, self->log, noted_in(dir), &v, err);
    snprintf(path, sizeof path, "%s/catalog.mdb", dir);
    if (rc == 0 && v.damages && unlink(path) && errno != ENOENT)
        rc = evb_fail_errno(err, EVB_EIO, errno, "%s: cannot remove", path);
    if (rc == 0)
        print_verification(self, dir, &v);
    close(lock);
    return rc;
}

int evctl_repair(evctl *self, evb_error *err) {
    char *dir = find_dir(self, err);
    evb_io *io = dir ? evb_io_disk_new(dir, err) : NULL;
    int rc = io ? repair_in(self, dir, io, err) : err->code;
    evb_io_destroy(&io);
    free(dir);
    return rc;
}
