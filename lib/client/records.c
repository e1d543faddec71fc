/* records.c: the requests "fetch" and "producer".
 *
 * Leaves to others: asking (ask.c), sending records (publisher.c), what is made of them. */
#include "client/records.h"

#include "base/error.h"
#include "client/ask.h"

/* Asks, and reads the one number that both answers begin with. Takes over args. */
static int ask(evb_bus *bus, const char *op, uint32_t count, evb_buf *args, bool packed, evb_buf *body,
               uint64_t *value, evb_error *err) {
    evb_buf results = {0};
    int rc = packed ? evb_ask(bus, op, count, args, &results, body, err)
                    : evb_fail(err, EVB_ENOMEM, "records: out of memory");
    evb_mp mp = evb_mp_of(&results);
    *value = 0;
    if (rc == 0 && !evb_mp_uint(&mp, value))
        rc = evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    evb_buf_free(&results);
    evb_buf_free(args);
    return rc;
}

static bool pack_patterns(msgpack_packer *packer, const evb_patterns *patterns) {
    size_t count = patterns ? evb_patterns_count(patterns) : 0, size;
    bool ok = !msgpack_pack_array(packer, count);
    for (size_t i = 0; ok && i < count; i++) {
        const char *pattern = evb_patterns_get(patterns, i, &size);
        ok = !evb_mp_pack_str(packer, pattern, size);
    }
    return ok;
}

int evb_records_fetch(evb_bus *bus, uint64_t from, uint64_t to, const evb_patterns *patterns, bool lenient,
                      evb_buf *out, uint64_t *next, evb_error *err) {
    msgpack_packer packer;
    evb_buf args = {0};
    evb_mp_packer(&packer, &args);
    bool ok = !msgpack_pack_uint64(&packer, from) && !msgpack_pack_uint64(&packer, to) &&
              !msgpack_pack_uint64(&packer, EVB_FETCH_PIECE) && pack_patterns(&packer, patterns) &&
              !msgpack_pack_uint64(&packer, lenient ? EVB_FETCH_LENIENT : 0);
    int rc = ask(bus, "fetch", 5, &args, ok, out, next, err);
    if (rc == 0 && *next <= from)
        rc = evb_fail(err, EVB_ENOHUB, "the hub's answer does not speak evbus-protocol(7)");
    return rc;
}

int evb_records_producer(evb_bus *bus, const uint8_t producer[EVB_PRODUCER_SIZE], uint64_t *last, evb_error *err) {
    msgpack_packer packer;
    evb_buf args = {0};
    evb_mp_packer(&packer, &args);
    bool ok =
        !msgpack_pack_bin(&packer, EVB_PRODUCER_SIZE) && !msgpack_pack_bin_body(&packer, producer, EVB_PRODUCER_SIZE);
    return ask(bus, "producer", 1, &args, ok, NULL, last, err);
}
