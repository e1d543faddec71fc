/* evctl_scheduled.c: scheduled list, scheduled cancel: what is to be published later.
 *
 * A list is asked for in pages, by due time and seq, so that what is published or cancelled meanwhile shifts nothing.
 * Leaves to others: asking (evctl_ask.c), printing rows (evctl_print.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "evctl.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

enum { PAGE = 1000, CANCEL_MOST = 10000 /* seqs of one request */ };

/* ---- list ---- */

/* -J has the times as text, too. */
static void add_times(const json_t *rows) {
    char text[EVB_TIME_TEXT];
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        evb_time_text((int64_t)evctl_number(row, "due_ns"), text);
        json_object_set_new(row, "due", json_string(text));
    }
}

static int list_page(evctl *self, evctl_table *table, json_int_t *due_ns, json_int_t *seq, bool *more,
                     evb_error *err) {
    json_t *patterns = json_array();
    for (int i = 1; i < self->argc; i++)
        json_array_append_new(patterns, json_string(self->argv[i]));
    json_t *results = evctl_ask(self, "scheduled", json_pack("[IIio]", *due_ns, *seq, PAGE, patterns), err);
    if (!results)
        return err->code;
    json_t *rows = json_array_get(results, 0);
    add_times(rows);
    *more = json_is_integer(json_array_get(results, 1));
    *due_ns = json_integer_value(json_array_get(results, 1));
    *seq = json_integer_value(json_array_get(results, 2));
    if (json_array_size(rows) || (!*more && !table->begun))
        evctl_print(self, table, rows);
    json_decref(results);
    return 0;
}

static int scheduled_list(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {{"SEQ", "seq", EVCTL_COUNT, false, 0},
                                           {"DUE", "due_ns", EVCTL_TIME, false, 0},
                                           {"TOPIC", "topic", EVCTL_TEXT, false, 0},
                                           {"SIZE", "size", EVCTL_SIZE, false, 1},
                                           {"PAYLOAD", "start", EVCTL_TEXT, false, 2}};
    evctl_table table = {.columns = COLUMNS, .count = COUNT(COLUMNS)};
    json_int_t due_ns = 0, seq = 0;
    bool more = true;
    int rc = 0;
    for (int i = 1; rc == 0 && i < self->argc; i++)
        rc = evctl_check_text("scheduled list", self->argv[i], err);
    while (rc == 0 && more)
        rc = list_page(self, &table, &due_ns, &seq, &more, err);
    return rc;
}

/* ---- cancel ---- */

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Reads the operands, sorted and each once. */
static int read_seqs(char **argv, size_t *count, uint64_t *seqs, evb_error *err) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        const char *fault = evb_number_parse(argv[i], &seqs[i]);
        if (fault || !seqs[i] || seqs[i] > INT64_MAX)
            return evb_fail(err, EVB_EINVAL, "%.40s: not a scheduled seq%s%s", argv[i], fault ? ": " : "",
                            fault ? fault : "");
    }
    qsort(seqs, *count, sizeof *seqs, ascending);
    for (size_t i = 0; i < *count; i++)
        if (!kept || seqs[i] != seqs[kept - 1])
            seqs[kept++] = seqs[i];
    *count = kept;
    return 0;
}

/* Cancels some; counts those that were, and keeps the first that was not scheduled in *missing. */
static int cancel_some(evctl *self, const uint64_t *seqs, size_t count, size_t *done, uint64_t *missing,
                       evb_error *err) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer((json_int_t)seqs[i]));
    json_t *results = evctl_ask(self, "schedule.cancel", json_pack("[o]", list), err);
    if (!results)
        return err->code;
    const json_t *cancelled = json_array_get(results, 0);
    size_t n = json_array_size(cancelled), at = 0;
    for (size_t i = 0; i < count && !*missing; i++)
        if (at < n && json_integer_value(json_array_get(cancelled, at)) == (json_int_t)seqs[i])
            at++;
        else
            *missing = seqs[i];
    *done += n;
    json_decref(results);
    return 0;
}

static int cancel_all(evctl *self, const uint64_t *seqs, size_t count, evb_error *err) {
    size_t done = 0;
    uint64_t missing = 0;
    int rc = 0;
    for (size_t at = 0, n; rc == 0 && at < count; at += n) {
        n = count - at < CANCEL_MOST ? count - at : CANCEL_MOST;
        rc = cancel_some(self, seqs + at, n, &done, &missing, err);
    }
    if (rc)
        return rc;
    if (self->o.json)
        printf("{\"cancelled\":%zu}\n", done);
    else
        printf("%zu event%s cancelled\n", done, evb_plural(done));
    if (missing)
        return evb_fail(err, EVB_EGONE, "%" PRIu64 "%s: not scheduled: published, cancelled, or never there", missing,
                        count - done > 1 ? " and others" : "");
    return 0;
}

static int scheduled_cancel(evctl *self, evb_error *err) {
    size_t count = (size_t)(self->argc - 1);
    if (!count)
        return evb_fail(err, EVB_EINVAL, "scheduled cancel: the seqs are wanted, as scheduled list shows them");
    uint64_t *seqs = calloc(count, sizeof *seqs);
    int rc = seqs ? read_seqs(self->argv + 1, &count, seqs, err) : evb_fail(err, EVB_ENOMEM, "out of memory");
    rc = rc ? rc : cancel_all(self, seqs, count, err);
    free(seqs);
    return rc;
}

int evctl_scheduled(evctl *self, evb_error *err) {
    if (self->argc && strcmp(self->argv[0], "list") == 0)
        return scheduled_list(self, err);
    if (self->argc && strcmp(self->argv[0], "cancel") == 0)
        return scheduled_cancel(self, err);
    return evb_fail(err, EVB_EINVAL, "scheduled: list or cancel is wanted; try 'evctl --help'");
}
