/* mp.c: the bounded reader, and msgpack-c's packer over an evb_buf.
 *
 * Invariant: no reader moves the cursor unless it succeeds, and none reads past end. */
#include "event/mp.h"

enum { MP_DEPTH_MAX = 16 };

static size_t left(const evb_mp *mp) { return (size_t)(mp->end - mp->at); }

/* A length of 1, 2 or 4 bytes behind the type byte. */
static bool read_length(const evb_mp *mp, size_t width, uint64_t *length) {
    if (left(mp) < 1 + width)
        return false;
    const uint8_t *p = mp->at + 1;
    *length = width == 1 ? *p : width == 2 ? evb_get16(p) : evb_get32(p);
    return true;
}

/* An array or map header: fix form `fix` (its low 4 bits count), 16-bit form `wide`, 32-bit form wide + 1. */
static bool read_count(evb_mp *mp, uint8_t fix, uint8_t wide, size_t per_element, uint32_t *count) {
    if (mp->at == mp->end)
        return false;
    uint64_t n = *mp->at & 0x0f;
    size_t head = 1;
    if (*mp->at == wide || *mp->at == wide + 1) {
        head = *mp->at == wide ? 3 : 5;
        if (!read_length(mp, head - 1, &n))
            return false;
    } else if ((*mp->at & 0xf0) != fix) {
        return false;
    }
    if (n * per_element > left(mp) - head)
        return false;
    mp->at += head;
    *count = (uint32_t)n;
    return true;
}

bool evb_mp_array(evb_mp *mp, uint32_t *count) { return read_count(mp, 0x90, 0xdc, 1, count); }

bool evb_mp_map(evb_mp *mp, uint32_t *count) { return read_count(mp, 0x80, 0xde, 2, count); }

bool evb_mp_uint(evb_mp *mp, uint64_t *value) {
    if (mp->at == mp->end)
        return false;
    if (*mp->at < 0x80) {
        *value = *mp->at++;
        return true;
    }
    if (*mp->at < 0xcc || *mp->at > 0xcf)
        return false;
    size_t width = (size_t)1 << (*mp->at - 0xcc);
    if (left(mp) < 1 + width)
        return false;
    const uint8_t *p = mp->at + 1;
    *value = width == 1 ? *p : width == 2 ? evb_get16(p) : width == 4 ? evb_get32(p) : evb_get64(p);
    mp->at += 1 + width;
    return true;
}

/* The bytes behind a header of `head` bytes that announces n of them. */
static bool take_bytes(evb_mp *mp, size_t head, uint64_t n, const uint8_t **data, size_t *size) {
    if (n > left(mp) - head)
        return false;
    *data = mp->at + head;
    *size = (size_t)n;
    mp->at += head + n;
    return true;
}

bool evb_mp_str(evb_mp *mp, const char **text, size_t *size) {
    if (mp->at == mp->end)
        return false;
    uint64_t n = *mp->at & 0x1f;
    size_t head = 1;
    if (*mp->at >= 0xd9 && *mp->at <= 0xdb) {
        size_t width = (size_t)1 << (*mp->at - 0xd9);
        if (!read_length(mp, width, &n))
            return false;
        head += width;
    } else if ((*mp->at & 0xe0) != 0xa0) {
        return false;
    }
    const uint8_t *data;
    if (!take_bytes(mp, head, n, &data, size))
        return false;
    *text = (const char *)data;
    return true;
}

bool evb_mp_bin(evb_mp *mp, const uint8_t **data, size_t *size) {
    if (mp->at == mp->end || *mp->at < 0xc4 || *mp->at > 0xc6)
        return false;
    size_t width = (size_t)1 << (*mp->at - 0xc4);
    uint64_t n;
    return read_length(mp, width, &n) && take_bytes(mp, 1 + width, n, data, size);
}

bool evb_mp_nil(evb_mp *mp) {
    if (mp->at == mp->end || *mp->at != 0xc0)
        return false;
    mp->at++;
    return true;
}

bool evb_mp_bool(evb_mp *mp, bool *value) {
    if (mp->at == mp->end || (*mp->at != 0xc2 && *mp->at != 0xc3))
        return false;
    *value = *mp->at++ == 0xc3;
    return true;
}

/* Bytes of the scalar whose type byte is at the cursor: 1 and its fixed operand; 0 if it has a length or elements. */
static size_t scalar_size(uint8_t type) {
    if (type < 0x80 || type >= 0xe0 || type == 0xc0 || type == 0xc2 || type == 0xc3)
        return 1;
    if (type >= 0xcc && type <= 0xcf)
        return 1 + ((size_t)1 << (type - 0xcc));
    if (type >= 0xd0 && type <= 0xd3)
        return 1 + ((size_t)1 << (type - 0xd0));
    if (type == 0xca || type == 0xcb)
        return type == 0xca ? 5 : 9;
    if (type >= 0xd4 && type <= 0xd8) /* fixext */
        return 2 + ((size_t)1 << (type - 0xd4));
    return 0;
}

static bool skip_ext(evb_mp *mp) {
    if (mp->at == mp->end || *mp->at < 0xc7 || *mp->at > 0xc9)
        return false;
    size_t width = (size_t)1 << (*mp->at - 0xc7), size;
    const uint8_t *data;
    uint64_t n;
    return read_length(mp, width, &n) && take_bytes(mp, 1 + width, n + 1, &data, &size);
}

static bool skip(evb_mp *mp, int depth) {
    if (depth > MP_DEPTH_MAX || mp->at == mp->end)
        return false;
    size_t fixed = scalar_size(*mp->at), size;
    if (fixed) {
        if (fixed > left(mp))
            return false;
        mp->at += fixed;
        return true;
    }
    const char *text;
    const uint8_t *data;
    if (evb_mp_str(mp, &text, &size) || evb_mp_bin(mp, &data, &size) || skip_ext(mp))
        return true;
    uint32_t count;
    uint64_t objects;
    if (evb_mp_array(mp, &count))
        objects = count;
    else if (evb_mp_map(mp, &count))
        objects = (uint64_t)count * 2;
    else
        return false;
    while (objects--)
        if (!skip(mp, depth + 1))
            return false;
    return true;
}

bool evb_mp_skip(evb_mp *mp) {
    evb_mp start = *mp;
    if (skip(mp, 0))
        return true;
    *mp = start;
    return false;
}

static int write_to_buf(void *context, const char *bytes, size_t size) {
    return evb_buf_add(context, bytes, size) ? 0 : -1;
}

void evb_mp_packer(msgpack_packer *packer, evb_buf *out) { msgpack_packer_init(packer, out, write_to_buf); }

int evb_mp_pack_str(msgpack_packer *packer, const char *text, size_t size) {
    return msgpack_pack_str(packer, size) || msgpack_pack_str_body(packer, text, size) ? -1 : 0;
}
