/* expr.c: libjq behind a small face.
 *
 * Variables: libjq binds them when it compiles, as constants. Ours change with each evaluation, so they are what the
 * builtin `input` reads: the program is "input as $event | (TEXT)", and the callback hands the values over.
 * In place: libjq changes a value in place when nobody else holds it. Three of its ways (1.6) spoil that: a variable that
 * holds `.`, the definition of |= (and so of += and the like), which keeps the old value while it works, and jv_setpath, which
 * keeps each member while it changes it. With 100,000 members an update of one then costs a millisecond in place of 5 us.
 * So `.` is never in a variable of ours, |= is defined anew, and our jv_setpath stands before libjq's, as the dynamic
 * linker finds the program's symbols first.
 * Invariant: between calls libjq holds no value of the caller's but after a failure, and then only until the next call.
 * Leaves to others: what the values are (jv_event.c, programs). */
#include "event/expr.h"

#include <ctype.h>
#include <jq.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"

struct evb_expr {
    jq_state *jq;
    size_t count;                  /* variables */
    jv values[EVB_EXPR_NAMES_MAX]; /* of this evaluation; those from `given` on are ours */
    size_t given;
    char *said; /* libjq's first message while it compiles, or NULL */
};

/* libjq's own but that nothing holds the old value: all of f's values are taken before the path is set to the first. */
static const char UPDATE[] = "def _modify(paths; f): reduce path(paths) as $p (.; [getpath($p) | f] as $v | "
                             "if $v == [] then delpaths([$p]) else setpath($p; $v[0]) end); ";

/* ---- updates in place ---- */

/* Whether a member may be taken out for a while: one of an object or array, not a slice. */
static bool is_member(jv key) { return jv_get_kind(key) == JV_KIND_STRING || jv_get_kind(key) == JV_KIND_NUMBER; }

/* Takes over root, key and value of a path's step; gives root with the member replaced, or what failed. */
static jv set_below(jv root, jv key, jv rest, jv value) {
    jv member = jv_get(jv_copy(root), jv_copy(key));
    if (jv_is_valid(member) && is_member(key))
        root = jv_set(root, jv_copy(key), jv_null()); /* so that only `member` holds it */
    if (!jv_is_valid(member) || !jv_is_valid(root)) {
        bool bad_root = !jv_is_valid(root);
        jv_free(bad_root ? member : root);
        jv_free(key);
        jv_free(rest);
        jv_free(value);
        return bad_root ? root : member;
    }
    member = jv_setpath(member, rest, value);
    if (jv_is_valid(member))
        return jv_set(root, key, member);
    jv_free(root);
    jv_free(key);
    return member;
}

/* libjq's function of this name, which is found before it. */
__attribute__((visibility("default"))) jv jv_setpath(jv root, jv path, jv value) {
    bool is_path = jv_get_kind(path) == JV_KIND_ARRAY;
    int size = is_path && jv_is_valid(root) ? jv_array_length(jv_copy(path)) : 0;
    if (size > 1) {
        jv key = jv_array_get(jv_copy(path), 0);
        return set_below(root, key, jv_array_slice(path, 1, size), value);
    }
    if (size == 1)
        return jv_set(root, jv_array_get(path, 0), value);
    jv_free(path);
    if (!jv_is_valid(root)) {
        jv_free(value);
        return root;
    }
    jv_free(root);
    if (is_path)
        return value;
    jv_free(value);
    return jv_invalid_with_msg(jv_string("Path must be specified as an array"));
}

/* ---- compiling ---- */

static void on_message(void *context, jv message) {
    evb_expr *self = context;
    if (!self->said && jv_get_kind(message) == JV_KIND_STRING)
        self->said = strdup(jv_string_value(message));
    jv_free(message);
}

/* `debug` calls it, and libjq has none of its own: nothing is said, as nothing is printed here. */
static void on_debug(void *context, jv message) {
    (void)context;
    jv_free(message);
}

/* libjq asks for the next variable's value. */
static jv on_input(jq_state *jq, void *context) {
    evb_expr *self = context;
    (void)jq;
    return self->given < self->count ? self->values[self->given++]
                                     : jv_invalid_with_msg(jv_string("there is no input to read here"));
}

/* What libjq says, without what belongs to jq(1): its name, where the text is, and the text. */
static int fail_compile(const evb_expr *self, evb_error *err) {
    static const char prefix[] = "jq: error: ";
    const char *text = self->said ? self->said : "libjq does not take it";
    if (strncmp(text, prefix, sizeof prefix - 1) == 0)
        text += sizeof prefix - 1;
    const char *ends[] = {strstr(text, " (Unix shell quoting"), strstr(text, " at <top-level>"), strchr(text, '\n')};
    size_t size = strlen(text);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] && (size_t)(ends[i] - text) < size)
            size = (size_t)(ends[i] - text);
    return evb_fail(err, EVB_EINVAL, "expression: %.*s", (int)size, text);
}

/* Compiles the text alone, so that a message is about it and not about what stands around it. */
static bool compile_alone(evb_expr *self, const char *text, const char *const *names) {
    jv values = jv_object();
    for (size_t i = 0; i < self->count; i++)
        values = jv_object_set(values, jv_string(names[i]), jv_null());
    return jq_compile_args(self->jq, text, values);
}

static int compile(evb_expr *self, const char *text, const char *const *names, evb_error *err) {
    evb_buf program = {0};
    bool ok = evb_buf_text(&program, self->count ? UPDATE : "");
    for (size_t i = 0; ok && i < self->count; i++)
        ok = evb_buf_printf(&program, "input as $%s | ", names[i]);
    /* the newline ends a comment */
    if (!ok || !evb_buf_text(&program, "(") || !evb_buf_text(&program, text) ||
        !evb_buf_add(&program, "\n)", sizeof "\n)")) {
        evb_buf_free(&program);
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    }
    bool alone = compile_alone(self, text, names),
         compiled = alone && jq_compile(self->jq, (const char *)program.data);
    evb_buf_free(&program);
    if (alone && !compiled) /* jq takes a program without an expression for `.`, which is never what was meant here */
        return evb_fail(err, EVB_EINVAL, "expression: it is empty");
    return compiled ? 0 : fail_compile(self, err);
}

evb_expr *evb_expr_new(const char *text, const char *const *names, size_t count, evb_error *err) {
    evb_expr *self = calloc(1, sizeof *self);
    if (count > EVB_EXPR_NAMES_MAX) {
        evb_fail(err, EVB_EINVAL, "expression: more than %d variables", EVB_EXPR_NAMES_MAX);
        free(self);
        return NULL;
    }
    if (!self || !(self->jq = jq_init())) {
        evb_fail(err, EVB_ENOMEM, "out of memory");
        free(self);
        return NULL;
    }
    self->given = self->count = count;
    jq_set_error_cb(self->jq, on_message, self);
    jq_set_input_cb(self->jq, on_input, self);
    jq_set_debug_cb(self->jq, on_debug, self);
    jq_set_attr(self->jq, jv_string("JQ_LIBRARY_PATH"), jv_array()); /* no modules; without it libjq aborts on them */
    if (compile(self, text, names, err))
        evb_expr_destroy(&self);
    return self;
}

static void drop_values(evb_expr *self) {
    while (self->given < self->count)
        jv_free(self->values[self->given++]);
}

void evb_expr_destroy(evb_expr **self) {
    if (!*self)
        return;
    jq_teardown(&(*self)->jq);
    drop_values(*self);
    free((*self)->said);
    free(*self);
    *self = NULL;
}

/* ---- evaluating ---- */

/* Starts an evaluation and gives its first value, or an invalid one. */
static jv first_value(evb_expr *self, jv input, const jv *values) {
    for (size_t i = 0; i < self->count; i++)
        self->values[i] = values[i];
    self->given = 0;
    jq_start(self->jq, input, 0);
    jv out = jq_next(self->jq);
    drop_values(self);
    return out;
}

/* Says why there is no value; takes over `out`. 0 where it just gave none. */
static int fail_eval(const evb_expr *self, jv out, evb_error *err) {
    int rc = 0;
    if (jq_halted(self->jq))
        rc = evb_fail(err, EVB_EDATA, "the expression halted");
    jv message = jv_invalid_get_msg(out);
    if (!rc && jv_get_kind(message) == JV_KIND_STRING) {
        rc = evb_fail(err, EVB_EDATA, "%.400s", jv_string_value(message));
    } else if (!rc && jv_get_kind(message) != JV_KIND_NULL) {
        message = jv_dump_string(message, 0);
        rc = evb_fail(err, EVB_EDATA, "error: %.400s", jv_string_value(message));
    }
    jv_free(message);
    return rc;
}

int evb_expr_eval(evb_expr *self, jv input, const jv *values, jv *out, evb_error *err) {
    *out = first_value(self, input, values);
    if (!jv_is_valid(*out)) {
        int rc = fail_eval(self, *out, err);
        *out = jv_invalid();
        return rc ? rc : evb_fail(err, EVB_EDATA, "the expression gives no value");
    }
    jv more = jq_next(self->jq);
    int rc = jv_is_valid(more) ? EVB_EDATA : fail_eval(self, jv_copy(more), err);
    if (jv_is_valid(more))
        evb_fail(err, EVB_EDATA, "the expression gives more than one value");
    jv_free(more);
    if (rc) {
        jv_free(*out);
        *out = jv_invalid();
    }
    return rc;
}

int evb_expr_test(evb_expr *self, jv input, const jv *values, bool *holds, evb_error *err) {
    jv out = first_value(self, input, values);
    *holds = false;
    if (!jv_is_valid(out))
        return fail_eval(self, out, err);
    *holds = jv_get_kind(out) != JV_KIND_FALSE && jv_get_kind(out) != JV_KIND_NULL;
    jv_free(out);
    return 0;
}

/* ---- looking at texts and values ---- */

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The index of the member that `at` begins with as a whole word, or -1. */
static int member_at(const char *at, const char *const *members, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(members[i]);
        if (strncmp(at, members[i], n) == 0 && !is_word(at[n]))
            return (int)i;
    }
    return -1;
}

bool evb_expr_members(const char *text, const char *name, const char *const *members, size_t count, uint32_t *used) {
    size_t n = strlen(name);
    *used = 0;
    for (const char *at = strchr(text, '$'); at; at = strchr(at + 1, '$')) {
        if (isspace((unsigned char)at[1]) || at[1] == '#')
            return false; /* libjq takes "$ event" */
        if (strncmp(at + 1, name, n) != 0)
            continue;
        int member = at[1 + n] == '.' ? member_at(at + n + 2, members, count) : -1;
        if (member < 0 && !is_word(at[1 + n]))
            return false;
        if (member >= 0)
            *used |= UINT32_C(1) << member;
    }
    return true;
}

static bool within(jv value, int left) {
    bool ok = left > 0;
    if (jv_get_kind(value) == JV_KIND_ARRAY) {
        int size = jv_array_length(jv_copy(value));
        for (int i = 0; ok && i < size; i++) {
            jv item = jv_array_get(jv_copy(value), i);
            ok = within(item, left - 1);
            jv_free(item);
        }
    } else if (jv_get_kind(value) == JV_KIND_OBJECT) {
        for (int i = jv_object_iter(value); ok && jv_object_iter_valid(value, i); i = jv_object_iter_next(value, i)) {
            jv item = jv_object_iter_value(value, i);
            ok = within(item, left - 1);
            jv_free(item);
        }
    }
    return ok;
}

bool evb_expr_shallow(jv value) { return within(value, EVB_EXPR_DEPTH_MAX); }
