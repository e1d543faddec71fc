/* evctl_admin.c: what changes something: group, trim, purge. Each says in a line what it has done.
 *
 * Leaves to others: asking (evctl_ask.c), printing rows (evctl_print.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "evctl.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

void evctl_say_done(const evctl *self, const char *line, json_t *object) {
    if (self->o.json)
        evctl_print_json(object);
    else
        puts(line);
    json_decref(object);
}

static json_int_t first_number(const json_t *results) { return json_integer_value(json_array_get(results, 0)); }

/* ---- group ---- */

static int group_reset(evctl *self, const char *name, evb_error *err) {
    char line[200];
    uint64_t seq;
    if (!self->o.to)
        return evb_fail(err, EVB_EINVAL, "group %s reset: --to POSITION is wanted", name);
    int rc = evctl_seq_of(self, "--to", self->o.to, name, &seq, err);
    json_t *results = rc ? NULL : evctl_ask(self, "group.reset", json_pack("[sI]", name, (json_int_t)seq), err);
    if (!results)
        return err->code;
    json_int_t dropped = first_number(results);
    snprintf(line, sizeof line, "group %s goes on at seq %" PRIu64 "; %lld pending event%s dropped", name, seq,
             (long long)dropped, evb_plural((uint64_t)dropped));
    evctl_say_done(self, line, json_pack("{sssIsI}", "group", name, "next", (json_int_t)seq, "dropped", dropped));
    json_decref(results);
    return 0;
}

static int group_delete(evctl *self, const char *name, evb_error *err) {
    char line[200];
    json_t *results = evctl_ask(self, "group.delete", json_pack("[s]", name), err);
    if (!results)
        return err->code;
    snprintf(line, sizeof line, "group %s is deleted", name);
    evctl_say_done(self, line, json_pack("{sssb}", "group", name, "deleted", 1));
    json_decref(results);
    return 0;
}

/* The stretch to be replayed. *to 0: nothing is in it. */
static int read_stretch(evctl *self, const char *group, uint64_t *from, uint64_t *to, evb_error *err) {
    int rc = evctl_seq_of(self, "--from", self->o.from, group, from, err);
    return rc ? rc : evctl_end_of(self, "--to", self->o.to ? self->o.to : "now", group, to, err);
}

static int group_replay(evctl *self, const char *name, evb_error *err) {
    char line[256], count[32] = "uncounted";
    uint64_t from, to;
    bool dry = self->o.dry_run;
    if (!self->o.from)
        return evb_fail(err, EVB_EINVAL, "group %s replay: --from POSITION is wanted", name);
    int rc = read_stretch(self, name, &from, &to, err);
    if (rc)
        return rc;
    bool none = from > to; /* 0 is the head for the hub */
    json_t *args = json_pack("[sIIIb]", name, (json_int_t)(none ? 2 : from), (json_int_t)(none ? 1 : to),
                             (json_int_t)self->o.rate, dry);
    json_t *results = evctl_ask(self, "group.replay", args, err), *events = json_array_get(results, 0);
    if (!results)
        return err->code;
    if (json_is_integer(events))
        snprintf(count, sizeof count, "%lld", (long long)json_integer_value(events));
    if (none)
        snprintf(line, sizeof line, "group %s: no events lie there", name);
    else
        snprintf(line, sizeof line, "group %s: %s event%s of seqs %" PRIu64 " to %" PRIu64 " %s handed out once more",
                 name, count, evb_plural((uint64_t)json_integer_value(events)), from, to,
                 dry                               ? "would be"
                 : json_integer_value(events) == 1 ? "is"
                                                   : "are");
    evctl_say_done(self, line,
                   json_pack("{sssIsIsOsb}", "group", name, "from", (json_int_t)from, "to", (json_int_t)to, "events",
                             events, "dry_run", dry));
    json_decref(results);
    return 0;
}

int evctl_group(evctl *self, evb_error *err) {
    static const struct {
        const char *name;
        int (*run)(evctl *self, const char *group, evb_error *err);
    } DEEDS[] = {{"reset", group_reset},
                 {"delete", group_delete},
                 {"replay", group_replay},
                 {"pause", evctl_group_pause},
                 {"resume", evctl_group_resume}};
    if (self->argc && evctl_check_text("group", self->argv[0], err))
        return err->code;
    for (size_t i = 0; self->argc == 2 && i < COUNT(DEEDS); i++)
        if (strcmp(self->argv[1], DEEDS[i].name) == 0)
            return DEEDS[i].run(self, self->argv[0], err);
    return evb_fail(err, EVB_EINVAL,
                    "group: NAME and pause, resume, reset, replay or delete are wanted; try 'evctl --help'");
}

/* ---- trim, purge ---- */

/* What goes, or has gone: seqs first to before - 1. */
static void say_trimmed(evctl *self, uint64_t first, uint64_t before, bool dry) {
    char seqs[80], line[160];
    if (before <= first)
        snprintf(seqs, sizeof seqs, "nothing lies before that");
    else if (before == first + 1)
        snprintf(seqs, sizeof seqs, "seq %" PRIu64 " %s", first, dry ? "would go" : "is gone");
    else
        snprintf(seqs, sizeof seqs, "seqs %" PRIu64 " to %" PRIu64 " %s", first, before - 1,
                 dry ? "would go" : "are gone");
    if (dry)
        snprintf(line, sizeof line, "%s", seqs);
    else
        snprintf(line, sizeof line, "%s; the journal begins at seq %" PRIu64, seqs, before > first ? before : first);
    evctl_say_done(self, line,
                   json_pack("{sIsb}", "first", (json_int_t)(before > first ? before : first), "dry_run", dry));
}

int evctl_trim(evctl *self, evb_error *err) {
    uint64_t seq;
    evb_status hub;
    if (!self->o.before || self->argc)
        return evb_fail(err, EVB_EINVAL, "trim: --before POSITION is wanted, and nothing else");
    int rc = evctl_seq_of(self, "--before", self->o.before, NULL, &seq, err);
    evb_bus *bus = rc ? NULL : evctl_bus(self, err);
    if (!bus || evb_bus_status(bus, &hub, err))
        return err->code;
    if (seq > hub.head + 1)
        return evb_fail(err, EVB_EINVAL, "--before %.100s: the journal ends at seq %" PRIu64 ": nothing is done",
                        self->o.before, hub.head);
    json_t *results = self->o.dry_run ? NULL : evctl_ask(self, "trim", json_pack("[I]", (json_int_t)seq), err);
    if (!results && !self->o.dry_run)
        return err->code;
    say_trimmed(self, hub.first, results ? (uint64_t)first_number(results) : seq, self->o.dry_run);
    json_decref(results);
    return 0;
}

int evctl_purge(evctl *self, evb_error *err) {
    char line[160];
    json_t *patterns = json_array();
    int rc = self->argc ? 0 : evb_fail(err, EVB_EINVAL, "purge: a PATTERN is wanted ('#' is everything)");
    for (int i = 0; rc == 0 && i < self->argc; i++) {
        rc = evb_pattern_check(self->argv[i], strlen(self->argv[i]), err);
        json_array_append_new(patterns, json_string(self->argv[i]));
    }
    json_t *results = rc ? NULL : evctl_ask(self, "purge", json_pack("[O]", patterns), err);
    json_decref(patterns);
    if (!results)
        return rc ? rc : err->code;
    json_t *events = json_array_get(results, 0), *head = json_array_get(results, 1);
    if (json_is_integer(events))
        snprintf(line, sizeof line, "%lld %s gone", (long long)json_integer_value(events),
                 json_integer_value(events) == 1 ? "event is" : "events are");
    else
        snprintf(line, sizeof line, "what matched up to seq %lld is gone", (long long)json_integer_value(head));
    evctl_say_done(self, line, json_pack("{sOsO}", "events", events, "head", head));
    json_decref(results);
    return 0;
}
