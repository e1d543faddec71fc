/* listen_words.c: quoting, after "Shell Command Language", 2.2 (POSIX.1-2017), without what it expands.
 *
 * Invariant: what comes out is what sh(1) would make of it, or there is an error: but for ~ * ? [ ], which stand for
 * themselves here, also where a file has such a name. */
#include "listen_words.h"

#include <string.h>

#include "base/error.h"

static const char BLANKS[] = " \t\n", SHELLS[] = "|&;<>()$`";

typedef struct {
    const char *at;
    evb_buf *out;
    bool in_word;
} splitter;

static int refuse(char c, evb_error *err) {
    return evb_fail(err, EVB_EINVAL, "'%c' is for a shell: quote it, or use shell = LINE", c);
}

static bool put(splitter *s, char c) {
    s->in_word = true;
    return evb_buf_add(s->out, &c, 1);
}

/* From behind the first ' to behind the second. */
static int take_single(splitter *s, evb_error *err) {
    const char *end = strchr(s->at, '\'');
    if (!end)
        return evb_fail(err, EVB_EINVAL, "a ' is not closed");
    s->in_word = true;
    bool ok = evb_buf_add(s->out, s->at, (size_t)(end - s->at));
    s->at = end + 1;
    return ok ? 0 : EVB_ENOMEM;
}

/* The same for ". */
static int take_double(splitter *s, evb_error *err) {
    s->in_word = true;
    for (; *s->at && *s->at != '"'; s->at++) {
        if (*s->at == '$' || *s->at == '`')
            return refuse(*s->at, err);
        if (*s->at == '\\' && s->at[1] == '\n') {
            s->at++;
            continue;
        }
        if (*s->at == '\\' && s->at[1] && strchr("$`\"\\", s->at[1]))
            s->at++;
        if (!put(s, *s->at))
            return EVB_ENOMEM;
    }
    if (!*s->at)
        return evb_fail(err, EVB_EINVAL, "a \" is not closed");
    s->at++;
    return 0;
}

static int take_escaped(splitter *s, evb_error *err) {
    if (!*s->at)
        return evb_fail(err, EVB_EINVAL, "a \\ at its end");
    char c = *s->at++;
    return c == '\n' || put(s, c) ? 0 : EVB_ENOMEM;
}

/* Takes one character, or what is in quotes. */
static int take(splitter *s, size_t *count, evb_error *err) {
    char c = *s->at++;
    if (strchr(BLANKS, c)) {
        bool ends = s->in_word;
        s->in_word = false;
        *count += ends;
        return ends && !evb_buf_add(s->out, "", 1) ? EVB_ENOMEM : 0;
    }
    if (c == '\'')
        return take_single(s, err);
    if (c == '"')
        return take_double(s, err);
    if (c == '\\')
        return take_escaped(s, err);
    if (strchr(SHELLS, c) || (c == '#' && !s->in_word))
        return refuse(c, err);
    return put(s, c) ? 0 : EVB_ENOMEM;
}

int listen_words(const char *text, evb_buf *out, size_t *count, evb_error *err) {
    splitter s = {text, out, false};
    int rc = 0;
    *count = 0;
    while (!rc && *s.at)
        rc = take(&s, count, err);
    if (!rc && s.in_word) {
        ++*count;
        rc = evb_buf_add(out, "", 1) ? 0 : EVB_ENOMEM;
    }
    return rc == EVB_ENOMEM ? evb_fail(err, rc, "out of memory") : rc;
}

bool listen_words_quote(evb_buf *out, const char *word) {
    bool ok = true;
    if (*word && *word != '#' && !strpbrk(word, " \t\n'\"\\|&;<>()$`"))
        return evb_buf_text(out, word);
    ok = evb_buf_text(out, "'");
    for (; ok && *word; word++)
        ok = *word == '\'' ? evb_buf_text(out, "'\\''") : evb_buf_add(out, word, 1);
    return ok && evb_buf_text(out, "'");
}
