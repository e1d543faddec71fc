/* evctl.h: what evctl's commands share: the options, the hub, and how rows are printed. */
#ifndef EVB_EVCTL_H
#define EVB_EVCTL_H

#include <jansson.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/opts.h"
#include "evbus.h"

#define EVCTL_NO_NUMBER UINT64_MAX

enum { EVCTL_STOP = 1, EVCTL_NO = 2 }; /* beside evb_err; an error of EVCTL_NO is exit 1 */

typedef struct {
    evb_opts_standard standard;
    const char *url, *dir, *before, *from, *to, *output;
    uint64_t rate, after;
    int64_t timeout_ns;
    bool json, dry_run, allow_gap, edit;
} evctl_options;

typedef struct {
    evctl_options o;
    int argc; /* the command's operands */
    char **argv;
    char *url;
    evb_bus *bus; /* NULL: not asked for yet */
    evb_log log;
} evctl;

/* A command: its name (two words for one with a second), how many operands it takes, and what runs it. */
typedef int evctl_command(evctl *self, evb_error *err);

evctl_command evctl_status, evctl_topics, evctl_groups, evctl_clients, evctl_metrics;
evctl_command evctl_group, evctl_dead, evctl_trim, evctl_purge;
evctl_command evctl_scheduled;
evctl_command evctl_listeners, evctl_listener;
evctl_command evctl_verify, evctl_repair;
evctl_command evctl_export, evctl_import, evctl_top, evctl_trace;

/* Pauses the group, or lets it go on, and says so. EVB_EGONE. */
int evctl_group_pause(evctl *self, const char *name, evb_error *err);
int evctl_group_resume(evctl *self, const char *name, evb_error *err);

/* Whether dir is the directory of a journal; nothing is made. 0; EVB_EINVAL, EVB_EPERM, EVB_EIO, EVB_ENOMEM. */
int evctl_check_journal(const char *dir, evb_error *err);

/* ---- the hub ---- */

/* Asks `op` with these arguments (an array, taken over; NULL: none). The results as an array, for the caller to
 * json_decref; NULL and *err. */
json_t *evctl_ask(evctl *self, const char *op, json_t *args, evb_error *err);

/* The hub's address, found at the first use, and the bus, opened then. NULL and *err. */
const char *evctl_url(evctl *self, evb_error *err);
evb_bus *evctl_bus(evctl *self, evb_error *err);

/* Takes an event, whose pointers live until it returns: 0 to go on, EVCTL_STOP, or an error and *err. */
typedef int evctl_event_fn(void *context, const evb_event *event, evb_error *err);

/* Hands on the stored events of seqs from..to (0: the head) that are left and match one of the patterns. Blocks; reads
 * in pieces. 0, `each`'s error, or what the hub says. */
int evctl_read(evctl *self, const char *const *patterns, size_t count, uint64_t from, uint64_t to,
               evctl_event_fn *each, void *context, evb_error *err);

/* The value of the header of this name, its last, or NULL. */
const evb_header *evctl_header(const evb_event *event, const char *name);
uint64_t evctl_header_number(const evb_event *event, const char *name); /* 0: it is none */

/* ---- dead letters ---- */

/* Prints the letter of this seq, of this group (NULL: whichever), with all that is kept of its attempts. EVB_EGONE:
 * there is none. */
int evctl_show_letter(evctl *self, const char *group, uint64_t seq, evb_error *err);

/* The group whose letter it is, for the caller to free, and its payload, which is added to *payload (may be NULL). NULL
 * and *err: EVB_EGONE. */
char *evctl_find_letter(evctl *self, const char *group, uint64_t seq, evb_buf *payload, evb_error *err);

/* Lets the user edit *payload in an editor. *changed: it is another now. *path, for the caller to free (and to unlink):
 * where it is until then. EVCTL_NO (exit 1): the editor failed, or left nothing; nothing is to be done. */
int evctl_edit(evb_buf *payload, bool *changed, char **path, evb_error *err);

/* The seq that a position stands for: where a reader of everything, or of what the group gets, would begin. EVB_EINVAL
 * naming `option`; EVB_EGONE: there is no such group. */
int evctl_seq_of(evctl *self, const char *option, const char *text, const char *group, uint64_t *seq, evb_error *err);

/* The last seq of what ends at a position, as of evsub --to: that of a time is the last stored then or before. 0: there
 * is none. Errors as evctl_seq_of. */
int evctl_end_of(evctl *self, const char *option, const char *text, const char *group, uint64_t *seq, evb_error *err);

/* 0, or EVB_EDATA naming `what`: text that is not UTF-8 cannot be sent. */
int evctl_check_text(const char *what, const char *text, evb_error *err);

/* A member of an object as a number, a text; 0, "" where it is nothing of the kind. */
uint64_t evctl_number(const json_t *row, const char *key);
const char *evctl_text(const json_t *row, const char *key);

/* Before it is made: those signals wait until evctl_unfinished has its name. */
void evctl_begin_unfinished(void);

/* From now on SIGINT, SIGTERM and SIGHUP remove the file, or the directory and the files in it, of this name (which stays
 * the caller's, and as it is) before they end the process. NULL: it is finished, or gone. */
void evctl_unfinished(const char *path);

/* ---- printing ---- */

typedef enum {
    EVCTL_TEXT,  /* cut when the terminal is too narrow */
    EVCTL_COUNT, /* digits */
    EVCTL_SIZE,  /* bytes, as 1.5M */
    EVCTL_AGO,   /* ns since the epoch, as 5m */
    EVCTL_SPAN,  /* ns, as 5m */
    EVCTL_TIME   /* ns since the epoch, to the second, UTC */
} evctl_kind;

typedef struct {
    const char *title;
    const char *key;
    evctl_kind kind;
    bool alarm;    /* in red where it is neither 0 nor empty */
    unsigned rank; /* on a terminal that is too narrow the highest goes first; 0: stays */
} evctl_column;

enum { EVCTL_COLUMNS = 16 };

typedef struct {
    const evctl_column *columns;
    size_t count;
    bool begun;
    size_t widths[EVCTL_COLUMNS]; /* 0: left out */
} evctl_table;

/* Prints rows (an array of objects) as a table, whose widths are those of the first rows, or with -J as one object a
 * line. More rows may follow in further calls. */
void evctl_print(const evctl *self, evctl_table *table, const json_t *rows);

/* Prints `label` and what it stands for; on a terminal, what is too long goes on in the next line behind a comma. */
void evctl_print_fact(const char *label, const char *text);

/* Prints one object as a line of JSON. */
void evctl_print_json(const json_t *object);

/* Says what was done: a line, or with -J an object (taken over). */
void evctl_say_done(const evctl *self, const char *line, json_t *object);

/* Control characters would move a terminal's cursor: they become question marks. */
void evctl_tame(char *text, size_t size);

/* Prints what an export has. */
struct evb_export_extent;
void evctl_print_extent(const evctl_options *o, const struct evb_export_extent *extent);

/* A figure as a person reads it. Returns out. */
enum { EVCTL_FIGURE = 40 };
const char *evctl_figure(evctl_kind kind, uint64_t value, char out[EVCTL_FIGURE]);

/* Whether stdout is a terminal whose user has not said NO_COLOR. */
bool evctl_colours(void);

/* Columns of the terminal; 0: stdout is none. */
size_t evctl_width(void);

/* How many columns `text` takes on a terminal; and the bytes of it that fit into *columns, which become those taken. */
size_t evctl_columns(const char *text);
size_t evctl_fit(const char *text, size_t *columns);

#endif
