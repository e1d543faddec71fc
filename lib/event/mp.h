/* mp.h: msgpack as evbus reads and writes it.
 *
 * Reading is a cursor over borrowed bytes that allocates nothing and bounds each length by the bytes that are left:
 * msgpack-c's unpacker believes an array's count before its elements are there (`dd ff 00 00 00` asks for 96 GB).
 * Writing is msgpack-c, into an evb_buf. Source: the msgpack specification, github.com/msgpack/msgpack/spec.md. */
#ifndef EVB_MP_H
#define EVB_MP_H

#include <msgpack.h>

#include "base/buf.h"
#include "base/bytes.h"

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} evb_mp;

/* The bytes of a buf, which may be empty; it must stay as it is meanwhile. */
static inline evb_mp evb_mp_of(const evb_buf *buf) {
    return (evb_mp){buf->data, buf->data ? buf->data + buf->size : NULL};
}

/* Each reads one object of that type and moves past it; false, the cursor unmoved, when something else or too few
 * bytes stand there. A count is bounded by the bytes left (every element has at least one). */
bool evb_mp_array(evb_mp *mp, uint32_t *count);
bool evb_mp_map(evb_mp *mp, uint32_t *count);
bool evb_mp_uint(evb_mp *mp, uint64_t *value);
bool evb_mp_str(evb_mp *mp, const char **text, size_t *size);
bool evb_mp_bin(evb_mp *mp, const uint8_t **data, size_t *size);
bool evb_mp_nil(evb_mp *mp);
bool evb_mp_bool(evb_mp *mp, bool *value);

/* Moves past one object of any type, nested up to 16 deep. */
bool evb_mp_skip(evb_mp *mp);

/* A packer whose bytes go to the end of *out; short memory shows as a return other than 0 of the msgpack_pack call. */
void evb_mp_packer(msgpack_packer *packer, evb_buf *out);

/* A string with its header. 0, or -1 when memory is short. */
int evb_mp_pack_str(msgpack_packer *packer, const char *text, size_t size);

#endif
