/* listen_run.c: one loop over all listeners.
 *
 * SIGHUP reads the files again: a listener that is new or has changed is started, one that is gone or has changed takes
 * nothing more, and leaves when what it has in hand is done; its successor joins at once, so that the group is as the file
 * says, and takes events then. With a fault in a file all stays.
 * A set of listeners lives as long as one of its units, or while it is the newest.
 * Leaves to others: the life of a listener (listen_unit.c), files (listen_file.c). */
#include "listen_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "listen_unit.h"
#include "program.h"
#include "signals.h"

/* A listener that runs, or is about to, or is on its way out. */
typedef struct running {
    struct running *next;
    listen_set *set; /* it is of this one */
    listen_unit *unit;
} running;

typedef struct {
    const listen_options *how;
    listen_ground ground;
    listen_set *set; /* the newest */
    running *units;
    bool changed; /* units were added, stopped or dropped */
    bool ending, ready;
    int told; /* so many signals were heeded */
    int fault;
} supervisor;

static volatile sig_atomic_t hangup;

/* ---- which there are ---- */

static void release_set(supervisor *all, listen_set *set) {
    if (--set->users == 0 && set != all->set)
        listen_set_destroy(&set);
}

static void add(supervisor *all, const listener *l) {
    running *r = calloc(1, sizeof *r);
    listen_unit *unit = r ? listen_unit_new(&all->ground, l) : NULL;
    if (!unit) {
        free(r); /* it is tried again when anything changes */
        fprintf(stderr, "evlisten: %s: out of memory\n", l->name);
        return;
    }
    *r = (running){all->units, all->set, unit};
    all->units = r;
    all->set->users++;
    all->changed = true;
}

static void drop(supervisor *all, running *r) {
    all->changed = true;
    listen_unit_destroy(&r->unit);
    release_set(all, r->set);
    free(r);
}

static void drop_gone(supervisor *all) {
    for (running **at = &all->units; *at;) {
        running *r = *at;
        if (!listen_unit_is_gone(r->unit)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        drop(all, r);
    }
}

/* Whether there is one of this name that was stopped, or was not. */
static bool is_there(const supervisor *all, const char *name, bool stopped) {
    const running *r = all->units;
    while (r && (listen_unit_is_stopped(r->unit) != stopped || strcmp(listen_unit_of(r->unit)->name, name) != 0))
        r = r->next;
    return r;
}

/* Starts what is to be there and is not. One whose predecessor is at work still is held. */
static void start_missing(supervisor *all) {
    for (const listener *l = all->set->first; l && !all->ending; l = l->next)
        if (!is_there(all, l->name, false))
            add(all, l);
    all->changed = false;
    for (running *r = all->units; r; r = r->next)
        listen_unit_hold(r->unit,
                         !listen_unit_is_stopped(r->unit) && is_there(all, listen_unit_of(r->unit)->name, true));
}

static void say_count(const char *what, size_t count) {
    fprintf(stderr, "evlisten: %s%zu listener%s\n", what, count, evb_plural(count));
}

static void read_again(supervisor *all) {
    hangup = 0;
    listen_set *fresh = listen_set_read(all->how->paths, all->how->path_count, false), *old = all->set;
    if (!fresh) {
        fprintf(stderr, "evlisten: going on with the listeners as they were\n");
        return;
    }
    all->set = fresh;
    for (running *r = all->units; r; r = r->next) {
        const listener *now = listen_unit_of(r->unit), *l = listen_set_find(fresh, now->name);
        if (!l || strcmp(l->text, now->text) != 0)
            listen_unit_stop(r->unit);
    }
    all->changed = true;
    if (!old->users)
        listen_set_destroy(&old);
    say_count("", fresh->count);
}

/* ---- the loop ---- */

/* Waits for the hub, a command's end, a signal, a deadline; not where one is gone for which another waits. */
static void wait_for_more(supervisor *all, struct pollfd *fds, evb_error *err) {
    int64_t due = all->changed ? 0 : INT64_MAX, now = evb_clock_monotonic_ns();
    for (const running *r = all->units; r; r = r->next) {
        int64_t at = listen_unit_deadline(r->unit);
        due = at < due ? at : due;
    }
    if (evb_bus_wait(all->ground.bus, fds, 2, due == INT64_MAX ? -1 : due > now ? due - now : 0, err) < 0)
        all->fault = err->code;
}

/* The first ends the taking; each that follows is passed on, once. */
static void heed_signals(supervisor *all) {
    signals_clear();
    int count = signals_count;
    if (signals_caught)
        all->ending = true;
    else if (hangup)
        read_again(all);
    for (running *r = all->units; r && all->ending; r = r->next) {
        listen_unit_stop(r->unit);
        if (count > 1 && count > all->told)
            listen_unit_signal(r->unit, SIGTERM);
    }
    all->told = count;
}

/* All have joined, or cannot: says so, once. */
static void become_ready(supervisor *all) {
    for (const running *r = all->units; r; r = r->next)
        if (!listen_unit_is_settled(r->unit))
            return;
    all->ready = true;
    say_count("ready: ", all->set->count);
    program_notify("READY=1");
    if (all->how->ready_fd < 0)
        return;
    if (write(all->how->ready_fd, "\n", 1) < 0)
        perror("evlisten: --ready-fd");
    close(all->how->ready_fd);
}

static void run(supervisor *all, evb_error *err) {
    struct pollfd fds[2] = {{signals_fd(), POLLIN, 0}, {all->ground.epoll, POLLIN, 0}};
    while (!all->fault && (!all->ending || all->units)) {
        if (all->changed)
            start_missing(all);
        for (running *r = all->units; r; r = r->next)
            listen_unit_step(r->unit);
        drop_gone(all);
        if (!all->ready && !all->ending)
            become_ready(all);
        if (!all->ending || all->units)
            wait_for_more(all, fds, err);
        heed_signals(all);
    }
}

static int open_ground(supervisor *all, evb_error *err) {
    listen_ground *g = &all->ground;
    g->verbose = all->how->verbose;
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (g->epoll < 0)
        return evb_fail(err, EVB_EIO, "epoll: no descriptor");
    g->environment = program_environ(all->how->url);
    if (!g->environment)
        return evb_fail(err, EVB_ENOMEM, "out of memory");
    g->bus = program_bus(all->how->url, 0, err);
    return g->bus ? 0 : err->code;
}

static void close_ground(listen_ground *g) {
    evb_bus_destroy(&g->bus);
    free((void *)(uintptr_t)g->environment);
    if (g->epoll >= 0)
        close(g->epoll);
}

int listen_run(listen_set **set, const listen_options *options, int *sig) {
    supervisor all = {.how = options, .set = *set, .ground.epoll = -1, .changed = true};
    evb_error err = {0};
    *set = NULL;
    signals_catch(4);
    signals_also(SIGHUP, &hangup);
    int rc = open_ground(&all, &err);
    if (rc == 0) {
        run(&all, &err);
        rc = all.fault;
    }
    if (rc)
        fprintf(stderr, "evlisten: %s\n", err.text);
    for (running *r; (r = all.units);) {
        all.units = r->next;
        drop(&all, r);
    }
    close_ground(&all.ground);
    listen_set_destroy(&all.set);
    *sig = signals_caught;
    return evb_err_exit(rc);
}
