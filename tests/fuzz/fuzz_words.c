/* fuzz_words.c: single words of a command line or a file: positions, numbers, sizes, durations, URLs, cursor files, causes,
 * words of a command. The first byte says which. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/units.h"
#include "event/cause.h"
#include "event/position.h"
#include "input.h"
#include "listen_words.h"
#include "net/url.h"

static void read_position(const char *text) {
    evb_from from = EVB_FROM_NOW;
    evb_error err = {0};
    uint64_t value = 0, again = 0;
    char time[EVB_TIME_TEXT];
    if (evb_position_parse(text, INT64_C(1795341600) * EVB_SECOND_NS, &from, &value, &err)) {
        MUST(err.code == EVB_EINVAL && *err.text);
        return;
    }
    if (from != EVB_FROM_TIME)
        return;
    evb_time_text((int64_t)value, time); /* as it is printed, it means the same */
    MUST((int64_t)value < 0 ||
         (evb_position_parse(time, 0, &from, &again, &err) == 0 && from == EVB_FROM_TIME && again == value));
}

static void read_units(const char *text) {
    uint64_t number = 0, bytes = 0;
    int64_t ns = 0, age = 0;
    char digits[24];
    if (!evb_number_parse(text, &number)) {
        digits[evb_number_text(number, digits)] = 0;
        while (*text == '0' && text[1])
            text++;
        MUST(strcmp(digits, text) == 0);
        MUST(evb_size_parse(text, &bytes) || bytes == number);
    }
    evb_size_parse(text, &bytes);
    const char *duration = evb_duration_parse(text, &ns);
    MUST(duration || ns >= 0);
    MUST(evb_age_parse(text, &age) || (!duration && age == ns));
}

static void read_url(const char *text) {
    evb_url url = {0};
    evb_error err = {0};
    int rc = evb_url_parse(text, &url, &err);
    MUST(rc ? rc == EVB_EINVAL && *err.text : *url.request && *url.feed && url.ipc == (*url.dir != 0));
}

static void read_cursor(const char *text) {
    char path[64];
    evb_error err = {0};
    uint64_t seq = 0;
    bool found = false;
    int fd = fuzz_file(text, strlen(text), path);
    int rc = evb_cursor_read(path, &seq, &found, &err);
    MUST(rc == 0 ? found : rc == EVB_EDATA && *err.text);
    close(fd);
}

/* What words were read is read again from how they would be written. */
static void read_command(const char *text) {
    evb_buf words = {0}, quoted = {0}, again = {0};
    evb_error err = {0};
    size_t count = 0, more = 0;
    if (listen_words(text, &words, &count, &err) == 0) {
        const char *at = (const char *)words.data;
        for (size_t i = 0; i < count; i++, at += strlen(at) + 1)
            MUST(listen_words_quote(&quoted, at) && evb_buf_add(&quoted, " ", 1));
        MUST(evb_buf_add(&quoted, "", 1));
        if (count)
            MUST(listen_words((const char *)quoted.data, &again, &more, &err) == 0 && more == count &&
                 again.size == words.size && memcmp(again.data, words.data, words.size) == 0);
    }
    evb_buf_free(&words);
    evb_buf_free(&quoted);
    evb_buf_free(&again);
}

/* Three values, a newline between them; an empty one is none. */
static void read_cause(char *text) {
    evb_cause cause;
    evb_error err = {0};
    const char *values[3] = {0};
    for (int i = 0; i < 3 && text; i++) {
        char *one = strsep(&text, "\n");
        values[i] = *one ? one : NULL;
    }
    int rc = evb_cause_read(values[0], values[1], values[2], &cause, &err);
    if (rc) {
        MUST(rc == EVB_EDATA && *err.text);
        return;
    }
    evb_header headers[EVB_CAUSE_HEADERS] = {0};
    size_t count = evb_cause_add(&cause, headers, 0);
    MUST(count <= EVB_CAUSE_HEADERS);
    evb_event event = {.seq = 1, .headers = headers, .header_count = count};
    evb_cause next;
    evb_cause_of(&event, &next);
    evb_cause_too_deep(&next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, data + size};
    unsigned which = (unsigned)fuzz_number(&in, 1);
    char *text = fuzz_rest(&in);
    setenv("TZ", "Europe/Lisbon", 1);
    tzset();
    switch (which % 6) {
    case 0: read_position(text); break;
    case 1: read_units(text); break;
    case 2: read_url(text); break;
    case 3: read_cursor(text); break;
    case 4: read_command(text); break;
    default: read_cause(text);
    }
    free(text);
    return 0;
}
