/* removal.c: the requests "trim" and "purge": events that are to go before retention takes them.
 *
 * Both count once they are safe, before the answer. What they mean for readers is evbus(7)'s; how it is kept is
 * evbus-journal(5)'s.
 * Leaves to others: the deed (journal/retention.c), telling readers (replay.c). */
#include <stdlib.h>

#include "base/error.h"
#include "hub/hub_private.h"

int evb_hub_trim(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    msgpack_packer packer;
    uint64_t before;
    if (!evb_mp_uint(&args, &before) || !before)
        return evb_hub_refuse(self, request, "usage", "trim: its argument is a seq, 1 or more");
    int rc = evb_journal_trim(self->journal, before, request->now_ns, &why);
    if (rc == EVB_EIO || rc == EVB_ENOMEM)
        return evb_fail(err, rc, "%s", why.text);
    if (rc)
        return evb_hub_refuse_error(self, request, &why);
    bool ok =
        evb_hub_answer(self, request, 1, &packer) && !msgpack_pack_uint64(&packer, evb_journal_first(self->journal));
    return ok ? 0 : EVB_ENOMEM;
}

static int reply_purge(evb_hub *self, const evb_request *request, uint64_t count) {
    msgpack_packer packer;
    if (!evb_hub_answer(self, request, 2, &packer) ||
        (count == UINT64_MAX ? msgpack_pack_nil(&packer) : msgpack_pack_uint64(&packer, count)) ||
        msgpack_pack_uint64(&packer, evb_journal_appended(self->journal)))
        return EVB_ENOMEM;
    return 0;
}

int evb_hub_purge(evb_hub *self, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    evb_error why = {0};
    evb_patterns *patterns;
    uint64_t count;
    if (!evb_hub_read_patterns(&args, &patterns, &why))
        return evb_hub_refuse_error(self, request, &why);
    if (!evb_patterns_count(patterns)) {
        evb_patterns_destroy(&patterns);
        return evb_hub_refuse(self, request, "usage",
                              "purge: its argument is one pattern or more; '#' is everything");
    }
    int rc = evb_journal_purge(self->journal, patterns, &count, &why);
    evb_patterns_destroy(&patterns);
    if (rc == EVB_EIO || rc == EVB_ENOMEM)
        return evb_fail(err, rc, "%s", why.text);
    return rc ? evb_hub_refuse_error(self, request, &why) : reply_purge(self, request, count);
}
