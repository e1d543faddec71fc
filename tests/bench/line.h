/* line.h: the lines that the instruments send, and the account of those that come back.
 *
 * A line is an index (12 digits), a space, the time of sending in ns (20 digits), a space, and 'x' up to its size. One
 * that is too short for that is an index alone, and 'x' up to its size: its time is not known. */
#ifndef BENCH_LINE_H
#define BENCH_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LINE_MIN 8                 /* bytes of the shortest line */
#define LINE_TIMED 34              /* of the shortest that has its time */
#define LINE_MAX ((size_t)1 << 20) /* and of the longest */

/* Now, in ns of the monotonic clock. */
int64_t line_now_ns(void);

/* Writes a line of `size` bytes (at least LINE_MIN) and its newline; returns size + 1. */
size_t line_make(char *out, size_t size, uint64_t index, int64_t sent_ns);

/* Reads the numbers of a line (without its newline, but something that is no digit must follow it in memory); the time
 * is 0 where there is none. False: no line of ours. */
bool line_parse(const char *line, size_t size, uint64_t *index, int64_t *sent_ns);

/* Which of the lines 0..count-1 have come. */
typedef struct {
    uint64_t count;
    uint8_t *seen; /* one bit a line */
    uint64_t next; /* the index after the largest one seen */
    uint64_t received;
    uint64_t doubled;
    uint64_t disordered; /* came after one with a larger index */
} line_tally;

/* False when memory is short. */
bool line_tally_open(line_tally *tally, uint64_t count);
void line_tally_close(line_tally *tally);

/* Takes account of a line; true when it is a new one. An index beyond count counts as doubled. */
bool line_tally_add(line_tally *tally, uint64_t index);

/* All came once, in order. */
bool line_tally_whole(const line_tally *tally);

/* Cuts what is read from a descriptor into lines. */
typedef struct {
    char *data;
    size_t size;
    size_t capacity;
} line_reader;

/* read_ns: when the bytes of this line had been read. */
typedef void line_fn(void *context, const char *line, size_t size, int64_t read_ns);

/* capacity: of the buffer, more than LINE_MAX. False when memory is short. */
bool line_reader_open(line_reader *reader, size_t capacity);
void line_reader_close(line_reader *reader);

/* One read(2), and `each` for every line that is whole. Returns what read returned. A line too long for the buffer
 * is thrown away in pieces. */
ssize_t line_reader_read(line_reader *reader, int fd, line_fn *each, void *context);

/* Writes all of it, over short writes and EINTR; false: errno says why. */
bool line_write(int fd, const char *data, size_t size);

#endif
