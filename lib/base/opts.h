/* opts.h: a program's options as a table, from which parsing, --help, completions and configuration keys all come.
 *
 *   typedef struct { evb_opts_standard standard; const char *url; uint64_t segment; bool memory; } options;
 *   static const evb_opt ROWS[] = {
 *       {'u', "url", EVB_OPT_STRING, offsetof(options, url), NULL, "URL", "the hub's address", NULL},
 *       {0, "segment", EVB_OPT_SIZE, offsetof(options, segment), NULL, "SIZE", "size of a segment", NULL},
 *       {0, "memory", EVB_OPT_FLAG, offsetof(options, memory), NULL, NULL, "keep no journal", NULL},
 *       EVB_OPTS_STANDARD(options, standard),
 *   };
 *   static const evb_opts OPTS = {"evbusd", "[OPTION]...", "Keeps the journal.", ROWS, sizeof ROWS / sizeof *ROWS, NULL};
 *
 * Values are not copied: what a target points at lives as long as the text it was set from (argv; or the caller's copy
 * of a configuration file). A table is constant and may be shared; parsing uses getopt_long(3), whose state is the
 * process's: one thread at a time. */
#ifndef EVB_OPTS_H
#define EVB_OPTS_H

#include "base/buf.h"
#include "evbus.h"

typedef enum {
    EVB_OPT_FLAG,     /* bool */
    EVB_OPT_STRING,   /* const char * */
    EVB_OPT_NUMBER,   /* uint64_t */
    EVB_OPT_DURATION, /* int64_t, ns: see units.h */
    EVB_OPT_SIZE,     /* uint64_t, bytes: see units.h */
    EVB_OPT_LIST,     /* evb_opt_list: may be given again and again */
    EVB_OPT_CALL      /* whatever: `call` is given the target and the value */
} evb_opt_kind;

/* Grows with each use of its option; free it with evb_opt_list_free. */
typedef struct {
    const char **items;
    size_t count;
} evb_opt_list;

void evb_opt_list_free(evb_opt_list *list);

/* Takes a value. 0, or a negative evb_err and *err whose text is the reason alone: the option's name is put before. */
typedef int evb_opt_fn(void *target, const char *value, evb_error *err);

typedef struct {
    char short_name;       /* or 0 */
    const char *long_name; /* without "--"; always there; the configuration key too */
    evb_opt_kind kind;
    size_t offset;      /* where in the target it goes; not for EVB_OPT_CALL */
    evb_opt_fn *call;   /* for EVB_OPT_CALL */
    const char *arg;    /* the argument's name; NULL for a flag (and a call that takes none: value is NULL then) */
    const char *help;   /* one line; NULL hides the option from help and completion */
    const char *values; /* for completion: words with spaces between, "@file", "@dir", or NULL */
} evb_opt;

typedef struct {
    const char *program;
    const char
        *synopsis;     /* what follows the program's name in the usage; lines end with \n where there are several */
    const char *about; /* a sentence or a few, for --help */
    const evb_opt *rows;
    size_t count;
    const char *operands; /* completion of operands, like evb_opt.values */
} evb_opts;

/* What every program has. completion: "bash" or "zsh", or NULL. */
typedef struct {
    bool help;
    bool version;
    const char *completion;
} evb_opts_standard;

/* The rows for it, in a table whose target is TYPE with an evb_opts_standard MEMBER. */
#define EVB_OPTS_STANDARD(TYPE, MEMBER)                                                                              \
    {0, "help", EVB_OPT_FLAG, offsetof(TYPE, MEMBER.help), NULL, NULL, "say this and exit", NULL},                   \
        {0, "version", EVB_OPT_FLAG, offsetof(TYPE, MEMBER.version), NULL, NULL, "say the version and exit", NULL},  \
    {                                                                                                                \
        0, "print-completion", EVB_OPT_STRING, offsetof(TYPE, MEMBER.completion), NULL, "SHELL", NULL, NULL          \
    }

/* Reads argv into *target, which holds the defaults. Options may stand among operands; after "--" nothing is an option.
 * argv is put in order: *first is the index of its first operand. 0; EVB_EINVAL naming the option and what is wrong;
 * EVB_ENOMEM; or what a call gave. */
int evb_opts_parse(const evb_opts *opts, void *target, int argc, char **argv, int *first, evb_error *err);

/* Sets the option of this long name, as "name = value" in a configuration file does. A flag takes yes, no, true, false,
 * on, off, 1, 0. Errors as evb_opts_parse: "name: reason", also for a name that there is not. */
int evb_opts_set(const evb_opts *opts, void *target, const char *long_name, const char *value, evb_error *err);

/* The row of this long name, or NULL. */
const evb_opt *evb_opts_find(const evb_opts *opts, const char *long_name);

/* Appends the text of --help. False when memory is short. */
bool evb_opts_usage(const evb_opts *opts, evb_buf *out);

/* Appends a completion script for "bash" or "zsh". EVB_EINVAL for another shell, EVB_ENOMEM. */
int evb_opts_completion(const evb_opts *opts, const char *shell, evb_buf *out, evb_error *err);

/* Appends what --help, --version or --print-completion in *standard ask for; *asked says whether one did.
 * 0, EVB_EINVAL, EVB_ENOMEM. */
int evb_opts_answer(const evb_opts *opts, const evb_opts_standard *standard, evb_buf *out, bool *asked,
                    evb_error *err);

#endif
