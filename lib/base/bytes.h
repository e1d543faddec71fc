/* bytes.h: integers as they stand on disk and on the wire: big-endian, unaligned. */
#ifndef EVB_BYTES_H
#define EVB_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t evb_get16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be16toh(v);
}
static inline uint32_t evb_get32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}
static inline uint64_t evb_get64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}
static inline void evb_put16(uint8_t *p, uint16_t v) {
    v = htobe16(v);
    memcpy(p, &v, sizeof v);
}
static inline void evb_put32(uint8_t *p, uint32_t v) {
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}
static inline void evb_put64(uint8_t *p, uint64_t v) {
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

#endif
