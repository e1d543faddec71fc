/* listen_values.h: what the values of a listener's section mean, and whether they make sense. */
#ifndef EVB_LISTEN_VALUES_H
#define EVB_LISTEN_VALUES_H

#include "listen_file.h"

/* A section that was read. */
typedef struct {
    listener *l;   /* its values, as they were set; what they mean is filled in */
    arena *memory; /* what lives as long as the listener is taken from here */
    bool check;    /* look for commands and directories, too */
    void *context;
    void (*fault)(void *context, const char *key, const char *reason); /* key: that of the value, there or not */
    bool (*is_set)(const void *context, const char *key);
} listen_values;

/* Fills in the listener; every fault is told. */
void listen_values_understand(const listen_values *self);

#endif
