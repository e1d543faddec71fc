/* evctl_admin.c: what changes something: group, dead, trim, purge. Each says in a line what it has done.
 *
 * Leaves to others: asking (evctl_ask.c), printing rows (evctl_print.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "evctl.h"
#include "event/json.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

/* Says what was done: a line, or with -J an object (taken over). */
static void say_done(const evctl *self, const char *line, json_t *object) {
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
    snprintf(line, sizeof line, "group %s goes on at seq %" PRIu64 "; %lld pending events dropped", name, seq,
             (long long)dropped);
    say_done(self, line, json_pack("{sssIsI}", "group", name, "next", (json_int_t)seq, "dropped", dropped));
    json_decref(results);
    return 0;
}

static int group_delete(evctl *self, const char *name, evb_error *err) {
    char line[200];
    json_t *results = evctl_ask(self, "group.delete", json_pack("[s]", name), err);
    if (!results)
        return err->code;
    snprintf(line, sizeof line, "group %s is deleted", name);
    say_done(self, line, json_pack("{sssb}", "group", name, "deleted", 1));
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
        snprintf(line, sizeof line, "group %s: %s events of seqs %" PRIu64 " to %" PRIu64 " %s once more", name,
                 count, from, to, dry ? "would be handed out" : "are handed out");
    say_done(self, line,
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

/* ---- dead letters ---- */

enum { PAGE = 1000 };

/* Takes the rows of a page of one group's letters. */
typedef int letters_fn(evctl *self, void *context, const json_t *rows, evb_error *err);

/* A group's letters, in the order of their seqs. */
static int letters_of(evctl *self, const char *group, letters_fn *each, void *context, evb_error *err) {
    json_int_t after = 0;
    int rc = 0;
    for (size_t count = PAGE; rc == 0 && count == PAGE;) {
        json_t *results = evctl_ask(self, "dead", json_pack("[sIi]", group, after, PAGE), err);
        const json_t *rows = json_array_get(results, 0);
        if (!results)
            return err->code;
        count = json_array_size(rows);
        if (count)
            after = (json_int_t)evctl_number(json_array_get(rows, count - 1), "seq");
        rc = count ? each(self, context, rows, err) : 0;
        json_decref(results);
    }
    return rc;
}

/* The letters of the group that is named, or of all groups. */
static int each_letter(evctl *self, int argc, char **argv, letters_fn *each, void *context, evb_error *err) {
    if (argc)
        return letters_of(self, argv[0], each, context, err);
    json_t *results = evctl_ask(self, "groups", NULL, err);
    const json_t *groups = json_array_get(results, 0);
    int rc = results ? 0 : err->code;
    for (size_t i = 0; rc == 0 && i < json_array_size(groups); i++) {
        const json_t *group = json_array_get(groups, i);
        if (!evctl_number(group, "dead"))
            continue;
        rc = letters_of(self, evctl_text(group, "name"), each, context, err);
        rc = rc == EVB_EGONE ? 0 : rc; /* deleted meanwhile */
    }
    json_decref(results);
    return rc;
}

static int print_letters(evctl *self, void *context, const json_t *rows, evb_error *err) {
    (void)err;
    evctl_print(self, context, rows);
    return 0;
}

static int dead_list(evctl *self, int argc, char **argv, evb_error *err) {
    static const evctl_column COLUMNS[] = {
        {"GROUP", "group", EVCTL_TEXT, false, 0},  {"SEQ", "seq", EVCTL_COUNT, false, 0},
        {"OF", "orig_seq", EVCTL_COUNT, false, 3}, {"TOPIC", "topic", EVCTL_TEXT, false, 0},
        {"AGO", "time_ns", EVCTL_AGO, false, 2},   {"DELIVERIES", "deliveries", EVCTL_COUNT, false, 1},
        {"REASON", "reason", EVCTL_TEXT, false, 0}};
    evctl_table table = {.columns = COLUMNS, .count = COUNT(COLUMNS)};
    if (argc > 1)
        return evb_fail(err, EVB_EINVAL, "dead list: at most one group is wanted");
    int rc = each_letter(self, argc, argv, print_letters, &table, err);
    if (rc == 0 && !table.begun)
        evctl_print(self, &table, NULL);
    return rc;
}

/* Adds a header as a line; what it says moves no terminal's cursor. */
static bool add_header(evb_buf *out, const evb_header *header) {
    size_t from = out->size;
    bool ok = evb_buf_add(out, header->name, header->name_size) && evb_buf_text(out, ": ") &&
              (!header->value_size || evb_buf_add(out, header->value, header->value_size));
    if (ok)
        evctl_tame((char *)out->data + from, out->size - from);
    return ok && evb_buf_text(out, "\n");
}

static bool print_letter(const evctl *self, const evb_event *event) {
    evb_buf out = {0};
    bool ok = true;
    if (self->o.json) {
        ok = evb_json_add_event(&out, event) && evb_buf_text(&out, "\n");
    } else {
        ok = evb_buf_printf(&out, "seq: %" PRIu64 "\n", event->seq);
        for (size_t i = 0; ok && i < event->header_count; i++)
            ok = add_header(&out, &event->headers[i]);
        ok = ok && evb_buf_text(&out, "\n") && (!event->size || evb_buf_add(&out, event->payload, event->size)) &&
             evb_buf_text(&out, "\n");
    }
    ok = ok && fwrite(out.data, 1, out.size, stdout) == out.size;
    evb_buf_free(&out);
    return ok;
}

/* Reads the event of one seq and prints it. */
static int show_letter(evctl *self, const char *group, uint64_t seq, evb_error *err) {
    char topic[300];
    const char *pattern = topic;
    evb_event event;
    int rc;
    snprintf(topic, sizeof topic, "$dead.%s", group);
    const evb_sub_options how = {.patterns = &pattern,
                                 .pattern_count = 1,
                                 .from = EVB_FROM_SEQ,
                                 .value = seq,
                                 .until_head = true,
                                 .has_to = true,
                                 .to = seq,
                                 .allow_gap = true,
                                 .kind = "evctl"};
    evb_sub *sub = evctl_bus(self, err) ? evb_sub_new(self->bus, &how, NULL, NULL, err) : NULL;
    if (!sub)
        return err->code;
    do {
        rc = evb_sub_next(sub, &event, err);
        if (rc == EVB_NOTHING && evb_bus_wait(self->bus, NULL, 0, -1, err) < 0)
            rc = EVB_EIO;
    } while (rc == EVB_NOTHING);
    if (rc == EVB_EVENT)
        rc = print_letter(self, &event) ? 0 : evb_fail(err, EVB_EIO, "stdout: cannot write");
    else if (rc == EVB_END)
        rc = evb_fail(err, EVB_EGONE, "group %s has no dead letter of seq %" PRIu64, group, seq);
    evb_sub_destroy(&sub);
    return rc;
}

static int show_rows(evctl *self, void *context, const json_t *rows, evb_error *err) {
    int rc = 0;
    (void)context;
    for (size_t i = 0; rc == 0 && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        rc = show_letter(self, evctl_text(row, "group"), evctl_number(row, "seq"), err);
    }
    return rc;
}

/* Reads seqs from operands. */
static int read_seqs(int argc, char **argv, json_t **seqs, evb_error *err) {
    uint64_t seq;
    *seqs = json_array();
    for (int i = 0; i < argc; i++) {
        const char *fault = evb_number_parse(argv[i], &seq);
        if (fault || !seq || seq > INT64_MAX) {
            json_decref(*seqs);
            return evb_fail(err, EVB_EINVAL, "%s: not a seq%s%s", argv[i], fault ? ": " : "", fault ? fault : "");
        }
        json_array_append_new(*seqs, json_integer((json_int_t)seq));
    }
    return 0;
}

static int dead_show(evctl *self, int argc, char **argv, evb_error *err) {
    json_t *seqs;
    if (argc < 2)
        return each_letter(self, argc, argv, show_rows, NULL, err);
    int rc = read_seqs(argc - 1, argv + 1, &seqs, err);
    if (rc)
        return rc;
    for (size_t i = 0; rc == 0 && i < json_array_size(seqs); i++)
        rc = show_letter(self, argv[0], (uint64_t)json_integer_value(json_array_get(seqs, i)), err);
    json_decref(seqs);
    return rc;
}

static int settle(evctl *self, const char *op, const char *done, int argc, char **argv, evb_error *err) {
    char line[200];
    json_t *seqs = NULL;
    if (!argc)
        return evb_fail(err, EVB_EINVAL, "dead: a group is wanted, and seqs of its letters (none: all)");
    int rc = argc > 1 ? read_seqs(argc - 1, argv + 1, &seqs, err) : 0;
    if (rc)
        return rc;
    json_t *results = evctl_ask(self, op, json_pack("[so]", argv[0], seqs ? seqs : json_null()), err);
    if (!results)
        return err->code;
    snprintf(line, sizeof line, "%lld dead letters of group %s %s", (long long)first_number(results), argv[0], done);
    say_done(self, line, json_pack("{sssI}", "group", argv[0], "letters", first_number(results)));
    json_decref(results);
    return 0;
}

static int dead_retry(evctl *self, int argc, char **argv, evb_error *err) {
    return settle(self, "dead.retry", "are handed out again", argc, argv, err);
}

static int dead_drop(evctl *self, int argc, char **argv, evb_error *err) {
    return settle(self, "dead.drop", "are dropped", argc, argv, err);
}

int evctl_dead(evctl *self, evb_error *err) {
    static const struct {
        const char *name;
        int (*run)(evctl *self, int argc, char **argv, evb_error *err);
    } DEEDS[] = {{"list", dead_list}, {"show", dead_show}, {"retry", dead_retry}, {"drop", dead_drop}};
    if (self->argc > 1 && evctl_check_text("group", self->argv[1], err))
        return err->code;
    for (size_t i = 0; self->argc && i < COUNT(DEEDS); i++)
        if (strcmp(self->argv[0], DEEDS[i].name) == 0)
            return DEEDS[i].run(self, self->argc - 1, self->argv + 1, err);
    return evb_fail(err, EVB_EINVAL, "dead: list, show, retry or drop is wanted; try 'evctl --help'");
}

/* ---- trim, purge ---- */

int evctl_trim(evctl *self, evb_error *err) {
    char line[100];
    uint64_t seq;
    if (!self->o.before || self->argc)
        return evb_fail(err, EVB_EINVAL, "trim: --before POSITION is wanted, and nothing else");
    int rc = evctl_seq_of(self, "--before", self->o.before, NULL, &seq, err);
    json_t *results = rc ? NULL : evctl_ask(self, "trim", json_pack("[I]", (json_int_t)seq), err);
    if (!results)
        return err->code;
    snprintf(line, sizeof line, "the journal begins at seq %lld now", (long long)first_number(results));
    say_done(self, line, json_pack("{sI}", "first", first_number(results)));
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
        snprintf(line, sizeof line, "%lld events are gone", (long long)json_integer_value(events));
    else
        snprintf(line, sizeof line, "what matched up to seq %lld is gone", (long long)json_integer_value(head));
    say_done(self, line, json_pack("{sOsO}", "events", events, "head", head));
    json_decref(results);
    return 0;
}
