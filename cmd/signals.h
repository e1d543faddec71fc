/* signals.h: SIGINT and SIGTERM as a flag and a descriptor, for programs with one loop.
 *
 * The first sets the flag and wakes whoever polls signals_fd; from then on an alarm ticks each second, so that a call
 * that blocks after the flag was looked at is interrupted, whenever it began. */
#ifndef EVB_SIGNALS_H
#define EVB_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* The signal that came last, or 0; how many came; whether one came after another. */
extern volatile sig_atomic_t signals_caught, signals_count, signals_again;

/* Begins to catch them; the `deadly`-th one (from 2; 0: none) ends the process as if it was not caught. */
void signals_catch(int deadly);

/* To poll for POLLIN: something came. -1 before signals_catch. Read by signals_clear. */
int signals_fd(void);
void signals_clear(void);

/* Has another signal wake signals_fd, too (SIGHUP, SIGCHLD…), and sets *flag. */
void signals_also(int sig, volatile sig_atomic_t *flag);

/* While it is on, something is evaluated that may have no end and cannot be interrupted: a signal that comes then, or has
 * come, ends the process as if it was not caught unless it is off within 1 to 2 s. */
void signals_evaluate(bool on);

/* Ends the process as by this signal: who waits for it sees that. */
_Noreturn void signals_die_of(int sig);

#endif
