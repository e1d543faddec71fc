/* fuzz_topic.c: patterns and topics: what matches, and that the quicker questions agree with it. */
#include <stdlib.h>
#include <string.h>

#include "event/topic.h"
#include "input.h"

/* Everything that is said of a pair must follow from whether it matches. */
static void check_pair(const char *pattern, size_t p, const char *topic, size_t t) {
    bool exact, match = evb_pattern_match(pattern, p, topic, t);
    size_t prefix = evb_pattern_prefix(pattern, p, &exact);
    MUST(prefix <= p);
    if (exact)
        MUST(match == (p == t && memcmp(pattern, topic, p) == 0));
    if (match) {
        MUST(t >= prefix && memcmp(pattern, topic, prefix) == 0);
        MUST(evb_pattern_overlap(pattern, p, topic, t) && evb_pattern_overlap(topic, t, pattern, p));
    } else {
        MUST(!evb_pattern_overlap(pattern, p, topic, t));
    }
}

static void check_set(char *const *texts, const size_t *sizes, const char *topic, size_t t) {
    evb_patterns *set = evb_patterns_new(NULL, 0, NULL);
    bool any = false;
    size_t added = 0;
    MUST(set);
    for (int i = 0; i < 3; i++) {
        bool good = !evb_pattern_fault(texts[i], sizes[i]);
        MUST((evb_patterns_add(set, texts[i], sizes[i], NULL) == 0) == good);
        added += good;
        any |= good && evb_pattern_match(texts[i], sizes[i], topic, t);
    }
    MUST(evb_patterns_count(set) == added);
    MUST(evb_patterns_match(set, topic, t) == (any || !added));
    MUST(evb_patterns_overlap(set, topic, t) == (any || !added));
    MUST(!evb_patterns_all(set) || any || !added);
    evb_patterns_destroy(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    char *texts[4];
    size_t sizes[4];
    for (int i = 0; i < 4; i++)
        texts[i] = (char *)fuzz_piece(&in, &sizes[i]);
    if (!evb_topic_fault(texts[3], sizes[3])) {
        MUST(!evb_pattern_fault(texts[3], sizes[3]) && evb_text_valid(texts[3], sizes[3]));
        for (int i = 0; i < 3; i++)
            if (!evb_pattern_fault(texts[i], sizes[i]))
                check_pair(texts[i], sizes[i], texts[3], sizes[3]);
        check_set(texts, sizes, texts[3], sizes[3]);
        MUST(!evb_topic_reserved(texts[3], sizes[3]) || memchr(texts[3], '$', sizes[3]));
    }
    if (!evb_pattern_fault(texts[0], sizes[0]) && !evb_pattern_fault(texts[1], sizes[1]))
        MUST(evb_pattern_overlap(texts[0], sizes[0], texts[1], sizes[1]) ==
             evb_pattern_overlap(texts[1], sizes[1], texts[0], sizes[0]));
    evb_group_name_valid(texts[0], sizes[0]);
    for (int i = 0; i < 4; i++)
        free(texts[i]);
    return 0;
}
