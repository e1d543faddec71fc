/* where.c: the expression, and the part of each event that it looks at.
 *
 * To make an event's whole object costs more than most conditions do, its JSON above all. A member is left out when its
 * name is nowhere in the text and nothing there can see the object as a whole: no `.` by itself, no `.[`, and no function but
 * those of SAFE, which say nothing of an object that depends on its members, and those of SAFE_BEHIND_PIPE, which do not
 * have the object before them there. A name may also be written with escapes: a string that has one may be any name.
 * Leaves to others: jq's language (expr.c), the object (jv_event.c). */
#include "event/where.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "event/expr.h"
#include "event/jv_event.h"

struct evb_where {
    evb_expr *expr;
    evb_jv_events *events;
};

static const char *const SAFE[] = {
    "and",  "or",   "not",  "true", "false",    "null",           "test",         "startswith", "endswith", "if",
    "then", "else", "elif", "end",  "tonumber", "ascii_downcase", "ascii_upcase", "floor",      NULL};
static const char *const SAFE_BEHIND_PIPE[] = {"ltrimstr", "rtrimstr", "inside", "length", "contains", NULL};

static bool is_in(const char *const *list, const char *word, size_t size) {
    for (; *list; list++)
        if (strlen(*list) == size && memcmp(*list, word, size) == 0)
            return true;
    return false;
}

/* Whether the word at `word`, in the text that begins at `start`, says nothing that depends on the whole object. */
static bool is_safe(const char *start, const char *word, size_t size) {
    const char *before = word;
    while (before > start && isspace((unsigned char)before[-1]))
        before--;
    return is_in(SAFE, word, size) || (before > start && before[-1] == '|' && is_in(SAFE_BEHIND_PIPE, word, size));
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Behind a string that begins at text, or NULL where it has an escape: an interpolation may be anything. */
static const char *skip_string(const char *text) {
    for (text++; *text && *text != '"'; text++)
        if (*text == '\\')
            return NULL;
    return *text ? text + 1 : NULL;
}

/* Behind the token that begins at text, or NULL where it may see the whole object. */
static const char *skip_token(const char *start, const char *text) {
    size_t size = 0;
    if (*text == '"')
        return skip_string(text);
    if (*text == '=') /* an assignment gives the object */
        return text[1] == '=' ? text + 2 : NULL;
    if (strchr("!<>", *text) && text[1] == '=')
        return text + 2;
    if (*text == '.' && !isalpha((unsigned char)text[1]) && text[1] != '_' && text[1] != '"')
        return NULL;
    if (*text == '.' && text[1] == '"')
        return text + 1;
    if (*text == '.')
        for (text++; in_word(text[size]);)
            size++;
    else if (isdigit((unsigned char)*text))
        while (in_word(text[size]) || text[size] == '.')
            size++;
    else if (in_word(*text)) {
        while (in_word(text[size]))
            size++;
        return is_safe(start, text, size) ? text + size : NULL;
    }
    return text + (size ? size : 1);
}

uint32_t evb_where_members(const char *text) {
    uint32_t members = 0;
    for (const char *at = text; *at;)
        if (strchr("$@#?", *at) || !(at = skip_token(text, at)))
            return EVB_MEMBERS_ALL;
    for (int i = 0; i < EVB_MEMBER_COUNT; i++)
        if (strstr(text, evb_member_names[i]))
            members |= 1U << i;
    return members;
}

evb_where *evb_where_new(const char *text, evb_error *err) {
    evb_where *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "out of memory");
        return NULL;
    }
    self->expr = evb_expr_new(text, NULL, 0, err);
    if (self->expr && !(self->events = evb_jv_events_new(evb_where_members(text))))
        evb_fail(err, EVB_ENOMEM, "out of memory");
    if (!self->events)
        evb_where_destroy(&self);
    return self;
}

void evb_where_destroy(evb_where **self) {
    if (!*self)
        return;
    evb_expr_destroy(&(*self)->expr);
    evb_jv_events_destroy(&(*self)->events);
    free(*self);
    *self = NULL;
}

int evb_where_test(evb_where *self, const evb_event *event, bool *holds, evb_error *err) {
    *holds = false;
    return evb_expr_test(self->expr, evb_jv_events_make(self->events, event), NULL, holds, err);
}
