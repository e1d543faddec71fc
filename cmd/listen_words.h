/* listen_words.h: a command line's words, as a shell would cut them, but with nothing expanded. Pure. */
#ifndef EVB_LISTEN_WORDS_H
#define EVB_LISTEN_WORDS_H

#include "base/buf.h"
#include "evbus.h"

/* Appends the words of text, each with a NUL behind it, and counts them. 'all is literal', "here \" \\ are quoted", \x is
 * x. What a shell would do something with, and what is not quoted, is refused and not passed on as it stands:
 * | & ; < > ( ) $ ` and a word that begins with #. EVB_EINVAL and why, EVB_ENOMEM. */
int listen_words(const char *text, evb_buf *out, size_t *count, evb_error *err);

/* Appends word, quoted where listen_words wants that, without a NUL. False: out of memory. */
bool listen_words_quote(evb_buf *out, const char *word);

#endif
