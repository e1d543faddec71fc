/* evctl_top.h: what the parts of evctl top, a live screen of a hub, share. */
#ifndef EVCTL_TOP_H
#define EVCTL_TOP_H

#include <stdbool.h>
#include <stddef.h>

#include "client/watch.h"
#include "evbus.h"

typedef enum { TOP_TOPICS, TOP_GROUPS, TOP_CLIENTS, TOP_VIEWS } top_view;

/* What the person has chosen, and what the terminal can do. */
typedef struct {
    const char *url;
    bool utf8, colour;
    bool paused, help;
    top_view view;
    int order[TOP_VIEWS];    /* index of the order that the rows have */
    bool reverse[TOP_VIEWS]; /* of what it is by itself */
    size_t at[TOP_VIEWS];    /* the first row that is shown */
    size_t page;             /* rows that fit, as drawn last */
    const void **rows;       /* scratch of the drawing: pointers to the view's rows */
    size_t room;
} top_state;

/* ---- evctl_top_screen.c ---- */

/* Puts the whole screen. */
void top_draw(top_state *top, const evb_watch *watch);

/* What a key does. False: quit. */
bool top_key(top_state *top, int key);

/* ---- evctl_top_text.c: no ncurses, no state ---- */

enum { TOP_TEXT = 512 };

/* 0 to 99999, 123.4k, 5.6M, 7.8G …: at most 6 characters. */
void top_count(double value, char *out, size_t size);

/* The same, and one decimal below 10. */
void top_rate(double value, char *out, size_t size);

/* Bytes, in powers of 1024: 512, 1.2K, 3.4M. */
void top_bytes(double value, char *out, size_t size);

/* How long ago or for how long: 5s, 12m, 3h, 4d; negative: 0s. */
void top_age(long long ns, char *out, size_t size);

/* The newest `width` rates as blocks, the largest of them as the highest; in ASCII where utf8 is false. */
void top_spark(const evb_watch_history *history, size_t width, bool utf8, char *out, size_t size);

/* Copies text so that it takes at most `width` columns: what cannot be shown becomes '?', what does not fit ends in an
 * ellipsis. Returns the columns it takes. */
size_t top_fit(const char *text, size_t width, bool utf8, char *out, size_t size);

#endif
