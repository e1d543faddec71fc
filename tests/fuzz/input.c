/* input.c: bytes to numbers, pieces and files.
 *
 * Sizes stand before pieces, and what is missing at the end is zeros: so most changes of a fuzzer's still mean
 * something. Memory and files are asked for as if there were always enough: a target without is of no use. */
#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "event/record.h"

void fuzz_broken(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

uint64_t fuzz_number(fuzz_input *in, unsigned bytes) {
    uint64_t n = 0;
    while (bytes--)
        n = n << 8 | (in->at < in->end ? *in->at++ : 0);
    return n;
}

uint64_t fuzz_seq(fuzz_input *in) {
    static const uint64_t FAR[] = {UINT32_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    uint64_t n = fuzz_number(in, 1);
    if (n < 200)
        return n;
    return n < 232 ? fuzz_number(in, 2) : n < 240 ? fuzz_number(in, 8) : FAR[n & 3] - (n >> 2 & 3);
}

uint8_t *fuzz_piece(fuzz_input *in, size_t *size) {
    size_t want = (size_t)fuzz_number(in, 2);
    *size = want < fuzz_left(in) ? want : fuzz_left(in);
    uint8_t *copy = malloc(*size + !*size);
    MUST(copy);
    if (*size)
        memcpy(copy, in->at, *size);
    in->at += *size;
    return copy;
}

char *fuzz_text(fuzz_input *in) {
    size_t size;
    char *piece = (char *)fuzz_piece(in, &size), *text = malloc(size + 1);
    MUST(text);
    if (size)
        memcpy(text, piece, size);
    text[size] = 0;
    free(piece);
    return text;
}

char *fuzz_rest(fuzz_input *in) {
    char *text = malloc(fuzz_left(in) + 1);
    MUST(text);
    if (fuzz_left(in))
        memcpy(text, in->at, fuzz_left(in));
    text[fuzz_left(in)] = 0;
    in->at = in->end;
    return text;
}

/* libjq 1.6 loses a token of some texts that are no JSON: not ours to find. The sanitizers ask for this. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libjq.so"; }

/* ---- files ---- */

int fuzz_file(const void *data, size_t size, char path[64]) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0 && (!size || write(fd, data, size) == (ssize_t)size) && lseek(fd, 0, SEEK_SET) == 0);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

void fuzz_io_put(evb_io *io, const char *name, const void *data, size_t size) {
    int fd = io->open(io, name, true);
    MUST(fd >= 0 && (!size || evb_io_write_all(io, fd, data, size, 0) == 0));
    io->close(io, fd);
}

bool fuzz_io_get(evb_io *io, const char *name, evb_buf *out) {
    int fd = io->open(io, name, false);
    if (fd < 0)
        return false;
    size_t size = (size_t)io->size(io, fd);
    MUST(evb_buf_reserve(out, size + 1) && (!size || !evb_io_read_all(io, fd, out->data + out->size, size, 0)));
    out->size += size;
    io->close(io, fd);
    return true;
}

const char *fuzz_catalog_path(void) {
    static char path[64];
    static int fd = -1;
    if (fd >= 0)
        close(fd);
    fd = fuzz_file(NULL, 0, path);
    return path;
}

/* ---- records ---- */

void fuzz_seal(uint8_t *data, size_t size) {
    for (size_t at = 0; at + EVB_RECORD_HEADER <= size;) {
        evb_record rec = {.record = data + at, .size = evb_record_size(data + at, size - at)};
        if (!rec.size || rec.size > size - at) {
            at++;
            continue;
        }
        evb_record_seal(&rec);
        at += rec.size;
    }
}

static void count_line(void *context, const char *text) {
    MUST(text && *text);
    ++*(size_t *)context;
}

evb_log fuzz_log(size_t *count) { return (evb_log){count_line, count}; }
