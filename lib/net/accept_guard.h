/* accept_guard.h: keeps libzmq alive when descriptors run out. Part of the hub only. */
#ifndef EVB_ACCEPT_GUARD_H
#define EVB_ACCEPT_GUARD_H

/* Raises the limit of open files to its hard limit and puts a spare descriptor in hand; from then on connections that
 * come while fewer than 64 descriptors are left are closed at once. Returns the limit. To be called once, before
 * the first socket is bound. */
long evb_accept_guard_arm(void);

/* How many connections were turned away. */
unsigned long evb_accept_guard_refused(void);

#endif
