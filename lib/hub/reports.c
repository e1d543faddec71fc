/* reports.c: runs and failures of a group's members, summed.
 *
 * A client counts since its own start, and says so with each hello, also after its connection was lost and is there
 * again: what it said on the old one must not be counted twice. So who leaves is remembered by its id for a while, and
 * forgotten when it comes back; only the oldest of many become part of the sum for good.
 * Invariant: a client is either listed or in one group's `departed`, never both. The sums are this hub's alone: after its
 * restart there is what the clients say that are still there.
 * Leaves to others: reading hellos (clients.c), where the sums are told (group_admin.c). */
#include "hub/reports.h"

#include <stdlib.h>
#include <string.h>

#include "hub/groups.h"
#include "hub/hub_private.h"

enum { DEPARTED_MAX = 64 };

void evb_reports_init(evb_reports *self) { TAILQ_INIT(&self->departed); }

static void forget(evb_reports *self, evb_departed *d) {
    TAILQ_REMOVE(&self->departed, d, link);
    self->count--;
    free(d);
}

void evb_reports_free(evb_reports *self) {
    for (evb_departed *d; (d = TAILQ_FIRST(&self->departed));)
        forget(self, d);
}

static void newer_error(evb_report *out, const evb_report *other) {
    if (other->last_error_ns <= out->last_error_ns)
        return;
    out->last_error_ns = other->last_error_ns;
    memcpy(out->last_error, other->last_error, sizeof out->last_error);
}

static evb_group *group_of(const evb_hub *hub, const evb_client *client) {
    return *client->group ? evb_groups_find(hub, client->group, strlen(client->group)) : NULL;
}

void evb_reports_heard(evb_hub *hub, const evb_client *client) {
    evb_group *group = group_of(hub, client);
    evb_departed *d;
    if (!group)
        return;
    TAILQ_FOREACH (d, &group->reports.departed, link) {
        if (d->id_size == client->id_size && memcmp(d->id, client->id, d->id_size) == 0) {
            forget(&group->reports, d);
            return;
        }
    }
}

/* The oldest of those who left will hardly come back. */
static void make_room(evb_reports *self) {
    evb_departed *d = TAILQ_FIRST(&self->departed);
    if (self->count < DEPARTED_MAX)
        return;
    self->report.runs += d->runs;
    self->report.failures += d->failures;
    forget(self, d);
}

/* Figures for who looks: when memory is short, they are lost. */
static void keep(evb_hub *hub, const evb_client *client) {
    evb_group *group = group_of(hub, client);
    if (!group || (!client->report.runs && !client->report.failures && !client->report.last_error_ns))
        return;
    evb_departed *d = malloc(sizeof *d + client->id_size);
    if (!d)
        return;
    d->runs = client->report.runs;
    d->failures = client->report.failures;
    d->id_size = client->id_size;
    memcpy(d->id, client->id, client->id_size);
    newer_error(&group->reports.report, &client->report);
    make_room(&group->reports);
    TAILQ_INSERT_TAIL(&group->reports.departed, d, link);
    group->reports.count++;
}

void evb_reports_left(evb_hub *hub, const char *token, size_t size) {
    const evb_client *client = evb_clients_find(&hub->clients, token, size);
    if (client)
        keep(hub, client);
}

void evb_reports_left_all(evb_hub *hub) {
    const evb_client *client;
    TAILQ_FOREACH (client, &hub->clients, link)
        keep(hub, client);
}

void evb_reports_sum(const evb_hub *hub, const evb_group *group, evb_report *out) {
    const evb_departed *d;
    const evb_client *c;
    *out = group->reports.report;
    TAILQ_FOREACH (d, &group->reports.departed, link) {
        out->runs += d->runs;
        out->failures += d->failures;
    }
    TAILQ_FOREACH (c, &hub->clients, link) {
        if (strcmp(c->group, group->name) != 0)
            continue;
        out->runs += c->report.runs;
        out->failures += c->report.failures;
        newer_error(out, &c->report);
    }
}
