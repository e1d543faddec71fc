/* command_serve.c: handlers: who serves a topic, what each slot of it is at, and what a handler's end means.
 *
 * A handler has slots. A slot's request ("serve.take") brings the outcome of the command that the slot had, if it had one,
 * and is held until there is another for it. So a slot is waited for, at work, or neither; and the same request sent again,
 * after a connection was lost, changes nothing: a command that the slot has and does not bring the outcome of is handed
 * to it once more, since its first answer was never read.
 * Invariants: one handler of a service is given commands, the first of those that are not stopping; a command in hand is in
 * exactly one slot. A handler is there from its "serve" until its feed connection goes or it has stopped and is done.
 * Leaves to others: callers and time (commands.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "hub/command.h"

static int out_of_memory(evb_error *err) { return evb_fail(err, EVB_ENOMEM, "hub: out of memory"); }

static evb_handler *find_handler(const evb_hub *hub, const char *token, size_t size) {
    evb_service *s;
    evb_handler *h;
    for (size_t at = 0; (s = evb_table_next(hub->commands->services, &at));) {
        TAILQ_FOREACH (h, &s->handlers, link) {
            size_t fixed = h->token_size < EVB_TOKEN_FIXED ? h->token_size : EVB_TOKEN_FIXED;
            if (!h->gone && size >= fixed && memcmp(h->token, token, fixed) == 0)
                return h;
        }
    }
    return NULL;
}

/* ---- handing out ---- */

/* Answers a take with the slot's command: [number], and its record. */
static int give(evb_hub *hub, const evb_slot *slot) {
    const evb_request to = {.peer = slot->peer, .id = slot->request};
    const evb_buf *record = &slot->command->record;
    msgpack_packer p;
    evb_action *reply = evb_hub_answer(hub, &to, 1, &p);
    if (!reply || msgpack_pack_uint64(&p, slot->command->number) ||
        !evb_buf_add(&reply->body, record->data, record->size))
        return EVB_ENOMEM;
    reply->has_body = true;
    return 0;
}

/* Answers a take with nothing. */
static int give_none(evb_hub *hub, void *peer, uint64_t id) {
    const evb_request to = {.peer = peer, .id = id};
    msgpack_packer p;
    return evb_hub_answer(hub, &to, 1, &p) && !msgpack_pack_nil(&p) ? 0 : EVB_ENOMEM;
}

static evb_slot *free_slot(evb_handler *handler) {
    for (size_t i = 0; i < handler->slot_count; i++)
        if (handler->slots[i].held)
            return &handler->slots[i];
    return NULL;
}

/* Whether all who wait for it have waited for as long as they said. */
static bool is_late(const evb_hub *hub, const evb_command *command) {
    const evb_caller *k;
    TAILQ_FOREACH (k, &command->callers, link) {
        if (k->due_ns > hub->now_ns)
            return false;
    }
    return !TAILQ_EMPTY(&command->callers);
}

int evb_service_settle(evb_hub *hub, evb_service *service, evb_error *err) {
    struct evb_command_list *waiting = &service->lists[EVB_COMMAND_WAITING];
    evb_handler *handler = evb_service_active(service);
    evb_command *c;
    evb_slot *slot;
    int rc = 0;
    while (!handler && rc == 0 && (c = TAILQ_FIRST(waiting)))
        rc = evb_command_lose(hub, c, EVB_ENOHANDLER, "the handler went away before it took it: not done", true, -1,
                              err);
    while (handler && rc == 0 && (c = TAILQ_FIRST(waiting)) && (slot = free_slot(handler))) {
        if (is_late(hub, c)) { /* the clock has not been looked at since */
            rc = evb_command_lose(hub, c, EVB_ETIMEDOUT, EVB_COMMAND_LATE, true, -1, err);
            continue;
        }
        slot->command = c;
        slot->held = false;
        evb_command_set(c, EVB_COMMAND_IN_HAND);
        rc = give(hub, slot) ? out_of_memory(err) : 0;
    }
    return rc;
}

/* ---- the end of a handler ---- */

int evb_handler_lose(evb_hub *hub, evb_handler *handler, evb_error *err) {
    evb_service *service = handler->service;
    evb_error why;
    int rc = 0;
    evb_fail(&why, EVB_EAGAIN, "no handler of this token");
    for (size_t i = 0; rc == 0 && i < handler->slot_count; i++) {
        evb_slot *slot = &handler->slots[i];
        const evb_request to = {.peer = slot->peer, .id = slot->request};
        if (slot->held)
            rc = evb_hub_refuse_error(hub, &to, &why) ? out_of_memory(err) : 0;
        else if (slot->command)
            rc = evb_command_lose(hub, slot->command, EVB_EUNKNOWN, "the handler went away while it was at it", false,
                                  handler->pid, err);
    }
    TAILQ_REMOVE(&service->handlers, handler, link);
    hub->commands->gone -= handler->gone;
    hub->commands->handlers--;
    free(handler);
    return rc;
}

/* ---- serve ---- */

typedef struct {
    const char *token, *topic, *was;
    size_t token_size, topic_size, was_size;
    uint64_t pid, slots;
    bool standby;
    evb_mp claims; /* [[slot, number]…] */
    uint32_t claim_count;
} serving;

static int read_serve(const evb_request *request, serving *s, evb_error *why) {
    evb_mp args = request->args;
    *s = (serving){0};
    if (!evb_mp_str(&args, &s->token, &s->token_size) || s->token_size < EVB_TOKEN_FIXED || s->token_size > 63 ||
        !evb_mp_str(&args, &s->topic, &s->topic_size) || !evb_mp_bool(&args, &s->standby) ||
        !evb_mp_uint(&args, &s->pid) || s->pid > INT32_MAX || !evb_mp_uint(&args, &s->slots) || !s->slots ||
        s->slots > EVB_SLOTS_MAX || (!evb_mp_nil(&args) && !evb_mp_str(&args, &s->was, &s->was_size)) ||
        !evb_mp_array(&args, &s->claim_count) || s->claim_count > EVB_SLOTS_MAX)
        return evb_fail(why, EVB_EINVAL,
                        "serve: its arguments are a token, a topic, whether to stand by, a pid, slots, the token "
                        "before and claims");
    s->claims = args;
    const char *fault = evb_command_topic_fault(s->topic, s->topic_size);
    return fault ? evb_fail(why, EVB_EDATA, "serve: %s", fault) : 0;
}

static evb_handler *add_handler(evb_hub *hub, evb_service *service, const serving *s, int64_t pid) {
    evb_handler *h = calloc(1, sizeof *h + s->slots * sizeof *h->slots);
    if (!h)
        return NULL;
    h->service = service;
    h->pid = pid;
    h->slot_count = s->slots;
    h->token_size = s->token_size;
    memcpy(h->token, s->token, s->token_size);
    TAILQ_INSERT_TAIL(&service->handlers, h, link);
    hub->commands->handlers++;
    return h;
}

/* The command of this number that the handler before has in hand, or that waits for its handler, or that the journal has;
 * NULL: none, or memory is short. */
static evb_command *claimed(evb_hub *hub, evb_service *service, evb_handler *before, uint64_t number,
                            evb_error *why) {
    evb_command *c;
    for (size_t i = 0; before && i < before->slot_count; i++) {
        c = before->slots[i].command;
        if (c && c->number == number) {
            before->slots[i].command = NULL;
            return c;
        }
    }
    TAILQ_FOREACH (c, &service->lists[EVB_COMMAND_ORPHAN], link) {
        if (c->number == number)
            return c;
    }
    TAILQ_FOREACH (c, &service->lists[EVB_COMMAND_IN_HAND], link) {
        if (c->number == number)
            return NULL;
    }
    return number & EVB_NUMBER_QUIET ? NULL : evb_command_restore(hub, service, number, why);
}

/* Gives the handler, back under another token, what it still works on. */
static int take_claims(evb_hub *hub, evb_handler *handler, evb_handler *before, serving *s) {
    uint64_t slot, number;
    uint32_t two;
    evb_error why = {0};
    while (s->claim_count--) {
        if (!evb_mp_array(&s->claims, &two) || two != 2 || !evb_mp_uint(&s->claims, &slot) ||
            !evb_mp_uint(&s->claims, &number) || slot >= handler->slot_count || handler->slots[slot].command)
            return 0;
        evb_command *c = claimed(hub, handler->service, before, number, &why);
        if (!c && why.code == EVB_ENOMEM)
            return EVB_ENOMEM;
        if (!c)
            continue;
        handler->slots[slot].command = c;
        if (c->state != EVB_COMMAND_IN_HAND)
            evb_command_set(c, EVB_COMMAND_IN_HAND);
    }
    return 0;
}

int evb_service_lose_orphans(evb_hub *hub, evb_service *service, evb_error *err) {
    int rc = 0;
    for (evb_command *c; rc == 0 && (c = TAILQ_FIRST(&service->lists[EVB_COMMAND_ORPHAN]));)
        rc = evb_command_lose(hub, c, EVB_EUNKNOWN, "the hub was started anew meanwhile", false, -1, err);
    return rc;
}

static int refuse_second(evb_hub *hub, const evb_request *request, const serving *s, const evb_handler *first) {
    char text[EVB_TOPIC_MAX + 80];
    snprintf(text, sizeof text, "%.*s is served by process %" PRId64, (int)s->topic_size, s->topic, first->pid);
    return evb_hub_refuse(hub, request, "busy", text);
}

/* [active, max payload] */
static int reply_serve(evb_hub *hub, const evb_request *request, bool active) {
    msgpack_packer p;
    bool ok = evb_hub_answer(hub, request, 2, &p) && !(active ? msgpack_pack_true(&p) : msgpack_pack_false(&p)) &&
              !msgpack_pack_uint64(&p, hub->options.max_payload);
    return ok ? 0 : EVB_ENOMEM;
}

/* Puts the handler in the place of the one that it was before, with what it claims. */
static int install(evb_hub *hub, const evb_request *request, evb_service *service, evb_handler *before, serving *s,
                   evb_error *err) {
    int64_t pid = request->origin.pid > 0 ? request->origin.pid : (int64_t)s->pid;
    evb_handler *handler = add_handler(hub, service, s, pid);
    int rc = handler ? take_claims(hub, handler, before, s) : EVB_ENOMEM;
    if (rc)
        return rc;
    if (before && before == TAILQ_FIRST(&service->handlers)) {
        TAILQ_REMOVE(&service->handlers, handler, link);
        TAILQ_INSERT_BEFORE(before, handler, link);
    }
    evb_service *other = before && before->service != service ? before->service : NULL;
    rc = before ? evb_handler_lose(hub, before, err) : 0;
    if (rc == 0 && other) {
        rc = evb_service_settle(hub, other, err);
        evb_service_tidy(hub, other);
    }
    if (rc == 0 && (!s->was || hub->now_ns >= evb_orphans_due(hub)))
        rc = evb_service_lose_orphans(hub, service, err);
    rc = rc ? rc : reply_serve(hub, request, evb_service_active(service) == handler);
    return rc ? rc : evb_service_settle(hub, service, err);
}

int evb_hub_serve(evb_hub *hub, const evb_request *request, evb_error *err) {
    serving s;
    evb_error why = {0};
    int rc = read_serve(request, &s, &why);
    if (rc == 0 && !evb_clients_has(&hub->clients, s.token, s.token_size))
        rc = evb_fail(&why, EVB_EAGAIN, "no feed connection has this token: it may be gone already");
    if (rc == 0 && hub->commands->handlers >= EVB_HANDLERS_MAX)
        rc = evb_fail(&why, EVB_EBUSY, "the hub has as many handlers as it may");
    if (rc)
        return evb_hub_refuse_error(hub, request, &why);
    evb_handler *before = s.was ? find_handler(hub, s.was, s.was_size) : NULL;
    before = before ? before : find_handler(hub, s.token, s.token_size);
    evb_service *service = evb_service_get(hub, s.topic, s.topic_size);
    if (!service)
        return EVB_ENOMEM;
    const evb_handler *first = evb_service_active(service);
    if (first && first != before && !s.standby)
        return refuse_second(hub, request, &s, first);
    return install(hub, request, service, before, &s, err);
}

/* ---- take ---- */

typedef struct {
    const char *word;
    size_t word_size;
    uint64_t slot, number, size;
    bool want;
    evb_command_end end;
} taking;

/* [token, slot, number, want, outcome, bytes of the answer, reason] */
static evb_handler *read_take(evb_hub *hub, const evb_request *request, taking *t, evb_error *why) {
    evb_mp args = request->args;
    const char *token;
    size_t token_size;
    *t = (taking){0};
    bool ok = evb_mp_str(&args, &token, &token_size) && evb_mp_uint(&args, &t->slot) &&
              evb_mp_uint(&args, &t->number) && evb_mp_bool(&args, &t->want) &&
              evb_mp_str(&args, &t->word, &t->word_size) && evb_mp_uint(&args, &t->size) &&
              evb_mp_str(&args, &t->end.reason, &t->end.reason_size) && t->size <= request->body_size &&
              t->size <= hub->options.max_payload && t->end.reason_size <= EVB_REASON_MAX &&
              evb_text_valid(t->end.reason, t->end.reason_size);
    evb_handler *h = ok ? find_handler(hub, token, token_size) : NULL;
    if (!ok || (h && t->slot >= h->slot_count)) {
        evb_fail(why, EVB_EINVAL,
                 "serve.take: its arguments are a token, a slot, a number, whether to wait, an outcome, the "
                 "answer's size, a reason");
        return NULL;
    }
    if (!h)
        evb_fail(why, EVB_EAGAIN, "no handler of this token");
    return h;
}

/* The outcome of the slot's command has come. */
static int end_command(evb_hub *hub, const evb_request *request, const evb_handler *handler, evb_slot *slot,
                       taking *t, evb_error *err) {
    evb_command_end *end = &t->end;
    evb_command *c = slot->command;
    end->word = t->word_size == 4 && memcmp(t->word, "done", 4) == 0 ? "done" : "refused";
    end->answer = request->body;
    end->size = t->size;
    end->errors = request->body ? request->body + t->size : NULL;
    end->errors_size = request->body_size - t->size;
    end->pid = handler->pid;
    end->asked = c->number & EVB_NUMBER_QUIET ? 0 : c->number;
    slot->command = NULL;
    return evb_command_finish(hub, c, end, err);
}

/* A handler that has stopped and has nothing in hand is done. */
static int leave_if_done(evb_hub *hub, evb_handler *handler, evb_error *err) {
    for (size_t i = 0; i < handler->slot_count; i++)
        if (handler->slots[i].command)
            return 0;
    return handler->stopping ? evb_handler_lose(hub, handler, err) : 0;
}

/* What the slot is given in return. */
static int answer_take(evb_hub *hub, const evb_request *request, evb_handler *handler, evb_slot *slot, bool want,
                       evb_error *err) {
    slot->peer = request->peer;
    slot->request = request->id;
    if (slot->command && slot->command->record.size)
        return give(hub, slot); /* once more: it never came */
    if (!want || handler->stopping || slot->command) {
        int rc = give_none(hub, request->peer, request->id);
        return rc ? rc : leave_if_done(hub, handler, err);
    }
    slot->held = true;
    return evb_service_settle(hub, handler->service, err);
}

int evb_hub_serve_take(evb_hub *hub, const evb_request *request, evb_error *err) {
    taking t;
    evb_error why = {0};
    evb_handler *handler = read_take(hub, request, &t, &why);
    if (!handler)
        return evb_hub_refuse_error(hub, request, &why);
    evb_slot *slot = &handler->slots[t.slot];
    evb_service *service = handler->service;
    int rc = slot->held ? give_none(hub, slot->peer, slot->request) : 0; /* of a connection that is gone */
    slot->held = false;
    if (rc == 0 && slot->command && slot->command->number == t.number)
        rc = end_command(hub, request, handler, slot, &t, err);
    rc = rc ? rc : answer_take(hub, request, handler, slot, t.want, err);
    evb_service_tidy(hub, service);
    return rc;
}

/* ---- stop ---- */

int evb_hub_serve_stop(evb_hub *hub, const evb_request *request, evb_error *err) {
    evb_mp args = request->args;
    const char *token;
    size_t size;
    if (!evb_mp_str(&args, &token, &size))
        return evb_hub_refuse(hub, request, "usage", "serve.stop: its argument is a token");
    evb_handler *handler = find_handler(hub, token, size);
    if (!handler)
        return evb_hub_refuse(hub, request, "member", "no handler of this token");
    evb_service *service = handler->service;
    int rc = 0;
    handler->stopping = true;
    for (size_t i = 0; rc == 0 && i < handler->slot_count; i++) {
        evb_slot *slot = &handler->slots[i];
        if (slot->held)
            rc = give_none(hub, slot->peer, slot->request);
        slot->held = false;
    }
    rc = rc ? rc : give_none(hub, request->peer, request->id);
    rc = rc ? rc : leave_if_done(hub, handler, err);
    rc = rc ? rc : evb_service_settle(hub, service, err);
    evb_service_tidy(hub, service);
    return rc;
}
