/* arena.h: many small pieces of memory that are freed together. */
#ifndef EVB_ARENA_H
#define EVB_ARENA_H

#include <stddef.h>

typedef struct arena_piece arena_piece;

/* A value: zero-initialise it, free it with arena_free. */
typedef struct {
    arena_piece *pieces;
} arena;

/* size bytes of zeros, for as long as the arena lives. NULL: out of memory. */
void *arena_take(arena *self, size_t size);

/* A copy of text[0..size), and a NUL behind it. NULL: out of memory. */
char *arena_text(arena *self, const char *text, size_t size);

/* Frees all that was taken. */
void arena_free(arena *self);

#endif
