/* log.h: how lib says something to the one who runs it: a line of text, handed to a function of the program's. */
#ifndef EVB_LOG_H
#define EVB_LOG_H

typedef struct {
    void (*line)(void *context, const char *text); /* text: "object: what", no newline; NULL: nothing is said */
    void *context;
} evb_log;

/* Formats a line and hands it on; what is over 1,000 bytes is cut. */
void evb_log_say(const evb_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
