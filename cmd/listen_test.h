/* listen_test.h: says for an event which listeners would run, and why the others would not. */
#ifndef EVB_LISTEN_TEST_H
#define EVB_LISTEN_TEST_H

#include "listen_file.h"

/* Reads events from a file ("-": stdin), a JSON object as of evsub -J on each line, and prints a line for each listener.
 * 0: one would run for one of them at least, 1: none; or an evb_err and *err. */
int listen_test(const listen_set *set, const char *path, evb_error *err);

#endif
