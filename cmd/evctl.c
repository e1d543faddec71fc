/* evctl: looks after a hub and its journal: what there is, groups and dead letters, removing, verifying.
 *
 * This file reads the command line and finds the command; each is a function that asks the hub or reads files, and
 * prints. The commands are in evctl_show.c (looking), evctl_admin.c (changing), evctl_listeners.c, evctl_dead.c,
 * evctl_trace.c, evctl_scheduled.c, evctl_files.c (the
 * journal's files), evctl_export.c, evctl_import.c and evctl_top.c. */
#include "evctl.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "program.h"

static const evb_opt ROWS[] = {
    {'u', "url", EVB_OPT_STRING, offsetof(evctl_options, url), NULL, "URL", "the hub's address (also EVBUS_URL)",
     NULL},
    {'d', "dir", EVB_OPT_STRING, offsetof(evctl_options, dir), NULL, "DIR",
     "verify, repair, export: the journal; import: a new one", "@dir"},
    {'J', "json", EVB_OPT_FLAG, offsetof(evctl_options, json), NULL, NULL, "one JSON object for each row", NULL},
    {0, "before", EVB_OPT_STRING, offsetof(evctl_options, before), NULL, "POSITION", "trim: the first that stays",
     "first last now today yesterday 1h 1d"},
    {0, "from", EVB_OPT_STRING, offsetof(evctl_options, from), NULL, "POSITION", "replay, export: the first event",
     "first last now today yesterday 1h 1d -10"},
    {0, "to", EVB_OPT_STRING, offsetof(evctl_options, to), NULL, "POSITION",
     "reset: where to go on; replay, export: the last", "first last now today yesterday 1h 1d"},
    {0, "rate", EVB_OPT_NUMBER, offsetof(evctl_options, rate), NULL, "N", "replay: at most N events a second", NULL},
    {'n', "dry-run", EVB_OPT_FLAG, offsetof(evctl_options, dry_run), NULL, NULL,
     "replay: only say how many; import: only check the file", NULL},
    {0, "edit", EVB_OPT_FLAG, offsetof(evctl_options, edit), NULL, NULL,
     "dead retry: open the payload in an editor first", NULL},
    {'o', "output", EVB_OPT_STRING, offsetof(evctl_options, output), NULL, "FILE", "export: into FILE, not to stdout",
     "@file"},
    {0, "allow-gap", EVB_OPT_FLAG, offsetof(evctl_options, allow_gap), NULL, NULL,
     "export: what is left behind --from is enough", NULL},
    {0, "after", EVB_OPT_NUMBER, offsetof(evctl_options, after), NULL, "SEQ",
     "import: only what is behind this seq of the file", NULL},
    {0, "timeout", EVB_OPT_DURATION, offsetof(evctl_options, timeout_ns), NULL, "SEC",
     "how long to wait for the hub (5; 0: for ever)", NULL},
    EVB_OPTS_STANDARD(evctl_options, standard),
};

static const evb_opts OPTS = {
    "evctl",
    "[OPTION]... status\n"
    "[OPTION]... topics [PATTERN]...\n"
    "[OPTION]... clients\n"
    "[OPTION]... groups\n"
    "[OPTION]... group NAME pause|resume\n"
    "[OPTION]... group NAME reset --to POSITION\n"
    "[OPTION]... group NAME replay --from POSITION [--to POSITION]\n"
    "[OPTION]... group NAME delete\n"
    "[OPTION]... listeners\n"
    "[OPTION]... listener NAME show|pause|resume\n"
    "[OPTION]... listener NAME replay --from POSITION [--to POSITION]\n"
    "[OPTION]... dead list|show|retry|drop [GROUP] [SEQ]...\n"
    "[OPTION]... scheduled list [PATTERN]...\n"
    "[OPTION]... scheduled cancel SEQ...\n"
    "[OPTION]... trace SEQ\n"
    "[OPTION]... trim --before POSITION\n"
    "[OPTION]... purge PATTERN...\n"
    "[OPTION]... metrics\n"
    "[OPTION]... top [PATTERN]...\n"
    "[OPTION]... export [PATTERN]...\n"
    "[OPTION]... import [FILE]\n"
    "[OPTION]... verify|repair",
    "Looks after a hub: how it stands, its topics, groups, clients and dead letters; and after\n"
    "its journal: what is to go, whether it is whole.",
    ROWS,
    sizeof ROWS / sizeof *ROWS,
    "status top topics clients groups group pause resume reset replay delete listeners listener dead list show retry "
    "drop trace scheduled cancel trim purge export import "
    "metrics verify repair"};

static const struct {
    const char *name;
    bool operands; /* takes some */
    evctl_command *run;
} COMMANDS[] = {{"status", false, evctl_status},       {"topics", true, evctl_topics},
                {"groups", false, evctl_groups},       {"clients", false, evctl_clients},
                {"group", true, evctl_group},          {"dead", true, evctl_dead},
                {"listeners", false, evctl_listeners}, {"listener", true, evctl_listener},
                {"trace", true, evctl_trace},          {"trim", true, evctl_trim},
                {"scheduled", true, evctl_scheduled},  {"purge", true, evctl_purge},
                {"metrics", false, evctl_metrics},     {"top", true, evctl_top},
                {"export", true, evctl_export},        {"import", true, evctl_import},
                {"verify", false, evctl_verify},       {"repair", false, evctl_repair}};

/* The options that not every command takes: where the value lies, whose bytes are zero unless it is given, and what takes
 * it, as action() calls it. */
#define FIELD(NAME) offsetof(evctl_options, NAME), sizeof((evctl_options *)NULL)->NAME
static const struct {
    const char *name;
    size_t at, size;
    const char *takers[5];
} USES[] = {{"--dir", FIELD(dir), {"verify", "repair", "export", "import"}},
            {"--before", FIELD(before), {"trim"}},
            {"--from", FIELD(from), {"replay", "export"}},
            {"--to", FIELD(to), {"reset", "replay", "export"}},
            {"--rate", FIELD(rate), {"replay"}},
            {"--dry-run", FIELD(dry_run), {"replay", "import", "trim"}},
            {"--edit", FIELD(edit), {"retry"}},
            {"--output", FIELD(output), {"export"}},
            {"--allow-gap", FIELD(allow_gap), {"export"}},
            {"--after", FIELD(after), {"import"}}};

static bool is_given(const evctl_options *o, size_t at, size_t size) {
    static const char none[sizeof(uint64_t)];
    return memcmp((const char *)o + at, none, size) != 0;
}

static void say(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "evctl: %s\n", text);
}

/* The word that says what is done: of "group NAME reset" reset, of "dead drop" drop. NULL: it is missing. */
static const char *action(const evctl *self, const char *command) {
    int at = !strcmp(command, "group") || !strcmp(command, "listener") ? 1 : !strcmp(command, "dead") ? 0 : -1;
    return at < 0 ? command : at < self->argc ? self->argv[at] : NULL;
}

/* Refuses an option that what is done has no use for: "purge --dry-run" would do more than was asked for. */
static int check_options(const evctl *self, const char *command, evb_error *err) {
    const char *what = action(self, command);
    for (size_t i = 0; what && i < sizeof USES / sizeof *USES; i++) {
        const char *const *taker = USES[i].takers;
        while (*taker && strcmp(*taker, what) != 0)
            taker++;
        if (!*taker && is_given(&self->o, USES[i].at, USES[i].size))
            return evb_fail(err, EVB_EINVAL, "%s does not go with %.100s: nothing is done; try 'evctl --help'",
                            USES[i].name, what);
    }
    return 0;
}

static int run(evctl *self, int argc, char **argv, evb_error *err) {
    if (!argc)
        return evb_fail(err, EVB_EINVAL, "a command is wanted, such as status; try 'evctl --help'");
    self->argc = argc - 1;
    self->argv = argv + 1;
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        if (strcmp(COMMANDS[i].name, argv[0]) != 0)
            continue;
        if (self->argc && !COMMANDS[i].operands)
            return evb_fail(err, EVB_EINVAL, "%s: %s takes no operands; try 'evctl --help'", argv[1], argv[0]);
        int rc = check_options(self, argv[0], err);
        return rc ? rc : COMMANDS[i].run(self, err);
    }
    return evb_fail(err, EVB_EINVAL, "%s: not a command; try 'evctl --help'", argv[0]);
}

static int fail(const evb_error *err) {
    fprintf(stderr, "evctl: %s\n", err->text);
    return evb_err_exit(err->code);
}

int main(int argc, char **argv) {
    evctl self = {.o = {.timeout_ns = 5 * EVB_SECOND_NS}, .log = {say, NULL}};
    evb_error err = {0};
    evb_buf out = {0};
    bool asked = false;
    int first;
    program_hold_descriptors();
    setlocale(LC_CTYPE, "");
    int rc = evb_opts_parse(&OPTS, &self.o, argc, argv, &first, &err);
    rc = rc ? rc : evb_opts_answer(&OPTS, &self.o.standard, &out, &asked, &err);
    if (rc == 0 && asked)
        fwrite(out.data, 1, out.size, stdout);
    else if (rc == 0)
        rc = run(&self, argc - first, argv + first, &err);
    evb_buf_free(&out);
    evb_bus_destroy(&self.bus);
    free(self.url);
    if (fflush(stdout) && rc == 0)
        rc = evb_fail_errno(&err, EVB_EIO, errno, "stdout");
    return rc ? fail(&err) : 0;
}
