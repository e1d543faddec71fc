/* evctl_print.c: rows as a table that fits the terminal, or as JSON lines.
 *
 * On a terminal the widest text columns give way until a row fits, and text that is cut ends in a sign; elsewhere
 * nothing is cut. Numbers stand at the right. Colours only where evctl_colours says.
 * Leaves to others: what is in the rows (evctl_show.c, evctl_dead.c). */
#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/clock.h"
#include "evctl.h"

enum { COLUMNS_MAX = 16, TEXT_LEAST = 8, CELL_MAX = 1024 };

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

size_t evctl_fit(const char *text, size_t columns) {
    mbstate_t state = {0};
    const char *at = text, *fits = text;
    for (size_t used = 0; *at && (used += next_character(&at, &state)) <= columns;)
        fits = at;
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
        snprintf(out, EVCTL_FIGURE, "%" PRIu64, value);
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

/* Control characters would move the cursor: they become question marks. */
static void tame(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
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
    tame(out);
}

/* ---- tables ---- */

/* Takes width from the widest text columns until all fit into `most`. */
static void narrow(const evctl_column *columns, size_t count, size_t *widths, size_t most) {
    size_t total = count ? 2 * (count - 1) : 0;
    for (size_t i = 0; i < count; i++)
        total += widths[i];
    while (total > most) {
        size_t widest = count;
        for (size_t i = 0; i < count; i++)
            if (columns[i].kind == EVCTL_TEXT && widths[i] > TEXT_LEAST &&
                (widest == count || widths[i] > widths[widest]))
                widest = i;
        if (widest == count)
            return; /* only numbers are left: they are not cut */
        widths[widest]--;
        total--;
    }
}

static void print_cell(const char *text, const evctl_column *column, size_t width, bool last) {
    size_t columns = evctl_columns(text);
    bool cut = columns > width;
    const char *sign = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "\xe2\x80\xa6" : "~";
    size_t bytes = cut ? evctl_fit(text, width - 1) : strlen(text);
    size_t shown = cut ? evctl_columns(sign) : 0;
    char part[CELL_MAX];
    memcpy(part, text, bytes);
    part[bytes] = 0;
    shown += evctl_columns(part);
    int pad = width > shown ? (int)(width - shown) : 0;
    if (column->kind == EVCTL_TEXT)
        printf("%s%s%*s", part, cut ? sign : "", last ? 0 : pad, "");
    else
        printf("%*s%s%s", pad, "", part, cut ? sign : "");
}

static bool alarming(const json_t *row, const evctl_column *column) {
    const json_t *value = json_object_get(row, column->key);
    return column->alarm && (json_is_integer(value) ? json_integer_value(value) != 0 : json_is_string(value));
}

static void print_row(const json_t *row, const evctl_column *columns, size_t count, const size_t *widths,
                      bool colours) {
    char text[CELL_MAX];
    for (size_t i = 0; i < count; i++) {
        bool red = colours && row && alarming(row, &columns[i]);
        if (row)
            cell(row, &columns[i], text);
        else
            snprintf(text, sizeof text, "%s", columns[i].title);
        printf("%s%s", i ? "  " : "", red ? "\033[31m" : "");
        print_cell(text, &columns[i], widths[i], i + 1 == count);
        if (red)
            printf("\033[m");
    }
    putchar('\n');
}

static void print_table(const json_t *rows, const evctl_column *columns, size_t count) {
    size_t widths[COLUMNS_MAX], width = evctl_width(), n = json_array_size(rows);
    bool colours = evctl_colours();
    char text[CELL_MAX];
    for (size_t c = 0; c < count; c++) {
        widths[c] = evctl_columns(columns[c].title);
        for (size_t i = 0; i < n; i++) {
            cell(json_array_get(rows, i), &columns[c], text);
            size_t needs = evctl_columns(text);
            widths[c] = needs > widths[c] ? needs : widths[c];
        }
    }
    if (width)
        narrow(columns, count, widths, width);
    printf("%s", colours ? "\033[1m" : "");
    print_row(NULL, columns, count, widths, false);
    printf("%s", colours ? "\033[m" : "");
    for (size_t i = 0; i < n; i++)
        print_row(json_array_get(rows, i), columns, count, widths, colours);
}

void evctl_print(const evctl *self, const json_t *rows, const evctl_column *columns, size_t count) {
    if (!self->o.json) {
        print_table(rows, columns, count);
        return;
    }
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_dumpf(json_array_get(rows, i), stdout, JSON_COMPACT);
        putchar('\n');
    }
}
