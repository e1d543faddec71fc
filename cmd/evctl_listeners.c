/* evctl_listeners.c: listeners, listener: what evlisten's groups do; and pausing, which goes for every group.
 *
 * A listener is a group of its name whose members are evlisten's, and said so when they joined it: its row is that of the
 * group. What was run is what members have told the hub.
 * Leaves to others: replaying (evctl_admin.c), printing (evctl_print.c). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "evctl.h"

#define COUNT(A) (sizeof(A) / sizeof *(A))

/* ---- which there are ---- */

static bool is_true(const json_t *row, const char *key) { return json_is_true(json_object_get(row, key)); }

static const char *state_of(const json_t *group) {
    bool members = evctl_number(group, "members"), paused = is_true(group, "paused");
    return paused ? members ? "paused" : "paused, stopped" : members ? "running" : "stopped";
}

/* The rows of the groups that are listeners, with their state. NULL and *err. */
static json_t *ask_listeners(evctl *self, evb_error *err) {
    json_t *results = evctl_ask(self, "groups", NULL, err), *rows = results ? json_array() : NULL, *group;
    size_t i;
    json_array_foreach(json_array_get(results, 0), i, group) {
        if (!is_true(group, "listener"))
            continue;
        json_object_set_new(group, "state", json_string(state_of(group)));
        json_array_append(rows, group);
    }
    json_decref(results);
    return rows;
}

/* The row of one listener, for the caller to json_decref. NULL and *err: EVB_EGONE. */
static json_t *find_listener(evctl *self, const char *name, evb_error *err) {
    json_t *rows = ask_listeners(self, err), *row, *found = NULL;
    size_t i;
    json_array_foreach(rows, i, row) {
        if (strcmp(evctl_text(row, "name"), name) == 0)
            found = json_incref(row);
    }
    if (rows && !found)
        evb_fail(err, EVB_EGONE, "there is no listener %.128s (evctl listeners)", name);
    json_decref(rows);
    return found;
}

int evctl_listeners(evctl *self, evb_error *err) {
    static const evctl_column COLUMNS[] = {{"LISTENER", "name", EVCTL_TEXT, false, 0},
                                           {"STATE", "state", EVCTL_TEXT, false, 0},
                                           {"RUNS", "runs", EVCTL_COUNT, false, 0},
                                           {"FAILURES", "failures", EVCTL_COUNT, true, 0},
                                           {"LAG", "lag", EVCTL_COUNT, false, 0},
                                           {"PENDING", "pending", EVCTL_COUNT, false, 3},
                                           {"DEAD", "dead", EVCTL_COUNT, true, 2},
                                           {"ON", "patterns", EVCTL_TEXT, false, 4},
                                           {"ERR AGO", "last_error_ns", EVCTL_AGO, false, 1},
                                           {"LAST ERROR", "last_error", EVCTL_TEXT, false, 0}};
    evctl_table table = {.columns = COLUMNS, .count = COUNT(COLUMNS)};
    json_t *rows = ask_listeners(self, err);
    if (!rows)
        return err->code;
    evctl_print(self, &table, rows);
    json_decref(rows);
    return 0;
}

/* ---- one of them ---- */

static void print_number(const char *label, const json_t *row, const char *key) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, evctl_number(row, key));
    evctl_print_fact(label, text);
}

static void print_patterns(const json_t *row) {
    char text[4096];
    size_t used = 0, i;
    json_t *pattern;
    *text = 0;
    json_array_foreach(json_object_get(row, "patterns"), i, pattern) {
        if (used < sizeof text)
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", json_string_value(pattern));
    }
    evctl_print_fact("on", text);
}

static void print_error(const json_t *row) {
    char text[512], at[EVB_TIME_TEXT];
    uint64_t ns = evctl_number(row, "last_error_ns");
    if (!ns)
        return;
    evb_time_text((int64_t)ns, at);
    snprintf(text, sizeof text, "%s %s", at, evctl_text(row, "last_error"));
    evctl_print_fact("last error", text);
}

static void print_listener(const json_t *row) {
    evctl_print_fact("listener", evctl_text(row, "name"));
    evctl_print_fact("state", evctl_text(row, "state"));
    print_patterns(row);
    print_number("runs", row, "runs");
    print_number("failures", row, "failures");
    print_number("lag", row, "lag");
    print_number("pending", row, "pending");
    print_number("in hand", row, "in_hand");
    print_number("dead", row, "dead");
    print_number("max deliver", row, "max_deliver");
    print_error(row);
}

static int listener_show(evctl *self, evb_error *err) {
    json_t *row = find_listener(self, self->argv[0], err);
    if (!row)
        return err->code;
    if (self->o.json)
        evctl_print_json(row);
    else
        print_listener(row);
    json_decref(row);
    return 0;
}

/* Pausing, resuming and replaying a listener is doing so to its group. */
static int listener_do(evctl *self, evb_error *err) {
    json_t *row = find_listener(self, self->argv[0], err);
    int rc = row ? evctl_group(self, err) : err->code;
    json_decref(row);
    return rc;
}

int evctl_listener(evctl *self, evb_error *err) {
    static const struct {
        const char *name;
        evctl_command *run;
    } DEEDS[] = {{"show", listener_show}, {"pause", listener_do}, {"resume", listener_do}, {"replay", listener_do}};
    if (self->argc && evctl_check_text("listener", self->argv[0], err))
        return err->code;
    for (size_t i = 0; self->argc == 2 && i < COUNT(DEEDS); i++)
        if (strcmp(self->argv[1], DEEDS[i].name) == 0)
            return DEEDS[i].run(self, err);
    return evb_fail(err, EVB_EINVAL,
                    "listener: NAME and show, pause, resume or replay are wanted; try 'evctl --help'");
}

/* ---- pausing ---- */

static int set_paused(evctl *self, const char *name, bool paused, evb_error *err) {
    json_t *results = evctl_ask(self, "group.pause", json_pack("[sb]", name, paused), err);
    json_int_t in_hand = json_integer_value(json_array_get(results, 0));
    if (!results)
        return err->code;
    if (self->o.json) {
        json_t *object = json_pack("{sssbsI}", "group", name, "paused", paused, "in_hand", in_hand);
        evctl_print_json(object);
        json_decref(object);
    } else if (paused) {
        printf("group %s is paused; %lld event%s %s in hand\n", name, (long long)in_hand,
               evb_plural((uint64_t)in_hand), in_hand == 1 ? "is" : "are");
    } else {
        printf("group %s goes on\n", name);
    }
    json_decref(results);
    return 0;
}

int evctl_group_pause(evctl *self, const char *name, evb_error *err) { return set_paused(self, name, true, err); }

int evctl_group_resume(evctl *self, const char *name, evb_error *err) { return set_paused(self, name, false, err); }
