/* evctl: looks at a hub and its journal: status, verify, repair.
 *
 * status asks the hub. verify and repair read the journal's files themselves, so that they work when no hub can start;
 * repair holds the journal's lock while it works, and verify needs none: it may run beside a hub.
 * Leaves to others: what damage is (lib/journal/verify). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/opts.h"
#include "base/paths.h"
#include "base/units.h"
#include "evctl_top.h"
#include "evctl_transfer.h"
#include "journal/verify.h"

typedef struct {
    evb_opts_standard standard;
    const char *url, *dir;
    int64_t timeout_ns;
    bool json;
    const char *from, *to, *output;
    uint64_t after;
    bool allow_gap, dry_run;
} options;

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address (also EVBUS_URL)", NULL},
    {'d', "dir", EVB_OPT_STRING, offsetof(options, dir), NULL, "DIR", "the journal's directory", "@dir"},
    {'J', "json", EVB_OPT_FLAG, offsetof(options, json), NULL, NULL, "one JSON object instead of text", NULL},
    {0, "from", EVB_OPT_STRING, offsetof(options, from), NULL, "POSITION",
     "export: begin at first, last, a SEQ, a TIME, or -N back", "first last today yesterday 10m 1h 1d -10"},
    {0, "to", EVB_OPT_STRING, offsetof(options, to), NULL, "SEQ|TIME", "export: end with that seq, or at that time",
     "now today yesterday 10m 1h 1d"},
    {0, "allow-gap", EVB_OPT_FLAG, offsetof(options, allow_gap), NULL, NULL, "export: what is left is enough", NULL},
    {'o', "output", EVB_OPT_STRING, offsetof(options, output), NULL, "FILE", "export: write to FILE", "@file"},
    {0, "after", EVB_OPT_NUMBER, offsetof(options, after), NULL, "SEQ", "import: only what is behind SEQ of the file",
     NULL},
    {'n', "dry-run", EVB_OPT_FLAG, offsetof(options, dry_run), NULL, NULL, "import: only check the file", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub (5; 0: for ever)", NULL},
    EVB_OPTS_STANDARD(options, standard),
};

static const evb_opts OPTS = {"evctl",
                              "[OPTION]... status\n[OPTION]... verify\n[OPTION]... repair",
                              "Looks at a hub (status) or at its journal (verify), or cuts damage out of a journal\n"
                              "whose hub is stopped (repair).",
                              ROWS,
                              sizeof ROWS / sizeof *ROWS,
                              "status verify repair"};

static void say(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "evctl: %s\n", text);
}

static const evb_log LOG = {say, NULL};

static evb_environment environment(void) {
    return (evb_environment){getenv("EVBUS_URL"), getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"),
                             geteuid()};
}

/* ---- status ---- */

static void print_status(const options *o, const char *url, const evb_status *s) {
    char now[EVB_TIME_TEXT];
    uint64_t events = s->head + 1 - s->first;
    evb_time_text(s->time_ns, now);
    if (o->json)
        printf("{\"url\":\"%s\",\"pid\":%" PRId64 ",\"first\":%" PRIu64 ",\"head\":%" PRIu64 ",\"events\":%" PRIu64
               ",\"max_payload\":%" PRIu64 ",\"time\":\"%s\"}\n",
               url, s->pid, s->first, s->head, events, s->max_payload, now);
    else
        printf("hub          %s, pid %" PRId64 "\nevents       %" PRIu64 ", seqs %" PRIu64 " to %" PRIu64
               "\nmax payload  %" PRIu64 " bytes\nits time     %s\n",
               url, s->pid, events, s->first, s->head, s->max_payload, now);
}

static int status(const options *o, evb_error *err) {
    const evb_environment env = environment();
    evb_status s;
    char *url = o->url ? strdup(o->url) : evb_paths_url(&env, err);
    evb_bus *bus = url ? evb_bus_new(url, o->timeout_ns ? o->timeout_ns : -1, err) : NULL;
    int rc = bus ? evb_bus_status(bus, &s, err) : err->code;
    if (rc == 0)
        print_status(o, url, &s);
    evb_bus_destroy(&bus);
    free(url);
    return rc;
}

/* ---- the journal's files ---- */

static void print_verification(const options *o, const evb_verification *v) {
    if (o->json)
        printf("{\"segments\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"damages\":%" PRIu64 ",\"lost\":%" PRIu64
               ",\"tail_bytes\":%" PRIu64 "}\n",
               v->segments, v->records, v->events, v->bytes, v->first, v->last, v->damages, v->lost, v->tail_bytes);
    else
        printf("%" PRIu64 " events in %" PRIu64 " batches and %" PRIu64 " segments, seqs %" PRIu64 " to %" PRIu64
               ": %" PRIu64 " damaged places, %" PRIu64 " seqs lost\n",
               v->events, v->records, v->segments, v->first, v->last, v->damages, v->lost);
}

/* The journal's directory, for the caller to free. It must be there: nothing is made. */
static char *find_dir(const options *o, evb_error *err) {
    const evb_environment env = environment();
    char *dir = o->dir ? strdup(o->dir) : evb_paths_state(&env, err);
    if (dir && access(dir, R_OK | X_OK)) {
        evb_fail_errno(err, errno == EACCES ? EVB_EPERM : EVB_EINVAL, errno, "%s", dir);
        free(dir);
        return NULL;
    }
    return dir;
}

static int verify(const options *o, evb_error *err) {
    evb_verification v = {0};
    char *dir = find_dir(o, err);
    evb_io *io = dir ? evb_io_disk_new(dir, err) : NULL;
    int rc = io ? evb_journal_verify(io, LOG, &v, err) : err->code;
    if (rc == 0 || rc == EVB_EDAMAGED)
        print_verification(o, &v);
    evb_io_destroy(&io);
    free(dir);
    return rc;
}

/* Takes the lock, repairs, and has the catalog built anew by the next start. */
static int repair_in(const options *o, const char *dir, evb_io *io, evb_error *err) {
    char path[4096];
    evb_verification v = {0};
    snprintf(path, sizeof path, "%s/lock", dir);
    int lock = evb_lock_take(path, err);
    if (lock < 0)
        return lock;
    int rc = evb_journal_repair(io, LOG, &v, err);
    snprintf(path, sizeof path, "%s/catalog.mdb", dir);
    if (rc == 0 && v.damages && unlink(path) && errno != ENOENT)
        rc = evb_fail_errno(err, EVB_EIO, errno, "%s: cannot remove", path);
    if (rc == 0)
        print_verification(o, &v);
    close(lock);
    return rc;
}

static int repair(const options *o, evb_error *err) {
    char *dir = find_dir(o, err);
    evb_io *io = dir ? evb_io_disk_new(dir, err) : NULL;
    int rc = io ? repair_in(o, dir, io, err) : err->code;
    evb_io_destroy(&io);
    free(dir);
    return rc;
}

/* ---- export and import ---- */

/* Fills in what both take; the URL is the caller's to free. */
static int transfer(const options *o, int argc, char **argv, evb_error *err,
                    int (*run)(const transfer_options *t, int argc, char **argv, evb_error *err)) {
    const evb_environment env = environment();
    char *url = o->dir ? NULL : o->url ? strdup(o->url) : evb_paths_url(&env, err);
    transfer_options t = {.url = url,
                          .dir = o->dir,
                          .timeout_ns = o->timeout_ns ? o->timeout_ns : -1,
                          .json = o->json,
                          .from = o->from,
                          .to = o->to,
                          .allow_gap = o->allow_gap,
                          .output = o->output,
                          .after = o->after,
                          .dry_run = o->dry_run,
                          .log = LOG};
    int rc = url || o->dir ? run(&t, argc, argv, err) : err->code;
    free(url);
    return rc;
}

static int run_export(const transfer_options *t, int argc, char **argv, evb_error *err) {
    return transfer_export(t, (const char *const *)argv, (size_t)argc, err);
}

static int run_import(const transfer_options *t, int argc, char **argv, evb_error *err) {
    if (argc > 1)
        return evb_fail(err, EVB_EINVAL, "import: one FILE, or none for stdin");
    return transfer_import(t, argc ? argv[0] : NULL, err);
}

static int top(const options *o, int argc, char **argv, evb_error *err) {
    const evb_environment env = environment();
    char *url = o->url ? strdup(o->url) : evb_paths_url(&env, err);
    int rc = url ? top_run(url, o->timeout_ns ? o->timeout_ns : -1, (const char *const *)argv, (size_t)argc, err)
                 : err->code;
    free(url);
    return rc;
}

static int run(const options *o, int argc, char **argv, evb_error *err) {
    static const struct {
        const char *name;
        int (*run)(const options *o, evb_error *err);
    } COMMANDS[] = {{"status", status}, {"verify", verify}, {"repair", repair}};
    if (argc && strcmp(argv[0], "export") == 0)
        return transfer(o, argc - 1, argv + 1, err, run_export);
    if (argc && strcmp(argv[0], "import") == 0)
        return transfer(o, argc - 1, argv + 1, err, run_import);
    if (argc && strcmp(argv[0], "top") == 0)
        return top(o, argc - 1, argv + 1, err);
    if (argc != 1)
        return evb_fail(err, EVB_EINVAL, "one of status, verify, repair is wanted; try 'evctl --help'");
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, argv[0]) == 0)
            return COMMANDS[i].run(o, err);
    return evb_fail(err, EVB_EINVAL, "%s: not a command; try 'evctl --help'", argv[0]);
}

static int fail(const evb_error *err) {
    fprintf(stderr, "evctl: %s\n", err->text);
    return evb_err_exit(err->code);
}

int main(int argc, char **argv) {
    options o = {.timeout_ns = 5000000000};
    evb_error err = {0};
    evb_buf out = {0};
    bool asked = false;
    int first;
    int rc = evb_opts_parse(&OPTS, &o, argc, argv, &first, &err);
    rc = rc ? rc : evb_opts_answer(&OPTS, &o.standard, &out, &asked, &err);
    if (rc == 0 && asked)
        fwrite(out.data, 1, out.size, stdout);
    else if (rc == 0)
        rc = run(&o, argc - first, argv + first, &err);
    evb_buf_free(&out);
    if (fflush(stdout) && rc == 0)
        rc = evb_fail_errno(&err, EVB_EIO, errno, "stdout");
    return rc ? fail(&err) : 0;
}
