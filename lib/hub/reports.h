/* reports.h: what those who run commands say of their runs ("hello"), and what a group's members have said in all. */
#ifndef EVB_REPORTS_H
#define EVB_REPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { EVB_REPORT_ERROR_MAX = 256 }; /* bytes of a last error, with its NUL */

typedef struct {
    uint64_t runs, failures;
    int64_t last_error_ns; /* since the epoch; 0: there was none */
    char last_error[EVB_REPORT_ERROR_MAX];
} evb_report;

/* A client that is gone, with what it has said: it may come back and go on counting from there. */
typedef struct evb_departed {
    TAILQ_ENTRY(evb_departed) link;
    uint64_t runs, failures;
    size_t id_size;
    char id[];
} evb_departed;

/* What a group's members have said who are not there any more. */
typedef struct {
    evb_report report; /* of those who will not come back, and the newest error of all */
    size_t count;
    TAILQ_HEAD(evb_departed_list, evb_departed) departed;
} evb_reports;

struct evb_hub;
struct evb_group;
struct evb_client;

void evb_reports_init(evb_reports *self);
void evb_reports_free(evb_reports *self);

/* The client has said something anew: what is kept of it from an earlier connection is in that already. */
void evb_reports_heard(struct evb_hub *hub, const struct evb_client *client);

/* The connection of this token is gone, or all are: what their clients said is kept by their groups. To be called while
 * the clients are still listed. */
void evb_reports_left(struct evb_hub *hub, const char *token, size_t size);
void evb_reports_left_all(struct evb_hub *hub);

/* The sum over the members that there were and are, with the newest error. */
void evb_reports_sum(const struct evb_hub *hub, const struct evb_group *group, evb_report *out);

#endif
