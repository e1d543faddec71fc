/* error.c: the one place that writes evb_error, and the table of exit codes (sysexits.h, where it has one).
 *
 * Invariant: text is always NUL-terminated and says "object: reason"; the program's name is the caller's to add. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What others sent may be in a message: no control character of it reaches a terminal. */
static void make_printable(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* U+0080 to U+009F */
        if (*p < 0x20 || *p == 0x7f || c1)
            *p = '?';
        if (c1)
            *++p = '?';
    }
}

int evb_fail(evb_error *err, int code, const char *format, ...) {
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    make_printable(err->text);
    return code;
}

int evb_fail_errno(evb_error *err, int code, int errnum, const char *format, ...) {
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    make_printable(err->text);
    size_t used = strlen(err->text);
    char reason[128];
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerror_r(errnum, reason, sizeof reason));
    return code;
}

int evb_err_exit(int code) {
    switch ((evb_err)code) {
    case EVB_OK: return 0;
    case EVB_EDAMAGED:
    case EVB_EVERSION:
    case EVB_EGONE: return 1;
    case EVB_EINVAL: return 64;
    case EVB_EDATA: return 65;
    case EVB_ENOHANDLER:
    case EVB_ENOHUB: return 69;
    case EVB_ESTORE:
    case EVB_EIO: return 74;
    case EVB_EAGAIN:
    case EVB_ETIMEDOUT:
    case EVB_ENOMEM:
    case EVB_EUNKNOWN:
    case EVB_EBUSY: return 75;
    case EVB_EPERM: return 77;
    case EVB_ECONFIG: return 78;
    }
    return 1;
}
