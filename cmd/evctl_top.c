/* evctl_top.c: evctl top's life: the terminal, signals, keys and the clock around the watch and its screen.
 *
 * Invariants: whatever ends the program, the terminal is given back first; signals that end it are read from a
 * descriptor, so that nothing is done in a handler. It is drawn when a look is complete, when a key was pressed and when
 * the size has changed, and sleeps in between.
 * Leaves to others: what is known of the hub (lib/client/watch), the screen (evctl_top_screen.c). */
#include "evctl_top.h"

#include <errno.h>
#include <langinfo.h>
#include <ncurses.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "evctl.h"

#include <term.h> /* last: it makes macros of words like columns */

/* A program under way. */
typedef struct {
    top_state state;
    evb_bus *bus;
    evb_patterns *patterns;
    evb_watch *watch;
    SCREEN *screen;
    int signals; /* a signalfd */
    int64_t tick_ns;
    bool drawn; /* all that the last tick has brought */
} top;

/* ---- the terminal ---- */

static void choose_colours(top_state *state) {
    const char *no = getenv("NO_COLOR");
    state->colour = !(no && *no) && has_colors() && start_color() == OK && use_default_colors() == OK;
    if (!state->colour)
        return;
    init_pair(1, COLOR_GREEN, -1);
    init_pair(2, COLOR_YELLOW, -1);
    init_pair(3, COLOR_RED, -1);
    init_pair(4, COLOR_CYAN, -1);
}

/* ^S does not stop the screen: that would be in the midst of a write, and nothing but SIGKILL would end the program. */
static void never_stop(void) {
    struct termios how;
    if (tcgetattr(STDIN_FILENO, &how))
        return;
    how.c_iflag &= ~(tcflag_t)IXON;
    tcsetattr(STDIN_FILENO, TCSANOW, &how);
    def_prog_mode();
}

/* Whether the terminal that setupterm has found can do that. */
static bool has_string(const char *capability) {
    const char *text = tigetstr((char *)(uintptr_t)capability);
    return text && text != (const char *)-1;
}

static int open_terminal(top *t, evb_error *err) {
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return evb_fail(err, EVB_EINVAL, "top: wants a terminal; for scripts there are -J and metrics");
    t->state.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    int found; /* newterm loses memory when it finds nothing */
    bool known = setupterm(NULL, STDOUT_FILENO, &found) == OK, able = known && has_string("cup");
    if (known && del_curterm(cur_term) == OK && able)
        t->screen = newterm(NULL, stdout, stdin);
    if (known && !able)
        return evb_fail(err, EVB_EINVAL, "top: TERM=%.60s: such a terminal cannot move its cursor", getenv("TERM"));
    if (!t->screen)
        return evb_fail(err, EVB_EINVAL, "top: TERM=%.60s: nothing is known of such a terminal",
                        getenv("TERM") ? getenv("TERM") : "");
    choose_colours(&t->state);
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(25);
    never_stop();
    return 0;
}

static void close_terminal(top *t) {
    if (!t->screen)
        return;
    endwin();
    delscreen(t->screen);
}

static int open_signals(top *t, evb_error *err) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return t->signals < 0 ? evb_fail_errno(err, EVB_EIO, errno, "top: signals") : 0;
}

/* ---- the loop ---- */

/* Takes in all keys. False: quit. */
static bool read_keys(top *t) {
    for (int key; (key = getch()) != ERR; t->drawn = false)
        if (!top_key(&t->state, key))
            return false;
    return true;
}

static bool tick(top *t, int64_t now) {
    if (now < t->tick_ns)
        return true;
    t->tick_ns = now + EVB_SECOND_NS;
    t->drawn = false;
    return t->state.paused || evb_watch_tick(t->watch);
}

/* Draws when there is something new to see: the answers of a tick come together. */
static void draw(top *t, int64_t now, bool pressed) {
    static const int64_t PATIENCE_NS = 250 * EVB_MILLISECOND_NS;
    bool complete = evb_watch_settled(t->watch) || now > t->tick_ns - EVB_SECOND_NS + PATIENCE_NS;
    if (t->drawn || (!complete && !pressed))
        return;
    top_draw(&t->state, t->watch);
    t->drawn = complete;
}

static int run(top *t, evb_error *err) {
    for (;;) {
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = t->signals, .events = POLLIN}};
        int64_t now = evb_clock_monotonic_ns(), due = t->tick_ns;
        if (!t->drawn && due > now + 100 * EVB_MILLISECOND_NS)
            due = now + 100 * EVB_MILLISECOND_NS; /* the screen waits for answers that may not come */
        if (evb_bus_wait(t->bus, fds, 2, due > now ? due - now : 0, err) < 0)
            return EVB_EIO;
        if (fds[1].revents || (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)))
            return 0;
        bool fresh = t->drawn;
        if (!read_keys(t))
            return 0;
        now = evb_clock_monotonic_ns();
        if (!tick(t, now))
            return evb_fail(err, EVB_ENOMEM, "top: out of memory");
        draw(t, now, fresh && !t->drawn);
    }
}

static int open_all(top *t, evctl *self, evb_error *err) {
    t->patterns = evb_patterns_new((const char *const *)self->argv, (size_t)self->argc, err);
    t->bus = t->patterns ? evctl_bus(self, err) : NULL;
    t->state.url = self->url;
    t->watch = t->bus ? evb_watch_new(t->bus, t->patterns, err) : NULL;
    if (!t->watch)
        return err->code;
    int rc = open_signals(t, err);
    return rc ? rc : open_terminal(t, err);
}

int evctl_top(evctl *self, evb_error *err) {
    top t = {.signals = -1};
    int rc = open_all(&t, self, err);
    rc = rc ? rc : run(&t, err);
    close_terminal(&t);
    free(t.state.rows);
    evb_watch_destroy(&t.watch);
    evb_patterns_destroy(&t.patterns);
    if (t.signals >= 0)
        close(t.signals);
    return rc;
}
