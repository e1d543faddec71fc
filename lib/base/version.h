/* version.h: what --version says; the Makefile's VERSION is the same. */
#ifndef EVB_VERSION_H
#define EVB_VERSION_H

#define EVB_VERSION "0.1.0"

#endif
