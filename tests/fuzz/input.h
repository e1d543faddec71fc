/* input.h: a fuzzer's bytes, taken as what a target wants of them, and what the targets share.
 *
 * A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput, the entry that libFuzzer calls
 * (https://llvm.org/docs/LibFuzzer.html). It is linked with libFuzzer by `make fuzz`, and with replay.c by `make check`,
 * which runs every seed through it. The clock (fake_clock.c) and the connection to a hub (fake_link.c) are fakes in
 * all of them, so that the same bytes do the same everywhere. */
#ifndef EVB_FUZZ_INPUT_H
#define EVB_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"
#include "journal/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process, which is a finding, where the condition does not hold. */
#define MUST(condition) ((condition) ? (void)0 : fuzz_broken(#condition, __FILE__, __LINE__))
void fuzz_broken(const char *condition, const char *file, int line) __attribute__((noreturn));

/* ---- taking the bytes ---- */

typedef struct {
    const uint8_t *at, *end;
} fuzz_input;

static inline size_t fuzz_left(const fuzz_input *in) { return (size_t)(in->end - in->at); }

/* A number of 1 to 8 bytes, big-endian; what is not there counts as 0. */
uint64_t fuzz_number(fuzz_input *in, unsigned bytes);

/* A seq or the like: mostly small, and now and then at the edges of 64 bits. */
uint64_t fuzz_seq(fuzz_input *in);

/* A copy of a piece, whose size of two bytes stands before it, in memory of exactly that size, so that the sanitizers see
 * what goes beyond: the caller's to free. */
uint8_t *fuzz_piece(fuzz_input *in, size_t *size);

/* The same with a NUL behind it, which is not counted; all that is left. */
char *fuzz_text(fuzz_input *in);
char *fuzz_rest(fuzz_input *in);

/* ---- files ---- */

/* A file in memory with these bytes; its path is written into path. Close it. */
int fuzz_file(const void *data, size_t size, char path[64]);

/* Makes a file of an io; the bytes of one, appended to *out. */
void fuzz_io_put(evb_io *io, const char *name, const void *data, size_t size);
bool fuzz_io_get(evb_io *io, const char *name, evb_buf *out);

/* An io onto the same files; the journal that destroys it leaves them. */
evb_io *fuzz_io_view(evb_io *real);

/* The path of a new, empty catalog. The one before is gone. */
const char *fuzz_catalog_path(void);

/* ---- records ---- */

/* Makes the checksum of each record that begins in data hold, so that what is behind it is reached. */
void fuzz_seal(uint8_t *data, size_t size);

/* A log that counts its lines in *count. */
evb_log fuzz_log(size_t *count);

/* ---- the fakes ---- */

extern int64_t fuzz_now_ns; /* of both clocks */

/* What the fake hub answers with from now on; borrowed. */
void fuzz_link_feed(fuzz_input *in);

/* Whether all of that was used up. */
bool fuzz_link_is_done(void);

#endif
