/* command.h: a command, who asks for it and who handles it, as commands.c (who and when), command_serve.c (handlers) and
 * command_log.c (what the journal has of it) see them. */
#ifndef EVB_COMMAND_H
#define EVB_COMMAND_H

#include <sys/queue.h>

#include "event/cause.h"
#include "hub/commands.h"
#include "hub/hub_private.h"

enum {
    EVB_COMMANDS_MAX = 65536, /* held, and as many callers */
    EVB_HANDLERS_MAX = 4096,
    EVB_SLOTS_MAX = 1024,                      /* commands that one handler has in hand at once */
    EVB_TOKEN_FIXED = 30,                      /* what tells tokens apart: the rest counts welcomes */
    EVB_COMMAND_TOPIC_MAX = EVB_TOPIC_MAX - 13 /* "$cmd." and ".refused" */
};
#define EVB_COMMAND_BYTES_MAX ((size_t)256 << 20)
/* The numbers of commands that are not stored begin here; the others' numbers are the seqs of their asked events. */
#define EVB_NUMBER_QUIET ((uint64_t)1 << 63)

typedef struct evb_service evb_service;
typedef struct evb_handler evb_handler;
typedef struct evb_command evb_command;

/* Somebody who is owed the outcome. */
typedef struct evb_caller {
    TAILQ_ENTRY(evb_caller) link;
    void *peer;
    uint64_t request;
    int64_t due_ns; /* monotonic */
} evb_caller;

TAILQ_HEAD(evb_caller_list, evb_caller);

typedef enum {
    EVB_COMMAND_WAITING, /* for a handler with room */
    EVB_COMMAND_IN_HAND,
    EVB_COMMAND_ORPHAN /* asked before the hub began; its handler may still bring the outcome */
} evb_command_state;

TAILQ_HEAD(evb_command_list, evb_command);

struct evb_command {
    TAILQ_ENTRY(evb_command) link; /* in its service's list of its state */
    evb_service *service;
    evb_command_state state;
    uint64_t number;
    int64_t asked_ns; /* monotonic; 0: before the hub began */
    evb_buf record;   /* of the asked event, stamped unless it is quiet; an orphan has none */
    evb_cause cause;  /* what its outcome is to carry */
    struct evb_caller_list callers;
    uint8_t key[16]; /* of topic and id, where it has an id */
    size_t id_size;
    char id[EVB_ID_MAX];
};

/* One command that a handler works on, or its wait for one. */
typedef struct {
    evb_command *command; /* or NULL */
    bool held;            /* an answer is owed: */
    void *peer;
    uint64_t request;
} evb_slot;

struct evb_handler {
    TAILQ_ENTRY(evb_handler) link; /* in its service's list, or among those that are gone */
    evb_service *service;
    int64_t pid;
    bool stopping;
    bool gone;
    size_t token_size, slot_count;
    char token[64];
    evb_slot slots[];
};

TAILQ_HEAD(evb_handler_list, evb_handler);

struct evb_service {
    struct evb_handler_list handlers; /* the first that is not stopping is the one; the others stand by */
    struct evb_command_list lists[EVB_COMMAND_ORPHAN + 1];
    size_t topic_size;
    char topic[EVB_TOPIC_MAX];
};

struct evb_commands {
    evb_table *services; /* by topic */
    evb_table *ids;      /* key to command, of those that have an id */
    size_t count, callers, bytes, handlers;
    size_t gone;         /* handlers */
    int64_t due_ns;      /* no caller's time is over before */
    uint64_t head;       /* when the hub began */
    uint64_t next_quiet; /* number */
};

/* How a command ended. */
typedef struct {
    const char *word; /* "done", "refused", "lost" */
    const uint8_t *answer;
    size_t size;
    const uint8_t *errors; /* what the handler said beside it; not stored */
    size_t errors_size;
    const char *reason;
    size_t reason_size;
    int64_t pid;    /* of the handler; -1: not known */
    bool untaken;   /* no handler has seen it */
    bool again;     /* it is told from the journal */
    uint64_t asked; /* seq; 0: not stored */
} evb_command_end;

/* ---- commands.c ---- */

evb_service *evb_service_find(const evb_hub *hub, const char *topic, size_t size);
evb_service *evb_service_get(evb_hub *hub, const char *topic, size_t size); /* makes it; NULL: out of memory */
evb_handler *evb_service_active(const evb_service *service);                /* or NULL */

/* Frees it if nobody needs it. */
void evb_service_tidy(evb_hub *hub, evb_service *service);

/* Until then (monotonic) the handlers of the hub before may come back, those that stand by before the one that has a
 * command in hand. */
int64_t evb_orphans_due(const evb_hub *hub);

/* NULL: why a topic is none for commands. */
const char *evb_command_topic_fault(const char *topic, size_t size);

/* Makes a command of this state without callers. NULL: out of memory. */
evb_command *evb_command_new(evb_hub *hub, evb_service *service, evb_command_state state, uint64_t number,
                             const char *id, size_t id_size);
void evb_command_set(evb_command *command, evb_command_state state);
void evb_command_destroy(evb_hub *hub, evb_command *command);

/* Tells every caller, stores the end, and destroys it. EVB_ENOMEM, EVB_EIO: the hub's end. */
int evb_command_finish(evb_hub *hub, evb_command *command, const evb_command_end *end, evb_error *err);

#define EVB_COMMAND_LATE "no handler took it in time: withdrawn, not done"

/* The same for one that was lost: callers are told `code`. */
int evb_command_lose(evb_hub *hub, evb_command *command, int code, const char *reason, bool untaken, int64_t pid,
                     evb_error *err);

/* Packs the answer to one caller. EVB_ENOMEM. */
int evb_command_tell(evb_hub *hub, const evb_request *to, const evb_command_end *end);

/* ---- command_serve.c ---- */

/* Hands waiting commands to the service's handler; loses them where there is none any more. */
int evb_service_settle(evb_hub *hub, evb_service *service, evb_error *err);
int evb_handler_lose(evb_hub *hub, evb_handler *handler, evb_error *err);

/* Their handler has not come back with them: nobody can tell any more. */
int evb_service_lose_orphans(evb_hub *hub, evb_service *service, evb_error *err);

/* ---- command_log.c ---- */

/* Writes the record of the asked event into command->record, and stores it unless it is quiet: the number is set then.
 * EVB_ESTORE: it cannot be stored; EVB_EIO, EVB_ENOMEM end the hub. */
int evb_command_ask(evb_hub *hub, evb_command *command, const evb_event *event, bool quiet, int64_t pid,
                    int64_t now_ns, evb_error *why);

/* Stores how it ended, unless it was quiet. A full disk is said, and that is all. EVB_EIO, EVB_ENOMEM end the hub. */
int evb_command_log_end(evb_hub *hub, const evb_command *command, const evb_command_end *end, evb_error *err);

typedef enum { EVB_RECALL_NEW, EVB_RECALL_ENDED, EVB_RECALL_UNKNOWN, EVB_RECALL_GONE } evb_recall;

/* What the journal knows of the command with this id. ENDED: *end, whose bytes live until the journal's next call; UNKNOWN:
 * it was asked as *asked, and what became of it is not known. Errors: the catalog's, the journal's. */
int evb_command_recall(evb_hub *hub, const evb_service *service, const char *id, size_t id_size, int64_t now_ns,
                       evb_recall *out, evb_command_end *end, uint64_t *asked, evb_error *why);

/* Makes the command again whose asked event is `number`, if it is one of the service's and its outcome is not stored. NULL:
 * it is not; *why has EVB_ENOMEM when that is the reason. */
evb_command *evb_command_restore(evb_hub *hub, evb_service *service, uint64_t number, evb_error *why);

#endif
