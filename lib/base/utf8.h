/* utf8.h: UTF-8 as RFC 3629 has it. */
#ifndef EVB_UTF8_H
#define EVB_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed sequence at p, of which `left` (1 or more) bytes may be read: 1 to 4; 0 when it is not well
 * formed: cut short, overlong, a surrogate, or above U+10FFFF. */
size_t evb_utf8_length(const uint8_t *p, size_t left);

/* Copies text as far as whole characters have room beside a NUL, which it ends with; room is 1 or more. Each byte that is of
 * no character becomes '?', and so does a NUL; with `tame` also what would move a terminal's cursor. */
void evb_utf8_copy(char *out, size_t room, const char *text, size_t size, bool tame);

#endif
