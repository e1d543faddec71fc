/* fuzz_export.c: export files, as evctl import reads them. The first byte says whether checksums are made to hold, so
 * that what is behind them is reached, too. What is read to its end can be written again. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "input.h"
#include "journal/export.h"

enum { HOLD_RECORDS = 1, HOLD_TRAILER = 2, HOLD_COUNTS = 4 };

/* Makes what the trailer says true. */
static void hold(uint8_t *data, size_t size, unsigned how) {
    if (how & HOLD_RECORDS)
        fuzz_seal(data, size);
    if (size < EVB_EXPORT_HEAD + EVB_EXPORT_TRAILER)
        return;
    uint8_t *trailer = data + size - EVB_EXPORT_TRAILER;
    if (how & HOLD_COUNTS)
        evb_put64(trailer + 24, size - EVB_EXPORT_TRAILER);
    if (how & HOLD_TRAILER)
        evb_put64(trailer + 32, XXH3_64bits(data, size - 8));
}

static void use(evb_export_reader *reader, evb_export_writer *writer) {
    evb_record rec;
    evb_error err = {0};
    int rc;
    uint64_t before = 0;
    while ((rc = evb_export_reader_next(reader, &rec, &err)) > 0) {
        MUST(rec.seq > before);
        before = rec.seq + rec.count - 1;
        evb_export_writer_add(writer, rec.record, rec.size, &err);
    }
    MUST(rc == 0 || (rc == EVB_EDATA && *err.text));
    const evb_export_extent *extent = evb_export_reader_extent(reader);
    MUST(!extent->events || (extent->first && extent->last >= extent->first));
    if (rc == 0)
        evb_export_writer_end(writer, NULL, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    unsigned how = (unsigned)fuzz_number(&in, 1);
    size_t left = fuzz_left(&in);
    uint8_t *copy = malloc(left + !left);
    char path[64];
    evb_error err = {0};
    MUST(copy);
    memcpy(copy, in.at, left);
    hold(copy, left, how);
    int fd = fuzz_file(copy, left, path), to = memfd_create("export", MFD_CLOEXEC);
    evb_export_reader *reader = evb_export_reader_new(fd, &err);
    MUST(reader || (err.code == EVB_EDATA && *err.text));
    evb_export_writer *writer = reader ? evb_export_writer_new(to, 1, UINT64_MAX, NULL, &err) : NULL;
    if (reader) {
        evb_export_reader_patterns(reader);
        use(reader, writer);
    }
    evb_export_writer_destroy(&writer);
    evb_export_reader_destroy(&reader);
    close(fd);
    close(to);
    free(copy);
    return 0;
}
