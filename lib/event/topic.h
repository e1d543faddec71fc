/* topic.h: topics and patterns. Pure; source: evbus(7), TOPICS AND PATTERNS. */
#ifndef EVB_TOPIC_H
#define EVB_TOPIC_H

#include "evbus.h"

/* Whether it is UTF-8 (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF) and holds no NUL. */
bool evb_text_valid(const char *text, size_t size);

/* NULL if it is a well-formed topic, else a phrase that says what is wrong. Topics of the hub ($...) are well formed. */
const char *evb_topic_fault(const char *topic, size_t size);

/* The same for a pattern. */
const char *evb_pattern_fault(const char *pattern, size_t size);

/* Whether one of the topic's tokens starts with '$': these belong to the hub. */
bool evb_topic_reserved(const char *topic, size_t size);

/* Whether a group may have this name. */
bool evb_group_name_valid(const char *name, size_t size);

/* Whether the pattern matches the topic; both well formed. */
bool evb_pattern_match(const char *pattern, size_t pattern_size, const char *topic, size_t topic_size);

/* Whether there are topics that both patterns match; both well formed. */
bool evb_pattern_overlap(const char *a, size_t a_size, const char *b, size_t b_size);

/* How many of the pattern's leading bytes every matching topic begins with. *exact says that there is no wildcard, so
 * that it matches just the topic of those bytes. */
size_t evb_pattern_prefix(const char *pattern, size_t size, bool *exact);

/* A set of patterns, any of which may match; an empty one is everything. */
typedef struct evb_patterns evb_patterns;

/* Copies `count` NUL-terminated patterns. NULL and *err: EVB_EDATA naming the bad one, EVB_ENOMEM. */
evb_patterns *evb_patterns_new(const char *const *patterns, size_t count, evb_error *err);
void evb_patterns_destroy(evb_patterns **self);

/* Adds one, by length. EVB_EDATA, EVB_ENOMEM. */
int evb_patterns_add(evb_patterns *self, const char *pattern, size_t size, evb_error *err);
bool evb_patterns_match(const evb_patterns *self, const char *topic, size_t size);

/* Whether one of the patterns overlaps with this one; also for NULL, which is everything. */
bool evb_patterns_overlap(const evb_patterns *self, const char *pattern, size_t size);

/* Whether all topics match: one of them is "#", or there are none; also for NULL. */
bool evb_patterns_all(const evb_patterns *self);
size_t evb_patterns_count(const evb_patterns *self);

/* Pattern i, NUL-terminated, borrowed. */
const char *evb_patterns_get(const evb_patterns *self, size_t i, size_t *size);

#endif
