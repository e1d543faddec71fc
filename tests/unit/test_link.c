/* test_link.c: connections that end in the moment in which they are given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/link.h"

enum { LINKS = 10, ROUNDS = 100, HANGS_AFTER_S = 60 };

typedef struct {
    char dir[64], url[80];
    int listener;
} rude_hub;

static void start(rude_hub *hub) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *tmp = getenv("TMPDIR");
    snprintf(hub->dir, sizeof hub->dir, "%.40s/rudeXXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(hub->dir));
    snprintf(hub->url, sizeof hub->url, "ipc://%s", hub->dir);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/hub", hub->dir);
    hub->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(hub->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(hub->listener, 100), 0);
}

static void stop(rude_hub *hub) {
    char path[80];
    close(hub->listener);
    snprintf(path, sizeof path, "%s/hub", hub->dir);
    unlink(path);
    rmdir(hub->dir);
}

/* Both ends close each connection at once. Its end waits until libzmq is done with all of them. */
static void connect_and_close(const rude_hub *hub) {
    evb_error err;
    evb_link *link = evb_link_new(hub->url, &err);
    evb_channel *channel = evb_channel_new(link, EVB_CHANNEL_REQUESTS);
    assert_non_null(channel);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(evb_channel_open(channel, &err), 0);
        int fd = accept(hub->listener, NULL, NULL);
        assert_true(fd >= 0);
        while (!evb_channel_reached(channel))
            assert_int_equal(evb_link_wait(link, NULL, 0, -1, &err), 0);
        close(fd);
        evb_channel_close(channel);
    }
    evb_channel_destroy(&channel);
    evb_link_destroy(&link);
}

/* libzmq tells a monitor of the end of a connection, and waits for ever where nobody listens to the monitor any more
 * (zeromq/libzmq#3575). */
static void test_closed_while_it_breaks(void **state) {
    rude_hub hub;
    (void)state;
    start(&hub);
    alarm(HANGS_AFTER_S);
    for (int i = 0; i < LINKS; i++)
        connect_and_close(&hub);
    alarm(0);
    stop(&hub);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed_while_it_breaks)};
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
