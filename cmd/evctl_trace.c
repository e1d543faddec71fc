/* evctl_trace.c: trace: what led to an event, and what came of that: up by the headers `cause` to the first event that is
 * left, then down through everything behind it with the same `correlation` (lib/event/cause.h).
 *
 * What an event came of has a lower seq than itself, so one reading from the first event's seq on meets each parent
 * before its children: with -J each event is printed as it is read, and only seqs are kept; the tree keeps the start of
 * each payload. Dead letters and attempts in vain ($dead, $failed) hang below the event that they are of.
 * Invariant: nodes ascend by seq; each node's parent is a node before it, or there is none.
 * Leaves to others: reading (evctl_read.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "base/utf8.h"
#include "evctl.h"
#include "event/json.h"

enum { NODES_MAX = 100000, CLIMB_MAX = 10000, START = 60 };
#define NONE SIZE_MAX

static const char *const EVERYTHING[] = {"#"};

typedef struct {
    uint64_t seq, parent_seq; /* 0: it came of nothing that is known */
    size_t parent, first, last, next;
    unsigned depth;
    char *label; /* NULL with -J */
} node;

typedef struct {
    evctl *self;
    node *nodes;
    size_t count, room;
    size_t first, last; /* those without a parent */
    uint64_t top;       /* seq of the first event that is left */
    uint64_t gone;      /* of the one before it, which is not; 0: there was none */
    char correlation[128];
    size_t correlation_size;
    bool full;
} trace;

/* ---- events ---- */

static bool begins(const evb_event *event, const char *prefix) {
    return event->topic_size > strlen(prefix) && memcmp(event->topic, prefix, strlen(prefix)) == 0;
}

/* The seq of the event that this one is of, or came of; 0: none. */
static uint64_t parent_of(const evb_event *event) {
    uint64_t seq = begins(event, "$dead.")     ? evctl_header_number(event, "dead-seq")
                   : begins(event, "$failed.") ? evctl_header_number(event, "failed-seq")
                                               : evctl_header_number(event, "cause");
    return seq < event->seq ? seq : 0;
}

/* ---- up ---- */

/* What is kept of one event on the way up. */
typedef struct {
    bool found;
    uint64_t parent;
    char correlation[128];
    size_t correlation_size;
} step;

static int take_step(void *context, const evb_event *event, evb_error *err) {
    step *s = context;
    const evb_header *h = evctl_header(event, "correlation");
    (void)err;
    s->found = true;
    s->parent = parent_of(event);
    if (h && h->value_size && h->value_size < sizeof s->correlation) {
        memcpy(s->correlation, h->value, h->value_size);
        s->correlation_size = h->value_size;
    }
    return EVCTL_STOP;
}

/* One in between was purged: the first of all, which the correlation names unless it is somebody's own, may be there. */
static int look_behind_gap(trace *t, evb_error *err) {
    step s = {.found = false};
    uint64_t seq;
    if (evb_number_parse(t->correlation, &seq) || !seq || seq >= t->gone)
        return 0;
    int rc = evctl_read(t->self, EVERYTHING, 1, seq, seq, take_step, &s, err);
    if (rc == 0 && s.found && !s.parent && !s.correlation_size)
        t->top = seq;
    return rc;
}

/* Finds the first event that is left of those that led to seq. EVB_EGONE: seq itself is not there. */
static int climb(trace *t, uint64_t seq, evb_error *err) {
    step s = {.parent = seq};
    for (int i = 0; s.parent && i < CLIMB_MAX; i++) {
        uint64_t at = s.parent;
        s = (step){.found = false};
        int rc = evctl_read(t->self, EVERYTHING, 1, at, at, take_step, &s, err);
        if (rc)
            return rc;
        if (!s.found) {
            t->gone = at;
            break;
        }
        t->top = at;
        if (s.correlation_size)
            memcpy(t->correlation, s.correlation, t->correlation_size = s.correlation_size);
    }
    if (!t->top)
        return evb_fail(err, EVB_EGONE, "there is no event of seq %" PRIu64 ", or it is gone", seq);
    if (t->gone)
        fprintf(stderr, "evctl: seq %" PRIu64 ", of which seq %" PRIu64 " came, is gone from the journal\n", t->gone,
                t->top);
    if (!t->correlation_size)
        t->correlation_size = evb_number_text(t->gone ? t->gone : t->top, t->correlation);
    return t->gone ? look_behind_gap(t, err) : 0;
}

/* ---- the tree ---- */

static size_t find(const trace *t, uint64_t seq) {
    size_t low = 0, high = t->count;
    while (seq && low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->nodes[middle].seq == seq)
            return middle;
        if (t->nodes[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return NONE;
}

/* Adds the event as the last child of its parent. NULL: out of memory. */
static node *add_node(trace *t, uint64_t seq, uint64_t parent_seq, size_t parent) {
    if (t->count == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        node *nodes = realloc(t->nodes, room * sizeof *nodes);
        if (!nodes)
            return NULL;
        t->nodes = nodes;
        t->room = room;
    }
    size_t at = t->count++;
    size_t *first = parent == NONE ? &t->first : &t->nodes[parent].first;
    size_t *last = parent == NONE ? &t->last : &t->nodes[parent].last;
    t->nodes[at] = (node){seq, parent_seq, parent, NONE, NONE, NONE, 0, NULL};
    if (parent != NONE)
        t->nodes[at].depth = t->nodes[parent].depth + 1;
    if (*first == NONE)
        *first = at;
    else
        t->nodes[*last].next = at;
    *last = at;
    return &t->nodes[at];
}

/* ---- what is said of an event ---- */

/* Adds the start of a text, as one line, which ends with a whole character. */
static bool add_start(evb_buf *out, const char *text, size_t size) {
    size_t from = out->size, most = size < START ? size : START, at = 0;
    for (size_t n; at < most; at += n) {
        n = evb_utf8_length((const uint8_t *)text + at, size - at);
        if (!n)
            n = 1;
        if (at + n > most)
            break;
    }
    if (at && !evb_buf_add(out, text, at))
        return false;
    for (size_t i = from; i < out->size; i++)
        out->data[i] = out->data[i] == '\n' || out->data[i] == '\t' ? ' ' : out->data[i];
    evctl_tame((char *)out->data + from, out->size - from);
    return at == size || evb_buf_text(out, "...");
}

static bool add_header(evb_buf *out, const evb_event *event, const char *name) {
    const evb_header *h = evctl_header(event, name);
    return h ? add_start(out, h->value, h->value_size) : evb_buf_text(out, "?");
}

/* 12 2026-11-24T01:00:00.000000000Z order.paid {"total":3}; or: … attempt 2 of GROUP failed: exit 3 */
static char *label_of(const evb_event *event) {
    char time[EVB_TIME_TEXT];
    evb_buf out = {0};
    evb_time_text(event->time_ns, time);
    bool ok = evb_buf_printf(&out, "%" PRIu64 " %s ", event->seq, time) &&
              evb_buf_add(&out, event->topic, event->topic_size);
    if (ok && begins(event, "$failed."))
        ok = evb_buf_text(&out, " attempt ") && add_header(&out, event, "attempt") && evb_buf_text(&out, ": ") &&
             add_header(&out, event, "reason");
    else if (ok && begins(event, "$dead."))
        ok = evb_buf_text(&out, " given up on: ") && add_header(&out, event, "dead-reason");
    else if (ok && event->size)
        ok = evb_buf_text(&out, " ") && add_start(&out, event->payload, event->size);
    if (ok && evb_buf_add(&out, "", 1))
        return (char *)out.data;
    evb_buf_free(&out);
    return NULL;
}

/* The event as evsub -J prints it, with parent (null: none) and depth. */
static bool print_object(const node *n, const evb_event *event) {
    evb_buf out = {0};
    char parent[24] = "null";
    if (n->parent_seq)
        snprintf(parent, sizeof parent, "%" PRIu64, n->parent_seq);
    bool ok = evb_json_add_event(&out, event) && out.size;
    if (ok)
        out.size--; /* its brace */
    ok = ok && evb_buf_printf(&out, ",\"parent\":%s,\"depth\":%u}\n", parent, n->depth) &&
         fwrite(out.data, 1, out.size, stdout) == out.size;
    evb_buf_free(&out);
    return ok;
}

/* ---- down ---- */

static bool belongs(const trace *t, const evb_event *event, size_t parent) {
    const evb_header *h = evctl_header(event, "correlation");
    if (event->seq == t->top || parent != NONE)
        return true;
    if (begins(event, "$dead.") || begins(event, "$failed."))
        return false; /* a letter has its event's headers */
    return h && h->value_size == t->correlation_size && memcmp(h->value, t->correlation, h->value_size) == 0;
}

static int take_event(void *context, const evb_event *event, evb_error *err) {
    trace *t = context;
    uint64_t parent_seq = parent_of(event);
    size_t parent = find(t, parent_seq);
    if (!belongs(t, event, parent))
        return 0;
    if (t->count == NODES_MAX) {
        t->full = true;
        return EVCTL_STOP;
    }
    node *n = add_node(t, event->seq, parent_seq, parent);
    bool ok = n && (t->self->o.json ? print_object(n, event) : (n->label = label_of(event)) != NULL);
    return ok ? 0 : evb_fail(err, EVB_ENOMEM, "out of memory, or stdout cannot be written");
}

/* The node behind at, its children first. */
static size_t following(const trace *t, size_t at) {
    if (t->nodes[at].first != NONE)
        return t->nodes[at].first;
    while (at != NONE && t->nodes[at].next == NONE)
        at = t->nodes[at].parent;
    return at == NONE ? NONE : t->nodes[at].next;
}

static void print_tree(const trace *t) {
    for (size_t at = t->first; at != NONE; at = following(t, at))
        printf("%*s%s\n", (int)t->nodes[at].depth * 2, "", t->nodes[at].label);
}

static int read_operand(const evctl *self, uint64_t *seq, evb_error *err) {
    const char *fault = self->argc == 1 ? evb_number_parse(self->argv[0], seq) : "";
    if (self->argc != 1)
        return evb_fail(err, EVB_EINVAL, "trace: one SEQ is wanted");
    if (fault || !*seq || *seq > INT64_MAX)
        return evb_fail(err, EVB_EINVAL, "%s: not a seq%s%s", self->argv[0], fault ? ": " : "", fault ? fault : "");
    return 0;
}

int evctl_trace(evctl *self, evb_error *err) {
    trace t = {.self = self, .first = NONE, .last = NONE};
    uint64_t seq;
    int rc = read_operand(self, &seq, err);
    rc = rc ? rc : climb(&t, seq, err);
    rc = rc ? rc : evctl_read(self, EVERYTHING, 1, t.top, 0, take_event, &t, err);
    if (rc == 0 && !self->o.json)
        print_tree(&t);
    if (t.full)
        fprintf(stderr, "evctl: there is more: only the first %d events are shown\n", NODES_MAX);
    for (size_t i = 0; i < t.count; i++)
        free(t.nodes[i].label);
    free(t.nodes);
    return rc;
}
