/* run_job.h: the command of evrun: started, watched, signalled. State of the process, as signal handlers are. */
#ifndef EVB_RUN_JOB_H
#define EVB_RUN_JOB_H

#include "run/child.h"

/* Notes which signals are ignored, as they are to stay in the job, and catches those that are to be forwarded to it: those
 * that are not ignored. Call it first. */
void run_job_signals(void);

/* Starts it; quiet: nothing of its output is passed on. A signal that came since run_job_signals goes to it at once. NULL
 * and *err, as evb_child_new. */
evb_child *run_job_start(const char *const *argv, const char *const *environment, int64_t max_ns, bool quiet,
                         evb_error *err);

/* Blocks until it has ended and its output is passed on. A signal that comes between the two gives up on the output. */
void run_job_wait(evb_child *child);

/* Ends evrun as the job was ended by this signal, without a second core file. */
_Noreturn void run_job_die(int sig);

#endif
