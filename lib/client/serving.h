/* serving.h: a handler's slots, as the subscription that keeps its feed connection sees them. */
#ifndef EVB_SERVING_H
#define EVB_SERVING_H

#include "evbus.h"

/* What evb_serve points at: a handler. */
typedef struct evb_serve evb_serving;

/* The feed has welcomed us under this token; it is gone. */
void evb_serving_join(evb_serving *self, const char *token);
void evb_serving_part(evb_serving *self);

/* Whether there is a command for the user, or the end. */
bool evb_serving_ready(const evb_serving *self);

#endif
