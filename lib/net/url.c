/* url.c: ipc://DIR and tcp://HOST:PORT, and nothing else.
 *
 * Invariant: an ipc endpoint fits into a sockaddr_un, so that libzmq's bind cannot fail for its length. */
#include "net/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/error.h"

static int parse_ipc(const char *text, const char *dir, evb_url *out, evb_error *err) {
    size_t size = strlen(dir);
    while (size > 1 && dir[size - 1] == '/')
        size--;
    if (dir[0] != '/')
        return evb_fail(err, EVB_EINVAL, "%s: the directory of an ipc:// URL begins with '/'", text);
    if (size + sizeof "/feed" > sizeof((struct sockaddr_un *)0)->sun_path)
        return evb_fail(err, EVB_EINVAL, "%s: its path is too long for a socket (at most %zu bytes)", text,
                        sizeof((struct sockaddr_un *)0)->sun_path - sizeof "/feed");
    out->ipc = true;
    snprintf(out->dir, sizeof out->dir, "%.*s", (int)size, dir);
    snprintf(out->request, sizeof out->request, "ipc://%.*s/hub", (int)size, dir);
    snprintf(out->feed, sizeof out->feed, "ipc://%.*s/feed", (int)size, dir);
    return 0;
}

static bool is_loopback(const char *host, size_t size) {
    return (size == 9 && memcmp(host, "localhost", 9) == 0) || (size == 5 && memcmp(host, "[::1]", 5) == 0) ||
           (size > 4 && memcmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == size);
}

static int parse_tcp(const char *text, const char *rest, evb_url *out, evb_error *err) {
    const char *colon = strrchr(rest, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    size_t host = colon ? (size_t)(colon - rest) : 0;
    if (!host || host > 255 || !end || *end || end == colon + 1 || port < 1 || port > 65534)
        return evb_fail(err, EVB_EINVAL, "%s: a tcp:// URL is tcp://HOST:PORT, with PORT from 1 to 65534", text);
    out->loopback = is_loopback(rest, host);
    bool named = host == 9 && out->loopback && rest[0] == 'l'; /* libzmq binds to addresses, not to names */
    const char *shown = named ? "127.0.0.1" : rest;
    int n = named ? 9 : (int)host;
    snprintf(out->request, sizeof out->request, "tcp://%.*s:%ld", n, shown, port);
    snprintf(out->feed, sizeof out->feed, "tcp://%.*s:%ld", n, shown, port + 1);
    return 0;
}

int evb_url_parse(const char *text, evb_url *out, evb_error *err) {
    *out = (evb_url){0};
    if (strncmp(text, "ipc://", 6) == 0)
        return parse_ipc(text, text + 6, out, err);
    if (strncmp(text, "tcp://", 6) == 0)
        return parse_tcp(text, text + 6, out, err);
    return evb_fail(err, EVB_EINVAL, "%s: not a hub's URL (ipc://DIR or tcp://HOST:PORT)", text);
}
