/* position.c: a reader by hand of the forms that date(1) users expect.
 *
 * Each form has a function that takes all of the text or refuses it; they are tried in turn, and no text fits two.
 * A bare number is always a seq; a duration must have a unit, and a time a colon or a '@'.
 * Leaves to others: what is stored at that place (the hub). */
#include "event/position.h"

#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/units.h"

#define SECOND_NS INT64_C(1000000000)

/* ---- pieces: each reads at *at and moves past, or is false ---- */

static bool take(const char **at, char c) {
    if (**at != c)
        return false;
    ++*at;
    return true;
}

static bool take_word(const char **at, const char *word) {
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0)
        return false;
    *at += n;
    return true;
}

/* Exactly `width` digits, least to most. */
static bool take_digits(const char **at, int width, int least, int most, int *value) {
    int v = 0;
    for (int i = 0; i < width; i++) {
        if ((*at)[i] < '0' || (*at)[i] > '9')
            return false;
        v = v * 10 + ((*at)[i] - '0');
    }
    *at += width;
    *value = v;
    return v >= least && v <= most;
}

/* Nothing, or a point and digits: ns. */
static bool take_fraction(const char **at, int64_t *ns) {
    *ns = 0;
    if (!take(at, '.'))
        return true;
    const char *start = *at;
    for (int64_t scale = SECOND_NS / 10; **at >= '0' && **at <= '9'; ++*at, scale /= 10)
        *ns += (**at - '0') * scale;
    return *at > start;
}

/* HH:MM, HH:MM:SS, HH:MM:SS.fraction; the hour may be H, as date(1) takes it. */
static bool take_clock(const char **at, struct tm *tm, int64_t *ns) {
    int width = **at && (*at)[1] == ':' ? 1 : 2;
    *ns = 0;
    tm->tm_sec = 0;
    if (!take_digits(at, width, 0, 23, &tm->tm_hour) || !take(at, ':') || !take_digits(at, 2, 0, 59, &tm->tm_min))
        return false;
    return !take(at, ':') || (take_digits(at, 2, 0, 60, &tm->tm_sec) && take_fraction(at, ns));
}

/* YYYY-MM-DD, a day that there is. */
static bool take_date(const char **at, struct tm *tm) {
    int year, month, day;
    if (!take_digits(at, 4, 1678, 2261, &year) || !take(at, '-') || !take_digits(at, 2, 1, 12, &month) ||
        !take(at, '-') || !take_digits(at, 2, 1, 31, &day))
        return false;
    *tm = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_isdst = -1};
    struct tm same = *tm;
    timegm(&same);
    return same.tm_mday == day;
}

/* Z, +HH:MM, +HHMM or +HH: seconds east of Greenwich. */
static bool take_zone(const char **at, int *east) {
    int hours, minutes = 0;
    *east = 0;
    if (take(at, 'Z'))
        return true;
    bool west = **at == '-';
    if (!take(at, '+') && !take(at, '-'))
        return false;
    if (!take_digits(at, 2, 0, 23, &hours))
        return false;
    if (**at && (take(at, ':'), !take_digits(at, 2, 0, 59, &minutes)))
        return false;
    *east = (hours * 60 + minutes) * (west ? -60 : 60);
    return true;
}

/* ---- forms: each takes all of the text, or is false ---- */

/* The epoch's ns for a broken-down time: local, or with `zoned` UTC. */
static bool instant(struct tm *tm, bool zoned, int east, int64_t ns, int64_t *out) {
    int64_t seconds = zoned ? timegm(tm) - east : mktime(tm);
    return !__builtin_mul_overflow(seconds, SECOND_NS, out) && !__builtin_add_overflow(*out, ns, out);
}

static bool date_form(const char *text, int64_t *out) {
    struct tm tm;
    int64_t ns = 0;
    int east = 0;
    if (!take_date(&text, &tm))
        return false;
    if (!*text)
        return instant(&tm, false, 0, 0, out);
    if ((!take(&text, 'T') && !take(&text, ' ')) || !take_clock(&text, &tm, &ns))
        return false;
    bool zoned = *text != '\0';
    return (!zoned || take_zone(&text, &east)) && !*text && instant(&tm, zoned, east, ns, out);
}

/* 10:30, today, yesterday, tomorrow, yesterday 10:30. */
static bool day_form(const char *text, int64_t now_ns, int64_t *out) {
    time_t now = (time_t)(now_ns / SECOND_NS);
    struct tm tm;
    int64_t ns = 0;
    if (!localtime_r(&now, &tm))
        return false;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    bool yesterday = take_word(&text, "yesterday"), tomorrow = take_word(&text, "tomorrow");
    bool named = yesterday || tomorrow || take_word(&text, "today");
    tm.tm_mday += tomorrow - yesterday;
    if (named && *text && !take(&text, ' '))
        return false;
    if ((!named || *text) && !take_clock(&text, &tm, &ns))
        return false;
    return !*text && instant(&tm, false, 0, ns, out);
}

static bool ago_form(const char *text, int64_t now_ns, int64_t *out) {
    char room[64];
    size_t n = strcspn(text, " ");
    int64_t age;
    if (n >= sizeof room || (text[n] && strcmp(text + n, " ago") != 0))
        return false;
    memcpy(room, text, n);
    room[n] = '\0';
    if (evb_age_parse(room, &age))
        return false;
    *out = now_ns - age;
    return true;
}

/* @SECONDS[.fraction] */
static bool epoch_form(const char *text, int64_t *out) {
    int64_t seconds = 0, ns;
    if (!take(&text, '@') || *text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(seconds, 10, &seconds) || __builtin_add_overflow(seconds, *text - '0', &seconds))
            return false;
    return take_fraction(&text, &ns) && !*text && !__builtin_mul_overflow(seconds, SECOND_NS, out) &&
           !__builtin_add_overflow(*out, ns, out);
}

static bool time_form(const char *text, int64_t now_ns, int64_t *out) {
    return epoch_form(text, out) || date_form(text, out) || day_form(text, now_ns, out) ||
           ago_form(text, now_ns, out);
}

static bool word_form(const char *text, evb_from *from) {
    static const struct {
        const char *word;
        evb_from from;
    } words[] = {{"first", EVB_FROM_FIRST}, {"last", EVB_FROM_LAST}, {"now", EVB_FROM_NOW}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i].word) == 0) {
            *from = words[i].from;
            return true;
        }
    return false;
}

int evb_position_parse(const char *text, int64_t now_ns, evb_from *from, uint64_t *value, evb_error *err) {
    int64_t ns;
    *value = 0;
    if (word_form(text, from))
        return 0;
    bool back = *text == '-';
    if (!evb_number_parse(text + back, value)) {
        if (!back && !*value)
            return evb_fail(err, EVB_EINVAL, "'0': not a position: seqs begin at 1");
        *from = !back ? EVB_FROM_SEQ : *value ? EVB_FROM_BACK : EVB_FROM_NOW;
        return 0;
    }
    if (!time_form(text, now_ns, &ns))
        return evb_fail(err, EVB_EINVAL, "'%.100s': not a position: first, last, now, a seq, -N or a time", text);
    *from = EVB_FROM_TIME;
    *value = ns < 0 ? 0 : (uint64_t)ns;
    return 0;
}
