/* group_keep.c: groups.log kept in step with the groups.
 *
 * Invariants: what the round has noted is written before any of its answers is given out. What was asked of a group
 * itself (that it be there, its settings, pause, reset, delete, replay, a dead letter dealt with) is answered only when it
 * is on disk, or refused; acknowledgements are answered once they are written, and on disk within a second, since what a
 * power failure takes back of them is no more than handed out again.
 * When the file cannot be written, members go on with what is in memory until it can be.
 * Leaves to others: the file (group_log.c), what the notes say (group_state.c). */
#include "base/clock.h"
#include "base/error.h"
#include "hub/group_state.h"
#include "hub/groups.h"
#include "hub/hub_private.h"

static const int64_t KEEP_NS = EVB_SECOND_NS;
static const char NOT_SAFE[] =
    "groups.log cannot be written (is the disk full?): done, but forgotten if the hub ends before "
    "it can be";

/* All that the groups are is on disk. */
static void all_safe(evb_hub *hub) {
    evb_group *group;
    TAILQ_FOREACH (group, &hub->groups, link)
        group->unsafe = false;
}

/* What the log says is done may be so by a dead letter, which is not to be less safe than that. */
static int settle(evb_hub *hub, evb_error *err) {
    return hub->options.sync == EVB_SYNC_LATER ? evb_journal_settle(hub->journal, err) : 0;
}

/* Puts a snapshot in the file's place. *done (may be NULL): whether it is there. */
static int write_snapshot(evb_hub *hub, bool *done, evb_error *err) {
    int rc = settle(hub, err);
    if (rc)
        return rc;
    hub->notes.size = 0;
    if (!evb_group_state_write(hub))
        return evb_fail(err, EVB_ENOMEM, "hub: out of memory");
    bool ok = evb_group_log_replace(hub->group_log, hub->notes.data, hub->notes.size);
    hub->notes.size = 0;
    if (ok)
        all_safe(hub);
    if (done)
        *done = ok;
    return 0;
}

int evb_groups_open(evb_hub *hub, evb_error *err) {
    bool damaged;
    hub->group_log =
        evb_group_log_new(evb_journal_io(hub->journal), hub->options.log, evb_group_state_read, hub, &damaged, err);
    if (!hub->group_log)
        return err->code;
    if (evb_group_log_is_new(hub->group_log) && evb_journal_head(hub->journal))
        evb_log_say(&hub->options.log, "groups.log: it was not there: a group that there was begins anew");
    int rc = evb_group_state_settle(hub, hub->now_ns, err);
    return rc || !damaged ? rc : write_snapshot(hub, NULL, err);
}

void evb_groups_close(evb_hub *hub) {
    evb_error err;
    if (hub->group_log && evb_groups_keep(hub, &err) == 0 && settle(hub, &err) == 0 &&
        evb_group_log_is_long(hub->group_log))
        write_snapshot(hub, NULL, &err);
    evb_group_log_destroy(&hub->group_log);
    for (evb_group *g; (g = TAILQ_FIRST(&hub->groups));) {
        TAILQ_REMOVE(&hub->groups, g, link);
        evb_group_destroy(&g);
    }
    evb_buf_free(&hub->notes);
}

int evb_groups_sync(evb_hub *hub, evb_error *err) {
    int rc = evb_group_log_is_dirty(hub->group_log) ? settle(hub, err) : 0;
    if (rc)
        return rc;
    if (evb_group_log_sync(hub->group_log))
        all_safe(hub);
    return evb_group_log_is_long(hub->group_log) ? write_snapshot(hub, NULL, err) : 0;
}

/* Makes safe what answers of this round promise, or takes them back. Under --sync MS and none a written note is all that
 * was asked for. */
static int make_firm(evb_hub *hub, evb_error *err) {
    bool ok = !evb_group_log_is_behind(hub->group_log);
    int rc = 0;
    if (ok && hub->options.sync == EVB_SYNC_ALWAYS)
        ok = evb_group_log_sync(hub->group_log);
    if (ok)
        all_safe(hub);
    else if ((rc = write_snapshot(hub, &ok, err)))
        return rc;
    return ok || evb_hub_refuse_firm(hub, NOT_SAFE) == 0 ? 0 : evb_fail(err, EVB_ENOMEM, "hub: out of memory");
}

int evb_groups_keep(evb_hub *hub, evb_error *err) {
    if (hub->notes.size) {
        evb_group_log_append(hub->group_log, hub->notes.data, hub->notes.size);
        hub->notes.size = 0;
        if (hub->keep_due_ns == INT64_MAX)
            hub->keep_due_ns = hub->now_ns + KEEP_NS;
    }
    int rc = hub->firm ? make_firm(hub, err) : 0;
    hub->firm = false;
    if (rc)
        return rc;
    return evb_groups_tell(hub) ? evb_fail(err, EVB_ENOMEM, "hub: out of memory") : 0;
}
