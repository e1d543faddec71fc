/* buf.h: a growable run of bytes. A value: zero-initialise it, free it with evb_buf_free. */
#ifndef EVB_BUF_H
#define EVB_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
} evb_buf;

/* Makes room for `more` bytes behind the last; false when memory is short, the buffer unchanged. */
bool evb_buf_reserve(evb_buf *buf, size_t more);

/* Appends; false when memory is short, the buffer unchanged. */
bool evb_buf_add(evb_buf *buf, const void *data, size_t size);
bool evb_buf_text(evb_buf *buf, const char *text);
bool evb_buf_printf(evb_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes `size` bytes off the front. */
void evb_buf_drop(evb_buf *buf, size_t size);

/* Frees the bytes; the buffer is empty and usable after it. */
void evb_buf_free(evb_buf *buf);

#endif
