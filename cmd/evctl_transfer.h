/* evctl_transfer.h: evctl export and import. Not a library: it reads the environment and prints. */
#ifndef EVCTL_TRANSFER_H
#define EVCTL_TRANSFER_H

#include "base/log.h"
#include "evbus.h"
#include "journal/export.h"

typedef struct {
    const char *url;    /* of the hub */
    const char *dir;    /* a journal without a hub; NULL: the hub */
    int64_t timeout_ns; /* as evb_bus_new has it */
    bool json;          /* print what was done as JSON */
    const char *from;   /* export: the first position; NULL: first */
    const char *to;     /* export: the last seq or time; NULL: the head */
    bool allow_gap;     /* export: what is left of it is enough */
    const char *output; /* export: the file; NULL: stdout */
    uint64_t after;     /* import: what is behind this seq of the file */
    bool dry_run;       /* import: only check the file */
    evb_log log;
} transfer_options;

/* Writes an export of what matches the patterns (none: everything). 0 or a negative evb_err and *err. */
int transfer_export(const transfer_options *o, const char *const *patterns, size_t count, evb_error *err);

/* Takes in the export that the file has; NULL or "-": stdin. 0 or a negative evb_err and *err. */
int transfer_import(const transfer_options *o, const char *path, evb_error *err);

/* Prints what an export has. */
void transfer_print_extent(const transfer_options *o, const evb_export_extent *extent);

#endif
