/* evctl_more.c: export, import and top as commands: what they are given of the options.
 *
 * Leaves to others: all that they do (evctl_export.c, evctl_import.c, evctl_top.c). */
#include "base/error.h"
#include "evctl.h"
#include "evctl_top.h"
#include "evctl_transfer.h"

/* What both take. With --dir no hub is asked. */
static int fill(evctl *self, transfer_options *t, evb_error *err) {
    const evctl_options *o = &self->o;
    const char *url = o->dir ? NULL : evctl_url(self, err);
    *t = (transfer_options){.url = url,
                            .dir = o->dir,
                            .timeout_ns = o->timeout_ns ? o->timeout_ns : -1,
                            .json = o->json,
                            .from = o->from,
                            .to = o->to,
                            .allow_gap = o->allow_gap,
                            .output = o->output,
                            .after = o->after,
                            .dry_run = o->dry_run,
                            .log = self->log};
    return url || o->dir ? 0 : err->code;
}

int evctl_export(evctl *self, evb_error *err) {
    transfer_options t;
    int rc = fill(self, &t, err);
    return rc ? rc : transfer_export(&t, (const char *const *)self->argv, (size_t)self->argc, err);
}

int evctl_import(evctl *self, evb_error *err) {
    transfer_options t;
    if (self->argc > 1)
        return evb_fail(err, EVB_EINVAL, "import: one FILE, or none for stdin");
    int rc = fill(self, &t, err);
    return rc ? rc : transfer_import(&t, self->argc ? self->argv[0] : NULL, err);
}

int evctl_top(evctl *self, evb_error *err) {
    const char *url = evctl_url(self, err);
    int64_t timeout_ns = self->o.timeout_ns ? self->o.timeout_ns : -1;
    return url ? top_run(url, timeout_ns, (const char *const *)self->argv, (size_t)self->argc, err) : err->code;
}
