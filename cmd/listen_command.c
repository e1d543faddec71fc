/* listen_command.c: makes what runs a listener's events.
 *
 * Leaves to others: which values a listener has (listen_file.c), processes (run/pool.c), events (listen_unit.c). */
#include "listen_command.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "signals.h"

/* Whether one of the first `count` has this variable's name. */
static bool is_set(const char *const *list, size_t count, const char *variable) {
    size_t size = strcspn(variable, "=") + 1;
    for (size_t i = 0; i < count; i++)
        if (strncmp(list[i], variable, size) == 0)
            return true;
    return false;
}

/* "NAME=value" in the arena, or NULL. */
static const char *variable(arena *memory, const char *name, const char *value) {
    size_t size = strlen(name) + 1 + strlen(value);
    char *text = arena_take(memory, size + 1);
    if (text)
        stpcpy(stpcpy(stpcpy(text, name), "="), value);
    return text;
}

/* What a login as the listener's user would set. Returns how many, or -1: out of memory. */
static int add_login(arena *memory, const listener *l, const char **list) {
    list[0] = variable(memory, "HOME", l->home);
    list[1] = variable(memory, "USER", l->user);
    list[2] = variable(memory, "LOGNAME", l->user);
    return list[0] && list[1] && list[2] ? 3 : -1;
}

/* The environment: the listener's own before what there is. */
static bool make_environment(listen_command *self, const listener *l, const char *const *base) {
    size_t count = 0, n = l->env.count;
    while (base[count])
        count++;
    const char **list = self->environment = calloc(count + n + 4, sizeof *list);
    if (!list)
        return false;
    for (size_t i = 0; i < n; i++)
        list[i] = l->env.items[i];
    int login = l->home ? add_login(&self->memory, l, list + n) : 0;
    if (login < 0)
        return false;
    n += (size_t)login;
    for (size_t i = 0, own = n; i < count; i++)
        if (!is_set(list, own, base[i]))
            list[n++] = base[i];
    return true;
}

/* What the command reads, as `input` says. */
static int shape(void *context, const evb_event *event, evb_buf *out, evb_error *err) {
    listen_command *self = context;
    jv value;
    signals_evaluate(true);
    int rc = evb_expr_eval(self->input, evb_jv_events_make(self->events, event), NULL, &value, err);
    signals_evaluate(false);
    if (rc)
        return rc;
    if (self->keep || jv_get_kind(value) != JV_KIND_STRING) /* a kept command reads lines */
        value = jv_dump_string(value, 0);
    bool ok = evb_buf_add(out, jv_string_value(value), (size_t)jv_string_length_bytes(jv_copy(value)));
    jv_free(value);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "out of memory");
}

static bool make_expressions(listen_command *self, const listener *l) {
    evb_error err;
    if (l->when && !(self->when = evb_where_new(l->when, &err)))
        return false;
    if (!listener_has_expression(l))
        return true;
    self->input = evb_expr_new(l->input, NULL, 0, &err);
    self->events = self->input ? evb_jv_events_new(EVB_MEMBERS_ALL) : NULL;
    return self->events;
}

bool listen_command_open(listen_command *self, const listener *l, const char *const *base, evb_pool_done_fn *done,
                         void *context) {
    if (make_environment(self, l, base) && make_expressions(self, l)) {
        self->keep = l->keep;
        const evb_pool_options how = {.argv = l->argv,
                                      .environment = self->environment,
                                      .cwd = l->cwd,
                                      .jobs = (size_t)l->jobs,
                                      .batch = (size_t)l->batch,
                                      .keep = l->keep,
                                      .json = l->input && strcmp(l->input, "json") == 0,
                                      .shape = self->input ? shape : NULL,
                                      .shape_context = self,
                                      .timeout_ns = l->timeout_ns,
                                      .stop = &signals_caught,
                                      .take_out = l->publish,
                                      .take_err = true};
        self->pool = evb_pool_new(&how, done, context);
    }
    if (!self->pool)
        listen_command_close(self);
    return self->pool;
}

void listen_command_close(listen_command *self) {
    evb_pool_destroy(&self->pool);
    evb_where_destroy(&self->when);
    evb_expr_destroy(&self->input);
    evb_jv_events_destroy(&self->events);
    free(self->environment);
    arena_free(&self->memory);
    *self = (listen_command){0};
}
