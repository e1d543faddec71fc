/* spool_file.h: a spool on disk. No sockets.
 *
 * The file is a run of records (event/record.h), as a journal's segment is, each sealed with its checksum, and only ever
 * appended to, until all of it is delivered and it is emptied. Each batch has the producer and the number with which it is
 * published, so that the hub, or a look into its journal, can tell whether it has it. The fields of a record that are the
 * hub's say here:
 *
 *   seq   0: it was not sent when it was written; else the hub's head + 1 before it was first sent by its publisher
 *   version  1: its events are one whole, delivered all or none
 *   time  when its events were made
 *
 * A record without events, of topic EVB_SPOOL_MARK, says that everything before it may have been sent since the hub's head
 * was its seq - 1. Every change happens under flock(2) of the file; NAME.lock is held while one delivers.
 * To change it: as for records; a reader that does not know a record's version takes it for damage. */
#ifndef EVB_SPOOL_FILE_H
#define EVB_SPOOL_FILE_H

#include "event/record.h"
#include "journal/scan.h"
#include "spool/spool.h"

#define EVB_SPOOL_MARK "$spool.mark"

typedef struct evb_spool_file evb_spool_file;

/* The file at path. Touches nothing. NULL and *err: EVB_ENOMEM. */
evb_spool_file *evb_spool_file_new(const char *path, evb_spool_note_fn *note, void *context, evb_error *err);
void evb_spool_file_destroy(evb_spool_file **self);

/* Its path, and the last part of that. */
const char *evb_spool_file_path(const evb_spool_file *self);
const char *evb_spool_file_name(const evb_spool_file *self);

/* Tells the note function: the file's path, and this behind it. */
void evb_spool_file_say(const evb_spool_file *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether there is nothing in it, or no such file; also where that cannot be told. */
bool evb_spool_file_empty(const evb_spool_file *self);

/* Appends the batches of `records` (whole records, one behind the other) and puts them on disk. Those whose seq is 0 get a
 * producer and numbers; times stay. What a crash has left half written at the end is moved to FILE.damaged first.
 * EVB_ESTORE: the disk or the spool is full; EVB_EPERM, EVB_EIO, EVB_ENOMEM; the file then has none of them. */
int evb_spool_file_append(evb_spool_file *self, const evb_buf *records, evb_error *err);

/* Takes NAME.lock, for who delivers: a descriptor that holds it until it is closed; EVB_EBUSY naming the pid. */
int evb_spool_file_lock(evb_spool_file *self, evb_error *err);

/* With NAME.lock (*lock) held: is there anything from `from` on? 0 and *end: there is, up to there, and a mark of this head
 * covers it. *end == from: there is not; the file is now empty, and *lock was closed, and is -1, before anybody could append:
 * who appends later finds that nobody delivers. Errors as evb_spool_file_append. */
int evb_spool_file_extent(evb_spool_file *self, uint64_t from, uint64_t head, int *lock, uint64_t *end,
                          evb_error *err);

/* A walk over the file's records from `from` up to `end`. A value; evb_spool_walk_next: 1 and *rec, whose bytes live until
 * the next call, 0 at the end; EVB_EIO, EVB_ENOMEM. What is not whole is passed over, and said once. */
typedef struct {
    evb_spool_file *file;
    evb_scan scan;
    uint64_t damaged; /* bytes passed over so far */
    bool quiet;       /* do not say it */
} evb_spool_walk;

void evb_spool_walk_start(evb_spool_walk *walk, evb_spool_file *self, uint64_t from, uint64_t end);
int evb_spool_walk_next(evb_spool_walk *walk, evb_record *rec, evb_error *err);
void evb_spool_walk_free(evb_spool_walk *walk);

bool evb_spool_is_mark(const evb_record *rec);

/* Puts a record at the end of FILE.refused, safe on disk. */
int evb_spool_file_refuse(evb_spool_file *self, const evb_record *rec, evb_error *err);

/* Puts what is damaged between `from` and `end` at the end of FILE.damaged, safe on disk. */
int evb_spool_file_salvage(evb_spool_file *self, uint64_t from, uint64_t end, evb_error *err);

/* Opens it for reading, when it is there. 0 and *size. */
int evb_spool_file_open(evb_spool_file *self, uint64_t *size, evb_error *err);

#endif
