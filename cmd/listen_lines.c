/* listen_lines.c: cuts a text into sections, keys and values.
 *
 * Invariants: a value under way is in r->value and is told of when the first line comes that does not go on with it; every
 * line is told of at most once, in the order of the file.
 * Leaves to others: which sections and keys there are, and what values mean (listen_file.c). */
#include "listen_lines.h"

#include <string.h>

#include "base/buf.h"
#include "event/topic.h"

typedef struct {
    const listen_lines_to *to;
    evb_buf key, value; /* NUL-terminated; key empty: no setting under way */
    int line, key_line;
    size_t indent; /* the key's */
    bool short_of_memory;
} reader;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

/* Narrows text[0..*size) to what is between blanks. */
static const char *trim(const char *text, size_t *size) {
    while (*size && is_blank(text[*size - 1]))
        --*size;
    while (*size && is_blank(*text)) {
        text++;
        --*size;
    }
    return text;
}

/* Sets *buf to a NUL-terminated copy. */
static void set(reader *r, evb_buf *buf, const char *text, size_t size) {
    buf->size = 0;
    if (!evb_buf_add(buf, text, size) || !evb_buf_add(buf, "", 1)) {
        buf->size = 0;
        r->short_of_memory = true;
    }
}

static void end_setting(reader *r) {
    if (r->key.size && r->value.size && !r->short_of_memory)
        r->to->setting(r->to->context, r->key_line, (const char *)r->key.data, (const char *)r->value.data);
    r->key.size = 0;
}

static void go_on(reader *r, const char *text, size_t size) {
    r->value.data[r->value.size - 1] = '\n';
    r->short_of_memory |= !evb_buf_add(&r->value, text, size) || !evb_buf_add(&r->value, "", 1);
}

static void take_section(reader *r, const char *text, size_t size) {
    bool ok = text[size - 1] == ']';
    if (!ok) {
        r->to->fault(r->to->context, r->line, "a section is [NAME] and nothing behind it");
        r->to->section(r->to->context, r->line, NULL);
        return;
    }
    text++;
    size -= 2;
    text = trim(text, &size);
    set(r, &r->value, text, size);
    if (!r->short_of_memory)
        r->to->section(r->to->context, r->line, (const char *)r->value.data);
}

static void begin_setting(reader *r, const char *text, size_t size, size_t indent) {
    const char *equals = memchr(text, '=', size);
    size_t key_size = equals ? (size_t)(equals - text) : 0;
    const char *key = trim(text, &key_size);
    if (!key_size) {
        r->to->fault(r->to->context, r->line, "not a line KEY = VALUE");
        return;
    }
    size_t value_size = size - (size_t)(equals + 1 - text);
    const char *value = trim(equals + 1, &value_size);
    set(r, &r->key, key, key_size);
    set(r, &r->value, value, value_size);
    r->key_line = r->line;
    r->indent = indent;
}

static void take_line(reader *r, const char *line, size_t all) {
    size_t size = all;
    const char *text = trim(line, &size);
    size_t indent = (size_t)(text - line);
    if (!size || *text == '#')
        return;
    if (!evb_text_valid(text, size)) {
        end_setting(r);
        r->to->fault(r->to->context, r->line, "not UTF-8");
        return;
    }
    if (r->key.size && indent > r->indent) {
        go_on(r, text, size);
        return;
    }
    end_setting(r);
    if (*text == '[')
        take_section(r, text, size);
    else if (*text != ';')
        begin_setting(r, text, size, indent);
}

bool listen_lines_read(const char *text, size_t size, const listen_lines_to *to) {
    static const char mark[] = "\xef\xbb\xbf"; /* what some editors put first */
    reader r = {.to = to};
    size_t at = size >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    while (at < size && !r.short_of_memory) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        r.line++;
        take_line(&r, text + at, n);
        at += n + 1;
    }
    end_setting(&r);
    evb_buf_free(&r.key);
    evb_buf_free(&r.value);
    return !r.short_of_memory;
}
