/* fetch.h: what a subscription reads from the journal, piece by piece. Never blocks. */
#ifndef EVB_FETCH_H
#define EVB_FETCH_H

#include "client/subscription_private.h"

/* Asks for from..to (0: the head), to be read in SUB_REPLAY or SUB_REPAIR. What goes wrong ends the subscription. */
void evb_sub_fetch(evb_sub *self, uint64_t from, uint64_t to);

/* The piece in hand is read: the one behind it takes its place, and another is asked for. */
void evb_sub_next_piece(evb_sub *self);

#endif
