/* buf.c: growth by doubling, so that appending n bytes costs O(n).
 *
 * Invariant: size <= capacity; data is NULL exactly while capacity is 0. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_SMALLEST = 256 };

bool evb_buf_reserve(evb_buf *buf, size_t more) {
    if (more <= buf->capacity - buf->size)
        return true;
    if (more > SIZE_MAX / 4 - buf->size)
        return false;
    size_t capacity = buf->capacity ? buf->capacity : BUF_SMALLEST;
    while (capacity - buf->size < more)
        capacity *= 2;
    uint8_t *data = realloc(buf->data, capacity);
    if (!data)
        return false;
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

bool evb_buf_add(evb_buf *buf, const void *data, size_t size) {
    if (!evb_buf_reserve(buf, size))
        return false;
    if (size)
        memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    return true;
}

bool evb_buf_text(evb_buf *buf, const char *text) { return evb_buf_add(buf, text, strlen(text)); }

bool evb_buf_printf(evb_buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0 || !evb_buf_reserve(buf, (size_t)need + 1))
        return false;
    va_start(args, format);
    vsnprintf((char *)buf->data + buf->size, (size_t)need + 1, format, args);
    va_end(args);
    buf->size += (size_t)need;
    return true;
}

void evb_buf_drop(evb_buf *buf, size_t size) {
    buf->size -= size;
    if (buf->size)
        memmove(buf->data, buf->data + size, buf->size);
}

void evb_buf_free(evb_buf *buf) {
    free(buf->data);
    *buf = (evb_buf){0};
}
