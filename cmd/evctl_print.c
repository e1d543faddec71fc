/* evctl_print.c: rows as a table that fits the terminal, or as JSON lines.
 *
 * On a terminal columns that have nothing to say are left out until the others fit, then those that matter least until
 * they can be made to fit: the widest text columns give way, and text that is cut ends in a sign. Elsewhere nothing is
 * cut or left out. Numbers stand at the right and are never cut. Colours only where evctl_colours says.
 * Leaves to others: what is in the rows (evctl_show.c, evctl_admin.c). */
#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/clock.h"
#include "base/units.h"
#include "evctl.h"

enum { TEXT_LEAST = 8, GAP = 2, CELL_MAX = 8192 };

bool evctl_colours(void) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

size_t evctl_width(void) {
    struct winsize size;
    if (!isatty(STDOUT_FILENO))
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* ---- text and its width ---- */

/* The next character of *text: its columns, and *text behind it. What can't be shown takes one. */
static size_t next_character(const char **text, mbstate_t *state) {
    wchar_t c;
    size_t n = mbrtowc(&c, *text, strlen(*text), state);
    if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
        memset(state, 0, sizeof *state);
        ++*text;
        return 1;
    }
    *text += n;
    int width = wcwidth(c);
    return width < 0 ? 1 : (size_t)width;
}

size_t evctl_columns(const char *text) {
    mbstate_t state = {0};
    size_t columns = 0;
    while (*text)
        columns += next_character(&text, &state);
    return columns;
}

size_t evctl_fit(const char *text, size_t *columns) {
    mbstate_t state = {0};
    const char *at = text, *fits = text;
    size_t used = 0, most = *columns;
    for (size_t next = 0; *at && (next += next_character(&at, &state)) <= most; used = next)
        fits = at;
    *columns = used;
    return (size_t)(fits - text);
}

/* ---- figures ---- */

static void figure_size(uint64_t value, char *out) {
    static const char units[] = "BKMGTPE";
    double v = (double)value;
    size_t i = 0;
    for (; v >= 1024 && units[i + 1]; i++)
        v /= 1024;
    if (i == 0)
        snprintf(out, EVCTL_FIGURE, "%" PRIu64 "B", value);
    else
        snprintf(out, EVCTL_FIGURE, v < 10 ? "%.1f%c" : "%.0f%c", v, units[i]);
}

static void figure_span(uint64_t ns, char *out) {
    uint64_t s = ns / 1000000000;
    if (s < 10)
        snprintf(out, EVCTL_FIGURE, "%.1fs", (double)ns / 1e9);
    else if (s < 120)
        snprintf(out, EVCTL_FIGURE, "%" PRIu64 "s", s);
    else if (s < 7200)
        snprintf(out, EVCTL_FIGURE, "%" PRIu64 "m", s / 60);
    else if (s < 172800)
        snprintf(out, EVCTL_FIGURE, "%" PRIu64 "h", s / 3600);
    else
        snprintf(out, EVCTL_FIGURE, "%" PRIu64 "d", s / 86400);
}

static void figure_time(uint64_t value, char out[EVCTL_FIGURE]) {
    enum { TO_SECONDS = 19 }; /* 2026-11-23T10:00:00 */
    evb_time_text((int64_t)value, out);
    memcpy(out + TO_SECONDS, "Z", 2);
}

const char *evctl_figure(evctl_kind kind, uint64_t value, char out[EVCTL_FIGURE]) {
    uint64_t now = (uint64_t)evb_clock_wall_ns();
    switch (kind) {
    case EVCTL_SIZE: figure_size(value, out); break;
    case EVCTL_SPAN: figure_span(value, out); break;
    case EVCTL_AGO:
        if (value)
            figure_span(now > value ? now - value : 0, out);
        else
            snprintf(out, EVCTL_FIGURE, "-");
        break;
    case EVCTL_TIME: figure_time(value, out); break;
    case EVCTL_TEXT:
    case EVCTL_COUNT: snprintf(out, EVCTL_FIGURE, "%" PRIu64, value); break;
    }
    return out;
}

/* An array of texts, with blanks between. */
static void join(const json_t *array, char out[CELL_MAX]) {
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < json_array_size(array) && used < CELL_MAX; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        used += (size_t)snprintf(out + used, CELL_MAX - used, "%s%s", i ? " " : "", text ? text : "?");
    }
}

void evctl_tame(char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < size ? (unsigned char)text[i + 1] : 0;
        bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0; /* U+0080 to U+009F */
        if (c < 0x20 || c == 0x7f || c1)
            text[i] = '?';
        if (c1)
            text[++i] = '?';
    }
}

static void cell(const json_t *row, const evctl_column *column, char out[CELL_MAX]) {
    const json_t *value = json_object_get(row, column->key);
    char figure[EVCTL_FIGURE];
    if (json_is_array(value))
        join(value, out);
    else if (json_is_integer(value))
        snprintf(out, CELL_MAX, "%s", evctl_figure(column->kind, evctl_number(row, column->key), figure));
    else if (json_is_boolean(value))
        snprintf(out, CELL_MAX, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(out, CELL_MAX, "%s", evctl_text(row, column->key));
    if (!*out)
        snprintf(out, CELL_MAX, "-");
    evctl_tame(out, strlen(out));
}

/* ---- the widths of a table ---- */

static size_t total_of(const evctl_table *t, size_t most_of_text) {
    size_t total = 0;
    for (size_t i = 0; i < t->count; i++) {
        bool text = t->columns[i].kind == EVCTL_TEXT;
        size_t width = text && t->widths[i] > most_of_text ? most_of_text : t->widths[i];
        total += width ? width + (total ? GAP : 0) : 0;
    }
    return total;
}

/* Whether any row has something in this column. */
static bool says_something(const json_t *rows, const evctl_column *column) {
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *value = json_object_get(json_array_get(rows, i), column->key);
        if (json_is_integer(value) ? json_integer_value(value) != 0
            : json_is_array(value) ? json_array_size(value) > 0
                                   : json_is_string(value))
            return true;
    }
    return false;
}

/* Leaves the column out that can best be spared, of those that say nothing or of all. False: there is none. */
static bool leave_out(evctl_table *t, const json_t *rows, bool silent) {
    unsigned worst = 0;
    size_t which = t->count;
    for (size_t i = 0; i < t->count; i++) {
        unsigned rank = silent && says_something(rows, &t->columns[i]) ? 0 : t->columns[i].rank;
        if (t->widths[i] && rank > worst) {
            worst = rank;
            which = i;
        }
    }
    if (which < t->count)
        t->widths[which] = 0;
    return which < t->count;
}

/* Takes width from the widest text columns until all fit. */
static void narrow(evctl_table *t, size_t *widths, size_t total, size_t most, size_t least) {
    while (total > most) {
        size_t widest = t->count;
        for (size_t i = 0; i < t->count; i++)
            if (t->columns[i].kind == EVCTL_TEXT && widths[i] > least &&
                (widest == t->count || widths[i] > widths[widest]))
                widest = i;
        if (widest == t->count)
            return;
        widths[widest]--;
        total--;
    }
}

static void set_widths(evctl_table *t, const json_t *rows, size_t most) {
    char text[CELL_MAX];
    for (size_t c = 0; c < t->count; c++) {
        t->widths[c] = evctl_columns(t->columns[c].title);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            cell(json_array_get(rows, i), &t->columns[c], text);
            size_t needs = evctl_columns(text);
            t->widths[c] = needs > t->widths[c] ? needs : t->widths[c];
        }
    }
    if (!most)
        return;
    while (total_of(t, SIZE_MAX) > most && leave_out(t, rows, true))
        continue;
    while (total_of(t, TEXT_LEAST) > most && leave_out(t, rows, false))
        continue;
    narrow(t, t->widths, total_of(t, SIZE_MAX), most, TEXT_LEAST);
    narrow(t, t->widths, total_of(t, SIZE_MAX), most, 1);
}

/* ---- printing it ---- */

static void print_cell(const char *text, const evctl_column *column, size_t width, bool cut, bool last) {
    size_t columns = evctl_columns(text), shown;
    const char *sign = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "\xe2\x80\xa6" : "~";
    cut = cut && column->kind == EVCTL_TEXT && columns > width;
    size_t room = width - 1, bytes = cut ? evctl_fit(text, &room) : strlen(text);
    shown = cut ? room + 1 : columns;
    int pad = width > shown ? (int)(width - shown) : 0;
    if (column->kind == EVCTL_TEXT)
        printf("%.*s%s%*s", (int)bytes, text, cut ? sign : "", last ? 0 : pad, "");
    else
        printf("%*s%s", pad, "", text);
}

static bool alarming(const json_t *row, const evctl_column *column) {
    const json_t *value = json_object_get(row, column->key);
    return column->alarm && (json_is_integer(value) ? json_integer_value(value) != 0 : json_is_string(value));
}

/* A row behind the first ones may have longer numbers: its text gives way to them. */
static void fit_row(evctl_table *t, const json_t *row, size_t most, size_t *widths) {
    char text[CELL_MAX];
    size_t total = 0;
    for (size_t i = 0; i < t->count; i++) {
        widths[i] = t->widths[i];
        if (widths[i] && t->columns[i].kind != EVCTL_TEXT) {
            cell(row, &t->columns[i], text);
            size_t needs = strlen(text);
            widths[i] = needs > widths[i] ? needs : widths[i];
        }
        total += widths[i] ? widths[i] + (total ? GAP : 0) : 0;
    }
    narrow(t, widths, total, most, 1);
}

static void print_row(evctl_table *t, const json_t *row, size_t most, bool colours) {
    size_t widths[EVCTL_COLUMNS], last = 0;
    char text[CELL_MAX];
    memcpy(widths, t->widths, sizeof widths);
    if (row && most)
        fit_row(t, row, most, widths);
    for (size_t i = 0; i < t->count; i++)
        last = widths[i] ? i : last;
    for (size_t i = 0; i <= last; i++) {
        bool red = colours && row && alarming(row, &t->columns[i]);
        if (!widths[i])
            continue;
        if (row)
            cell(row, &t->columns[i], text);
        else
            snprintf(text, sizeof text, "%s", t->columns[i].title);
        printf("%s", red ? "\033[31m" : "");
        print_cell(text, &t->columns[i], widths[i], most, i == last);
        printf("%s%*s", red ? "\033[m" : "", i < last ? GAP : 0, "");
    }
    putchar('\n');
}

static void print_table(evctl_table *t, const json_t *rows) {
    size_t most = evctl_width();
    bool colours = evctl_colours();
    if (!t->begun) {
        t->begun = true;
        set_widths(t, rows, most);
        printf("%s", colours ? "\033[1m" : "");
        print_row(t, NULL, most, false);
        printf("%s", colours ? "\033[m" : "");
    }
    for (size_t i = 0; i < json_array_size(rows); i++)
        print_row(t, json_array_get(rows, i), most, colours);
}

void evctl_print_json(const json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
}

void evctl_print(const evctl *self, evctl_table *table, const json_t *rows) {
    if (!self->o.json)
        print_table(table, rows);
    for (size_t i = 0; self->o.json && i < json_array_size(rows); i++)
        evctl_print_json(json_array_get(rows, i));
}

/* ---- facts ---- */

void evctl_print_fact(const char *label, const char *text) {
    enum { INDENT = 13 };
    size_t width = evctl_width(), used = INDENT;
    printf("%-*s", INDENT, label);
    for (bool first = true; *text; first = false) {
        const char *comma = strstr(text, ", ");
        size_t bytes = comma ? (size_t)(comma - text) + 1 : strlen(text);
        char part[CELL_MAX];
        snprintf(part, sizeof part, "%.*s", (int)bytes, text);
        evctl_tame(part, strlen(part));
        size_t columns = evctl_columns(part);
        bool wraps = !first && width && used + 1 + columns > width;
        printf("%s%*s%s", wraps ? "\n" : "", wraps ? INDENT : !first, "", part);
        used = (wraps ? (size_t)INDENT : used + !first) + columns;
        text += bytes + (comma ? 1 : 0);
    }
    putchar('\n');
}
