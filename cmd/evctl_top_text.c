/* evctl_top_text.c: numbers, sparklines and names as they stand in evctl top's columns.
 *
 * Widths are columns of the terminal: wcwidth(3) says how many a character takes, in the locale of LC_CTYPE. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "evctl_top.h"

/* Scales value down by `base` until it has at most three digits before its point. */
static void scaled(double value, double base, double plain, const char *units, char *out, size_t size) {
    if (value < plain) {
        snprintf(out, size, "%.0f", value);
        return;
    }
    size_t unit = 0;
    for (value /= base; value >= 999.95 && units[unit + 1]; unit++)
        value /= base;
    snprintf(out, size, value < 999.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

void top_count(double value, char *out, size_t size) { scaled(value, 1000, 99999.5, "kMGTPE", out, size); }

void top_rate(double value, char *out, size_t size) {
    if (value > 0 && value < 9.95)
        snprintf(out, size, "%.1f", value);
    else
        top_count(value, out, size);
}

void top_bytes(double value, char *out, size_t size) { scaled(value, 1024, 1000, "KMGTPE", out, size); }

void top_age(long long ns, char *out, size_t size) {
    long long s = ns > 0 ? ns / EVB_SECOND_NS : 0;
    if (s < 100)
        snprintf(out, size, "%llds", s);
    else if (s < 100 * 60)
        snprintf(out, size, "%lldm", s / 60);
    else if (s < 48 * 3600)
        snprintf(out, size, "%lldh", s / 3600);
    else
        snprintf(out, size, "%lldd", s / 86400);
}

/* Levels 0 to 8 of a rate beside the largest: 0 only for none at all. */
static int level(float rate, float most) {
    if (!(rate > 0) || !(most > 0))
        return 0;
    int n = (int)ceilf(rate / most * 8);
    return n < 1 ? 1 : n > 8 ? 8 : n;
}

void top_spark(const evb_watch_history *history, size_t width, bool utf8, char *out, size_t size) {
    static const char *const BLOCKS[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const ASCII[] = {" ", ".", ":", "-", "=", "+", "*", "#", "@"};
    float most = 0;
    size_t used = 0;
    out[0] = 0;
    if (!history)
        return;
    if (width > EVB_WATCH_HISTORY)
        width = EVB_WATCH_HISTORY;
    unsigned from = history->at + 1 + EVB_WATCH_HISTORY - (unsigned)width;
    for (unsigned i = 0; i < width; i++)
        most = fmaxf(most, history->rates[(from + i) % EVB_WATCH_HISTORY]);
    for (unsigned i = 0; i < width; i++) {
        int n = level(history->rates[(from + i) % EVB_WATCH_HISTORY], most);
        const char *c = utf8 ? BLOCKS[n] : ASCII[n];
        if (used + strlen(c) + 1 > size)
            return;
        used += (size_t)snprintf(out + used, size - used, "%s", c);
    }
}

/* The next character of text: its bytes and columns; one that cannot be shown is a '?'. */
static size_t next_character(const char *text, bool utf8, const char **shown, size_t *columns) {
    wchar_t wide;
    mbstate_t state = {0};
    size_t n = evb_utf8_length((const uint8_t *)text, strlen(text));
    bool plain = n == 1 && (unsigned char)*text >= 0x20 && *text != 0x7f;
    *columns = 1;
    *shown = plain ? text : "?";
    if (n < 2 || !utf8 || mbrtowc(&wide, text, n, &state) != n)
        return n ? n : 1;
    int width = wcwidth(wide);
    if (width > 0) {
        *columns = (size_t)width;
        *shown = text;
    }
    return n;
}

size_t top_fit(const char *text, size_t width, bool utf8, char *out, size_t size) {
    const char *shown, *ellipsis = utf8 ? "…" : "~";
    size_t used = 0, at = 0, columns, cut = 0, cut_at = 0;
    while (*text) {
        size_t n = next_character(text, utf8, &shown, &columns), bytes = *shown == '?' ? 1 : n;
        if (used + columns > width || at + bytes + sizeof "…" > size) {
            if (!width)
                break;
            at = cut_at + (size_t)snprintf(out + cut_at, size - cut_at, "%s", ellipsis);
            used = cut + 1;
            break;
        }
        memcpy(out + at, shown, bytes);
        at += bytes;
        used += columns;
        if (used < width) {
            cut = used;
            cut_at = at;
        }
        text += n;
    }
    out[at] = 0;
    return used;
}
