/* units.h: numbers, sizes, durations and times as people write them. Pure. */
#ifndef EVB_UNITS_H
#define EVB_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Each reads all of `text` (NUL-terminated) and returns NULL and the value, or a phrase that says what is wrong and
 * leaves the value alone. */

/* 0, 12, 18446744073709551615: decimal digits and nothing else. */
const char *evb_number_parse(const char *text, uint64_t *value);

/* Bytes: 512, 64K, 1M, 10G, 2T, in powers of 1024; K may be k, and B or iB may follow. */
const char *evb_size_parse(const char *text, uint64_t *bytes);

/* Seconds (10, 2.5), or numbers with ms, s, m, h, d or w behind them (10m, 1h30m, 1.5d), to ns. Not negative, and
 * at most 100 years (36500d): less than 300 years from 1970 do int64_t ns reach, so this long from now is a time still. */
const char *evb_duration_parse(const char *text, int64_t *ns);

/* The same, but each number must have its unit: what can be taken for nothing but a duration. */
const char *evb_age_parse(const char *text, int64_t *ns);

enum { EVB_TIME_TEXT = 32 };

/* Writes "2026-11-23T10:00:00.123456789Z" and a NUL; returns its length. Years 0 to 9999; ns since the epoch. */
size_t evb_time_text(int64_t ns, char out[EVB_TIME_TEXT]);

/* Writes the decimal digits of value, no NUL, at most 20; returns how many. */
size_t evb_number_text(uint64_t value, char *out);

/* The end of a noun's plural: "" or "s". */
static inline const char *evb_plural(uint64_t n) { return n == 1 ? "" : "s"; }

#endif
