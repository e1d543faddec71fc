/* evctl_show.c: status, topics, groups, clients: what the hub has to say.
 *
 * Leaves to others: asking (evctl_ask.c), printing (evctl_print.c). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "evctl.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

/* ---- status ---- */

/* What -J has besides: the URL, how many events are left; the hub's clock as text. */
static void add_times(const char *url, json_t *row) {
    char text[EVB_TIME_TEXT];
    json_object_set_new(row, "url", json_string(url));
    json_object_set_new(row, "events",
                        json_integer((json_int_t)(evctl_number(row, "head") + 1 - evctl_number(row, "first"))));
    evb_time_text((int64_t)evctl_number(row, "time"), text);
    json_object_set_new(row, "time", json_string(text));
}

static void print_fact(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print_fact(const char *label, const char *format, ...) {
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    evctl_print_fact(label, text);
}

static void print_status(const char *url, const json_t *s) {
    char a[EVCTL_FIGURE], b[EVCTL_FIGURE], now[EVB_TIME_TEXT];
    uint64_t first = evctl_number(s, "first"), head = evctl_number(s, "head"), topics = evctl_number(s, "topics");
    uint64_t come = evctl_number(s, "events_in"), segments = evctl_number(s, "segments");
    evb_time_text((int64_t)evctl_number(s, "time"), now);
    print_fact("hub", "%s, pid %" PRIu64 ", version %s, up %s", url, evctl_number(s, "pid"), evctl_text(s, "version"),
               evctl_figure(EVCTL_SPAN, evctl_number(s, "uptime_ns"), a));
    print_fact("events", "%" PRIu64 ", seqs %" PRIu64 " to %" PRIu64 ", on %" PRIu64 " topic%s", head + 1 - first,
               first, head, topics, evb_plural(topics));
    print_fact("since start", "%" PRIu64 " event%s, %s, %" PRIu64 " a second now", come, evb_plural(come),
               evctl_figure(EVCTL_SIZE, evctl_number(s, "bytes_in"), a), evctl_number(s, "rate_in"));
    print_fact("journal", "%s, %s in %" PRIu64 " segment%s, sync %s",
               json_is_true(json_object_get(s, "memory")) ? "in memory" : evctl_text(s, "dir"),
               evctl_figure(EVCTL_SIZE, evctl_number(s, "bytes"), a), segments, evb_plural(segments),
               evctl_text(s, "sync"));
    print_fact("disk", "%s free of %s%s", evctl_figure(EVCTL_SIZE, evctl_number(s, "disk_free"), a),
               evctl_figure(EVCTL_SIZE, evctl_number(s, "disk_total"), b),
               json_is_true(json_object_get(s, "full")) ? ", FULL: no events are taken" : "");
    print_fact("clients", "%" PRIu64 ", groups %" PRIu64, evctl_number(s, "clients"), evctl_number(s, "groups"));
    print_fact("memory", "%s", evctl_figure(EVCTL_SIZE, evctl_number(s, "rss"), a));
    print_fact("max payload", "%" PRIu64 " bytes", evctl_number(s, "max_payload"));
    print_fact("its time", "%s", now);
}

int evctl_status(evctl *self, evb_error *err) {
    json_t *results = evctl_ask(self, "status", NULL, err), *row = json_array_get(results, 0);
    if (!results)
        return err->code;
    if (self->o.json) {
        add_times(self->url, row);
        evctl_print_json(row);
    } else {
        print_status(self->url, row);
    }
    json_decref(results);
    return 0;
}

/* ---- topics ---- */

/* A page's rows, each an array, become objects. */
static void name_fields(const json_t *page, json_t *rows) {
    static const char *const NAMES[] = {"topic", "last", "version", "events", "bytes", "time_ns"};
    for (size_t i = 0; i < json_array_size(page); i++) {
        json_t *fields = json_array_get(page, i), *row = json_object();
        for (size_t f = 0; f < COUNT(NAMES) && f < json_array_size(fields); f++)
            json_object_set(row, NAMES[f], json_array_get(fields, f));
        json_array_append_new(rows, row);
    }
}

static json_t *patterns_of(int argc, char **argv) {
    json_t *patterns = json_array();
    for (int i = 0; i < argc; i++)
        json_array_append_new(patterns, json_string(argv[i]));
    return patterns;
}

static int check_patterns(int argc, char **argv, evb_error *err) {
    for (int i = 0; i < argc; i++)
        if (evb_pattern_check(argv[i], strlen(argv[i]), err))
            return err->code;
    return 0;
}

/* One page of topics behind *after, which becomes what the next is behind, or NULL. */
static int next_page(evctl *self, json_t **after, json_t *rows, evb_error *err) {
    json_t *args = json_pack("[oio]", *after, 0, patterns_of(self->argc, self->argv));
    json_t *results = evctl_ask(self, "topics", args, err), *next = json_array_get(results, 0);
    *after = json_is_string(next) ? json_incref(next) : NULL;
    name_fields(json_array_get(results, 1), rows);
    int rc = results ? 0 : err->code;
    json_decref(results);
    return rc;
}

/* Prints what is there at once only when it is enough to see how wide the columns will be. */
int evctl_topics(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {
        {"TOPIC", "topic", EVCTL_TEXT, false, 0}, {"EVENTS", "events", EVCTL_COUNT, false, 0},
        {"BYTES", "bytes", EVCTL_SIZE, false, 2}, {"VERSION", "version", EVCTL_COUNT, false, 4},
        {"LAST", "last", EVCTL_COUNT, false, 3},  {"AGO", "time_ns", EVCTL_AGO, false, 1}};
    enum { SEEN_FIRST = 1000 };
    evctl_table table = {.columns = COLUMNS, .count = COUNT(COLUMNS)};
    json_t *rows = json_array(), *after = json_string("");
    int rc = check_patterns(self->argc, self->argv, err);
    while (rc == 0 && after) {
        rc = next_page(self, &after, rows, err);
        if (rc || (after && json_array_size(rows) < SEEN_FIRST))
            continue;
        evctl_print(self, &table, rows);
        json_array_clear(rows);
    }
    json_decref(after);
    json_decref(rows);
    return rc;
}

/* ---- groups, clients ---- */

static int show_rows(evctl *self, const char *op, const evctl_column *columns, size_t count, evb_error *err) {
    evctl_table table = {.columns = columns, .count = count};
    json_t *results = evctl_ask(self, op, NULL, err);
    if (!results)
        return err->code;
    evctl_print(self, &table, json_array_get(results, 0));
    json_decref(results);
    return 0;
}

int evctl_groups(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {
        {"GROUP", "name", EVCTL_TEXT, false, 0},        {"MEMBERS", "members", EVCTL_COUNT, false, 0},
        {"LAG", "lag", EVCTL_COUNT, false, 0},          {"PENDING", "pending", EVCTL_COUNT, false, 1},
        {"IN HAND", "in_hand", EVCTL_COUNT, false, 5},  {"ACKED", "acked", EVCTL_COUNT, false, 7},
        {"AGAIN", "redelivered", EVCTL_COUNT, true, 4}, {"DEAD", "dead", EVCTL_COUNT, true, 2},
        {"LOST", "lost", EVCTL_COUNT, true, 3},         {"PATTERNS", "patterns", EVCTL_TEXT, false, 6},
        {"STALLED", "stalled", EVCTL_TEXT, true, 0}};
    return show_rows(self, "groups", COLUMNS, COUNT(COLUMNS), err);
}

int evctl_clients(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {
        {"CLIENT", "kind", EVCTL_TEXT, false, 0},        {"PID", "pid", EVCTL_COUNT, false, 0},
        {"UID", "uid", EVCTL_COUNT, false, 3},           {"SINCE", "since_ns", EVCTL_AGO, false, 5},
        {"POSITION", "position", EVCTL_COUNT, false, 4}, {"LAG", "lag", EVCTL_COUNT, false, 0},
        {"IN HAND", "in_hand", EVCTL_COUNT, false, 7},   {"RATE", "rate", EVCTL_COUNT, false, 6},
        {"LOSSES", "losses", EVCTL_COUNT, true, 2},      {"GROUP", "group", EVCTL_TEXT, false, 1},
        {"PATTERNS", "patterns", EVCTL_TEXT, false, 0}};
    return show_rows(self, "clients", COLUMNS, COUNT(COLUMNS), err);
}
