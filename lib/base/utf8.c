/* utf8.c: the table of well-formed sequences in RFC 3629, section 4, as comparisons. */
#include "base/utf8.h"

#include <string.h>

size_t evb_utf8_length(const uint8_t *p, size_t left) {
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
               (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : n;
}

static bool is_control(const uint8_t *p, size_t n) {
    return *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

void evb_utf8_copy(char *out, size_t room, const char *text, size_t size, bool tame) {
    const uint8_t *p = (const uint8_t *)text;
    size_t used = 0;
    for (size_t left = size, n; left; p += n, left -= n) {
        n = evb_utf8_length(p, left);
        bool shown = n && *p && !(tame && is_control(p, n));
        if (used + (shown ? n : 1) >= room)
            break;
        memcpy(out + used, shown ? (const char *)p : "?", shown ? n : 1);
        used += shown ? n : 1;
        n = n ? n : 1;
    }
    out[used] = 0;
}
