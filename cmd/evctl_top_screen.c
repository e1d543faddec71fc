/* evctl_top_screen.c: evctl top's screen: a line on the hub, the views' names, a table, a line of keys.
 *
 * A view is a table of columns, each with the width that the screen must have for it to be shown, and a table of orders,
 * each with its key. One column is flexible and takes what the others leave. Rows are pointers into the watch, sorted
 * anew for each drawing; of the topics by rate only those that have one are, as the rest is in order already.
 * Leaves to others: what the texts look like (evctl_top_text.c), keys' arrival and the clock (evctl_top.c). */
#include <inttypes.h>
#include <ncurses.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "evctl_top.h"

enum { GREEN = 1, YELLOW, RED, CYAN };
enum { FLEXIBLE_LEAST = 8, TABLE_TOP = 3 };

/* What a drawing needs. */
typedef struct {
    top_state *top;
    const evb_watch *watch;
    int width, height;
    size_t spark; /* columns of a sparkline */
} drawing;

typedef struct {
    const char *title;
    int width;  /* 0: what is left; -1: that of a sparkline */
    int least;  /* width of a screen that has it */
    bool right; /* aligned to the right */
    int key;    /* of the order that it shows; 0: none */
    /* Writes a row's text and may change its attributes. */
    void (*text)(const drawing *d, const void *row, char *out, attr_t *attributes);
} column;

typedef struct {
    int key;
    const char *what;
    int (*compare)(const void *a, const void *b); /* of pointers to rows; NULL: as they come */
} order;

static attr_t colour(const drawing *d, int pair) { return d->top->colour ? (attr_t)COLOR_PAIR(pair) : 0; }

/* Names come from strangers: bytes that mean something to a terminal are shown as '?', see top_fit. */
static void put(const drawing *d, int y, int x, int width, bool right, const char *text, attr_t attributes) {
    char shown[TOP_TEXT];
    if (x >= d->width || width <= 0)
        return;
    width = x + width > d->width ? d->width - x : width;
    int used = (int)top_fit(text, (size_t)width, d->top->utf8, shown, sizeof shown);
    attron(attributes);
    mvaddstr(y, x + (right ? width - used : 0), shown);
    attroff(attributes);
}

/* ---- topics ---- */

#define TOPIC(row) ((const evb_watch_topic *)(row))
#define GROUP(row) ((const evb_watch_group *)(row))
#define CLIENT(row) ((const evb_watch_client *)(row))

static void topic_name(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    *attributes |= TOPIC(row)->rate > 0 ? A_BOLD : 0;
    snprintf(out, TOP_TEXT, "%s", TOPIC(row)->name);
}

static void topic_rate(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= TOPIC(row)->rate > 0 ? colour(d, GREEN) : A_DIM;
    top_rate(TOPIC(row)->rate, out, TOP_TEXT);
}

static void topic_spark(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= colour(d, CYAN);
    top_spark(TOPIC(row)->history, d->spark, d->top->utf8, out, TOP_TEXT);
}

static void topic_events(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    top_count((double)TOPIC(row)->version, out, TOP_TEXT);
}

static void topic_bytes(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    top_bytes((double)TOPIC(row)->bytes, out, TOP_TEXT);
}

static void topic_age(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)attributes;
    if (TOPIC(row)->time_ns)
        top_age(evb_watch_hub(d->watch)->time_ns - TOPIC(row)->time_ns, out, TOP_TEXT);
}

static void topic_last(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    snprintf(out, TOP_TEXT, "%" PRIu64, TOPIC(row)->last);
}

/* ---- groups ---- */

static void group_name(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= GROUP(row)->stalled ? colour(d, RED) | A_BOLD : GROUP(row)->rate > 0 ? A_BOLD : 0;
    snprintf(out, TOP_TEXT, "%s", GROUP(row)->name);
}

static void group_lag(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= GROUP(row)->lag ? colour(d, YELLOW) : A_DIM;
    top_count((double)GROUP(row)->lag, out, TOP_TEXT);
}

static void group_rate(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= GROUP(row)->rate > 0 ? colour(d, GREEN) : A_DIM;
    top_rate(GROUP(row)->rate, out, TOP_TEXT);
}

static void group_members(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= GROUP(row)->members ? 0 : colour(d, YELLOW);
    snprintf(out, TOP_TEXT, "%" PRIu64, GROUP(row)->members);
}

static void group_pending(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    top_count((double)GROUP(row)->pending, out, TOP_TEXT);
}

static void group_again(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    top_count((double)GROUP(row)->redelivered, out, TOP_TEXT);
}

static void group_dead(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= GROUP(row)->dead ? colour(d, RED) : 0;
    top_count((double)GROUP(row)->dead, out, TOP_TEXT);
}

/* Its patterns, behind why it stands still. */
static void group_what(const drawing *d, const void *row, char *out, attr_t *attributes) {
    const evb_watch_group *g = row;
    *attributes |= g->stalled ? colour(d, RED) : 0;
    snprintf(out, TOP_TEXT, "%s%s%s", g->stalled ? g->stalled : "", g->stalled ? ": " : "",
             g->patterns ? g->patterns : "");
}

/* ---- clients ---- */

static void client_kind(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    *attributes |= A_BOLD;
    snprintf(out, TOP_TEXT, "%s", CLIENT(row)->kind ? CLIENT(row)->kind : "?");
}

static void client_pid(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    if (CLIENT(row)->pid)
        snprintf(out, TOP_TEXT, "%" PRIu64, CLIENT(row)->pid);
}

static void client_user(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    if (CLIENT(row)->has_uid)
        snprintf(out, TOP_TEXT, "%" PRIu64, CLIENT(row)->uid);
}

static void client_lag(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= CLIENT(row)->lag ? colour(d, YELLOW) : A_DIM;
    top_count((double)CLIENT(row)->lag, out, TOP_TEXT);
}

static void client_losses(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= CLIENT(row)->losses ? colour(d, RED) : A_DIM;
    top_count((double)CLIENT(row)->losses, out, TOP_TEXT);
}

static void client_position(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    snprintf(out, TOP_TEXT, "%" PRIu64, CLIENT(row)->position);
}

static void client_rate(const drawing *d, const void *row, char *out, attr_t *attributes) {
    *attributes |= CLIENT(row)->rate > 0 ? colour(d, GREEN) : A_DIM;
    top_rate(CLIENT(row)->rate, out, TOP_TEXT);
}

static void client_age(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)attributes;
    if (CLIENT(row)->since_ns)
        top_age(evb_watch_hub(d->watch)->time_ns - CLIENT(row)->since_ns, out, TOP_TEXT);
}

static void client_group(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    snprintf(out, TOP_TEXT, "%s", CLIENT(row)->group ? CLIENT(row)->group : "");
}

static void client_patterns(const drawing *d, const void *row, char *out, attr_t *attributes) {
    (void)d;
    (void)attributes;
    snprintf(out, TOP_TEXT, "%s", CLIENT(row)->patterns ? CLIENT(row)->patterns : "");
}

/* ---- orders ---- */

#define AT(type, p) (*(const type *const *)(p))
#define NUMBERS(name, type, member, by_name)                                                                         \
    static int name(const void *a, const void *b) {                                                                  \
        const type *x = AT(type, a), *y = AT(type, b);                                                               \
        return x->member > y->member ? -1 : x->member < y->member ? 1 : by_name(a, b);                               \
    }

static int topics_by_name(const void *a, const void *b) {
    return strcmp(AT(evb_watch_topic, a)->name, AT(evb_watch_topic, b)->name);
}
NUMBERS(topics_by_rate, evb_watch_topic, rate, topics_by_name)
NUMBERS(topics_by_events, evb_watch_topic, version, topics_by_name)
NUMBERS(topics_by_bytes, evb_watch_topic, bytes, topics_by_name)
NUMBERS(topics_by_time, evb_watch_topic, time_ns, topics_by_name)

static int groups_by_name(const void *a, const void *b) {
    return strcmp(AT(evb_watch_group, a)->name, AT(evb_watch_group, b)->name);
}
NUMBERS(groups_by_lag, evb_watch_group, lag, groups_by_name)
NUMBERS(groups_by_rate, evb_watch_group, rate, groups_by_name)
NUMBERS(groups_by_pending, evb_watch_group, pending, groups_by_name)
NUMBERS(groups_by_dead, evb_watch_group, dead, groups_by_name)

static int clients_by_pid(const void *a, const void *b) {
    uint64_t x = AT(evb_watch_client, a)->pid, y = AT(evb_watch_client, b)->pid;
    return x < y ? -1 : x > y;
}

static int clients_by_name(const void *a, const void *b) {
    const char *x = AT(evb_watch_client, a)->kind, *y = AT(evb_watch_client, b)->kind;
    int difference = strcmp(x ? x : "", y ? y : "");
    return difference ? difference : clients_by_pid(a, b);
}
NUMBERS(clients_by_lag, evb_watch_client, lag, clients_by_name)
NUMBERS(clients_by_rate, evb_watch_client, rate, clients_by_name)
NUMBERS(clients_by_losses, evb_watch_client, losses, clients_by_name)

/* ---- views ---- */

static const column TOPIC_COLUMNS[] = {
    {"TOPIC", 0, 0, false, 'n', topic_name},   {"EV/S", 7, 0, true, 'r', topic_rate},
    {"", -1, 34, false, 0, topic_spark},       {"EVENTS", 8, 50, true, 'e', topic_events},
    {"BYTES", 8, 64, true, 'b', topic_bytes},  {"AGE", 6, 56, true, 't', topic_age},
    {"LAST SEQ", 12, 90, true, 0, topic_last},
};
static const column GROUP_COLUMNS[] = {
    {"GROUP", 0, 0, false, 'n', group_name},      {"LAG", 8, 0, true, 'l', group_lag},
    {"ACK/S", 8, 30, true, 'r', group_rate},      {"MEMB", 6, 40, true, 0, group_members},
    {"PENDING", 9, 50, true, 'e', group_pending}, {"AGAIN", 8, 66, true, 0, group_again},
    {"DEAD", 7, 58, true, 'd', group_dead},       {"  PATTERNS", 26, 100, false, 0, group_what},
};
static const column CLIENT_COLUMNS[] = {
    {"CLIENT", 8, 0, false, 'n', client_kind},      {"PID", 9, 0, true, 'i', client_pid},
    {"UID", 8, 60, true, 0, client_user},           {"LAG", 8, 36, true, 'l', client_lag},
    {"EV/S", 8, 46, true, 'r', client_rate},        {"LOST", 7, 68, true, 'x', client_losses},
    {"POSITION", 12, 90, true, 0, client_position}, {"SINCE", 7, 76, true, 0, client_age},
    {"  GROUP", 14, 110, false, 0, client_group},   {"  PATTERNS", 0, 40, false, 0, client_patterns},
};
static const order TOPIC_ORDERS[] = {{'r', "rate", topics_by_rate},
                                     {'n', "name", topics_by_name},
                                     {'e', "events", topics_by_events},
                                     {'b', "bytes", topics_by_bytes},
                                     {'t', "time", topics_by_time}};
static const order GROUP_ORDERS[] = {{'l', "lag", groups_by_lag},
                                     {'n', "name", groups_by_name},
                                     {'r', "rate", groups_by_rate},
                                     {'e', "pending", groups_by_pending},
                                     {'d', "dead letters", groups_by_dead}};
static const order CLIENT_ORDERS[] = {{'l', "lag", clients_by_lag},
                                      {'n', "name", clients_by_name},
                                      {'r', "rate", clients_by_rate},
                                      {'i', "pid", clients_by_pid},
                                      {'x', "losses", clients_by_losses}};

#define LIST(array) array, sizeof array / sizeof *array
static const struct {
    const char *name;
    const column *columns;
    size_t column_count;
    const order *orders;
    size_t order_count;
} VIEWS[TOP_VIEWS] = {{"Topics", LIST(TOPIC_COLUMNS), LIST(TOPIC_ORDERS)},
                      {"Groups", LIST(GROUP_COLUMNS), LIST(GROUP_ORDERS)},
                      {"Clients", LIST(CLIENT_COLUMNS), LIST(CLIENT_ORDERS)}};

/* ---- rows ---- */

static size_t count_rows(const evb_watch *watch, top_view view) {
    size_t count = 0;
    switch (view) {
    case TOP_TOPICS: evb_watch_topics(watch, &count); break;
    case TOP_GROUPS: evb_watch_groups(watch, &count); break;
    case TOP_CLIENTS: evb_watch_clients(watch, &count); break;
    case TOP_VIEWS: break;
    }
    return count;
}

static bool make_room(top_state *top, size_t count) {
    if (count <= top->room)
        return true;
    const void **rows = realloc(top->rows, count * sizeof *rows);
    if (!rows)
        return false;
    top->rows = rows;
    top->room = count;
    return true;
}

/* Those with a rate first; returns how many. The others stay in the order of their names. */
static size_t topics_at_work_first(top_state *top, const evb_watch *watch) {
    size_t count, busy = 0, idle;
    evb_watch_topic *const *list = evb_watch_topics(watch, &count);
    for (size_t i = 0; i < count; i++)
        if (list[i]->rate > 0)
            top->rows[busy++] = list[i];
    idle = busy;
    for (size_t i = 0; i < count; i++)
        if (!(list[i]->rate > 0))
            top->rows[idle++] = list[i];
    return busy;
}

/* Fills in top->rows, sorted; returns how many. */
static size_t sort_rows(const drawing *d) {
    top_state *top = d->top;
    size_t count = count_rows(d->watch, top->view), sorted = count, n;
    const order *by = &VIEWS[top->view].orders[top->order[top->view]];
    if (!make_room(top, count))
        return 0;
    if (top->view == TOP_TOPICS)
        sorted = topics_at_work_first(top, d->watch);
    if (top->view == TOP_TOPICS && by->compare != topics_by_rate)
        sorted = count;
    for (size_t i = 0; top->view == TOP_GROUPS && i < count; i++)
        top->rows[i] = &evb_watch_groups(d->watch, &n)[i];
    for (size_t i = 0; top->view == TOP_CLIENTS && i < count; i++)
        top->rows[i] = &evb_watch_clients(d->watch, &n)[i];
    if (sorted)
        qsort(top->rows, sorted, sizeof *top->rows, by->compare);
    return count;
}

/* ---- drawing ---- */

/* The width that a column has on this screen; the flexible one gets what the others leave. 0: not shown. */
static int width_of(const drawing *d, const column *c) {
    if (d->width < c->least)
        return 0;
    if (c->width)
        return c->width > 0 ? c->width : (int)d->spark + 2;
    int left = d->width;
    for (size_t i = 0; i < VIEWS[d->top->view].column_count; i++) {
        const column *other = &VIEWS[d->top->view].columns[i];
        if (other->width)
            left -= width_of(d, other);
    }
    return left < FLEXIBLE_LEAST ? FLEXIBLE_LEAST : left;
}

static void draw_titles(const drawing *d) {
    const top_state *top = d->top;
    int x = 0, key = VIEWS[top->view].orders[top->order[top->view]].key;
    attron(A_REVERSE);
    mvhline(TABLE_TOP - 1, 0, ' ', d->width);
    attroff(A_REVERSE);
    for (size_t i = 0; i < VIEWS[top->view].column_count; i++) {
        const column *c = &VIEWS[top->view].columns[i];
        int width = width_of(d, c);
        attr_t chosen = c->key == key ? A_REVERSE | A_BOLD | A_UNDERLINE : A_REVERSE;
        put(d, TABLE_TOP - 1, x, width, c->right, c->title, chosen);
        x += width;
    }
}

static void draw_row(const drawing *d, int y, const void *row) {
    const top_state *top = d->top;
    int x = 0;
    for (size_t i = 0; i < VIEWS[top->view].column_count; i++) {
        const column *c = &VIEWS[top->view].columns[i];
        char text[TOP_TEXT] = "";
        attr_t attributes = 0;
        int width = width_of(d, c), indent = c->width == -1 || c->title[0] == ' ' ? 2 : 0;
        c->text(d, row, text, &attributes);
        put(d, y, x + indent, width - indent - !c->width, c->right, text, attributes);
        x += width;
    }
}

static void draw_table(const drawing *d) {
    top_state *top = d->top;
    size_t count = sort_rows(d), *at = &top->at[top->view];
    int room = d->height - TABLE_TOP - 1;
    top->page = room > 0 ? (size_t)room : 0;
    if (*at + top->page > count)
        *at = count > top->page ? count - top->page : 0;
    draw_titles(d);
    for (size_t i = 0; i < top->page && *at + i < count; i++) {
        size_t place = top->reverse[top->view] ? count - 1 - (*at + i) : *at + i;
        draw_row(d, TABLE_TOP + (int)i, top->rows[place]);
    }
    if (!count && top->page)
        put(d, TABLE_TOP, 2, d->width - 2, false, "none", A_DIM);
}

/* Adds a piece of the first line if there is room. Returns where the next goes. */
static int add_piece(const drawing *d, int x, const char *text, attr_t attributes) {
    int size = (int)strlen(text);
    if (x + size > d->width && x)
        return x;
    put(d, 0, x, d->width - x, false, text, attributes);
    return x + size + 2;
}

static void uptime_text(int64_t ns, char *out, size_t size) {
    int64_t minutes = ns / EVB_SECOND_NS / 60;
    if (minutes < 60)
        snprintf(out, size, "up %dm%02ds", (int)minutes, (int)(ns / EVB_SECOND_NS % 60));
    else if (minutes < 48 * 60)
        snprintf(out, size, "up %dh%02dm", (int)(minutes / 60), (int)(minutes % 60));
    else
        snprintf(out, size, "up %dd%02dh", (int)(minutes / 60 / 24), (int)(minutes / 60 % 24));
}

static void draw_hub(const drawing *d) {
    const evb_watch_status *s = evb_watch_hub(d->watch);
    char text[TOP_TEXT], number[24];
    int x = add_piece(d, 0, "evbus", A_BOLD);
    if (s->uptime_ns) {
        uptime_text(s->uptime_ns, text, sizeof text);
        x = add_piece(d, x, text, 0);
    }
    snprintf(text, sizeof text, "head %" PRIu64, s->head);
    x = add_piece(d, x, text, 0);
    top_rate(s->rate, number, sizeof number);
    snprintf(text, sizeof text, "%s/s", number);
    x = add_piece(d, x, text, A_BOLD | (s->rate > 0 ? colour(d, GREEN) : 0));
    top_bytes((double)s->bytes, number, sizeof number);
    if (s->disk_total)
        snprintf(text, sizeof text, "disk %s, %d%% free", number,
                 (int)((double)s->disk_free * 100 / (double)s->disk_total));
    else
        snprintf(text, sizeof text, "disk %s", number);
    x = add_piece(d, x, s->full ? "DISK FULL" : text, s->full ? A_BOLD | colour(d, RED) : 0);
    if (s->rss) {
        top_bytes((double)s->rss, number, sizeof number);
        snprintf(text, sizeof text, "rss %s", number);
        x = add_piece(d, x, text, 0);
    }
    if (s->sync && strcmp(s->sync, "always") != 0) {
        snprintf(text, sizeof text, "sync %s", s->sync);
        x = add_piece(d, x, text, 0);
    }
    x = add_piece(d, x, d->top->url, A_DIM);
    if (d->width - x >= 10) {
        size_t width = (size_t)(d->width - x);
        width = width < EVB_WATCH_HISTORY ? width : EVB_WATCH_HISTORY;
        top_spark(&s->history, width, d->top->utf8, text, sizeof text);
        put(d, 0, d->width - (int)width, (int)width, false, text, colour(d, CYAN));
    }
}

static void draw_absent(const drawing *d, const char *why) {
    char text[TOP_TEXT + 32];
    snprintf(text, sizeof text, "waiting for the hub: %s", why);
    put(d, 0, 0, d->width, false, text, A_BOLD | colour(d, RED));
}

static void draw_views(const drawing *d) {
    char text[64], number[16];
    int x = 0;
    for (int v = 0; v < TOP_VIEWS; v++) {
        top_count((double)count_rows(d->watch, (top_view)v), number, sizeof number);
        snprintf(text, sizeof text, " %d %s %s ", v + 1, VIEWS[v].name, number);
        put(d, 1, x, d->width - x, false, text, v == (int)d->top->view ? A_REVERSE : 0);
        x += (int)strlen(text) + 1;
    }
    if (d->top->paused)
        put(d, 1, x, d->width - x, false, "PAUSED", A_BOLD | colour(d, YELLOW));
}

static void draw_keys(const drawing *d) {
    char text[TOP_TEXT];
    size_t used = (size_t)snprintf(text, sizeof text, "q quit  ? help  Tab view  p pause  sort:");
    for (size_t i = 0; i < VIEWS[d->top->view].order_count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, " %c", VIEWS[d->top->view].orders[i].key);
    put(d, d->height - 1, 0, d->width - 1, false, text, A_DIM);
}

static void draw_help(const drawing *d) {
    static const char *const LINES[] = {
        "q           quit",
        "Tab 1 2 3   topics, groups, clients",
        "p or blank  pause, and go on",
        "arrows j k  scroll; PgUp PgDn Home End",
        "n r l e b t d i x  the orders below;",
        "            the same again: reversed",
    };
    char text[TOP_TEXT];
    int y = 0;
    for (size_t i = 0; i < sizeof LINES / sizeof *LINES && y < d->height - 1; i++)
        put(d, y++, 0, d->width, false, LINES[i], 0);
    for (int v = 0; v < TOP_VIEWS && y < d->height - 1; v++) {
        size_t used = (size_t)snprintf(text, sizeof text, "%s: ", VIEWS[v].name);
        for (size_t i = 0; i < VIEWS[v].order_count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, " %c %s", VIEWS[v].orders[i].key,
                                     VIEWS[v].orders[i].what);
        put(d, y++, 0, d->width, false, text, 0);
    }
    put(d, d->height - 1, 0, d->width - 1, false, "any key goes back", A_DIM);
}

void top_draw(top_state *top, const evb_watch *watch) {
    drawing d = {.top = top, .watch = watch};
    int64_t since_ns;
    getmaxyx(stdscr, d.height, d.width);
    d.spark = d.width < 60 ? 8 : d.width < 100 ? 16 : 32;
    erase();
    if (top->help) {
        draw_help(&d);
    } else {
        const char *why = evb_watch_absent(watch, &since_ns);
        if (why)
            draw_absent(&d, why);
        else if (since_ns)
            draw_hub(&d);
        draw_views(&d);
        draw_table(&d);
        draw_keys(&d);
    }
    refresh();
}

/* ---- keys ---- */

/* Whether a key is one of the view's orders; takes it. */
static bool choose_order(top_state *top, int key) {
    for (size_t i = 0; i < VIEWS[top->view].order_count; i++) {
        if (VIEWS[top->view].orders[i].key != key)
            continue;
        bool same = top->order[top->view] == (int)i;
        top->reverse[top->view] = same && !top->reverse[top->view];
        top->order[top->view] = (int)i;
        top->at[top->view] = 0;
        return true;
    }
    return false;
}

/* Moves the table by rows; the drawing keeps it from its ends. */
static void scroll_by(top_state *top, size_t rows, bool up) {
    size_t *at = &top->at[top->view];
    if (!up)
        *at += rows;
    else
        *at = *at > rows ? *at - rows : 0;
}

static void move_table(top_state *top, int key) {
    size_t page = top->page > 1 ? top->page - 1 : 1;
    switch (key) {
    case KEY_UP:
    case 'k': scroll_by(top, 1, true); break;
    case KEY_DOWN:
    case 'j': scroll_by(top, 1, false); break;
    case KEY_PPAGE: scroll_by(top, page, true); break;
    case KEY_NPAGE: scroll_by(top, page, false); break;
    case KEY_HOME:
    case 'g': top->at[top->view] = 0; break;
    case KEY_END:
    case 'G': top->at[top->view] = SIZE_MAX / 2; break;
    default: choose_order(top, key); break;
    }
}

bool top_key(top_state *top, int key) {
    if (key == KEY_RESIZE) {
        clearok(curscr, TRUE); /* what was on its way was meant for the other size */
        return true;
    }
    if (top->help) {
        top->help = false;
        return key != 'q';
    }
    switch (key) {
    case 'q':
    case 'Q': return false;
    case '?':
    case 'h': top->help = true; break;
    case 'p':
    case ' ': top->paused = !top->paused; break;
    case '\t': top->view = (top->view + 1) % TOP_VIEWS; break;
    case KEY_BTAB: top->view = (top->view + TOP_VIEWS - 1) % TOP_VIEWS; break;
    case '1':
    case '2':
    case '3': top->view = (top_view)(key - '1'); break;
    case 'L' & 0x1f: clearok(curscr, TRUE); break;
    default: move_table(top, key); break;
    }
    return true;
}
