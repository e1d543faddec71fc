/* run_events.c: the payloads of TOPIC.started, .succeeded, .failed and .skipped, as evrun(1) describes them.
 *
 * Written by hand like evsub -J's lines (event/json.h): a job's output is most of it.
 * To add a member: append it; readers pass over what they do not know. Leaves to others: publishing (run_tell.c). */
#include "run_events.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "base/utf8.h"
#include "event/json.h"

enum { NAME_MAX_BYTES = 100 };

/* ---- who and what ---- */

void run_about_id(run_about *about) {
    uint8_t random[16] = {0};
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        int64_t now = evb_clock_wall_ns();
        memcpy(random, &now, sizeof now);
    }
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(about->id + 2 * i, 3, "%02x", random[i]);
}

void run_about_us(run_about *about) {
    if (gethostname(about->host, sizeof about->host - 1) < 0)
        about->host[0] = 0;
    const struct passwd *pw = getpwuid(getuid());
    if (pw)
        snprintf(about->user, sizeof about->user, "%s", pw->pw_name);
    else
        snprintf(about->user, sizeof about->user, "%lu", (unsigned long)getuid());
}

/* Bytes at `text` that may stand in a token; 0: the next one may not. */
static size_t token_part(const char *text, size_t left, bool first) {
    const unsigned char *p = (const unsigned char *)text;
    size_t n = evb_utf8_length(p, left);
    bool control = *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
    return control || strchr(" *#.", *p) || (first && *p == '$') ? 0 : n;
}

void run_topic(const char *command, char out[EVB_TOPIC_MAX + 1]) {
    size_t size = strlen(command), to = 4;
    while (size > 1 && command[size - 1] == '/')
        size--;
    const char *slash = memrchr(command, '/', size);
    size_t at = slash && (size_t)(slash + 1 - command) < size ? (size_t)(slash + 1 - command) : 0;
    memcpy(out, "job.", 4);
    while (at < size && to < NAME_MAX_BYTES) {
        size_t n = token_part(command + at, size - at, to == 4);
        memcpy(out + to, n ? command + at : "-", n ? n : 1);
        to += n ? n : 1;
        at += n ? n : 1;
    }
    if (to == 4)
        out[to++] = '-';
    out[to] = 0;
}

/* ---- members ---- */

static bool add_text(evb_buf *out, const char *key, const char *text) {
    return evb_buf_text(out, key) && evb_json_add_text(out, text, strlen(text));
}

static bool add_time(evb_buf *out, const char *key, int64_t ns) {
    char text[EVB_TIME_TEXT];
    evb_time_text(ns, text);
    return add_text(out, key, text);
}

/* The members that every event has; the object stays open. */
static bool add_about(evb_buf *out, const run_about *about) {
    bool ok = add_text(out, "{\"run\":", about->id) && evb_buf_text(out, ",\"command\":[");
    for (size_t i = 0; ok && about->argv[i]; i++)
        ok = add_text(out, i ? "," : "", about->argv[i]);
    ok = ok && add_text(out, "],\"host\":", about->host) && add_text(out, ",\"user\":", about->user);
    return ok && (!about->pid || evb_buf_printf(out, ",\"pid\":%ld", (long)about->pid));
}

bool run_started(evb_buf *out, const run_about *about) {
    return add_about(out, about) && add_time(out, ",\"started\":", about->begun_ns) && evb_buf_text(out, "}");
}

static bool add_end(evb_buf *out, const evb_child_end *end) {
    const char *name = end->status < 0 ? sigabbrev_np(-end->status) : NULL;
    char sig[32];
    if (name)
        snprintf(sig, sizeof sig, "SIG%s", name);
    else
        snprintf(sig, sizeof sig, "%d", -end->status);
    bool ok = add_time(out, ",\"ended\":", end->begun_ns + end->took_ns);
    if (end->status < 0)
        ok = ok && add_text(out, ",\"signal\":", sig);
    else
        ok = ok && evb_buf_printf(out, ",\"exit\":%d", end->status);
    return ok && (!end->late || evb_buf_text(out, ",\"timed_out\":true")) &&
           evb_buf_printf(
               out, ",\"seconds\":%.6f,\"user_seconds\":%.6f,\"system_seconds\":%.6f,\"peak_bytes\":%" PRIu64,
               (double)end->took_ns / 1e9, (double)end->user_ns / 1e9, (double)end->system_ns / 1e9, end->peak_bytes);
}

/* The output, which may begin in the middle of a character: that one is cut off. */
static bool add_output(evb_buf *out, const run_outcome *o) {
    const uint8_t *data = o->output;
    size_t skip = 0;
    while (o->cut && skip < 3 && skip < o->size && (data[skip] & 0xc0) == 0x80)
        skip++;
    return evb_json_add_bytes(out, ",\"output\":", ",\"output_base64\":", o->size ? data + skip : data,
                              o->size - skip) &&
           evb_buf_printf(out, ",\"output_cut\":%" PRIu64, o->cut + skip);
}

bool run_ended(evb_buf *out, const run_about *about, const run_outcome *o) {
    bool ok = add_about(out, about) && add_time(out, ",\"started\":", about->begun_ns);
    if (o->end)
        ok = ok && add_end(out, o->end) && add_output(out, o);
    else
        ok = ok && evb_buf_printf(out, ",\"exit\":%d", o->exit) && add_text(out, ",\"error\":", o->error);
    return ok && evb_buf_text(out, "}");
}

bool run_skipped(evb_buf *out, const run_about *about, long holder, int64_t since_ns) {
    bool ok = add_about(out, about) && add_time(out, ",\"skipped\":", about->begun_ns) &&
              evb_buf_printf(out, ",\"holder\":{\"pid\":%ld", holder);
    return ok && add_time(out, ",\"since\":", since_ns) && evb_buf_text(out, "}}");
}
