/* log.c: formatting for log.h. Never allocates, so that it works when memory is short. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE_MAX_SIZE = 1000 };

void evb_log_say(const evb_log *log, const char *format, ...) {
    if (!log || !log->line)
        return;
    char text[LINE_MAX_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log->line(log->context, text);
}
