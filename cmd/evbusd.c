/* evbusd: the hub: keeps the journal and fans events out.
 *
 * Opens in this order, and closes in the other: the configuration, the journal's lock, the journal, the hub, the
 * sockets; says that it is ready only then. Signals come by signalfd: SIGTERM and SIGINT end it after what clients
 * have sent is stored and acknowledged, SIGHUP reads the configuration again.
 * A configuration is read into a settings of its own, the command line on top of the file, and replaces the one before
 * only when all of it is good.
 * Leaves to others: everything that a hub does (lib/hub, lib/journal, lib/net/server). */
#include <errno.h>
#include <ini.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/opts.h"
#include "base/paths.h"
#include "base/units.h"
#include "event/limits.h"
#include "net/server.h"
#include "net/url.h"
#include "program.h"

static const uint64_t NO_FD = UINT64_MAX;

typedef struct {
    evb_opts_standard standard;
    evb_opt_list urls, live, retain;
    const char *dir, *config, *sync;
    int64_t id_window_ns;
    uint64_t segment, max_payload, ready_fd, id_max;
    bool memory;
} options;

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_LIST, offsetof(options, urls), NULL, "URL", "listen there; may be given again", NULL},
    {'d', "dir", EVB_OPT_STRING, offsetof(options, dir), NULL, "DIR", "the journal's directory", "@dir"},
    {'c', "config", EVB_OPT_STRING, offsetof(options, config), NULL, "FILE", "read options from FILE too", "@file"},
    {0, "sync", EVB_OPT_STRING, offsetof(options, sync), NULL, "WHEN",
     "fdatasync before each acknowledgement (always), every so many ms, or never (none)", "always none 100"},
    {0, "retain", EVB_OPT_LIST, offsetof(options, retain), NULL, "SIZE|AGE",
     "keep at most that much (10G), or that long (7d); may be given for both", "1G 10G 100G 1d 7d"},
    {0, "segment", EVB_OPT_SIZE, offsetof(options, segment), NULL, "SIZE", "size of the journal's files (64M)", NULL},
    {0, "live", EVB_OPT_LIST, offsetof(options, live), NULL, "PATTERN", "never store these topics", NULL},
    {0, "max-payload", EVB_OPT_SIZE, offsetof(options, max_payload), NULL, "SIZE", "largest payload taken (1M)",
     NULL},
    {0, "id-window", EVB_OPT_DURATION, offsetof(options, id_window_ns), NULL, "AGE",
     "how long an event's own id is known (10m)", NULL},
    {0, "id-max", EVB_OPT_NUMBER, offsetof(options, id_max), NULL, "N", "how many ids are known (1000000; 0: none)",
     NULL},
    {0, "ready-fd", EVB_OPT_NUMBER, offsetof(options, ready_fd), NULL, "N",
     "write a newline there when ready, and close it", NULL},
    {0, "memory", EVB_OPT_FLAG, offsetof(options, memory), NULL, NULL, "keep the journal in memory only", NULL},
    EVB_OPTS_STANDARD(options, standard),
};

static const evb_opts OPTS = {"evbusd",
                              "[OPTION]...",
                              "The hub: stores events in order, acknowledges them, and fans them out.",
                              ROWS,
                              sizeof ROWS / sizeof *ROWS,
                              NULL};

/* Everything that the options say, understood. */
typedef struct {
    options o;
    evb_opt_list texts;  /* the configuration file's values, which o points into */
    evb_retain *retains; /* its [retain "PATTERN"] sections, with patterns of their own */
    size_t retain_count;
    evb_patterns *live;
    evb_hub_options hub;
    evb_journal_options journal;
} settings;

typedef struct {
    int argc;
    char **argv;
    settings *settings;
    char *url, *dir; /* the defaults */
    int lock, catalog_fd, signals;
    evb_journal *journal;
    evb_hub *hub;
    evb_server *server;
} daemon_state;

static void say(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "evbusd: %s\n", text);
}

static const evb_log LOG = {say, NULL};

/* ---- settings ---- */

static void settings_destroy(settings *s) {
    if (!s)
        return;
    evb_opt_list_free(&s->o.urls);
    evb_opt_list_free(&s->o.live);
    evb_opt_list_free(&s->o.retain);
    for (size_t i = 0; i < s->texts.count; i++)
        free((char *)(uintptr_t)s->texts.items[i]);
    evb_opt_list_free(&s->texts);
    evb_patterns_destroy(&s->live);
    for (size_t i = 0; i < s->retain_count; i++)
        free((char *)(uintptr_t)s->retains[i].pattern);
    free(s->retains);
    free(s);
}

static int understand_sync(settings *s, evb_error *err) {
    uint64_t ms;
    const char *text = s->o.sync;
    s->hub.sync = EVB_SYNC_ALWAYS;
    if (strcmp(text, "always") == 0)
        return 0;
    s->hub.sync = EVB_SYNC_NONE;
    if (strcmp(text, "none") == 0)
        return 0;
    if (evb_number_parse(text, &ms) || !ms || ms > 3600 * 1000)
        return evb_fail(err, EVB_EINVAL, "--sync %s: always, none, or milliseconds from 1 to 3600000", text);
    s->hub.sync = EVB_SYNC_LATER;
    s->hub.sync_ns = (int64_t)ms * EVB_MILLISECOND_NS;
    return 0;
}

static int understand_retain(settings *s, evb_error *err) {
    s->journal.retain_bytes = (uint64_t)10 << 30;
    for (size_t i = 0; i < s->o.retain.count; i++) {
        const char *text = s->o.retain.items[i];
        if (!evb_age_parse(text, &s->journal.retain_ns))
            continue;
        const char *fault = evb_size_parse(text, &s->journal.retain_bytes);
        if (fault)
            return evb_fail(err, EVB_EINVAL, "--retain %s: a size (10G) or an age (7d): %s", text, fault);
    }
    return 0;
}

static int understand_values(settings *s, evb_error *err) {
    enum { SEGMENT_LEAST = 64 * 1024, SEGMENT_MOST = 1 << 30 };
    if (s->o.segment < SEGMENT_LEAST || s->o.segment > SEGMENT_MOST)
        return evb_fail(err, EVB_EINVAL, "--segment: from 64K to 1G");
    if (!s->o.max_payload || s->o.max_payload > EVB_PAYLOAD_MOST)
        return evb_fail(err, EVB_EINVAL, "--max-payload: from 1 to 256M");
    int rc = understand_sync(s, err);
    return rc ? rc : understand_retain(s, err);
}

/* ---- the configuration file ---- */

/* One of the file's options. What is wrong with its value is found here, where its line is known. */
static int set_option(settings *s, const char *name, const char *text, evb_error *err) {
    evb_url url;
    if (strcmp(name, "config") == 0)
        return evb_fail(err, EVB_ECONFIG, "config: a configuration file names no other");
    if (!strcmp(name, "help") || !strcmp(name, "version") || !strcmp(name, "print-completion"))
        return evb_fail(err, EVB_ECONFIG, "%s: is for the command line", name);
    int rc = evb_opts_set(&OPTS, &s->o, name, text, err);
    if (rc == 0 && strcmp(name, "live") == 0)
        rc = evb_pattern_check(text, strlen(text), err);
    if (rc == 0 && strcmp(name, "url") == 0)
        rc = evb_url_parse(text, &url, err);
    return rc ? rc : understand_values(s, err);
}

typedef enum { IN_OPTIONS, IN_RETAIN, IN_LIVE } section_kind;

typedef struct {
    settings *settings;
    evb_error *err;
    bool failed;
    FILE *file;
    char *line; /* what is left of the line under way is behind `given` */
    size_t room, given;
    section_kind section;
} reading;

/* Keeps a copy of a value for as long as the settings live. */
static const char *keep(settings *s, const char *value) {
    char *copy = strdup(value);
    const char **items = copy ? realloc(s->texts.items, (s->texts.count + 1) * sizeof *items) : NULL;
    if (!items) {
        free(copy);
        return NULL;
    }
    s->texts.items = items;
    items[s->texts.count++] = copy;
    return copy;
}

/* [retain "PATTERN"]: its age follows. */
static int begin_retain(settings *s, const char *pattern, evb_error *err) {
    evb_retain *retains = realloc(s->retains, (s->retain_count + 1) * sizeof *retains);
    if (!retains)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    s->retains = retains;
    for (size_t i = 0; i < s->retain_count; i++)
        if (strcmp(retains[i].pattern, pattern) == 0)
            return evb_fail(err, EVB_ECONFIG, "[retain \"%s\"]: it is there twice", pattern);
    char *copy = strdup(pattern);
    if (!copy)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    retains[s->retain_count++] = (evb_retain){copy, 0};
    return 0;
}

/* Takes a line "[KIND "PATTERN"]". */
static int begin_section(reading *r, const char *text, evb_error *err) {
    char kind[8], pattern[EVB_TOPIC_MAX + 1];
    int end = 0;
    if (sscanf(text, " [ %7[a-z] \"%255[^\"]\" ] %n", kind, pattern, &end) != 2 || !end ||
        (text[end] && text[end] != ';' && text[end] != '#'))
        return evb_fail(err, EVB_ECONFIG, "a section is [retain \"PATTERN\"] or [live \"PATTERN\"]");
    r->section = strcmp(kind, "retain") == 0 ? IN_RETAIN : strcmp(kind, "live") == 0 ? IN_LIVE : IN_OPTIONS;
    if (r->section == IN_OPTIONS)
        return evb_fail(err, EVB_ECONFIG, "[%s]: no such section: retain, live", kind);
    if (evb_pattern_check(pattern, strlen(pattern), err))
        return EVB_EDATA;
    if (r->section == IN_RETAIN)
        return begin_retain(r->settings, pattern, err);
    const char *kept = keep(r->settings, pattern);
    if (!kept)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    return evb_opts_set(&OPTS, &r->settings->o, "live", kept, err);
}

/* A key of a section. */
static int set_in_section(reading *r, const char *name, const char *text) {
    settings *s = r->settings;
    if (r->section == IN_LIVE)
        return evb_fail(r->err, EVB_ECONFIG, "%s: [live] has no keys; options stand before the sections", name);
    if (strcmp(name, "age") != 0)
        return evb_fail(r->err, EVB_ECONFIG, "%s: [retain] has one key, age; options stand before the sections",
                        name);
    const char *fault = evb_age_parse(text, &s->retains[s->retain_count - 1].age_ns);
    if (!fault && !s->retains[s->retain_count - 1].age_ns)
        fault = "it is 0";
    return fault ? evb_fail(r->err, EVB_ECONFIG, "age: %s: %s", text, fault) : 0;
}

/* One line of the file: inih wants 1 when it is good. */
static int take_key(void *context, const char *section, const char *name, const char *value) {
    reading *r = context;
    (void)section; /* give_line has kept it to itself: inih cuts it off at 49 characters */
    if (r->failed)
        return 0;
    const char *text = keep(r->settings, value);
    if (!text)
        evb_fail(r->err, EVB_ENOMEM, "out of memory");
    else if (r->section != IN_OPTIONS) {
        if (set_in_section(r, name, text) == 0)
            return 1;
    } else if (set_option(r->settings, name, text, r->err) == 0)
        return 1;
    r->failed = true;
    return 0;
}

/* What inih reads lines with, as fgets(3). A section's line is taken here, since inih tells of a section only when it
 * has keys, and given as a comment, or as what is no line at all when it is wrong. */
static char *give_line(char *to, int size, void *context) {
    reading *r = context;
    if (!r->line || !r->line[r->given]) {
        r->given = 0;
        if (getline(&r->line, &r->room, r->file) < 0)
            return NULL;
        if (r->line[strspn(r->line, " \t")] == '[') {
            r->failed = begin_section(r, r->line, r->err) != 0;
            r->line[0] = r->failed ? '=' : ';';
            r->line[1] = '\0';
        }
    }
    size_t n = strnlen(r->line + r->given, (size_t)size - 1);
    memcpy(to, r->line + r->given, n);
    to[n] = '\0';
    r->given += n;
    return to;
}

static int check_retains(const settings *s, evb_error *err) {
    for (size_t i = 0; i < s->retain_count; i++)
        if (!s->retains[i].age_ns)
            return evb_fail(err, EVB_ECONFIG, "[retain \"%s\"]: age is missing", s->retains[i].pattern);
    return 0;
}

static int read_config(settings *s, const char *file, evb_error *err) {
    evb_error why = {0};
    reading r = {.settings = s, .err = &why, .file = fopen(file, "re")};
    if (!r.file)
        return evb_fail_errno(err, EVB_ECONFIG, errno, "%s", file);
    int line = ini_parse_stream(give_line, &r, take_key, &r);
    bool broken = ferror(r.file);
    int saved = errno;
    fclose(r.file);
    free(r.line);
    if (broken)
        return evb_fail_errno(err, EVB_ECONFIG, saved, "%s", file);
    if (line > 0)
        return evb_fail(err, EVB_ECONFIG, "%s:%d: %s", file, line, r.failed ? why.text : "not a line KEY = VALUE");
    if (line < 0)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    return check_retains(s, &why) ? evb_fail(err, EVB_ECONFIG, "%s: %s", file, why.text) : 0;
}

static int understand(settings *s, evb_error *err) {
    s->live = evb_patterns_new(s->o.live.items, s->o.live.count, err);
    if (!s->live)
        return err->code == EVB_EDATA ? EVB_EINVAL : err->code;
    s->journal.segment_bytes = s->o.segment;
    s->journal.reserve_percent = 5;
    s->journal.retains = s->retains;
    s->journal.retain_count = s->retain_count;
    s->journal.id_window_ns = s->o.id_window_ns;
    s->journal.id_most = s->o.id_max;
    s->hub.max_payload = (size_t)s->o.max_payload;
    s->hub.live = s->o.live.count ? s->live : NULL;
    s->hub.pid = getpid();
    s->hub.log = LOG;
    return understand_values(s, err);
}

/* The file's options, then the command line's on top. NULL and *err; *first: the first operand. */
static settings *settings_new(int argc, char **argv, int *first, evb_error *err) {
    settings *s = calloc(1, sizeof *s);
    options only_file = {0};
    if (!s) {
        evb_fail(err, EVB_ENOMEM, "out of memory");
        return NULL;
    }
    s->o = (options){.sync = "always",
                     .segment = 64 << 20,
                     .max_payload = EVB_PAYLOAD_DEFAULT,
                     .id_window_ns = 600 * EVB_SECOND_NS,
                     .id_max = 1000000,
                     .ready_fd = NO_FD};
    int rc = evb_opts_parse(&OPTS, &only_file, argc, argv, first, err);
    evb_opt_list_free(&only_file.urls);
    evb_opt_list_free(&only_file.live);
    evb_opt_list_free(&only_file.retain);
    rc = rc == 0 && only_file.config ? read_config(s, only_file.config, err) : rc;
    rc = rc ? rc : evb_opts_parse(&OPTS, &s->o, argc, argv, first, err);
    rc = rc ? rc : understand(s, err);
    if (rc == 0)
        return s;
    err->code = rc;
    settings_destroy(s);
    return NULL;
}

/* ---- opening ---- */

static int find_defaults(daemon_state *d, evb_error *err) {
    const evb_environment env = {
        getenv("EVBUS_URL"), getenv("XDG_RUNTIME_DIR"), getenv("XDG_STATE_HOME"), getenv("HOME"), geteuid(), NULL};
    if (!d->settings->o.urls.count && !(d->url = evb_paths_url(&env, err)))
        return err->code;
    if (!d->settings->o.dir && !d->settings->o.memory && !(d->dir = evb_paths_state(&env, err)))
        return err->code;
    return 0;
}

static const char *journal_dir(const daemon_state *d) { return d->dir ? d->dir : d->settings->o.dir; }

static int open_disk_journal(daemon_state *d, evb_error *err) {
    char path[4096];
    const char *dir = journal_dir(d);
    evb_io *io = evb_io_disk_new(dir, err);
    if (!io)
        return err->code;
    snprintf(path, sizeof path, "%s/lock", dir);
    d->lock = evb_lock_take(path, err);
    if (d->lock < 0) {
        evb_io_destroy(&io);
        return d->lock;
    }
    snprintf(path, sizeof path, "%s/catalog.mdb", dir);
    d->journal = evb_journal_new(io, path, &d->settings->journal, LOG, err);
    return d->journal ? 0 : err->code;
}

static int open_memory_journal(daemon_state *d, evb_error *err) {
    char path[64];
    evb_io *io = evb_io_memory_new(err);
    d->catalog_fd = memfd_create("catalog", MFD_CLOEXEC);
    if (!io || d->catalog_fd < 0) {
        evb_io_destroy(&io);
        return evb_fail_errno(err, EVB_EIO, errno, "--memory");
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", d->catalog_fd);
    d->journal = evb_journal_new(io, path, &d->settings->journal, LOG, err);
    return d->journal ? 0 : err->code;
}

static int open_server(daemon_state *d, evb_error *err) {
    const settings *s = d->settings;
    const char *const *urls = d->url ? (const char *const *)&d->url : s->o.urls.items;
    evb_server_options how = {urls, d->url ? 1 : s->o.urls.count, (size_t)s->o.max_payload, EVB_SECOND_NS};
    d->settings->hub.dir = s->o.memory ? NULL : journal_dir(d);
    d->hub = evb_hub_new(d->journal, &s->hub, evb_clock_monotonic_ns(), err);
    if (!d->hub)
        return err->code;
    d->server = evb_server_new(&how, d->hub, d->journal, LOG, err);
    return d->server ? 0 : err->code;
}

static int catch_signals(daemon_state *d, evb_error *err) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return d->signals < 0 ? evb_fail_errno(err, EVB_EIO, errno, "signalfd") : 0;
}

static void say_ready(const daemon_state *d) {
    const settings *s = d->settings;
    fprintf(stderr, "evbusd: ready on");
    for (size_t i = 0; i < s->o.urls.count; i++)
        fprintf(stderr, " %s", s->o.urls.items[i]);
    if (d->url)
        fprintf(stderr, " %s", d->url);
    fprintf(stderr, ", journal %s, head %llu\n", s->o.memory ? "in memory" : journal_dir(d),
            (unsigned long long)evb_journal_head(d->journal));
    if (s->o.ready_fd != NO_FD) {
        if (write((int)s->o.ready_fd, "\n", 1) < 0)
            fprintf(stderr, "evbusd: --ready-fd: %s\n", strerror(errno));
        close((int)s->o.ready_fd);
    }
    program_notify("READY=1");
}

static int open_all(daemon_state *d, evb_error *err) {
    int rc = find_defaults(d, err);
    rc = rc ? rc : catch_signals(d, err);
    rc = rc ? rc : d->settings->o.memory ? open_memory_journal(d, err) : open_disk_journal(d, err);
    rc = rc ? rc : open_server(d, err);
    if (rc == 0)
        say_ready(d);
    return rc;
}

/* ---- running ---- */

static void read_again(daemon_state *d) {
    evb_error err = {0};
    int first;
    settings *fresh = settings_new(d->argc, d->argv, &first, &err);
    if (!fresh) {
        fprintf(stderr, "evbusd: %s; going on as before\n", err.text);
        return;
    }
    fresh->hub.max_payload = d->settings->hub.max_payload; /* the sockets were made for it */
    fresh->hub.dir = d->settings->hub.dir;
    evb_hub_configure(d->hub, &fresh->hub);
    evb_journal_configure(d->journal, &fresh->journal);
    /* The old settings stay for what was opened with them: urls, the directory. */
    evb_patterns *old = d->settings->live;
    d->settings->live = fresh->live;
    fresh->live = old;
    settings swap = *d->settings;
    d->settings->retains = fresh->retains;
    d->settings->retain_count = fresh->retain_count;
    fresh->retains = swap.retains;
    fresh->retain_count = swap.retain_count;
    d->settings->hub = fresh->hub;
    d->settings->hub.live = fresh->o.live.count ? d->settings->live : NULL;
    evb_hub_configure(d->hub, &d->settings->hub);
    settings_destroy(fresh);
    fprintf(stderr,
            "evbusd: read the configuration again: sync, retain, segment, id-window, id-max and live are taken\n");
}

/* Whether the signals that have come say that it is time to end. */
static bool ended_by_signal(daemon_state *d) {
    struct signalfd_siginfo info;
    while (read(d->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGHUP)
            return true;
        read_again(d);
    }
    return false;
}

static int run(daemon_state *d, evb_error *err) {
    for (;;) {
        int rc = evb_server_run(d->server, d->signals, err);
        if (rc)
            return rc;
        if (ended_by_signal(d)) {
            program_notify("STOPPING=1");
            return evb_server_finish(d->server, err);
        }
    }
}

static void close_all(daemon_state *d) {
    evb_server_destroy(&d->server);
    evb_hub_destroy(&d->hub);
    evb_journal_destroy(&d->journal);
    if (d->lock >= 0)
        close(d->lock);
    if (d->catalog_fd >= 0)
        close(d->catalog_fd);
    if (d->signals >= 0)
        close(d->signals);
    settings_destroy(d->settings);
    free(d->url);
    free(d->dir);
}

static int fail(const evb_error *err) {
    fprintf(stderr, "evbusd: %s\n", err->text);
    return evb_err_exit(err->code);
}

/* What only the start can say of what was asked for. */
static int check(const daemon_state *d, int first, evb_error *err) {
    uint64_t fd = d->settings->o.ready_fd;
    if (first < d->argc)
        return evb_fail(err, EVB_EINVAL, "%s: evbusd takes no operands; try 'evbusd --help'", d->argv[first]);
    return fd == NO_FD || program_is_ready_fd(fd) ? 0 : evb_fail(err, EVB_EINVAL, PROGRAM_NO_READY_FD);
}

int main(int argc, char **argv) {
    daemon_state d = {.argc = argc, .argv = argv, .lock = -1, .catalog_fd = -1, .signals = -1};
    evb_error err = {0};
    int first = 0;
    bool asked = false;
    program_hold_descriptors();
    d.settings = settings_new(argc, argv, &first, &err);
    if (!d.settings)
        return fail(&err);
    int rc = program_answer(&OPTS, &d.settings->o.standard, &asked, &err);
    if (rc == 0 && !asked) {
        rc = check(&d, first, &err);
        rc = rc ? rc : open_all(&d, &err);
        rc = rc ? rc : run(&d, &err);
    }
    int status = rc ? fail(&err) : 0;
    close_all(&d);
    return status;
}
