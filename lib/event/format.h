/* format.h: output of an event by a format of the user's (evsub -F).
 *
 *   %t topic     %s seq        %v version   %T time (2026-11-23T10:00:00.123456789Z)   %i id
 *   %p payload   %h{NAME} the header NAME, or nothing where there is none              %n newline   %% a percent sign
 *   \n newline   \t tab        \0 NUL       \\ a backslash */
#ifndef EVB_FORMAT_H
#define EVB_FORMAT_H

#include "base/buf.h"
#include "evbus.h"

typedef struct evb_format evb_format;

/* Compiles `text`, NUL-terminated, copied. NULL and *err: EVB_EINVAL naming what is wrong in it, EVB_ENOMEM. */
evb_format *evb_format_new(const char *text, evb_error *err);
void evb_format_destroy(evb_format **self);

/* Appends the event; nothing is added that the format does not say. False when memory is short. */
bool evb_format_add(const evb_format *self, evb_buf *out, const evb_event *event);

#endif
