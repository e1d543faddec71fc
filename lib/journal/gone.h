/* gone.h: what was taken out of a journal other than by dropping whole segments, and what must be known of what is gone:
 * up to where it was trimmed, which patterns were purged up to which seq, and the last versions of topics that have no
 * events left. Kept in the file gone.log, which outlives the catalog. */
#ifndef EVB_GONE_H
#define EVB_GONE_H

#include "base/log.h"
#include "event/record.h"
#include "event/topic.h"
#include "journal/catalog.h"
#include "journal/io.h"

typedef struct evb_gone evb_gone;

/* Reads gone.log (made if it is missing); cuts off a torn tail and says so. Of a damaged one it says where, keeps it as
 * gone.damaged (or gone.damaged.2…) and goes on with what is whole. io is borrowed. NULL and *err: EVB_EIO, EVB_ENOMEM. */
evb_gone *evb_gone_new(evb_io *io, evb_log log, evb_error *err);

/* Makes all that was noted safe, and says so in the file, so that damage to the last of it is not taken for a write that
 * was never finished. */
void evb_gone_destroy(evb_gone **self);

/* Looks whether the file is whole, changing nothing, also while a hub is writing it; says damage, and what it means, on
 * log. 0 also where there is none; EVB_EDAMAGED, EVB_EIO, EVB_ENOMEM. */
int evb_gone_verify(evb_io *io, evb_log log, evb_error *err);

/* Each notes one thing, which is safe after evb_gone_sync. EVB_ESTORE: it was not noted; EVB_ENOMEM. */

/* Everything below first is gone. */
int evb_gone_trim(evb_gone *self, uint64_t first, evb_error *err);

/* Everything of a pattern up to and with seq `upto`, where a record ends, is gone. */
int evb_gone_purge(evb_gone *self, const char *pattern, size_t size, uint64_t upto, evb_error *err);

/* What a retained pattern has lost up to seq `swept` is known. */
int evb_gone_sweep(evb_gone *self, const char *pattern, size_t size, uint64_t swept, evb_error *err);

/* The state of a topic whose last event goes. */
int evb_gone_topic(evb_gone *self, const char *topic, size_t size, const evb_topic_state *state, evb_error *err);

/* The states of all topics that end before this seq are noted. */
int evb_gone_carry(evb_gone *self, uint64_t before, evb_error *err);

/* Makes all that was noted safe. EVB_EIO. */
int evb_gone_sync(evb_gone *self, evb_error *err);

/* What was noted: 0 where nothing was. */
uint64_t evb_gone_trimmed(const evb_gone *self);
uint64_t evb_gone_carried(const evb_gone *self);
uint64_t evb_gone_swept(const evb_gone *self, const char *pattern, size_t size);

/* The seq up to which a topic's events are gone. */
uint64_t evb_gone_of(const evb_gone *self, const char *topic, size_t size);

/* Whether the record is gone; quick where nothing at or behind its seq is. */
bool evb_gone_hides(const evb_gone *self, const evb_record *rec);

/* The newest seq that is gone of topics that a pattern of the set may match too. patterns NULL: any. */
uint64_t evb_gone_of_patterns(const evb_gone *self, const evb_patterns *patterns);

/* Takes the states noted into a catalog that is built anew, before the journal's records. */
int evb_gone_teach(evb_gone *self, evb_catalog *catalog, evb_error *err);

/* Writes the file anew without what no longer matters, if it has grown: first is the oldest seq left. A failure is said
 * on the log. */
void evb_gone_tidy(evb_gone *self, evb_catalog *catalog, uint64_t first);

#endif
