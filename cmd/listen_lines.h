/* listen_lines.h: the lines of an INI file. Pure.
 *
 *   # a comment                       also ; in a line's first column
 *   [section]
 *   key = value                       all up to the line's end but blanks around it: nothing behind it is a comment
 *       goes on with the value        a line further in than its key; both are joined by a newline
 *
 * Why not inih, as evbusd: it cuts lines at 200 bytes and values at " ;", silently, and a command or an expression has
 * either. */
#ifndef EVB_LISTEN_LINES_H
#define EVB_LISTEN_LINES_H

#include <stdbool.h>
#include <stddef.h>

/* What is told of each line; texts live during the call. */
typedef struct {
    void *context;
    void (*section)(void *context, int line,
                    const char *name); /* NULL: a line that is no section's, though it begins so: it was told of */
    void (*setting)(void *context, int line, const char *key, const char *value);
    void (*fault)(void *context, int line, const char *reason);
} listen_lines_to;

/* Reads all of text. Lines that are wrong are told of, and passed over. False: out of memory. */
bool listen_lines_read(const char *text, size_t size, const listen_lines_to *to);

#endif
