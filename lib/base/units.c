/* units.c: reading and writing quantities, by hand: strtod(3) and strtoull(3) take signs, blanks, hex and what the locale
 * makes of a point, none of which is meant here.
 *
 * Fractions are kept exact: digits behind the point are counted up to ns and cut, so that 0.1 s is 100,000,000 ns.
 * Times are computed from days (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days), which
 * costs a few ns where gmtime_r(3) takes a lock. */
#include "base/units.h"

#include <stdbool.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)
#define LONGEST_NS (36500 * (86400 * SECOND_NS))
#define NOT_WHOLE "not a whole number of 0 or more"
#define TOO_LARGE "it is too large"
#define TOO_LONG "longer than 36500d"

/* Reads digits at *at. NULL, or what is wrong. */
static const char *digits(const char **at, uint64_t *value) {
    uint64_t v = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return TOO_LARGE;
    if (p == *at)
        return NOT_WHOLE;
    *at = p;
    *value = v;
    return NULL;
}

const char *evb_number_parse(const char *text, uint64_t *value) {
    uint64_t v;
    const char *fault = digits(&text, &v);
    if (fault)
        return fault;
    if (*text)
        return NOT_WHOLE;
    *value = v;
    return NULL;
}

const char *evb_size_parse(const char *text, uint64_t *bytes) {
    static const char units[] = "KMGT";
    uint64_t v, shift = 0;
    const char *fault = digits(&text, &v);
    if (fault)
        return "not a size, such as 64K, 1M or 10G";
    const char *unit = *text ? strchr(units, *text == 'k' ? 'K' : *text) : NULL;
    if (unit) {
        shift = 10 * (uint64_t)(unit - units + 1);
        text++;
    }
    if (strcmp(text, "") != 0 && strcmp(text, "B") != 0 && (!unit || strcmp(text, "iB") != 0))
        return "not a size, such as 64K, 1M or 10G";
    if (shift && v >> (64 - shift))
        return TOO_LARGE;
    *bytes = v << shift;
    return NULL;
}

/* Reads a unit of time at *at: its ns, or 0 if there is none. */
static int64_t time_unit(const char **at) {
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ms", SECOND_NS / 1000}, {"s", SECOND_NS},         {"m", 60 * SECOND_NS},
                 {"h", 3600 * SECOND_NS},  {"d", 86400 * SECOND_NS}, {"w", 7 * 86400 * SECOND_NS}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i].name);
        if (strncmp(*at, units[i].name, n) == 0) {
            *at += n;
            return units[i].ns;
        }
    }
    return 0;
}

/* Reads ".123": billionths, cut after nine digits. */
static const char *fraction(const char **at, int64_t *billionths) {
    *billionths = 0;
    if (**at != '.')
        return NULL;
    int64_t scale = SECOND_NS;
    const char *p = *at + 1;
    for (; *p >= '0' && *p <= '9'; p++) {
        scale /= 10;
        *billionths += (*p - '0') * scale;
    }
    if (p == *at + 1)
        return "no digit follows the point";
    *at = p;
    return NULL;
}

/* Adds whole.billionths units to *sum. */
static const char *add_time(int64_t *sum, uint64_t whole, int64_t billionths, int64_t unit) {
    int64_t ns;
    if (whole > INT64_MAX || __builtin_mul_overflow((int64_t)whole, unit, &ns))
        return TOO_LONG;
    int64_t part = (int64_t)((__int128)billionths * unit / SECOND_NS);
    if (__builtin_add_overflow(ns, part, &ns) || __builtin_add_overflow(*sum, ns, sum))
        return TOO_LONG;
    return *sum > LONGEST_NS ? TOO_LONG : NULL;
}

static const char *duration(const char *text, bool plain_seconds, int64_t *ns) {
    static const char form[] = "not a duration, such as 10, 2.5, 10m or 1h30m";
    const char *start = text, *fault;
    int64_t sum = 0, billionths;
    do {
        uint64_t whole;
        if ((fault = digits(&text, &whole)) || (fault = fraction(&text, &billionths)))
            return strcmp(fault, TOO_LARGE) == 0 ? TOO_LONG : form;
        bool alone = !*text && plain_seconds && strspn(start, "0123456789.") == (size_t)(text - start);
        int64_t unit = alone ? SECOND_NS : time_unit(&text);
        if (!unit)
            return form;
        if ((fault = add_time(&sum, whole, billionths, unit)))
            return fault;
    } while (*text);
    *ns = sum;
    return NULL;
}

const char *evb_duration_parse(const char *text, int64_t *ns) { return duration(text, true, ns); }

const char *evb_age_parse(const char *text, int64_t *ns) { return duration(text, false, ns); }

size_t evb_number_text(uint64_t value, char *out) {
    char room[20];
    size_t at = sizeof room;
    do {
        room[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(out, room + at, sizeof room - at);
    return sizeof room - at;
}

/* Writes `width` decimal digits of value and a character behind them. */
static char *put_digits(char *out, uint64_t value, int width, char behind) {
    for (int i = width; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    out[width] = behind;
    return out + width + 1;
}

size_t evb_time_text(int64_t ns, char out[EVB_TIME_TEXT]) {
    int64_t seconds = ns / SECOND_NS - (ns % SECOND_NS < 0);
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    uint64_t rest = (uint64_t)(seconds - days * 86400), fine = (uint64_t)(ns - seconds * SECOND_NS);
    /* Days since 1 March of year 0; eras of 400 years. int64_t ns reach from 1677 to 2262, so all is positive. */
    uint64_t z = (uint64_t)(days + 719468), era = z / 146097, day_of_era = z % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t shifted = (5 * day_of_year + 2) / 153, month = shifted < 10 ? shifted + 3 : shifted - 9;
    char *p = put_digits(out, year_of_era + era * 400 + (month <= 2), 4, '-');
    p = put_digits(p, month, 2, '-');
    p = put_digits(p, day_of_year - (153 * shifted + 2) / 5 + 1, 2, 'T');
    p = put_digits(p, rest / 3600, 2, ':');
    p = put_digits(p, rest / 60 % 60, 2, ':');
    p = put_digits(p, rest % 60, 2, '.');
    p = put_digits(p, fine, 9, 'Z');
    *p = '\0';
    return (size_t)(p - out);
}
