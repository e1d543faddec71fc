/* listen_print.c: a set of listeners as evlisten -c prints it: their sections, read and understood.
 *
 * Leaves to others: what is checked (listen_file.c, listen_values.c). */
#include <inttypes.h>
#include <stdio.h>

#include "listen_file.h"
#include "listen_words.h"

/* The command as it would be written in a file. */
static void print_command(const listener *l) {
    evb_buf text = {0};
    for (size_t i = 0; l->argv[i]; i++) {
        listen_words_quote(&text, l->argv[i]);
        evb_buf_add(&text, " ", 1);
    }
    printf("  run = %.*s\n", (int)(text.size ? text.size - 1 : 0), (const char *)text.data);
    evb_buf_free(&text);
}

static void print_key(const char *key, const char *value) {
    if (value)
        printf("  %s = %s\n", key, value);
}

static void print_duration(const char *key, int64_t ns) {
    if (ns)
        printf("  %s = %.6gs\n", key, (double)ns / 1e9);
}

static void print_place(const listener *l) {
    print_key("user", l->user);
    print_key("cwd", l->cwd);
    for (size_t i = 0; i < l->env.count; i++)
        print_key("env", l->env.items[i]);
}

static void print_listener(const listener *l) {
    printf("%s (%s:%d)\n  on =", l->name, l->file, l->line);
    for (size_t i = 0; i < l->pattern_count; i++)
        printf("%s %s", i ? "," : "", l->patterns[i]);
    printf("\n");
    print_key("when", l->when);
    print_duration("every", l->every_ns);
    print_command(l);
    print_key("input", l->input);
    print_key("publish", l->publish);
    printf("  jobs = %" PRIu64 "\n", l->jobs);
    if (l->batch > 1)
        printf("  batch = %" PRIu64 "\n", l->batch);
    print_key("keep", l->keep ? "yes" : NULL);
    print_key("ordered", l->ordered ? "yes" : NULL);
    print_duration("timeout", l->timeout_ns);
    if (l->retry != LISTEN_NONE)
        printf("  retry = %" PRIu64 "\n", l->retry);
    print_key("backoff", l->backoff);
    print_duration("ack-wait", l->ack_wait_ns);
    print_key("from", l->from);
    print_place(l);
}

void listen_set_print(const listen_set *self) {
    for (const listener *l = self->first; l; l = l->next)
        print_listener(l);
}
