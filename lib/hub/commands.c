/* commands.c: commands and their callers: a call is held until its outcome is known, and told it then.
 *
 * A command waits until the service's handler has room, is then in that handler's hand, and ends with an outcome: done or
 * refused by the handler, or lost: its handler went away, or nobody took it in time. Callers with the same id on the same
 * topic share one command, and it outlives its callers once a handler has it.
 * Invariants: a command is in exactly one list of its service; each caller is answered once, in the round in which the
 * outcome is appended; what is held is bounded in number and bytes. No caller's time ends before due_ns.
 * Leaves to others: handlers (command_serve.c), the journal (command_log.c), the window of ids (journal). */
#include "hub/commands.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/record.h"
#include "hub/command.h"

static int out_of_memory(evb_error *err) { return evb_fail(err, EVB_ENOMEM, "hub: out of memory"); }

evb_commands *evb_commands_new(int64_t now_ns, uint64_t head) {
    evb_commands *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->services = evb_table_new();
    self->ids = evb_table_new();
    self->due_ns = INT64_MAX;
    self->head = head;
    self->next_quiet = EVB_NUMBER_QUIET | (uint64_t)now_ns; /* other numbers than those of a hub before */
    if (!self->services || !self->ids)
        evb_commands_destroy(&self, NULL);
    return self;
}

static const int64_t RETURN_NS = 3 * EVB_SECOND_NS;

int64_t evb_orphans_due(const evb_hub *hub) { return hub->begun_ns + RETURN_NS; }

/* ---- services ---- */

evb_service *evb_service_find(const evb_hub *hub, const char *topic, size_t size) {
    return evb_table_get(hub->commands->services, topic, size);
}

evb_service *evb_service_get(evb_hub *hub, const char *topic, size_t size) {
    evb_service *service = evb_service_find(hub, topic, size);
    if (service || !(service = calloc(1, sizeof *service)))
        return service;
    service->topic_size = size;
    memcpy(service->topic, topic, size);
    TAILQ_INIT(&service->handlers);
    for (int i = 0; i <= EVB_COMMAND_ORPHAN; i++)
        TAILQ_INIT(&service->lists[i]);
    if (!evb_table_put(hub->commands->services, service->topic, size, service)) {
        free(service);
        return NULL;
    }
    return service;
}

void evb_service_tidy(evb_hub *hub, evb_service *service) {
    bool used = !TAILQ_EMPTY(&service->handlers);
    for (int i = 0; i <= EVB_COMMAND_ORPHAN; i++)
        used = used || !TAILQ_EMPTY(&service->lists[i]);
    if (used)
        return;
    evb_table_remove(hub->commands->services, service->topic, service->topic_size);
    free(service);
}

evb_handler *evb_service_active(const evb_service *service) {
    evb_handler *h;
    TAILQ_FOREACH (h, &service->handlers, link) {
        if (!h->stopping && !h->gone)
            return h;
    }
    return NULL;
}

const char *evb_command_topic_fault(const char *topic, size_t size) {
    size_t tokens = 1;
    const char *fault = evb_topic_fault(topic, size);
    for (size_t i = 0; i < size; i++)
        tokens += topic[i] == '.';
    if (fault)
        return fault;
    if (evb_topic_reserved(topic, size))
        return "tokens that start with '$' belong to the hub";
    if (size > EVB_COMMAND_TOPIC_MAX || tokens > EVB_TOPIC_TOKENS_MAX - 2)
        return "a command's topic has at most 242 bytes and 14 tokens";
    return NULL;
}

/* ---- commands ---- */

evb_command *evb_command_new(evb_hub *hub, evb_service *service, evb_command_state state, uint64_t number,
                             const char *id, size_t id_size) {
    evb_command *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->service = service;
    c->state = state;
    c->number = number;
    TAILQ_INIT(&c->callers);
    c->id_size = id_size;
    if (id_size) {
        memcpy(c->id, id, id_size);
        evb_id_key(service->topic, service->topic_size, id, id_size, c->key);
    }
    if (id_size && !evb_table_get(hub->commands->ids, c->key, sizeof c->key) &&
        !evb_table_put(hub->commands->ids, c->key, sizeof c->key, c)) {
        free(c);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&service->lists[state], c, link);
    hub->commands->count++;
    return c;
}

void evb_command_set(evb_command *command, evb_command_state state) {
    TAILQ_REMOVE(&command->service->lists[command->state], command, link);
    command->state = state;
    TAILQ_INSERT_TAIL(&command->service->lists[state], command, link);
}

static void remove_caller(evb_hub *hub, evb_command *command, evb_caller *caller) {
    TAILQ_REMOVE(&command->callers, caller, link);
    hub->commands->callers--;
    free(caller);
}

void evb_command_destroy(evb_hub *hub, evb_command *command) {
    evb_commands *all = hub->commands;
    TAILQ_REMOVE(&command->service->lists[command->state], command, link);
    if (command->id_size && evb_table_get(all->ids, command->key, sizeof command->key) == command)
        evb_table_remove(all->ids, command->key, sizeof command->key);
    for (evb_caller *c; (c = TAILQ_FIRST(&command->callers));)
        remove_caller(hub, command, c);
    all->count--;
    all->bytes -= command->record.capacity;
    evb_buf_free(&command->record);
    free(command);
}

/* ---- outcomes ---- */

int evb_command_tell(evb_hub *hub, const evb_request *to, const evb_command_end *end) {
    msgpack_packer p;
    evb_action *reply = evb_hub_answer(hub, to, 6, &p);
    bool ok = reply && !evb_mp_pack_str(&p, end->word, strlen(end->word)) && !msgpack_pack_uint64(&p, end->size) &&
              !evb_mp_pack_str(&p, end->reason ? end->reason : "", end->reason_size) &&
              !msgpack_pack_uint64(&p, end->asked) &&
              !(end->again ? msgpack_pack_true(&p) : msgpack_pack_false(&p)) && !msgpack_pack_int64(&p, end->pid) &&
              evb_buf_reserve(&reply->body, end->size + end->errors_size) &&
              (!end->size || evb_buf_add(&reply->body, end->answer, end->size)) &&
              (!end->errors_size || evb_buf_add(&reply->body, end->errors, end->errors_size));
    if (reply)
        reply->has_body = end->size + end->errors_size > 0;
    return ok ? 0 : EVB_ENOMEM;
}

int evb_command_finish(evb_hub *hub, evb_command *command, const evb_command_end *end, evb_error *err) {
    int rc = evb_command_log_end(hub, command, end, err);
    for (evb_caller *c; rc == 0 && (c = TAILQ_FIRST(&command->callers));) {
        const evb_request to = {.peer = c->peer, .id = c->request};
        rc = evb_command_tell(hub, &to, end) ? out_of_memory(err) : 0;
        remove_caller(hub, command, c);
    }
    evb_command_destroy(hub, command);
    return rc;
}

static int refuse_caller(evb_hub *hub, evb_command *command, evb_caller *caller, int code, const char *reason,
                         evb_error *err) {
    const evb_request to = {.peer = caller->peer, .id = caller->request};
    evb_error why;
    evb_fail(&why, code, "%s", reason);
    int rc = evb_hub_refuse_with(hub, &to, &why, command->number & EVB_NUMBER_QUIET ? 0 : command->number);
    remove_caller(hub, command, caller);
    return rc ? out_of_memory(err) : 0;
}

int evb_command_lose(evb_hub *hub, evb_command *command, int code, const char *reason, bool untaken, int64_t pid,
                     evb_error *err) {
    const evb_command_end end = {
        .word = "lost", .reason = reason, .reason_size = strlen(reason), .pid = pid, .untaken = untaken};
    int rc = evb_command_log_end(hub, command, &end, err);
    for (evb_caller *c; rc == 0 && (c = TAILQ_FIRST(&command->callers));)
        rc = refuse_caller(hub, command, c, code, reason, err);
    evb_command_destroy(hub, command);
    return rc;
}

/* ---- call ---- */

/* A call taken apart. */
typedef struct {
    evb_record record;
    evb_event event;
    evb_header headers[EVB_HEADER_ROOM];
    int64_t due_ns;
    bool quiet;
} calling;

static int read_call(evb_hub *hub, const evb_request *request, calling *c, evb_error *why) {
    evb_mp args = request->args;
    uint64_t timeout;
    uint32_t ids;
    if (!evb_mp_uint(&args, &timeout) || !timeout || timeout > INT64_MAX / 4 || !evb_mp_bool(&args, &c->quiet))
        return evb_fail(why, EVB_EINVAL, "call: its arguments are a time and whether it is quiet");
    const char *fault = evb_record_parse(request->body, request->body_size, &c->record);
    if (!fault)
        fault = evb_command_topic_fault(c->record.topic, c->record.topic_size);
    if (!fault)
        fault = evb_record_check_events(&c->record, hub->options.max_payload, &ids);
    if (!fault && (c->record.count != 1 || c->record.size != request->body_size))
        fault = "a command is one event";
    evb_mp cursor = c->record.events;
    if (!fault && !evb_record_next(&cursor, &c->event, c->headers))
        fault = "a command is one event";
    if (fault)
        return evb_fail(why, EVB_EDATA, "command: %s", fault);
    if (!c->event.id)
        c->event.id_size = 0;
    c->quiet = c->quiet && !c->event.id_size; /* the answer of one with an id must be found again */
    c->due_ns = hub->now_ns + (int64_t)timeout;
    return 0;
}

static int add_caller(evb_hub *hub, evb_command *command, const evb_request *request, int64_t due_ns) {
    evb_commands *all = hub->commands;
    evb_caller *caller = calloc(1, sizeof *caller);
    if (!caller)
        return EVB_ENOMEM;
    caller->peer = request->peer;
    caller->request = request->id;
    caller->due_ns = due_ns;
    TAILQ_INSERT_TAIL(&command->callers, caller, link);
    all->callers++;
    all->due_ns = due_ns < all->due_ns ? due_ns : all->due_ns;
    return 0;
}

/* Takes a new command in, and hands it on if there is room. */
static int take_command(evb_hub *hub, const evb_request *request, evb_service *service, const calling *c,
                        evb_error *err) {
    evb_error why = {0};
    evb_commands *all = hub->commands;
    evb_command *command = evb_command_new(hub, service, EVB_COMMAND_WAITING, c->quiet ? all->next_quiet++ : 0,
                                           c->event.id, c->event.id_size);
    if (!command)
        return EVB_ENOMEM;
    command->asked_ns = hub->now_ns;
    int rc = evb_command_ask(hub, command, &c->event, c->quiet, request->origin.pid, request->now_ns, &why);
    all->bytes += command->record.capacity;
    if (rc) {
        evb_command_destroy(hub, command);
        return rc == EVB_ESTORE ? evb_hub_refuse_error(hub, request, &why) : evb_fail(err, rc, "%s", why.text);
    }
    if (add_caller(hub, command, request, c->due_ns)) {
        evb_command_destroy(hub, command);
        return EVB_ENOMEM;
    }
    return evb_service_settle(hub, service, err);
}

/* It was asked before this hub began, and its outcome is not known: it may still come, from a handler that comes back. */
static int wait_for_orphan(evb_hub *hub, const evb_request *request, evb_service *service, const calling *c,
                           uint64_t asked) {
    evb_error why = {0};
    bool ours = asked > hub->commands->head; /* then its handler was here, and is gone */
    bool late = evb_service_active(service) && (ours || hub->now_ns >= evb_orphans_due(hub));
    evb_command *command = late ? NULL : evb_command_restore(hub, service, asked, &why);
    if (!command && why.code == EVB_ENOMEM)
        return EVB_ENOMEM;
    if (!command) {
        evb_fail(&why, EVB_EUNKNOWN, "asked before, as seq %" PRIu64 ", and what became of it is not known", asked);
        return evb_hub_refuse_with(hub, request, &why, asked);
    }
    int rc = add_caller(hub, command, request, c->due_ns);
    if (rc)
        evb_command_destroy(hub, command);
    if (evb_orphans_due(hub) < hub->commands->due_ns && hub->now_ns < evb_orphans_due(hub))
        hub->commands->due_ns = evb_orphans_due(hub);
    return rc;
}

/* Answers one that was asked before. *done: it was. */
static int answer_again(evb_hub *hub, const evb_request *request, evb_service *service, const calling *c, bool *done,
                        evb_error *err) {
    evb_command_end end;
    evb_recall recall;
    evb_error why = {0};
    uint64_t asked = 0;
    int rc =
        evb_command_recall(hub, service, c->event.id, c->event.id_size, request->now_ns, &recall, &end, &asked, &why);
    *done = true;
    if (rc == EVB_ENOMEM || rc == EVB_EIO)
        return evb_fail(err, rc, "%s", why.text);
    if (rc)
        return evb_hub_refuse_error(hub, request, &why);
    switch (recall) {
    case EVB_RECALL_ENDED: return evb_command_tell(hub, request, &end);
    case EVB_RECALL_UNKNOWN: return wait_for_orphan(hub, request, service, c, asked);
    case EVB_RECALL_GONE: return evb_hub_refuse(hub, request, "gone", "it was handled before; its answer is gone");
    case EVB_RECALL_NEW: break;
    }
    *done = false;
    return 0;
}

static int call(evb_hub *hub, const evb_request *request, evb_service *service, const calling *c, evb_error *err) {
    evb_commands *all = hub->commands;
    uint8_t key[EVB_ID_KEY];
    evb_command *same = NULL;
    bool done = false;
    int rc = 0;
    if (all->callers >= EVB_COMMANDS_MAX || all->count >= EVB_COMMANDS_MAX || all->bytes >= EVB_COMMAND_BYTES_MAX)
        return evb_hub_refuse(hub, request, "busy", "the hub holds as many commands as it may: not done");
    if (c->event.id_size) {
        evb_id_key(service->topic, service->topic_size, c->event.id, c->event.id_size, key);
        same = evb_table_get(all->ids, key, sizeof key);
    }
    if (same)
        return add_caller(hub, same, request, c->due_ns);
    if (c->event.id_size)
        rc = answer_again(hub, request, service, c, &done, err);
    if (rc || done)
        return rc;
    if (!evb_service_active(service))
        return evb_hub_refuse(hub, request, "nohandler", "no handler");
    return take_command(hub, request, service, c, err);
}

int evb_hub_call(evb_hub *hub, const evb_request *request, evb_error *err) {
    calling c = {0};
    evb_error why = {0};
    if (read_call(hub, request, &c, &why))
        return evb_hub_refuse_error(hub, request, &why);
    evb_service *service = evb_service_get(hub, c.record.topic, c.record.topic_size);
    if (!service)
        return EVB_ENOMEM;
    int rc = call(hub, request, service, &c, err);
    evb_service_tidy(hub, service);
    return rc;
}

/* ---- time ---- */

/* The caller's time is over. */
static int expire(evb_hub *hub, evb_command *command, evb_caller *caller, evb_error *err) {
    if (command->state != EVB_COMMAND_WAITING)
        return refuse_caller(hub, command, caller, EVB_EUNKNOWN, "no answer in time", err);
    if (TAILQ_NEXT(caller, link) || caller != TAILQ_FIRST(&command->callers))
        return refuse_caller(hub, command, caller, EVB_ETIMEDOUT, EVB_COMMAND_LATE, err);
    return evb_command_lose(hub, command, EVB_ETIMEDOUT, EVB_COMMAND_LATE, true, -1, err);
}

static int expire_list(evb_hub *hub, struct evb_command_list *list, evb_error *err) {
    int rc = 0;
    for (evb_command *c = TAILQ_FIRST(list), *next; rc == 0 && c; c = next) {
        next = TAILQ_NEXT(c, link);
        bool there = true;
        for (evb_caller *k = TAILQ_FIRST(&c->callers), *behind; rc == 0 && there && k; k = behind) {
            behind = TAILQ_NEXT(k, link);
            if (k->due_ns > hub->now_ns) {
                hub->commands->due_ns = k->due_ns < hub->commands->due_ns ? k->due_ns : hub->commands->due_ns;
                continue;
            }
            there = c->state != EVB_COMMAND_WAITING || behind || k != TAILQ_FIRST(&c->callers);
            rc = expire(hub, c, k, err);
        }
        if (rc == 0 && there && c->state == EVB_COMMAND_ORPHAN && TAILQ_EMPTY(&c->callers))
            evb_command_destroy(hub, c);
    }
    return rc;
}

static int lose_gone(evb_hub *hub, evb_service *service, evb_error *err) {
    int rc = 0;
    for (evb_handler *h = TAILQ_FIRST(&service->handlers), *next; rc == 0 && h; h = next) {
        next = TAILQ_NEXT(h, link);
        if (h->gone)
            rc = evb_handler_lose(hub, h, err);
    }
    return rc ? rc : evb_service_settle(hub, service, err);
}

int64_t evb_commands_deadline(const evb_hub *hub) { return hub->commands->gone ? 0 : hub->commands->due_ns; }

/* The services as they stand, since the table may lose some while they are gone through. NULL: none, or no memory. */
static evb_service **list_services(const evb_hub *hub, size_t *count) {
    evb_service **list = malloc((evb_table_count(hub->commands->services) + 1) * sizeof *list), *s;
    size_t at = 0;
    for (*count = 0; list && (s = evb_table_next(hub->commands->services, &at));)
        list[(*count)++] = s;
    return list;
}

int evb_commands_tick(evb_hub *hub, evb_error *err) {
    evb_commands *all = hub->commands;
    size_t count;
    int rc = 0;
    if (!all->gone && hub->now_ns < all->due_ns)
        return 0;
    evb_service **list = list_services(hub, &count);
    if (!list)
        return out_of_memory(err);
    bool late = hub->now_ns >= evb_orphans_due(hub);
    all->due_ns = late ? INT64_MAX : evb_orphans_due(hub);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = lose_gone(hub, list[i], err);
        if (rc == 0 && late && evb_service_active(list[i]))
            rc = evb_service_lose_orphans(hub, list[i], err);
        for (int state = 0; rc == 0 && state <= EVB_COMMAND_ORPHAN; state++)
            rc = expire_list(hub, &list[i]->lists[state], err);
        evb_service_tidy(hub, list[i]);
    }
    free(list);
    return rc;
}

/* ---- handlers that are gone, and the end ---- */

void evb_commands_left(evb_hub *hub, const char *token, size_t size) {
    evb_service *s;
    evb_handler *h;
    for (size_t at = 0; (s = evb_table_next(hub->commands->services, &at));) {
        TAILQ_FOREACH (h, &s->handlers, link) {
            if (h->gone || h->token_size > size || memcmp(h->token, token, EVB_TOKEN_FIXED) != 0)
                continue;
            h->gone = true;
            hub->commands->gone++;
        }
    }
}

void evb_commands_left_all(evb_hub *hub) {
    evb_service *s;
    evb_handler *h;
    for (size_t at = 0; (s = evb_table_next(hub->commands->services, &at));) {
        TAILQ_FOREACH (h, &s->handlers, link) {
            hub->commands->gone += !h->gone;
            h->gone = true;
        }
    }
}

static void drop_service(evb_service *s, void (*drop)(void *peer)) {
    for (evb_handler *h; (h = TAILQ_FIRST(&s->handlers)); free(h)) {
        for (size_t i = 0; drop && i < h->slot_count; i++)
            if (h->slots[i].held)
                drop(h->slots[i].peer);
        TAILQ_REMOVE(&s->handlers, h, link);
    }
    for (int i = 0; i <= EVB_COMMAND_ORPHAN; i++)
        for (evb_command *c; (c = TAILQ_FIRST(&s->lists[i])); free(c)) {
            for (evb_caller *k; (k = TAILQ_FIRST(&c->callers)); free(k)) {
                if (drop)
                    drop(k->peer);
                TAILQ_REMOVE(&c->callers, k, link);
            }
            TAILQ_REMOVE(&s->lists[i], c, link);
            evb_buf_free(&c->record);
        }
    free(s);
}

void evb_commands_destroy(evb_commands **self, void (*drop)(void *peer)) {
    evb_commands *all = *self;
    evb_service *s;
    if (!all)
        return;
    for (size_t at = 0; all->services && (s = evb_table_next(all->services, &at));)
        drop_service(s, drop);
    evb_table_destroy(&all->services, NULL);
    evb_table_destroy(&all->ids, NULL);
    free(all);
    *self = NULL;
}
