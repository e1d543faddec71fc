/* fold_state.c: the state file of evfold: one JSON object on a line, with a checksum as its last member.
 *
 *   {"evfold":1,"position":…,"events":…,"last":{"seq":…,"time":…,"id":…},"patterns":[…],"expression":…,"init":…,
 *    "state":…,"xxh3":"0123456789abcdef"}
 *
 * The checksum is XXH3-64 (seed 0) of all bytes before `,"xxh3"`. A file without that member is taken without it, so that a
 * person can set a state with a text editor. The state is written as libjq prints it, in pieces: it may be large.
 * To change the form: new members need no new number; a reader passes over what it does not know.
 * Invariant: a file that was not understood is never written over (nobody gets past fold_state_read).
 * Leaves to others: who may write (evfold.c has the lock), and when. */
#include "fold_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/replace.h"
#include "base/units.h"
#include "event/expr.h"
#include "event/position.h"

enum { FORM = 1, SUM_DIGITS = 16, WRITE_SIZE = 128 * 1024 };
static const char SUM_BEFORE[] = ",\"xxh3\":\"", SUM_AFTER[] = "\"}";
static const size_t SUM_SIZE = sizeof SUM_BEFORE - 1 + SUM_DIGITS + sizeof SUM_AFTER - 1;

int fold_state_check(jv state, evb_error *err) {
    return evb_expr_shallow(state)
               ? 0
               : evb_fail(err, EVB_EDATA, "the state is nested deeper than %d levels", EVB_EXPR_DEPTH_MAX);
}

static jv patterns_of(const fold_recipe *recipe) {
    jv patterns = jv_array();
    for (size_t i = 0; i < recipe->pattern_count; i++)
        patterns = jv_array_append(patterns, jv_string(recipe->patterns[i]));
    return patterns;
}

/* ---- writing ---- */

/* A stdio stream onto a descriptor that computes the checksum of what passes. */
typedef struct {
    int fd;
    XXH3_state_t *sum;
    int errnum; /* the first fault */
} sink;

static ssize_t sink_write(void *cookie, const char *data, size_t size) {
    sink *s = cookie;
    size_t done = 0;
    while (done < size) {
        ssize_t n = write(s->fd, data + done, size - done);
        if (n < 0 && errno != EINTR) {
            s->errnum = s->errnum ? s->errnum : errno;
            return 0; /* as fopencookie(3) has it */
        }
        done += n > 0 ? (size_t)n : 0;
    }
    XXH3_64bits_update(s->sum, data, size);
    return (ssize_t)size;
}

/* Everything but the state. */
static jv head_of(const fold_recipe *recipe, const fold_point *p) {
    char time[EVB_TIME_TEXT];
    evb_time_text(p->last_time_ns, time);
    jv last = JV_OBJECT(jv_string("seq"), jv_number((double)p->last_seq), jv_string("time"), jv_string(time),
                        jv_string("id"), jv_string(p->last_id));
    return JV_OBJECT(jv_string("evfold"), jv_number(FORM), jv_string("position"), jv_number((double)p->position),
                     jv_string("events"), jv_number((double)p->events), jv_string("last"),
                     p->last_seq ? last : (jv_free(last), jv_null()), jv_string("patterns"), patterns_of(recipe),
                     jv_string("expression"), jv_string(recipe->expression), jv_string("init"),
                     jv_copy(recipe->init));
}

static void write_text(FILE *out, sink *to, const fold_recipe *recipe, const fold_point *point) {
    jv head = jv_dump_string(head_of(recipe, point), 0);
    fwrite(jv_string_value(head), 1, (size_t)jv_string_length_bytes(jv_copy(head)) - 1, out); /* without its '}' */
    jv_free(head);
    fputs(",\"state\":", out);
    jv_dumpf(jv_copy(point->state), out, 0);
    fflush(out);
    fprintf(out, "%s%016" PRIx64 "%s\n", SUM_BEFORE, (uint64_t)XXH3_64bits_digest(to->sum), SUM_AFTER);
}

/* Writes all of it to fd: 0 or an errno. */
static int write_all(int fd, const fold_recipe *recipe, const fold_point *point) {
    sink to = {fd, XXH3_createState(), 0};
    FILE *out = to.sum ? fopencookie(&to, "w", (cookie_io_functions_t){.write = sink_write}) : NULL;
    if (out) {
        XXH3_64bits_reset(to.sum);
        setvbuf(out, NULL, _IOFBF, WRITE_SIZE);
        write_text(out, &to, recipe, point);
        bool failed = ferror(out);
        failed = fclose(out) != 0 || failed;
        to.errnum = failed && !to.errnum ? EIO : to.errnum;
    }
    XXH3_freeState(to.sum);
    return out ? to.errnum : ENOMEM;
}

int fold_state_write(const char *path, const fold_recipe *recipe, const fold_point *point, evb_error *err) {
    char temporary[PATH_MAX];
    int rc = fold_state_check(point->state, err);
    if (rc)
        return rc;
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return evb_fail(err, EVB_EINVAL, "%.300s: path too long", path);
    int fd = evb_replace_open(path, temporary, err);
    if (fd < 0)
        return fd;
    errno = write_all(fd, recipe, point);
    if (!errno)
        return evb_replace_commit(fd, path, temporary, err);
    rc = evb_replace_fail(temporary, err);
    evb_replace_abandon(fd, temporary);
    return rc;
}

/* ---- reading ---- */

static int fail_form(const char *path, const char *why, evb_error *err) {
    return evb_fail(err, EVB_EDATA, "%.200s: not a state file of evfold, or damaged: %.200s", path, why);
}

static int read_fd(int fd, const char *path, evb_buf *text, evb_error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return evb_replace_fail(path, err);
    if (!S_ISREG(st.st_mode))
        return fail_form(path, "not a regular file", err);
    for (ssize_t n = 1; n > 0 && text->size < INT_MAX;) {
        if (!evb_buf_reserve(text, WRITE_SIZE))
            return evb_fail(err, EVB_ENOMEM, "%.200s: out of memory", path);
        n = read(fd, text->data + text->size, WRITE_SIZE);
        if (n < 0 && errno != EINTR)
            return evb_replace_fail(path, err);
        text->size += n > 0 ? (size_t)n : 0;
        n = n < 0 ? 1 : n;
    }
    return text->size < INT_MAX ? 0 : fail_form(path, "larger than 2 GiB", err);
}

/* Reads all of it; EVB_OK and *found false where there is no such file. */
static int read_file(const char *path, evb_buf *text, bool *found, evb_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *found = fd >= 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : evb_replace_fail(path, err);
    int rc = read_fd(fd, path, text, err);
    close(fd);
    return rc;
}

/* Whether the text ends with a checksum and it holds. */
static bool intact(const evb_buf *text) {
    size_t size = text->size;
    while (size && strchr(" \t\r\n", text->data[size - 1]))
        size--;
    if (size < SUM_SIZE)
        return false;
    size -= SUM_SIZE;
    char sum[SUM_DIGITS + 1];
    snprintf(sum, sizeof sum, "%016" PRIx64, (uint64_t)XXH3_64bits(text->data, size));
    const uint8_t *at = text->data + size;
    return memcmp(at, SUM_BEFORE, sizeof SUM_BEFORE - 1) == 0 &&
           memcmp(at + sizeof SUM_BEFORE - 1, sum, SUM_DIGITS) == 0 &&
           memcmp(at + sizeof SUM_BEFORE - 1 + SUM_DIGITS, SUM_AFTER, sizeof SUM_AFTER - 1) == 0;
}

static jv member(jv object, const char *name) { return jv_object_get(jv_copy(object), jv_string(name)); }

/* The whole number under name: false if there is none. */
static bool number(jv object, const char *name, uint64_t *value) {
    jv got = member(object, name);
    double d = jv_get_kind(got) == JV_KIND_NUMBER ? jv_number_value(got) : -1;
    jv_free(got);
    if (!(d >= 0 && d <= 9007199254740992.0))
        return false;
    *value = (uint64_t)d;
    return (double)*value == d;
}

/* The last event: false if its form is wrong. */
static bool take_last(jv last, fold_point *out) {
    evb_from from = EVB_FROM_NOW;
    uint64_t time_ns = 0;
    if (jv_get_kind(last) == JV_KIND_NULL)
        return true;
    if (jv_get_kind(last) != JV_KIND_OBJECT)
        return false;
    jv time = member(last, "time"), id = member(last, "id");
    bool ok = jv_get_kind(time) == JV_KIND_STRING && jv_get_kind(id) == JV_KIND_STRING &&
              number(last, "seq", &out->last_seq) &&
              evb_position_parse(jv_string_value(time), 0, &from, &time_ns, NULL) == 0 && from == EVB_FROM_TIME;
    if (ok)
        snprintf(out->last_id, sizeof out->last_id, "%s", jv_string_value(id));
    out->last_time_ns = (int64_t)time_ns;
    jv_free(time);
    jv_free(id);
    return ok;
}

/* What is wrong with the file's object, or NULL and *out but for the state. */
static const char *take_point(jv file, const evb_buf *text, fold_point *out) {
    uint64_t form;
    bool summed = jv_get_kind(file) == JV_KIND_OBJECT && jv_object_has(jv_copy(file), jv_string("xxh3"));
    if (jv_get_kind(file) != JV_KIND_OBJECT || !number(file, "evfold", &form))
        return "it has no \"evfold\"";
    if (form != FORM)
        return "it is of a later version";
    if (summed && !intact(text))
        return "its checksum does not hold; a state that is set by hand has no \"xxh3\"";
    jv last = member(file, "last");
    bool ok = take_last(last, out);
    jv_free(last);
    if (!ok || !number(file, "position", &out->position) || !out->position || !number(file, "events", &out->events) ||
        !jv_object_has(jv_copy(file), jv_string("state")))
        return "\"position\", \"events\", \"last\" or \"state\" is missing or wrong";
    return NULL;
}

/* Whether file[name] is `wanted`, which is taken over. */
static bool same(jv file, const char *name, jv wanted) { return jv_equal(member(file, name), wanted); }

/* 0, or EVB_EDATA where another recipe has made it. */
static int check_recipe(const char *path, const fold_recipe *recipe, jv file, evb_error *err) {
    const char *what = !same(file, "expression", jv_string(recipe->expression)) ? "another expression"
                       : !same(file, "patterns", patterns_of(recipe))           ? "other patterns"
                       : !same(file, "init", jv_copy(recipe->init))             ? "another --init"
                                                                                : NULL;
    return what ? evb_fail(err, EVB_EDATA,
                           "%.200s: was made with %s: --adopt goes on from its state; or remove it to begin anew",
                           path, what)
                : 0;
}

static int take_text(const char *path, const fold_recipe *recipe, bool adopt, const evb_buf *text, fold_point *out,
                     evb_error *err) {
    jv file = text->size ? jv_parse_sized((const char *)text->data, (int)text->size)
                         : jv_invalid_with_msg(jv_string("it is empty"));
    if (!jv_is_valid(file)) {
        jv why = jv_invalid_get_msg(file);
        /* libjq's message has the whole text in it, behind this */
        const char *said = jv_get_kind(why) == JV_KIND_STRING ? jv_string_value(why) : "it is empty";
        const char *end = strstr(said, " (while parsing");
        char reason[200];
        snprintf(reason, sizeof reason, "%.*s", end ? (int)(end - said) : (int)sizeof reason, said);
        jv_free(why);
        return fail_form(path, reason, err);
    }
    const char *fault = take_point(file, text, out);
    int rc = fault ? fail_form(path, fault, err) : adopt ? 0 : check_recipe(path, recipe, file, err);
    if (!rc)
        out->state = member(file, "state");
    jv_free(file);
    return rc;
}

int fold_state_read(const char *path, const fold_recipe *recipe, bool adopt, fold_point *out, bool *found,
                    evb_error *err) {
    evb_buf text = {0};
    *out = (fold_point){.state = jv_invalid()};
    int rc = read_file(path, &text, found, err);
    if (!rc && *found)
        rc = take_text(path, recipe, adopt, &text, out, err);
    evb_buf_free(&text);
    return rc;
}
