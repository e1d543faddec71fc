/* error.h: filling in an evb_error. */
#ifndef EVB_ERROR_H
#define EVB_ERROR_H

#include "evbus.h"

/* Sets *err (which may be NULL) from a printf format and returns code, so that a function can end with it. */
int evb_fail(evb_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": " and strerror(errnum) behind it. */
int evb_fail_errno(evb_error *err, int code, int errnum, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
