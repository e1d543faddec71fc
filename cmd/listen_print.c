/* listen_print.c: a set of listeners as evlisten -c prints it: their sections, read and understood.
 *
 * Invariant: what is printed is a file of the same listeners.
 * Leaves to others: what is checked (listen_file.c, listen_values.c). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "listen_file.h"
#include "listen_words.h"

/* A value goes on in lines that are further in than its key. */
static void print_text(const char *key, const char *value, size_t size) {
    printf("  %s = ", key);
    for (size_t i = 0; i < size; i++) {
        putchar(value[i]);
        if (value[i] == '\n')
            printf("    ");
    }
    putchar('\n');
}

static void print_key(const char *key, const char *value) {
    if (value)
        print_text(key, value, strlen(value));
}

static void print_command(const listener *l) {
    evb_buf text = {0};
    if (l->shell) {
        print_key("shell", l->shell);
        return;
    }
    for (size_t i = 0; l->command[i]; i++) {
        listen_words_quote(&text, l->command[i]);
        evb_buf_add(&text, " ", 1);
    }
    print_text("run", (const char *)text.data, text.size ? text.size - 1 : 0);
    evb_buf_free(&text);
}

static void print_patterns(const char *key, const listener *l) {
    printf("  %s =", key);
    for (size_t i = 0; i < l->pattern_count; i++)
        printf("%s %s", i ? "," : "", l->patterns[i]);
    putchar('\n');
}

/* In seconds, without zeros behind the last digit that says something. */
static void print_duration(const char *key, int64_t ns) {
    char text[32];
    if (!ns)
        return;
    int size = snprintf(text, sizeof text, "%" PRId64 ".%09" PRId64, ns / EVB_SECOND_NS, ns % EVB_SECOND_NS);
    while (text[size - 1] == '0')
        size--;
    size -= text[size - 1] == '.';
    printf("  %s = %.*ss\n", key, size, text);
}

static void print_place(const listener *l) {
    print_duration("timeout", l->timeout_ns);
    print_key("user", l->user);
    print_key("cwd", l->cwd);
    for (size_t i = 0; i < l->env.count; i++)
        print_key("env", l->env.items[i]);
}

static void print_expected(const listener *l) {
    printf("[expect %s]\n", l->name);
    print_patterns("topic", l);
    print_duration("every", l->every_ns);
    print_command(l);
    print_place(l);
}

static void print_listener(const listener *l) {
    printf("[listener %s]\n", l->name);
    print_patterns("on", l);
    print_key("when", l->when);
    print_command(l);
    print_key("input", l->input);
    print_key("publish", l->publish);
    printf("  jobs = %" PRIu64 "\n", l->jobs);
    if (l->batch > 1)
        printf("  batch = %" PRIu64 "\n", l->batch);
    print_key("keep", l->keep ? "yes" : NULL);
    print_key("ordered", l->ordered ? "yes" : NULL);
    if (l->retry != LISTEN_NONE)
        printf("  retry = %" PRIu64 "\n", l->retry);
    print_key("backoff", l->backoff);
    print_duration("ack-wait", l->ack_wait_ns);
    print_key("from", l->from);
    print_place(l);
}

void listen_set_print(const listen_set *self) {
    for (const listener *l = self->first; l; l = l->next) {
        printf("# %s:%d\n", l->file, l->line);
        if (l->every_ns)
            print_expected(l);
        else
            print_listener(l);
    }
}
