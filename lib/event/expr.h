/* expr.h: expressions in jq's language (jq(1)), compiled once and evaluated again and again, by libjq.
 *
 *   static const char *const names[] = {"event"};
 *   evb_expr *expr = evb_expr_new(". + $event.data", names, 1, &err);
 *   rc = evb_expr_eval(expr, state, (jv[]){event}, &state, &err);
 *
 * Not in libevbus.so; who uses it links with -ljq. As everywhere in libjq, a jv that is given is taken over, whatever comes
 * of it; jv_copy keeps one. libjq reads ~/.jq, and ends the process by abort(3) where memory is short. */
#ifndef EVB_EXPR_H
#define EVB_EXPR_H

#include <jv.h>

#include "evbus.h"

enum { EVB_EXPR_NAMES_MAX = 4 };

/* How deep values may be nested that are to be written and read again: libjq's parser ends at 256. */
enum { EVB_EXPR_DEPTH_MAX = 250 };

typedef struct evb_expr evb_expr;

/* Compiles `text`, NUL-terminated, copied; `names` are those of its variables, without the '$'. Takes some 20 ms, for
 * libjq's own definitions. NULL and *err: EVB_EINVAL and what is wrong with it, EVB_ENOMEM. */
evb_expr *evb_expr_new(const char *text, const char *const *names, size_t count, evb_error *err);
void evb_expr_destroy(evb_expr **self);

/* Evaluates with `input` as `.` and values[i] as the variable names[i]; all are taken over. 0 and *out, the caller's to
 * free; EVB_EDATA where it fails, or gives no value, or more than one. *out is then invalid: free it or leave it.
 * Where nobody else holds parts of `input`, they are changed in place, at any depth. */
int evb_expr_eval(evb_expr *self, jv input, const jv *values, jv *out, evb_error *err);

/* Evaluates as a condition: it holds when its first value is neither false nor null; no value is false. 0 and *holds, or
 * EVB_EDATA where it fails. */
int evb_expr_test(evb_expr *self, jv input, const jv *values, bool *holds, evb_error *err);

/* Whether text mentions its variable $name only as "$name.member" with members out of `members` (`count` of them, at
 * most 32), and which: bit i of *used for members[i]. False: it may use all of it. */
bool evb_expr_members(const char *text, const char *name, const char *const *members, size_t count, uint32_t *used);

/* Whether the value, which is only looked at, is nested no deeper than EVB_EXPR_DEPTH_MAX. */
bool evb_expr_shallow(jv value);

#endif
