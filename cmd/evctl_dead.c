/* evctl_dead.c: dead list, show, retry, drop: what groups have given up on, and what becomes of it.
 *
 * A letter is named by its group and seq, or by its seq alone.
 * Leaves to others: what a letter says (evctl_letter.c), the editor (evctl_edit.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/units.h"
#include "client/ask.h"
#include "evctl.h"
#include "event/mp.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

static json_int_t first_number(const json_t *results) { return json_integer_value(json_array_get(results, 0)); }

/* ---- which letters ---- */

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

static int show_rows(evctl *self, void *context, const json_t *rows, evb_error *err) {
    int rc = 0;
    (void)context;
    for (size_t i = 0; rc == 0 && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        rc = evctl_show_letter(self, evctl_text(row, "group"), evctl_number(row, "seq"), err);
    }
    return rc;
}

static int read_seq(const char *text, uint64_t *seq, evb_error *err) {
    const char *fault = evb_number_parse(text, seq);
    if (fault || !*seq || *seq > INT64_MAX)
        return evb_fail(err, EVB_EINVAL, "%s: not a seq%s%s", text, fault ? ": " : "", fault ? fault : "");
    return 0;
}

/* Which letters the operands name. */
typedef struct {
    char *group; /* NULL: those of the seqs, whosever they are */
    char **seqs;
    int count;
} naming;

/* Whether there is a group of this name. */
static int is_group(evctl *self, const char *name, bool *is, evb_error *err) {
    json_t *results = evctl_ask(self, "dead", json_pack("[sii]", name, 0, 1), err);
    *is = results;
    json_decref(results);
    return results || err->code == EVB_EGONE ? 0 : err->code;
}

/* A number is a seq, unless a group is called so. */
static int read_naming(evctl *self, int argc, char **argv, naming *out, evb_error *err) {
    uint64_t seq;
    bool group = argc > 0;
    int rc = 0;
    if (argc && !evb_number_parse(argv[0], &seq))
        rc = is_group(self, argv[0], &group, err);
    *out = (naming){group ? argv[0] : NULL, argv + group, argc - group};
    for (int i = 0; rc == 0 && i < out->count; i++)
        rc = read_seq(out->seqs[i], &seq, err);
    return rc;
}

static int dead_show(evctl *self, int argc, char **argv, evb_error *err) {
    naming n;
    uint64_t seq;
    int rc = read_naming(self, argc, argv, &n, err);
    if (rc == 0 && !n.count)
        return each_letter(self, argc, argv, show_rows, NULL, err);
    for (int i = 0; rc == 0 && i < n.count; i++) {
        rc = read_seq(n.seqs[i], &seq, err);
        rc = rc ? rc : evctl_show_letter(self, n.group, seq, err);
    }
    return rc;
}

/* ---- what becomes of them ---- */

/* Asks the hub to settle letters of one group: an array of seqs, taken over, or NULL: all. */
static int ask_settle(evctl *self, const char *op, const char *done, const char *group, json_t *seqs,
                      evb_error *err) {
    char line[200];
    json_t *results = evctl_ask(self, op, json_pack("[so]", group, seqs ? seqs : json_null()), err);
    json_int_t count = first_number(results);
    if (!results)
        return err->code;
    snprintf(line, sizeof line, "%lld dead letter%s of group %s %s %s", (long long)count, evb_plural((uint64_t)count),
             group, count == 1 ? "is" : "are", done);
    evctl_say_done(self, line, json_pack("{sssI}", "group", group, "letters", count));
    json_decref(results);
    return 0;
}

/* One letter, whosever it is. */
static int settle_one(evctl *self, const char *op, const char *done, const char *text, evb_error *err) {
    uint64_t seq;
    int rc = read_seq(text, &seq, err);
    char *group = rc ? NULL : evctl_find_letter(self, NULL, seq, NULL, err);
    if (!group)
        return err->code;
    rc = ask_settle(self, op, done, group, json_pack("[I]", (json_int_t)seq), err);
    free(group);
    return rc;
}

static int settle(evctl *self, const char *op, const char *done, int argc, char **argv, evb_error *err) {
    naming n;
    uint64_t seq = 0;
    if (!argc)
        return evb_fail(err, EVB_EINVAL, "dead: a group is wanted, and seqs of its letters (none: all)");
    int rc = read_naming(self, argc, argv, &n, err);
    for (int i = 0; rc == 0 && !n.group && i < n.count; i++)
        rc = settle_one(self, op, done, n.seqs[i], err);
    if (rc || !n.group)
        return rc;
    json_t *seqs = n.count ? json_array() : NULL;
    for (int i = 0; i < n.count; i++)
        if (read_seq(n.seqs[i], &seq, err) == 0)
            json_array_append_new(seqs, json_integer((json_int_t)seq));
    return ask_settle(self, op, done, n.group, seqs, err);
}

static const char AGAIN[] = "handed out again";

/* ---- retry --edit ---- */

/* EVB_EGONE: somebody has dealt with the letter already. */
static int check_open(evctl *self, const char *group, uint64_t seq, evb_error *err) {
    json_t *results = evctl_ask(self, "dead", json_pack("[sIi]", group, (json_int_t)seq - 1, 1), err);
    bool open = evctl_number(json_array_get(json_array_get(results, 0), 0), "seq") == seq;
    int rc = results ? 0 : err->code;
    json_decref(results);
    return rc || open ? rc : evb_fail(err, EVB_EGONE, "group %s has no dead letter of seq %" PRIu64, group, seq);
}

/* Sends the edited payload. */
static int send_edited(evctl *self, const char *group, uint64_t seq, const evb_buf *payload, uint64_t *retry,
                       evb_error *err) {
    evb_buf args = {0}, results = {0};
    msgpack_packer p;
    evb_mp_packer(&p, &args);
    bool ok = !evb_mp_pack_str(&p, group, strlen(group)) && !msgpack_pack_uint64(&p, seq);
    int rc = !ok ? evb_fail(err, EVB_ENOMEM, "out of memory")
             : evctl_bus(self, err)
                 ? evb_ask_with(self->bus, "dead.edit", 2, &args, payload->data, payload->size, &results, err)
                 : err->code;
    evb_mp mp = evb_mp_of(&results);
    if (rc == 0 && !evb_mp_uint(&mp, retry))
        rc = evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    evb_buf_free(&args);
    evb_buf_free(&results);
    return rc;
}

/* Sends it; what cannot be stored is not lost with its file. */
static int store_edited(evctl *self, const char *group, uint64_t seq, const evb_buf *payload, const char *path,
                        evb_error *err) {
    char line[256];
    uint64_t retry = 0;
    evb_error why;
    int rc = send_edited(self, group, seq, payload, &retry, &why);
    if (rc)
        return evb_fail(err, rc, "%.300s; what was edited is in %.150s", why.text, path);
    unlink(path);
    snprintf(line, sizeof line, "dead letter %" PRIu64 " of group %s is handed out again, edited, as seq %" PRIu64,
             seq, group, retry);
    evctl_say_done(self, line,
                   json_pack("{sssIsI}", "group", group, "letters", (json_int_t)1, "seq", (json_int_t)retry));
    return 0;
}

static int edit_letter(evctl *self, const char *group, uint64_t seq, evb_buf *payload, evb_error *err) {
    bool changed;
    char *path;
    evb_bus_destroy(&self->bus); /* an editor may take hours */
    int rc = evctl_edit(payload, &changed, &path, err);
    if (rc == 0 && changed) {
        rc = store_edited(self, group, seq, payload, path, err);
    } else if (rc == 0) {
        unlink(path);
        rc = ask_settle(self, "dead.retry", AGAIN, group, json_pack("[I]", (json_int_t)seq), err);
    }
    free(path);
    return rc;
}

static int retry_edited(evctl *self, int argc, char **argv, evb_error *err) {
    naming n;
    evb_buf payload = {0};
    uint64_t seq;
    int rc = read_naming(self, argc, argv, &n, err);
    if (rc == 0 && n.count != 1)
        return evb_fail(err, EVB_EINVAL, "dead retry --edit: one SEQ is wanted");
    rc = rc ? rc : read_seq(n.seqs[0], &seq, err);
    char *group = rc ? NULL : evctl_find_letter(self, n.group, seq, &payload, err);
    rc = rc ? rc : group ? check_open(self, group, seq, err) : err->code;
    rc = rc ? rc : edit_letter(self, group, seq, &payload, err);
    evb_buf_free(&payload);
    free(group);
    return rc;
}

static int dead_retry(evctl *self, int argc, char **argv, evb_error *err) {
    if (self->o.edit)
        return retry_edited(self, argc, argv, err);
    return settle(self, "dead.retry", AGAIN, argc, argv, err);
}

static int dead_drop(evctl *self, int argc, char **argv, evb_error *err) {
    return settle(self, "dead.drop", "dropped", argc, argv, err);
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
