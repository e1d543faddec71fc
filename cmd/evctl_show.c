/* evctl_show.c: status, topics, groups, clients, metrics: what the hub has to say.
 *
 * Leaves to others: asking (evctl_ask.c), printing (evctl_print.c). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "evctl.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

/* ---- status ---- */

/* Puts in the place of *_ns what people read, for JSON: ns stay, a time is added. */
static void add_times(const char *url, json_t *row) {
    char text[EVB_TIME_TEXT];
    json_object_set_new(row, "url", json_string(url));
    json_object_set_new(row, "events",
                        json_integer((json_int_t)(evctl_number(row, "head") + 1 - evctl_number(row, "first"))));
    evb_time_text((int64_t)evctl_number(row, "time"), text);
    json_object_set_new(row, "time", json_string(text));
}

static void print_status(const char *url, const json_t *s) {
    char a[EVCTL_FIGURE], b[EVCTL_FIGURE], now[EVB_TIME_TEXT];
    uint64_t first = evctl_number(s, "first"), head = evctl_number(s, "head");
    evb_time_text((int64_t)evctl_number(s, "time"), now);
    printf("hub          %s, pid %" PRIu64 ", version %s, up %s\n", url, evctl_number(s, "pid"),
           evctl_text(s, "version"), evctl_figure(EVCTL_SPAN, evctl_number(s, "uptime_ns"), a));
    printf("events       %" PRIu64 ", seqs %" PRIu64 " to %" PRIu64 ", on %" PRIu64 " topics\n", head + 1 - first,
           first, head, evctl_number(s, "topics"));
    printf("since start  %" PRIu64 " events, %s; %" PRIu64 " a second now\n", evctl_number(s, "events_in"),
           evctl_figure(EVCTL_SIZE, evctl_number(s, "bytes_in"), a), evctl_number(s, "rate_in"));
    printf("journal      %s, %s in %" PRIu64 " segments, sync %s\n",
           json_is_true(json_object_get(s, "memory")) ? "in memory" : evctl_text(s, "dir"),
           evctl_figure(EVCTL_SIZE, evctl_number(s, "bytes"), a), evctl_number(s, "segments"), evctl_text(s, "sync"));
    printf("disk         %s free of %s%s\n", evctl_figure(EVCTL_SIZE, evctl_number(s, "disk_free"), a),
           evctl_figure(EVCTL_SIZE, evctl_number(s, "disk_total"), b),
           json_is_true(json_object_get(s, "full")) ? ": FULL, no events are taken" : "");
    printf("clients      %" PRIu64 ", groups %" PRIu64 "\n", evctl_number(s, "clients"), evctl_number(s, "groups"));
    printf("memory       %s\n", evctl_figure(EVCTL_SIZE, evctl_number(s, "rss"), a));
    printf("max payload  %" PRIu64 " bytes\nits time     %s\n", evctl_number(s, "max_payload"), now);
}

int evctl_status(evctl *self, evb_error *err) {
    json_t *results = evctl_ask(self, "status", NULL, err), *row = json_array_get(results, 0);
    if (!results)
        return err->code;
    if (self->o.json) {
        add_times(self->url, row);
        json_dumpf(row, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_status(self->url, row);
    }
    json_decref(results);
    return 0;
}

/* ---- topics ---- */

static const evctl_column TOPICS[] = {
    {"TOPIC", "topic", EVCTL_TEXT, false}, {"EVENTS", "events", EVCTL_COUNT, false},
    {"BYTES", "bytes", EVCTL_SIZE, false}, {"VERSION", "version", EVCTL_COUNT, false},
    {"LAST", "last", EVCTL_COUNT, false},  {"AGO", "time_ns", EVCTL_AGO, false}};

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

int evctl_topics(evctl *self, evb_error *err) {
    json_t *rows = json_array(), *after = json_string("");
    int rc = check_patterns(self->argc, self->argv, err);
    while (rc == 0 && after) {
        json_t *args = json_pack("[oio]", after, 0, patterns_of(self->argc, self->argv));
        json_t *results = evctl_ask(self, "topics", args, err);
        after = NULL;
        if (!results) {
            rc = err->code;
            continue;
        }
        name_fields(json_array_get(results, 1), rows);
        if (json_is_string(json_array_get(results, 0)))
            after = json_incref(json_array_get(results, 0));
        json_decref(results);
        if (self->o.json) { /* a page at a time: a million of them need not fit in memory */
            evctl_print(self, rows, TOPICS, COUNT(TOPICS));
            json_array_clear(rows);
        }
    }
    if (rc == 0 && !self->o.json)
        evctl_print(self, rows, TOPICS, COUNT(TOPICS));
    json_decref(after);
    json_decref(rows);
    return rc;
}

/* ---- groups, clients ---- */

static int show_rows(evctl *self, const char *op, const evctl_column *columns, size_t count, evb_error *err) {
    json_t *results = evctl_ask(self, op, NULL, err);
    if (!results)
        return err->code;
    evctl_print(self, json_array_get(results, 0), columns, count);
    json_decref(results);
    return 0;
}

int evctl_groups(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {
        {"GROUP", "name", EVCTL_TEXT, false},        {"MEMBERS", "members", EVCTL_COUNT, false},
        {"LAG", "lag", EVCTL_COUNT, false},          {"PENDING", "pending", EVCTL_COUNT, false},
        {"IN HAND", "in_hand", EVCTL_COUNT, false},  {"ACKED", "acked", EVCTL_COUNT, false},
        {"AGAIN", "redelivered", EVCTL_COUNT, true}, {"DEAD", "dead", EVCTL_COUNT, true},
        {"LOST", "lost", EVCTL_COUNT, true},         {"PATTERNS", "patterns", EVCTL_TEXT, false},
        {"STALLED", "stalled", EVCTL_TEXT, true}};
    return show_rows(self, "groups", COLUMNS, COUNT(COLUMNS), err);
}

int evctl_clients(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {
        {"CLIENT", "kind", EVCTL_TEXT, false},        {"PID", "pid", EVCTL_COUNT, false},
        {"UID", "uid", EVCTL_COUNT, false},           {"SINCE", "since_ns", EVCTL_AGO, false},
        {"POSITION", "position", EVCTL_COUNT, false}, {"LAG", "lag", EVCTL_COUNT, false},
        {"RATE", "rate", EVCTL_COUNT, false},         {"LOSSES", "losses", EVCTL_COUNT, true},
        {"GROUP", "group", EVCTL_TEXT, false},        {"PATTERNS", "patterns", EVCTL_TEXT, false}};
    return show_rows(self, "clients", COLUMNS, COUNT(COLUMNS), err);
}

/* ---- metrics ---- */

typedef struct {
    const char *name, *key, *type, *help;
    double scale;
} metric;

static void print_value(double value) {
    if (value == (double)(uint64_t)value)
        printf(" %" PRIu64 "\n", (uint64_t)value);
    else
        printf(" %.9g\n", value);
}

static void print_label(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
}

/* One metric of each row; label NULL: there is one row, without any. */
static void print_metric(const metric *m, const json_t *rows, const char *label) {
    printf("# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *value = json_object_get(row, m->key);
        printf("%s", m->name);
        if (label) {
            printf("{%s=\"", label);
            print_label(evctl_text(row, strcmp(label, "group") == 0 ? "name" : label));
            printf("\"}");
        }
        print_value(json_is_integer(value) ? (double)json_integer_value(value) * m->scale
                                           : (double)(json_is_true(value) || json_is_string(value)));
    }
}

int evctl_metrics(evctl *self, evb_error *err) {
    static const metric HUB[] = {
        {"evbus_uptime_seconds", "uptime_ns", "gauge", "Time since the hub started.", 1e-9},
        {"evbus_head_seq", "head", "counter", "Seq of the newest event that is stored.", 1},
        {"evbus_first_seq", "first", "gauge", "Seq of the oldest event that is left.", 1},
        {"evbus_events_received_total", "events_in", "counter", "Events that came in since the start.", 1},
        {"evbus_received_bytes_total", "bytes_in", "counter", "Bytes of batches that came in since the start.", 1},
        {"evbus_batches_received_total", "batches_in", "counter", "Batches that came in since the start.", 1},
        {"evbus_journal_bytes", "bytes", "gauge", "Size of the journal.", 1},
        {"evbus_journal_segments", "segments", "gauge", "Files of the journal.", 1},
        {"evbus_topics", "topics", "gauge", "Topics that there are.", 1},
        {"evbus_clients", "clients", "gauge", "Subscriptions that are connected.", 1},
        {"evbus_groups", "groups", "gauge", "Groups that there are.", 1},
        {"evbus_disk_free_bytes", "disk_free", "gauge", "Room on the journal's disk.", 1},
        {"evbus_disk_full", "full", "gauge", "1: too little room, no events are taken.", 1},
        {"evbus_resident_memory_bytes", "rss", "gauge", "Memory of the hub.", 1}};
    static const metric GROUP[] = {
        {"evbus_group_members", "members", "gauge", "Members of the group.", 1},
        {"evbus_group_lag", "lag", "gauge", "Seqs between the group and the head.", 1},
        {"evbus_group_pending", "pending", "gauge", "Events in hand or waiting for another delivery.", 1},
        {"evbus_group_acknowledged_total", "acked", "counter", "Events that members acknowledged.", 1},
        {"evbus_group_redelivered_total", "redelivered", "counter", "Events handed out again.", 1},
        {"evbus_group_dead_letters", "dead", "gauge", "Dead letters that nobody has dealt with.", 1},
        {"evbus_group_lost_total", "lost", "counter", "Events that retention took before they were done.", 1},
        {"evbus_group_stalled", "stalled", "gauge", "1: the group stands still.", 1}};
    json_t *hub = evctl_ask(self, "status", NULL, err), *groups = hub ? evctl_ask(self, "groups", NULL, err) : NULL;
    for (size_t i = 0; groups && i < COUNT(HUB); i++)
        print_metric(&HUB[i], hub, NULL);
    for (size_t i = 0; groups && i < COUNT(GROUP); i++)
        print_metric(&GROUP[i], json_array_get(groups, 0), "group");
    int rc = groups ? 0 : err->code;
    json_decref(hub);
    json_decref(groups);
    return rc;
}
