/* evctl_metrics.c: figures of hub and groups in the text format of Prometheus, or with -J a line of JSON for each.
 *
 * Names follow prometheus.io/docs/practices/naming: base units, and _total behind what only grows while the hub runs. A
 * metric is a row in a table; all of its samples stand together, as the format wants it. Nothing is printed before
 * everything was answered, so that what a collector finds is whole.
 * Leaves to others: what the figures mean (evbus-protocol(7): status, groups, clients). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "evctl.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

typedef enum { GAUGE, COUNTER } metric_type;

typedef struct {
    const char *name, *key; /* key: of the rows */
    metric_type type;
    const char *help;
    double scale;
} metric;

/* A metric of each row; its labels' values are the rows' members of these keys. */
typedef struct {
    const char *label, *key;
} metric_label;

static const metric HUB[] = {
    {"evbus_uptime_seconds", "uptime_ns", GAUGE, "Time since the hub started.", 1e-9},
    {"evbus_head_seq", "head", GAUGE, "Seq of the newest event that is stored.", 1},
    {"evbus_first_seq", "first", GAUGE, "Seq of the oldest event that is left.", 1},
    {"evbus_events_received_total", "events_in", COUNTER, "Events that came in since the start.", 1},
    {"evbus_received_bytes_total", "bytes_in", COUNTER, "Bytes of batches that came in since the start.", 1},
    {"evbus_batches_received_total", "batches_in", COUNTER, "Batches that came in since the start.", 1},
    {"evbus_events_fed_total", "fed", COUNTER, "Events put on the feed since the start.", 1},
    {"evbus_journal_bytes", "bytes", GAUGE, "Size of the journal.", 1},
    {"evbus_journal_segments", "segments", GAUGE, "Files of the journal.", 1},
    {"evbus_topics", "topics", GAUGE, "Topics that there are.", 1},
    {"evbus_groups", "groups", GAUGE, "Groups that there are.", 1},
    {"evbus_clients", "clients", GAUGE, "Subscriptions that are connected.", 1},
    {"evbus_clients_lag_max", "lag_max", GAUGE, "Seqs between the head and the one that is farthest behind.", 1},
    {"evbus_disk_free_bytes", "disk_free", GAUGE, "Room on the journal's disk.", 1},
    {"evbus_disk_size_bytes", "disk_total", GAUGE, "Size of the journal's disk.", 1},
    {"evbus_disk_full", "full", GAUGE, "1: too little room, no events are taken.", 1},
    {"evbus_resident_memory_bytes", "rss", GAUGE, "Memory of the hub.", 1}};

static const metric GROUP[] = {
    {"evbus_group_members", "members", GAUGE, "Members of the group.", 1},
    {"evbus_group_lag", "lag", GAUGE, "Seqs between the group and the head.", 1},
    {"evbus_group_pending", "pending", GAUGE, "Events in hand or waiting for another delivery.", 1},
    {"evbus_group_in_hand", "in_hand", GAUGE, "Events in members' hands.", 1},
    {"evbus_group_acknowledged_total", "acked", COUNTER, "Events that members acknowledged.", 1},
    {"evbus_group_redelivered_total", "redelivered", COUNTER, "Events handed out again.", 1},
    {"evbus_group_dead_letters", "dead", GAUGE, "Dead letters that nobody has dealt with.", 1},
    {"evbus_group_lost_total", "lost", COUNTER, "Events that retention took before they were done.", 1},
    {"evbus_group_paused", "paused", GAUGE, "1: somebody has paused the group.", 1},
    {"evbus_group_stalled", "stalled", GAUGE, "1: the group stands still.", 1}};

/* Of those groups that are listeners. */
static const metric LISTENER[] = {
    {"evbus_listener_runs_total", "runs", COUNTER, "What the listener's members have run.", 1},
    {"evbus_listener_failures_total", "failures", COUNTER, "What of it has failed.", 1}};

static const metric INFO = {"evbus_hub_info", "one", GAUGE, "Always 1; what runs there.", 1};

/* ---- printing ---- */

static const char *type_name(metric_type type) { return type == COUNTER ? "counter" : "gauge"; }

/* A number as it is, a bool as 0 or 1, a text (why a group is stalled) as whether there is any. */
static json_t *value_of(const metric *m, const json_t *row) {
    const json_t *value = json_object_get(row, m->key);
    if (!json_is_integer(value))
        return json_integer(json_is_true(value) || json_is_string(value));
    json_int_t number = json_integer_value(value);
    return m->scale < 1 ? json_real((double)number * m->scale) : json_integer(number);
}

static void print_label(const char *name, const char *text, const char *before) {
    printf("%s%s=\"", before, name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if (*text == '\n')
            fputs("\\n", stdout);
        else
            putchar(*text);
    }
    putchar('"');
}

static void print_sample(const metric *m, const json_t *row, const metric_label *labels, size_t count) {
    json_t *value = value_of(m, row);
    fputs(m->name, stdout);
    for (size_t i = 0; i < count; i++)
        print_label(labels[i].label, evctl_text(row, labels[i].key), i ? "," : "{");
    if (json_is_integer(value))
        printf("%s %" PRId64 "\n", count ? "}" : "", (int64_t)json_integer_value(value));
    else
        printf("%s %.9g\n", count ? "}" : "", json_real_value(value));
    json_decref(value);
}

static void print_json(const metric *m, const json_t *row, const metric_label *labels, size_t count) {
    json_t *object = json_pack("{ssss}", "name", m->name, "type", type_name(m->type)), *named = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(named, labels[i].label, json_string(evctl_text(row, labels[i].key)));
    json_object_set_new(object, "labels", named);
    json_object_set_new(object, "value", value_of(m, row));
    evctl_print_json(object);
    json_decref(object);
}

/* One metric of each row. */
static void print_metric(const evctl *self, const metric *m, const json_t *rows, const metric_label *labels,
                         size_t count) {
    if (!self->o.json && json_array_size(rows))
        printf("# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, type_name(m->type));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (self->o.json)
            print_json(m, json_array_get(rows, i), labels, count);
        else
            print_sample(m, json_array_get(rows, i), labels, count);
    }
}

/* ---- what there is ---- */

/* Clients come and go, and a time series for each would never end: what matters is how far behind the last one is. */
static json_t *lag_max(const json_t *clients) {
    uint64_t most = 0;
    for (size_t i = 0; i < json_array_size(clients); i++) {
        uint64_t lag = evctl_number(json_array_get(clients, i), "lag");
        most = lag > most ? lag : most;
    }
    return json_integer((json_int_t)most);
}

static json_t *listeners_of(const json_t *groups) {
    json_t *listeners = json_array(), *group;
    size_t i;
    json_array_foreach(groups, i, group) {
        if (json_is_true(json_object_get(group, "listener")))
            json_array_append(listeners, group);
    }
    return listeners;
}

int evctl_metrics(evctl *self, evb_error *err) {
    static const metric_label ABOUT[] = {{"version", "version"}, {"sync", "sync"}}, NAME[] = {{"group", "name"}},
                              LISTENS[] = {{"listener", "name"}};
    json_t *hub = evctl_ask(self, "status", NULL, err), *groups = hub ? evctl_ask(self, "groups", NULL, err) : NULL;
    json_t *clients = groups ? evctl_ask(self, "clients", NULL, err) : NULL;
    if (clients) {
        json_object_set_new(json_array_get(hub, 0), INFO.key, json_integer(1));
        json_object_set_new(json_array_get(hub, 0), "lag_max", lag_max(json_array_get(clients, 0)));
        print_metric(self, &INFO, hub, ABOUT, COUNT(ABOUT));
        for (size_t i = 0; i < COUNT(HUB); i++)
            print_metric(self, &HUB[i], hub, NULL, 0);
        for (size_t i = 0; i < COUNT(GROUP); i++)
            print_metric(self, &GROUP[i], json_array_get(groups, 0), NAME, COUNT(NAME));
        json_t *listeners = listeners_of(json_array_get(groups, 0));
        for (size_t i = 0; i < COUNT(LISTENER); i++)
            print_metric(self, &LISTENER[i], listeners, LISTENS, COUNT(LISTENS));
        json_decref(listeners);
    }
    int rc = clients ? 0 : err->code;
    json_decref(hub);
    json_decref(groups);
    json_decref(clients);
    return rc;
}
