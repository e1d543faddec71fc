/* line.c: makes, parses and counts the lines of the bench.
 *
 * The numbers are printed and scanned by the C library, one line at a time, as a plain program would: what this costs
 * is the same for every system measured, and it is part of both sides of each ratio.
 * Leaves to others: where lines go and what the figures mean. */
#include "line.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { INDEX_DIGITS = 12, TIME_DIGITS = 20 };

int64_t line_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

size_t line_make(char *out, size_t size, uint64_t index, int64_t sent_ns) {
    int digits = size < INDEX_DIGITS ? (int)size : INDEX_DIGITS;
    size_t used = (size_t)(size < LINE_TIMED
                               ? sprintf(out, "%0*" PRIu64, digits, index)
                               : sprintf(out, "%0*" PRIu64 " %0*" PRId64 " ", digits, index, TIME_DIGITS, sent_ns));
    memset(out + used, 'x', size - used);
    out[size] = '\n';
    return size + 1;
}

bool line_parse(const char *line, size_t size, uint64_t *index, int64_t *sent_ns) {
    bool timed = size >= LINE_TIMED;
    if (size < LINE_MIN || (timed && (line[INDEX_DIGITS] != ' ' || line[LINE_TIMED - 1] != ' ')))
        return false;
    *index = strtoull(line, NULL, 10);
    *sent_ns = timed ? strtoll(line + INDEX_DIGITS + 1, NULL, 10) : 0;
    return true;
}

bool line_tally_open(line_tally *tally, uint64_t count) {
    *tally = (line_tally){.count = count, .seen = calloc(count / 8 + 1, 1)};
    return tally->seen != NULL;
}

void line_tally_close(line_tally *tally) {
    free(tally->seen);
    tally->seen = NULL;
}

bool line_tally_add(line_tally *tally, uint64_t index) {
    uint8_t bit = (uint8_t)(1u << (index & 7));
    if (index >= tally->count || tally->seen[index / 8] & bit) {
        tally->doubled++;
        return false;
    }
    tally->seen[index / 8] |= bit;
    tally->received++;
    if (index < tally->next)
        tally->disordered++;
    else
        tally->next = index + 1;
    return true;
}

bool line_tally_whole(const line_tally *tally) {
    return tally->received == tally->count && tally->doubled == 0 && tally->disordered == 0;
}

bool line_reader_open(line_reader *reader, size_t capacity) {
    *reader = (line_reader){.data = malloc(capacity), .capacity = capacity};
    return reader->data != NULL;
}

void line_reader_close(line_reader *reader) {
    free(reader->data);
    reader->data = NULL;
}

static void keep_rest(line_reader *reader, const char *rest) {
    reader->size = (size_t)(reader->data + reader->size - rest);
    memmove(reader->data, rest, reader->size);
    if (reader->size == reader->capacity)
        reader->size = 0;
}

ssize_t line_reader_read(line_reader *reader, int fd, line_fn *each, void *context) {
    ssize_t got = read(fd, reader->data + reader->size, reader->capacity - reader->size);
    if (got <= 0)
        return got;
    int64_t read_ns = line_now_ns();
    reader->size += (size_t)got;
    const char *line = reader->data;
    const char *end = reader->data + reader->size;
    const char *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        each(context, line, (size_t)(newline - line), read_ns);
        line = newline + 1;
    }
    keep_rest(reader, line);
    return got;
}

bool line_write(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        data += put;
        size -= (size_t)put;
    }
    return true;
}
