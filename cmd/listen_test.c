/* listen_test.c: evlisten --test.
 *
 * A condition that does not hold is cut at its outermost `and`s, and the first part that does not hold is named.
 * Leaves to others: what a condition means (event/where.c), events as JSON (event/json.c). */
#include "listen_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "event/json.h"
#include "event/topic.h"
#include "event/where.h"

/* Where the next outermost " and " begins, or the text's end. */
static size_t part_size(const char *text) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; text[i]; i++) {
        if (text[i] == '\\' && quoted && text[i + 1])
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += strchr("([{", text[i]) ? 1 : strchr(")]}", text[i]) ? -1 : 0;
        if (!quoted && depth == 0 && strncmp(text + i, " and ", 5) == 0)
            return i;
    }
    return strlen(text);
}

/* Whether the expression is what its parts between `and`s say: an `or` or a pipe outside of them binds looser. */
static bool is_conjunction(const char *text) {
    return !strstr(text, " or ") && !strchr(text, '|') && !strchr(text, ',');
}

/* What an expression says of the event: 1 holds, 0 not, -1 it failed, and why. */
static int ask(const char *text, const evb_event *event, evb_error *err) {
    bool holds;
    evb_where *where = evb_where_new(text, err);
    int rc = where ? evb_where_test(where, event, &holds, err) : err->code;
    evb_where_destroy(&where);
    return rc ? -1 : holds;
}

/* Names the part of a condition that says no. */
static void say_part(const char *when, const evb_event *event) {
    evb_error err;
    for (const char *at = when; is_conjunction(when) && *at;) {
        size_t size = part_size(at);
        char *part = strndup(at, size);
        int holds = part ? ask(part, event, &err) : 1;
        if (holds < 1)
            printf("no: when: %s%s%s\n", part, holds ? ": " : ": does not hold", holds ? err.text : "");
        free(part);
        if (holds < 1)
            return;
        at += size + (at[size] ? 5 : 0);
    }
    printf("no: when: %s: does not hold\n", when);
}

static bool explain(const listener *l, const evb_event *event) {
    evb_error err;
    bool on = false;
    printf("%s: ", l->name);
    for (size_t i = 0; !on && i < l->pattern_count; i++)
        on = evb_pattern_match(l->patterns[i], strlen(l->patterns[i]), event->topic, event->topic_size) &&
             (*event->topic != '$' || *l->patterns[i] == '$');
    int holds = on && l->when ? ask(l->when, event, &err) : 1;
    if (!on)
        printf("no: on: no pattern matches %.*s\n", (int)event->topic_size, event->topic);
    else if (holds < 0)
        printf("no: when: %s: %s\n", l->when, err.text);
    else if (!holds)
        say_part(l->when, event);
    else
        printf("runs\n");
    return on && holds > 0;
}

/* Reads and explains all lines. */
static int explain_all(const listen_set *set, const char *path, FILE *file, evb_json *json, evb_error *err) {
    char *line = NULL;
    size_t room = 0, count = 0;
    ssize_t size;
    bool any = false;
    evb_event event;
    evb_error why;
    int rc = 0;
    while (rc == 0 && (size = getline(&line, &room, file)) >= 0) {
        count++;
        if (size && line[size - 1] == '\n')
            size--;
        event = (evb_event){0};
        if (evb_json_read(json, line, (size_t)size, &event, &why))
            rc = evb_fail(err, EVB_EDATA, "%s:%zu: %.400s", path, count, why.text);
        for (const listener *l = set->first; rc == 0 && l; l = l->next)
            any |= explain(l, &event);
    }
    free(line);
    if (rc == 0 && ferror(file))
        rc = evb_fail_errno(err, EVB_EDATA, errno, "%s", path);
    if (rc == 0 && !count)
        rc = evb_fail(err, EVB_EDATA, "%s: no event", path);
    return rc ? rc : !any;
}

int listen_test(const listen_set *set, const char *path, evb_error *err) {
    bool own = strcmp(path, "-") != 0;
    FILE *file = own ? fopen(path, "re") : stdin;
    evb_json *json = evb_json_new();
    int rc;
    if (!file)
        rc = evb_fail_errno(err, EVB_EINVAL, errno, "%s", path);
    else
        rc = json ? explain_all(set, path, file, json, err) : evb_fail(err, EVB_ENOMEM, "out of memory");
    if (file && own)
        fclose(file);
    evb_json_destroy(&json);
    return rc;
}
