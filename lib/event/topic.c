/* topic.c: the rules of topics and patterns, and the matching.
 *
 * A topic is 1 to 16 tokens joined by '.', at most 255 bytes, each token UTF-8 without control characters, space,
 * '*' and '#'. In a pattern the token "*" stands for exactly one token, and "#", last, for one or more.
 * Matching walks both once: a '#' is always last, so nothing is ever tried twice.
 * Leaves to others: who may publish where (the hub). */
#include "event/topic.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "event/limits.h"

bool evb_text_valid(const char *text, size_t size) {
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0, n; i < size; i += n) {
        n = evb_utf8_length(p + i, size - i);
        if (!n || !p[i])
            return false;
    }
    return true;
}

static const char WILDCARD[] = "it has a '*' or '#'";

/* What is wrong with one token, or NULL; "*" and "#" alone are for the caller to allow. */
static const char *token_fault(const char *token, size_t size) {
    if (!size)
        return "it has an empty token";
    const unsigned char *p = (const unsigned char *)token;
    for (size_t i = 0; i < size;) {
        size_t n = evb_utf8_length(p + i, size - i);
        if (!n)
            return "it is not UTF-8";
        if (p[i] < 0x20 || p[i] == 0x7f || (n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0))
            return "it has a control character";
        if (p[i] == ' ')
            return "it has a space";
        if (p[i] == '*' || p[i] == '#')
            return WILDCARD;
        i += n;
    }
    return NULL;
}

/* The token at *at of text[0..size), and *at moved past it and its dot (to size + 1 behind the last). */
static const char *next_token(const char *text, size_t size, size_t *at, size_t *token_size) {
    const char *start = text + *at;
    const char *dot = memchr(start, '.', size - *at);
    *token_size = dot ? (size_t)(dot - start) : size - *at;
    *at += *token_size + 1;
    return start;
}

static const char *tokens_fault(const char *text, size_t size, bool wildcards) {
    if (!size)
        return "it is empty";
    if (size > EVB_TOPIC_MAX)
        return "it is longer than 255 bytes";
    size_t tokens = 0, n;
    for (size_t at = 0; at <= size; tokens++) {
        const char *token = next_token(text, size, &at, &n);
        if (wildcards && n == 1 && *token == '*')
            continue;
        if (wildcards && n == 1 && *token == '#') {
            if (at <= size)
                return "'#' is not its last token";
            continue;
        }
        const char *fault = token_fault(token, n);
        if (fault == WILDCARD && wildcards)
            return "'*' and '#' stand for whole tokens, alone between dots";
        if (fault)
            return fault;
    }
    return tokens > EVB_TOPIC_TOKENS_MAX ? "it has more than 16 tokens" : NULL;
}

const char *evb_topic_fault(const char *topic, size_t size) { return tokens_fault(topic, size, false); }

const char *evb_pattern_fault(const char *pattern, size_t size) { return tokens_fault(pattern, size, true); }

bool evb_topic_reserved(const char *topic, size_t size) {
    size_t n;
    for (size_t at = 0; at <= size;)
        if (*next_token(topic, size, &at, &n) == '$' && n)
            return true;
    return false;
}

bool evb_group_name_valid(const char *name, size_t size) {
    int dots = 0;
    for (size_t i = 0; i < size; i++)
        dots += name[i] == '.';
    return size && size <= EVB_GROUP_NAME_MAX && dots < EVB_GROUP_TOKENS_MAX && !evb_topic_fault(name, size) &&
           !evb_topic_reserved(name, size);
}

static int fail_text(evb_error *err, const char *what, const char *text, size_t size, const char *fault) {
    int shown = size > 64 ? 64 : (int)size;
    if (!size)
        return evb_fail(err, EVB_EDATA, "'': not a %s: %s", what, fault);
    return evb_fail(err, EVB_EDATA, "%.*s%s: not a %s: %s", shown, text, size > 64 ? "..." : "", what, fault);
}

int evb_topic_check(const char *topic, size_t size, evb_error *err) {
    const char *fault = evb_topic_fault(topic, size);
    if (!fault && evb_topic_reserved(topic, size))
        fault = "tokens that start with '$' belong to the hub";
    return fault ? fail_text(err, "topic", topic, size, fault) : 0;
}

int evb_pattern_check(const char *pattern, size_t size, evb_error *err) {
    const char *fault = evb_pattern_fault(pattern, size);
    return fault ? fail_text(err, "pattern", pattern, size, fault) : 0;
}

bool evb_pattern_match(const char *pattern, size_t pattern_size, const char *topic, size_t topic_size) {
    size_t pat = 0, top = 0, n, m;
    while (pat <= pattern_size) {
        if (top > topic_size)
            return false;
        const char *want = next_token(pattern, pattern_size, &pat, &n);
        if (n == 1 && *want == '#')
            return true;
        const char *have = next_token(topic, topic_size, &top, &m);
        if ((n != 1 || *want != '*') && (n != m || memcmp(want, have, n) != 0))
            return false;
    }
    return top > topic_size;
}

bool evb_pattern_overlap(const char *a, size_t a_size, const char *b, size_t b_size) {
    size_t at = 0, bt = 0, n, m;
    while (at <= a_size && bt <= b_size) {
        const char *x = next_token(a, a_size, &at, &n), *y = next_token(b, b_size, &bt, &m);
        if ((n == 1 && *x == '#') || (m == 1 && *y == '#'))
            return true;
        bool any = (n == 1 && *x == '*') || (m == 1 && *y == '*');
        if (!any && (n != m || memcmp(x, y, n) != 0))
            return false;
    }
    return at > a_size && bt > b_size;
}

size_t evb_pattern_prefix(const char *pattern, size_t size, bool *exact) {
    size_t n;
    *exact = true;
    for (size_t at = 0; at <= size;) {
        const char *token = next_token(pattern, size, &at, &n);
        if (n == 1 && (*token == '*' || *token == '#')) {
            *exact = false;
            return (size_t)(token - pattern);
        }
    }
    return size;
}

typedef struct {
    char *text;
    size_t size;
} pattern;

struct evb_patterns {
    pattern *list;
    size_t count;
    bool all; /* one of them is "#" */
};

evb_patterns *evb_patterns_new(const char *const *patterns, size_t count, evb_error *err) {
    evb_patterns *self = calloc(1, sizeof *self);
    if (!self) {
        evb_fail(err, EVB_ENOMEM, "patterns: out of memory");
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (evb_patterns_add(self, patterns[i], strlen(patterns[i]), err)) {
            evb_patterns_destroy(&self);
            return NULL;
        }
    return self;
}

void evb_patterns_destroy(evb_patterns **self) {
    if (!*self)
        return;
    for (size_t i = 0; i < (*self)->count; i++)
        free((*self)->list[i].text);
    free((*self)->list);
    free(*self);
    *self = NULL;
}

int evb_patterns_add(evb_patterns *self, const char *text, size_t size, evb_error *err) {
    int rc = evb_pattern_check(text, size, err);
    if (rc)
        return rc;
    if (self->count == EVB_PATTERNS_MAX)
        return evb_fail(err, EVB_EDATA, "patterns: more than %d", EVB_PATTERNS_MAX);
    pattern *list = realloc(self->list, (self->count + 1) * sizeof *list);
    if (!list)
        return evb_fail(err, EVB_ENOMEM, "patterns: out of memory");
    self->list = list;
    char *copy = strndup(text, size);
    if (!copy)
        return evb_fail(err, EVB_ENOMEM, "patterns: out of memory");
    list[self->count++] = (pattern){copy, size};
    self->all |= size == 1 && *text == '#';
    return 0;
}

bool evb_patterns_match(const evb_patterns *self, const char *topic, size_t size) {
    if (evb_patterns_all(self))
        return true;
    for (size_t i = 0; i < self->count; i++)
        if (evb_pattern_match(self->list[i].text, self->list[i].size, topic, size))
            return true;
    return false;
}

bool evb_patterns_overlap(const evb_patterns *self, const char *text, size_t size) {
    if (evb_patterns_all(self))
        return true;
    for (size_t i = 0; i < self->count; i++)
        if (evb_pattern_overlap(self->list[i].text, self->list[i].size, text, size))
            return true;
    return false;
}

bool evb_patterns_all(const evb_patterns *self) { return !self || self->all || !self->count; }

size_t evb_patterns_count(const evb_patterns *self) { return self->count; }

const char *evb_patterns_get(const evb_patterns *self, size_t i, size_t *size) {
    *size = self->list[i].size;
    return self->list[i].text;
}
