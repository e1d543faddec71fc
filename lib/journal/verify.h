/* verify.h: checks a whole journal, and cuts damage out of it when asked to. */
#ifndef EVB_VERIFY_H
#define EVB_VERIFY_H

#include "base/log.h"
#include "journal/io.h"

typedef struct {
    uint64_t segments, records, events, bytes;
    uint64_t first, last; /* seqs; last < first: the journal is empty */
    uint64_t damages;     /* places where something is wrong */
    uint64_t lost;        /* seqs that cannot be read */
    uint64_t tail_bytes;  /* a torn tail, which a hub's start cuts off, or a write under way */
} evb_verification;

/* Reads every record of the journal behind io and checks it; says each damage on log, naming file, offset and seqs. May
 * run beside a hub. noted: a seq up to which all was on disk once, so that what is bad there is no torn tail; 0: not
 * known. 0, or EVB_EDAMAGED when any was found; EVB_EIO, EVB_ENOMEM. */
int evb_journal_verify(evb_io *io, evb_log log, uint64_t noted, evb_verification *out, evb_error *err);

/* The same, and writes each damaged segment anew without what is bad, an event of topic $hub.lost in its place that
 * says which seqs are gone. The caller holds the journal's lock. 0 also when damage was found and cut out. The catalog
 * file must be removed after it. */
int evb_journal_repair(evb_io *io, evb_log log, uint64_t noted, evb_verification *out, evb_error *err);

#endif
